//! A chatd with many accounts and as many sessions: its start, its memory, an account that is added, and what admin
//! commands do to those who send meanwhile.

use crate::chatd::Chatd;
use crate::figures::median;
use crate::idle::resident_bytes;
use crate::interrupt::Interrupt;
use crate::talk::Talk;
use crate::wire::Requests;
use anyhow::{Context, Result, anyhow};
use rusqlite::Connection;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Admin commands beside the sends.
const COMMANDS: usize = 20;

/// How long the sends are timed, without admin commands and with them.
const MEASURED: Duration = Duration::from_secs(4);

/// Accounts that are added to be timed.
const ADDED: usize = 5;

/// What was measured.
pub struct Directory {
    pub accounts: usize,
    pub start_ms: f64,
    pub resident_mb: f64,
    pub add_ms: f64,
    /// With no server.
    pub add_alone_ms: f64,
    /// The slowest send with nothing beside it, and with the admin commands.
    pub slowest_ms: [f64; 2],
    /// The 99th of a hundred sends while somebody else asks again and again who is logged in, and while somebody else
    /// reads a full inbox.
    pub show_p99_ms: f64,
    pub inbox_p99_ms: f64,
}

/// Messages in a full inbox.
const FULL: usize = 90_000;

/// Measures a chatd, which must not be running, with so many accounts and sessions more than it has. `mail` is what the
/// reader is sent.
pub fn measure(
    chatd: &Chatd,
    accounts: usize,
    requests: &Requests,
    mail: &Requests,
    interrupt: &Interrupt,
) -> Result<Directory> {
    eprintln!("filling a database with {accounts} accounts and sessions");
    fill(chatd, accounts)?;
    let add_alone_ms = added(chatd, "alone", interrupt)?;
    let begun = Instant::now();
    let server = chatd.start(interrupt)?;
    let start_ms = milliseconds(begun);
    let resident_mb = resident_bytes(&server)? as f64 / 1e6;
    let add_ms = added(chatd, "beside", interrupt)?;

    let quiet = slowest(&sends(server.address, requests, interrupt)?);
    let commands = || {
        (0..COMMANDS).try_for_each(|number| {
            thread::sleep(MEASURED / (COMMANDS as u32 + 2));
            chatd.run(&["user", "disable", &name(number)], "").map(drop)
        })
    };
    let beside = thread::scope(|scope| {
        let commands = scope.spawn(commands);
        let sends = sends(server.address, requests, interrupt);
        commands.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))?;
        Ok::<f64, anyhow::Error>(slowest(&sends?))
    })?;
    let token = &chatd.tokens.reader;
    let show = format!("show {token}\r\n");
    let show_p99_ms = p99_beside(server.address, requests, interrupt, |talk| talk.ask(&show).map(drop))?;
    Talk::to(server.address)?.post(mail, 0, FULL)?;
    let inbox_p99_ms = p99_beside(server.address, requests, interrupt, |talk| talk.inbox(token).map(drop))?;
    server.stop(interrupt)?;
    let slowest_ms = [quiet, beside];
    Ok(Directory { accounts, start_ms, resident_mb, add_ms, add_alone_ms, slowest_ms, show_p99_ms, inbox_p99_ms })
}

/// The 99th of a hundred sends, in milliseconds, while somebody else asks for something again and again.
fn p99_beside(
    address: SocketAddr,
    requests: &Requests,
    interrupt: &Interrupt,
    ask: impl Fn(&mut Talk) -> Result<()> + Sync,
) -> Result<f64> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut talk = Talk::to(address)?;
            while !is_over.load(Ordering::Relaxed) {
                ask(&mut talk)?;
            }
            Ok::<(), anyhow::Error>(())
        });
        let sends = sends(address, requests, interrupt);
        is_over.store(true, Ordering::Relaxed);
        asking.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))?;
        let mut sends = sends?;
        sends.sort_unstable_by(f64::total_cmp);
        sends.get(sends.len() * 99 / 100).copied().context("there were some")
    })
}

fn name(number: usize) -> String {
    format!("crowd{number}")
}

/// Accounts with one session each, in one transaction.
fn fill(chatd: &Chatd, accounts: usize) -> Result<()> {
    let database = Connection::open(chatd.database()).context("the database of the accounts")?;
    database.execute_batch(
        "PRAGMA synchronous = OFF; BEGIN;
         CREATE TEMP TABLE model AS SELECT password_hash FROM user LIMIT 1;
         CREATE TEMP TABLE base AS SELECT max(id) AS id FROM user;",
    )?;
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)";
    let users = format!(
        "{numbers} INSERT INTO user (name, folded, display_name, country, password_hash, created_at)
         SELECT 'crowd' || i, 'crowd' || i, 'Crowd Number ' || i, 'Inggris', password_hash, 0 FROM n, model"
    );
    let sessions = format!(
        "{numbers} INSERT INTO session (user, token_hash, address, created_at, last_used_at)
         SELECT id + 1 + i, randomblob(32), '10.' || (i >> 16 & 255) || '.' || (i >> 8 & 255) || '.' || (i & 255),
             unixepoch() * 1000, unixepoch() * 1000 FROM n, base"
    );
    let accounts = i64::try_from(accounts)?;
    database.execute(&users, [accounts])?;
    database.execute(&sessions, [accounts])?;
    database.execute_batch("DELETE FROM change; COMMIT; PRAGMA wal_checkpoint(TRUNCATE);")?;
    Ok(())
}

/// The median time that an account takes to be added, the making of a hash of usual cost included.
fn added(chatd: &Chatd, name: &str, interrupt: &Interrupt) -> Result<f64> {
    let cost = ["--set", "password.memory_kib=19456", "--set", "password.iterations=2"];
    let mut times = Vec::new();
    for number in 0..ADDED {
        interrupt.check()?;
        let begun = Instant::now();
        let name = format!("{name}{number}");
        chatd.run(&[&["user", "add", &name, "--password-stdin"], &cost[..]].concat(), "surabaya\n")?;
        times.push(milliseconds(begun));
    }
    median(times).context("there were some")
}

fn slowest(sends: &[f64]) -> f64 {
    sends.iter().copied().fold(0.0, f64::max)
}

/// How long each of the sends of one connection took that waits for each reply, in milliseconds.
fn sends(address: SocketAddr, requests: &Requests, interrupt: &Interrupt) -> Result<Vec<f64>> {
    let mut talk = Talk::to(address)?;
    let (begun, mut times, mut next) = (Instant::now(), Vec::new(), 0);
    while begun.elapsed() < MEASURED {
        interrupt.check()?;
        let sent = Instant::now();
        talk.post(requests, next, 1)?;
        times.push(milliseconds(sent));
        next = (next + 1) % requests.count();
    }
    Ok(times)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
