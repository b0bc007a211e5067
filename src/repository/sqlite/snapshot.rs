//! The content of a database at one moment, as another file beside it. The server makes it, some pages at a time
//! between its commits. SQLite keeps the copied pages up to date with later commits. A long read of the database itself
//! would keep the WAL from beginning anew.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use super::paths::{companion_path, failed};
use super::unfinished::{self, Unfinished};
use super::{StoreOptions, companion, disk};
use crate::repository::OpenError;

/// A file beside a database for what the database holds. It goes when it is dropped.
pub(crate) struct Snapshot(Unfinished);

impl Snapshot {
    /// Makes the file, empty. `None`: there is no room for it.
    pub(crate) fn beside(database: &Path, options: &StoreOptions) -> Result<Option<Snapshot>, OpenError> {
        unfinished::clear(database);
        let wrong = |error| failed(database, error);
        let owner = fs::metadata(database).map_err(wrong)?;
        // All of the WAL may be new pages.
        let wal = fs::metadata(companion_path(database, "-wal")).map_or(0, |wal| wal.len());
        let needed = owner.len().saturating_add(wal).saturating_add(2 * options.min_free_bytes);
        if disk::free_bytes(database).map_err(wrong)? < needed {
            return Ok(None);
        }
        let unfinished = Unfinished::of(database).map_err(wrong)?;
        // The server writes it, and root may ask for it.
        fchown(&unfinished.file, Some(owner.uid()), Some(owner.gid())).map_err(wrong)?;
        Ok(Some(Snapshot(unfinished)))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }
}

/// The file that a process has made beside a database for this purpose.
pub(super) fn made_by(process: u32, database: &Path) -> io::Result<PathBuf> {
    let path = unfinished::path_of(database, process);
    match companion::open_existing(&path)? {
        Some(file) if file.metadata()?.len() == 0 => Ok(path),
        Some(_) => Err(io::Error::other("the file is not empty")),
        None => Err(ErrorKind::NotFound.into()),
    }
}
