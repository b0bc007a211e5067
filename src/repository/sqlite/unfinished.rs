//! Files that are being made under a name of their own, which says by which process. What a process that was killed has
//! left is removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::paths::{companion_path, directory_of};

/// After the name of what is made; a process number follows.
const UNFINISHED: &str = ".unfinished-";

/// A file under way. Unless it gets its name it goes.
pub(super) struct Unfinished {
    pub(super) path: PathBuf,
    /// Locked, so that nobody takes it for an abandoned one.
    pub(super) file: File,
}

impl Unfinished {
    /// Makes the file, empty.
    pub(super) fn of(finished: &Path) -> io::Result<Unfinished> {
        let path = path_of(finished, std::process::id());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let unfinished = Unfinished { path, file };
        unfinished.file.try_lock()?;
        Ok(unfinished)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Where it has got its name it is not here any more.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(companion_path(&self.path, "-journal"));
    }
}

/// Where a process makes this file.
pub(super) fn path_of(finished: &Path, process: u32) -> PathBuf {
    companion_path(finished, &format!("{UNFINISHED}{process}"))
}

/// Removes what processes that were killed have left in the directory of this file.
pub(super) fn clear(finished: &Path) {
    for entry in fs::read_dir(directory_of(finished)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((_, pid)) = name.rsplit_once(UNFINISHED) else { continue };
        let pid = pid.strip_suffix("-journal").unwrap_or(pid);
        if let Ok(pid) = pid.parse()
            && kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)
            && is_left(&entry.path())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a file is empty or begins as SQLite's databases and journals do, a journal also with zeros, and nobody holds
/// it.
fn is_left(path: &Path) -> bool {
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let Ok(mut file) = open else { return false };
    let mut head = [0; 8];
    let is_ours = match file.read_exact(&mut head) {
        Ok(()) => [*b"SQLite f", [0; 8]].contains(&head) || head == *b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",
        Err(error) => error.kind() == ErrorKind::UnexpectedEof && file.metadata().is_ok_and(|file| file.len() == 0),
    };
    is_ours && file.try_lock().is_ok()
}
