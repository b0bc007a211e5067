//! Messages as replies show them. A refusal is a reply, too.

use std::sync::Arc;

use super::{InboxFile, Refusal, Reply};
use crate::model::{Message, MessageId, Timestamp, Username};

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The message.
    pub message: Message,
    /// Who sent it.
    pub from: Profile,
    /// To whom, or to which group.
    pub to: Profile,
    /// Which of the two.
    pub kind: ConversationKind,
    /// When it was read; `None` while it waits, and of one to a group.
    pub read_at: Option<Timestamp>,
    /// How many have read one to a group, where that was asked for.
    pub readers: Option<ReadBy>,
}

/// A message that was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedMessage {
    /// The message, which waits still; of one to a group it is not said how many have read it.
    pub entry: HistoryEntry,
    /// The file that it brings.
    pub file: Option<InboxFile>,
}

/// With whom messages are exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConversationKind {
    /// With one account.
    #[default]
    Person,
    /// With the members of a group.
    Group,
}

/// How many have read a message to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBy {
    /// How many members have read it.
    pub read_by: u64,
    /// How many got it.
    pub of: u64,
}

/// An account or a group as others see it.
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
    /// With whom, or with which group.
    pub with: Profile,
    /// Which of the two.
    pub kind: ConversationKind,
    /// How many messages of the other's, or of the group, are unread.
    pub unread: u64,
    /// Up to here the asker has read all of them.
    pub read_to: MessageId,
    /// Up to here the other has read all of the asker's; 0 for a group.
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
    /// Those of `messages` that were sent to a group: the place of each, in order, and the group's display name.
    pub to_groups: Vec<(usize, Arc<str>)>,
}

impl SenderMessages {
    /// The display name of whom the message at a place was sent to: the reader or a group.
    pub fn recipient_of(&self, place: usize) -> &str {
        let group = self.to_groups.binary_search_by_key(&place, |(place, _)| *place);
        group.map_or(&self.recipient, |place| &self.to_groups[place].1)
    }
}

impl SenderMessages {
    /// The same one by one, as if they had been fetched. Numbers and times are those that are there, and the names of
    /// recipients are display names alone.
    pub fn into_fetched(self) -> Vec<FetchedMessage> {
        let fetched = |(place, message): (usize, &Message)| {
            let is_to_group = self.to_groups.binary_search_by_key(&place, |(place, _)| *place).is_ok();
            let from = Profile { username: self.username.clone(), display_name: self.sender.clone() };
            let to = Profile { username: Username::stored(""), display_name: self.recipient_of(place).to_owned() };
            let kind = if is_to_group { ConversationKind::Group } else { ConversationKind::Person };
            let entry = HistoryEntry { message: message.clone(), from, to, kind, read_at: None, readers: None };
            FetchedMessage { entry, file: None }
        };
        self.messages.iter().enumerate().map(fetched).collect()
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        Reply::Refused(refusal)
    }
}
