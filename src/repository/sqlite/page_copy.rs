//! A copy of the pages of a database, beside what its connection commits, with SQLite's online backup:
//! <https://sqlite.org/c3ref/backup_finish.html>. Only commits of other connections make it begin anew.
#![allow(unsafe_code)]

use std::path::Path;
use std::ptr::NonNull;

use rusqlite::{Connection, OpenFlags, ffi};

/// So often all pages are copied at the most, because others commit.
const MOST_TIMES: u64 = 8;
/// For a small database.
const PAGES_MORE: u64 = 10_000;

/// A copy that is being made. Drop it before the connection that it copies from.
pub(super) struct PageCopy {
    backup: Option<NonNull<ffi::sqlite3_backup>>,
    /// Closed after the copy.
    _to: Connection,
    copied: u64,
}

// SAFETY: SQLite is built for several threads (THREADSAFE=1); what is behind the pointer is used with `&mut` alone.
unsafe impl Send for PageCopy {}

impl PageCopy {
    /// Copies from `from` into an empty file.
    ///
    /// # Safety
    ///
    /// `from` is open, is used by this thread alone, and is not closed before this is dropped.
    pub(super) unsafe fn new(from: *mut ffi::sqlite3, to: &Path) -> rusqlite::Result<PageCopy> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let to = Connection::open_with_flags(to, flags)?;
        // Nobody wants a copy that is not whole.
        to.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
        let main = c"main".as_ptr();
        // SAFETY: both connections are open, and `to` is kept beside the backup.
        let backup = unsafe {
            // What is in memory may be better than what is on the disk.
            ffi::sqlite3_db_release_memory(from);
            ffi::sqlite3_backup_init(to.handle(), main, from, main)
        };
        match NonNull::new(backup) {
            Some(backup) => Ok(PageCopy { backup: Some(backup), _to: to, copied: 0 }),
            // SAFETY: `to` is open; SQLite leaves the error there.
            None => Err(failed(unsafe { ffi::sqlite3_errcode(to.handle()) })),
        }
    }

    /// Copies so many pages. `true`: that was all, and the copy is whole.
    pub(super) fn step(&mut self, pages: i32) -> rusqlite::Result<bool> {
        let Some(backup) = self.backup else { return Ok(true) };
        // SAFETY: the backup is not finished, and its connections are open.
        let (code, all) = unsafe {
            let code = ffi::sqlite3_backup_step(backup.as_ptr(), pages);
            (code, ffi::sqlite3_backup_pagecount(backup.as_ptr()))
        };
        self.copied += u64::from(pages.unsigned_abs());
        match code {
            ffi::SQLITE_OK if self.copied <= u64::from(all.unsigned_abs()) * MOST_TIMES + PAGES_MORE => Ok(false),
            ffi::SQLITE_DONE => match self.finish() {
                ffi::SQLITE_OK => Ok(true),
                code => Err(failed(code)),
            },
            ffi::SQLITE_OK => Err(failed(ffi::SQLITE_BUSY)),
            code => Err(failed(code)),
        }
    }

    fn finish(&mut self) -> i32 {
        match self.backup.take() {
            // SAFETY: it was not finished before, and its connections are open.
            Some(backup) => unsafe { ffi::sqlite3_backup_finish(backup.as_ptr()) },
            None => ffi::SQLITE_OK,
        }
    }
}

impl Drop for PageCopy {
    fn drop(&mut self) {
        self.finish();
    }
}

fn failed(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}
