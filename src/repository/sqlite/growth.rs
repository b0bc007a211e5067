//! The tail of the message log: what is known of its messages, how long it grows, and how fast its index is written.

use crate::model::{Address, MessageId, UserId};

/// A message of the tail, without its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct TailMessage {
    /// Its place in the message log.
    pub id: MessageId,
    pub sender: UserId,
    /// Whom it is for.
    pub to: Address,
    /// The length of its text.
    pub bytes: u64,
    /// In how many mailboxes it is.
    pub copies: u32,
}

/// What a commit adds to the tail.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    pub messages: u64,
    pub bytes: u64,
    pub copies: u64,
}

impl Growth {
    /// By these messages.
    pub(super) fn of(stored: &[TailMessage]) -> Growth {
        Growth {
            messages: stored.len() as u64,
            bytes: stored.iter().map(|message| message.bytes).sum(),
            copies: stored.iter().map(|message| u64::from(message.copies)).sum(),
        }
    }
}

/// How long the tail grows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    messages: usize,
}

/// An average text; the tail is bounded in bytes by that.
pub(super) const TEXT: u64 = 256;
/// The tail is also indexed when it has this many copies for each message of a full tail.
pub(super) const COPIES: u64 = 16;
impl Tail {
    /// A tail that is indexed when it holds this many messages, or as much text as so many usually have.
    pub(super) fn new(messages: usize) -> Tail {
        Tail { messages }
    }

    /// Whether it is time to index a tail of this size.
    pub(crate) fn is_due(&self, tail: Growth) -> bool {
        self.is_beyond(tail, self.messages as u64)
    }

    /// Whether a tail of this size waits no longer until it is sorted.
    pub(crate) fn is_overdue(&self, tail: Growth) -> bool {
        self.is_beyond(tail, self.messages as u64 * 3 / 2)
    }

    fn is_beyond(&self, tail: Growth, most: u64) -> bool {
        tail.messages >= most || tail.bytes >= most * TEXT || tail.copies >= most * COPIES
    }

    /// How much of `total` is due when the tail has grown so: all with a quarter of what it may hold.
    pub(super) fn due_of(&self, total: usize, grown: Growth) -> usize {
        let quarter = (self.messages as u64 / 4).max(1);
        let part = |grown: u64, most: u64| (total as u64).saturating_mul(grown).div_ceil(most);
        let due = part(grown.messages, quarter)
            .max(part(grown.bytes, quarter * TEXT))
            .max(part(grown.copies, quarter * COPIES));
        usize::try_from(due).unwrap_or(usize::MAX).min(total)
    }
}
