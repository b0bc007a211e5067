//! Where a database is, and what its companions are called.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::repository::OpenError;

/// The path in `sqlite://PATH`, without links: what lies beside a database lies beside the file itself, not beside a
/// link to it.
pub(crate) fn path_of(url: &str) -> Result<PathBuf, OpenError> {
    match url.strip_prefix("sqlite://") {
        Some(path) if !path.is_empty() && !path.contains('?') => resolve(Path::new(path)),
        _ => Err(OpenError::Url(url.to_owned())),
    }
}

fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    match fs::canonicalize(path) {
        Ok(file) => return Ok(file),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(path, error)),
        Err(_) => {}
    }
    if path.symlink_metadata().is_ok_and(|it| it.is_symlink()) {
        let why = "it is a link to a file that is not there".to_owned();
        return Err(OpenError::Refused { path: path.to_owned(), why });
    }
    match (fs::canonicalize(directory_of(path)), path.file_name()) {
        (Ok(directory), Some(name)) => Ok(directory.join(name)),
        // The directory is still to be made.
        _ => std::path::absolute(path).map_err(|e| failed(path, e)),
    }
}

/// The directory that a file lies in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Brings the names in the directory of a file to the disk.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// Removes a file, if it is there. `true`: it was.
pub(super) fn remove(path: &Path) -> Result<bool, OpenError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(path, error)),
    }
}

/// `database` with something after its name: SQLite's and our own companions.
pub(crate) fn companion_path(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens what lies in the place of a database, to look at it. A pipe that nobody writes to is not waited for.
pub(super) fn open_to_look(database: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(database)
}

/// That a file cannot be used, and why.
pub(super) fn failed(path: &Path, why: impl std::fmt::Display) -> OpenError {
    OpenError::Failed { path: path.to_owned(), why: why.to_string() }
}
