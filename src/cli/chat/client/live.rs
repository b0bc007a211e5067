//! Shows messages as they come: a second connection waits for them while the person types on the first. Keeps these
//! messages until the person types `inbox`, which shows them once more, as in the text protocol. Also says when the
//! connection is lost, when it is back, and when the session has ended.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::sleep;

use crate::cli::chat::client::lines::Print;
use crate::cli::chat::client::prompt::Names;
use crate::cli::chat::render;
use crate::client::link::Link;
use crate::client::{ClientError, RemoteServer};
use crate::model::{Token, visible};
use crate::protocol::{ConversationKind, FetchedMessage, HistoryEntry, Refusal, Reply, SenderMessages};

/// How long one request waits. A line that is dead without a word is noticed a little later.
const WAIT: Duration = Duration::from_secs(20);
/// How long to wait after a wrong answer of the server.
const PAUSE: Duration = Duration::from_secs(2);
/// How long to leave a server alone that cannot be reached: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Shown messages that are kept for `inbox`; the oldest go first.
const KEPT: usize = 1000;

/// Shows a text above the line being typed. `false`: it could not.
pub(super) type Printer = Arc<Mutex<Print>>;

/// What was shown and not yet asked for, one message each, in the order shown.
#[derive(Clone, Default)]
pub(super) struct ShownMessages(Arc<Mutex<VecDeque<HistoryEntry>>>);

impl ShownMessages {
    fn add(&self, messages: impl Iterator<Item = HistoryEntry>) {
        let mut shown = self.0.lock().unwrap_or_else(|broken| broken.into_inner());
        shown.extend(messages);
        let over = shown.len().saturating_sub(KEPT);
        shown.drain(..over);
    }

    /// Puts what was shown before what came now.
    pub(super) fn take_before(&self, senders: &mut Vec<SenderMessages>) {
        let now = std::mem::take(senders);
        let shown = std::mem::take(&mut *self.0.lock().unwrap_or_else(|broken| broken.into_inner()));
        for from in shown.into_iter().map(from_sender).chain(now) {
            match senders.iter_mut().find(|there| there.username == from.username) {
                Some(there) => append(there, from),
                None => senders.push(from),
            }
        }
    }
}

/// One message as an inbox has it.
fn from_sender(HistoryEntry { message, from, to, kind, .. }: HistoryEntry) -> SenderMessages {
    let (recipient, to_groups) = match kind {
        ConversationKind::Person => (to.display_name, Vec::new()),
        ConversationKind::Group => (String::new(), vec![(0, to.display_name.into())]),
    };
    let (username, sender) = (from.username, from.display_name);
    SenderMessages { username, sender, recipient, messages: vec![message], to_groups }
}

/// Puts what a sender sent later behind what was there. Who got nothing but messages to groups has no name there.
fn append(there: &mut SenderMessages, later: SenderMessages) {
    let before = there.messages.len();
    there.to_groups.extend(later.to_groups.into_iter().map(|(place, group)| (before + place, group)));
    there.messages.extend(later.messages);
    if there.recipient.is_empty() {
        there.recipient = later.recipient;
    }
}

/// Where messages go as they come.
#[derive(Clone)]
pub(super) struct Display {
    pub printer: Printer,
    pub shown: ShownMessages,
    /// Who could be written to, as far as is known.
    pub names: Names,
    /// The session that was watched last has ended.
    pub ended: Arc<AtomicBool>,
}

impl Display {
    /// Shows a text; `false` where that cannot be.
    async fn show(&self, text: String) -> bool {
        let printer = self.printer.clone();
        let print = move || text.is_empty() || printer.lock().is_ok_and(|mut print| print(text));
        spawn_blocking(print).await.unwrap_or(false)
    }

    pub(super) fn learn(&self, names: impl IntoIterator<Item = String>) {
        self.names.lock().unwrap_or_else(|broken| broken.into_inner()).extend(names);
    }
}

/// Shows the mail of a session until it is dropped or the session ends.
pub(super) struct Watch {
    pub token: Token,
    task: AbortHandle,
}

impl Watch {
    pub(super) fn start(runtime: &Handle, server: &RemoteServer, token: Token, display: Display) -> Watch {
        display.ended.store(false, Ordering::Relaxed);
        let task = runtime.spawn(watch(server.clone(), token, display));
        Watch { token, task: task.abort_handle() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The next request confirms the mail of the last reply. So it comes only after that mail was shown.
async fn watch(server: RemoteServer, token: Token, display: Display) {
    let mut link = Link::new(server.clone());
    // How long until the next attempt, while the server cannot be reached.
    let mut lost: Option<Duration> = None;
    loop {
        // An answer at once proves that the server is back.
        let patience = if lost.is_some() { Duration::ZERO } else { WAIT };
        let reply = match link.mail_once(token, patience).await {
            Ok(reply) => reply,
            Err(error) => {
                let pause = lost.unwrap_or(FIRST_PAUSE);
                if lost.is_none() && !display.show(is_lost(&error)).await {
                    return;
                }
                // The mail of the old link was not shown. A new link tries to connect only once.
                link = Link::new(server.clone());
                sleep(pause).await;
                lost = Some((pause * 2).min(LONGEST_PAUSE));
                continue;
            }
        };
        if lost.take().is_some() && !display.show("(the connection is back)\n".to_owned()).await {
            return;
        }
        match reply {
            Reply::Fetched(messages) => {
                if !display.show(messages.iter().map(shown).collect()).await {
                    return;
                }
                display.learn(messages.iter().map(|message| message.entry.from.username.to_string()));
                display.shown.add(messages.into_iter().map(|message| message.entry));
            }
            Reply::Refused(Refusal::UnknownToken) => {
                display.ended.store(true, Ordering::Relaxed);
                display.show("(the session has ended: log in again with auth)\n".to_owned()).await;
                return;
            }
            _ => sleep(PAUSE).await,
        }
    }
}

fn shown(FetchedMessage { entry, file }: &FetchedMessage) -> String {
    file.as_ref().map_or_else(|| render::readable(entry), |file| render::file(entry, file, None))
}

fn is_lost(error: &ClientError) -> String {
    format!("({}: trying again)\n", visible(&error.to_string()))
}
