//! Questions of clients that keep a place in the message log, and their answers.

use super::StoredMessage;
use crate::model::{Address, MessageId};

/// Which part of one's messages is wanted.
#[derive(Clone, Copy, Debug)]
pub struct FollowQuery {
    /// Only messages after this one.
    pub after: MessageId,
    /// Messages, at the most: the oldest there are.
    pub messages: usize,
    /// Bytes of text, at the most, but one message at least.
    pub bytes: u64,
}

/// A part of what somebody sent and received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowPage {
    /// In the order of the message log. There may be none although there are more.
    pub messages: Vec<StoredMessage>,
    /// Up to here was looked: where the next page begins.
    pub next: MessageId,
    /// The message log went on after that.
    pub more: bool,
}

/// Which part of one's conversations is wanted.
#[derive(Clone, Copy, Debug)]
pub struct ConversationQuery {
    /// Only those whose newest message is before this one.
    pub before: Option<MessageId>,
    /// Conversations, at the most.
    pub conversations: usize,
    /// Bytes of text, at the most, but one conversation at least.
    pub bytes: u64,
}

/// A part of somebody's conversations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationPage {
    /// By the newest message, newest first.
    pub conversations: Vec<ConversationSummary>,
    /// Where the next page begins; `None`: these were the last.
    pub next: Option<MessageId>,
}

/// A conversation and how far it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationSummary {
    /// With whom, or in which group.
    pub with: Address,
    /// The newest message.
    pub newest: StoredMessage,
    /// How many messages of the other's, or of the group, are unread.
    pub unread: u64,
    /// All that was written up to here by the other, or to the group, is read.
    pub read_to: MessageId,
    /// All that was written to the other up to here is read by him, as far as that is known; not known of a group.
    pub other_read_to: MessageId,
}
