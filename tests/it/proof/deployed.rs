//! The whole deployment on this machine, as `deploy/loopback` makes it: two nodes behind HAProxy, three PostgreSQL with
//! Patroni, three etcd. The primary is killed under load, as often as CHATD_PATRONI_FAILOVERS says; it is not tried
//! where that is not set.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::checker::Crowd;
use crate::cluster::on;
use crate::support::{Folder, Server};

const SENDERS: usize = 8;
const READERS: usize = 4;
/// After this etcd has given up the primary, and a standby is another one.
const FAILOVER: Duration = Duration::from_secs(90);

/// It runs until it is dropped.
struct Deployment {
    directory: tempfile::TempDir,
    base: u16,
}

impl Deployment {
    fn up() -> Deployment {
        // Below the ports that the system gives out by itself.
        let base = 17_000 + u16::try_from(std::process::id() % 200).unwrap_or(0) * 50;
        let deployment = Deployment { directory: tempfile::tempdir().expect("a directory can be made"), base };
        println!("{}", deployment.run("up", &[]));
        deployment
    }

    fn run(&self, what: &str, more: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/loopback");
        let mut command = Command::new(script);
        command.arg(what).arg(self.directory.path()).args(more);
        command.env("CHATD", env!("CARGO_BIN_EXE_chatd")).env("BASE", self.base.to_string());
        let output = command.output().expect("bash is there");
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success(), "{what}: {said} {}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// Senders go to HAProxy. Readers go to a node itself, because HAProxy takes a reply also for a reader who is gone
    /// (`deploy/README.md`), and some readers of the crowd go without waiting.
    fn addresses(&self) -> [SocketAddr; 2] {
        [self.base, self.base + 1].map(|port| (Ipv4Addr::LOCALHOST, port).into())
    }

    /// Waits until there is a primary with a synchronous standby.
    fn until_whole(&self) {
        let begun = Instant::now();
        loop {
            let status = self.run("status", &[]);
            if !status.contains("none") && !status.ends_with(" 0") {
                return;
            }
            assert!(begun.elapsed() < FAILOVER, "{status}");
            thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        // Also when a test fails; then its data are gone, and only what it printed is left.
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/loopback");
        let _ = Command::new(script).arg("down").arg(self.directory.path()).status();
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_patroni_makes_another_primary() {
    let Ok(failovers) = std::env::var("CHATD_PATRONI_FAILOVERS") else {
        println!("SKIPPED: CHATD_PATRONI_FAILOVERS=20 kills the primary of a whole deployment (deploy/README.md)");
        return;
    };
    let failovers: usize = failovers.parse().expect("a number of failovers");
    let deployment = Deployment::up();
    let folder = Folder::new(&on(&deployment.run("url", &[])));
    let crowd = Crowd::new(&folder, SENDERS);
    for failover in 1..=failovers {
        // A connection ends where its node, or HAProxy, ends it.
        let work = crowd.work_at(deployment.addresses(), SENDERS, READERS);
        let enough = crowd.acknowledged() + fastrand::usize(50..500);
        let begun = Instant::now();
        while crowd.acknowledged() < enough {
            assert!(begun.elapsed() < FAILOVER, "nothing is acknowledged");
            thread::sleep(Duration::from_millis(5));
        }
        let killed = deployment.run("kill", &[]);
        let (before, begun) = (crowd.acknowledged(), Instant::now());
        while crowd.acknowledged() < before + 2 * SENDERS {
            assert!(begun.elapsed() < FAILOVER, "nothing is acknowledged any more");
            crowd.server_was_killed();
            thread::sleep(Duration::from_millis(10));
        }
        println!("failover {failover}, {killed}: {:?} until messages were taken again", begun.elapsed());
        work.stop();
        crowd.server_was_killed();
        deployment.run("start", &[&killed]);
        deployment.until_whole();
    }
    let server = Server::start(&folder);
    let sums = crowd.check(&server);
    sums.must_hold();
    println!("{failovers} failovers by Patroni: {sums}");
    assert_eq!(server.stop(), Some(0));
}
