//! Who serves a database: one process at a time. Its number and the files that it has open stand in the lock file, so that
//! others can tell whether they look at the same ones.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::companion;
use super::identity::Identity;
use super::paths::{beside, failed};
use crate::repository::OpenError;

/// What stands in the lock file: the number of the process that serves, in the first line, and its files.
#[derive(Debug, Default)]
struct Note {
    pid: String,
    files: Option<Identity>,
}

impl Note {
    fn read(mut file: &File) -> io::Result<Note> {
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        let (pid, files) = text.split_once('\n').unwrap_or((&text, ""));
        Ok(Note { pid: pid.trim().to_owned(), files: files.trim().parse().ok() })
    }

    fn write(&self, mut file: &File) -> io::Result<()> {
        let mut text = format!("{}\n", self.pid);
        if let Some(files) = self.files {
            text.push_str(&format!("{files}\n"));
        }
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    }
}

/// The right to be the one server of a database, for as long as it is kept.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// The files of the last server, if it did not stop in good order; then those of this one.
    files: Option<Identity>,
    /// Whether the note has nothing to say to the next server.
    is_done_with: bool,
    /// Keeps a server away that comes by another name of the same database.
    _database: Option<File>,
}

impl Lock {
    /// Takes the lock, or says which process has it. An admin command may hold it for a moment; that is waited for.
    pub fn take(database: &Path) -> Result<Lock, OpenError> {
        let path = beside(database, ".lock");
        let file = companion::open(&path).map_err(|e| failed(&path, e))?;
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(failed(&path, e)),
                Err(TryLockError::WouldBlock) => {
                    let pid = Note::read(&file).map_err(|e| failed(&path, e))?.pid;
                    if !pid.is_empty() || Instant::now() > deadline {
                        return Err(OpenError::InUse { path: database.to_owned(), pid });
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
        let files = Note::read(&file).map_err(|e| failed(&path, e))?.files;
        // A process that was killed has left its number.
        match files {
            Some(_) => Note { pid: String::new(), files }.write(&file),
            None => file.set_len(0),
        }
        .map_err(|e| failed(&path, e))?;
        Ok(Lock { file, files, is_done_with: files.is_none(), _database: None })
    }

    /// Takes the lock of the file itself, whatever it is called. To be called before SQLite opens it, and the lock is to be
    /// kept until SQLite has closed it: a process that closes any handle of a file loses SQLite's locks on it.
    pub fn hold(&mut self, database: &Path) -> Result<(), OpenError> {
        let file = match File::open(database) {
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
    pub fn check_wal(&self, database: &Path) -> Result<(), OpenError> {
        let Some(former) = self.files else { return Ok(()) };
        let path = beside(database, "-wal");
        let is_empty = path.metadata().map_or(true, |wal| wal.len() == 0);
        let present = Identity::of(database).map_err(|e| failed(database, e))?;
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

    /// Writes down whose lock it is, and which files are open, for those who come and find it taken.
    pub fn sign(&mut self, files: Option<Identity>) -> io::Result<()> {
        self.files = files;
        self.is_done_with = true;
        Note { pid: std::process::id().to_string(), files }.write(&self.file)
    }

    /// Leaves the note for the next server.
    pub fn keep_note(&mut self) {
        self.is_done_with = false;
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Whoever takes the lock next for a moment does not sign it.
        let _ = match (self.is_done_with, self.files) {
            (false, Some(files)) => Note { pid: String::new(), files: Some(files) }.write(&self.file),
            _ => self.file.set_len(0),
        };
    }
}

/// Refuses where a server runs whose files are not those that lie here now: what is in them is not what it serves.
pub fn check_files_of_server(database: &Path) -> Result<(), OpenError> {
    let Ok(file) = File::open(beside(database, ".lock")) else { return Ok(()) };
    // What nobody holds is the note of a process that is gone.
    if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        return Ok(());
    }
    let Ok(Note { pid, files: Some(files) }) = Note::read(&file) else { return Ok(()) };
    match files.change(database) {
        Some(change) if !pid.is_empty() => {
            let why = format!("{change} while process {pid} serves it: what lies here is not what that server has");
            Err(OpenError::Refused { path: database.to_owned(), why })
        }
        _ => Ok(()),
    }
}
