//! Reading by number: a client that follows the message log says up to which message of a sender it has read. The
//! unread ones among these leave the queue, also when another connection has leased them.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

use super::account::Held;
use super::{Mailboxes, UnreadMessage};
use crate::model::{Address, MessageId, UserId};

/// The oldest unread message of one sender to one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OldestUnread {
    /// There is none.
    None,
    /// This one.
    Message(MessageId),
    /// It may lie on disk.
    OnDisk,
}

impl Mailboxes {
    /// The senders and groups whose mail is not durably read: for each the number of messages and the oldest. `None`:
    /// first load what lies on disk.
    pub(crate) fn unread_by_sender(&self, recipient: UserId) -> Option<BTreeMap<Address, (u64, MessageId)>> {
        let inner = self.inner();
        let mut unread = BTreeMap::new();
        let Some(mailbox) = inner.boxes.get(&recipient) else { return Some(unread) };
        if mailbox.on_disk > 0 {
            return None;
        }
        let held = mailbox.held.iter().map(|(id, held)| (held.share(), *id));
        for (sender, id) in mailbox.waiting.senders().chain(held) {
            let (count, oldest) = unread.entry(sender).or_insert((0, id));
            *count += 1;
            *oldest = id.min(*oldest);
        }
        Some(unread)
    }

    /// Those senders and groups. Looks at each of them and not at each message, once all mail is counted.
    pub(crate) fn unread_senders(&self, recipient: UserId) -> Option<Vec<Address>> {
        let inner = self.inner();
        match inner.boxes.get(&recipient) {
            Some(mailbox) if mailbox.is_uncounted => {}
            Some(mailbox) => {
                let unread = mailbox.senders.iter().filter(|(_, sender)| sender.unread.messages > 0);
                return Some(unread.map(|(share, _)| *share).collect());
            }
            None => return Some(Vec::new()),
        }
        drop(inner);
        self.unread_by_sender(recipient).map(|unread| unread.into_keys().collect())
    }

    /// The oldest message of `sender` to `recipient` that is not durably read.
    pub(crate) fn oldest_unread(&self, recipient: UserId, sender: UserId) -> OldestUnread {
        let inner = self.inner();
        let Some(mailbox) = inner.boxes.get(&recipient) else { return OldestUnread::None };
        let counted = mailbox.senders.get(&sender.into()).is_some_and(|sender| sender.unread.messages > 0);
        if !counted && !mailbox.is_uncounted {
            return OldestUnread::None;
        }
        if mailbox.on_disk > 0 {
            return OldestUnread::OnDisk;
        }
        let held = mailbox.held.iter().map(|(id, held)| (held.share(), *id));
        let theirs = mailbox.waiting.senders().chain(held).filter(|(from, _)| *from == sender.into());
        let oldest = theirs.map(|(_, id)| id).min();
        oldest.map_or(OldestUnread::None, OldestUnread::Message)
    }

    /// Confirms all that `senders` (or groups) wrote to `recipient` up to a message; gives how many messages were not
    /// confirmed before. They stay held until [`Mailboxes::read`]. `None`: first load what lies on disk.
    pub(crate) fn confirm_up_to(&self, recipient: UserId, senders: &[Address], to: MessageId) -> Option<usize> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let Some(mailbox) = inner.boxes.get_mut(&recipient) else { return Some(0) };
        let has_unread = |sender| mailbox.senders.get(sender).is_some_and(|known| known.unread.messages > 0);
        if !mailbox.is_uncounted && !senders.iter().any(has_unread) {
            return Some(0);
        }
        if mailbox.on_disk > 0 {
            return None;
        }
        let mut read = Vec::new();
        for (id, held) in mailbox.held.range_mut((Unbounded, Included(to))) {
            if !held.is_confirmed && senders.contains(&held.share()) {
                held.is_confirmed = true;
                let Held { sender, to, bytes, .. } = *held;
                read.push(UnreadMessage { id: *id, sender, to, bytes, content: None });
            }
        }
        for message in mailbox.waiting.take_of(senders, to) {
            mailbox.held.insert(message.id, Held { is_confirmed: true, ..Held::of(&message) });
            read.push(UnreadMessage { content: None, ..message });
        }
        let count = read.len();
        if count > 0 {
            inner.confirmed.push((recipient, read));
        }
        Some(count)
    }
}
