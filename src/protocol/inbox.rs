//! Messages as they are told of, and that a refusal is a reply.

use std::sync::Arc;

use super::{Refusal, Reply};
use crate::model::{Message, MessageId, Timestamp, Username};

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The message.
    pub message: Message,
    /// Who sent it.
    pub from: Profile,
    /// To whom.
    pub to: Profile,
    /// When it was read; `None` while it waits.
    pub read_at: Option<Timestamp>,
}

/// An account as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name on the wire.
    pub username: Username,
    /// Its name in messages.
    pub display_name: String,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its place in the message log.
    pub id: MessageId,
    /// When it was accepted.
    pub sent_at: Timestamp,
    /// When it was read; `None` while it waits.
    pub read_at: Option<Timestamp>,
}

/// A part of what somebody sent and received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowReply {
    /// In the order of the message log. There may be none although there are more.
    pub messages: Vec<HistoryEntry>,
    /// The message after which to go on.
    pub next: MessageId,
    /// There is more already.
    pub more: bool,
    /// A number that is another when anything of the asker's was read.
    pub reads: u64,
}

/// A part of somebody's conversations, by the newest message, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversations {
    /// They.
    pub list: Vec<ConversationEntry>,
    /// The message before which to go on; `None`: these were the last.
    pub next: Option<MessageId>,
}

/// A conversation and how far it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationEntry {
    /// With whom.
    pub with: Profile,
    /// How many messages of the other's are unread.
    pub unread: u64,
    /// Up to here the asker has read all of the other's.
    pub read_to: MessageId,
    /// Up to here the other has read all of the asker's.
    pub other_read_to: MessageId,
    /// The newest message.
    pub newest: HistoryEntry,
}

/// One sender's part of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderMessages {
    /// The sender's user name.
    pub username: Username,
    /// The sender's display name.
    pub sender: String,
    /// The recipient's display name.
    pub recipient: String,
    /// In the order sent; empty where all was read before.
    pub messages: Vec<Message>,
    /// Those that were sent to a group, in their order, each with its display name.
    pub to_groups: Vec<(MessageId, Arc<str>)>,
}

impl SenderMessages {
    /// The display name of whom a message was sent to: the reader or a group.
    pub fn recipient_of(&self, message: MessageId) -> &str {
        let group = self.to_groups.binary_search_by_key(&message, |(id, _)| *id);
        group.map_or(&self.recipient, |place| &self.to_groups[place].1)
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        Reply::Refused(refusal)
    }
}
