//! Only one process at a time serves a database. The lock file has the number of this process, its open files and the
//! last acknowledged message. So other processes can tell whether they see the same files, and the next server can tell
//! whether a message is missing.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::acknowledged::{self, Acknowledged};
use super::companion;
use super::identity::DatabaseIdentity;
use super::paths::{companion_path, failed, open_to_look};
use crate::model::MessageId;
use crate::repository::OpenError;

/// How long a command may hold the lock that does not serve: while it changes files, or sees whether anybody serves.
const PATIENCE: Duration = Duration::from_secs(5);

/// What stands in the lock file, each in a line: the number of the process that serves, its files, and what it
/// acknowledged.
#[derive(Debug, Default)]
struct LockNote {
    pid: String,
    files: Option<DatabaseIdentity>,
    acknowledged: Option<Acknowledged>,
}

impl LockNote {
    fn read(mut file: &File) -> io::Result<LockNote> {
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        let mut lines = text.split('\n').map(str::trim);
        let mut line = || lines.next().unwrap_or_default();
        Ok(LockNote { pid: line().to_owned(), files: line().parse().ok(), acknowledged: line().parse().ok() })
    }

    /// Gives the place of what was acknowledged.
    fn write(&self, mut file: &File) -> io::Result<u64> {
        let files = self.files.map(|files| files.to_string()).unwrap_or_default();
        let mut text = format!("{}\n{files}\n", self.pid);
        let place = text.len();
        if let Some(acknowledged) = self.acknowledged {
            text.push_str(&format!("{acknowledged}\n"));
        }
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)?;
        Ok(place as u64)
    }
}

/// The right to be the one server of a database, for as long as it is kept.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// The files of the last server, if it did not stop in good order; then those of this one.
    files: Option<DatabaseIdentity>,
    /// What that server acknowledged, as far as it is known.
    acknowledged: Option<Acknowledged>,
    /// Whether the note has nothing to say to the next server.
    is_done_with: bool,
    /// Keeps a server away that comes by another name of the same database.
    _database: Option<File>,
}

impl Lock {
    /// Takes the lock, or says which process has it. An admin command may hold it for a moment; that is waited for.
    pub(super) fn take(database: &Path) -> Result<Lock, OpenError> {
        let path = companion_path(database, ".lock");
        let file = companion::open(&path).map_err(|e| failed(&path, e))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(failed(&path, e)),
                Err(TryLockError::WouldBlock) => {
                    let pid = LockNote::read(&file).map_err(|e| failed(&path, e))?.pid;
                    if is_alive(&pid) || begun.elapsed() > PATIENCE {
                        return Err(OpenError::InUse { path: database.to_owned(), pid });
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
        let LockNote { files, acknowledged, .. } = LockNote::read(&file).map_err(|e| failed(&path, e))?;
        // A process that was killed has left its number.
        let is_done_with = files.is_none() && acknowledged.is_none();
        match is_done_with {
            false => LockNote { pid: String::new(), files, acknowledged }.write(&file).map(drop),
            true => file.set_len(0),
        }
        .map_err(|e| failed(&path, e))?;
        Ok(Lock { file, files, acknowledged, is_done_with, _database: None })
    }

    /// Takes the lock of the file itself, whatever its name. Call it before SQLite opens the file, and keep the lock
    /// until SQLite has closed it: when a process closes any handle of a file, it loses SQLite's locks on that file.
    pub(super) fn hold(&mut self, database: &Path) -> Result<(), OpenError> {
        let file = match open_to_look(database) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(|e| failed(database, e))?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(failed(database, e)),
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { path: database.to_owned(), pid: "? (it uses another name)".to_owned() });
            }
        }
        self._database = Some(file);
        Ok(())
    }

    /// Refuses a database in the place of the one that the last server had, where the WAL of that one is still there.
    pub(super) fn check_wal(&self, database: &Path) -> Result<(), OpenError> {
        let Some(former) = self.files else { return Ok(()) };
        let path = companion_path(database, "-wal");
        let is_empty = path.metadata().map_or(true, |wal| wal.len() == 0);
        let present = DatabaseIdentity::of(database).map_err(|e| failed(database, e))?;
        if is_empty || !former.left_its_wal_to(&present) {
            return Ok(());
        }
        let wal = path.display();
        let why = format!(
            "this is not the database that the last server had, but {wal} is of that one and would spoil it: put that \
             database back, or move {wal} away"
        );
        Err(OpenError::Refused { path: database.to_owned(), why })
    }

    /// What the last server acknowledged, if it did not stop in good order.
    pub(super) fn acknowledged(&self) -> Option<Acknowledged> {
        self.acknowledged
    }

    /// Writes down whose lock it is, which files are open and the last message in them, for those who come and find it
    /// taken. Gives where it is noted what is acknowledged.
    pub(super) fn sign_with(
        &mut self,
        files: DatabaseIdentity,
        database: &Path,
        last: MessageId,
    ) -> io::Result<acknowledged::AcknowledgedNote> {
        (self.files, self.acknowledged, self.is_done_with) = (Some(files), None, true);
        let acknowledged = Some(Acknowledged { last, wal: None });
        let note = LockNote { pid: std::process::id().to_string(), files: Some(files), acknowledged };
        let place = note.write(&self.file)?;
        acknowledged::AcknowledgedNote::new(self.file.try_clone()?, place, database, last)
    }

    /// The server closes the database in good order: SQLite takes the WAL away now. What was acknowledged stays noted
    /// until all is done.
    pub(super) fn sign_off(&mut self) -> io::Result<()> {
        (self.files, self.is_done_with) = (None, true);
        let note = LockNote { files: None, ..LockNote::read(&self.file)? };
        note.write(&self.file).map(drop)
    }

    /// Writes down whose lock it is for as long as it is held. What the last server noted is noted again then.
    pub(super) fn sign_for_now(&self) -> io::Result<()> {
        LockNote { pid: std::process::id().to_string(), files: None, acknowledged: self.acknowledged }
            .write(&self.file)
            .map(drop)
    }

    /// The files of the last server are not of use any more.
    pub(super) fn drop_note(&mut self) {
        self.is_done_with = true;
    }

    /// Leaves the note for the next server.
    pub(super) fn keep_note(&mut self) {
        self.is_done_with = false;
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removes our number. The next command that takes the lock for a moment writes none, and ours must not stand
        // for it.
        let _ = match self.is_done_with {
            false => LockNote::read(&self.file).and_then(|note| {
                LockNote { pid: String::new(), files: self.files, ..note }.write(&self.file).map(drop)
            }),
            true => self.file.set_len(0),
        };
    }
}

/// Whether a process with this number exists. A killed server has left its number, and does not serve any more.
fn is_alive(pid: &str) -> bool {
    pid.parse().is_ok_and(|pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}

/// Refuses where a server runs whose files are not those that lie here now: what is in them is not what it serves.
pub(super) fn check_files_of_server(database: &Path) -> Result<(), OpenError> {
    let Ok(file) = File::open(companion_path(database, ".lock")) else { return Ok(()) };
    // What nobody holds is the note of a process that is gone.
    if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        return Ok(());
    }
    let Ok(LockNote { pid, files: Some(files), .. }) = LockNote::read(&file) else { return Ok(()) };
    match files.change(database) {
        Some(change) if !pid.is_empty() => {
            let why = format!("{change} while process {pid} serves it: what lies here is not what that server has");
            Err(OpenError::Refused { path: database.to_owned(), why })
        }
        _ => Ok(()),
    }
}
