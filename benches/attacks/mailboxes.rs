//! Attacks with mail: large mailboxes that are asked for, full ones, a full disk.

use super::crowd::{Peer, Reads, Then, gather};
use super::world::{ABROAD, Talk, World};
use anyhow::{Context, Result};
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Accounts that fill the mailboxes; one may not fill one alone.
pub const SENDERS: [&str; 8] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];

/// `SENDERS`, and those whose first inbox is large.
pub const SENDERS_AND_READERS: [&str; 12] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "r0", "r1", "r2", "r3"];

/// More than the default of a user's stored bytes, so that an older chatd without a limit is not driven for ever.
const MOST_LONG_TEXTS: usize = 600;

/// The attacker's mailbox has as many small messages as such senders are let put there.
pub fn fill_one(world: &World) -> Result<()> {
    // One reply has room for 52,428 of them; what stays is newer.
    fill(world, &["attacker"], 88_000, 160)
}

/// So have some others, each with the newest in memory and the others on disk.
pub fn fill_some(world: &World) -> Result<()> {
    fill(world, &SENDERS_AND_READERS[SENDERS.len()..], 65_000, 8)
}

fn fill(world: &World, readers: &[&str], each: usize, text_bytes: usize) -> Result<()> {
    let mut talk = Talk::from(ABROAD, world.address)?;
    // The text has a blank before it and a line end after it.
    let text = "a".repeat(text_bytes - 3);
    for sender in SENDERS {
        for reader in readers {
            let request = format!("send {} {reader} {text}", world.token(sender));
            talk.repeat(&request, world.of(each, 1000) / SENDERS.len())?;
        }
    }
    Ok(())
}

/// The mailbox is asked for and read, and the connection reset, so that all of it goes back.
pub fn take_and_reset(world: &World) -> Result<()> {
    let request = format!("inbox {}\r\n", world.token("attacker"));
    let peer = || Peer {
        from: ABROAD.into(),
        request: request.as_bytes().into(),
        replies: 1,
        reads: Reads::All,
        then: Then::Reset,
    };
    gather(world, vec![peer(), peer()])
}

/// One after the other asks for a large mailbox for the first time since the start.
pub fn first_inboxes(world: &World) -> Result<()> {
    world.in_place.store(true, Ordering::Relaxed);
    let readers = &SENDERS_AND_READERS[SENDERS.len()..];
    for reader in readers {
        let mut talk = Talk::from(ABROAD, world.address)?;
        talk.ask_ok(&format!("inbox {}", world.token(reader))).with_context(|| format!("the inbox of {reader}"))?;
        world.count(1);
        world.sleep(Duration::from_secs_f64(world.seconds / (readers.len() + 1) as f64));
    }
    Ok(())
}

/// Fills the disk with mail to oneself that is read at once, until the server does not take any more.
pub fn fill_the_disk(world: &World) -> Result<()> {
    let token = world.token("attacker");
    let send = format!("send {token} attacker {}", "x".repeat(world.of(2 << 20, 1 << 20) - 100));
    let mut talk = Talk::from(ABROAD, world.address)?;
    let (mut taken, mut refused) = (0, 0);
    while !world.is_over() && taken < MOST_LONG_TEXTS {
        world.in_place.store(taken > 4, Ordering::Relaxed);
        match talk.ask_ok(&send) {
            Ok(_) => {
                taken += 1;
                world.count(1);
                talk.drain(token)?;
            }
            Err(error) if error.is::<io::Error>() => return Err(error),
            Err(_) => {
                refused += 1;
                world.in_place.store(true, Ordering::Relaxed);
                world.sleep(Duration::from_millis(50));
            }
        }
    }
    eprintln!("16: {taken} long texts were taken from one user, {refused} were refused");
    Ok(())
}

/// The friend's mailbox is as full as one sender can make it, and the sender goes on.
pub fn squat(world: &World) -> Result<()> {
    let line = format!("send {} friend  a \r\n", world.token("attacker"));
    let packet = 250;
    let peer = Peer {
        from: ABROAD.into(),
        request: line.repeat(packet).as_bytes().into(),
        replies: packet,
        reads: Reads::All,
        then: Then::AskAgain,
    };
    gather(world, vec![peer])
}

/// Sends to the friend until that is refused.
pub fn fill_the_friends(world: &World) -> Result<()> {
    let mut talk = Talk::from(Ipv4Addr::LOCALHOST, world.address)?;
    let request = format!("send {} friend  a ", world.token("attacker"));
    // The refusal is what is wanted.
    while talk.repeat(&request, 250).is_ok() {}
    talk.ask(&format!("show {}", world.token("attacker"))).context("the connection is lost").map(drop)
}
