//! Messages to groups, while all members read: what one of thousands of deliveries costs, beside as many sends to one
//! person each.

use crate::chatd::Chatd;
use crate::drive::Load;
use crate::figures::{Who, median};
use crate::interrupt::Interrupt;
use crate::rows::Pace;
use crate::servers::Server;
use crate::talk::Talk;
use crate::wire::{self, Requests};
use ::chatd::model::Token;
use anyhow::{Context, Result, anyhow};
use rusqlite::Connection;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Connections that send, each with one send under way.
const CONNECTIONS: usize = 64;

/// Prepared requests.
const REQUESTS: usize = 8_000;

/// What to measure, and how.
pub struct Plan<'a> {
    pub chatd: &'a Chatd,
    /// Where databases are made, one after the other.
    pub directory: &'a Path,
    /// Members of the group that is written to; `None`: single sends, to as many people as the largest group has.
    pub sizes: Vec<Option<usize>>,
    pub text_bytes: usize,
    pub seed: u64,
    pub rounds: usize,
    pub pace: Pace,
}

/// What came of one size, the medians of the rounds.
pub struct GroupRow {
    /// Who get each message; `None`: one of many people.
    pub members: Option<usize>,
    pub sends_per_second: f64,
    /// Durable in so many inboxes.
    pub deliveries_per_second: f64,
    /// Handed to their readers while the load ran.
    pub reads_per_second: f64,
    pub p99_ms: f64,
    /// On the disk, when all was read and the server had stopped.
    pub bytes_per_delivery: f64,
}

impl Plan<'_> {
    pub fn run(&self, interrupt: &Interrupt) -> Result<Vec<GroupRow>> {
        self.sizes.iter().map(|members| self.row(*members, interrupt)).collect()
    }

    fn row(&self, members: Option<usize>, interrupt: &Interrupt) -> Result<GroupRow> {
        let directory = self.directory.join("groups");
        let chatd = self.chatd.copy(&directory)?;
        let people = members.unwrap_or_else(|| self.sizes.iter().flatten().copied().max().unwrap_or(1_000));
        let tokens = fill(&chatd, people)?;
        let names: Vec<String> = match members {
            Some(_) => vec!["group".to_owned(); REQUESTS],
            None => wire::at_random(REQUESTS, people, self.seed).into_iter().map(member_name).collect(),
        };
        let sender = &chatd.tokens.senders[..1];
        let requests = Requests::chatd_to(sender, &names, self.text_bytes, self.seed);
        let before = chatd.database_bytes()?;
        let server = chatd.start(interrupt)?;
        let (mut rounds, mut deliveries) = (Vec::new(), 0);
        for _ in 0..self.rounds {
            let round = self.round(&server, &requests, &tokens, interrupt)?;
            let each = members.unwrap_or(1);
            deliveries += round.accepted * each;
            eprintln!(
                "{:>9}  {:>7.0} sends/s  {:>9.0} deliveries/s  {:>9.0} read/s  p99 {:.2} ms",
                members.map_or("single".to_owned(), |members| members.to_string()),
                round.sends_per_second,
                round.sends_per_second * each as f64,
                round.reads_per_second,
                round.p99_ms,
            );
            rounds.push(round);
        }
        server.stop(interrupt)?;
        let bytes = (chatd.database_bytes()? - before) as f64;
        fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
        let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure)).unwrap_or_default();
        let sends_per_second = of(|round| round.sends_per_second);
        Ok(GroupRow {
            members,
            sends_per_second,
            deliveries_per_second: sends_per_second * members.unwrap_or(1) as f64,
            reads_per_second: of(|round| round.reads_per_second),
            p99_ms: of(|round| round.p99_ms),
            bytes_per_delivery: bytes / deliveries as f64,
        })
    }

    /// Sends for a while, with everybody reading, until all is read.
    fn round(&self, server: &Server, requests: &Requests, tokens: &[String], interrupt: &Interrupt) -> Result<Round> {
        let load = Load {
            name: Who::Chatd.name(),
            address: server.address,
            requests,
            connections: CONNECTIONS,
            depth: 1,
            warm_up: self.pace.warm_up,
            measured: self.pace.measured,
        };
        let (is_over, read) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let reader = scope.spawn(|| drain(server.address, tokens, &is_over, &read));
            let begun = Instant::now();
            let outcome = load.run(interrupt);
            let (elapsed, in_time) = (begun.elapsed(), read.load(Ordering::Relaxed));
            is_over.store(true, Ordering::Relaxed);
            reader.join().unwrap_or_else(|_| Err(anyhow!("the reader panicked")))?;
            let outcome = outcome?;
            Ok(Round {
                sends_per_second: outcome.sends_per_second,
                reads_per_second: per_second(in_time, elapsed),
                p99_ms: outcome.p99_ms,
                accepted: outcome.accepted,
            })
        })
    }
}

/// One run.
struct Round {
    sends_per_second: f64,
    reads_per_second: f64,
    p99_ms: f64,
    accepted: usize,
}

fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Reads the inboxes of all in turn, on one connection, until the load is over and nothing is left.
fn drain(address: SocketAddr, tokens: &[String], is_over: &AtomicBool, read: &AtomicUsize) -> Result<()> {
    let mut talk = Talk::to(address)?;
    loop {
        let is_last = is_over.load(Ordering::Relaxed);
        let mut found = 0;
        for token in tokens {
            let messages = talk.inbox(token)?;
            read.fetch_add(messages, Ordering::Relaxed);
            found += messages;
        }
        if is_last && found == 0 {
            return Ok(());
        }
    }
}

fn member_name(number: usize) -> String {
    format!("member{number:07}")
}

/// So many accounts with a session each, all in one group with the first sender; gives their tokens.
fn fill(chatd: &Chatd, people: usize) -> Result<Vec<String>> {
    let mut database = Connection::open(chatd.database()).context("the database of the accounts")?;
    let tokens: Vec<Token> = (0..people).map(|_| Token::generate()).collect();
    let change = database.transaction()?;
    {
        let sender: i64 = change.query_row("SELECT id FROM user WHERE name = 'sender0'", [], |row| row.get(0))?;
        let mut add_user = change.prepare(
            "INSERT INTO user (name, folded, display_name, country, password_hash, created_at, owner)
             VALUES (?1, ?1, ?1, '', '', 0, ?2)",
        )?;
        let mut add_session = change.prepare(
            "INSERT INTO session (user, token_hash, address, created_at, last_used_at)
             VALUES (?1, ?2, '127.0.0.1', unixepoch() * 1000, unixepoch() * 1000)",
        )?;
        let mut put_in =
            change.prepare("INSERT INTO membership (grp, member, since, read_to) VALUES (?1, ?2, 0, 0)")?;
        let group = add_user.insert(("group", Some(sender)))?;
        put_in.execute((group, sender))?;
        for (number, token) in tokens.iter().enumerate() {
            let member = add_user.insert((member_name(number), None::<i64>))?;
            add_session.execute((member, token.hash().0))?;
            put_in.execute((group, member))?;
        }
    }
    change.execute_batch("DELETE FROM change")?;
    change.commit()?;
    database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(tokens.iter().map(Token::reveal).collect())
}
