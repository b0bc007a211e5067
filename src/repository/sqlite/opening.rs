//! From a URL to a connection that writes. Checks that the database exists, that chatd made it, that its schema is up
//! to date, and that nobody else can read it. Only one server at a time has it.

use std::path::{Path, PathBuf};

use sqlx::SqliteConnection;
use tracing::{info, warn};

use super::acknowledged::{self, Acknowledged};
use super::lock::{self, Lock};
use super::{
    Role, backup, companion, creation, disk, failure, files, paths, restore, restore_note, schema, unfinished,
};
use crate::repository::{OpenError, StoreOptions};

pub(super) struct Opened {
    /// Where it is, without links.
    pub database: PathBuf,
    /// A server's own; an administrator's command has it for no longer than it changes files.
    pub lock: Option<Lock>,
    pub db: SqliteConnection,
    /// Whether there was none before.
    pub is_new: bool,
    /// What the last server acknowledged, if it did not stop in good order, and whether the WAL ended before that.
    pub former: Option<(Acknowledged, bool)>,
}

/// A server takes the lock at once; a command needs it only to finish a restore that was interrupted.
fn lock_for(role: Role, database: &Path) -> Result<Option<Lock>, OpenError> {
    match role {
        Role::Server => {
            files::check_directory(database)?;
            Lock::take(database).map(Some)
        }
        Role::Admin | Role::Founder => {
            lock::check_files_of_server(database)?;
            restore_note::is_unfinished(database).then(|| Lock::take(database)).transpose()
        }
    }
}

/// Looks at the files that the last server left, before SQLite does. Gives whether the WAL ends before what was
/// acknowledged last.
fn take_over_files(lock: &mut Lock, database: &Path) -> Result<bool, OpenError> {
    companion::check_those_of_sqlite(database)?;
    unfinished::clear(database);
    disk::make_room_to_start(database);
    lock.check_wal(database)?;
    let is_cut_short = lock.acknowledged().is_some_and(|noted| acknowledged::look_at_wal(database, &noted));
    if failure::failure_is_noted(database) {
        failure::nobody_is_left_from_before(database)?;
    }
    lock.hold(database)?;
    Ok(is_cut_short)
}

/// Opens the database at `url`, after all that has to be done to its files first.
pub(super) async fn open(url: &str, options: &StoreOptions, role: Role) -> Result<Opened, OpenError> {
    let database = paths::path_of(url)?;
    match role {
        Role::Admin => {}
        Role::Founder | Role::Server => files::make_directory(&database)?,
    }
    let mut lock = lock_for(role, &database)?;
    if lock.is_some()
        && let Some(done) = restore::finish_or_undo(&database)?
    {
        warn!("{done}");
    }
    let is_cut_short = match lock.as_mut().filter(|_| role == Role::Server) {
        Some(lock) => take_over_files(lock, &database)?,
        None => false,
    };
    let former = lock.as_ref().and_then(Lock::acknowledged);
    let mut found = schema::version(&database, options).await?;
    if found.is_none() && role == Role::Admin {
        return Err(OpenError::Missing(database));
    }
    if found != Some(schema::known_version()) && lock.is_none() {
        lock = Some(Lock::take(&database)?);
        // Another command may have done it while this one waited.
        found = schema::version(&database, options).await?;
    }
    let is_new = found.is_none();
    if is_new {
        creation::make(&database, options).await?;
        if let Some(lock) = lock.as_mut().filter(|_| role == Role::Server) {
            lock.hold(&database)?;
            info!(path = %database.display(), "a new database");
        }
    }
    for path in files::close_to_others(&database)? {
        warn!(?path, "the file was open to others; now it is the owner's alone");
    }
    let outdated = found.filter(|found| *found != schema::known_version());
    if let Some(found) = outdated {
        // This comes before SQLite opens the database for good. The code that makes the copy opens and closes the file.
        // When a process closes any handle of a file, it loses all of SQLite's locks on it.
        let copy = backup::before_migration(&database, found, options).await?;
        info!(?copy, "the database was copied before its schema is changed");
    }
    let mut db = schema::writer(&database, options).await?;
    if outdated.is_some() {
        schema::migrate(&database, &mut db).await?;
    }
    let former = former.map(|former| (former, is_cut_short));
    Ok(Opened { database, lock: lock.filter(|_| role == Role::Server), db, is_new, former })
}
