//! The unread mail of one user in memory: what waits and what is leased, in the order of the numbers. To put a message
//! in or to take it out costs the same for any number of messages.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use crate::model::{Address, MessageId, Timestamp, UserId};

/// A message that nobody has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnreadMessage {
    /// Its place in the message log.
    pub id: MessageId,
    pub sender: UserId,
    /// The reader, or the group of the reader's that it was sent to.
    pub to: Address,
    /// The length of its text.
    pub bytes: u64,
    /// Time and text, while it is in the tail; else the message log on disk has them.
    pub content: Option<(Timestamp, Arc<str>)>,
}

/// Whose share of a mailbox a message takes: the sender's, or the group's, however many write there.
pub(super) fn share_of(sender: UserId, to: Address) -> Address {
    to.group().map_or(sender.into(), Address::Group)
}

impl UnreadMessage {
    /// Whose share of the mailbox it takes: the sender's, or the group's, however many write there.
    pub(crate) fn share(&self) -> Address {
        share_of(self.sender, self.to)
    }
}

/// How much of something is unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// Messages; at least one.
    pub messages: u64,
    /// Bytes of text.
    pub bytes: u64,
    pub oldest: MessageId,
}

/// What waits, in the order of the numbers.
#[derive(Debug, Default)]
pub(super) struct UnreadQueue {
    /// As it came: each has a higher number than the one before.
    new: VecDeque<UnreadMessage>,
    /// What came back from a lease or from the disk, anywhere among the others.
    back: BTreeMap<MessageId, UnreadMessage>,
}

impl UnreadQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.back.is_empty()
    }

    pub(super) fn contains(&self, id: MessageId) -> bool {
        self.back.contains_key(&id) || self.new.binary_search_by_key(&id, |message| message.id).is_ok()
    }

    /// Takes in what was sent just now.
    pub(super) fn push(&mut self, message: UnreadMessage) {
        match self.new.back().is_none_or(|last| last.id < message.id) {
            true => self.new.push_back(message),
            false => self.put_back(message),
        }
    }

    /// Takes in what was sent at any time.
    pub(super) fn put_back(&mut self, message: UnreadMessage) {
        self.back.insert(message.id, message);
    }

    /// Takes out the oldest, if it is as wanted.
    pub(super) fn pop_if(&mut self, wanted: impl FnOnce(&UnreadMessage) -> bool) -> Option<UnreadMessage> {
        let Some(back) = self.back.first_entry() else { return self.new.pop_front_if(|message| wanted(message)) };
        match self.new.front().is_some_and(|new| new.id < *back.key()) {
            true => self.new.pop_front_if(|message| wanted(message)),
            false => wanted(back.get()).then(|| back.remove()),
        }
    }

    /// The oldest.
    pub(crate) fn first(&self) -> Option<MessageId> {
        let new = self.new.front().map(|message| message.id);
        new.into_iter().chain(self.back.keys().next().copied()).min()
    }

    /// Number and length of all after `after` and up to `to`, in no order.
    pub(super) fn between(&self, after: MessageId, to: MessageId) -> impl Iterator<Item = (MessageId, u64)> {
        let first = self.new.partition_point(|message| message.id <= after);
        let new = self.new.range(first..).take_while(move |message| message.id <= to);
        let back = self.back.range((Excluded(after), Included(to))).map(|(_, message)| message);
        new.chain(back).map(|message| (message.id, message.bytes))
    }

    /// Sender or group, and number, of all, in no order.
    pub(super) fn senders(&self) -> impl Iterator<Item = (Address, MessageId)> {
        self.new.iter().chain(self.back.values()).map(|message| (message.share(), message.id))
    }

    /// Takes out what these senders or groups wrote up to `to`, in no order.
    pub(super) fn take_of(&mut self, senders: &[Address], to: MessageId) -> Vec<UnreadMessage> {
        let wanted = |message: &UnreadMessage| senders.contains(&message.share());
        let newer = self.new.split_off(self.new.partition_point(|message| message.id <= to));
        let older = std::mem::replace(&mut self.new, newer);
        let (mut taken, left): (Vec<_>, Vec<_>) = older.into_iter().partition(wanted);
        left.into_iter().rev().for_each(|message| self.new.push_front(message));
        taken.extend(self.back.extract_if((Unbounded, Included(to)), |_, message| wanted(message)).map(|(_, m)| m));
        taken
    }

    /// Takes out all up to `to`; gives how many, and what may be dropped when there is time.
    pub(super) fn take_up_to(&mut self, to: MessageId) -> (u64, Evicted) {
        let newer = self.new.split_off(self.new.partition_point(|message| message.id <= to));
        let new = std::mem::replace(&mut self.new, newer);
        let newer = self.back.split_off(&MessageId(to.0.saturating_add(1)));
        let back = std::mem::replace(&mut self.back, newer);
        ((new.len() + back.len()) as u64, Evicted { _queue: UnreadQueue { new, back } })
    }
}

/// Messages that nobody needs any more. To free so many takes milliseconds.
#[derive(Debug)]
pub(crate) struct Evicted {
    _queue: UnreadQueue,
}
