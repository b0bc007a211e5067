//! The note beside a database whose restore is decided and not finished. Everybody who opens a database reads it first,
//! so this file does not depend on the restore itself.

use std::path::Path;

use super::paths::companion_path;
use crate::repository::OpenError;

/// The note that the copy is to have its place. What is in it is appended to the name of the former database.
pub(super) const NOTE: &str = ".restore";

/// Whether a restore was interrupted after the step that decides.
pub(super) fn is_unfinished(database: &Path) -> bool {
    companion_path(database, NOTE).symlink_metadata().is_ok()
}

/// The message for a command that only reads a database whose restore is not finished.
pub(super) fn check_unfinished(database: &Path) -> Result<(), OpenError> {
    if !is_unfinished(database) {
        return Ok(());
    }
    let why = "a restore is under way or was interrupted: `chatd serve` and `chatd db migrate` finish it".to_owned();
    Err(OpenError::Refused { path: database.to_owned(), why })
}
