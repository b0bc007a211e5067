//! kill -9 at random moments under load, again and again on the same database. `CHATD_CRASH_CYCLES=2000` makes it
//! thousands.

use std::thread;
use std::time::{Duration, Instant};

use super::checker::Crowd;
use crate::support::{Folder, PATIENCE, Server};

const SENDERS: usize = 32;
const READERS: usize = 16;
const CYCLES: usize = 50;
/// After so many crashes everything is read and added up; more, once there were more than a hundred.
const CHECK_EVERY: usize = 10;

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let asked = std::env::var("CHATD_CRASH_CYCLES").ok().map(|cycles| cycles.parse().expect("a number of cycles"));
    let cycles: usize = asked.unwrap_or(CYCLES);
    let folder = Folder::new("");
    let crowd = Crowd::new(&folder, SENDERS);
    let mut starts = Vec::new();
    let mut next_check = CHECK_EVERY;
    for cycle in 1..=cycles {
        // A short tail is being indexed nearly always, a long one never.
        let tail = [40, 400, 65_536][cycle % 3];
        let configure = |reply_messages: usize| {
            let delivery = format!("reply_bytes = 4096\nreply_messages = {reply_messages}");
            folder.configure(&format!("[database]\ntail_messages = {tail}\n[delivery]\n{delivery}"));
        };
        // With short replies there is always unread mail behind what was read last.
        configure([2, 1_000][cycle % 2]);
        let begun = Instant::now();
        let server = Server::start(&folder);
        starts.push(begun.elapsed());
        let work = crowd.work(server.address, SENDERS, READERS);
        // After so many more messages, and somewhere in what comes then: a slow machine gets as far as a fast one.
        let enough = crowd.acknowledged() + fastrand::usize(..200);
        let begun = Instant::now();
        while crowd.acknowledged() < enough {
            assert!(begun.elapsed() < 5 * PATIENCE, "nothing is acknowledged");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_micros(fastrand::u64(..20_000)));
        server.kill();
        work.stop();
        crowd.server_was_killed();
        if cycle == next_check || cycle == cycles {
            // The check reads all that was ever stored, so it comes less often as that grows.
            next_check = cycle + CHECK_EVERY.max(cycle / 10);
            configure(1_000);
            let server = Server::start(&folder);
            let sums = crowd.check(&server);
            sums.must_hold();
            assert_eq!(server.stop(), Some(0));
            crowd.all_is_settled();
            folder.done(&["db", "verify"], "");
            println!("{cycle} crashes: {sums}");
        }
    }
    starts.sort();
    let (median, longest) = (starts[starts.len() / 2], starts[starts.len() - 1]);
    println!("from exec to listening: median {median:?}, longest {longest:?}");
    if asked.is_none() {
        println!("SKIPPED: more than {CYCLES} crashes; CHATD_CRASH_CYCLES=2000 cargo test --release --test it crash");
    }
}
