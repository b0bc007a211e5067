//! A new database. It is made whole under another name and gets its own only then, so one that is interrupted leaves
//! nothing at that name, and the next one begins anew.

use std::fs::{self, File};
use std::path::Path;

use sqlx::Connection;

use super::companion::OF_SQLITE;
use super::paths::{companion_path, failed, remove, sync_directory_of};
use super::{compaction, schema};
use crate::repository::{OpenError, StoreOptions};

/// Makes a database where there is none, or one that was never finished. The caller holds the lock.
pub(super) async fn make(database: &Path, options: &StoreOptions) -> Result<(), OpenError> {
    let making = companion_path(database, ".making");
    remove(&making)?;
    for suffix in OF_SQLITE {
        remove(&companion_path(&making, suffix))?;
    }
    compaction::prepare(&making, options).await?;
    let mut db = schema::writer(&making, options).await?;
    schema::migrate(&making, &mut db).await?;
    // The last connection brings the WAL into the file and removes it.
    db.close().await.map_err(|e| failed(&making, e))?;
    if companion_path(&making, "-wal").metadata().is_ok_and(|wal| wal.len() > 0) {
        return Err(failed(&making, "another process has it open"));
    }
    File::open(&making).and_then(|file| file.sync_all()).map_err(|e| failed(&making, e))?;
    // What an unfinished database left would be taken for this one's.
    for suffix in OF_SQLITE {
        remove(&companion_path(&making, suffix))?;
        remove(&companion_path(database, suffix))?;
    }
    fs::rename(&making, database).and_then(|()| sync_directory_of(database)).map_err(|e| failed(database, e))
}
