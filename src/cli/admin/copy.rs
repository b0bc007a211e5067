//! `chatd db copy`: from SQLite to PostgreSQL, or back.

use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{options, output, privileges, runtime};
use crate::config::Config;
use crate::repository::{self, CopiedTable, CopyStep, DatabaseAddress};

/// How often the bar is drawn.
const DRAW: Duration = Duration::from_millis(100);
/// How long the bar is.
const BAR: u64 = 30;

/// Copies the database at `from` to `to`.
pub(super) fn run(config: &Config, from: &str, to: &str) -> anyhow::Result<()> {
    let [from, to] = [DatabaseAddress::parse(from)?, DatabaseAddress::parse(to)?];
    // Root may not make files that the service cannot use. There is one file at the most.
    if let Some(file) = from.file().or(to.file()) {
        privileges::become_owner_of(file)?;
    }
    runtime(1)?.block_on(copy(config, &from, &to))
}

async fn copy(config: &Config, from: &DatabaseAddress, to: &DatabaseAddress) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (options, mut bar) = (options(config), ProgressBar::default());
    let mut told = |step, rows, of| bar.draw(step, rows, of);
    // What is dropped unfinished is removed.
    let copied = tokio::select! {
        copied = repository::copy(from, to, &options, &mut told) => copied,
        _ = terminate.recv() => bail!("{}: interrupted, and not made", to.shown()),
        _ = interrupt.recv() => bail!("{}: interrupted, and not made", to.shown()),
    };
    bar.clear();
    let copied = copied?;
    let count = |wanted| copied.iter().find(|(table, _)| *table == wanted).map_or(0, |(_, rows)| *rows);
    output::done(format_args!(
        "{}: a copy of {}: {} accounts and groups, {} sessions and tokens, {} messages, {} unread, {} files; \
         all rows were read again and are the same (SHA-256)",
        to.shown(),
        from.shown(),
        count(CopiedTable::Account),
        count(CopiedTable::Session),
        count(CopiedTable::Message),
        count(CopiedTable::Unread),
        count(CopiedTable::File),
    ));
    output::done(format_args!("to serve it: database.url = \"{}\"", url_of(to)));
    Ok(())
}

fn url_of(address: &DatabaseAddress) -> String {
    match address.file() {
        Some(file) => format!("sqlite://{}", file.display()),
        None => address.shown(),
    }
}

/// How far a copy is, where somebody looks.
#[derive(Default)]
struct ProgressBar {
    drawn: Option<(CopyStep, Instant)>,
}

impl ProgressBar {
    fn draw(&mut self, step: CopyStep, rows: u64, of: u64) {
        let is_drawn = self.drawn.is_some_and(|(of, at)| of == step && at.elapsed() < DRAW);
        if is_drawn || !output::is_watched() {
            return;
        }
        self.drawn = Some((step, Instant::now()));
        let what = match step {
            CopyStep::Copying => "copying",
            CopyStep::Deriving => "counting what is unread",
            CopyStep::Comparing => "comparing",
        };
        // What is unread is not counted before.
        let of = of.max(rows).max(1);
        let full = "#".repeat(usize::try_from(rows * BAR / of).unwrap_or(0));
        let width = usize::try_from(BAR).unwrap_or(0);
        output::progress(&format!("{what} [{full:<width$}] {} %, {rows} rows", rows * 100 / of));
    }

    fn clear(&mut self) {
        if self.drawn.take().is_some() {
            output::progress("");
        }
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        self.clear();
    }
}
