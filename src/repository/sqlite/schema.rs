//! Opens a file, checks and migrates it, and reads what the server must know before it can answer.

use std::collections::HashSet;
use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::checksum::Unchecked;
use super::files::{self, FoundDatabase};
use super::paths::{companion_path, failed};
use super::restore_note;
use crate::model::{MessageId, UserId};
use crate::repository::{OpenError, StoreOptions, UnreadTotals};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// "chat", as the first migration writes it.
const APPLICATION_ID: i64 = 0x6368_6174;

/// The WAL is no longer than this while nobody reads for long: bytes.
const WAL_BYTES: &str = "67108864";

/// The newest schema that this program knows.
pub(crate) fn known_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Options for any connection to this database.
pub(super) fn connect_options(database: &Path, options: &StoreOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(database).busy_timeout(options.busy_timeout)
}

/// The schema of a database; `None` when there is none yet. Refuses what is not ours or is too new, and writes nothing.
pub(super) async fn version(database: &Path, options: &StoreOptions) -> Result<Option<i64>, OpenError> {
    version_with(database, connect_options(database, options).read_only(true)).await
}

/// The same on connections of the caller's.
pub(super) async fn version_with(database: &Path, connect: SqliteConnectOptions) -> Result<Option<i64>, OpenError> {
    restore_note::check_unfinished(database)?;
    if files::look(database)? == FoundDatabase::Nothing {
        let wal = companion_path(database, "-wal");
        if wal.metadata().is_ok_and(|wal| wal.len() > 0) {
            let why = format!("the database is not there, but {} is: put it back, or move that away", wal.display());
            return Err(OpenError::Refused { path: database.to_owned(), why });
        }
        return Ok(None);
    }
    let foreign = |why: &str| OpenError::Foreign { path: database.to_owned(), why: why.to_owned() };
    let damaged = |e: sqlx::Error| match is_of_now(&e) {
        true => failed(database, e),
        false => foreign(&format!("not a readable database: {e}")),
    };
    let mut connection = connect.connect().await.map_err(damaged)?;
    let application: i64 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut connection).await.map_err(damaged)?;
    // What sqlx keeps comes before the first migration, so a database that was never finished has it.
    let tables = "SELECT count(*) FROM sqlite_schema WHERE tbl_name <> '_sqlx_migrations'";
    let tables: i64 = sqlx::query_scalar(tables).fetch_one(&mut connection).await.map_err(damaged)?;
    let version = match (application, tables) {
        (0, 0) => None,
        (APPLICATION_ID, _) => {
            let newest = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations");
            Some(newest.fetch_one(&mut connection).await.map_err(damaged)?)
        }
        _ => return Err(foreign("the database belongs to another program")),
    };
    connection.close().await.map_err(damaged)?;
    match version {
        Some(found) if found > known_version() => {
            Err(OpenError::Newer { path: database.to_owned(), found, known: known_version() })
        }
        version => Ok(version),
    }
}

/// BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN say nothing of what is in the file.
fn is_of_now(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| [5, 6, 8, 10, 13, 14].contains(&(code & 0xFF)))
}

/// The connection that writes: WAL, every commit on stable storage, both read back.
pub(super) async fn writer(database: &Path, options: &StoreOptions) -> Result<SqliteConnection, OpenError> {
    let connect = connect_options(database, options)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // A WAL that grew while somebody read from it for long is cut to this when it begins anew.
        .pragma("journal_size_limit", WAL_BYTES)
        // Accounts are never deleted, so a message cannot dangle; checking it would add half to the cost of a message.
        .foreign_keys(false);
    let mut connection = connect.connect().await.map_err(|e| failed(database, e))?;
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.map_err(|e| failed(database, e))?;
    let synchronous: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut connection).await.map_err(|e| failed(database, e))?;
    if mode != "wal" || synchronous != 2 {
        let why = format!("SQLite gives journal_mode={mode}, synchronous={synchronous} here; wal and 2 are needed");
        return Err(failed(database, why));
    }
    Ok(connection)
}

/// Brings the schema up to date. The caller holds the lock: sqlx's own is a no-op on SQLite.
pub(super) async fn migrate(database: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    MIGRATIONS.run(connection).await.map_err(|e| failed(database, format!("migration failed: {e}")))
}

/// Where the tables and indexes of a database are not what the migrations make.
pub(super) async fn deviations(connection: &mut SqliteConnection) -> sqlx::Result<Vec<String>> {
    type Object = (String, String, Option<String>);
    let all = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' AND name <> '_sqlx_migrations'";
    let mut model = SqliteConnectOptions::new().in_memory(true).connect().await?;
    MIGRATIONS.run(&mut model).await.map_err(|e| sqlx::Error::Migrate(Box::new(e)))?;
    let wanted: HashSet<Object> = sqlx::query_as(all).fetch_all(&mut model).await?.into_iter().collect();
    let found: HashSet<Object> = sqlx::query_as(all).fetch_all(connection).await?.into_iter().collect();
    let missing =
        wanted.difference(&found).map(|(kind, name, _)| format!("{kind} {name} is missing or not as it should be"));
    let foreign =
        found.difference(&wanted).filter(|(kind, name, _)| !wanted.iter().any(|w| (&w.0, &w.1) == (kind, name)));
    Ok(missing.chain(foreign.map(|(kind, name, _)| format!("{kind} {name} is not chatd's"))).collect())
}

/// How far the message log is indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub watermark: MessageId,
    pub next_id: MessageId,
    /// Up to where messages may have no checksum.
    pub unchecked: Unchecked,
}

/// How far the message log is indexed and how long it is.
pub(super) async fn progress(connection: &mut SqliteConnection) -> sqlx::Result<Progress> {
    let watermark: i64 =
        sqlx::query_scalar("SELECT coalesce(max(last), 0) FROM run").fetch_one(&mut *connection).await?;
    let last: Option<i64> = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'message'")
        .fetch_optional(&mut *connection)
        .await?;
    let next_id = MessageId(last.unwrap_or(0).max(watermark) + 1);
    let unchecked = unchecked(connection).await?;
    Ok(Progress { watermark: MessageId(watermark), next_id, unchecked })
}

/// Which messages have a checksum.
pub(super) async fn unchecked(connection: &mut SqliteConnection) -> sqlx::Result<Unchecked> {
    let sql = "SELECT last FROM unchecked WHERE complement = ~last";
    let last: Option<i64> = sqlx::query_scalar(sql).fetch_optional(connection).await?;
    // When this table is damaged, a message that is whole must not count as damaged.
    Ok(Unchecked(MessageId(last.unwrap_or(i64::MAX))))
}

/// Removes what an interrupted indexing run left behind.
pub(super) async fn undo_unfinished_run(connection: &mut SqliteConnection, watermark: MessageId) -> sqlx::Result<()> {
    for sql in [
        "DELETE FROM mail WHERE run > ?1",
        "DELETE FROM sent WHERE run > ?1",
        "DELETE FROM conversation WHERE run > ?1",
        // The tail is read without them.
        "DELETE FROM removed WHERE id > ?1",
    ] {
        sqlx::query(sql).bind(watermark.0).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Unread mail up to the watermark, counted by user.
pub(super) async fn totals(connection: &mut SqliteConnection) -> sqlx::Result<UnreadTotals> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as("SELECT user, messages, bytes FROM mailbox WHERE messages > 0")
        .fetch_all(&mut *connection)
        .await?;
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(rows.into_iter().map(|(user, messages, bytes)| (UserId(user), (count(messages), count(bytes)))).collect())
}
