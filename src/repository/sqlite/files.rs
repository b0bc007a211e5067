//! The files around a database: where it is, who holds it, who may read it, and whether it is one of ours before SQLite
//! is let near it. Runs no SQL.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::statvfs::statvfs;

use crate::repository::OpenError;

/// Is there from a failure of the disk until the next start.
const FAILED: &str = ".failed";
/// Who has the database open holds this byte of its shared memory: SQLite's UNIX_SHM_DMS.
const DEAD_MAN_SWITCH: libc::off_t = 128;

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

pub(super) fn failed(path: &Path, why: impl std::fmt::Display) -> OpenError {
    OpenError::Failed { path: path.to_owned(), why: why.to_string() }
}

/// The right to be the one server of a database, for as long as it is kept.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or says which process has it. An admin command may hold it for a moment; that is waited for.
    pub fn take(database: &Path) -> Result<Lock, OpenError> {
        let path = beside(database, ".lock");
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = opened.map_err(|e| failed(&path, e))?;
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(failed(&path, e)),
                Err(TryLockError::WouldBlock) => {
                    let mut pid = String::new();
                    file.rewind().and_then(|()| file.read_to_string(&mut pid)).map_err(|e| failed(&path, e))?;
                    if !pid.trim().is_empty() || Instant::now() > deadline {
                        return Err(OpenError::InUse { path: database.to_owned(), pid: pid.trim().to_owned() });
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
        // A process that was killed has left its number.
        file.set_len(0).map_err(|e| failed(&path, e))?;
        Ok(Lock { _file: file })
    }

    /// Writes down whose lock it is, for those who come and find it taken.
    pub fn sign(&mut self) -> io::Result<()> {
        self._file.set_len(0)?;
        self._file.rewind()?;
        writeln!(self._file, "{}", std::process::id())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Whoever takes the lock next for a moment does not sign it.
        let _ = self._file.set_len(0);
    }
}

/// Tells the next server that the disk failed under this one. That need not survive the machine, because it is of use only
/// for as long as processes from before do.
pub fn note_failure(database: &Path, why: &str) -> io::Result<()> {
    let path = beside(database, FAILED);
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(why.as_bytes())
}

/// Whether the disk failed and no server has begun since.
pub fn failure_is_noted(database: &Path) -> bool {
    beside(database, FAILED).exists()
}

/// A server that begins makes up for the failure.
pub fn forget_failure(database: &Path) -> io::Result<()> {
    match fs::remove_file(beside(database, FAILED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// After a failure the whole log is to be copied to the database again, and SQLite does that only if it is opened while
/// nobody has it open. Says who has. Opens a file whose locks are SQLite's, so this process must not have the database open.
pub fn nobody_is_left_from_before(database: &Path) -> Result<(), OpenError> {
    let path = beside(database, "-shm");
    let shared_memory = match OpenOptions::new().read(true).write(true).open(&path) {
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

/// What lies where the database should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or a file with nothing in it.
    Nothing,
    /// A whole SQLite database, whoever's.
    Database,
}

/// Looks at the file without SQLite, which might write to it.
pub fn look(database: &Path) -> Result<Found, OpenError> {
    let foreign = |why: &str| OpenError::Foreign { path: database.to_owned(), why: why.to_owned() };
    let mut file = match File::open(database) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
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
        return Ok(Found::Nothing);
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
    // While there is a log, the file may well be shorter: the rest is in the log.
    let no_log = fs::metadata(beside(database, "-wal")).map_or(true, |log| log.len() == 0);
    if no_log && page * pages > metadata.len() {
        return Err(foreign(&format!("the database is truncated: {} bytes of {}", metadata.len(), page * pages)));
    }
    Ok(Found::Database)
}

/// Makes the directory of a database that is to be made; its own and nobody else's to read.
pub fn make_directory(database: &Path) -> Result<(), OpenError> {
    let Some(directory) = database.parent().filter(|d| !d.as_os_str().is_empty()) else { return Ok(()) };
    if directory.is_dir() {
        return Ok(());
    }
    let made = std::os::unix::fs::DirBuilderExt::mode(fs::DirBuilder::new().recursive(true), 0o700).create(directory);
    made.map_err(|e| failed(directory, e))
}

/// Takes a database and its companions from everybody but the owner. Gives those that were open to others.
pub fn close_to_others(database: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut mended = Vec::new();
    for path in ["", "-wal", "-shm", ".lock", ".reserve"].map(|suffix| beside(database, suffix)) {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(|e| failed(&path, e))?;
            mended.push(path);
        }
    }
    Ok(mended)
}

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
