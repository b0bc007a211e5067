use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

const RATES: Rates =
    Rates { address: Rate { per_minute: 10, per_hour: 60 }, account: Rate { per_minute: 5, per_hour: 20 } };
const SECOND: Micros = 1_000_000;

fn book(buckets: usize) -> Book {
    Book { rates: RATES, spent: Table::new(buckets), known: Table::new(buckets), in_hand: HashMap::new() }
}

/// Wrong attempts at `now` until one is refused: how many passed, and the wait.
fn wrong(book: &mut Book, counted: &[(RateKey, Rate)], now: Micros) -> (usize, Micros) {
    let mut passed = 0;
    loop {
        match book.ask(counted, now) {
            ThrottleVerdict::Pass => book.done(counted, false),
            ThrottleVerdict::Refuse(wait) => return (passed, wait),
            ThrottleVerdict::Wait(_) => panic!("nothing is in hand"),
        }
        passed += 1;
    }
}

#[test]
fn wrong_attempts_are_let_through_at_the_rate() {
    let mut book = book(64);
    let address = [(7, RATES.address)];
    assert_eq!(wrong(&mut book, &address, 0), (10, 6 * SECOND));
    assert_eq!(wrong(&mut book, &address, 6 * SECOND - 1), (0, 1));
    assert_eq!(wrong(&mut book, &address, 6 * SECOND), (1, 6 * SECOND));
    // Those that were refused cost nothing: after a minute all ten pass again, and no more.
    assert_eq!(wrong(&mut book, &address, 66 * SECOND).0, 10);
    let in_an_hour: usize = (67..3600).map(|at| wrong(&mut book, &address, at * SECOND).0).sum();
    assert!((38..=120).contains(&in_an_hour), "{in_an_hour}");
    // In the second hour, sixty.
    let next: usize = (3600..7200).map(|at| wrong(&mut book, &address, at * SECOND).0).sum();
    assert_eq!(next, 60);
    assert_eq!(wrong(&mut book, &[(8, RATES.address)], 7200 * SECOND).0, 10, "another address has its own");
}

#[test]
fn no_rate_is_no_limit() {
    let mut book = book(64);
    let counted = [(7, Rate { per_minute: 0, per_hour: 0 })];
    for _ in 0..10_000 {
        assert_eq!(book.ask(&counted, 0), ThrottleVerdict::Pass);
    }
}

#[test]
fn the_lightest_bucket_goes_first() {
    let mut book = book(WAYS);
    let heavy = [(1, RATES.address)];
    assert_eq!(wrong(&mut book, &heavy, 0).0, 10);
    for key in 2..10_000 {
        let light = [(key, RATES.address)];
        assert_eq!(book.ask(&light, 0), ThrottleVerdict::Pass);
        book.done(&light, false);
    }
    assert_eq!(wrong(&mut book, &heavy, 0).0, 0, "it is still remembered");
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

async fn fail(throttle: &Throttle, address: IpAddr, name: &str) -> bool {
    throttle.attempt(address, name).await.map(drop).is_ok()
}

#[tokio::test]
async fn a_thousand_right_logins_pass_one_by_one_and_together() {
    let throttle = Throttle::new(RATES, 1024);
    for _ in 0..1000 {
        throttle.attempt(address(1), "messi").await.expect("it passes").succeeded();
    }
    let throttle = Arc::new(Throttle::new(RATES, 1024));
    let logins: Vec<_> = (0..1000)
        .map(|i| {
            let throttle = throttle.clone();
            tokio::spawn(async move {
                let attempt = throttle.attempt(address(1), &format!("user{i}")).await.expect("it passes");
                let in_hand = throttle.book().in_hand[&attempt.counted.last().expect("two are counted").0].attempts;
                tokio::task::yield_now().await;
                attempt.succeeded();
                in_hand
            })
        })
        .collect();
    for login in logins {
        assert!(login.await.expect("no login panics") <= 10);
    }
    assert!(throttle.book().in_hand.is_empty());
}

#[tokio::test]
async fn those_who_wait_for_wrong_ones_are_refused() {
    let throttle = Throttle::new(RATES, 1024);
    let mut in_hand = Vec::new();
    for i in 0..10 {
        in_hand.push(throttle.attempt(address(1), &i.to_string()).await.expect("it passes"));
    }
    let (waiting, ()) = tokio::join!(throttle.attempt(address(1), "x"), async { in_hand.clear() });
    assert_eq!(waiting.map(drop), Err(Duration::from_secs(6)));
    throttle.attempt(address(2), "x").await.expect("another address").unchecked();
    assert!(throttle.book().known.get(throttle.keys(address(2), "x").1).is_none());
}

#[tokio::test]
async fn an_owner_is_not_held_up_by_strangers() {
    let throttle = Throttle::new(RATES, 1024);
    throttle.attempt(address(1), "messi").await.expect("it passes").succeeded();
    throttle.remember(address(1), "henderson");
    for i in 0..10 {
        assert!(fail(&throttle, address(1), &format!("stranger{i}")).await);
    }
    assert!(!fail(&throttle, address(1), "lineker").await);
    for owner in ["messi", "henderson"] {
        throttle.attempt(address(1), owner).await.expect("the owner is known here").succeeded();
        for _ in 0..5 {
            assert!(fail(&throttle, address(1), owner).await, "the owner mistypes");
        }
        assert!(!fail(&throttle, address(1), owner).await, "that has a rate of its own");
        assert!(fail(&throttle, address(2), owner).await, "each address has its own");
    }
}

#[tokio::test]
async fn an_ipv6_network_counts_as_one_address() {
    let throttle = Throttle::new(RATES, 1024);
    let host = |network: u16, host: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host).into();
    for i in 0..10 {
        assert!(fail(&throttle, host(1, i), &i.to_string()).await);
    }
    assert!(!fail(&throttle, host(1, 99), "x").await);
    assert!(fail(&throttle, host(2, 1), "x").await);
    let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
    assert_eq!(throttle.keys(mapped.into(), "x"), throttle.keys(address(1), "x"));
}

#[tokio::test]
async fn strangers_share_by_network_and_known_pairs_alone() {
    let throttle = Throttle::new(RATES, 1024);
    let share = async |address: IpAddr, name| {
        let attempt = throttle.attempt(address, name).await.expect("it passes");
        (attempt.is_known(), attempt.share())
    };
    let (known, one) = share(address(1), "messi").await;
    let (_, neighbour) = share(address(2), "henderson").await;
    assert!(!known);
    assert_eq!(one.0, neighbour.0, "one network of 24 bits");
    assert_ne!(one.1, neighbour.1, "two addresses");
    assert_ne!(one.0, share(Ipv4Addr::new(192, 0, 3, 1).into(), "messi").await.1.0);
    let host = |third: u16, fourth: u16| Ipv6Addr::new(0x2001, 0xdb8, third, fourth, 0, 0, 0, 1).into();
    assert_eq!(share(host(1, 1), "messi").await.1.0, share(host(1, 2), "messi").await.1.0);
    assert_ne!(share(host(1, 1), "messi").await.1.0, share(host(2, 1), "messi").await.1.0);
    throttle.remember(address(1), "messi");
    let (known, own) = share(address(1), "messi").await;
    assert!(known && own.0 != one.0);
}
