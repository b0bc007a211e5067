//! Limits what is heavy on its way to the writer: long texts, and messages to many members of groups. All messages of a
//! commit wait until the whole commit is written, so a hundred of these together would hold up all others. So a commit
//! has few of them, and the senders take turns.

use std::sync::Arc;

use crate::fair::{Turn, Turns};
use crate::model::UserId;
use crate::repository::NewMessage;

/// Messages that are sent together with more text than this wait for a turn, in bytes. Many short messages, as one
/// connection sends them together, have less.
const LONG: usize = 64 * 1024;
/// The same for copies to members of groups. One costs as much as some 250 bytes of text.
const MANY: usize = 256;
/// Sends of many copies that the writer has at once; no sender has more than one.
const MANY_AT_ONCE: usize = 2;

/// The turns of what is heavy.
pub(super) struct LongSends {
    long: Arc<Turns<UserId>>,
    many: Arc<Turns<UserId>>,
}

/// What a heavy send waited for. It is over when this is dropped.
pub(super) struct HeavyTurn {
    _long: Option<Turn<UserId>>,
    _many: Option<Turn<UserId>>,
}

impl LongSends {
    pub(super) fn new() -> LongSends {
        LongSends { long: Turns::new(1), many: Turns::with(MANY_AT_ONCE, 1) }
    }

    /// Waits, where these messages are long or have many copies, until it is their turn. `members` says how many a
    /// group has; nobody asks for other messages.
    pub(super) async fn turn(
        &self,
        messages: &[NewMessage],
        members: impl Fn(&NewMessage) -> usize,
    ) -> Option<HeavyTurn> {
        let sender = messages.first()?.sender;
        let bytes: usize = messages.iter().map(|message| message.text.len()).sum();
        let to_groups = messages.iter().filter(|message| message.to.group().is_some());
        let copies: usize = to_groups.map(members).sum();
        // Always in this order, so that no two wait for each other.
        let long = if bytes > LONG { Some(self.long.take(sender).await) } else { None };
        let many = if copies > MANY { Some(self.many.take(sender).await) } else { None };
        Some(HeavyTurn { _long: long, _many: many })
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::model::{Address, GroupId, Timestamp};

    fn message(sender: i64, to: impl Into<Address>) -> NewMessage {
        NewMessage { sender: UserId(sender), to: to.into(), sent_at: Timestamp(0), text: "hi".into() }
    }

    fn ready<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        match std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn a_sender_to_many_has_one_send_in_the_writers_hands_and_holds_up_no_other() {
        let sends = LongSends::new();
        let members = |_: &NewMessage| 1_700;
        let to_many = |sender| [message(sender, GroupId(9))];
        let first = sends.turn(&to_many(1), members).await;
        let (again, other, third) = (to_many(1), to_many(2), to_many(3));
        let mut again = Box::pin(sends.turn(&again, members));
        assert!(ready(&mut again).is_none(), "the same sender waits");
        let mut other = Box::pin(sends.turn(&other, members));
        let other = ready(&mut other).expect("another sender does not wait for the rest of the first");
        let mut third = Box::pin(sends.turn(&third, members));
        assert!(ready(&mut third).is_none(), "the writer has two at once");
        for light in [vec![message(1, UserId(2)); 200], vec![message(1, GroupId(8)); 8]] {
            let mut light = Box::pin(sends.turn(&light, |_| 30));
            assert!(ready(&mut light).is_some(), "what is light never waits");
        }
        drop(first);
        assert!(ready(&mut again).is_some(), "whoever came first");
        drop(other);
        assert!(ready(&mut third).is_some());
    }
}
