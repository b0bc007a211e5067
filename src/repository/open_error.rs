//! Why a store is not opened.

use std::path::PathBuf;

/// What a URL begins with; the rest may have a password in it.
fn kind(url: &str) -> String {
    url.split_once("://").map_or("it names no kind of database".to_owned(), |(kind, _)| format!("{kind}://"))
}

/// Why a store could not be opened: one line for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no backend that is built in.
    #[error("database.url: {}: only sqlite://PATH and postgres://USER@HOST/DATABASE are supported", kind(.0))]
    Url(String),
    #[error("{path}: the database is in use by another chatd, process {pid}")]
    InUse {
        path: PathBuf,
        /// The other's process number, or `?`.
        pid: String,
    },
    /// There is no such database, and it is not to be made.
    #[error("{0}: there is no database here yet: `chatd serve` or `chatd user add` makes it")]
    Missing(PathBuf),
    /// Not a database of chatd's.
    #[error("{path}: {why}; the file was left as it is")]
    Foreign { path: PathBuf, why: String },
    /// Something is in the way that somebody has to see to.
    #[error("{path}: {why}")]
    Refused {
        path: PathBuf,
        /// What it is, and the remedy.
        why: String,
    },
    #[error(
        "{path}: the database has schema {found}, this chatd knows up to {known}: install a newer chatd; the file was left as it is"
    )]
    Newer {
        path: PathBuf,
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    #[error("{path}: {why}")]
    Failed { path: PathBuf, why: String },
}
