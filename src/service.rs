//! The rules: a request and who asks in, a reply out. Sees no socket and no spelling; every rule can be tried without
//! either. What it says OK to is durable.

use std::net::IpAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tracing::{debug, info, warn};

use crate::metrics::Tally;
use crate::model::{MessageId, Password, Timestamp, Token};
use crate::password::{Passwords, Share, Verdict};
use crate::protocol::{FromSender, Past, Person, Receipt, Refusal, Reply, Request, Send};
pub use crate::repository::{Arrival, Each, Lease};
use crate::repository::{Delivery, Entry, NewMessage, NewSession, Page, Queued, Repository, Session, User, Want};
use crate::throttle::{Throttle, network};

/// How many messages `history` shows that was not told a number.
const HISTORY: usize = 20;

/// What an administrator may set; changes take effect with the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A session ends when its token was not shown for this long.
    pub idle_expiry: Duration,
    /// How many sessions a user may have; those go first that were not used for longest.
    pub sessions_per_user: usize,
    /// Whether an inbox names senders all of whose mail was read.
    pub drained_senders: bool,
    /// How much text one inbox reply holds at the most, in bytes, unless a single message is longer.
    pub inbox_reply_bytes: u64,
    /// How long a `wait` lasts at the most.
    pub wait_at_most: Duration,
    /// How many messages one reply to `history` or `status` tells of at the most.
    pub history_messages: usize,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Peer {
    /// From where.
    pub address: IpAddr,
}

/// A reply, and the hold on the messages in it.
#[derive(Debug)]
pub struct Outcome {
    /// What the client hears.
    pub reply: Reply,
    /// To be confirmed when the client has the reply; dropped, the messages wait again.
    pub lease: Option<Lease>,
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Outcome {
        Outcome { reply, lease: None }
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Outcome {
        Reply::Refused(refusal).into()
    }
}

/// The service; one for the whole program.
pub struct Service {
    repository: Arc<dyn Repository>,
    passwords: Passwords,
    throttle: Throttle,
    rules: RwLock<Rules>,
    refused_logins: Tally,
    refused_sends: Tally,
}

/// Why a login can be refused, and why a message can.
const LOGIN_REASONS: [&str; 5] = ["unknown_user", "wrong_password", "throttled", "busy", "unavailable"];
const SEND_REASONS: [&str; 4] = ["unknown_token", "unknown_recipient", "inbox_full", "unavailable"];

impl Service {
    /// A service on a store.
    pub fn new(repository: Arc<dyn Repository>, passwords: Passwords, throttle: Throttle, rules: Rules) -> Service {
        Service {
            repository,
            passwords,
            throttle,
            rules: RwLock::new(rules),
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

    /// Takes new rules; requests in hand keep the old ones.
    pub fn set_rules(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(|broken| broken.into_inner()) = rules;
    }

    fn rules(&self) -> Rules {
        *self.rules.read().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Carries out one request.
    pub async fn handle(&self, peer: &Peer, request: Request) -> Outcome {
        let result = match request {
            Request::Auth { username, password } => {
                let login = self.auth(peer, &username, &password).await;
                login.inspect_err(|refusal| self.refused_logins.count(refusal.reason()))
            }
            Request::Send(send) => return self.send(peer, Each::from([send])).await.remove(0).into(),
            Request::Inbox { token } => self.inbox(peer, &token).await,
            Request::Show { token } => self.show(&token).await,
            Request::Logout { token } => self.logout(peer, token).await,
            // To wait is the connection's affair, which alone can see that nobody waits any more.
            Request::Wait { token, .. } => self.inbox(peer, &token).await,
            Request::Ack { token } => self.ack(&token).await,
            Request::History { token, username, before, count } => self.history(&token, &username, before, count).await,
            Request::Status { token, username } => self.status(&token, &username).await,
        };
        result.unwrap_or_else(Outcome::from)
    }

    /// Carries out several `send`s of one connection with one wait; the replies are in the same order.
    pub async fn send(&self, peer: &Peer, sends: Each<Send>) -> Each<Reply> {
        let now = Timestamp::now();
        let mut messages = Each::with_capacity(sends.len());
        let mut replies = Each::with_capacity(sends.len());
        for send in sends {
            replies.push(match self.accept(peer, send, now) {
                Ok(message) => {
                    messages.push(message);
                    Reply::Sent
                }
                Err(refusal) => self.refuse_send(refusal),
            });
        }
        if messages.is_empty() {
            return replies;
        }
        let queued = self.repository.send(messages).await;
        let accepted = replies.iter_mut().filter(|reply| **reply == Reply::Sent);
        for (place, reply) in accepted.enumerate() {
            match queued.as_ref().map(|queued| queued.get(place)) {
                Ok(Some(Queued::Stored(_))) => {}
                Ok(Some(Queued::InboxFull)) => *reply = self.refuse_send(Refusal::InboxFull),
                Ok(Some(Queued::NoSpace | Queued::Unfit) | None) | Err(_) => {
                    *reply = self.refuse_send(Refusal::Unavailable)
                }
            }
        }
        replies
    }

    fn refuse_send(&self, refusal: Refusal) -> Reply {
        self.refused_sends.count(refusal.reason());
        refusal.into()
    }

    /// What is to be queued, if the sender may.
    fn accept(&self, peer: &Peer, send: Send, now: Timestamp) -> Result<NewMessage, Refusal> {
        let session = self.session_at(&send.token, now)?;
        let recipient = self.repository.recipient(&send.recipient).ok_or(Refusal::UnknownRecipient)?;
        debug!(address = %peer.address, user = session.user.username.as_str(), bytes = send.text.len(), "send");
        Ok(NewMessage { sender: session.user.id, recipient, sent_at: now, text: send.text })
    }

    /// Whether the token is that of a living session. Costs no I/O.
    pub fn is_living(&self, token: &Token) -> bool {
        self.session(token).is_ok()
    }

    /// Hears of the next mail for the token's user.
    pub fn arrival(&self, token: &Token) -> Result<Arrival, Refusal> {
        Ok(self.repository.arrival(self.session(token)?.user.id))
    }

    /// How long a `wait` lasts at the most.
    pub fn wait_at_most(&self) -> Duration {
        self.rules().wait_at_most
    }

    /// Ends the sessions that were idle for too long.
    pub async fn tidy(&self) {
        let unused_since = Timestamp::now().before(self.rules().idle_expiry);
        match self.repository.tidy_sessions(unused_since).await {
            Ok(0) | Err(_) => {}
            Ok(ended) => info!(ended, "idle sessions ended"),
        }
    }

    fn session(&self, token: &Token) -> Result<Session, Refusal> {
        self.session_at(token, Timestamp::now())
    }

    fn session_at(&self, token: &Token, now: Timestamp) -> Result<Session, Refusal> {
        let unused_since = now.before(self.rules().idle_expiry);
        self.repository.session(&token.hash(), now, unused_since).ok_or(Refusal::UnknownToken)
    }

    async fn auth(&self, peer: &Peer, username: &str, password: &Password) -> Result<Outcome, Refusal> {
        let user = self.repository.user_named(username);
        // Where somebody is logged in from is known to the account, be the session older than this process.
        if let Some(user) = &user
            && self.repository.addresses(user.id).iter().any(|from| network(*from) == network(peer.address))
        {
            self.throttle.remember(peer.address, username);
        }
        let attempt = match self.throttle.attempt(peer.address, username).await {
            Ok(attempt) => attempt,
            Err(retry_after) => {
                warn!(address = %peer.address, user = ?username, ?retry_after, "login refused: throttled");
                return Err(Refusal::Throttled { retry_after });
            }
        };
        // The password of an account that is shut is not looked at: right or wrong, the answer and its cost are those of
        // an account that is not there.
        let hash = match user.as_ref().filter(|user| !user.disabled) {
            Some(user) => match self.repository.password_hash(user.id).await {
                Ok(hash) => hash,
                Err(_) => {
                    attempt.unchecked();
                    return Err(Refusal::Unavailable);
                }
            },
            None => None,
        };
        let (network, address) = attempt.share();
        let share = Share { known: attempt.is_known(), network, address };
        let Ok(verdict) = self.passwords.verify(password.spellings(), hash, share).await else {
            attempt.unchecked();
            return Err(Refusal::Busy);
        };
        let Some(user) = user else {
            warn!(address = %peer.address, user = ?username, "login refused: no such user");
            return Err(Refusal::UnknownUser);
        };
        if user.disabled {
            warn!(address = %peer.address, user = user.username.as_str(), "login refused: the account is disabled");
            return Err(Refusal::UnknownUser);
        }
        let rehashed = match verdict {
            Verdict::Wrong => {
                warn!(address = %peer.address, user = user.username.as_str(), "login refused: wrong password");
                return Err(Refusal::WrongPassword);
            }
            Verdict::Right => None,
            Verdict::RightWith { new_hash } => Some(new_hash),
        };
        attempt.succeeded();
        let token = Token::generate();
        let session = NewSession {
            user: user.id,
            token: token.hash(),
            address: peer.address.to_string().into(),
            created_at: Timestamp::now(),
            most: self.rules().sessions_per_user,
            rehashed,
        };
        if !self.repository.open_session(session).await.map_err(|_| Refusal::Unavailable)? {
            return Err(Refusal::UnknownUser);
        }
        info!(address = %peer.address, user = user.username.as_str(), "login");
        Ok(Reply::LoggedIn { token }.into())
    }

    async fn inbox(&self, peer: &Peer, token: &Token) -> Result<Outcome, Refusal> {
        let session = self.session(token)?;
        let Rules { drained_senders, inbox_reply_bytes, .. } = self.rules();
        let want = Want { bytes: inbox_reply_bytes, drained_senders, session: Some(session.id) };
        let delivery = self.repository.lease(session.user.id, want).await.map_err(|_| Refusal::Unavailable)?;
        // A session that ended meanwhile was handed nothing.
        self.session(token)?;
        let messages = delivery.lease.as_ref().map_or(0, Lease::len);
        debug!(address = %peer.address, user = session.user.username.as_str(), messages, "inbox");
        Ok(self.inbox_reply(&session, delivery))
    }

    fn inbox_reply(&self, session: &Session, delivery: Delivery) -> Outcome {
        let mut senders: Vec<FromSender> = Vec::with_capacity(delivery.senders.len());
        for (sender, messages) in delivery.senders {
            let Some(sender) = self.repository.user(sender) else { continue };
            // A removed account and a later one of the same name share a key, as a JSON object wants it.
            if let Some(same) = senders.iter_mut().find(|from| from.username == sender.username) {
                same.messages.extend(messages);
                same.messages.sort_by_key(|message| message.id);
                continue;
            }
            senders.push(FromSender {
                username: sender.username.clone(),
                sender: sender.display_name.to_string(),
                recipient: session.user.display_name.to_string(),
                messages,
            });
        }
        Outcome { reply: Reply::Inbox(senders), lease: delivery.lease }
    }

    async fn show(&self, token: &Token) -> Result<Outcome, Refusal> {
        self.session(token)?;
        Ok(Reply::Online(self.repository.online().await.map_err(|_| Refusal::Unavailable)?).into())
    }

    async fn logout(&self, peer: &Peer, token: Token) -> Result<Outcome, Refusal> {
        let session = self.session(&token)?;
        match self.repository.end_session(session.id).await {
            Ok(true) => {
                info!(address = %peer.address, user = session.user.username.as_str(), "logout");
                Ok(Reply::LoggedOut { token }.into())
            }
            Ok(false) => Err(Refusal::UnknownToken),
            Err(_) => Err(Refusal::Unavailable),
        }
    }

    /// The connection has confirmed what it was handed; says so when that is durable.
    async fn ack(&self, token: &Token) -> Result<Outcome, Refusal> {
        self.session(token)?;
        self.repository.confirmed().await.map_err(|_| Refusal::Unavailable)?;
        Ok(Reply::Acknowledged.into())
    }

    async fn history(
        &self,
        token: &Token,
        username: &str,
        before: Option<MessageId>,
        count: Option<u64>,
    ) -> Result<Outcome, Refusal> {
        let me = self.session(token)?.user;
        let other = self.repository.user_named(username).ok_or(Refusal::UnknownRecipient)?;
        let Rules { history_messages, inbox_reply_bytes, .. } = self.rules();
        let count = count.map_or(HISTORY, |count| usize::try_from(count).unwrap_or(usize::MAX));
        let page = Page { before, messages: count.min(history_messages), bytes: inbox_reply_bytes };
        let entries = self.repository.conversation(me.id, other.id, page).await.map_err(|_| Refusal::Unavailable)?;
        let person =
            |user: &User| Person { username: user.username.clone(), display_name: user.display_name.to_string() };
        let past = |Entry { message, sender, read_at, .. }: Entry| {
            let (from, to) = if sender == me.id { (&me, &other) } else { (&other, &me) };
            Past { message, from: person(from), to: person(to), read_at }
        };
        Ok(Reply::History(entries.into_iter().map(past).collect()).into())
    }

    async fn status(&self, token: &Token, username: &str) -> Result<Outcome, Refusal> {
        let me = self.session(token)?.user;
        let other = self.repository.user_named(username).ok_or(Refusal::UnknownRecipient)?;
        let most = self.rules().history_messages;
        let receipts = self.repository.receipts(me.id, other.id, most).await.map_err(|_| Refusal::Unavailable)?;
        let receipts = receipts.into_iter().map(|(id, sent_at, read_at)| Receipt { id, sent_at, read_at });
        Ok(Reply::Status(receipts.collect()).into())
    }
}
