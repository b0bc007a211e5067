//! The length of the WAL, as the writer and the checkpointer know it. The checkpointer copies the WAL into the database
//! while commits go on, and never copies the very last pages. The WAL begins anew only when all are copied. So when the
//! WAL is long, the writer copies the small rest itself.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Row;

use super::direct::{Failure, WalConnection};

/// A log of this many pages is worth a checkpoint.
const WORTH: u64 = 500;
/// With this many pages the writer has to copy the rest, so that the WAL can begin anew.
const LONG: u64 = 4_000;
/// With this many pages the writer tries to copy all, whatever the checkpointer does.
const BACKSTOP: u64 = 16_000;

/// What the checkpointer and the writer tell each other.
#[derive(Debug, Default)]
pub(super) struct CheckpointState {
    /// Pages written since the last checkpoint, as the writer estimates them.
    pages: AtomicU64,
    /// Pages in the WAL when it was last copied beside the writer; 0 once the writer has done the rest.
    length: AtomicU64,
}

impl CheckpointState {
    /// The writer has committed about this many bytes.
    pub(super) fn wrote(&self, bytes: usize) {
        self.pages.fetch_add(4 + bytes as u64 / 3_500, Ordering::Relaxed);
    }

    /// Begins a checkpoint beside the writer, if the WAL is worth one; gives how many pages that takes off.
    pub(super) fn begin(&self) -> Option<u64> {
        let is_worth_it = self.pages.load(Ordering::Relaxed) >= WORTH;
        is_worth_it.then(|| self.pages.swap(0, Ordering::Relaxed))
    }

    /// Notes the result of the checkpoint that took so many pages: the length of the WAL, if it succeeded.
    pub(super) fn end(&self, pages: u64, length: Option<u64>) {
        match length {
            Some(length) => self.length.store(length, Ordering::Relaxed),
            None => _ = self.pages.fetch_add(pages, Ordering::Relaxed),
        }
    }

    /// Whether the writer, whose last commit left so many pages in the WAL, should do the rest now.
    pub(super) fn wants_the_rest(&self, pages: u64) -> bool {
        self.length.load(Ordering::Relaxed) >= LONG || pages >= BACKSTOP
    }

    /// The writer does the rest; its next commit then begins the WAL anew, if nobody is reading from it.
    pub(super) async fn finish(&self, db: &mut WalConnection) -> Result<(), Failure> {
        self.length.store(0, Ordering::Relaxed);
        checkpoint(db).await.map(|_| ())
    }
}

/// Copies what can be copied without waiting for anybody; gives how many pages the WAL has. `None`: another connection
/// is at it.
pub(super) async fn checkpoint(db: &mut WalConnection) -> Result<Option<u64>, Failure> {
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (busy, length): (bool, i64) = db.row("PRAGMA wal_checkpoint(PASSIVE)", read).await?;
    Ok((!busy).then(|| u64::try_from(length).unwrap_or(0)))
}
