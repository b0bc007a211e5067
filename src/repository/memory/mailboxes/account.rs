//! The part of a mailbox that is in memory: what waits, what is leased, and who sent it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::model::{Address, MessageId, UserId};
use crate::repository::memory::mailboxes::UnreadAmount;
use crate::repository::memory::mailboxes::unread::{Evicted, Unread, UnreadMessage, UnreadQueue, share_of};

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    /// Leased to nobody, as far as memory knows it.
    pub waiting: UnreadQueue,
    /// Leased, or confirmed and not yet durably so.
    pub held: BTreeMap<MessageId, Held>,
    /// All that waits or is held, on disk and here.
    pub unread: UnreadAmount,
    /// How many of `unread` are only on disk.
    pub on_disk: u64,
    /// None of those is older than this; `None`: they are from before this process began.
    pub oldest_on_disk: Option<MessageId>,
    /// Held while loading: one at a time.
    pub load_lock: Option<Arc<AsyncMutex<()>>>,
    /// What became read while somebody loads from an older view of the disk.
    pub read_while_loading: Option<BTreeSet<MessageId>>,
    /// Who has something unread here or wrote to this user in the tail; a group for all who write there.
    pub senders: FxHashMap<Address, Sender>,
    /// What each person wrote to groups, as far as `senders` counts it. It is apart from `senders`, because a large
    /// group has many who write, and an entry of these is small.
    pub in_groups: FxHashMap<UserId, UnreadAmount>,
    /// All of that together.
    pub of_groups: UnreadAmount,
    /// There was mail on disk when this process began, and not all of it was loaded yet: `senders` counts less.
    pub is_uncounted: bool,
    /// Up to here, what was on disk when this process began was loaded, and `senders` counts it.
    pub counted_to: Option<MessageId>,
    /// Those who wait for mail.
    pub arrival: Option<Arc<Notify>>,
}

/// A message that does not wait and is not yet durably read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// Who sent it.
    pub sender: UserId,
    /// The reader, or a group of his.
    pub to: Address,
    /// The length of its text.
    pub bytes: u64,
    /// Somebody has read it. Only the disk does not know this yet.
    pub is_confirmed: bool,
}

impl Held {
    /// Whose share of the mailbox it takes.
    pub(super) fn share(&self) -> Address {
        share_of(self.sender, self.to)
    }

    /// A message that is leased.
    pub(super) fn of(message: &UnreadMessage) -> Held {
        Held { sender: message.sender, to: message.to, bytes: message.bytes, is_confirmed: false }
    }
}

/// Who wrote to a user.
#[derive(Debug, Default)]
pub(super) struct Sender {
    /// The first message of his in the tail.
    pub first_in_tail: Option<MessageId>,
    /// What of his is unread; not what lay on disk when this process began and was not loaded yet.
    pub unread: UnreadAmount,
}

impl Mailbox {
    /// Wakes one of those who wait for mail. If nobody waits, the next one looks again.
    pub(super) fn tell_who_waits(&self) {
        if let Some(arrival) = &self.arrival {
            // One is enough: it takes all messages. Another one is woken for those that it leaves.
            arrival.notify_one();
        }
    }

    pub(super) fn is_waited_for(&self) -> bool {
        self.arrival.as_ref().is_some_and(|arrival| Arc::strong_count(arrival) > 1)
    }

    /// Takes note of a message of the tail.
    pub(crate) fn note_sender(&mut self, sender: UserId, id: MessageId) {
        let first = self.senders.entry(sender.into()).or_default().first_in_tail.get_or_insert(id);
        *first = id.min(*first);
    }

    /// Counts what somebody wrote to this user or to a group of his.
    pub(crate) fn charge(&mut self, sender: UserId, to: Address, amount: UnreadAmount) {
        self.senders.entry(share_of(sender, to)).or_default().unread.add(amount);
        if to.group().is_some() {
            self.in_groups.entry(sender).or_default().add(amount);
            self.of_groups.add(amount);
        }
    }

    /// What a sender has here without groups, or what a group has.
    pub(crate) fn share_of(&self, share: Address) -> UnreadAmount {
        self.senders.get(&share).map(|known| known.unread).unwrap_or_default()
    }

    /// What a sender has here with groups.
    pub(crate) fn all_of(&self, sender: UserId) -> UnreadAmount {
        let mut all = self.share_of(sender.into());
        all.add(self.in_groups.get(&sender).copied().unwrap_or_default());
        all
    }

    /// What a sender had here is read, or was not written.
    pub(crate) fn forget(&mut self, sender: UserId, to: Address, amount: UnreadAmount) {
        let share = share_of(sender, to);
        self.unread.subtract(amount);
        if to.group().is_some() {
            self.of_groups.subtract(amount);
            if let Some(known) = self.in_groups.get_mut(&sender) {
                known.subtract(amount);
                if known.messages == 0 {
                    self.in_groups.remove(&sender);
                }
            }
        }
        if let Some(known) = self.senders.get_mut(&share) {
            known.unread.subtract(amount);
        }
        self.forget_idle_sender(share);
    }

    /// Forgets a sender for whom nothing is counted.
    pub(crate) fn forget_idle_sender(&mut self, sender: Address) {
        if self.senders.get(&sender).is_some_and(Sender::is_idle) {
            self.senders.remove(&sender);
        }
    }

    /// What of the messages after `after` and up to `to` is unread; `None` where all was read.
    pub(super) fn unread_between(&self, after: MessageId, to: MessageId) -> Option<Unread> {
        let held = self.held.range((Excluded(after), Included(to))).map(|(id, held)| (*id, held.bytes));
        let one = |(id, bytes): (MessageId, u64)| Unread { messages: 1, bytes, oldest: id };
        self.waiting.between(after, to).chain(held).map(one).reduce(|a, b| Unread {
            messages: a.messages + b.messages,
            bytes: a.bytes + b.bytes,
            oldest: a.oldest.min(b.oldest),
        })
    }

    /// Forgets what the disk finds from now on.
    pub(super) fn evict(&mut self, watermark: MessageId) -> Evicted {
        for sender in self.senders.values_mut() {
            sender.first_in_tail = sender.first_in_tail.filter(|first| *first > watermark);
        }
        self.senders.retain(|_, sender| !sender.is_idle());
        if let Some(first) = self.waiting.first().filter(|first| *first <= watermark) {
            let known = if self.on_disk == 0 { Some(first) } else { self.oldest_on_disk };
            self.oldest_on_disk = known.map(|oldest| oldest.min(first));
        }
        let (indexed, evicted) = self.waiting.take_up_to(watermark);
        self.on_disk += indexed;
        evicted
    }

    /// The oldest that is unread when these, in their order, are read; `None`: nothing is. It may be older than that.
    pub(crate) fn oldest_of_all(&self, read: &[MessageId]) -> Option<MessageId> {
        let held = self.held.keys().find(|id| read.binary_search(id).is_err()).copied();
        let on_disk = (self.on_disk > 0).then(|| self.oldest_on_disk.unwrap_or(MessageId(0)));
        held.into_iter().chain(self.waiting.first()).chain(on_disk).min()
    }
}

impl Sender {
    /// There is nothing to remember of him.
    pub(super) fn is_idle(&self) -> bool {
        self.first_in_tail.is_none() && self.unread.messages == 0
    }
}
