//! Room on the file system, and what of it is set aside.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::statvfs::statvfs;

use super::paths::beside;

/// Room for the database, in bytes: on the file system for an ordinary user, and within the size that this process may give
/// to a file.
pub fn free_bytes(database: &Path) -> io::Result<u64> {
    let directory = database.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let vfs = statvfs(directory)?;
    let free = vfs.blocks_available() * vfs.fragment_size();
    match getrlimit(Resource::RLIMIT_FSIZE)?.0 {
        RLIM_INFINITY => Ok(free),
        most => {
            let length = |suffix| fs::metadata(beside(database, suffix)).map_or(0, |file| file.len());
            Ok(free.min(most.saturating_sub(length("").max(length("-wal")))))
        }
    }
}

/// Space set aside, so that on a full disk what was read can still be taken off the queue.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
}

/// How much is set aside: SQLite's log between two checkpoints fits in.
const RESERVE_BYTES: usize = 8 << 20;

impl Reserve {
    /// The reserve beside a database; not made yet.
    pub fn beside(database: &Path) -> Reserve {
        Reserve { path: beside(database, ".reserve") }
    }

    /// Sets the space aside, if it is not already.
    pub fn fill(&self) -> io::Result<()> {
        if fs::metadata(&self.path).is_ok_and(|file| file.len() == RESERVE_BYTES as u64) {
            return Ok(());
        }
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
            // Written, not fallocated: every file system keeps the promise then.
            file.write_all(&vec![0; RESERVE_BYTES])
        };
        let written = write();
        if written.is_err() {
            self.spend();
        }
        written
    }

    /// Gives the space back to the file system. `true`: there was some.
    pub fn spend(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}
