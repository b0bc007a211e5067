//! Single cases, beside the random walk.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::*;
use crate::model::GroupId;

#[test]
fn an_eviction_during_a_load_hides_nothing() {
    let mut world = World::new();
    let send = || Step::Send { to: 0, from: 1, bytes: 10, written: true };
    (0..3).for_each(|_| world.step(send()));
    world.step(Step::Evict { keep: 0 });
    world.step(Step::BeginLoad { of: 0, view_of_now: true });
    world.step(send());
    world.step(Step::Evict { keep: 0 });
    world.step(Step::EndLoad { of: 0 });
    assert_eq!(world.take(0, 1), None, "the fourth is on disk");
    world.drain();
}

#[test]
fn what_another_connection_holds_is_read_once() {
    for proof in [true, false] {
        let mut world = World::new();
        (0..3).for_each(|_| world.step(Step::Send { to: 0, from: 1, bytes: 10, written: true }));
        let taken = world.take(0, 100).expect("all is in memory");
        assert_eq!(world.boxes.confirm_up_to(user(0), &[UserId(1).into()], MessageId(2)), Some(2));
        match proof {
            true => world.boxes.confirm(user(0), taken),
            false => world.boxes.release(user(0), taken),
        }
        world.step(Step::Commit { written: true });
        assert_eq!(world.free(0).len(), usize::from(!proof));
        world.check_counts();
        world.drain();
    }
}

#[test]
fn what_is_read_during_a_load_does_not_come_back() {
    let mut world = World::new();
    (0..3).for_each(|_| world.step(Step::Send { to: 0, from: 1, bytes: 10, written: true }));
    let taken = world.take(0, 20).expect("all is in memory");
    world.step(Step::Evict { keep: 0 });
    world.step(Step::BeginLoad { of: 0, view_of_now: true });
    world.boxes.confirm(user(0), taken);
    world.step(Step::Commit { written: true });
    world.step(Step::EndLoad { of: 0 });
    world.drain();
}

/// What this thread has used of a processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every Linux has it").into()
}

/// The processor time of a lease of many messages that goes back among many more, and of a first load among as many.
fn cost_of_release_and_load(many: i64) -> Duration {
    let boxes = Mailboxes::new(InboxLimits { messages: 1 << 40, bytes: 1 << 40 }, &UnreadTotals::new(), MessageId(0));
    let me = user(0);
    let message = |id| UnreadMessage { id: MessageId(id), sender: UserId(2), to: me.into(), bytes: 1, content: None };
    for id in 1..=many {
        assert!(boxes.room().take(me, UserId(2), me.into(), 1));
        boxes.put([(me, message(id))].into_iter());
    }
    let begun = processor_time();
    let take = |messages| match boxes.take(me, messages, u64::MAX) {
        TakeResult::Leased(taken) => taken,
        TakeResult::LoadFirst => panic!("all is in memory"),
    };
    let (older, newer) = (take(many as usize / 4), take(many as usize / 4));
    boxes.release(me, older);
    boxes.release(me, newer);
    let middle = MessageId(many / 2);
    drop(boxes.evict(middle, [me].into_iter()));
    assert_eq!(boxes.begin_load(me), Some(middle));
    boxes.load(me, (1..=many / 2).map(message));
    boxes.end_load(me, middle);
    let all = take(usize::MAX);
    assert!(all.iter().map(|message| message.id.0).eq(1..=many));
    processor_time() - begun
}

/// With a list in which each message looks for its place, sixteen times as many would cost 256 times as much.
#[test]
fn what_goes_back_and_what_is_loaded_costs_the_same_however_much_waits() {
    let (few, many) = (cost_of_release_and_load(10_000), cost_of_release_and_load(160_000));
    assert!(many < few * 80, "10,000 messages: {few:?}, 160,000: {many:?}");
}

#[test]
fn a_flooder_leaves_room_for_everybody_else() {
    let boxes = Mailboxes::new(InboxLimits { messages: 1000, bytes: 1 << 30 }, &UnreadTotals::new(), MessageId(0));
    let room = |sender| boxes.room().take(user(0), UserId(sender), user(0).into(), 1);
    let flood = |sender| (0..2000).filter(|_| room(sender)).count();
    assert_eq!(flood(1), 500, "one has half");
    assert!(room(100), "and whoever comes is let in");
    assert_eq!((2..=9).map(flood).sum::<usize>(), 498, "each of nine has half of what is left");
    assert!(room(101));
    assert!(!room(101), "until there is nothing");
}

#[test]
fn groups_fill_half_of_a_mailbox_and_give_their_room_back() {
    let boxes = Mailboxes::new(InboxLimits { messages: 1000, bytes: 2000 }, &UnreadTotals::new(), MessageId(0));
    let room = |sender, group, bytes| boxes.room().take(user(0), UserId(sender), GroupId(group).into(), bytes);
    let flood = |sender, group| (0..2000).filter(|_| room(sender, group, 1)).count();
    assert!(!room(1, 50, 1001), "more than half of the bytes");
    assert_eq!((50..70).map(|group| flood(1, group)).sum::<usize>(), 500, "one sender, many groups");
    assert!(!boxes.room().take(user(0), UserId(1), user(0).into(), 1), "it is one share");
    assert_eq!(flood(2, 90), 0);
    assert!(boxes.room().take(user(0), UserId(2), user(0).into(), 1));
    boxes.give_back_room(user(0), UserId(1), GroupId(50).into(), 1);
    assert_eq!(flood(2, 90), 1);
    assert_eq!(flood(1, 50), 0);
}
