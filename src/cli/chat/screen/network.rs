//! The two connections of `chatd chat`. One follows the message log from its last place, so that no message is missed
//! or shown twice. The other carries out what the person wants, in the same order. It repeats a request until it is
//! certain that the server has got it.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::sleep;

use crate::cli::chat::screen::event::{ChatEvent, ConversationNews, Effect};
use crate::cli::chat::screen::state::ShownMessage;
use crate::cli::chat::script::as_sent;
use crate::client::link::Link;
use crate::client::{ClientError, RemoteServer};
use crate::model::{LookupName, MessageId, SendKey, Token, Username};
use crate::protocol::text::{self, ReplyContext};
use crate::protocol::{Command, FollowReply, GroupCommand, HistoryEntry, Refusal, Reply};

/// How long one request waits for news.
const WAIT: Duration = Duration::from_secs(20);
/// How much longer the reply may take.
const LATE: Duration = Duration::from_secs(10);
/// How long to leave a server alone that cannot be reached: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How many messages of a conversation one request asks for.
const PAGE: u64 = 100;

/// One person at one server.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) server: RemoteServer,
    pub(crate) token: Token,
    pub(crate) me: String,
    pub(crate) events: UnboundedSender<ChatEvent>,
}

/// Why a round of requests ended.
enum Trouble {
    /// Another connection may do better.
    Connection(ClientError),
    /// The server says no for now.
    Later,
    /// The server says no, and would say so again.
    Refused(Reply),
    /// The session has ended.
    Ended,
    /// Nobody listens any more.
    Gone,
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Trouble {
        Trouble::Connection(error)
    }
}

impl Network {
    fn tell(&self, event: ChatEvent) -> Result<(), Trouble> {
        self.events.send(event).map_err(|_| Trouble::Gone)
    }

    async fn ask(&self, link: &mut Link, command: Command) -> Result<Reply, Trouble> {
        match link.call_once(&command.with(self.token), WAIT + LATE).await? {
            Reply::Refused(Refusal::UnknownToken) => Err(Trouble::Ended),
            Reply::Refused(Refusal::Unavailable | Refusal::Busy | Refusal::TooManyConnections) => Err(Trouble::Later),
            reply => Ok(reply),
        }
    }

    /// Sends an event for all that comes, until nobody listens or the session has ended.
    pub(crate) async fn follow(self) {
        let (mut place, mut pause) = (None, FIRST_PAUSE);
        loop {
            let before = place;
            let trouble = match self.follow_on_one_connection(&mut place).await {
                Err(Trouble::Gone) => return,
                Err(Trouble::Ended) => {
                    let _ = self.tell(ChatEvent::SessionEnded);
                    return;
                }
                Err(Trouble::Connection(error)) => error.to_string(),
                Err(Trouble::Later) => "the server is busy".to_owned(),
                Err(Trouble::Refused(Reply::Refused(Refusal::UnknownCommand))) => {
                    "the server is too old for this: `chatd client` speaks with it".to_owned()
                }
                Err(Trouble::Refused(reply)) => text::render(&ReplyContext::Inbox, &reply),
                Ok(never) => match never {},
            };
            if self.tell(ChatEvent::Lost(trouble)).is_err() {
                return;
            }
            pause = if place == before { (pause * 2).min(LONGEST_PAUSE) } else { FIRST_PAUSE };
            sleep(pause).await;
        }
    }

    async fn follow_on_one_connection(
        &self,
        place: &mut Option<(MessageId, u64)>,
    ) -> Result<std::convert::Infallible, Trouble> {
        let mut link = Link::new(self.server.clone());
        let mut is_up = false;
        loop {
            // What is answered at once proves that the connection is there.
            let at_most = if is_up { WAIT } else { Duration::ZERO };
            let (after, reads) = place.unzip();
            let news = match self.ask(&mut link, Command::Follow { after, at_most, reads }).await? {
                Reply::Follow(news) => news,
                other => return Err(Trouble::Refused(other)),
            };
            let FollowReply { messages, next, more, reads: reads_now } = news;
            if !messages.is_empty() {
                self.tell(ChatEvent::Came(messages.into_iter().map(|entry| self.shown(entry)).collect()))?;
            }
            if reads != Some(reads_now) {
                self.conversations(&mut link).await?;
            }
            *place = Some((next, reads_now));
            if !is_up && !more {
                is_up = true;
                self.tell(ChatEvent::Up)?;
            }
        }
    }

    /// Sends an event with all conversations.
    async fn conversations(&self, link: &mut Link) -> Result<(), Trouble> {
        let mut before = None;
        loop {
            let page = match self.ask(link, Command::Conversations { before }).await? {
                Reply::Conversations(page) => page,
                other => return Err(Trouble::Refused(other)),
            };
            let news = page.list.into_iter().map(|entry| ConversationNews {
                with: entry.with.username.to_string(),
                newest: (entry.newest.message.sent_at, entry.newest.message.id),
                unread: entry.unread,
                read_by_me: entry.read_to,
                read_by_other: entry.other_read_to,
            });
            self.tell(ChatEvent::Conversations(news.collect()))?;
            match page.next {
                Some(next) => before = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// A message with the name of the other side.
    fn shown(&self, entry: HistoryEntry) -> (String, MessageId, ShownMessage) {
        let HistoryEntry { message, from, to, read_at, .. } = entry;
        let from = from.username.to_string();
        let to = to.username.to_string();
        // What somebody else sent to a group belongs to the group.
        let with = if to == self.me { from.clone() } else { to };
        let text = message.text.trim().into();
        (with, message.id, ShownMessage { sent_at: message.sent_at, from, text, read: read_at.is_some() })
    }

    /// Carries out what is wanted, one after the other.
    pub(crate) async fn carry_out(self, mut wanted: UnboundedReceiver<Effect>) {
        let mut link = Link::new(self.server.clone());
        while let Some(effect) = wanted.recv().await {
            let mut pause = FIRST_PAUSE;
            loop {
                match self.carry_out_once(&mut link, &effect).await {
                    Ok(()) => break,
                    Err(Trouble::Connection(ClientError::Unreachable { .. } | ClientError::Lost(_))) => {
                        link = Link::new(self.server.clone());
                    }
                    Err(Trouble::Later) => {}
                    Err(Trouble::Connection(error)) => {
                        if self.is_refused(&effect, error.to_string()).is_err() {
                            return;
                        }
                        break;
                    }
                    Err(Trouble::Refused(reply)) => {
                        if self.is_refused(&effect, Self::why_refused(&effect, &reply)).is_err() {
                            return;
                        }
                        break;
                    }
                    // The other connection says so.
                    Err(Trouble::Ended | Trouble::Gone) => return,
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Why the server does not do it, in words of this screen where those of the document are not enough.
    fn why_refused(effect: &Effect, reply: &Reply) -> String {
        match (effect, reply) {
            (Effect::Send { with, .. }, Reply::Refused(Refusal::UnknownRecipient)) => {
                format!("nobody has the name {with}, and no group")
            }
            (Effect::Send { with, .. }, reply) => text::render(&ReplyContext::Send(with.clone()), reply),
            (_, reply) => text::render(&ReplyContext::Inbox, reply),
        }
    }

    fn is_refused(&self, effect: &Effect, why: String) -> Result<(), Trouble> {
        match effect {
            Effect::Send { with, key, .. } => {
                self.tell(ChatEvent::Refused { with: with.clone(), key: key.clone(), why })
            }
            Effect::Older { with, .. } => {
                self.tell(ChatEvent::Page { with: with.clone(), messages: Vec::new(), last: true })
            }
            _ => Ok(()),
        }
    }

    async fn carry_out_once(&self, link: &mut Link, effect: &Effect) -> Result<(), Trouble> {
        match effect {
            Effect::Send { with, key, text } => self.send(link, with, key, text).await,
            Effect::Older { with, before } => {
                let command = Command::History { username: LookupName::of(with), before: *before, count: Some(PAGE) };
                let entries = match self.ask(link, command).await? {
                    Reply::History(entries) => entries,
                    other => return Err(Trouble::Refused(other)),
                };
                let last = entries.is_empty();
                let messages = entries.into_iter().map(|entry| self.shown(entry));
                let messages = messages.map(|(_, id, message)| (id, message)).collect();
                self.tell(ChatEvent::Page { with: with.clone(), messages, last })
            }
            Effect::Read { with, upto } => {
                match self.ask(link, Command::Read { username: LookupName::of(with), to: *upto }).await? {
                    Reply::Read(_) => Ok(()),
                    other => Err(Trouble::Refused(other)),
                }
            }
            Effect::People => {
                match self.ask(link, Command::Show).await? {
                    Reply::Online(names) => self.tell_names(&names)?,
                    other => return Err(Trouble::Refused(other)),
                }
                match self.ask(link, Command::Group(GroupCommand::List)).await? {
                    Reply::Groups(names) => self.tell_names(&names),
                    // An older server has none.
                    _ => Ok(()),
                }
            }
            Effect::Done { .. } | Effect::Notify(_) | Effect::Suspend | Effect::Redraw | Effect::Quit => Ok(()),
        }
    }

    fn tell_names(&self, names: &[Username]) -> Result<(), Trouble> {
        self.tell(ChatEvent::People(names.iter().map(ToString::to_string).collect()))
    }

    async fn send(&self, link: &mut Link, with: &str, key: &str, text: &str) -> Result<(), Trouble> {
        let Some(text) = as_sent(text) else { return Ok(()) };
        let Some(send_key) = SendKey::parse(key) else { return Ok(()) };
        let send = Command::SendOnce { key: send_key, recipient: LookupName::of(with), text: text.into() };
        match self.ask(link, send).await? {
            Reply::Stored { id, .. } => self.tell(ChatEvent::Stored { with: with.to_owned(), key: key.to_owned(), id }),
            other => Err(Trouble::Refused(other)),
        }
    }
}
