//! Where a database is, and what its companions are called.

use std::path::{Path, PathBuf};

use crate::repository::OpenError;

/// The path in `sqlite://PATH`.
pub fn path_of(url: &str) -> Result<PathBuf, OpenError> {
    match url.strip_prefix("sqlite://") {
        Some(path) if !path.is_empty() && !path.contains('?') => Ok(PathBuf::from(path)),
        _ => Err(OpenError::Url(url.to_owned())),
    }
}

/// `database` with something after its name: SQLite's and our own companions.
pub fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// That a file cannot be used, and why.
pub(super) fn failed(path: &Path, why: impl std::fmt::Display) -> OpenError {
    OpenError::Failed { path: path.to_owned(), why: why.to_string() }
}
