//! Messages as they come: a second connection waits for them while the person types on the first. What was shown
//! here is kept until the person says `inbox`, which shows it once more, as the document has it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::sleep;

use crate::cli::mail::readable;
use crate::client::Server;
use crate::client::link::Link;
use crate::model::Token;
use crate::protocol::{FromSender, Refusal, Reply};

/// How long one request waits.
const WAIT: Duration = Duration::from_secs(50);
/// How long to leave a server alone that cannot be reached or does not answer as it should.
const PAUSE: Duration = Duration::from_secs(2);
/// Shown messages that are kept for `inbox`; the oldest go first.
const KEPT: usize = 1000;

/// Shows a text above the line being typed. `false`: it could not.
pub type Printer = Arc<Mutex<dyn FnMut(String) -> bool + Send>>;

/// User names.
pub type Names = Arc<Mutex<BTreeSet<String>>>;

/// What was shown and not yet asked for, one message each, in the order shown.
#[derive(Clone, Default)]
pub struct Shown(Arc<Mutex<VecDeque<FromSender>>>);

impl Shown {
    fn add(&self, senders: Vec<FromSender>) {
        let mut shown = self.0.lock().unwrap_or_else(|broken| broken.into_inner());
        for from in senders {
            for message in &from.messages {
                shown.push_back(FromSender { messages: vec![message.clone()], ..from.clone() });
            }
        }
        let over = shown.len().saturating_sub(KEPT);
        shown.drain(..over);
    }

    /// Puts what was shown before what came now.
    pub fn take_before(&self, senders: &mut Vec<FromSender>) {
        let now = std::mem::take(senders);
        let shown = std::mem::take(&mut *self.0.lock().unwrap_or_else(|broken| broken.into_inner()));
        for from in shown.into_iter().chain(now) {
            match senders.iter_mut().find(|there| there.username == from.username) {
                Some(there) => there.messages.extend(from.messages),
                None => senders.push(from),
            }
        }
    }
}

/// Where messages go as they come.
#[derive(Clone)]
pub struct Display {
    pub printer: Printer,
    pub shown: Shown,
    /// Who could be written to, as far as is known.
    pub names: Names,
}

impl Display {
    pub fn learn(&self, names: impl IntoIterator<Item = String>) {
        self.names.lock().unwrap_or_else(|broken| broken.into_inner()).extend(names);
    }
}

/// Shows the mail of a session until it is dropped or the session ends.
pub struct Watch {
    /// Whose mail.
    pub token: Token,
    task: AbortHandle,
}

impl Watch {
    pub fn start(runtime: &Handle, server: &Server, token: Token, display: Display) -> Watch {
        let task = runtime.spawn(watch(Link::new(server.clone()), token, display));
        Watch { token, task: task.abort_handle() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The next request says that what came with the last one was shown, so it is not asked before that is true.
async fn watch(mut link: Link, token: Token, display: Display) {
    loop {
        match link.mail(token, WAIT).await {
            Ok(Reply::Inbox(senders)) => {
                let text = readable(&senders);
                let printer = display.printer.clone();
                let print = move || text.is_empty() || printer.lock().is_ok_and(|mut print| print(text));
                if !spawn_blocking(print).await.unwrap_or(false) {
                    return;
                }
                display.learn(senders.iter().map(|from| from.username.to_string()));
                display.shown.add(senders);
            }
            Ok(Reply::Refused(Refusal::UnknownToken)) => return,
            Ok(_) | Err(_) => sleep(PAUSE).await,
        }
    }
}
