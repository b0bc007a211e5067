//! What the commands that read all of a database read where a server runs: a snapshot that the server makes.

use std::path::Path;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::admin::client::{NoAnswer, ask};
use crate::admin::protocol::{AdminCommand, AdminReply};
use crate::cli::output;
use crate::repository::sqlite::snapshot::Snapshot;
use crate::repository::{OpenError, StoreOptions};

/// How long a server may take to say that it is there.
const LOOK: Duration = Duration::from_secs(5);
/// How long it may take to copy all of its database.
const COPY: Duration = Duration::from_secs(24 * 3600);

/// A snapshot of a database. `None`: no server runs, or it cannot make one. Then read the database itself.
pub(super) async fn of(database: &Path, options: &StoreOptions) -> Result<Option<Snapshot>, OpenError> {
    let without = |why: &dyn std::fmt::Display| {
        let what = "the database itself is read, and its WAL grows until that is done";
        output::note(format_args!("chatd: {what}: {why}"));
        Ok(None)
    };
    // A server that is not well is there, too.
    match ask(database, AdminCommand::Health, LOOK) {
        Ok(_) | Err(NoAnswer::Refused(_)) => {}
        Err(NoAnswer::NoServer(_)) => return Ok(None),
        Err(why) => return without(&why),
    }
    let Some(snapshot) = Snapshot::beside(database, options)? else {
        return without(&"there is no room for a copy beside it");
    };
    let command = AdminCommand::Snapshot { process: std::process::id() };
    let (answer, answered) = oneshot::channel();
    let path = database.to_owned();
    // On another thread, because the command may be interrupted meanwhile.
    thread::spawn(move || drop(answer.send(ask(&path, command, COPY))));
    match answered.await {
        Ok(Ok(AdminReply::Done { .. })) => Ok(Some(snapshot)),
        Ok(Ok(_)) | Err(_) => without(&"the server answers something else than was asked"),
        Ok(Err(why)) => without(&why),
    }
}
