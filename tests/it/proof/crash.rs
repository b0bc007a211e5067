//! kill -9 at random moments under load, again and again on the same database. `CHATD_CRASH_CYCLES=2000` makes it
//! thousands.

use std::thread;
use std::time::{Duration, Instant};

use super::checker::Crowd;
use crate::support::{Folder, Server};

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
        folder.configure(&format!("[database]\ntail_messages = {tail}\n[delivery]\nreply_bytes = 4096"));
        let begun = Instant::now();
        let server = Server::start(&folder);
        starts.push(begun.elapsed());
        let work = crowd.work(server.address, SENDERS, READERS);
        thread::sleep(Duration::from_millis(fastrand::u64(..300)));
        server.kill();
        work.stop();
        crowd.server_was_killed();
        if cycle == next_check || cycle == cycles {
            // The check reads all that was ever stored, so it comes less often as that grows.
            next_check = cycle + CHECK_EVERY.max(cycle / 10);
            let server = Server::start(&folder);
            let sums = crowd.check(&server);
            sums.must_hold();
            assert_eq!(server.stop(), Some(0));
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
