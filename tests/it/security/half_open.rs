//! Peers that vanish without a word: their packets are dropped, so no end and no reset tells of it. This needs a
//! network of its own, and so root, `unshare`, `ip` and `nft`; where they are not, it says that it was skipped.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::server;
use crate::support::{PATIENCE, texts};

const INSIDE: &str = "CHATD_TEST_IN_ITS_OWN_NETWORK";
const CUT: &str = "table ip cut {
    chain c { type filter hook input priority 0; ip saddr 127.0.0.66 drop; ip daddr 127.0.0.66 drop; }
}
";

#[test]
fn a_peer_that_vanished_is_found_and_its_mail_waits() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let tools = Command::new("unshare").args(["-n", "nft", "list", "ruleset"]).output();
    if !tools.is_ok_and(|output| output.status.success()) {
        println!("skipped: a network of one's own cannot be had here (root, unshare and nft are needed)");
        return;
    }
    // The same test again, inside.
    let this = std::env::current_exe().expect("it runs");
    let mut again = Command::new("unshare");
    again.arg("-n").arg(this).args(["--exact", "--nocapture"]);
    again.arg("security::half_open::a_peer_that_vanished_is_found_and_its_mail_waits").env(INSIDE, "1");
    let output = again.output().expect("unshare was there before");
    print!(
        "{}",
        String::from_utf8_lossy(&output.stdout).lines().filter(|l| l.contains("half-open")).collect::<String>()
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn done(command: &str, arguments: &[&str]) {
    assert!(Command::new(command).args(arguments).status().is_ok_and(|s| s.success()), "{command} {arguments:?}");
}

/// Connections that the kernel has towards an address.
fn connections_to(address: &str) -> usize {
    let hex = address.split('.').rev().map(|n| format!("{:02X}", n.parse::<u8>().expect("a byte"))).collect::<String>();
    let table = fs::read_to_string("/proc/self/net/tcp").expect("there is a network");
    // The fourth field is the state; 01 is an established one.
    let to = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.len() > 3 && fields[2].starts_with(&hex) && fields[3] == "01"
    };
    table.lines().filter(to).count()
}

fn inside() {
    done("ip", &["link", "set", "lo", "up"]);
    let (_folder, server) = server("[limits]\npeer_timeout = \"8s\"");
    let (mut client, token) = server.login("messi");
    client.ask(&format!("send {token} messi  hal "));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let from = "127.0.0.66:0".parse::<std::net::SocketAddr>().expect("an address");
    socket.bind(&from.into()).expect("it is this machine's");
    socket.connect(&server.address.into()).expect("the server listens");
    let mut idle = std::net::TcpStream::from(socket.try_clone().expect("a handle can be copied"));
    std::io::Write::write_all(&mut idle, format!("inbox {token}\r\n").as_bytes()).expect("it is open");
    let read = std::io::Read::read(&mut idle, &mut [0; 500]).expect("the inbox comes");
    assert!(read > 100);
    assert_eq!(connections_to("127.0.0.66"), 1);
    done("nft", &[CUT]);
    let begun = Instant::now();
    while connections_to("127.0.0.66") > 0 {
        assert!(begun.elapsed() < 2 * PATIENCE, "the dead peer is kept");
        thread::sleep(Duration::from_millis(50));
    }
    println!("half-open: a peer that vanished was found after {:.1?}, with limits.peer_timeout = 8s", begun.elapsed());
    // A peer of the same age that was only silent is still there, and what the dead one was handed waits again.
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))), ["hal"]);
}
