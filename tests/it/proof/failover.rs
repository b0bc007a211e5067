//! A server of PostgreSQL is lost while two nodes work. `CHATD_FAILOVERS=100` makes it many.

use std::thread;
use std::time::{Duration, Instant};

use super::checker::{AtWork, Crowd};
use crate::cluster::on;
use crate::replicas::{Loss, Replicas};
use crate::support::{EMPTY, Folder, NO_SESSION, PATIENCE, SENT, Server, texts};

const SENDERS: usize = 8;
const READERS: usize = 4;
/// After this a node has left a primary that lives on.
const SWITCH: Duration = Duration::from_secs(6);

fn until_more(crowd: &Crowd, more: usize) {
    let (before, begun) = (crowd.acknowledged(), Instant::now());
    while crowd.acknowledged() < before + more {
        assert!(begun.elapsed() < 3 * PATIENCE, "nothing is acknowledged any more");
        thread::sleep(Duration::from_millis(5));
    }
}

fn at_work(crowd: &Crowd, first: &Server, second: &Server) -> AtWork {
    crowd.work_at([first.address, second.address], SENDERS, READERS)
}

/// Loses the primary under load, again and again, and adds everything up.
fn lose_primary(loss: Loss) {
    let Some(mut replicas) = Replicas::start() else { return };
    let failovers = std::env::var("CHATD_FAILOVERS").map_or(1, |count| count.parse().expect("a number of failovers"));
    let folder = Folder::new(&on(replicas.url()));
    let crowd = Crowd::new(&folder, SENDERS);
    let (first, second) = (Server::start(&folder), Server::start(&folder));
    for failover in 1..=failovers {
        let work = at_work(&crowd, &first, &second);
        until_more(&crowd, fastrand::usize(20..200));
        replicas.fail_over(loss);
        let (before, begun) = (crowd.acknowledged(), Instant::now());
        let mut silence = None;
        // What was handed out over the former primary is delivered again.
        while begun.elapsed() < SWITCH || silence.is_none() {
            assert!(begun.elapsed() < 3 * PATIENCE, "nothing is acknowledged any more");
            crowd.server_was_killed();
            if silence.is_none() && crowd.acknowledged() > before + 2 * SENDERS {
                silence = Some(begun.elapsed());
            }
            thread::sleep(Duration::from_millis(10));
        }
        if loss == Loss::Frozen {
            replicas.go_on();
        }
        until_more(&crowd, 20);
        work.stop();
        println!("failover {failover}, {loss:?}: {silence:?} until messages were taken again");
        replicas.make_whole();
    }
    let sums = crowd.check(&first);
    sums.must_hold();
    println!("{failovers} failovers, {loss:?}: {sums}");
    assert_eq!((first.stop(), second.stop()), (Some(0), Some(0)));
}

#[test]
fn nothing_acknowledged_is_lost_when_the_primary_is_killed() {
    lose_primary(Loss::Killed);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_primary_stands_still() {
    lose_primary(Loss::Frozen);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_former_primary_lives_on() {
    lose_primary(Loss::LivesOn);
}

/// Nobody writes, so nothing that fails shows that the primary is another one.
#[test]
fn a_node_that_only_reads_finds_the_new_primary() {
    let Some(mut replicas) = Replicas::start() else { return };
    let folder = Folder::new(&on(replicas.url()));
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, messis) = server.login("messi");
    replicas.fail_over(Loss::LivesOn);
    folder.done(&["session", "revoke", "messi"], "");
    let begun = Instant::now();
    while messi.ask(&format!("show {messis}")) != NO_SESSION {
        assert!(begun.elapsed() < PATIENCE, "the node believes the former primary");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn without_a_standby_nothing_is_acknowledged_and_reading_goes_on() {
    let Some(replicas) = Replicas::start() else { return };
    let folder = Folder::new(&format!("{}busy_timeout = \"1s\"\n", on(replicas.url())));
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, messis) = server.login("messi");
    let (mut henderson, hendersons) = server.login("henderson");
    assert_eq!(messi.ask(&format!("send {messis} henderson before")), SENT);
    replicas.freeze_standby();
    for text in ["one", "two"] {
        let reply = messi.ask(&format!("send {messis} henderson {text}"));
        assert!(reply.contains("ERROR"), "{reply}");
        assert!(henderson.ask(&format!("show {hendersons}")).contains("\"OK\""));
    }
    assert_eq!(texts(&henderson.ask(&format!("inbox {hendersons}"))), ["before"]);
    replicas.go_on();
    let begun = Instant::now();
    while messi.ask(&format!("send {messis} henderson after")) != SENT {
        assert!(begun.elapsed() < PATIENCE, "nothing is taken any more");
    }
    // What was not acknowledged may be there or not, once each, and in its order.
    let mut got = Vec::new();
    while got.last().is_none_or(|last| last != "after") {
        let reply = henderson.ask(&format!("inbox {hendersons}"));
        assert!(begun.elapsed() < PATIENCE, "{got:?}");
        if reply != EMPTY {
            got.extend(texts(&reply));
        }
    }
    let mut wanted = ["one", "two", "after"].into_iter();
    got.retain(|text| text != "before");
    assert!(got.iter().all(|text| wanted.any(|next| next == text)), "{got:?}");
}
