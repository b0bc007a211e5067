//! Attacks that ask for old mail: long replies, and conversations that lie far back.

use super::crowd::{Peer, Reads, Then, gather};
use super::world::{ABROAD, Talk, World, connect};
use anyhow::Result;
use socket2::SockRef;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Texts whose characters are each six bytes long in a reply; all of them go into one reply.
const LONG_TEXTS: usize = 4;

/// Messages in the big conversation.
const MESSAGES: usize = 1_000_000;

/// Messages between two looks into the friend's inbox.
const BETWEEN: usize = 10_000;

/// Requests a second that are not waited for.
const A_SECOND: f64 = 200.0;

/// Requests that are asked at once and not waited for.
const AT_ONCE: usize = 800;

/// The attacker has sent texts that are long in a reply.
pub fn write_long(world: &World) -> Result<()> {
    let mut talk = Talk::from(ABROAD, world.address)?;
    let text = "\u{1}".repeat(world.of((2 << 20) - 200, 100_000));
    for _ in 0..LONG_TEXTS {
        talk.ask_ok(&format!("send {} attacker {text}", world.token("attacker")))?;
    }
    Ok(())
}

fn ask_for(count: usize, reads: Reads, request: impl Fn(usize) -> String) -> Vec<Peer> {
    let peer = |number| Peer {
        from: ABROAD.into(),
        request: format!("{}\r\n", request(number)).as_bytes().into(),
        replies: 1,
        reads,
        then: Then::AskAgain,
    };
    (0..count).map(peer).collect()
}

/// Long replies, asked for by many and read at once.
pub fn ask_for_long(world: &World) -> Result<()> {
    let request = |_| format!("history {} attacker", world.token("attacker"));
    gather(world, ask_for(60, Reads::All, request))
}

/// Long replies that are read slowly.
pub fn read_slowly(world: &World) -> Result<()> {
    let request = |_| format!("history {} attacker", world.token("attacker"));
    gather(world, ask_for(6, Reads::Sips, request))
}

/// A few messages with somebody old, and many after them with the friend, who reads them.
pub fn write_much(world: &World) -> Result<()> {
    let mut talk = Talk::from(ABROAD, world.address)?;
    for name in ["innocent", "attacker"] {
        talk.repeat(&format!("send {} old  halo ", world.token(name)), 5)?;
    }
    let messages = world.of(MESSAGES, 2000);
    let request = format!("send {} friend  a ", world.token("attacker"));
    let mut written = 0;
    while written < messages {
        talk.repeat(&request, BETWEEN.min(messages - written))?;
        talk.drain(world.token("friend"))?;
        written += BETWEEN;
    }
    Ok(())
}

/// What lies below a big conversation, and the middle of it.
fn deep(world: &World, number: usize) -> String {
    let token = world.token("attacker");
    let middle = world.of(MESSAGES, 2000) / 2 + number;
    if number.is_multiple_of(2) { format!("history {token} old") } else { format!("history {token} friend {middle}") }
}

/// Old history, asked for by many at once.
pub fn ask_for_old(world: &World) -> Result<()> {
    gather(world, ask_for(32, Reads::All, |number| deep(world, number)))
}

/// Old history, asked for often by somebody who does not wait for it.
pub fn ask_for_old_and_reset(world: &World) -> Result<()> {
    world.in_place.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    let mut number = 0;
    while !world.is_over() {
        // Who is not let in comes again.
        if let Ok(mut stream) = connect(ABROAD, world.address) {
            let _ = stream.write_all(format!("{}\r\n", deep(world, number)).as_bytes());
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        world.count(1);
        number += 1;
        let due = Duration::from_secs_f64(number as f64 / A_SECOND);
        world.sleep(due.saturating_sub(begun.elapsed()));
    }
    Ok(())
}

/// Asks for old history on many connections at once, and goes away: again and again, so that much is asked for that
/// nobody waits for.
pub fn ask_for_old_and_leave(world: &World) -> Result<()> {
    world.in_place.store(true, Ordering::Relaxed);
    while !world.is_over() {
        let mut gone = Vec::new();
        for number in 0..world.of(AT_ONCE, 50) {
            let Ok(mut stream) = connect(ABROAD, world.address) else { continue };
            let _ = stream.write_all(format!("{}\r\n", deep(world, number)).as_bytes());
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            gone.push(stream);
        }
        world.count(gone.len());
        drop(gone);
        world.sleep(Duration::from_millis(500));
    }
    Ok(())
}
