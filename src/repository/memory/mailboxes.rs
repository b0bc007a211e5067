//! The unread messages of each user, in memory: the short tail of the message log by recipient, the leases, and how
//! much more lies on disk. Nothing here touches the disk. A backend calls in after its commits. The rules of delivery
//! (nothing twice without a fault, nothing lost, older before newer) are kept here alone.
//!
//! A message is in one of four places: `waiting` here, `held` by a lease, on disk only, or read.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use rustc_hash::FxHashMap;
use tokio::sync::Mutex as AsyncMutex;

mod account;
mod reading;
mod room;
mod unread;

use crate::model::{Address, MessageId, UserId};
use crate::repository::UnreadTotals;
use crate::repository::arrivals::Arrival;
use crate::repository::memory::mailboxes::account::{Held, Mailbox, Sender};
pub(crate) use crate::repository::memory::mailboxes::reading::OldestUnread;
pub(crate) use crate::repository::memory::mailboxes::room::{InboxLimits, MailboxRoom};
pub(crate) use crate::repository::memory::mailboxes::unread::{Evicted, Unread, UnreadMessage};

/// What [`Mailboxes::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TakeResult {
    /// These are leased now; there may be none.
    Leased(Vec<UnreadMessage>),
    /// First load what lies on disk: it is older than what is in memory.
    LoadFirst,
}

/// Messages and bytes of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnreadAmount {
    messages: u64,
    bytes: u64,
}

impl UnreadAmount {
    fn add(&mut self, other: UnreadAmount) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }

    fn subtract(&mut self, other: UnreadAmount) {
        self.messages = self.messages.saturating_sub(other.messages);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

#[derive(Debug)]
pub(crate) struct Mailboxes {
    caps: InboxLimits,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    boxes: FxHashMap<UserId, Mailbox>,
    /// Up to here the disk finds messages by recipient; the tail comes after it.
    watermark: MessageId,
    /// Where that was when this process began.
    first_watermark: MessageId,
    total: UnreadAmount,
    /// Confirmed, and not yet durably so.
    confirmed: Vec<(UserId, Vec<UnreadMessage>)>,
    /// Accounts that were removed while this process ran. Messages on their way to them are dropped.
    removed: HashSet<UserId>,
}

impl Mailboxes {
    /// Mailboxes as they stand on disk up to `watermark`: messages and bytes by user.
    pub(crate) fn new(caps: InboxLimits, on_disk: &UnreadTotals, watermark: MessageId) -> Mailboxes {
        let mut inner = Inner {
            boxes: FxHashMap::default(),
            watermark,
            first_watermark: watermark,
            total: UnreadAmount::default(),
            confirmed: Vec::new(),
            removed: HashSet::new(),
        };
        for (user, (messages, bytes)) in on_disk {
            let unread = UnreadAmount { messages: *messages, bytes: *bytes };
            inner.boxes.insert(
                *user,
                Mailbox { unread, on_disk: *messages, is_uncounted: *messages > 0, ..Mailbox::default() },
            );
            inner.total.add(unread);
        }
        Mailboxes { caps, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// The room of all mailboxes, for messages that are about to be written.
    pub(crate) fn room(&self) -> MailboxRoom<'_> {
        MailboxRoom { caps: self.caps, inner: self.inner() }
    }

    /// Gives back the room of a message that was not written.
    pub(crate) fn give_back_room(&self, recipient: UserId, sender: UserId, to: Address, bytes: u64) {
        self.inner().forget(recipient, sender, to, UnreadAmount { messages: 1, bytes });
    }

    /// Takes in messages that were written. Each has taken its room before.
    pub(crate) fn put(&self, messages: impl Iterator<Item = (UserId, UnreadMessage)>) {
        let mut inner = self.inner();
        for (recipient, message) in messages {
            let mailbox = inner.boxes.entry(recipient).or_default();
            if message.to == recipient.into() {
                mailbox.note_sender(message.sender, message.id);
            }
            mailbox.waiting.push(message);
            mailbox.tell_who_waits();
        }
    }

    /// Begins to listen for mail that comes for `recipient` from now on, or comes back.
    pub(crate) fn arrival(&self, recipient: UserId) -> Arrival {
        Arrival::new(self.inner().boxes.entry(recipient).or_default().arrival.get_or_insert_default().clone())
    }

    /// Wakes all who wait for `recipient`'s mail, because some of them may not read it any more.
    pub(crate) fn let_all_look(&self, recipient: UserId) {
        if let Some(arrival) = self.inner().boxes.get(&recipient).and_then(|mailbox| mailbox.arrival.as_ref()) {
            arrival.notify_waiters();
        }
    }

    /// Takes in unread messages of the tail as the message log had them at start.
    pub(crate) fn restore(&self, messages: impl Iterator<Item = (UserId, UnreadMessage)>) {
        let messages: Vec<_> = messages.collect();
        let mut inner = self.inner();
        for (recipient, message) in &messages {
            let one = UnreadAmount { messages: 1, bytes: message.bytes };
            let mailbox = inner.boxes.entry(*recipient).or_default();
            mailbox.unread.add(one);
            mailbox.charge(message.sender, message.to, one);
            inner.total.add(one);
        }
        drop(inner);
        self.put(messages.into_iter());
    }

    /// Notes the sender of a message that was read before this process began.
    pub(crate) fn note_sender(&self, recipient: UserId, sender: UserId, id: MessageId) {
        self.inner().boxes.entry(recipient).or_default().note_sender(sender, id);
    }

    /// Leases what waits, oldest first: at least one message, and no more than so many, and no more than `bytes` of
    /// text if there are several.
    pub(crate) fn take(&self, recipient: UserId, messages: usize, bytes: u64) -> TakeResult {
        let mut inner = self.inner();
        let Some(mailbox) = inner.boxes.get_mut(&recipient) else { return TakeResult::Leased(Vec::new()) };
        if mailbox.on_disk > 0 {
            return TakeResult::LoadFirst;
        }
        let mut taken = Vec::new();
        let mut room = bytes;
        while let Some(message) =
            mailbox.waiting.pop_if(|message| taken.is_empty() || message.bytes <= room && taken.len() < messages)
        {
            room = room.saturating_sub(message.bytes);
            mailbox.held.insert(message.id, Held::of(&message));
            taken.push(message);
        }
        if !mailbox.waiting.is_empty() {
            mailbox.tell_who_waits();
        }
        TakeResult::Leased(taken)
    }

    /// The lock for a load from disk, so that two tasks do not load the same mail.
    pub(crate) fn load_lock(&self, recipient: UserId) -> Arc<AsyncMutex<()>> {
        self.inner().boxes.entry(recipient).or_default().load_lock.get_or_insert_default().clone()
    }

    /// Begins to load all that is unread on disk, up to the message named. `None`: there is nothing.
    pub(crate) fn begin_load(&self, recipient: UserId) -> Option<MessageId> {
        let mut inner = self.inner();
        let watermark = inner.watermark;
        let mailbox = inner.boxes.get_mut(&recipient).filter(|mailbox| mailbox.on_disk > 0)?;
        mailbox.read_while_loading = Some(BTreeSet::new());
        Some(watermark)
    }

    /// Puts in a piece of what was unread on disk; the pieces come oldest first, and after all of them
    /// [`Mailboxes::end_load`]. In pieces, because nobody else can use a mailbox meanwhile.
    pub(crate) fn load(&self, recipient: UserId, piece: impl Iterator<Item = UnreadMessage>) {
        let mut inner = self.inner();
        let first_watermark = inner.first_watermark;
        let Some(mailbox) = inner.boxes.get_mut(&recipient) else { return };
        for message in piece {
            let id = message.id;
            if id <= first_watermark && mailbox.counted_to < Some(id) {
                mailbox.counted_to = Some(id);
                let one = UnreadAmount { messages: 1, bytes: message.bytes };
                mailbox.charge(message.sender, message.to, one);
            }
            let was_read = mailbox.read_while_loading.as_ref().is_some_and(|read| read.contains(&id));
            if !was_read && !mailbox.held.contains_key(&id) && !mailbox.waiting.contains(id) {
                mailbox.waiting.put_back(message);
                mailbox.on_disk = mailbox.on_disk.saturating_sub(1);
            }
        }
    }

    /// All that was unread on disk up to `watermark` was put in.
    pub(crate) fn end_load(&self, recipient: UserId, watermark: MessageId) {
        let mut inner = self.inner();
        let none_came_since = inner.watermark == watermark;
        let Some(mailbox) = inner.boxes.get_mut(&recipient) else { return };
        mailbox.read_while_loading = None;
        mailbox.is_uncounted = false;
        if none_came_since {
            mailbox.on_disk = 0;
        }
    }

    /// Ends a lease without proof: the messages wait again, before newer ones.
    pub(crate) fn release(&self, recipient: UserId, messages: Vec<UnreadMessage>) {
        let mut inner = self.inner();
        let Some(mailbox) = inner.boxes.get_mut(&recipient) else { return };
        for message in messages {
            // A message that was read on another connection meanwhile does not wait again.
            if mailbox.held.get(&message.id).is_some_and(|held| !held.is_confirmed) {
                mailbox.held.remove(&message.id);
                mailbox.waiting.put_back(message);
            }
        }
        mailbox.tell_who_waits();
    }

    /// Ends a lease with proof. The messages stay held until [`Mailboxes::read`].
    pub(crate) fn confirm(&self, recipient: UserId, mut messages: Vec<UnreadMessage>) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let Some(mailbox) = inner.boxes.get_mut(&recipient) else { return };
        // Each is confirmed once, whoever reads it how often.
        messages.retain(|message| {
            let held = mailbox.held.get_mut(&message.id);
            held.is_some_and(|held| !std::mem::replace(&mut held.is_confirmed, true))
        });
        if !messages.is_empty() {
            inner.confirmed.push((recipient, messages));
        }
    }

    /// Whether anything was confirmed since the last call of [`Mailboxes::take_confirmed`].
    pub(crate) fn has_confirmed(&self) -> bool {
        !self.inner().confirmed.is_empty()
    }

    /// What was confirmed since the last call.
    pub(crate) fn take_confirmed(&self) -> Vec<(UserId, Vec<UnreadMessage>)> {
        std::mem::take(&mut self.inner().confirmed)
    }

    /// Puts back what [`Mailboxes::take_confirmed`] gave and could not be written.
    pub(crate) fn put_back_confirmed(&self, confirmed: Vec<(UserId, Vec<UnreadMessage>)>) {
        self.inner().confirmed.extend(confirmed);
    }

    /// The disk knows that these were read.
    pub(crate) fn read(&self, confirmed: &[(UserId, Vec<UnreadMessage>)]) {
        for (recipient, messages) in confirmed {
            // Others get at the mailboxes between two leases.
            let mut inner = self.inner();
            let inner = &mut *inner;
            let Some(mailbox) = inner.boxes.get_mut(recipient) else { continue };
            for message in messages {
                if mailbox.held.remove(&message.id).is_none() {
                    continue; // It was forgotten with its account.
                }
                let one = UnreadAmount { messages: 1, bytes: message.bytes };
                mailbox.forget(message.sender, message.to, one);
                inner.total.subtract(one);
                if let Some(read) = &mut mailbox.read_while_loading {
                    read.insert(message.id);
                }
            }
        }
    }

    /// What of the tail up to `to` is not yet durably read, for those of `recipients` who have any.
    pub(crate) fn unread_up_to(&self, to: MessageId, recipients: &[UserId]) -> Vec<(UserId, Unread)> {
        let inner = self.inner();
        let after = inner.watermark;
        let unread = |recipient: &UserId| Some((*recipient, inner.boxes.get(recipient)?.unread_between(after, to)?));
        recipients.iter().filter_map(unread).collect()
    }

    /// The disk can now find all messages up to `watermark` by recipient, those to `recipients` among them for the
    /// first time: their texts need no memory any more. Gives them, because to free so many takes milliseconds.
    pub(crate) fn evict(&self, watermark: MessageId, recipients: impl Iterator<Item = UserId>) -> Vec<Evicted> {
        let mut inner = self.inner();
        inner.watermark = watermark;
        let mut evicted = Vec::new();
        for recipient in recipients {
            let Some(mailbox) = inner.boxes.get_mut(&recipient) else { continue };
            evicted.push(mailbox.evict(watermark));
            if mailbox.unread.messages == 0 && mailbox.senders.is_empty() && !mailbox.is_waited_for() {
                inner.boxes.remove(&recipient);
            }
        }
        evicted
    }

    /// The oldest message that is unread when these, in their order, are read; `None`: nothing is. It may be older.
    pub(crate) fn oldest_of_all(&self, recipient: UserId, read: &[MessageId]) -> Option<MessageId> {
        self.inner().boxes.get(&recipient).and_then(|mailbox| mailbox.oldest_of_all(read))
    }

    /// Who wrote to `recipient` alone in the tail, each with the first message; of all, or of these.
    pub(crate) fn tail_senders(&self, recipient: UserId, among: Option<&[UserId]>) -> Vec<(MessageId, UserId)> {
        let inner = self.inner();
        let Some(mailbox) = inner.boxes.get(&recipient) else { return Vec::new() };
        let first = |id: UserId, sender: &Sender| Some((sender.first_in_tail?, id));
        match among {
            None => mailbox.senders.iter().filter_map(|(id, sender)| first(id.user()?, sender)).collect(),
            Some(among) => among.iter().filter_map(|id| first(*id, mailbox.senders.get(&(*id).into())?)).collect(),
        }
    }

    /// Forgets the mail of an account that is gone, and accepts no more for it.
    pub(crate) fn remove(&self, recipient: UserId) {
        let mut inner = self.inner();
        inner.removed.insert(recipient);
        if let Some(mailbox) = inner.boxes.remove(&recipient) {
            mailbox.tell_who_waits();
            inner.total.subtract(mailbox.unread);
            // To free many messages takes milliseconds. Nobody has to wait for that.
            drop(inner);
            drop(mailbox);
        }
    }

    /// All unread mail: messages and bytes.
    pub(crate) fn total(&self) -> (u64, u64) {
        let UnreadAmount { messages, bytes } = self.inner().total;
        (messages, bytes)
    }
}

impl Inner {
    fn forget(&mut self, recipient: UserId, sender: UserId, to: Address, amount: UnreadAmount) {
        if let Some(mailbox) = self.boxes.get_mut(&recipient) {
            mailbox.forget(sender, to, amount);
            self.total.subtract(amount);
        }
    }
}

#[cfg(test)]
mod tests;
