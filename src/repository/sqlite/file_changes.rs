//! Files on their way into the database and out of it: a few statements each inside the writer's transaction.

use std::sync::Arc;
use std::time::Duration;

use sqlx::SqliteConnection;
use sqlx::types::Json;

use crate::model::{FileId, Timestamp};
use crate::repository::NewFile;

/// A change of what files there are.
#[derive(Clone)]
pub(super) enum FileChange {
    Add(NewFile),
    AddPiece(FileId, u32, Arc<[u8]>),
    /// How many bytes it came to have, and their SHA-256.
    Finish(FileId, u64, [u8; 32]),
    /// One that no message brings.
    Remove(FileId),
    /// Some that nobody can read any more.
    RemoveUnused,
}

/// How long a file may be there before a message brings it.
const UNSENT: Duration = Duration::from_secs(24 * 3_600);

const ADD: &str = "INSERT INTO file (sender, name, media_type, spelling, bytes, sha256, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const ADD_PIECE: &str = "INSERT INTO file_piece (file, place, data) VALUES (?1, ?2, ?3)";
const FINISH: &str = "UPDATE file SET bytes = ?2, sha256 = ?3 WHERE id = ?1";
const UNSENT_ONE: &str =
    "SELECT id FROM file WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE message.file = file.id)";
/// Files for which neither sender nor recipient of their messages exists any more. A few at a time, because others
/// wait.
const UNUSED: &str = "SELECT id FROM file WHERE created_at < ?1 AND NOT EXISTS (
        SELECT 1 FROM message m JOIN user u ON u.id IN (m.sender, m.target) AND u.removed_at IS NULL WHERE m.file = file.id)
    LIMIT 4";

impl FileChange {
    /// Runs the statements; gives the number of a new file, or how many were removed.
    pub(super) async fn run(self, db: &mut SqliteConnection, now: Timestamp) -> sqlx::Result<u64> {
        match self {
            FileChange::Add(new) => {
                let added = sqlx::query(ADD)
                    .bind(new.sender.0)
                    .bind(new.name.as_str())
                    .bind(new.name.media_type())
                    .bind(new.spelling.number())
                    .bind(i64::try_from(new.bytes).unwrap_or(i64::MAX))
                    .bind(&new.sha256[..])
                    .bind(now.0);
                Ok(added.execute(db).await?.last_insert_rowid().unsigned_abs())
            }
            FileChange::AddPiece(file, place, data) => {
                let added = sqlx::query(ADD_PIECE).bind(file.0).bind(i64::from(place)).bind(&data[..]);
                Ok(added.execute(db).await?.rows_affected())
            }
            FileChange::Finish(file, bytes, sha256) => {
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                let finished = sqlx::query(FINISH).bind(file.0).bind(bytes).bind(&sha256[..]);
                Ok(finished.execute(db).await?.rows_affected())
            }
            FileChange::Remove(file) => {
                let found = sqlx::query_scalar(UNSENT_ONE).bind(file.0).fetch_all(&mut *db).await?;
                remove(db, found).await
            }
            FileChange::RemoveUnused => {
                let found = sqlx::query_scalar(UNUSED).bind(now.before(UNSENT).0).fetch_all(&mut *db).await?;
                remove(db, found).await
            }
        }
    }
}

async fn remove(db: &mut SqliteConnection, files: Vec<i64>) -> sqlx::Result<u64> {
    for sql in [
        "DELETE FROM file_piece WHERE file IN (SELECT value FROM json_each(?1))",
        "DELETE FROM file WHERE id IN (SELECT value FROM json_each(?1))",
    ] {
        if !files.is_empty() {
            sqlx::query(sql).bind(Json(&files)).execute(&mut *db).await?;
        }
    }
    Ok(files.len() as u64)
}
