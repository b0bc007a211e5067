//! `chatd db …`: copies of the database, and its upkeep.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use super::{open, options, output, owner, runtime};
use crate::config::Config;
use crate::model::Timestamp;
use crate::repository::Repository;
use crate::repository::sqlite::verify::Findings;
use crate::repository::sqlite::{Role, backup, database_path, restore as replacement, verify};

#[derive(Debug, Subcommand)]
pub enum Db {
    /// Copies the database into a new file, whether it is in use or not
    ///
    /// What was acknowledged before the command began is in the copy. The file is made for this purpose and never
    /// overwritten.
    Backup {
        /// The file to be made
        file: PathBuf,
    },
    /// Puts a copy in the place of the database, while no server runs on it
    ///
    /// The copy is verified first, and the former database is kept beside the new one. Accounts, passwords and logins are
    /// again what they were when the copy was made.
    Restore {
        /// A file that `chatd db backup` made
        file: PathBuf,
    },
    /// Reads all of a database and says whether it is whole, whether it is in use or not
    Verify {
        /// The file [default: the database of the settings]
        file: Option<PathBuf>,
    },
    /// Brings the database to the schema of this chatd, after a copy of it, as `chatd serve` does when it starts
    Migrate,
    /// Removes messages that were read longer ago than delivery.keep_delivered, as the server does every hour
    Prune,
}

impl Db {
    pub fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let database = database_path(&config.database.url)?;
        // Root reads and writes files of its own where it is told to; SQLite leaves the owner of the database's as it is.
        match self {
            Db::Backup { file } => runtime(1)?.block_on(back_up(config, &database, file))?,
            Db::Restore { file } => {
                let from = open_copy(file)?;
                owner::become_owner_of(&database)?;
                runtime(1)?.block_on(restore(config, &database, file, from))?;
            }
            Db::Verify { file } => {
                let file = file.as_deref().unwrap_or(&database);
                let findings = runtime(1)?.block_on(verify::verify(file, &options(config)))?;
                output::print(format_args!("{}: OK: {}", file.display(), describe(findings)))?;
            }
            Db::Migrate | Db::Prune => {
                owner::become_owner_of(&database)?;
                runtime(1)?.block_on(self.tend(config, &database))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn tend(&self, config: &Config, database: &Path) -> anyhow::Result<()> {
        // Opening is what migrates.
        let repository = open(config, Role::Admin).await?;
        let pruned = match self {
            Db::Prune => {
                let read_before = Timestamp::now().before(config.delivery.keep_delivered.0);
                Some(repository.prune(read_before).await?)
            }
            _ => None,
        };
        repository.close().await?;
        match pruned {
            Some(messages) => output::done(format_args!("{messages} messages removed")),
            None => output::done(format_args!("{}: the schema is up to date", database.display())),
        }
        Ok(())
    }
}

async fn back_up(config: &Config, database: &Path, to: &Path) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let options = options(config);
    // What is dropped unfinished is removed.
    tokio::select! {
        done = backup::backup(database, to, &options) => done?,
        _ = terminate.recv() => bail!("{}: interrupted, and not made", to.display()),
        _ = interrupt.recv() => bail!("{}: interrupted, and not made", to.display()),
    }
    output::done(format_args!("{}: a copy of {}", to.display(), database.display()));
    Ok(())
}

/// Opens a copy that is whole in itself, while the command is still who started it.
fn open_copy(file: &Path) -> anyhow::Result<File> {
    let name = file.display();
    let log = file.with_file_name(format!("{}-wal", file.file_name().unwrap_or_default().to_string_lossy()));
    if log.metadata().is_ok_and(|log| log.len() > 0) {
        bail!(
            "{name}: beside it lies {}, without which it is not whole; `chatd db backup` makes whole copies",
            log.display()
        );
    }
    File::open(file).with_context(|| name.to_string())
}

async fn restore(config: &Config, database: &Path, file: &Path, from: File) -> anyhow::Result<()> {
    let aside = format!(".before-restore-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
    let restored = replacement::restore(from, database, &aside, &options(config)).await?;
    let found = describe(restored.findings);
    output::done(format_args!("{} restored from {}: {found}", database.display(), file.display()));
    if let Some(aside) = restored.aside {
        output::done(format_args!("the former database is {}", aside.display()));
    }
    Ok(())
}

fn describe(findings: Findings) -> String {
    let Findings { schema, users, sessions, messages, unread, unchecked } = findings;
    let old = match unchecked {
        0 => String::new(),
        old => format!(", {old} of them without a checksum, because they are older than those"),
    };
    format!("schema {schema}, {users} users, {sessions} sessions, {messages} messages, {unread} of them unread{old}")
}
