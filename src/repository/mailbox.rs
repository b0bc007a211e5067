//! Who has what waiting, and who holds it, in memory: the short tail of the log by recipient, the leases, and how much
//! more lies on disk. Nothing here touches the disk; a backend calls in after its commits, and the rules of
//! delivery (nothing twice without a fault, nothing lost, older before newer) are kept here alone.
//!
//! A message is in one of four places: `waiting` here, `held` by a lease, on disk only, or read.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ops::Bound::{Excluded, Included};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use rustc_hash::FxHashMap;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::Totals;
use crate::model::{MessageId, Timestamp, UserId};

/// A message that nobody has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its place in the log.
    pub id: MessageId,
    /// Who sent it.
    pub sender: UserId,
    /// The length of its text.
    pub bytes: u64,
    /// Time and text, while it is in the tail; else the log on disk has them.
    pub content: Option<(Timestamp, Arc<str>)>,
}

/// An ear for mail. Of several who listen for the same mailbox, one hears of each delivery and then has to look; if it
/// cannot, it passes the word on. Dropped unheard, it passes it on by itself.
pub struct Arrival {
    notify: Arc<Notify>,
    notified: Pin<Box<OwnedNotified>>,
}

impl Arrival {
    /// Ready when mail has come since this was made.
    pub async fn heard(&mut self) {
        self.notified.as_mut().await;
    }

    /// Lets another look in this one's place.
    pub fn pass_on(self) {
        self.notify.notify_one();
    }
}

/// What [`Mailboxes::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// These are leased now; there may be none.
    Leased(Vec<Waiting>),
    /// First load what lies on disk: it is older than what is in memory.
    LoadFirst,
}

/// How much of something is unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Messages; at least one.
    pub messages: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// The first of them.
    pub oldest: MessageId,
}

/// How much unread mail a user may have.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Messages.
    pub messages: u64,
    /// Bytes of text.
    pub bytes: u64,
}

/// Everybody's waiting mail.
#[derive(Debug)]
pub struct Mailboxes {
    caps: Caps,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    boxes: FxHashMap<UserId, Mailbox>,
    /// Up to here the disk finds messages by recipient; the tail comes after it.
    watermark: MessageId,
    /// All unread mail: messages, bytes.
    total: (u64, u64),
    /// Confirmed, and not yet durably so.
    confirmed: Vec<(UserId, Vec<Waiting>)>,
    /// Accounts that went while this process ran: what is still on its way to them goes nowhere.
    removed: HashSet<UserId>,
}

#[derive(Debug, Default)]
struct Mailbox {
    /// In the queue and leased to nobody, as far as memory knows it; in the order of their numbers.
    waiting: VecDeque<Waiting>,
    /// Leased, or confirmed and not yet durably so; with the length of each text.
    held: BTreeMap<MessageId, u64>,
    /// All that waits or is held, on disk and here: messages and bytes.
    unread: (u64, u64),
    /// How many of `unread` are only on disk.
    on_disk: u64,
    /// Held while loading: one at a time.
    load_lock: Option<Arc<AsyncMutex<()>>>,
    /// What became read while somebody loads from an older view of the disk.
    read_while_loading: Option<BTreeSet<MessageId>>,
    /// Who wrote to this user in the tail, with the first message of each.
    tail_senders: BTreeMap<UserId, MessageId>,
    /// Those who wait for mail.
    arrival: Option<Arc<Notify>>,
}

impl Mailboxes {
    /// Mailboxes as they stand on disk up to `watermark`: messages and bytes by user.
    pub fn new(caps: Caps, on_disk: &Totals, watermark: MessageId) -> Mailboxes {
        let boxes = FxHashMap::default();
        let mut inner = Inner { boxes, watermark, total: (0, 0), confirmed: Vec::new(), removed: HashSet::new() };
        for (user, (messages, bytes)) in on_disk {
            let mailbox = Mailbox { unread: (*messages, *bytes), on_disk: *messages, ..Mailbox::default() };
            inner.boxes.insert(*user, mailbox);
            inner.total.0 += messages;
            inner.total.1 += bytes;
        }
        Mailboxes { caps, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// To make room for messages that are about to be written.
    pub fn reserve(&self) -> Reserve<'_> {
        Reserve { caps: self.caps, inner: self.inner() }
    }

    /// Gives back the room of a message that was not written.
    pub fn unreserve(&self, recipient: UserId, bytes: u64) {
        self.inner().forget(recipient, (1, bytes));
    }

    /// Takes in messages that were written; room was reserved for each.
    pub fn deliver(&self, messages: impl Iterator<Item = (UserId, Waiting)>) {
        let mut inner = self.inner();
        for (recipient, message) in messages {
            let mailbox = inner.boxes.entry(recipient).or_default();
            mailbox.note_sender(message.sender, message.id);
            mailbox.put(message);
            mailbox.tell_who_waits();
        }
    }

    /// Hears of mail that comes for `recipient` from now on, or comes back.
    pub fn arrival(&self, recipient: UserId) -> Arrival {
        let notify = self.inner().boxes.entry(recipient).or_default().arrival.get_or_insert_default().clone();
        let notified = Box::pin(notify.clone().notified_owned());
        Arrival { notify, notified }
    }

    /// Has all who wait for `recipient`'s mail look, because some of them may not any more.
    pub fn let_all_look(&self, recipient: UserId) {
        if let Some(arrival) = self.inner().boxes.get(&recipient).and_then(|mailbox| mailbox.arrival.as_ref()) {
            arrival.notify_waiters();
        }
    }

    /// Takes in unread messages of the tail as the log had them at start.
    pub fn restore(&self, messages: impl Iterator<Item = (UserId, Waiting)>) {
        let messages: Vec<_> = messages.collect();
        let mut inner = self.inner();
        for (recipient, message) in &messages {
            add(&mut inner.boxes.entry(*recipient).or_default().unread, (1, message.bytes));
            add(&mut inner.total, (1, message.bytes));
        }
        drop(inner);
        self.deliver(messages.into_iter());
    }

    /// Notes the sender of a message that was read before this process began.
    pub fn note_sender(&self, recipient: UserId, sender: UserId, id: MessageId) {
        self.inner().boxes.entry(recipient).or_default().note_sender(sender, id);
    }

    /// Leases what waits, oldest first: at least one message, and no more than `bytes` of text if there are several.
    pub fn take(&self, recipient: UserId, bytes: u64) -> Taken {
        let mut inner = self.inner();
        let Some(mailbox) = inner.boxes.get_mut(&recipient) else { return Taken::Leased(Vec::new()) };
        if mailbox.on_disk > 0 {
            return Taken::LoadFirst;
        }
        let mut taken = Vec::new();
        let mut room = bytes;
        while let Some(message) = mailbox.waiting.pop_front_if(|m| m.bytes <= room || taken.is_empty()) {
            room = room.saturating_sub(message.bytes);
            mailbox.held.insert(message.id, message.bytes);
            taken.push(message);
        }
        if !mailbox.waiting.is_empty() {
            mailbox.tell_who_waits();
        }
        Taken::Leased(taken)
    }

    /// The lock that whoever loads from disk must hold, so that two do not load the same.
    pub fn load_lock(&self, recipient: UserId) -> Arc<AsyncMutex<()>> {
        self.inner().boxes.entry(recipient).or_default().load_lock.get_or_insert_default().clone()
    }

    /// Begins to load all that is unread on disk, up to the message named. `None`: there is nothing.
    pub fn begin_load(&self, recipient: UserId) -> Option<MessageId> {
        let mut inner = self.inner();
        let watermark = inner.watermark;
        let mailbox = inner.boxes.get_mut(&recipient).filter(|mailbox| mailbox.on_disk > 0)?;
        mailbox.read_while_loading = Some(BTreeSet::new());
        Some(watermark)
    }

    /// Puts in all that was unread on disk up to `watermark`.
    pub fn load(&self, recipient: UserId, found: Vec<Waiting>, watermark: MessageId) {
        let mut inner = self.inner();
        let none_came_since = inner.watermark == watermark;
        let Some(mailbox) = inner.boxes.get_mut(&recipient) else { return };
        let read = mailbox.read_while_loading.take().unwrap_or_default();
        for message in found {
            let id = message.id;
            if !mailbox.held.contains_key(&id) && !mailbox.waits(id) && !read.contains(&id) {
                mailbox.put(message);
                mailbox.on_disk = mailbox.on_disk.saturating_sub(1);
            }
        }
        if none_came_since {
            mailbox.on_disk = 0;
        }
    }

    /// Ends a lease without proof: the messages wait again, before newer ones.
    pub fn release(&self, recipient: UserId, messages: Vec<Waiting>) {
        let mut inner = self.inner();
        let Some(mailbox) = inner.boxes.get_mut(&recipient) else { return };
        for message in messages {
            if mailbox.held.remove(&message.id).is_some() {
                mailbox.put(message);
            }
        }
        mailbox.tell_who_waits();
    }

    /// Ends a lease with proof. The messages stay held until [`Mailboxes::read`].
    pub fn confirm(&self, recipient: UserId, messages: Vec<Waiting>) {
        self.inner().confirmed.push((recipient, messages));
    }

    /// Whether anything was confirmed since the last call of [`Mailboxes::take_confirmed`].
    pub fn has_confirmed(&self) -> bool {
        !self.inner().confirmed.is_empty()
    }

    /// What was confirmed since the last call.
    pub fn take_confirmed(&self) -> Vec<(UserId, Vec<Waiting>)> {
        std::mem::take(&mut self.inner().confirmed)
    }

    /// Puts back what [`Mailboxes::take_confirmed`] gave and could not be written.
    pub fn put_back_confirmed(&self, confirmed: Vec<(UserId, Vec<Waiting>)>) {
        self.inner().confirmed.extend(confirmed);
    }

    /// The disk knows that these were read.
    pub fn read(&self, confirmed: &[(UserId, Vec<Waiting>)]) {
        let mut inner = self.inner();
        for (recipient, messages) in confirmed {
            let Some(mailbox) = inner.boxes.get_mut(recipient) else { continue };
            let mut amount = (0, 0);
            // What is not held was forgotten with its account.
            for message in messages.iter().filter(|message| mailbox.held.remove(&message.id).is_some()) {
                add(&mut amount, (1, message.bytes));
                if let Some(read) = &mut mailbox.read_while_loading {
                    read.insert(message.id);
                }
            }
            inner.forget(*recipient, amount);
        }
    }

    /// What of the tail up to `to` is not yet durably read, for those of `recipients` who have any.
    pub fn unread_up_to(&self, to: MessageId, recipients: &[UserId]) -> Vec<(UserId, Unread)> {
        let inner = self.inner();
        let after = inner.watermark;
        let unread = |recipient: &UserId| Some((*recipient, inner.boxes.get(recipient)?.unread_between(after, to)?));
        recipients.iter().filter_map(unread).collect()
    }

    /// The disk can now find all messages up to `watermark` by recipient, those to `recipients` among them for the first
    /// time: their texts need no memory any more. Gives them, because to free so many takes milliseconds.
    pub fn evict(&self, watermark: MessageId, recipients: impl Iterator<Item = UserId>) -> Vec<VecDeque<Waiting>> {
        let mut inner = self.inner();
        inner.watermark = watermark;
        let mut evicted = Vec::new();
        for recipient in recipients {
            let Some(mailbox) = inner.boxes.get_mut(&recipient) else { continue };
            evicted.push(mailbox.evict(watermark));
            if mailbox.unread.0 == 0 && mailbox.tail_senders.is_empty() && !mailbox.is_waited_for() {
                inner.boxes.remove(&recipient);
            }
        }
        evicted
    }

    /// Who wrote to `recipient` in the tail, each with the first message.
    pub fn tail_senders(&self, recipient: UserId) -> Vec<(MessageId, UserId)> {
        let inner = self.inner();
        let senders = inner.boxes.get(&recipient).map(|mailbox| mailbox.tail_senders.iter());
        senders.into_iter().flatten().map(|(sender, id)| (*id, *sender)).collect()
    }

    /// Forgets all that waited for an account that is gone, and takes nothing for it any more.
    pub fn remove(&self, recipient: UserId) {
        let mut inner = self.inner();
        inner.removed.insert(recipient);
        if let Some(mailbox) = inner.boxes.remove(&recipient) {
            mailbox.tell_who_waits();
            subtract(&mut inner.total, mailbox.unread);
        }
    }

    /// All unread mail: messages and bytes.
    pub fn total(&self) -> (u64, u64) {
        self.inner().total
    }
}

/// Makes room for many messages at once; nobody else gets at the mailboxes meanwhile.
pub struct Reserve<'a> {
    caps: Caps,
    inner: MutexGuard<'a, Inner>,
}

impl Reserve<'_> {
    /// Makes room for one. `false`: the recipient's mailbox is full or gone.
    pub fn room(&mut self, recipient: UserId, bytes: u64) -> bool {
        let inner = &mut *self.inner;
        if !inner.removed.is_empty() && inner.removed.contains(&recipient) {
            return false;
        }
        let unread = &mut inner.boxes.entry(recipient).or_default().unread;
        if unread.0 >= self.caps.messages || unread.1 + bytes > self.caps.bytes {
            return false;
        }
        add(unread, (1, bytes));
        add(&mut inner.total, (1, bytes));
        true
    }

    /// Gives back the room of one.
    pub fn give_back(&mut self, recipient: UserId, bytes: u64) {
        self.inner.forget(recipient, (1, bytes));
    }
}

impl Inner {
    fn forget(&mut self, recipient: UserId, amount: (u64, u64)) {
        if let Some(mailbox) = self.boxes.get_mut(&recipient) {
            subtract(&mut mailbox.unread, amount);
            subtract(&mut self.total, amount);
        }
    }
}

impl Mailbox {
    /// Wakes one of those who wait for mail, or makes the next who waits look again.
    fn tell_who_waits(&self) {
        if let Some(arrival) = &self.arrival {
            // One is enough: it takes all there is, and what it leaves, it is told of again.
            arrival.notify_one();
        }
    }

    fn is_waited_for(&self) -> bool {
        self.arrival.as_ref().is_some_and(|arrival| Arc::strong_count(arrival) > 1)
    }

    fn note_sender(&mut self, sender: UserId, id: MessageId) {
        let first = self.tail_senders.entry(sender).or_insert(id);
        *first = id.min(*first);
    }

    /// What of the messages after `after` and up to `to` is unread; `None` where all was read.
    fn unread_between(&self, after: MessageId, to: MessageId) -> Option<Unread> {
        let first = self.waiting.partition_point(|message| message.id <= after);
        let waiting = self.waiting.range(first..).map(|message| (message.id, message.bytes));
        let held = self.held.range((Excluded(after), Included(to))).map(|(id, bytes)| (*id, *bytes));
        let one = |(id, bytes): (MessageId, u64)| Unread { messages: 1, bytes, oldest: id };
        waiting.take_while(|(id, _)| *id <= to).chain(held).map(one).reduce(|a, b| Unread {
            messages: a.messages + b.messages,
            bytes: a.bytes + b.bytes,
            oldest: a.oldest.min(b.oldest),
        })
    }

    /// Whether a message is among those that memory knows to wait.
    fn waits(&self, id: MessageId) -> bool {
        self.waiting.binary_search_by_key(&id, |message| message.id).is_ok()
    }

    /// Puts a message where its number belongs: nearly always at the end.
    fn put(&mut self, message: Waiting) {
        if self.waiting.back().is_none_or(|last| last.id < message.id) {
            self.waiting.push_back(message);
        } else if let Err(place) = self.waiting.binary_search_by_key(&message.id, |message| message.id) {
            self.waiting.insert(place, message);
        }
    }

    fn evict(&mut self, watermark: MessageId) -> VecDeque<Waiting> {
        self.tail_senders.retain(|_, first| *first > watermark);
        let indexed = self.waiting.partition_point(|message| message.id <= watermark);
        self.on_disk += indexed as u64;
        let newer = self.waiting.split_off(indexed);
        std::mem::replace(&mut self.waiting, newer)
    }
}

fn add(total: &mut (u64, u64), amount: (u64, u64)) {
    total.0 += amount.0;
    total.1 += amount.1;
}

fn subtract(total: &mut (u64, u64), amount: (u64, u64)) {
    total.0 = total.0.saturating_sub(amount.0);
    total.1 = total.1.saturating_sub(amount.1);
}

#[cfg(test)]
mod tests;
