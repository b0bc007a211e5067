//! The load generator: what chatd does in a second and how long one waits for it, beside Redis and beside a server that
//! stores nothing, measured by the same loop on the same disk.
//!
//! `cargo bench --bench load` starts the servers in a temporary directory, measures them in turn and prints tables;
//! with `-- --stored 10000000` it also fills a database and compares it with an empty one, with `-- --groups` it writes
//! to groups. `cargo bench --bench load -- --help` tells what else can be changed. This file holds the options and the
//! order of the measurements:
//!
//! | file | holds |
//! |---|---|
//! | `load/wire.rs` | the sends of both protocols, and which replies count |
//! | `load/drive.rs` | the closed loop and its clock |
//! | `load/rows.rs` | rounds of it, with all subjects in turn |
//! | `load/talk.rs` | one connection to chatd that asks and waits |
//! | `load/probes.rs` | the requests that read, timed one at a time |
//! | `load/idle.rs` | the memory of connections that say nothing |
//! | `load/fill.rs`, `load/stored.rs` | millions of messages; what they slow down |
//! | `load/groups.rs` | groups of some and of thousands |
//! | `load/directory.rs` | a million accounts and sessions: start, memory, admin commands |
//! | `load/servers.rs` | starting and stopping processes |
//! | `load/yardsticks.rs` | Redis, and the server that stores nothing |
//! | `load/chatd.rs` | a chatd with accounts, and copies of it |
//! | `load/ceiling.rs` | the server that stores nothing |
//! | `load/interrupt.rs`, `load/signals.rs` | Ctrl-C |
//! | `load/figures.rs`, `load/table.rs`, `load/goals.rs` | medians, what is printed of them, what they should be |

#[path = "load/ceiling.rs"]
mod ceiling;
#[path = "load/chatd.rs"]
mod chatd;
#[path = "load/directory.rs"]
mod directory;
#[path = "load/drive.rs"]
mod drive;
#[path = "load/figures.rs"]
mod figures;
#[path = "load/fill.rs"]
mod fill;
#[path = "load/goals.rs"]
mod goals;
#[path = "load/groups.rs"]
mod groups;
#[path = "load/idle.rs"]
mod idle;
#[path = "load/interrupt.rs"]
mod interrupt;
#[path = "load/probes.rs"]
mod probes;
#[path = "load/rows.rs"]
mod rows;
#[path = "load/servers.rs"]
mod servers;
#[path = "load/signals.rs"]
mod signals;
#[path = "load/stored.rs"]
mod stored;
#[path = "load/table.rs"]
mod table;
#[path = "load/talk.rs"]
mod talk;
#[path = "load/wire.rs"]
mod wire;
#[path = "load/yardsticks.rs"]
mod yardsticks;

use anyhow::{Context, Result, ensure};
use chatd::Chatd;
use clap::{Parser, ValueEnum};
use figures::Who;
use goals::Goal;
use interrupt::Interrupt;
use probes::Reader;
use rows::{Pace, Row, Subject};
use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use talk::Talk;
use wire::Requests;

/// Prepared requests for each recipient: enough that the same order of recipients does not come back within a batch.
const REQUESTS_PER_RECIPIENT: usize = 8;

/// Prepared requests to the one account whose inbox is timed.
const REQUESTS_TO_READER: usize = 1000;

/// How many members groups have.
const GROUPS: [usize; 4] = [10, 100, 1_000, 10_000];

/// Measures chatd beside Redis and beside a server that stores nothing.
#[derive(Parser)]
#[command(name = "load")]
struct Options {
    /// Numbers of connections to measure, each with one send under way
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256, 1000], value_parser = positive)]
    connections: Vec<usize>,
    /// Sends in one packet for the pipelined row, on one connection; 1 leaves the row out
    #[arg(long, default_value_t = 64, value_parser = positive)]
    pipelined: usize,
    /// Connections that say nothing, for the memory that each takes up; 0 leaves it out
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Messages to store, a tenth of them unread, for a comparison with an empty database; takes some minutes
    #[arg(long, value_name = "MESSAGES", value_parser = positive, conflicts_with = "addr")]
    stored: Option<usize>,
    /// Accounts, and as many sessions, for the start, the memory and admin commands of a server with so many
    #[arg(long, value_name = "ACCOUNTS", value_parser = positive, conflicts_with = "addr")]
    directory: Option<usize>,
    /// Groups of 10, 100, 1,000 and 10,000 members, all of whom read, beside single sends
    #[arg(long, conflicts_with = "addr")]
    groups: bool,
    /// Seconds measured in each run
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds of load before each measurement
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    warm_up: f64,
    /// Runs of each target for each row; the tables show medians
    #[arg(long, default_value_t = 3, value_parser = positive)]
    rounds: usize,
    /// Number of recipients, chosen at random for each send
    #[arg(long, default_value_t = 1000, value_parser = positive)]
    recipients: usize,
    /// Length of a text
    #[arg(long, default_value_t = 64, value_parser = positive)]
    text_bytes: usize,
    /// Seed of the recipients and texts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What to measure
    #[arg(long, value_enum, default_value_t = Target::Both)]
    target: Target,
    /// A chatd that is running already, with the accounts in place; only its sends are measured. By default one is
    /// started
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    addr: Option<SocketAddr>,
    /// The chatd to start
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_chatd"))]
    chatd: PathBuf,
    /// Where the temporary directory with the databases is made: the disk that is measured
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    dir: PathBuf,
    /// How the generator starts the server without storage: be it, at this address
    #[arg(long, hide = true, value_name = "HOST:PORT", value_parser = address)]
    ceiling: Option<SocketAddr>,
    /// Given by `cargo bench` to every benchmark; means nothing here
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    Chatd,
    Redis,
    Both,
}

/// What every measurement needs: what was asked for, where the databases are made, and whether somebody wants to stop.
struct Bench<'a> {
    options: &'a Options,
    directory: &'a Path,
    interrupt: &'a Interrupt,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // `cargo test --all-targets` builds without optimisation and runs this too.
    if cfg!(debug_assertions) && !options.bench {
        println!("load: nothing measured without optimisation; run `cargo bench --bench load`");
        return ExitCode::SUCCESS;
    }
    let done = match options.ceiling {
        Some(address) => ceiling::serve(address),
        None => measure_all(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures one thing after the other, prints each when it is done, and in the end whether it is as it should be.
fn measure_all(options: &Options) -> Result<()> {
    let interrupt = signals::take_over()?;
    servers::allow_connections(most_connections(options).max(options.idle))?;
    fs::create_dir_all(&options.dir).with_context(|| format!("cannot make {}", options.dir.display()))?;
    // Declared before the servers, so that it is removed after they are gone.
    let directory = tempfile::Builder::new()
        .prefix("chatd-load-")
        .tempdir_in(&options.dir)
        .with_context(|| format!("cannot make a temporary directory in {}", options.dir.display()))?;
    table::print_sync(&options.dir.display().to_string(), syncs_ms(directory.path())?);
    if options.target != Target::Chatd {
        println!("{}", yardsticks::version("redis-server")?);
    }

    let bench = Bench { options, directory: directory.path(), interrupt: &interrupt };
    let goals = match (options.target, options.addr) {
        (Target::Redis, _) => goals::of_rows(&bench.sends(None)?),
        (_, Some(address)) => {
            let senders = chatd::log_senders_in(address, &interrupt)?;
            goals::of_rows(&bench.sends(Some((address, &bench.requests(&senders))))?)
        }
        (_, None) => bench.own_chatd()?,
    };
    goals::print(&goals);
    Ok(())
}

impl Bench<'_> {
    /// Starts a chatd of its own for each measurement, on the same accounts.
    fn own_chatd(&self) -> Result<Vec<Goal>> {
        let options = self.options;
        ensure!(
            options.chatd.is_file(),
            "there is no chatd at {}: build it (`cargo build --release`) or name it with `--chatd FILE`",
            options.chatd.display()
        );
        let program = fs::canonicalize(&options.chatd)?;
        eprintln!("adding {} recipients to {}", options.recipients, program.display());
        let chatd = Chatd::prepare(&program, &self.subdirectory("accounts")?, options.recipients, self.interrupt)?;
        let requests = self.requests(&chatd.tokens.senders);
        let to_reader = vec![options.recipients; REQUESTS_TO_READER];
        let mail = Requests::chatd(&chatd.tokens.senders, &to_reader, options.text_bytes, options.seed);

        let mut goals = goals::of_rows(&self.fresh(&chatd, &requests, &mail)?);
        if options.idle > 0 {
            goals.push(self.idle(&chatd)?);
        }
        if let Some(messages) = options.stored {
            goals.extend(self.stored(&chatd, messages, &requests, &mail)?);
        }
        if options.groups {
            goals.extend(self.groups(&chatd)?);
        }
        if let Some(accounts) = options.directory {
            let chatd = chatd.copy(&self.directory.join("directory"))?;
            let measured = directory::measure(&chatd, accounts, &requests, &mail, self.interrupt)?;
            table::print_directory(&measured);
            goals.extend(goals::of_directory(&measured));
        }
        Ok(goals)
    }

    /// A chatd that begins with nothing stored: the requests that read, then sends, then what all of it takes up on
    /// disk.
    fn fresh(&self, chatd: &Chatd, requests: &Requests, mail: &Requests) -> Result<Vec<Row>> {
        let tokens = &chatd.tokens;
        let chatd = chatd.copy(&self.directory.join("chatd"))?;
        let bytes_before = chatd.database_bytes()?;
        let server = chatd.start(self.interrupt)?;
        let mut timings = probes::timings(tokens.sessions());
        let talk = Talk::to(server.address)?;
        let mut reader = [Reader { who: Who::Chatd, talk, token: &tokens.reader, mail }];
        let read = probes::round(&mut timings, &mut reader, self.interrupt)?;
        drop(reader);

        let rows = self.sends(Some((server.address, requests)))?;
        server.stop(self.interrupt)?;
        let unread: usize = rows.iter().map(|row| row.accepted(Who::Chatd)).sum();
        let bytes = (chatd.database_bytes()? - bytes_before) as f64;
        table::print_timings(&timings);
        table::print_disk(bytes / (read + unread) as f64, read + unread);
        Ok(rows)
    }

    /// Runs the subjects in turn, row after row: chatd, if there is one, the server that stores nothing, and Redis.
    fn sends(&self, chatd: Option<(SocketAddr, &Requests)>) -> Result<Vec<Row>> {
        let options = self.options;
        let most = most_connections(options);
        let mut subjects = Vec::new();
        let (ceiling, redis);
        if let Some((address, requests)) = chatd {
            subjects.push(Subject { who: Who::Chatd, address, requests });
            ceiling = yardsticks::ceiling(&self.subdirectory("ceiling")?, self.interrupt)?;
            subjects.push(Subject { who: Who::Ceiling, address: ceiling.address, requests });
        }
        let to_redis = Requests::redis(&self.recipients(), options.text_bytes, options.seed);
        if options.target != Target::Chatd {
            redis = yardsticks::redis(&self.subdirectory("redis")?, most, self.interrupt)?;
            subjects.push(Subject { who: Who::Redis, address: redis.address, requests: &to_redis });
        }

        let mut rows: Vec<Row> = options.connections.iter().map(|connections| Row::new(*connections, 1)).collect();
        if options.pipelined > 1 {
            rows.push(Row::new(1, options.pipelined));
        }
        for row in &mut rows {
            for _ in 0..options.rounds {
                row.round(&subjects, self.pace(), self.interrupt)?;
            }
        }
        table::print_rows(&rows);
        table::print_gain(&rows, Who::Chatd);
        table::print_gain(&rows, Who::Redis);
        if chatd.is_some() {
            table::print_ceiling(&rows);
        }
        Ok(rows)
    }

    /// A chatd with many connections that say nothing.
    fn idle(&self, chatd: &Chatd) -> Result<Goal> {
        let connections = self.options.idle;
        let chatd = chatd.copy(&self.directory.join("idle"))?;
        let server = chatd.start(self.interrupt)?;
        let bytes = idle::bytes_per_connection(&server, connections, &chatd.tokens.reader, self.interrupt)?;
        table::print_idle(bytes, connections);
        Ok(goals::of_idle(bytes))
    }

    /// A chatd with `messages` stored, rounded so that each recipient gets as many, beside one with none.
    fn stored(&self, chatd: &Chatd, messages: usize, requests: &Requests, mail: &Requests) -> Result<Vec<Goal>> {
        let plan = stored::Plan {
            chatd,
            directory: self.directory,
            each: messages.div_ceil(self.options.recipients),
            text_bytes: self.options.text_bytes,
            seed: self.options.seed,
            requests,
            mail,
            rounds: self.options.rounds,
            pace: self.pace(),
        };
        let stored = plan.run(self.interrupt)?;
        table::print_stored(&stored);
        Ok(goals::of_stored(&stored.lines))
    }

    /// Groups of several sizes, and single sends, one after the other.
    fn groups(&self, chatd: &Chatd) -> Result<Vec<Goal>> {
        let plan = groups::Plan {
            chatd,
            directory: self.directory,
            sizes: [None].into_iter().chain(GROUPS.map(Some)).collect(),
            text_bytes: self.options.text_bytes,
            seed: self.options.seed,
            rounds: self.options.rounds,
            pace: self.pace(),
        };
        let rows = plan.run(self.interrupt)?;
        table::print_groups(&rows);
        Ok(goals::of_groups(&rows))
    }

    /// The sends of the load, from these senders.
    fn requests(&self, senders: &[String]) -> Requests {
        Requests::chatd(senders, &self.recipients(), self.options.text_bytes, self.options.seed)
    }

    /// To whom the sends of the load go: never fewer than one packet holds.
    fn recipients(&self) -> Vec<usize> {
        let count = (self.options.recipients * REQUESTS_PER_RECIPIENT).max(self.options.pipelined);
        wire::at_random(count, self.options.recipients, self.options.seed)
    }

    fn pace(&self) -> Pace {
        Pace {
            warm_up: Duration::from_secs_f64(self.options.warm_up),
            measured: Duration::from_secs_f64(self.options.seconds),
        }
    }

    fn subdirectory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

/// The most connections that any row has.
fn most_connections(options: &Options) -> usize {
    options.connections.iter().copied().max().unwrap_or(1)
}

/// Times in milliseconds to append 4 KiB to a file in `directory` and sync it: far below 0.1 the disk is none, or lies.
fn syncs_ms(directory: &Path) -> Result<Vec<f64>> {
    let mut file = File::create(directory.join("sync"))?;
    let sync = |_| {
        let begun = Instant::now();
        file.write_all(&[1; 4096])?;
        file.sync_data().context("cannot sync a file")?;
        Ok(begun.elapsed().as_secs_f64() * 1000.0)
    };
    (0..51).map(sync).collect()
}

/// Looks up `HOST:PORT`.
fn address(text: &str) -> Result<SocketAddr> {
    text.to_socket_addrs()?.next().context("the host has no address")
}

/// Parses a whole number above zero.
fn positive(text: &str) -> Result<usize> {
    let number = text.parse()?;
    ensure!(number > 0, "must be at least 1");
    Ok(number)
}

/// Parses a length of time in seconds, above zero and at most an hour.
fn seconds(text: &str) -> Result<f64> {
    let number: f64 = text.parse()?;
    ensure!(number > 0.0 && number <= 3600.0, "must be above 0 and at most 3600");
    Ok(number)
}
