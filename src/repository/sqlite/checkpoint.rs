//! Copies SQLite's log into the database beside the writer, on a connection of its own, so that a commit does not wait
//! some milliseconds whenever the WAL has grown by a thousand pages. While commits keep coming, such a checkpoint never
//! quite catches up, and only one that does lets the WAL begin anew; so when the WAL has grown long the writer does the
//! small rest itself. Measured: the WAL stays below 30 MB, and the longest wait of a commit falls by two thirds. SQLite
//! has the database file brought to the disk only by a checkpoint that catches up, with all that was copied before it,
//! so here that is done each time; what is left for the writer then takes 0.4 to 2 ms in place of 5 to 10.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Row;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::direct::{Failure, WalConnection};
use super::shared::Shared;

/// How often the WAL is looked at.
const EVERY: Duration = Duration::from_millis(50);
/// A log of this many pages is worth a checkpoint.
const WORTH: u64 = 500;
/// With this many pages the writer is asked to do the rest, so that the WAL can begin anew.
const LONG: u64 = 4_000;
/// With this many, whatever the checkpointer does, the writer tries to do it all: pages.
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

/// Checkpoints until `stop`, on a thread of its own. It needs nobody: without it the writer does it all.
pub(super) async fn run(mut db: WalConnection, shared: &Shared, stop: CancellationToken) {
    let log = &shared.log;
    let mut look = interval(EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            // First, because a runtime that is at its end has no clock.
            () = stop.cancelled() => break,
            _ = look.tick() => {}
        }
        if log.pages.load(Ordering::Relaxed) < WORTH || !shared.is_sound() {
            continue;
        }
        let pages = log.pages.swap(0, Ordering::Relaxed);
        match copy(&mut db).await {
            Ok(Some(length)) => log.length.store(length, Ordering::Relaxed),
            Ok(None) => _ = log.pages.fetch_add(pages, Ordering::Relaxed),
            Err(failure) => shared.note_checkpoint_failure(&failure),
        }
    }
    shared.close(db, "checkpointer").await;
}

/// Checkpoints and waits for the disk, so that the writer, when it does the rest, has little to wait for.
async fn copy(db: &mut WalConnection) -> Result<Option<u64>, Failure> {
    let length = checkpoint(db).await?;
    if length.is_some() {
        db.sync().await?;
    }
    Ok(length)
}

/// Copies what can be copied without waiting for anybody; gives how many pages the WAL has. `None`: another connection
/// is at it.
async fn checkpoint(db: &mut WalConnection) -> Result<Option<u64>, Failure> {
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (busy, length): (bool, i64) = db.row("PRAGMA wal_checkpoint(PASSIVE)", read).await?;
    Ok((!busy).then(|| u64::try_from(length).unwrap_or(0)))
}
