//! How much unread mail a user may have, and how much of it each sender may take: no more than the room that is left.
//! So one sender can fill half of a mailbox, and half stays free for others. A sender that has not written yet can
//! write as long as there is any room. What a sender writes to groups counts, too, and a group has a share as a sender
//! has. All groups together fill half of a mailbox, so who is put into many still gets the mail that is for him alone.

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
    /// Whether a sender or a group that has `share` of the `unread` mail may add a text of so many bytes.
    fn allow(self, unread: UnreadAmount, share: UnreadAmount, bytes: u64) -> bool {
        let free = self.messages.saturating_sub(unread.messages);
        let free_bytes = self.bytes.saturating_sub(unread.bytes);
        share.messages < free && share.bytes.saturating_add(bytes) <= free_bytes
    }

    /// Whether groups that have so much together may add a text of so many bytes.
    fn allow_groups(self, of_groups: UnreadAmount, bytes: u64) -> bool {
        of_groups.messages < self.messages.div_ceil(2)
            && of_groups.bytes.saturating_add(bytes) <= self.bytes.div_ceil(2)
    }
}

/// The room of all mailboxes. Nobody else reads or changes a mailbox while this is there.
pub(crate) struct MailboxRoom<'a> {
    pub(super) caps: InboxLimits,
    pub(super) inner: MutexGuard<'a, Inner>,
}

impl MailboxRoom<'_> {
    /// Takes the room of one message, on the share of its sender and, where it is to one, of its group. `false`: the
    /// recipient's mailbox is gone or full, or a share is used up.
    pub(crate) fn take(&mut self, recipient: UserId, sender: UserId, to: Address, bytes: u64) -> bool {
        let inner = &mut *self.inner;
        if !inner.removed.is_empty() && inner.removed.contains(&recipient) {
            return false;
        }
        let mailbox = inner.boxes.entry(recipient).or_default();
        let (caps, unread) = (self.caps, mailbox.unread);
        let is_allowed = caps.allow(unread, mailbox.all_of(sender), bytes)
            && (to.group().is_none()
                || caps.allow(unread, mailbox.share_of(to), bytes) && caps.allow_groups(mailbox.of_groups, bytes));
        if !is_allowed {
            return false;
        }
        let one = UnreadAmount { messages: 1, bytes };
        mailbox.charge(sender, to, one);
        mailbox.unread.add(one);
        inner.total.add(one);
        true
    }

    /// Gives back the room of one message.
    pub(crate) fn give_back(&mut self, recipient: UserId, sender: UserId, to: Address, bytes: u64) {
        self.inner.forget(recipient, sender, to, UnreadAmount { messages: 1, bytes });
    }
}
