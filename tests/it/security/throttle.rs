//! Logins that are refused before the password is looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use chatd::internals::auth::throttle::{Rate, Rates, Throttle};
use nix::unistd::getpid;

use super::{resident_kib, server};
use crate::support::{Client, Server, THREE};

const WRONG: &str = "{\"status\": \"ERROR\", \"message\": \"Password Salah\"}";
const UNKNOWN_USER: &str = "{\"status\": \"ERROR\", \"message\": \"User Tidak Ada\"}";

/// How many seconds to wait, if that is what the reply says.
fn told_to_wait(reply: &str) -> Option<u64> {
    let rest = reply.strip_prefix("{\"status\": \"ERROR\", \"message\": \"too many attempts, try again in ")?;
    rest.strip_suffix(" s\"}")?.parse().ok()
}

/// Wrong logins until one is throttled: how many were answered.
fn guess(client: &mut Client, name: &str, answer: &str) -> usize {
    for guessed in 0..1000 {
        let reply = client.ask(&format!("auth {name} guess{guessed}"));
        if told_to_wait(&reply).is_some() {
            return guessed;
        }
        assert_eq!(reply, answer);
    }
    panic!("a thousand guesses were answered");
}

#[test]
fn guessing_is_held_up_by_account_and_by_address() {
    let (folder, server) = server("");
    let mut client = server.connect();
    assert_eq!(guess(&mut client, "messi", WRONG), 5);
    // The right password is not looked at either, and the client is told how long that lasts.
    let wait = told_to_wait(&client.ask("auth messi surabaya")).expect("it is held up");
    assert!((1..=12).contains(&wait), "{wait} s");
    // Another connection from there is no way around, and other accounts are guessed at the address's rate.
    assert_eq!(guess(&mut server.connect(), "nobody", UNKNOWN_USER), 5);
    assert_eq!(guess(&mut server.connect(), "henderson", WRONG), 0);
    assert!(server.log().contains("login refused: throttled"), "{}", server.log());
    drop((server, folder));
}

#[test]
fn an_owner_whose_session_is_older_than_the_server_is_known() {
    let (folder, first) = server("");
    let (mut messi, token) = first.login("messi");
    assert!(messi.ask(&format!("show {token}")).contains("messi"));
    drop(messi);
    assert_eq!(first.stop(), Some(0));
    let server = Server::start(&folder);
    let mut strangers = server.connect();
    for i in 0..10 {
        strangers.ask(&format!("auth nobody{i} guess"));
    }
    assert!(told_to_wait(&strangers.ask("auth henderson surabaya")).is_some());
    strangers.login("messi");
}

#[test]
fn a_thousand_right_logins_from_one_address_pass() {
    let (_folder, server) = server("");
    let mut client = server.connect();
    for i in 0..1000 {
        client.login(THREE[i % 3].0);
    }
}

#[test]
fn the_settings_bite() {
    let (_folder, server) = server("[throttle]\naddress_per_minute = 3\naccount_per_minute = 2\naddress_per_hour = 0");
    let mut client = server.connect();
    assert_eq!(guess(&mut client, "messi", WRONG), 2);
    assert_eq!(guess(&mut client, "lineker", WRONG), 1);
    let (_folder, server) = super::server("[throttle]\naddress_per_hour = 4\naccount_per_hour = 3");
    let mut client = server.connect();
    assert_eq!(guess(&mut client, "messi", WRONG), 3);
    let wait = told_to_wait(&client.ask("auth messi surabaya")).expect("it is held up");
    assert!((600..=1200).contains(&wait), "{wait} s");
    assert_eq!(guess(&mut client, "lineker", WRONG), 1);
}

const ALONE: &str = "CHATD_TEST_ALONE";

/// In a process of its own, because other tests use memory too, and without a network, because no machine has a million
/// addresses.
#[test]
fn memory_is_bounded_at_a_million_addresses() {
    if std::env::var_os(ALONE).is_some() {
        return a_million_addresses();
    }
    let mut again = Command::new(std::env::current_exe().expect("it runs"));
    again.args(["--exact", "--nocapture", "security::throttle::memory_is_bounded_at_a_million_addresses"]);
    let output = again.env(ALONE, "1").output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{}", said.lines().find(|line| line.contains("a million")).expect("it prints its figure"));
}

fn a_million_addresses() {
    let rate = Rate { per_minute: 10, per_hour: 60 };
    let before = resident_kib(getpid());
    let throttle = Throttle::new(Rates { address: rate, account: rate }, 65536);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    runtime.block_on(async {
        for i in 0..1_000_000u32 {
            let address = match i % 2 {
                0 => IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + i)),
                _ => IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) + (u128::from(i) << 64))),
            };
            let attempt = throttle.attempt(address, "messi").await.expect("it is the first from there");
            if i % 4 == 0 { attempt.succeeded() } else { drop(attempt) }
        }
    });
    let grown = resident_kib(getpid()) - before;
    println!("a million addresses: tables of {} KiB, the process grew by {grown} KiB", throttle.bytes() / 1024);
    assert!(throttle.bytes() <= 40 * 65536);
    // The code that runs is in there too; with 24 bytes an address it would be 24 MB.
    assert!(grown < 16 * 1024, "{grown} KiB");
}
