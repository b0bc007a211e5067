//! A chatd that has stored millions of messages beside one that has stored none: the start, the requests that read, and
//! sends. Knows nothing of Redis.

use crate::chatd::Chatd;
use crate::drive::Outcome;
use crate::figures::{Who, ratio};
use crate::fill;
use crate::interrupt::Interrupt;
use crate::probes::{self, Reader, Timing};
use crate::rows::{Pace, Row, Subject};
use crate::servers::Server;
use crate::talk::Talk;
use crate::wire::Requests;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Connections under which sends are compared; with one, the time of a reply.
const CONNECTIONS: [usize; 3] = [1, 64, 256];

/// Inboxes with old mail that are read in a round. Each can be read only once.
const OLD_INBOXES: usize = 5;

/// What to store, and how to measure it.
pub struct Plan<'a> {
    /// Made ready and not running.
    pub chatd: &'a Chatd,
    /// Where the two databases are made.
    pub directory: &'a Path,
    /// Messages for each recipient.
    pub each: usize,
    pub text_bytes: usize,
    pub seed: u64,
    /// The load, to all recipients.
    pub requests: &'a Requests,
    /// Sends to the reader.
    pub mail: &'a Requests,
    pub rounds: usize,
    pub pace: Pace,
}

/// A figure of a full and of an empty database.
pub struct Line {
    pub what: String,
    pub empty: Option<f64>,
    pub full: Option<f64>,
    /// How many times as long the full one takes.
    pub slowdown: Option<f64>,
    /// Decimals with which the figures are printed.
    pub decimals: usize,
}

/// What came of it.
pub struct Stored {
    pub messages: usize,
    pub bytes_per_message: f64,
    pub lines: Vec<Line>,
}

/// All that is timed in the rounds.
struct Measured {
    start: Timing,
    requests: Vec<Timing>,
    old_inbox: Timing,
    rows: Vec<Row>,
}

impl Plan<'_> {
    /// Fills one database, leaves the other empty, and measures both in turn.
    pub fn run(&self, interrupt: &Interrupt) -> Result<Stored> {
        let tokens = &self.chatd.tokens;
        let full = self.chatd.copy(&self.directory.join("full"))?;
        let bytes_before = full.database_bytes()?;
        let server = full.start(interrupt)?;
        fill::fill(server.address, tokens, self.each, self.text_bytes, self.seed, interrupt)?;
        server.stop(interrupt)?;
        let messages = self.each * tokens.recipients.len();
        let bytes_per_message = (full.database_bytes()? - bytes_before) as f64 / messages as f64;

        let mut measured = Measured {
            start: Timing::new("start, to the first reply".to_owned()),
            requests: probes::timings(tokens.sessions()),
            old_inbox: Timing::new(format!("inbox, {} waiting from before the start", self.each)),
            rows: CONNECTIONS.iter().map(|connections| Row::new(*connections, 1)).collect(),
        };
        // Those whose old mail was not looked at yet. They keep exactly that as long as no load has run.
        let mut untouched = (0..tokens.recipients.len()).filter(|recipient| fill::never_reads(*recipient));
        for _ in 0..self.rounds {
            let old: Vec<usize> = untouched.by_ref().take(OLD_INBOXES).collect();
            self.read(&full, &old, &mut measured, interrupt)?;
        }
        for _ in 0..self.rounds {
            self.send(&full, &mut measured, interrupt)?;
        }
        Ok(Stored { messages, bytes_per_message, lines: measured.lines() })
    }

    /// One round of the requests that read.
    fn read(&self, full: &Chatd, old: &[usize], measured: &mut Measured, interrupt: &Interrupt) -> Result<()> {
        let tokens = &self.chatd.tokens;
        let mut pair = self.start(full, measured, interrupt)?;
        let reader = |who, server: &Server| -> Result<Reader> {
            Ok(Reader { who, talk: Talk::to(server.address)?, token: &tokens.reader, mail: self.mail })
        };
        let mut readers = [reader(Who::Empty, &pair.empty)?, reader(Who::Full, &pair.full)?];
        probes::round(&mut measured.requests, &mut readers, interrupt)?;
        // Last, because the server goes on working for a while when so much was read from the disk.
        for &recipient in old {
            readers[0].post(self.each)?;
            pair = pair.restart(full, interrupt)?;
            readers = [reader(Who::Empty, &pair.empty)?, reader(Who::Full, &pair.full)?];
            let [empty, full] = &mut readers;
            for (reader, token) in [(empty, &tokens.reader), (full, &tokens.recipients[recipient])] {
                probes::touch_disk(&mut reader.talk, token)?;
                measured.old_inbox.add(reader.who, probes::time_inbox(&mut reader.talk, token, self.each)?);
            }
        }
        pair.stop(interrupt)
    }

    /// One round of the load. The full database grows by it, which can only slow it further.
    fn send(&self, full: &Chatd, measured: &mut Measured, interrupt: &Interrupt) -> Result<()> {
        let pair = self.start(full, measured, interrupt)?;
        let subject = |who, server: &Server| Subject { who, address: server.address, requests: self.requests };
        let subjects = [subject(Who::Empty, &pair.empty), subject(Who::Full, &pair.full)];
        for row in &mut measured.rows {
            row.round(&subjects, self.pace, interrupt)?;
        }
        pair.stop(interrupt)
    }

    /// Starts the full chatd, and one that is made anew to be empty, and times both.
    fn start(&self, full: &Chatd, measured: &mut Measured, interrupt: &Interrupt) -> Result<Pair> {
        let directory = self.directory.join("empty");
        let empty = self.chatd.copy(&directory)?;
        // The first start of a database sets room aside on the disk, which the full one did before it was full.
        empty.start(interrupt)?.stop(interrupt)?;
        let mut start = |who, chatd: &Chatd| -> Result<Server> {
            let begun = Instant::now();
            let server = chatd.start(interrupt)?;
            Talk::to(server.address)?.inbox(&self.chatd.tokens.reader)?;
            measured.start.add(who, begun.elapsed());
            Ok(server)
        };
        Ok(Pair { empty: start(Who::Empty, &empty)?, full: start(Who::Full, full)?, chatd: empty, directory })
    }
}

/// Two servers that run.
struct Pair {
    empty: Server,
    full: Server,
    /// What the empty one is started from.
    chatd: Chatd,
    /// Where the empty one has its database.
    directory: PathBuf,
}

impl Pair {
    /// Has both find their mail on the disk, neither being warmer than the other.
    fn restart(self, full: &Chatd, interrupt: &Interrupt) -> Result<Self> {
        self.empty.stop(interrupt)?;
        self.full.stop(interrupt)?;
        Ok(Self { empty: self.chatd.start(interrupt)?, full: full.start(interrupt)?, ..self })
    }

    /// Stops both, the full one in good order, because it is needed again, and throws the empty one's database away.
    fn stop(self, interrupt: &Interrupt) -> Result<()> {
        self.full.stop(interrupt)?;
        drop(self.empty);
        fs::remove_dir_all(&self.directory).with_context(|| format!("cannot remove {}", self.directory.display()))
    }
}

impl Measured {
    fn lines(&self) -> Vec<Line> {
        let timings = std::iter::once(&self.start).chain(&self.requests).chain([&self.old_inbox]);
        timings.map(Line::of_timing).chain(self.rows.iter().map(Line::of_row)).collect()
    }
}

impl Line {
    fn of_timing(timing: &Timing) -> Self {
        Self::of_times(timing.what.clone(), |who| timing.median_ms(who))
    }

    /// One connection tells how long a reply takes, many how many sends there are.
    fn of_row(row: &Row) -> Self {
        if row.connections == 1 {
            return Self::of_times("send, one connection".to_owned(), |who| {
                row.median(who, |outcome| outcome.median_ms)
            });
        }
        let sends = |outcome: &Outcome| outcome.sends_per_second;
        let (empty, full) = (row.median(Who::Empty, sends), row.median(Who::Full, sends));
        let what = format!("sends/s, {} connections", row.connections);
        Self { what, empty, full, slowdown: ratio(empty, full), decimals: 0 }
    }

    fn of_times(what: String, milliseconds: impl Fn(Who) -> Option<f64>) -> Self {
        let (empty, full) = (milliseconds(Who::Empty), milliseconds(Who::Full));
        Self { what, empty, full, slowdown: ratio(full, empty), decimals: 2 }
    }
}
