//! `chatd db …`: copies of the database, and its upkeep.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::admin::administration::Administration;
use crate::cli::admin::{copy, snapshot};
use crate::cli::privileges;
use crate::cli::{open, options, output, runtime};
use crate::config::Config;
use crate::repository::sqlite::backup::Backup;
use crate::repository::sqlite::copy_sum::{self, CopySum};
use crate::repository::sqlite::restore::BackupCopy;
use crate::repository::sqlite::verify::DatabaseFindings;
use crate::repository::sqlite::{Role, compaction, restore as replacement, verify as verification};
use crate::repository::{OpenError, Pace, RoomInside, file_of, shown};

#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Copies the database into a new file, whether it is in use or not
    ///
    /// What was acknowledged before the command began is in the copy. The file is made for this purpose and never
    /// overwritten. Its SHA-256 goes into FILE.sha256, which `verify` and `restore` compare it with: keep the two
    /// together.
    Backup {
        /// The file to be made
        file: PathBuf,
    },
    /// Puts a copy in the place of the database, while no server runs on it
    ///
    /// The copy is verified first, and the former database is kept beside the new one. Accounts, passwords and logins
    /// are again what they were when the copy was made.
    Restore {
        /// A file that `chatd db backup` made
        file: PathBuf,
    },
    /// Reads all of a database and says whether it is whole, whether it is in use or not
    ///
    /// What is checked: the pages, tables and indexes of SQLite, that the tables agree with each other, and the
    /// checksums of messages. Of a copy also that each byte is as FILE.sha256 beside it says: a changed bit in an
    /// account or a session is found by nothing else.
    Verify {
        /// The file [default: the database of the settings]
        file: Option<PathBuf>,
    },
    /// Copies a database from SQLite to PostgreSQL, or back, while no server runs on either
    ///
    /// SOURCE and TARGET are each a file, sqlite:///PATH, or postgres://USER@HOST/DATABASE as in database.url; the
    /// database of the settings is not used. The target must be a file that is not there yet, or an empty database.
    /// Everything goes over: accounts, sessions and tokens (who is logged in stays so), groups, messages read and
    /// unread, receipts, files, invites, browsers. Numbers stay the same. All rows are read again from the target and
    /// compared before it is kept. A copy that is interrupted leaves nothing, and the source is left as it is.
    Copy {
        /// The database to be copied
        source: String,
        /// The database to be made
        target: String,
    },
    /// Brings the database to the schema of this chatd, after a copy of it, as `chatd serve` does when it starts
    Migrate,
    /// Removes messages that were read longer ago than delivery.keep_delivered, as the server does every hour
    ///
    /// Their room stays inside the database and is used again. A server gives back to the disk, slowly, what is more
    /// than a tenth of the database.
    Prune {
        /// Gives all room that is free inside the database back to the disk; beside a server, too, unless the database
        /// is of an older chatd, which has to be made anew once while no server runs
        #[arg(long)]
        compact: bool,
    },
}

impl Db {
    /// Whether it is about the database of the settings.
    pub(crate) fn is_about_settings(&self) -> bool {
        !matches!(self, Db::Copy { .. })
    }

    pub(crate) fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        if let Db::Copy { source, target } = self {
            copy::run(config, source, target)?;
            return Ok(ExitCode::SUCCESS);
        }
        let Some(database) = file_of(&config.database.url)? else { return self.run_on_servers(config) };
        // Root may name files that only root can use. SQLite keeps the owner of the database's files.
        match self {
            Db::Copy { .. } => {}
            Db::Backup { file } => runtime(1)?.block_on(back_up(config, &database, file))?,
            Db::Restore { file } => {
                let from = open_copy(file)?;
                privileges::become_owner_of(&database)?;
                runtime(1)?.block_on(restore(config, &database, file, from))?;
            }
            Db::Verify { file } => {
                let said = runtime(1)?.block_on(verify(config, &database, file.as_deref()))?;
                output::print(said)?;
            }
            Db::Migrate => {
                privileges::become_owner_of(&database)?;
                runtime(1)?.block_on(migrate(config, &database))?;
            }
            Db::Prune { compact } => {
                privileges::become_owner_of(&database)?;
                runtime(1)?.block_on(prune(config, &database, *compact))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What can be done from here with a database on servers.
    fn run_on_servers(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let database = PathBuf::from(shown(&config.database.url));
        match self {
            Db::Migrate => runtime(1)?.block_on(migrate(config, &database))?,
            Db::Prune { compact: false } => runtime(1)?.block_on(prune(config, &database, false))?,
            Db::Prune { compact: true } => {
                bail!("PostgreSQL's own vacuum makes room: `chatd db prune` without --compact")
            }
            Db::Copy { .. } => {}
            Db::Backup { .. } => bail!("PostgreSQL is copied by its own tools: pg_basebackup, and WAL archiving"),
            Db::Restore { .. } => {
                bail!("PostgreSQL is restored by its own tools: from what pg_basebackup made, and the archived WAL")
            }
            Db::Verify { .. } => {
                bail!("PostgreSQL is verified by its own tools: pg_amcheck, and pg_verifybackup for copies")
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn migrate(config: &Config, database: &Path) -> anyhow::Result<()> {
    // Opening is what migrates.
    open(config, Role::Admin).await?.repository.close().await?;
    output::done(format_args!("{}: the schema is up to date", database.display()));
    Ok(())
}

async fn prune(config: &Config, database: &Path, compact: bool) -> anyhow::Result<()> {
    let repository = open(config, Role::Admin).await?.repository;
    let messages = repository.prune(repository.clock().now().before(config.delivery.keep_delivered.0)).await?;
    let mut room = repository.give_back(Pace::None).await?;
    repository.close().await?;
    output::done(format_args!("{messages} messages removed"));
    if compact {
        // A running server does it itself, so that no other process holds up its writes.
        let mut administration = Administration::new(config)?;
        room = administration.give_back().await?;
        administration.close().await?;
    }
    let RoomInside { mut given_bytes, free_bytes, can_be_given } = room;
    if compact && free_bytes > 0 && !can_be_given {
        compaction::make_anew(database, &options(config)).await.map_err(|error| match error {
            OpenError::InUse { .. } => anyhow!(
                "{error}; a database of an older chatd gives room back only while no server runs: stop it and do this again"
            ),
            error => error.into(),
        })?;
        given_bytes = free_bytes;
    }
    match free_bytes / MEBIBYTE {
        _ if compact => output::done(format_args!("{:.1} MiB given back to the disk", mebibytes(given_bytes))),
        0 => {}
        free => output::done(format_args!(
            "{free} MiB are free inside the database and used again; `chatd db prune --compact` gives them to the disk"
        )),
    }
    Ok(())
}

const MEBIBYTE: u64 = 1 << 20;

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MEBIBYTE as f64
}

async fn verify(config: &Config, database: &Path, copy: Option<&Path>) -> anyhow::Result<String> {
    let file = copy.unwrap_or(database);
    let checksum = copy.map(CopySum::beside).transpose()?;
    if let (Some(copy), Some(Some(checksum))) = (copy, checksum) {
        checksum.check(copy, copy).await?;
    }
    let options = options(config);
    let findings = match snapshot::of(file, &options).await? {
        Some(snapshot) => verification::verify_snapshot(file, &snapshot, &options).await?,
        None => verification::verify(file, &options).await?,
    };
    let sum = match checksum {
        Some(Some(_)) => "; each byte is as it was copied (SHA-256)",
        Some(None) => "; there is no checksum beside it, so a changed bit outside the messages may go unseen",
        None => "",
    };
    Ok(format!("{}: OK: {}{sum}", file.display(), describe(findings)))
}

async fn back_up(config: &Config, database: &Path, to: &Path) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let options = options(config);
    // What is dropped unfinished is removed.
    let copied = async {
        let begun = Backup::begin(database, to, &options).await?;
        begun.finish(snapshot::of(database, &options).await?.as_ref()).await
    };
    tokio::select! {
        done = copied => done?,
        _ = terminate.recv() => bail!("{}: interrupted, and not made", to.display()),
        _ = interrupt.recv() => bail!("{}: interrupted, and not made", to.display()),
    }
    let checksum = copy_sum::path_of(to);
    output::done(format_args!("{}: a copy of {}", to.display(), database.display()));
    output::done(format_args!("{}: its SHA-256, to be kept beside it", checksum.display()));
    Ok(())
}

/// Opens a copy that is whole in itself, while the command is still who started it.
fn open_copy(file: &Path) -> anyhow::Result<BackupCopy> {
    let name = file.display();
    let log = file.with_file_name(format!("{}-wal", file.file_name().unwrap_or_default().to_string_lossy()));
    if log.metadata().is_ok_and(|log| log.len() > 0) {
        bail!(
            "{name}: beside it lies {}, without which it is not whole; `chatd db backup` makes whole copies",
            log.display()
        );
    }
    let checksum = CopySum::beside(file)?;
    Ok(BackupCopy { path: file.to_owned(), file: File::open(file).with_context(|| name.to_string())?, checksum })
}

async fn restore(config: &Config, database: &Path, file: &Path, from: BackupCopy) -> anyhow::Result<()> {
    let aside = format!(".before-restore-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
    let restored = replacement::restore(from, database, &aside, &options(config)).await?;
    let found = describe(restored.findings);
    output::done(format_args!("{} restored from {}: {found}", database.display(), file.display()));
    if let Some(aside) = restored.aside {
        output::done(format_args!("the former database is {}", aside.display()));
    }
    Ok(())
}

fn describe(findings: DatabaseFindings) -> String {
    let DatabaseFindings { schema, users, sessions, messages, unread, unchecked } = findings;
    let old = match unchecked {
        0 => String::new(),
        old => format!(", {old} of them without a checksum, because they are older than those"),
    };
    format!("schema {schema}, {users} users, {sessions} sessions, {messages} messages, {unread} of them unread{old}")
}
