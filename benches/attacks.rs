//! What an innocent user notices when somebody attacks: `cargo bench --bench attacks -- [ROW...]`.
//!
//! Each row starts a chatd of its own with the default settings and cheap passwords, lets an innocent user live in
//! quiet and then under the attack, and prints both. A row meets its goal when all was done for the innocent user and
//! the slowest request in a hundred took at most 20 ms, or three times what it took in quiet. Attackers and server
//! share the machine, so look at what else runs on it. `attacks/mod.rs` tells which file holds what.

#[path = "attacks/mod.rs"]
mod attacks;
#[path = "load/signals.rs"]
mod signals;

use anyhow::{Context, Result, ensure};
use attacks::{Attack, HEADING, NotAllowed, Plan, ROWS, interrupt};
use clap::Parser;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures what an innocent user notices when somebody attacks.
#[derive(Parser)]
#[command(name = "attacks")]
struct Options {
    /// Rows to measure, by label, or all rows of a number; by default all
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// The chatd to start
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_chatd"))]
    chatd: PathBuf,
    /// Seconds without the attack, and as many with it
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Few messages and connections, as in `cargo test`
    #[arg(long)]
    brief: bool,
    /// Where the temporary directories with the databases are made
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    dir: PathBuf,
    /// Given by `cargo bench` to every benchmark; means nothing here
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // `cargo test --all-targets` builds without optimisation and runs this too.
    if cfg!(debug_assertions) && !options.bench {
        println!("attacks: nothing measured without optimisation; run `cargo bench --bench attacks`");
        return ExitCode::SUCCESS;
    }
    match measure(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attacks: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: Options) -> Result<()> {
    let interrupt = signals::take_over()?;
    let rows = chosen(&options.rows)?;
    ensure!(
        options.chatd.is_file(),
        "there is no chatd at {}: build it (`cargo build --release`) or name it with `--chatd FILE`",
        options.chatd.display()
    );
    fs::create_dir_all(&options.dir).with_context(|| format!("cannot make {}", options.dir.display()))?;
    let plan =
        Plan { program: options.chatd, directory: options.dir, seconds: options.seconds, is_brief: options.brief };
    println!("{HEADING}");
    let (mut met, mut skipped) = (0, 0);
    for row in &rows {
        // A row that cannot be driven is told of, and the others go on.
        match attacks::drive(row, &plan, &interrupt) {
            Ok(outcome) => {
                println!("{outcome}");
                met += usize::from(outcome.is_met());
            }
            Err(error) => {
                interrupt.check()?;
                skipped += usize::from(error.is::<NotAllowed>());
                println!("{:<11} not measured: {error:#}", row.label);
            }
        }
    }
    println!("\n{met} of {} rows meet their goal", rows.len() - skipped);
    Ok(())
}

/// The rows that are asked for, in their order.
fn chosen(arguments: &[String]) -> Result<Vec<&'static Attack>> {
    for argument in arguments {
        let labels: Vec<&str> = ROWS.iter().map(|row| row.label).collect();
        ensure!(
            ROWS.iter().any(|row| row.is_meant_by(argument)),
            "there is no row {argument:?}; there are {}",
            labels.join(", ")
        );
    }
    let is_chosen = |row: &&Attack| arguments.is_empty() || arguments.iter().any(|argument| row.is_meant_by(argument));
    Ok(ROWS.iter().filter(is_chosen).collect())
}
