//! Requests, replies and refusals, without their spelling. A dialect ([`json`], [`text`]) cuts lines into words and
//! turns replies into bytes. `grammar` says what the words mean, the same for all dialects. A new command is a variant
//! of [`Command`], a row in `grammar`, a method of the service and, if it is answered with something new, a variant of
//! [`Reply`].

mod account;
pub mod client;
pub mod dialect;
pub mod family;
mod grammar;
mod groups;
mod inbox;
pub mod json;
mod number;
pub mod parts;
pub mod python;
mod refusal;
pub mod rendering;
pub mod text;
mod value;

pub use self::account::{AccountCommand, AccountReply, OwnSession, Person};
pub use self::family::{FamilyCommand, FamilyReply, InboxFile, OnlinePerson};
pub use self::groups::{GroupCommand, GroupReadCount};
pub use self::inbox::{
    ConversationEntry, ConversationKind, Conversations, FetchedMessage, FollowReply, HistoryEntry, Profile, ReadBy,
    Receipt, SenderMessages,
};
pub use self::number::Number;
pub use self::refusal::Refusal;

use std::sync::Arc;
use std::time::Duration;

use crate::model::{LookupName, MessageId, Password, SendKey, Token, Username};

/// The version of the wire. It grows by one with the first new command or reply after a release; `docs/PROTOCOL.md` has
/// what came with which.
pub const WIRE: u32 = 3;

/// A request: a command, and the token that was shown with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `None` where the command needs none.
    pub token: Option<Token>,
    /// What is asked.
    pub command: Command,
}

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Log in.
    Auth {
        /// The account's name; it need not be one.
        username: LookupName,
        /// What was tried.
        password: Password,
    },
    /// Put a message into somebody's queue.
    Send(Send),
    /// Put a message into somebody's queue, unless that was done under the same key.
    SendOnce {
        /// The sender's key for it.
        key: SendKey,
        /// The recipient's name; it need not be one.
        recipient: LookupName,
        /// The text, exactly as it came.
        text: Arc<str>,
    },
    /// Read all that waits.
    Inbox,
    /// Who is logged in?
    Show,
    /// End the session.
    Logout,
    /// Read all that waits, as soon as there is something.
    Wait {
        /// How long to wait; the server may have a limit of its own.
        at_most: Duration,
    },
    /// The same, with the number and the time of each message, and whom it was sent to.
    Fetch {
        /// How long to wait; the server may have a limit of its own.
        at_most: Duration,
    },
    /// Count as read what this connection was handed.
    Ack,
    /// Look back on a conversation; changes nothing.
    History {
        /// The other side's name; it need not be one.
        username: LookupName,
        /// Only what came before this message.
        before: Option<MessageId>,
        /// How many messages; the server may have a limit of its own.
        count: Option<u64>,
    },
    /// Something of groups.
    Group(GroupCommand),
    /// Something of one's own account, or of the list of accounts.
    Account(AccountCommand),
    /// Which of my messages were read?
    Status {
        /// The recipient's name; it need not be one.
        username: LookupName,
    },
    /// What I sent and received after a message, as soon as there is something; changes nothing.
    Follow {
        /// `None`: after the newest that there is now.
        after: Option<MessageId>,
        /// How long to wait; the server may have a limit of its own.
        at_most: Duration,
        /// Not to wait where this is not how often anything of mine was read.
        reads: Option<u64>,
    },
    /// With whom do I exchange messages, and what of it is unread?
    Conversations {
        /// Only those whose newest message is before this one.
        before: Option<MessageId>,
    },
    /// Count as read what somebody sent me.
    Read {
        /// The sender's name; it need not be one.
        username: LookupName,
        /// Up to this message.
        to: MessageId,
    },
    /// What only a word of the family asks.
    Family(FamilyCommand),
}

impl Command {
    /// The request that asks this and shows `token`.
    pub fn with(self, token: Token) -> Request {
        Request { token: Some(token), command: self }
    }
}

/// A message on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// The recipient's name; it need not be one.
    pub recipient: LookupName,
    /// The text, exactly as it came.
    pub text: Arc<str>,
}

/// What the client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Logged in.
    LoggedIn {
        /// The new session.
        token: Token,
    },
    /// The message is on stable storage.
    Sent,
    /// The message is on stable storage, since now or before.
    Stored {
        /// Its number.
        id: MessageId,
        /// How many members of the group do not get it, where it is stored since now.
        not_delivered: u64,
    },
    /// What waited, by sender, in the order of their first message ever.
    Inbox(Vec<SenderMessages>),
    /// What waited, with numbers and times, oldest first.
    Fetched(Vec<FetchedMessage>),
    /// Who is logged in, in the order of their oldest living session.
    Online(Vec<Username>),
    /// The session has ended.
    LoggedOut {
        /// The session that was.
        token: Token,
        /// Whose it was.
        username: Username,
    },
    /// It is on stable storage that what this connection was handed was read.
    Acknowledged,
    /// A part of a conversation, oldest first.
    History(Vec<HistoryEntry>),
    /// The asker's latest messages to somebody, oldest first.
    Status(Vec<Receipt>),
    /// A part of what the asker sent and received.
    Follow(FollowReply),
    /// A part of the asker's conversations.
    Conversations(Conversations),
    /// It is on stable storage that so many messages more were read.
    Read(u64),
    /// The message to a group is on stable storage, and so many members have no room for it.
    SentToSome {
        /// How many do not get it.
        not_delivered: u64,
    },
    /// A group, or who is in it, is changed.
    GroupChanged,
    /// The asker's groups, in the order in which they were made.
    Groups(Vec<Username>),
    /// Who is in a group.
    Members(Vec<Username>),
    /// The asker's latest messages to a group, oldest first.
    GroupStatus(Vec<GroupReadCount>),
    /// A reply about one's own account, or about the list of accounts.
    Account(AccountReply),
    /// What only a word of the family is answered with.
    Family(FamilyReply),
    /// The request was not carried out.
    Refused(Refusal),
}
