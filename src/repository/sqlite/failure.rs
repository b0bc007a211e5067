//! That the disk failed, noted for the next start.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};

use super::companion;
use super::paths::{companion_path, failed};
use crate::repository::OpenError;

/// Is there from a failure of the disk until the next start.
const FAILED: &str = ".failed";
/// Who has the database open holds this byte of its shared memory: SQLite's UNIX_SHM_DMS.
const DEAD_MAN_SWITCH: libc::off_t = 128;

/// Tells the next server that the disk failed under this one. That need not survive the machine, because it is of use
/// only for as long as processes from before do.
pub(super) fn note_failure(database: &Path, why: &str) -> io::Result<()> {
    companion::write(&companion_path(database, FAILED), why.as_bytes()).map(drop)
}

/// Whether the disk failed and no server has begun since.
pub(super) fn failure_is_noted(database: &Path) -> bool {
    companion_path(database, FAILED).exists()
}

/// A server that begins makes up for the failure.
pub(super) fn forget_failure(database: &Path) -> io::Result<()> {
    match fs::remove_file(companion_path(database, FAILED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// After a failure the whole WAL must be copied to the database again. SQLite does that only if it opens a database
/// that nobody else has open. If another process has it open, the error names that process. Call it only while this
/// process does not have the database open, because it opens a file that carries SQLite's locks.
pub(super) fn nobody_is_left_from_before(database: &Path) -> Result<(), OpenError> {
    let path = companion_path(database, "-shm");
    let shared_memory = match OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(&path, error)),
    };
    let byte = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: DEAD_MAN_SWITCH,
        l_len: 1,
        l_pid: 0,
    };
    let mut holder = byte;
    fcntl(&shared_memory, FcntlArg::F_GETLK(&mut holder)).map_err(|error| failed(&path, error))?;
    if holder.l_type == libc::F_UNLCK as libc::c_short {
        return Ok(());
    }
    let pid = holder.l_pid;
    Err(failed(database, format!("the disk failed, and process {pid} has had the database open since: end it first")))
}
