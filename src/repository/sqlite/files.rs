//! Checks the files of a database before SQLite opens them: whether chatd made the database, and who may read it.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::geteuid;

use super::paths::{companion_path, directory_of, failed, open_to_look, sync_directory_of};
use crate::repository::OpenError;

/// What lies where the database should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoundDatabase {
    /// Nothing, or a file with nothing in it.
    Nothing,
    /// A whole SQLite database, whoever's.
    Database,
}

/// Looks at the file without SQLite, which might write to it.
pub(super) fn look(database: &Path) -> Result<FoundDatabase, OpenError> {
    let foreign = |why: &str| OpenError::Foreign { path: database.to_owned(), why: why.to_owned() };
    let mut file = match open_to_look(database) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(FoundDatabase::Nothing),
        Err(e) => return Err(failed(database, e)),
    };
    let metadata = file.metadata().map_err(|e| failed(database, e))?;
    if !metadata.is_file() {
        return Err(foreign("not a file"));
    }
    if metadata.permissions().mode() & 0o200 == 0 {
        return Err(foreign("the file is read-only"));
    }
    if metadata.len() == 0 {
        return Ok(FoundDatabase::Nothing);
    }
    let mut header = [0; 100];
    if file.read_exact(&mut header).is_err() || !header.starts_with(b"SQLite format 3\0") {
        return Err(foreign("not a database"));
    }
    // <https://sqlite.org/fileformat.html>: the page size at 16 (1 stands for 65,536) and the number of pages at 28.
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => u64::from(size),
    };
    let pages = u64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]]));
    // While there is a WAL, the file may well be shorter: the rest is in the WAL.
    let no_log = fs::metadata(companion_path(database, "-wal")).map_or(true, |log| log.len() == 0);
    if no_log && page * pages > metadata.len() {
        return Err(foreign(&format!("the database is truncated: {} bytes of {}", metadata.len(), page * pages)));
    }
    Ok(FoundDatabase::Database)
}

/// Makes the directory for a new database. Only its owner can read it.
pub(super) fn make_directory(database: &Path) -> Result<(), OpenError> {
    let directory = directory_of(database);
    if directory.is_dir() {
        return Ok(());
    }
    let missing = directory.ancestors().take_while(|it| !it.as_os_str().is_empty() && !it.is_dir()).collect::<Vec<_>>();
    let made = std::os::unix::fs::DirBuilderExt::mode(fs::DirBuilder::new().recursive(true), 0o700).create(directory);
    made.map_err(|e| failed(directory, e))?;
    // A database in a directory that the disk does not know of is lost with the power.
    missing.iter().try_for_each(|made| sync_directory_of(made).map_err(|e| failed(made, e)))
}

/// The owner of a directory can replace any file in it. So a server does not use the directory of another user, and
/// root uses none in which others may write.
pub(super) fn check_directory(database: &Path) -> Result<(), OpenError> {
    let directory = directory_of(database);
    let metadata = fs::metadata(directory).map_err(|e| failed(directory, e))?;
    let (me, owner) = (geteuid().as_raw(), metadata.uid());
    let why = if owner != me && owner != 0 {
        match me {
            0 => format!(
                "this directory is user {owner}'s: root serves only in a directory of root's; serve as that user"
            ),
            _ => format!("this directory is user {owner}'s: serve as that user, or in a directory of your own"),
        }
    } else if me == 0 && metadata.mode() & 0o022 != 0 {
        "others may write in this directory, so root does not serve in it: `chmod go-w` it, or use another".to_owned()
    } else if me == 0 {
        return check_ways_to(directory);
    } else {
        return Ok(());
    };
    Err(OpenError::Refused { path: directory.to_owned(), why })
}

/// A user who may rename a directory in the path of the database can replace it by another one.
fn check_ways_to(directory: &Path) -> Result<(), OpenError> {
    for above in directory.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        let metadata = fs::metadata(above).map_err(|e| failed(above, e))?;
        // In a sticky directory nobody renames what is another's.
        if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 && metadata.mode() & 0o1000 == 0 {
            let why = format!(
                "others may rename what lies in this directory, so root does not serve in {}",
                directory.display()
            );
            return Err(OpenError::Refused { path: above.to_owned(), why });
        }
    }
    Ok(())
}

/// Takes a database and its companions from everybody but the owner. Gives those that were open to others.
pub(super) fn close_to_others(database: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut mended = Vec::new();
    for path in ["", "-wal", "-shm", ".lock", ".reserve"].map(|suffix| companion_path(database, suffix)) {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        // Where a link is, whoever opens the file says so.
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            let owners = Mode::S_IRUSR | Mode::S_IWUSR;
            fchmodat(AT_FDCWD, &path, owners, FchmodatFlags::NoFollowSymlink).map_err(|e| failed(&path, e))?;
            mended.push(path);
        }
    }
    Ok(mended)
}
