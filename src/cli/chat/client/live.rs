//! Shows messages as they come: a second connection follows the message log while the person types on the first. So
//! all clients of an account show all messages. What was shown leaves the queue. Also says when the connection is
//! lost, when it is back, and when the session has ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::sleep;

use crate::cli::chat::client::lines::Print;
use crate::cli::chat::client::prompt::Names;
use crate::cli::chat::client::shown::ShownMessages;
use crate::cli::chat::render;
use crate::client::link::Link;
use crate::client::{ClientError, RemoteServer};
use crate::model::{LookupName, MessageId, Timestamp, Token, visible};
use crate::protocol::{Command, ConversationKind, FetchedMessage, FollowReply, HistoryEntry, Refusal, Reply};

/// How long one request waits. A line that is dead without a word is noticed a little later.
const WAIT: Duration = Duration::from_secs(20);
/// How much longer the reply may take.
const LATE: Duration = Duration::from_secs(10);
/// How long to wait after a wrong answer of the server.
const PAUSE: Duration = Duration::from_secs(2);
/// How long to leave a server alone that cannot be reached: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Shows a text above the line being typed. `false`: it could not.
pub(super) type Printer = Arc<Mutex<Print>>;

/// Where messages go as they come.
#[derive(Clone)]
pub(super) struct Display {
    pub printer: Printer,
    /// The reader's clock.
    pub clock: TimeZone,
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

    /// Shows messages that were not shown before; `false` where that cannot be. Those that the person has sent here are
    /// on the screen as they were typed.
    async fn show_messages(&self, mut messages: Vec<FetchedMessage>, reader: &LookupName) -> bool {
        messages.retain(|message| self.shown.is_new(&message.entry, reader));
        let now = Timestamp::now();
        let lines = messages.iter().map(|message| {
            let time = render::time_before(message.entry.message.sent_at, now, &self.clock);
            match is_to(&message.entry, reader) {
                true => time + &readable(message),
                false => time + &render::sent(&message.entry),
            }
        });
        if !self.show(lines.collect()).await {
            return false;
        }
        self.learn(messages.iter().flat_map(|message| names(&message.entry)));
        messages.into_iter().for_each(|message| {
            let waits = is_to(&message.entry, reader);
            self.shown.add(message.entry, waits);
        });
        true
    }

    pub(super) fn learn(&self, names: impl IntoIterator<Item = String>) {
        self.names.lock().unwrap_or_else(|broken| broken.into_inner()).extend(names);
    }
}

/// Shows what an account is sent until it is dropped or the session ends.
pub(super) struct Watch {
    pub token: Token,
    task: AbortHandle,
}

impl Watch {
    pub(super) fn start(
        runtime: &Handle,
        server: &RemoteServer,
        token: Token,
        reader: &str,
        display: Display,
    ) -> Watch {
        display.ended.store(false, Ordering::Relaxed);
        display.shown.begin();
        let task = runtime.spawn(watch(server.clone(), token, LookupName::of(reader), display));
        Watch { token, task: task.abort_handle() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is asked next.
#[derive(Clone, Copy)]
enum Asking {
    /// Where the message log ends.
    End,
    /// What waits in the queue, until there is no more. Asking again says that it was shown.
    Queue,
    /// What is sent to the account or by it after a message, whoever reads it.
    After(MessageId),
    /// What comes to the queue, of a server that has no more than that.
    Mail,
}

/// Asks for more of the queue only when what came was shown, because that request confirms it.
async fn watch(server: RemoteServer, token: Token, reader: LookupName, display: Display) {
    let mut link = Link::new(server.clone());
    let (mut asking, mut after) = (Asking::End, None);
    // How long until the next attempt, while the server cannot be reached.
    let mut lost: Option<Duration> = None;
    loop {
        // An answer at once proves that the server is back.
        let patience = if lost.is_some() { Duration::ZERO } else { WAIT };
        let reply = match ask(&mut link, token, asking, patience).await {
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
        match (reply, asking) {
            (Reply::Follow(FollowReply { messages, next, more, .. }), _) => {
                let entries = messages.into_iter().map(|entry| FetchedMessage { entry, file: None }).collect();
                if !display.show_messages(entries, &reader).await {
                    return;
                }
                after = Some(next);
                asking = if more { Asking::After(next) } else { Asking::Queue };
            }
            (Reply::Fetched(messages), _) => {
                if let (true, Some(after)) = (messages.is_empty(), after) {
                    asking = Asking::After(after);
                }
                if !display.show_messages(messages, &reader).await {
                    return;
                }
            }
            (Reply::Refused(Refusal::UnknownCommand), Asking::End) => asking = Asking::Mail,
            (Reply::Refused(Refusal::UnknownToken), _) => {
                display.ended.store(true, Ordering::Relaxed);
                display.show("(the session has ended: log in again with auth)\n".to_owned()).await;
                return;
            }
            _ => sleep(PAUSE).await,
        }
    }
}

async fn ask(link: &mut Link, token: Token, asking: Asking, patience: Duration) -> Result<Reply, ClientError> {
    let (after, at_most) = match asking {
        Asking::Queue => return link.mail_once(token, Duration::ZERO).await,
        Asking::Mail => return link.mail_once(token, patience).await,
        Asking::End => (None, Duration::ZERO),
        Asking::After(message) => (Some(message), patience),
    };
    link.call_once(&Command::Follow { after, at_most, reads: None }.with(token), WAIT + LATE).await
}

fn readable(FetchedMessage { entry, file }: &FetchedMessage) -> String {
    file.as_ref().map_or_else(|| render::readable(entry), |file| render::file(entry, file, None))
}

/// Whether somebody was sent this, alone or as a member of a group.
fn is_to(HistoryEntry { from, to, kind, .. }: &HistoryEntry, reader: &LookupName) -> bool {
    // Old servers do not say to whom it was sent that waits.
    match kind {
        ConversationKind::Person => to.username.as_str().is_empty() || to.username.as_str() == &**reader,
        ConversationKind::Group => from.username.as_str() != &**reader,
    }
}

/// To whom one could answer.
fn names(HistoryEntry { from, to, kind, .. }: &HistoryEntry) -> impl Iterator<Item = String> {
    let group = Some(&to.username).filter(|name| *kind == ConversationKind::Group && !name.as_str().is_empty());
    [Some(&from.username), group].into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>().into_iter()
}

fn is_lost(error: &ClientError) -> String {
    format!("({}: trying again)\n", visible(&error.to_string()))
}
