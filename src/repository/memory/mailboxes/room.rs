//! How much unread mail a user may have, and how much of it each sender may take: no more than the room that is left.
//! So one sender can fill half of a mailbox, and half stays free for others. A sender that has not written yet can
//! write as long as there is any room.

use std::sync::MutexGuard;

use crate::model::{Address, UserId};
use crate::repository::memory::mailboxes::{Inner, UnreadAmount};

/// How much unread mail a user may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InboxLimits {
    pub messages: u64,
    /// Bytes of text.
    pub bytes: u64,
}

impl InboxLimits {
    /// Whether a sender who has `share` of the `unread` mail may add a text of so many bytes.
    fn allow(self, unread: UnreadAmount, share: UnreadAmount, bytes: u64) -> bool {
        let free = self.messages.saturating_sub(unread.messages);
        let free_bytes = self.bytes.saturating_sub(unread.bytes);
        share.messages < free && share.bytes.saturating_add(bytes) <= free_bytes
    }
}

/// The room of all mailboxes. Nobody else reads or changes a mailbox while this is there.
pub(crate) struct MailboxRoom<'a> {
    pub(super) caps: InboxLimits,
    pub(super) inner: MutexGuard<'a, Inner>,
}

impl MailboxRoom<'_> {
    /// Takes the room of one message, on the share of its sender or of its group. `false`: the recipient's mailbox is
    /// gone or full, or the share is used up.
    pub(crate) fn take(&mut self, recipient: UserId, share: impl Into<Address>, bytes: u64) -> bool {
        let sender = share.into();
        let inner = &mut *self.inner;
        if !inner.removed.is_empty() && inner.removed.contains(&recipient) {
            return false;
        }
        let mailbox = inner.boxes.entry(recipient).or_default();
        let share = &mut mailbox.senders.entry(sender).or_default().unread;
        if !self.caps.allow(mailbox.unread, *share, bytes) {
            mailbox.forget_idle_sender(sender);
            return false;
        }
        let one = UnreadAmount { messages: 1, bytes };
        share.add(one);
        mailbox.unread.add(one);
        inner.total.add(one);
        true
    }

    /// Gives back the room of one message.
    pub(crate) fn give_back(&mut self, recipient: UserId, share: Address, bytes: u64) {
        self.inner.forget(recipient, share, UnreadAmount { messages: 1, bytes });
    }
}
