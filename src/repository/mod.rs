//! The store, in the words of the protocol: accounts, sessions, the message log and who has read what of it. One trait,
//! two callers (the service, and the administrator's commands). A change of several steps is one method, so that the
//! backend makes it atomic. When the future of a `send` is ready, the message is on stable storage.

mod accounts;
mod answer;
pub(crate) mod arrivals;
mod copied;
mod copying;
mod following;
pub(crate) mod group_commit;
mod groups;
pub(crate) mod lease;
pub(crate) mod memory;
mod open;
mod open_error;
pub(crate) mod postgres;
mod push;
mod records;
mod sent_files;
pub(crate) mod sqlite;

pub use self::accounts::{AccountRepository, NewInvite, NewToken, PasswordChange};
pub(crate) use self::answer::Answer;
pub(crate) use self::arrivals::Arrival;
pub use self::copied::{CopiedTable, CopyStep};
pub use self::copying::{DatabaseAddress, copy};
pub(crate) use self::following::{ConversationPage, ConversationSummary, FollowPage};
pub use self::following::{ConversationQuery, FollowQuery};
pub(crate) use self::groups::GroupReceipt;
pub use self::groups::{Group, GroupLimits, GroupMember, GroupRepository, GroupResult, NewGroup, ReadCount};
pub(crate) use self::lease::Hold;
pub use self::lease::Lease;
pub(crate) use self::memory::followers::Following;
pub use self::open::{Store, open};
pub(crate) use self::open::{file_of, reach, shown};
pub(crate) use self::open_error::OpenError;
pub use self::push::{PushRepository, PushSubscription};
pub(crate) use self::records::{AddUserResult, EndedSession, Session, StoredInvite, StoredSession, User};
pub use self::records::{Grant, NewUser};
pub use self::sent_files::{FileQuery, FileRepository, NewFile, ReceivedFile, SentFile};

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::broadcast;

use crate::clock::{Clock, Steady};
use crate::model::{Address, Label, Message, MessageId, SendKey, SessionId, Timestamp, TokenHash, UserId, Username};
use crate::ops::metrics::Durations;

/// One of something for each message of a packet: nearly always one message, and then not on the heap.
pub(crate) type PerMessage<T> = SmallVec<[T; 1]>;

/// The store could not do it, or does not know whether it did. Logged by the store, with its source.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub Arc<str>);

impl Error {
    pub(crate) fn new(what: impl fmt::Display) -> Error {
        Error(what.to_string().into())
    }
}

/// A session to be opened.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Whose it is.
    pub user: UserId,
    /// SHA-256 of its token.
    pub token: TokenHash,
    /// From where it is opened.
    pub address: Arc<str>,
    /// What it is opened in.
    pub label: Label,
    /// Now.
    pub created_at: Timestamp,
    /// The user's sessions that were not used for longest end when there would be more than this.
    pub most: usize,
    /// The hash that the password was checked against. Where the account has another by now, no session is opened.
    pub checked: String,
    /// A new hash for the account, where the old one was made with other parameters.
    pub rehashed: Option<String>,
}

/// A message to be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Who sends.
    pub sender: UserId,
    /// The account, or the group whose members get it.
    pub to: Address,
    /// Now.
    pub sent_at: Timestamp,
    /// The text, exactly as sent.
    pub text: Arc<str>,
}

/// What became of one message of [`Repository::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// It is on stable storage.
    Stored {
        /// Its number.
        id: MessageId,
        /// How many members of the group do not get it, because their unread mail is at its cap.
        not_delivered: usize,
    },
    /// The recipient's unread mail is at its cap, or that of every member.
    InboxFull,
    /// The sender is not in the group.
    NotAMember,
    /// The key of its sender's is that of a message to somebody else.
    KeyUsed,
    /// The sender has stored as much as one account may.
    StoredFull,
    /// The disk is nearly full, so nothing is taken in.
    NoSpace,
    /// Its time or a number of it is beyond what the message log has digits for.
    Unfit,
}

impl SendResult {
    /// What a message comes to whose key is that of a message with this number, to this target if that is known.
    pub(crate) fn under_key(id: MessageId, target: Option<i64>, to: Address) -> SendResult {
        match target {
            Some(target) if target != to.number() => SendResult::KeyUsed,
            _ => SendResult::Stored { id, not_delivered: 0 },
        }
    }
}

/// Which part of an inbox is wanted.
#[derive(Clone, Copy, Debug)]
pub struct InboxQuery {
    /// Messages, at the most, but one at least.
    pub messages: usize,
    /// Stop before the texts are longer than this together, but give one message at least.
    pub bytes: u64,
    /// Name every sender who ever wrote, also those whose mail was all read.
    pub drained_senders: bool,
    /// The session that asks; the lease ends with it.
    pub session: Option<SessionId>,
}

/// A message of an inbox, and whom it was sent to: the reader, or a group of the reader's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressedMessage {
    /// Number, time and text.
    pub message: Message,
    /// The reader or the group.
    pub to: Address,
}

/// What [`Repository::lease`] hands out.
#[derive(Debug, Default)]
pub struct Delivery {
    /// By sender, in the order of their first message ever; each in the order sent.
    pub senders: Vec<(UserId, Vec<AddressedMessage>)>,
    /// The lease of these messages; `None` where there are none.
    pub lease: Option<Lease>,
}

/// A message of the message log, read or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    pub message: Message,
    pub sender: UserId,
    /// Whom it is for.
    pub to: Address,
    /// When it was read, once that is durable; not known of one to a group.
    pub read_at: Option<Timestamp>,
    /// How many have read it, if it is to a group.
    pub readers: Option<ReadCount>,
}

/// What became of a message: its number, when it was sent and when it was read, once that is durable.
pub(crate) type StoredReceipt = (MessageId, Timestamp, Option<Timestamp>);

/// Which part of a conversation is wanted.
#[derive(Clone, Copy, Debug)]
pub struct HistoryQuery {
    /// Only messages before this one.
    pub before: Option<MessageId>,
    /// Messages, at the most: the newest there are.
    pub messages: usize,
    /// Bytes of text, at the most, but one message at least.
    pub bytes: u64,
}

/// What was removed with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Messages that waited and that nobody will read.
    pub unread: u64,
}

/// How room is given back to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Gives nothing back, only looks how much there is.
    None,
    /// All of it, in small pieces, between which others write. One call ends after some seconds, so ask again until
    /// none is left.
    Steady,
    /// Slowly, and only what is not likely to be used again soon.
    Slow,
}

/// Room that is free inside the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomInside {
    /// What was given back to the disk.
    pub given_bytes: u64,
    pub free_bytes: u64,
    /// Whether it can be given back while the store is in use.
    pub can_be_given: bool,
}

/// How the store is doing, for metrics and health.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreStatus {
    /// Messages that wait, leased or not.
    pub unread_messages: u64,
    /// Their texts, in bytes.
    pub unread_bytes: u64,
    /// Living sessions.
    pub sessions: u64,
    /// Accounts, removed ones not counted.
    pub users: u64,
    /// Room left on the file system, in bytes.
    pub free_bytes: u64,
    /// Whether that is enough to take messages.
    pub has_room: bool,
    /// Messages that were queued, since the store was opened.
    pub accepted: u64,
    /// Messages that are durably off the queue because they were read, since the store was opened.
    pub delivered: u64,
    /// What each commit took.
    pub commits: Durations,
    /// Messages that were acknowledged and that were not there when the store was opened.
    pub lost: u64,
    /// Messages that were found damaged, since the store was opened.
    pub damaged: u64,
}

/// The store.
pub trait Repository: GroupRepository + AccountRepository + PushRepository + FileRepository + Send + Sync {
    /// The living account of this name, case and all.
    fn user_named<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Arc<User>>>;
    /// Whom a message to this name is for, case and all: a living account or group.
    fn recipient<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Address>>;
    /// An account by number, removed ones too.
    fn user(&self, id: UserId) -> Answer<'_, Option<Arc<User>>>;
    /// The PHC string of a living account. From disk: it is needed only at a login.
    fn password_hash(&self, user: UserId) -> Answer<'_, Option<String>>;
    /// The living account of this name, case and all. From disk, so also where memory holds no accounts.
    fn account(&self, name: Username) -> Answer<'_, Option<User>>;
    /// What each of these accounts has stored, in bytes. From memory where a server is, else from disk.
    fn stored(&self, users: Vec<UserId>) -> Answer<'_, Vec<u64>>;
    /// The first living accounts after this one, in the order of their numbers, none only at the end. From disk.
    fn accounts(&self, after: UserId) -> Answer<'_, Vec<User>>;
    /// Makes an account.
    fn add_user(&self, user: NewUser) -> Answer<'_, AddUserResult>;
    /// Gives an account another password and ends its sessions.
    fn set_password(&self, user: UserId, password_hash: String) -> Answer<'_, ()>;
    /// Shuts an account, which ends its sessions, or opens it again.
    fn set_disabled(&self, user: UserId, disabled: bool) -> Answer<'_, ()>;
    /// Removes an account, its sessions and its unread mail. What it sent stays with the recipients; the name is free.
    fn remove_user(&self, user: UserId) -> Answer<'_, Removed>;

    /// The session whose token hashes to this, unless it was not used since `unused_since`. Notes that it is in use
    /// `now`; that need not be durable before [`Repository::tidy_sessions`].
    fn session(&self, token: TokenHash, now: Timestamp, unused_since: Timestamp) -> Answer<'_, Option<Session>>;
    /// The first living sessions after this one, oldest first, of one account or of all; none only at the end. From
    /// disk.
    fn logins(&self, after: SessionId, of: Option<UserId>) -> Answer<'_, Vec<StoredSession>>;
    /// From where an account's living sessions were opened.
    fn addresses(&self, user: UserId) -> Answer<'_, Vec<IpAddr>>;
    /// Users with a living session, in the order of their oldest.
    fn online(&self) -> Answer<'_, Vec<Username>>;
    /// Opens a session. `false`: the account was shut, removed or given another password meanwhile.
    fn open_session(&self, session: NewSession) -> Answer<'_, bool>;
    /// Ends a session. `false`: it had ended.
    fn end_session(&self, session: SessionId) -> Answer<'_, bool>;
    /// Ends sessions; gives how many had not ended yet.
    fn end_sessions(&self, sessions: Vec<SessionId>) -> Answer<'_, u64>;
    /// Ends the sessions not used since `unused_since` and notes when the others were used.
    fn tidy_sessions(&self, unused_since: Timestamp) -> Answer<'_, u64>;
    /// Whether a session lives. It may be idle for too long. From memory.
    fn is_open(&self, session: SessionId) -> bool;
    /// Tells of each session that ends from now on, whatever ends it.
    fn ended_sessions(&self) -> broadcast::Receiver<EndedSession>;

    /// Queues messages, each on its own: one that is refused spoils no other. Same order as asked.
    fn send(&self, messages: PerMessage<NewMessage>) -> Answer<'_, PerMessage<SendResult>>;
    /// Queues a message with a key of its sender. If this sender has stored a message with the same key in the last
    /// seven days, nothing is queued, and the answer is that message; or `KeyUsed`, where that was sent to somebody
    /// else.
    fn send_once(&self, message: NewMessage, key: SendKey) -> Answer<'_, SendResult>;
    /// Hands out what waits for `recipient` and is leased to nobody, oldest first.
    fn lease(&self, recipient: UserId, want: InboxQuery) -> Answer<'_, Delivery>;

    /// Hears of the next mail for `recipient`.
    fn arrival(&self, recipient: UserId) -> Answer<'_, Arrival>;
    /// Ready when all that was confirmed before this call is on stable storage.
    fn confirmed(&self) -> Answer<'_, ()>;

    /// A part of what two people wrote to each other, or of what was written to a group while one was in it, oldest
    /// first. Changes nothing.
    fn conversation(&self, one: UserId, other: Address, page: HistoryQuery) -> Answer<'_, Vec<StoredMessage>>;
    /// Whether the newest messages of `sender` to `recipient` were read: at most so many, oldest first.
    fn receipts(&self, sender: UserId, recipient: UserId, messages: usize) -> Answer<'_, Vec<StoredReceipt>>;

    /// Hears of each message that `user` sends or receives from now on, and of each that is read.
    fn follow(&self, user: UserId) -> Answer<'_, Following>;
    /// The last message of the message log, whoever sent it. `user` asks.
    fn last_message(&self, user: UserId) -> Answer<'_, MessageId>;
    /// What `user` sent and received after a message, and what was sent to a group while `user` was in it, in the order
    /// of the message log. Changes nothing. A later page
    /// from [`FollowPage::next`] on has all that this one has not.
    fn messages_after(&self, user: UserId, page: FollowQuery) -> Answer<'_, FollowPage>;
    /// With whom, and in which groups, `user` exchanged messages, by the newest message, newest first. Changes nothing.
    fn conversations(&self, user: UserId, page: ConversationQuery) -> Answer<'_, ConversationPage>;
    /// Who, and which groups, have unread messages for `recipient`.
    fn unread_senders(&self, recipient: UserId) -> Answer<'_, Vec<Address>>;
    /// Takes what `senders` wrote to `recipient`, or others to groups among them, up to a message off the queue, leased
    /// or not. Gives how many messages had not been read, when it is on stable storage that they are.
    fn read(&self, recipient: UserId, senders: Vec<Address>, to: MessageId) -> Answer<'_, usize>;

    /// Removes what was read before `read_before` from the message log; gives how many messages.
    fn prune(&self, read_before: Timestamp) -> Answer<'_, u64>;
    /// Gives room that is free inside the store back to the disk, in pieces; says what there is then.
    fn give_back(&self, pace: Pace) -> Answer<'_, RoomInside>;
    /// Copies all that the store holds at one moment after this call into the empty file that `process` has made for it
    /// beside the store.
    fn snapshot(&self, process: u32) -> Answer<'_, ()>;
    /// What time it is for the store: messages are stamped with the wall clock, and the use of sessions goes by the
    /// time that does not jump.
    fn clock(&self) -> &Steady;
    /// How the store is doing.
    fn status(&self) -> Answer<'_, StoreStatus>;
    /// Ready when the writer has carried out a transaction that changes nothing, or has been refused it. An error:
    /// nothing writes any more.
    fn answers(&self) -> Answer<'_, ()>;
    /// Ready when the store has stopped for good: why it did.
    fn failed(&self) -> Answer<'_, Error>;
    /// Finishes what is queued and closes the files.
    fn close(&self) -> Answer<'_, ()>;
}

/// How to open a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Unread messages a user may have.
    pub inbox_messages: u64,
    /// Unread text a user may have, in bytes.
    pub inbox_bytes: u64,
    /// What one account may have stored, with what was read, in bytes; 0 for any amount.
    pub stored_bytes: u64,
    /// `send` is refused when the file system has less room than this, in bytes.
    pub min_free_bytes: u64,
    /// How long to wait for another process that holds the database.
    pub busy_timeout: Duration,
    /// The newest messages are kept in memory; when there are this many, they are indexed on disk.
    pub tail_messages: usize,
    /// What time it is.
    pub clock: Clock,
}

/// Counts by user, as the backends keep them.
pub(crate) type UnreadTotals = BTreeMap<UserId, (u64, u64)>;
