//! Who serves a database: one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::paths::{beside, failed};
use crate::repository::OpenError;

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
