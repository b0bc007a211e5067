//! Codes that make accounts. They lie on disk alone: few are asked for, and each once.

use sqlx::{SqliteConnection, SqlitePool};

use crate::model::{InviteId, Timestamp, TokenHash};
use crate::repository::{NewInvite, StoredInvite};

/// How many rows an administrator's query reads at a time.
const PAGE: i64 = 1_000;

const WORKS: &str = "SELECT EXISTS (SELECT 1 FROM invite WHERE code_hash = ?1 AND expires_at > ?2)";
const LIST: &str = "SELECT id, label, created_at, expires_at FROM invite
    WHERE id > ?1 AND expires_at > ?2 ORDER BY id LIMIT ?3";

/// A code comes or goes.
#[derive(Clone)]
pub(super) enum InviteChange {
    Add(NewInvite),
    Remove(InviteId),
}

impl InviteChange {
    /// Runs the statements; gives the number of a new code, or how many went.
    pub(super) async fn run(self, db: &mut SqliteConnection, now: Timestamp) -> sqlx::Result<u64> {
        match self {
            InviteChange::Add(NewInvite { code, label, lasts }) => {
                sqlx::query("DELETE FROM invite WHERE expires_at <= ?1").bind(now.0).execute(&mut *db).await?;
                let lasts = i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX);
                let expires_at = now.0.saturating_add(lasts).min(Timestamp::LAST.0);
                let sql = "INSERT INTO invite (code_hash, label, created_at, expires_at) VALUES (?1, ?2, ?3, ?4)";
                let added = sqlx::query(sql).bind(&code.0[..]).bind(label.as_str()).bind(now.0).bind(expires_at);
                Ok(added.execute(db).await?.last_insert_rowid().unsigned_abs())
            }
            InviteChange::Remove(id) => {
                let removed = sqlx::query("DELETE FROM invite WHERE id = ?1").bind(id.0).execute(db).await?;
                Ok(removed.rows_affected())
            }
        }
    }
}

/// Whether a code works now, as the writer sees it.
pub(super) async fn works(db: &mut SqliteConnection, code: TokenHash, now: Timestamp) -> sqlx::Result<bool> {
    sqlx::query_scalar(WORKS).bind(&code.0[..]).bind(now.0).fetch_one(db).await
}

/// The same, as the disk has it.
pub(super) async fn works_on_disk(readers: &SqlitePool, code: TokenHash, now: Timestamp) -> sqlx::Result<bool> {
    sqlx::query_scalar(WORKS).bind(&code.0[..]).bind(now.0).fetch_one(readers).await
}

/// Uses a code up.
pub(super) async fn use_up(db: &mut SqliteConnection, code: TokenHash) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM invite WHERE code_hash = ?1").bind(&code.0[..]).execute(db).await.map(drop)
}

/// The first codes after this one that work now.
pub(super) async fn list(readers: &SqlitePool, after: InviteId, now: Timestamp) -> sqlx::Result<Vec<StoredInvite>> {
    let rows: Vec<(i64, String, i64, i64)> =
        sqlx::query_as(LIST).bind(after.0).bind(now.0).bind(PAGE).fetch_all(readers).await?;
    let invite = |(id, label, created_at, expires_at)| StoredInvite {
        id: InviteId(id),
        label,
        created_at: Timestamp(created_at),
        expires_at: Timestamp(expires_at),
    };
    Ok(rows.into_iter().map(invite).collect())
}
