//! kill -9 of one of two nodes on one PostgreSQL, again and again on the same database: of the one that sends, and of
//! the one that has handed out mail. `CHATD_NODE_KILLS=500` makes it hundreds.

use std::thread;
use std::time::{Duration, Instant};

use super::checker::Crowd;
use crate::cluster::{Cluster, on};
use crate::support::{Folder, PATIENCE, Server};

const SENDERS: usize = 16;
const READERS: usize = 8;
const KILLS: usize = 6;
/// After so many kills everything is read and added up.
const CHECK_EVERY: usize = 3;

#[test]
fn nothing_acknowledged_is_lost_when_a_node_is_killed() {
    let Some(cluster) = Cluster::get() else { return };
    let kills = std::env::var("CHATD_NODE_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number of kills"));
    let url = cluster.database();
    let folder = Folder::new(&format!("{}[delivery]\nreply_bytes = 4096\nreply_messages = 20", on(&url)));
    let crowd = Crowd::new(&folder, SENDERS);
    for kill in 1..=kills {
        let (first, second) = (Server::start(&folder), Server::start(&folder));
        let work = crowd.work_at([first.address, second.address], SENDERS, READERS);
        let enough = crowd.acknowledged() + fastrand::usize(..200);
        let begun = Instant::now();
        while crowd.acknowledged() < enough {
            assert!(begun.elapsed() < 5 * PATIENCE, "nothing is acknowledged");
            thread::sleep(Duration::from_millis(1));
        }
        let (killed, lives) = if kill % 2 == 0 { (first, second) } else { (second, first) };
        killed.kill();
        work.stop();
        crowd.server_was_killed();
        // What it had handed out is its own until the database's clock says that it is dead; who reads on before gets
        // what is newer first.
        let living = "SELECT count(*) FROM node WHERE beat_at > clock_timestamp() - interval '5 seconds'";
        while cluster.sql_at(&url, living) != "1" {
            assert!(begun.elapsed() < 5 * PATIENCE, "the killed node lives on");
            thread::sleep(Duration::from_millis(50));
        }
        if kill % CHECK_EVERY == 0 || kill == kills {
            let sums = crowd.check(&lives);
            sums.must_hold();
            println!("{kill} kills of a node: {sums}");
            assert_eq!(lives.stop(), Some(0));
            crowd.all_is_settled();
            let counted =
                cluster.sql_at(&url, "SELECT coalesce(sum(received - read), 0) FROM mailbox JOIN hand USING (account)");
            let found = cluster.sql_at(&url, "SELECT count(*) FROM hand CROSS JOIN LATERAL unread_mail(account)");
            assert_eq!(counted, found, "as many are unread as are counted");
        } else {
            assert_eq!(lives.stop(), Some(0));
        }
    }
}
