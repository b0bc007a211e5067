//! A database on PostgreSQL that is copied into another kind of store: no node is alive meanwhile, and nobody changes
//! anything.

use std::path::PathBuf;

use sqlx::PgConnection;

use super::copied_tables::{self, NotRead};
use super::opening::PATIENCE;
use super::schema;
use super::servers::{self, Servers};
use crate::repository::OpenError;
use crate::repository::copied::{CopiedReader, CopiedTable, RowsOut};

/// For statements over whole tables, unlike those of a node; and however long the other side takes, nothing ends.
const FOR_WHOLE_TABLES: &str = "SET enable_seqscan = on; SET enable_hashjoin = on; SET enable_mergejoin = on;
    SET plan_cache_mode = auto; SET work_mem = '64MB'; SET statement_timeout = 0; SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = 0";
/// Nobody else writes while this lasts, and no node can begin. Who reads is not held up.
pub(super) const ALONE: &str =
    "LOCK TABLE account, session, invite, correspondent, membership, missed, file, file_piece,
    message, receipt, mailbox, hand, flight, send_key, push_key, push, head, node, writer, feed_head, feed
    IN EXCLUSIVE MODE";
const BEGIN_TO_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const ALIVE: &str = "SELECT count(*), coalesce(string_agg(name, ', '), '') FROM node
    WHERE beat_at > clock_timestamp() - interval '5 seconds'";
/// Who holds a lock for longer than is waited for.
const LOCKED: &str = "55P03";

pub(crate) struct PostgresSource {
    shown: String,
    db: PgConnection,
}

/// That something failed at a database.
pub(super) fn failed(shown: &str, error: impl std::fmt::Display) -> OpenError {
    OpenError::Failed { path: PathBuf::from(shown), why: format!("PostgreSQL: {error}") }
}

/// That somebody has to see to something first.
pub(super) fn refused(shown: &str, why: String) -> OpenError {
    OpenError::Refused { path: PathBuf::from(shown), why }
}

/// A connection for a copy.
pub(super) async fn connect(servers: &Servers) -> Result<PgConnection, OpenError> {
    let mut db = servers.connect().await.map_err(|error| {
        failed(&servers.shown, format_args!("{error}; it must run, and the database and its user must be there"))
    })?;
    sqlx::raw_sql(FOR_WHOLE_TABLES).execute(&mut db).await.map_err(|error| failed(&servers.shown, error))?;
    Ok(db)
}

/// Refuses where a node is alive by the database's clock.
pub(super) async fn refuse_served(db: &mut PgConnection, shown: &str) -> Result<(), OpenError> {
    let (count, names): (i64, String) =
        sqlx::query_as(ALIVE).fetch_one(db).await.map_err(|error| failed(shown, error))?;
    if count == 0 {
        return Ok(());
    }
    let why = format!(
        "it is in use by another chatd, or was 5 seconds ago: {names} (machine and process); stop it, and copy again"
    );
    Err(refused(shown, why))
}

/// Begins a transaction in which nobody else changes anything.
pub(super) async fn begin_alone(db: &mut PgConnection, begin: &'static str, shown: &str) -> Result<(), OpenError> {
    // Before the lock, so that no node is held up by it that goes on then.
    refuse_served(db, shown).await?;
    for sql in [begin, ALONE] {
        if let Err(error) = sqlx::raw_sql(sql).execute(&mut *db).await {
            let is_locked = error.as_database_error().is_some_and(|it| it.code().as_deref() == Some(LOCKED));
            return Err(match is_locked {
                true => refused(shown, "another program is changing it, perhaps another copy: try again later".into()),
                false => failed(shown, error),
            });
        }
    }
    refuse_served(db, shown).await
}

impl PostgresSource {
    /// Opens the database at a URL, alone.
    pub(crate) async fn open(url: &str) -> Result<PostgresSource, OpenError> {
        let servers = Servers::of(url, PATIENCE)?;
        let mut db = connect(&servers).await?;
        let shown = servers.shown;
        if schema::is_new(&mut db).await.map_err(|error| failed(&shown, error))? {
            return Err(refused(&shown, "there is no database of chatd's in it".to_owned()));
        }
        let (found, known) = (schema::version(&mut db).await.map_err(|e| failed(&shown, e))?, schema::known_version());
        if found > known {
            return Err(OpenError::Newer { path: PathBuf::from(&shown), found, known });
        }
        if found < known {
            let why = format!(
                "the database has schema {found}, and a copy is made of schema {known}: \
                 `chatd db migrate --set database.url=…` first"
            );
            return Err(refused(&shown, why));
        }
        begin_alone(&mut db, BEGIN_TO_READ, &shown).await?;
        Ok(PostgresSource { shown, db })
    }

    /// Lets others change it again.
    pub(crate) async fn close(self) {
        servers::close(self.db).await;
    }
}

/// Why a table could not be read from a database.
pub(super) fn not_read(shown: &str, why: NotRead) -> OpenError {
    match why {
        NotRead::Postgres(error) => failed(shown, error),
        NotRead::NotTaken(error) => error,
    }
}

impl CopiedReader for PostgresSource {
    fn shown(&self) -> String {
        self.shown.clone()
    }

    async fn size(&mut self) -> Result<u64, OpenError> {
        copied_tables::size(&mut self.db).await.map_err(|error| failed(&self.shown, error))
    }

    async fn read(&mut self, table: CopiedTable, rows: RowsOut) -> Result<(), OpenError> {
        copied_tables::read(&mut self.db, table, rows).await.map_err(|why| not_read(&self.shown, why))
    }
}
