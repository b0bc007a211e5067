use super::*;
use crate::repository::sqlite::growth::{COPIES, TEXT};

/// Messages from the first account, each of so many bytes and copies.
fn tail(messages: i64, to: impl Fn(i64) -> Address, bytes: u64, copies: u32) -> Vec<TailMessage> {
    let one = |id| TailMessage { id: MessageId(id), sender: UserId(1), to: to(id), bytes, copies };
    (1..=messages).map(one).collect()
}

/// How many commits like this one there are until the whole run is due.
fn commits(run: &mut IndexRun, growth: Growth) -> u64 {
    let (mut commits, mut written) = (0, 0);
    while written < run.total {
        commits += 1;
        assert!(commits < 1_000_000, "the run never ends");
        if run.is_due(growth) {
            let owed = std::mem::take(&mut run.owed);
            written += owed;
            run.left = run.left.saturating_sub(owed);
        }
    }
    commits
}

#[test]
fn a_run_is_over_when_the_tail_has_grown_by_a_quarter_of_its_limit() {
    let size = Tail::new(65_536);
    let group = |_| Address::Group(GroupId(9));
    // A run of messages to 1,700 each is due after 617 of them.
    let mut run = IndexRun::new(tail(617, group, 2, 1_700), size);
    let copies = 1_700 * commits(&mut run, Growth { messages: 1, bytes: 2, copies: 1_700 });
    assert!(copies <= 65_536 * COPIES / 4 + 1_700, "{copies}");
    // One with long texts is due after 256 of them.
    let mut run = IndexRun::new(tail(256, |id| UserId(id).into(), 65_536, 1), size);
    let bytes = 65_536 * commits(&mut run, Growth { messages: 1, bytes: 65_536, copies: 1 });
    assert!(bytes <= 65_536 * TEXT / 4 + 65_536, "{bytes}");
    // Ordinary mail has all of the quarter.
    let mut run = IndexRun::new(tail(65_536, |id| UserId(id % 1_000).into(), 50, 1), size);
    let messages = commits(&mut run, Growth { messages: 1, bytes: 50, copies: 1 });
    assert!((15_000..=16_384).contains(&messages), "{messages}");
}
