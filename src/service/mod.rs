//! The rules: a request and its caller in, a reply out. Sees no socket and no spelling. OK means durable.

mod account;
mod administration;
mod caller;
mod family;
mod files;
mod following;
mod groups;
mod inbox;
mod login;
mod people;
mod push;
mod register;
mod tokens;
mod uploads;
mod wait;

use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use tokio::sync::broadcast;
use tracing::{debug, info};

use self::account::Presence;
pub(crate) use self::administration::{AccountSettings, NewAccount};
pub use self::caller::TokenState;
pub(crate) use self::caller::{Authenticated, Caller, Need, Outcome};
pub(crate) use self::following::FollowRequest;
pub(crate) use self::groups::{GroupProfile, MemberProfile};
pub(crate) use self::inbox::Handout;
pub use self::register::RegisterRule;
pub(crate) use self::tokens::TokenRequest;
pub(crate) use self::uploads::{FileSend, UploadBegin};
use crate::auth::password::Passwords;
use crate::auth::throttle::Throttle;
use crate::fair::Turns;
use crate::model::{Label, MessageId, SendKey, SessionId, Token, UserId};
use crate::ops::metrics::Tally;
use crate::protocol::{Command, Refusal, Reply, Send};
use crate::repository::{self, GroupLimits, NewMessage, Repository, SendResult};
pub(crate) use crate::repository::{
    EndedSession, Following, Lease, PerMessage, PushSubscription, SentFile, Session, StoredSession,
};

/// What an administrator may set; changes take effect with the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A session ends when its token was not shown for this long.
    pub idle_expiry: Duration,
    /// How many sessions a user may have. The one that was not used for longest ends first.
    pub sessions_per_user: usize,
    /// Whether an inbox names senders all of whose mail was read.
    pub drained_senders: bool,
    /// How much text one inbox reply holds at the most, in bytes, unless a single message is longer.
    pub inbox_reply_bytes: u64,
    /// How many messages one inbox reply holds at the most.
    pub inbox_reply_messages: usize,
    /// How long a `wait` lasts at the most.
    pub wait_at_most: Duration,
    /// How many messages one reply to `history` or `status` has at the most.
    pub history_messages: usize,
    /// How large groups may become.
    pub groups: GroupLimits,
    /// Whether people are told who there is.
    pub directory: bool,
    /// Who may make an account.
    pub register: RegisterRule,
    /// How many bytes a file may have.
    pub file_bytes: u64,
    /// How many accounts one address may make in an hour.
    pub registrations_per_hour: u32,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Peer {
    /// From where.
    pub address: IpAddr,
    /// It is on this machine, as far as can be known.
    pub is_here: bool,
    /// How much text the next reply may have, in bytes, unless a single message is longer.
    pub reply_bytes: u64,
    /// Nobody on the way can read what it sends.
    pub is_encrypted: bool,
}

/// The service; one for the whole program.
pub struct Service {
    repository: Arc<dyn Repository>,
    passwords: Passwords,
    throttle: Throttle,
    registrations: Throttle,
    rules: RwLock<Rules>,
    presence: OnceLock<Presence>,
    group_changes: Arc<Turns<UserId>>,
    refused_logins: Tally,
    refused_sends: Tally,
}

/// Why a login can be refused, and why a message can.
const LOGIN_REASONS: [&str; 5] = ["unknown_user", "wrong_password", "throttled", "busy", "unavailable"];
const SEND_REASONS: [&str; 8] = [
    "unknown_token",
    "unknown_recipient",
    "out_of_scope",
    "not_a_member",
    "inbox_full",
    "stored_full",
    "key_used",
    "unavailable",
];

impl Service {
    /// A service on a store.
    pub fn new(repository: Arc<dyn Repository>, passwords: Passwords, throttle: Throttle, rules: Rules) -> Service {
        Service {
            repository,
            passwords,
            throttle,
            registrations: register::throttle(rules),
            rules: RwLock::new(rules),
            presence: OnceLock::new(),
            group_changes: groups::turns(),
            refused_logins: Tally::of(&LOGIN_REASONS),
            refused_sends: Tally::of(&SEND_REASONS),
        }
    }

    /// Logins that were refused, by reason.
    pub fn refused_logins(&self) -> &Tally {
        &self.refused_logins
    }

    /// Messages that were refused, by reason.
    pub fn refused_sends(&self) -> &Tally {
        &self.refused_sends
    }

    /// Counts logins.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Takes new rules. Requests that have begun keep the old ones.
    pub fn set_rules(&self, rules: Rules) {
        self.registrations.set_rates(register::rates(rules));
        *self.rules.write().unwrap_or_else(|broken| broken.into_inner()) = rules;
    }

    fn rules(&self) -> Rules {
        *self.rules.read().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Finds out who asks: once for each request, before it is carried out.
    pub async fn authenticate(&self, token: Option<Token>) -> Caller {
        let Some(token) = token else { return Caller::Anonymous };
        let steady = self.repository.clock().steady();
        let unused_since = steady.before(self.rules().idle_expiry);
        match self.repository.session(token.hash(), steady, unused_since).await {
            Ok(Some(session)) => Caller::of(Authenticated { token, session, at: self.repository.clock().now() }),
            Ok(None) => Caller::Dead,
            Err(_) => Caller::Unknown,
        }
    }

    /// Carries out one command.
    pub async fn handle(&self, peer: &Peer, caller: Caller, command: Command) -> Outcome {
        let caller = caller.admit(Need::of(&command));
        let result = match command {
            Command::Auth { username, password } => {
                return self.log_in(peer, &username, &password, Label::default()).await;
            }
            Command::Send(send) => return self.send(peer, PerMessage::from([(caller, send)])).await.remove(0),
            Command::SendOnce { key, recipient, text } => {
                return self.send_once(peer, &caller, key, Send { recipient, text }).await;
            }
            Command::Inbox => self.hand_out(peer, &caller, Handout::BySender).await,
            Command::Show => self.while_open(&caller, self.show(&caller)).await,
            Command::Logout => self.logout(peer, &caller).await,
            command @ (Command::Wait { .. } | Command::Fetch { .. } | Command::Follow { .. }) => {
                let never_interrupted = pending::<Result<(), Infallible>>();
                let Ok(outcome) = Box::pin(self.attend(peer, caller, command, never_interrupted)).await;
                return outcome;
            }
            Command::Ack => self.while_open(&caller, self.ack(&caller)).await,
            Command::History { username, before, count } => {
                self.while_open(&caller, self.history(peer, &caller, &username, before, count)).await
            }
            Command::Group(command) => self.while_open(&caller, self.group(peer, &caller, command)).await,
            Command::Account(command) => self.account(peer, &caller, command).await,
            Command::Status { username } => self.while_open(&caller, self.status(&caller, &username)).await,
            Command::Conversations { before } => {
                self.while_open(&caller, self.conversations(peer, &caller, before)).await
            }
            Command::Family(command) => self.family(peer, &caller, command).await,
            Command::Read { username, to } => self.while_open(&caller, self.read(peer, &caller, &username, to)).await,
        };
        result.unwrap_or_else(|refusal| caller.is_refused(refusal))
    }

    /// Carries out a command that may wait for something to happen. It waits no longer when `interrupted` is ready; an
    /// error of that means that nobody is there any more.
    pub(crate) async fn attend<E>(
        &self,
        peer: &Peer,
        caller: Caller,
        command: Command,
        interrupted: impl Future<Output = Result<(), E>>,
    ) -> Result<Outcome, E> {
        match command {
            Command::Wait { at_most } => self.wait(peer, caller, Handout::BySender, at_most, interrupted).await,
            Command::Fetch { at_most } => self.wait(peer, caller, Handout::Numbered, at_most, interrupted).await,
            Command::Follow { after, at_most, reads } => {
                self.follow(peer, caller, FollowRequest { after, at_most, reads }, interrupted).await
            }
            command => Ok(self.handle(peer, caller, command).await),
        }
    }

    /// A session may end while a request of it waits for its turn; then there is no other answer than that.
    async fn while_open(
        &self,
        caller: &Caller,
        work: impl Future<Output = Result<Outcome, Refusal>>,
    ) -> Result<Outcome, Refusal> {
        let outcome = work.await?;
        self.must_be_open(caller)?;
        Ok(outcome)
    }

    fn must_be_open(&self, caller: &Caller) -> Result<(), Refusal> {
        if self.is_open(caller.user()?.session.id) { Ok(()) } else { Err(Refusal::UnknownToken) }
    }

    /// Carries out several `send`s of one connection with one wait; the outcomes are in the same order.
    pub async fn send(&self, peer: &Peer, sends: PerMessage<(Caller, Send)>) -> PerMessage<Outcome> {
        let mut messages = PerMessage::with_capacity(sends.len());
        let mut outcomes = PerMessage::with_capacity(sends.len());
        for (caller, send) in sends {
            let caller = caller.admit(Need::Send);
            outcomes.push(match self.accept(peer, &caller, send).await {
                Ok(message) => {
                    messages.push(message);
                    caller.hears(Reply::Sent)
                }
                Err(refusal) => {
                    self.refused_sends.count(refusal.reason());
                    caller.is_refused(refusal)
                }
            });
        }
        if messages.is_empty() {
            return outcomes;
        }
        let queued = self.repository.send(messages).await;
        let accepted = outcomes.iter_mut().filter(|outcome| outcome.reply == Reply::Sent);
        for (place, outcome) in accepted.enumerate() {
            let queued = queued.as_ref().ok().and_then(|queued| queued.get(place));
            match self.stored(queued) {
                Ok((_, 0)) => {}
                Ok((_, not_delivered)) => outcome.reply = Reply::SentToSome { not_delivered },
                Err(refusal) => outcome.reply = refusal.into(),
            }
        }
        outcomes
    }

    /// Carries out a `send` under a key of the sender's: the same key again sends nothing, and gives the same number.
    pub(crate) async fn send_once(&self, peer: &Peer, caller: &Caller, key: SendKey, send: Send) -> Outcome {
        let message = match self.accept(peer, caller, send).await {
            Ok(message) => message,
            Err(refusal) => {
                self.refused_sends.count(refusal.reason());
                return caller.is_refused(refusal);
            }
        };
        let queued = self.repository.send_once(message, key).await;
        let stored = self.stored(queued.as_ref().ok());
        caller.hears(stored.map_or_else(Reply::from, |(id, not_delivered)| Reply::Stored { id, not_delivered }))
    }

    /// The message that was stored and how many do not get it, or why there is none; `None`: nobody knows.
    fn stored(&self, queued: Option<&SendResult>) -> Result<(MessageId, u64), Refusal> {
        let refusal = match queued {
            Some(SendResult::Stored { id, not_delivered }) => return Ok((*id, *not_delivered as u64)),
            Some(SendResult::InboxFull) => Refusal::InboxFull,
            Some(SendResult::KeyUsed) => Refusal::KeyUsed,
            Some(SendResult::StoredFull) => Refusal::StoredFull,
            Some(SendResult::NotAMember) => Refusal::NotAMember,
            Some(SendResult::NoSpace | SendResult::Unfit) | None => Refusal::Unavailable,
        };
        self.refused_sends.count(refusal.reason());
        Err(refusal)
    }

    /// The message to queue, if the sender may send it.
    async fn accept(&self, peer: &Peer, caller: &Caller, send: Send) -> Result<NewMessage, Refusal> {
        self.must_be_open(caller)?;
        let Authenticated { session, at, .. } = caller.user()?;
        let recipient = self.repository.recipient(&send.recipient).await.map_err(unavailable)?;
        let recipient = recipient.ok_or(Refusal::UnknownRecipient)?;
        if session.grant.is_some_and(|grant| grant.to.is_some_and(|to| to != recipient.number())) {
            return Err(Refusal::OutOfScope);
        }
        debug!(address = %peer.address, user = session.user.username.as_str(), bytes = send.text.len(), "send");
        Ok(NewMessage { sender: session.user.id, to: recipient, sent_at: *at, text: send.text })
    }

    /// Whether a session has not ended.
    pub fn is_open(&self, session: SessionId) -> bool {
        self.repository.is_open(session)
    }

    /// Gives each session that ends from now on.
    pub fn ended_sessions(&self) -> broadcast::Receiver<EndedSession> {
        self.repository.ended_sessions()
    }

    /// How much text one reply has at the most, in bytes, unless a single message is longer.
    pub fn reply_bytes(&self) -> u64 {
        self.rules().inbox_reply_bytes
    }

    /// Ends the sessions that were idle for too long.
    pub async fn tidy(&self) {
        let unused_since = self.repository.clock().steady().before(self.rules().idle_expiry);
        match self.repository.tidy_sessions(unused_since).await {
            Ok(0) | Err(_) => {}
            Ok(ended) => info!(ended, "idle sessions ended"),
        }
    }

    async fn show(&self, caller: &Caller) -> Result<Outcome, Refusal> {
        caller.user()?;
        let online = self.repository.online().await.map_err(unavailable)?;
        Ok(caller.hears(Reply::Online(online)))
    }

    async fn logout(&self, peer: &Peer, caller: &Caller) -> Result<Outcome, Refusal> {
        let &Authenticated { token, ref session, .. } = caller.user()?;
        match self.repository.end_session(session.id).await {
            Ok(true) => {
                info!(address = %peer.address, user = session.user.username.as_str(), "logout");
                let username = session.user.username.clone();
                Ok(Outcome { reply: Reply::LoggedOut { token, username }, token: TokenState::Dead, lease: None })
            }
            Ok(false) => Err(Refusal::UnknownToken),
            Err(_) => Err(Refusal::Unavailable),
        }
    }
}

/// The store has logged what went wrong.
fn unavailable(_: repository::Error) -> Refusal {
    Refusal::Unavailable
}
