//! Attacks with many connections: which read nothing, say nothing, never end a line, or log in.

use super::crowd::{Peer, Reads, Then, gather};
use super::mailboxes::SENDERS;
use super::own_network::NETWORK;
use super::world::{ABROAD, HOME, PATIENCE, World};
use anyhow::Result;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// What one connection sends before it stops.
const UNREAD_BYTES: usize = 400_000;

/// Connections from one address, as many as it may have.
const FROM_ONE_ADDRESS: usize = 1000;

/// Addresses from which one account connects, and connections from each.
const MANY: (usize, usize) = (12, 1000);

/// Accounts that are logged in where lists of them are asked for.
const LOGGED_IN: usize = 200_000;

/// Addresses from which passwords are guessed, and guesses from each.
const GUESSING: (usize, usize) = (250, 5);

fn peers(count: usize, from: impl Fn(usize) -> Ipv4Addr, request: &str, reads: Reads) -> Vec<Peer> {
    let request: Arc<[u8]> = request.as_bytes().into();
    let peer =
        |number| Peer { from: from(number).into(), request: Arc::clone(&request), replies: 1, reads, then: Then::Stay };
    (0..count).map(peer).collect()
}

/// One of so many addresses of this machine, each in a network of its own as far as that goes.
fn one_of(number: usize) -> Ipv4Addr {
    let part = |number: usize| u8::try_from(number % 250 + 1).unwrap_or(1);
    Ipv4Addr::new(127, 0, part(number / 10), part(number))
}

fn errors(first: &str) -> String {
    format!("{first}{}", "a\r\n".repeat(UNREAD_BYTES / 3))
}

/// Requests without sense, the replies to which nobody reads.
pub fn errors_unread(world: &World) -> Result<()> {
    gather(world, peers(world.of(FROM_ONE_ADDRESS, 100), |_| ABROAD, &errors(""), Reads::Nothing))
}

/// The same with a token.
pub fn errors_unread_inside(world: &World) -> Result<()> {
    let first = format!("show {}\r\n", world.token("attacker"));
    gather(world, peers(world.of(FROM_ONE_ADDRESS - 10, 90), |_| ABROAD, &errors(&first), Reads::Nothing))
}

/// All that one address may have, from the innocent user's own.
pub fn silent(world: &World) -> Result<()> {
    gather(world, peers(world.of(FROM_ONE_ADDRESS, 100), |_| HOME, "", Reads::Nothing))
}

/// The server says that it is healthy.
pub fn is_healthy(world: &World) -> Result<()> {
    world.run(&["health"], "")
}

/// One account's connections take all places.
pub fn one_account(world: &World) -> Result<()> {
    let (addresses, each) = (MANY.0, world.of(MANY.1, 20));
    let request = format!("show {}\r\n", world.token("attacker"));
    gather(world, peers(addresses * each, |number| one_of(10 * (number / each)), &request, Reads::All))
}

/// Connections of many accounts, each from an address of its own, all in one network.
pub fn one_network(world: &World) -> Result<()> {
    let each = world.of(MANY.1, 20);
    let mut all = Vec::new();
    for name in SENDERS.iter().chain(&["attacker", "friend", "old"]) {
        let request: Arc<[u8]> = format!("show {}\r\n", world.token(name)).as_bytes().into();
        all.extend((0..each).map(|_| {
            let from = Ipv6Addr::from_bits(NETWORK.to_bits() + u128::from(fastrand::u64(1..)));
            Peer { from: from.into(), request: Arc::clone(&request), replies: 1, reads: Reads::All, then: Then::Stay }
        }));
    }
    gather(world, all)
}

/// Long lines that never end.
pub fn endless_lines(world: &World) -> Result<()> {
    let request = format!("send {} attacker {}", world.token("attacker"), "x".repeat(65_536));
    gather(world, peers(world.of(128, 64), |_| ABROAD, &request, Reads::Nothing))
}

/// Accounts that are logged in, all at once as no client could.
pub fn log_many_in(world: &World) -> Result<()> {
    let database = rusqlite::Connection::open(world.database())?;
    database.busy_timeout(PATIENCE)?;
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 100000 UNION ALL SELECT i + 1 FROM n WHERE i < 99999 + ?1)";
    let accounts = i64::try_from(world.of(LOGGED_IN, 2000))?;
    for insert in [
        "user (id, name, folded, display_name, country, password_hash, created_at)
            SELECT i, 'crowd' || i, 'crowd' || i, 'Crowd', '', '', 0 FROM n",
        "session (user, token_hash, address, created_at, last_used_at)
            SELECT i, randomblob(32), '192.0.2.1', unixepoch() * 1000, unixepoch() * 1000 FROM n",
    ] {
        database.execute(&format!("{numbers} INSERT INTO {insert}"), [accounts])?;
    }
    Ok(())
}

/// Lists of all who are logged in, asked for by many and read at once.
pub fn list_all(world: &World) -> Result<()> {
    let request = format!("show {}\r\n", world.token("attacker"));
    let mut peers = peers(world.of(200, 20), |_| ABROAD, &request, Reads::All);
    peers.iter_mut().for_each(|peer| peer.then = Then::AskAgain);
    gather(world, peers)
}

/// Wrong passwords for the innocent user and others, from many addresses.
pub fn guess(world: &World) -> Result<()> {
    let (addresses, each) = (world.of(GUESSING.0, 25), GUESSING.1);
    gather(world, peers(addresses * each, |number| one_of(number % addresses), "auth friend wrong\r\n", Reads::All))
}
