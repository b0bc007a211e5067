//! Room on the file system, and what of it is set aside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use tracing::warn;

use super::companion;
use super::direct::{Failure, WalConnection};
use super::paths::{companion_path, directory_of};
use crate::repository::OpenError;

/// Room for more of a database, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// For each of its files: on the file system for an ordinary user, and within the size that this process may give
    /// to a file.
    pub on_disk: u64,
    /// The same for the WAL alone.
    for_wal: u64,
    /// The same for the database alone, with what is free inside.
    for_database: u64,
}

impl Room {
    /// The room of a database that has so many free bytes inside.
    pub(super) fn of(database: &Path, inside: u64) -> io::Result<Room> {
        let vfs = statvfs(directory_of(database))?;
        let free = vfs.blocks_available() * vfs.fragment_size();
        let most = getrlimit(Resource::RLIMIT_FSIZE)?.0;
        let room = |suffix| match most {
            RLIM_INFINITY => free,
            most => free
                .min(most.saturating_sub(fs::metadata(companion_path(database, suffix)).map_or(0, |file| file.len()))),
        };
        let (for_database, for_wal) = (room(""), room("-wal"));
        let on_disk = for_database.min(for_wal);
        Ok(Room { on_disk, for_wal, for_database: for_database.saturating_add(inside) })
    }

    /// Whether messages are accepted when `least` bytes must stay free. Free room inside the database can hold
    /// messages, but it cannot hold the WAL, which every message needs first.
    pub(super) fn suffices(&self, least: u64) -> bool {
        self.for_database >= least.max(LEAST) && self.for_wal >= least.clamp(LEAST, FOR_WAL)
    }
}

/// Room for the database, in bytes, without what is free inside.
pub(super) fn free_bytes(database: &Path) -> io::Result<u64> {
    Room::of(database, 0).map(|room| room.on_disk)
}

/// What is free inside a database, in bytes.
pub(super) async fn free_inside(db: &mut WalConnection) -> Result<u64, Failure> {
    let sql = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size";
    db.row(sql, |row| row.get::<_, i64>(0)).await.map(|bytes| u64::try_from(bytes).unwrap_or(0))
}

const RESERVE: &str = ".reserve";

/// The reserve: space that is set aside, so that on a full disk messages that were read can still leave the queue.
#[derive(Debug)]
pub(super) struct DiskReserve {
    path: PathBuf,
}

/// Without this much SQLite cannot even write one message to its WAL.
const LEAST: u64 = 64 << 10;
/// With this much the WAL takes in the longest message, and what was removed.
const FOR_WAL: u64 = 8 << 20;

/// How much is set aside: SQLite's log between two checkpoints fits in.
const RESERVE_BYTES: usize = 8 << 20;
/// What stays of the reserve for a start on a disk that is still full, because SQLite makes files then.
const KEPT_BYTES: u64 = 256 << 10;
/// With less than this SQLite may not be able to open a database.
const NEEDED_TO_START: u64 = 1 << 20;

/// Frees the reserve before a database is opened on a full disk.
pub(super) fn make_room_to_start(database: &Path) {
    if free_bytes(database).is_ok_and(|free| free < NEEDED_TO_START)
        && fs::remove_file(companion_path(database, RESERVE)).is_ok()
    {
        warn!("no space on the disk: what was set aside is given back for the start");
    }
}

/// Says of a failure on a full disk that it may come from that.
pub(super) fn explain(error: OpenError) -> OpenError {
    match error {
        OpenError::Failed { path, why } if free_bytes(&path).is_ok_and(|free| free < NEEDED_TO_START) => {
            OpenError::Failed { path, why: format!("{why}: there is no space left on the disk") }
        }
        error => error,
    }
}

impl DiskReserve {
    /// The reserve beside a database; not made yet.
    pub(super) fn beside(database: &Path) -> DiskReserve {
        DiskReserve { path: companion_path(database, RESERVE) }
    }

    /// Sets the space aside, if it is not already.
    pub(super) fn fill(&self) -> io::Result<()> {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.is_file() && file.len() == RESERVE_BYTES as u64) {
            return Ok(());
        }
        // Written, not fallocated: every file system keeps the promise then.
        let written = companion::write(&self.path, &vec![0; RESERVE_BYTES]);
        if written.is_err() {
            self.spend();
        }
        written.map(drop)
    }

    /// Gives the space back to the file system, but for what the next start needs.
    pub(super) fn spend(&self) {
        if let Ok(Some(file)) = companion::open_existing(&self.path)
            && file.metadata().is_ok_and(|file| file.len() > KEPT_BYTES)
            && let Err(error) = file.set_len(KEPT_BYTES)
        {
            warn!(%error, "the space that was set aside could not be given back");
        }
    }
}
