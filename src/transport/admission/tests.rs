use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::*;
use crate::model::UserId;

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn connections(total: usize, per_address: usize, unauthenticated: usize) -> Arc<Connections> {
    Connections::new(ConnectionLimits { total, per_address, per_account: 3, unauthenticated })
}

/// Somebody who came with a task that only ends when it is evicted, a little later than those before.
async fn enter_from(connections: &Arc<Connections>, address: IpAddr) -> Option<Slot> {
    tokio::time::sleep(Duration::from_millis(2)).await;
    let slot = connections.enter(address)?;
    slot.eviction().attach_task(tokio::spawn(std::future::pending::<()>()).abort_handle());
    Some(slot)
}

async fn enter(connections: &Arc<Connections>, last: u8) -> Option<Slot> {
    enter_from(connections, address(last)).await
}

fn was_evicted(slot: &Slot) -> bool {
    let state = slot.connections.state();
    let number = slot.record.number;
    !state.unauthenticated.contains_key(&number) && !state.authenticated.contains_key(&number)
}

fn holder(session: i64, user: i64) -> Holder {
    Holder { session: SessionId(session), user: UserId(user) }
}

fn log_in(slot: &mut Slot, session: i64, user: i64) -> Result<(), TooMany> {
    slot.authenticate(holder(session, user))
}

#[tokio::test]
async fn the_longest_silent_stranger_makes_room() {
    let connections = connections(3, 3, 3);
    let mut first = enter(&connections, 1).await.expect("there is room");
    let second = enter(&connections, 2).await.expect("there is room");
    let third = enter(&connections, 3).await.expect("there is room");
    log_in(&mut first, 1, 1).expect("the account has none");
    tokio::time::sleep(Duration::from_millis(2)).await;
    second.touch();
    let fourth = enter(&connections, 4).await.expect("the third makes room");
    assert_eq!([&first, &second, &third, &fourth].map(was_evicted), [false, false, true, false]);
    assert_eq!(connections.count(), 3);
    drop(third);
    assert_eq!(connections.count(), 3, "it was off the count already");
    // Who waits for an answer is not silent, and with a session nobody is evicted.
    second.mark_busy();
    fourth.mark_busy();
    assert!(enter(&connections, 5).await.is_none());
    first.forget_token();
    enter(&connections, 5).await.expect("the first has logged out");
    assert!(was_evicted(&first));
}

#[tokio::test]
async fn strangers_and_addresses_have_limits_of_their_own() {
    let connections = connections(10, 2, 3);
    let mut known = enter(&connections, 1).await.expect("there is room");
    log_in(&mut known, 1, 1).expect("the account has none");
    let slots = [enter(&connections, 2).await, enter(&connections, 2).await].map(|p| p.expect("there is room"));
    let others = [enter(&connections, 3).await, enter(&connections, 4).await].map(|p| p.expect("there is room"));
    assert_eq!(slots.each_ref().map(was_evicted), [true, false], "three strangers are too many");
    assert!(enter(&connections, 2).await.is_some(), "the first there was evicted");
    drop((slots, others, known));
    assert_eq!(connections.count(), 0);
    assert!(connections.state().counts.payers() == 0);
}

#[tokio::test]
async fn within_one_address_too_the_longest_silent_stranger_makes_room() {
    let connections = connections(10, 2, 10);
    let other = enter(&connections, 1).await.expect("there is room");
    let mut first = enter(&connections, 2).await.expect("there is room");
    let second = enter(&connections, 2).await.expect("there is room");
    let mut third = enter(&connections, 2).await.expect("the first makes room");
    assert_eq!([&other, &first, &second, &third].map(was_evicted), [false, true, false, false]);
    assert_eq!(log_in(&mut first, 1, 1), Ok(()), "it is over, and takes nothing");
    assert_eq!(connections.count(), 3);
    log_in(&mut third, 1, 1).expect("the account has none");
    let mut fourth = enter(&connections, 2).await.expect("the second makes room");
    assert!(was_evicted(&second));
    log_in(&mut fourth, 2, 2).expect("the account has none");
    assert!(enter(&connections, 2).await.is_none(), "both have shown a token");
    assert!(enter(&connections, 3).await.is_some(), "other addresses have room");
}

#[tokio::test]
async fn an_ipv6_network_counts_as_one_address() {
    let connections = connections(10, 2, 10);
    let host = |network: u16, host: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host).into();
    let mut slots = Vec::new();
    for number in 1..=2 {
        let mut slot = enter_from(&connections, host(7, number)).await.expect("there is room");
        log_in(&mut slot, number.into(), number.into()).expect("the account has none");
        slots.push(slot);
    }
    assert!(enter_from(&connections, host(7, 3)).await.is_none(), "the network has its two");
    assert!(enter_from(&connections, host(8, 3)).await.is_some());
}

#[tokio::test]
async fn one_account_has_so_many_connections_and_gets_them_back() {
    let connections = connections(10, 10, 10);
    let mut slots = Vec::new();
    for session in [1, 1, 2] {
        let mut slot = enter(&connections, 1).await.expect("there is room");
        log_in(&mut slot, session, 7).expect("three are allowed");
        slots.push(slot);
    }
    let mut fourth = enter(&connections, 2).await.expect("there is room");
    assert_eq!(log_in(&mut fourth, 3, 7), Err(TooMany));
    assert!(!fourth.is_authenticated());
    assert_eq!(log_in(&mut fourth, 4, 8), Ok(()), "another account");
    // Who is the account's already may show its other token.
    assert_eq!(log_in(&mut slots[0], 2, 7), Ok(()));
    slots[0].forget_token();
    assert_eq!(log_in(&mut fourth, 3, 7), Ok(()));
    assert_eq!(log_in(&mut slots[0], 2, 7), Err(TooMany));
    drop(slots.pop());
    assert_eq!(log_in(&mut slots[0], 2, 7), Ok(()));
    drop((slots, fourth));
    let state = connections.state();
    assert!(state.counts.payers() == 0 && state.by_session.is_empty() && state.authenticated.is_empty());
}

#[tokio::test]
async fn one_token_leaves_places_of_its_account_to_the_others() {
    let limits = ConnectionLimits { total: 10, per_address: 10, per_account: 8, unauthenticated: 10 };
    let connections = Connections::new(limits);
    let mut slots = Vec::new();
    for number in 0..7 {
        let mut slot = enter(&connections, 1).await.expect("there is room");
        assert_eq!(log_in(&mut slot, 1, 7), if number < 6 { Ok(()) } else { Err(TooMany) }, "{number}");
        slots.push(slot);
    }
    assert_eq!(log_in(&mut slots[6], 2, 7), Ok(()));
}

#[tokio::test]
async fn the_end_of_a_session_is_the_end_of_what_its_connections_have() {
    let connections = connections(2, 2, 2);
    let mut first = enter(&connections, 1).await.expect("there is room");
    let mut second = enter(&connections, 1).await.expect("there is room");
    first.authenticate(holder(1, 7)).expect("three are allowed");
    log_in(&mut second, 2, 7).expect("three are allowed");
    assert!(first.belongs_to(&holder(1, 7)));
    connections.session_ended(SessionId(1), true);
    first.revoked().await;
    first.session_ended().await;
    assert!(!first.belongs_to(&holder(1, 7)) && first.holder().is_none());
    assert_eq!(connections.state().counts.of(Payer::Account(UserId(7))), 1);
    connections.session_ended(SessionId(2), false);
    second.session_ended().await;
    assert!(enter(&connections, 2).await.is_some(), "it makes room");
    assert!(was_evicted(&first));
    assert_eq!(connections.sessions(), []);
}

#[tokio::test]
async fn strangers_who_all_wait_for_an_answer_do_not_keep_other_addresses_out() {
    let connections = connections(10, 10, 3);
    let mut slots = Vec::new();
    for _ in 0..3 {
        let slot = enter(&connections, 1).await.expect("there is room");
        slot.mark_busy();
        slots.push(slot);
    }
    assert!(enter(&connections, 1).await.is_none(), "the same address gains nothing");
    let other = enter(&connections, 2).await.expect("the newest of the crowd makes room");
    assert_eq!([&slots[0], &slots[1], &slots[2]].map(was_evicted), [false, false, true]);
    other.mark_busy();
    let third = enter(&connections, 3).await.expect("two are more than one");
    third.mark_busy();
    assert!(enter(&connections, 4).await.is_none(), "nobody has more than one");
}

#[tokio::test]
async fn a_crowd_of_addresses_that_all_wait_for_an_answer_keeps_out_no_address_that_has_logged_in() {
    let connections = connections(10, 10, 3);
    let mut user = enter(&connections, 1).await.expect("there is room");
    log_in(&mut user, 1, 1).expect("the account has none");
    drop(user);
    let mut crowd = Vec::new();
    for last in 2..=4 {
        let slot = enter(&connections, last).await.expect("there is room");
        slot.mark_busy();
        crowd.push(slot);
    }
    assert!(enter(&connections, 5).await.is_none(), "nobody knows this address");
    let user = enter(&connections, 1).await.expect("the newest stranger makes room");
    assert_eq!([&crowd[0], &crowd[1], &crowd[2]].map(was_evicted), [false, false, true]);
    user.mark_busy();
    assert!(enter(&connections, 4).await.is_none(), "a stranger does not take the place of a user");
}

#[tokio::test]
async fn a_network_with_many_makes_room_for_its_own_and_for_others() {
    let connections = connections(20, 20, 6);
    // The others were silent for longer.
    let quiet = [enter(&connections, 1).await, enter(&connections, 2).await].map(|slot| slot.expect("there is room"));
    let mut crowd = Vec::new();
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        crowd.extend(enter(&connections, 3).await);
    }
    let other = enter(&connections, 4).await.expect("the crowd makes room");
    assert_eq!([&quiet[0], &quiet[1], &other].map(was_evicted), [false; 3]);
    crowd.iter().for_each(Slot::mark_busy);
    assert!(enter(&connections, 3).await.is_none(), "others do not make room for a crowd that waits");
    assert_eq!([&quiet[0], &quiet[1], &other].map(was_evicted), [false; 3]);
}
