//! The connections that read what is older than the tail of the message log. There are two. The accounts take turns, so
//! an account that asks for much delays only itself. Each turn is bounded; long work takes several turns. What one turn
//! reads is all of one moment: a commit between two queries would show one message as unread and as read.

use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::{Role, paths, schema};
use crate::fair::{Turn, Turns};
use crate::model::UserId;
use crate::repository::{OpenError, StoreOptions};

/// How many read at once.
const AT_ONCE: u32 = 2;

/// The connections and whose turn it is.
pub(super) struct Readers {
    pool: SqlitePool,
    turns: Arc<Turns<UserId>>,
}

/// A connection for one turn.
pub(super) struct Reader {
    // Declared first, because the next turn wants the connection.
    view: Transaction<'static, Sqlite>,
    _turn: Turn<UserId>,
}

impl Reader {
    pub(super) fn db(&mut self) -> &mut SqliteConnection {
        &mut self.view
    }
}

impl Readers {
    pub(super) async fn open(database: &Path, options: &StoreOptions, role: Role) -> Result<Readers, OpenError> {
        let pool = pool(AT_ONCE, database, options, role).await?;
        Ok(Readers { pool, turns: Turns::new(AT_ONCE as usize) })
    }

    /// Waits for a turn of this account. A caller that stops waiting costs nothing.
    pub(super) async fn turn(&self, account: UserId) -> sqlx::Result<Reader> {
        let turn = self.turns.take(account).await;
        Ok(Reader { view: self.pool.begin().await?, _turn: turn })
    }

    /// The connections without turns, for what the server itself does now and then.
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }
}

/// So many connections that only read. A server opens them at the start and keeps them: later, connections of clients
/// may have taken all descriptors.
pub(super) async fn pool(
    count: u32,
    database: &Path,
    options: &StoreOptions,
    role: Role,
) -> Result<SqlitePool, OpenError> {
    let pool = SqlitePoolOptions::new().max_connections(count).idle_timeout(None).max_lifetime(None);
    let pool = pool.connect_lazy_with(schema::connect_options(database, options).read_only(true));
    let mut open = Vec::new();
    for _ in (0..count).filter(|_| role == Role::Server) {
        let mut reader = pool.acquire().await.map_err(|e| paths::failed(database, e))?;
        // SQLite opens the companions of the database when something is read.
        let read = sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&mut *reader);
        read.await.map_err(|e| paths::failed(database, e))?;
        open.push(reader);
    }
    drop(open);
    Ok(pool)
}
