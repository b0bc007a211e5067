//! Fills a chatd through the wire: some millions of messages, of which one in ten recipients reads none and the others
//! all. Knows nothing of clocks.

use crate::chatd::Tokens;
use crate::interrupt::Interrupt;
use crate::talk::Talk;
use crate::wire::{Requests, in_turn};
use anyhow::{Result, anyhow, ensure};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Connections that send, and that read, side by side.
const CONNECTIONS: usize = 4;

/// Different orders of the recipients that are written out.
const ORDERS: usize = 8;

/// Messages for each recipient until mail is read: what a reply has room for, and what one finds who looks now and
/// then.
const SENT_BETWEEN_READS: usize = 500;

/// Of this many recipients one never reads.
const READERS_AND_ONE: usize = 10;

/// Whether the recipient with this number leaves its mail unread.
pub fn never_reads(recipient: usize) -> bool {
    recipient.is_multiple_of(READERS_AND_ONE)
}

/// Sends `each` messages to every recipient, and lets those read who do.
pub fn fill(
    address: SocketAddr,
    tokens: &Tokens,
    each: usize,
    text_bytes: usize,
    seed: u64,
    interrupt: &Interrupt,
) -> Result<()> {
    let recipients = tokens.recipients.len();
    let requests = Requests::chatd(&tokens.senders, &in_turn(ORDERS, recipients, seed), text_bytes, seed);
    let readers: Vec<&String> = (0..recipients).filter(|n| !never_reads(*n)).map(|n| &tokens.recipients[n]).collect();
    let mut stored = 0;
    while stored < each {
        let now = SENT_BETWEEN_READS.min(each - stored);
        side_by_side(address, now, interrupt, |talk, turn| {
            talk.post(&requests, turn % ORDERS * recipients, recipients)
        })?;
        side_by_side(address, readers.len(), interrupt, |talk, reader| {
            let read = read_all(talk, readers[reader])?;
            ensure!(read == now, "a recipient of {now} messages has read {read}");
            Ok(())
        })?;
        stored += now;
        eprintln!("stored {} of {} messages", stored * recipients, each * recipients);
    }
    Ok(())
}

/// Reads until nothing is left: how many messages there were. The last reply, an empty one, was asked for when all
/// others had arrived, so no message of them comes again.
fn read_all(talk: &mut Talk, token: &str) -> Result<usize> {
    let mut read = 0;
    loop {
        match talk.inbox(token)? {
            0 => return Ok(read),
            messages => read += messages,
        }
    }
}

/// Does the pieces of work 0 to `count`, each on one of a few connections of their own.
fn side_by_side(
    address: SocketAddr,
    count: usize,
    interrupt: &Interrupt,
    work: impl Fn(&mut Talk, usize) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let do_some = || {
        let mut talk = Talk::to(address)?;
        loop {
            interrupt.check()?;
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= count {
                return Ok(());
            }
            work(&mut talk, piece)?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(do_some)).collect();
        let ends =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))));
        ends.collect()
    })
}
