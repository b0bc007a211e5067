//! The load generator: durable sends per second of chatd beside those of Redis, measured by the same loop on the same
//! disk.
//!
//! `cargo bench --bench load` starts both servers in a temporary directory, measures them in turn with 1, 64, 256 and
//! 1,000 connections and prints a table; `cargo bench --bench load -- --help` tells what can be changed. This file holds
//! the options, the order of the runs and the table:
//!
//! | file | holds |
//! |---|---|
//! | `load/wire.rs` | the requests of both protocols, and which replies count |
//! | `load/drive.rs` | the closed loop and its clock |
//! | `load/servers.rs` | starting, stopping, accounts, limits, signals |

#[path = "load/drive.rs"]
mod drive;
#[path = "load/servers.rs"]
mod servers;
#[path = "load/wire.rs"]
mod wire;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use drive::{Load, Outcome};
use servers::{Chatd, Interrupt, Server};
use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wire::{Requests, Wire};

/// Prepared requests for each recipient: enough that the same order of recipients does not come back within a batch.
const REQUESTS_PER_RECIPIENT: usize = 8;

/// Measures chatd and Redis under the same load of durable sends.
#[derive(Parser)]
#[command(name = "load")]
struct Options {
    /// Numbers of connections to measure, each with one send under way
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256, 1000], value_parser = positive)]
    connections: Vec<usize>,
    /// Sends in one packet for the pipelined row, on one connection; 1 leaves the row out
    #[arg(long, default_value_t = 64, value_parser = positive)]
    pipelined: usize,
    /// Seconds measured in each run
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds of load before each measurement
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    warm_up: f64,
    /// Runs of each target for each row; the table shows medians
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
    /// A chatd that is running already, with the accounts in place; by default one is started
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    addr: Option<SocketAddr>,
    /// The chatd to start
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_chatd"))]
    chatd: PathBuf,
    /// Where the temporary directory with both databases is made: the disk that is measured
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    dir: PathBuf,
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

/// A server that runs, and what to send it.
struct Subject {
    wire: Wire,
    server: Server,
    requests: Requests,
}

/// One line of the table: how many connections, how many sends in a packet, and what each subject made of it.
struct Row {
    connections: usize,
    depth: usize,
    outcomes: Vec<(Wire, Outcome)>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // `cargo test --all-targets` builds without optimisation and runs this too.
    if cfg!(debug_assertions) && !options.bench {
        println!("load: nothing measured without optimisation; run `cargo bench --bench load`");
        return ExitCode::SUCCESS;
    }
    match compare(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts what is to be measured, measures row after row, prints the table.
fn compare(options: &Options) -> Result<()> {
    let interrupt = Interrupt::install()?;
    let most = options.connections.iter().copied().max().unwrap_or(1);
    servers::allow_connections(most)?;
    fs::create_dir_all(&options.dir).with_context(|| format!("cannot make {}", options.dir.display()))?;
    // Declared before the servers, so that it is removed after they are gone.
    let directory = tempfile::Builder::new()
        .prefix("chatd-load-")
        .tempdir_in(&options.dir)
        .with_context(|| format!("cannot make a temporary directory in {}", options.dir.display()))?;
    println!("one fdatasync in {} takes {:.2} ms", options.dir.display(), sync_ms(directory.path())?);

    if options.target != Target::Chatd {
        println!("{}", servers::version("redis-server")?);
    }

    let mut subjects = Vec::new();
    if options.target != Target::Redis {
        subjects.push(chatd(options, directory.path(), &interrupt)?);
    }
    if options.target != Target::Chatd {
        subjects.push(redis(options, directory.path(), most, &interrupt)?);
    }
    let mut rows = Vec::new();
    for &connections in &options.connections {
        rows.push(measure(options, &subjects, connections, 1, &interrupt)?);
    }
    if options.pipelined > 1 {
        rows.push(measure(options, &subjects, 1, options.pipelined, &interrupt)?);
    }
    print_table(&rows);
    for subject in &subjects {
        print_gain(&rows, subject.wire);
    }
    Ok(())
}

/// Starts chatd with accounts of its own, or takes the one that runs, and logs the senders in.
fn chatd(options: &Options, directory: &Path, interrupt: &Interrupt) -> Result<Subject> {
    let server = if let Some(address) = options.addr {
        Server::running(address)
    } else {
        ensure!(
            options.chatd.is_file(),
            "there is no chatd at {}: build it (`cargo build --release`) or name it with `--chatd FILE`",
            options.chatd.display()
        );
        let program = fs::canonicalize(&options.chatd)?;
        let directory = subdirectory(directory, "chatd")?;
        eprintln!("adding {} recipients to {}", options.recipients, program.display());
        let chatd = Chatd::prepare(&program, &directory, options.recipients, interrupt)?;
        Server::chatd(&chatd, interrupt)?
    };
    let tokens = servers::log_in(server.address)?;
    let requests =
        Requests::chatd(&tokens, request_count(options), options.recipients, options.text_bytes, options.seed);
    Ok(Subject { wire: Wire::Chatd, server, requests })
}

fn redis(options: &Options, directory: &Path, connections: usize, interrupt: &Interrupt) -> Result<Subject> {
    let server = Server::redis(&subdirectory(directory, "redis")?, connections, interrupt)?;
    let requests = Requests::redis(request_count(options), options.recipients, options.text_bytes, options.seed);
    Ok(Subject { wire: Wire::Redis, server, requests })
}

/// How many requests to prepare: never fewer than one packet holds.
fn request_count(options: &Options) -> usize {
    (options.recipients * REQUESTS_PER_RECIPIENT).max(options.pipelined)
}

/// Runs the subjects in turn, round after round, so that a slow spell of the machine meets all of them.
fn measure(
    options: &Options,
    subjects: &[Subject],
    connections: usize,
    depth: usize,
    interrupt: &Interrupt,
) -> Result<Row> {
    let mut outcomes = Vec::new();
    for round in 1..=options.rounds {
        for Subject { wire, server, requests } in subjects {
            let load = Load {
                wire: *wire,
                address: server.address,
                requests,
                connections,
                depth,
                warm_up: Duration::from_secs_f64(options.warm_up),
                measured: Duration::from_secs_f64(options.seconds),
            };
            let outcome = load.run(interrupt)?;
            eprintln!(
                "{:>9}  round {round}  {}  {:>7.0} sends/s  p50 {:.2} ms  p99 {:.2} ms  generator {:.0} % of a core",
                label(connections, depth),
                wire.name(),
                outcome.sends_per_second,
                outcome.median_ms,
                outcome.p99_ms,
                outcome.generator_cpu * 100.0,
            );
            outcomes.push((*wire, outcome));
        }
    }
    Ok(Row { connections, depth, outcomes })
}

impl Row {
    /// The median over the rounds of one figure of one subject; `None` if it was not measured.
    fn median(&self, wire: Wire, figure: fn(&Outcome) -> f64) -> Option<f64> {
        let of_wire = self.outcomes.iter().filter(|(measured, _)| *measured == wire);
        let mut figures: Vec<f64> = of_wire.map(|(_, outcome)| figure(outcome)).collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        match figures.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(figures[middle]),
            _ => Some((figures[middle - 1] + figures[middle]) / 2.0),
        }
    }
}

/// Prints the medians over the rounds. A ratio is chatd over Redis: above 1 is better for sends, below 1 for latencies.
fn print_table(rows: &[Row]) {
    println!("\n{:>9} {:^28} {:^28} {:^28}", "", "sends/s", "p50 ms", "p99 ms");
    print!("{:>9}", "conns");
    for _ in 0..3 {
        print!(" {:>10} {:>10} {:>6}", "chatd", "redis", "ratio");
    }
    println!();
    for row in rows {
        print!("{:>9}", label(row.connections, row.depth));
        print_figures(row, |outcome| outcome.sends_per_second, 0);
        print_figures(row, |outcome| outcome.median_ms, 2);
        print_figures(row, |outcome| outcome.p99_ms, 2);
        println!();
    }
}

/// Prints one figure of both subjects, with so many decimals, and its ratio; a dash for what was not measured.
fn print_figures(row: &Row, figure: fn(&Outcome) -> f64, decimals: usize) {
    let show = |number: Option<f64>, decimals| number.map_or("-".to_owned(), |number| format!("{number:.decimals$}"));
    let chatd = row.median(Wire::Chatd, figure);
    let redis = row.median(Wire::Redis, figure);
    let ratio = chatd.zip(redis).map(|(chatd, redis)| chatd / redis);
    print!(" {:>10} {:>10} {:>6}", show(chatd, decimals), show(redis, decimals), show(ratio, 2));
}

/// Prints what pipelining gains over one connection that waits for each reply, if both were measured.
fn print_gain(rows: &[Row], wire: Wire) {
    let sends = |row: &Row| row.median(wire, |outcome| outcome.sends_per_second);
    let waiting = rows.iter().find(|row| row.connections == 1 && row.depth == 1).and_then(sends);
    let pipelined = rows.iter().find(|row| row.depth > 1);
    if let (Some(waiting), Some(row)) = (waiting, pipelined)
        && let Some(sends) = sends(row)
    {
        println!(
            "{}: {} sends in one packet on one connection: {:.1} times the sends of one that waits for each reply",
            wire.name(),
            row.depth,
            sends / waiting
        );
    }
}

/// What a row is called: the number of connections, and of sends in a packet if it is not one.
fn label(connections: usize, depth: usize) -> String {
    if depth == 1 { connections.to_string() } else { format!("{connections} x {depth}") }
}

/// The median time to append 4 KiB to a file in `directory` and sync it, in milliseconds: far below 0.1 the disk is
/// none, or lies.
fn sync_ms(directory: &Path) -> Result<f64> {
    let mut file = File::create(directory.join("sync"))?;
    let mut times = Vec::new();
    for _ in 0..51 {
        let begun = Instant::now();
        file.write_all(&[1; 4096])?;
        file.sync_data().context("cannot sync a file")?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2].as_secs_f64() * 1000.0)
}

fn subdirectory(directory: &Path, name: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
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
