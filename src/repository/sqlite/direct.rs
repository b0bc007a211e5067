//! A connection that writes, and that can also be used without a change of threads. sqlx runs each statement on another
//! thread, and needs two messages between the threads. So the statements for each message, and checkpoints, go to the
//! same connection directly. All other statements use sqlx. Measured: a single `send` takes 0.16 ms instead of 0.19.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::cell::Cell;
use std::io;
use std::path::Path;
use std::ptr::null_mut;

use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Params, Row, ffi};
use sqlx::{Connection, SqliteConnection};
use tracing::trace;

use super::packed::Unfit;
use super::page_copy::PageCopy;

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    #[error(transparent)]
    Direct(#[from] rusqlite::Error),
    /// A number that no row has room for; nothing was given to SQLite.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A file may not grow, though the disk has room.
    #[error("no space for a file of this size: {0}")]
    NoSpace(io::Error),
}

impl Failure {
    /// SQLite's extended result code, where it is SQLite that failed.
    pub(super) fn code(&self) -> Option<i32> {
        match self {
            Failure::Sqlx(error) => error.as_database_error()?.code()?.parse().ok(),
            Failure::Direct(error) => Some(error.sqlite_error()?.extended_code),
            Failure::Unfit(_) => None,
            Failure::NoSpace(_) => Some(FULL),
        }
    }

    /// Whether it is unknown what is on the disk. Then nothing may be tried again: after a failed fsync the kernel may
    /// report the same data as written.
    pub(super) fn is_fatal(&self) -> bool {
        self.is_of_a_thread() || self.code().is_some_and(|code| FATAL.contains(&code))
    }

    /// Whether sqlx's thread is gone. Then every statement after this one fails, too.
    pub(super) fn is_of_a_thread(&self) -> bool {
        matches!(self, Failure::Sqlx(sqlx::Error::WorkerCrashed))
    }
}

/// SQLite's result code for a full disk.
const FULL: i32 = 13;
/// IOERR_WRITE.
const NOT_WRITTEN: i32 = 778;

/// CORRUPT, NOTADB, IOERR_WRITE, IOERR_FSYNC, IOERR_DIR_FSYNC: <https://sqlite.org/rescode.html>.
const FATAL: [i32; 5] = [11, 26, 778, 1034, 1290];

thread_local! {
    /// Pages in the WAL after the last commit on this thread.
    static LOG_PAGES: Cell<u64> = const { Cell::new(0) };
    /// The same, until it is taken.
    static COMMITTED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Under this name sqlx logs each of its statements, and what is done here is logged too.
const STATEMENTS: &str = "sqlx::query";

/// A connection for both.
pub(super) struct WalConnection {
    /// Before the connection that it copies from, for the same reason as the next.
    copy: Option<PageCopy>,
    /// Declared first, because its statements must be gone before the connection is.
    direct: rusqlite::Connection,
    sqlx: SqliteConnection,
    /// sqlx's thread was given something to do since it was last made sure that it rests.
    lent: bool,
}

impl WalConnection {
    pub(super) async fn new(mut sqlx: SqliteConnection) -> Result<WalConnection, Failure> {
        let handle = sqlx.lock_handle().await?.as_raw_handle();
        // SAFETY: the handle lives for as long as `sqlx`, which is dropped after `direct`. It is used by one thread at
        // a time: sqlx's touches it only between a command and its end; `&mut self` lets nobody give it one meanwhile,
        // and every method here waits for the end of the last.
        let direct = unsafe { rusqlite::Connection::from_handle(handle.as_ptr()) }?;
        // Replaces SQLite's own checkpoints, because these do not report that the disk failed.
        direct.wal_hook(Some(|_, pages| {
            let pages = u64::try_from(pages).unwrap_or(0);
            LOG_PAGES.set(pages);
            COMMITTED.set(Some(pages));
            Ok(())
        }));
        Ok(WalConnection { copy: None, direct, sqlx, lent: false })
    }

    pub(super) fn sqlx(&mut self) -> &mut SqliteConnection {
        self.lent = true;
        &mut self.sqlx
    }

    /// Why a statement of this connection failed. SQLite recognises only a full disk. Here a write over the file size
    /// limit of the process, or over the quota, counts as a full disk, too: nothing was written.
    pub(super) fn explained(&self, failure: Failure) -> Failure {
        if failure.code() != Some(NOT_WRITTEN) {
            return failure;
        }
        // SAFETY: the connection is open, and the call only reads from it.
        let errno = unsafe { ffi::sqlite3_system_errno(self.direct.handle()) };
        match errno {
            libc::EFBIG | libc::EDQUOT => Failure::NoSpace(io::Error::from_raw_os_error(errno)),
            _ => failure,
        }
    }

    /// Carries out one statement on this thread; gives how many rows it changed.
    pub(super) async fn execute(&mut self, sql: &str, values: impl Params) -> Result<usize, Failure> {
        self.rest().await?;
        let executed = self.direct.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        let changed = executed.map_err(|error| self.explained(error.into()))?;
        trace!(target: STATEMENTS, statement = sql, rows_affected = changed);
        Ok(changed)
    }

    /// Pages in the WAL after the last commit. For the thread that commits.
    pub(super) fn log_pages(&self) -> u64 {
        LOG_PAGES.get()
    }

    /// Pages in the WAL after the last commit since this was asked; `None`: nothing was written. For the thread that
    /// commits.
    pub(super) fn take_committed(&self) -> Option<u64> {
        COMMITTED.take()
    }

    /// Carries out one query of one row on this thread.
    pub(super) async fn row<T>(
        &mut self,
        sql: &str,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.rest().await?;
        let row = self.direct.prepare_cached(sql).and_then(|mut statement| statement.query_row([], read));
        let row = row.map_err(|error| self.explained(error.into()))?;
        trace!(target: STATEMENTS, statement = sql, rows_returned = 1);
        Ok(row)
    }

    /// Carries out one query on this thread, with `take` for each row.
    pub(super) async fn each(
        &mut self,
        sql: &str,
        values: impl Params,
        mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), Failure> {
        self.rest().await?;
        let mut statement = self.direct.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            take(row)?;
            count += 1;
        }
        trace!(target: STATEMENTS, statement = sql, rows_returned = count);
        Ok(())
    }

    /// A statement that reads on this thread, for whoever does something else between two rows. Tell
    /// [`WalConnection::note_statement`] of it.
    pub(super) async fn statement(&mut self, sql: &str) -> Result<CachedStatement<'_>, Failure> {
        self.rest().await?;
        Ok(self.direct.prepare_cached(sql)?)
    }

    /// A statement found so many rows.
    pub(super) fn note_statement(&self, sql: &str, rows: u64) {
        trace!(target: STATEMENTS, statement = sql, rows_returned = rows);
    }

    /// Flushes the database file to the disk. SQLite does this only when the whole WAL has been copied.
    pub(super) async fn sync(&mut self) -> Result<(), Failure> {
        self.rest().await?;
        let mut file: *mut ffi::sqlite3_file = null_mut();
        // SAFETY: the connection is open, and nobody else uses it; it lends out the file of its main database, which it
        // has for as long as it is open.
        let code = unsafe {
            let handle = self.direct.handle();
            let asked = (&raw mut file).cast();
            match ffi::sqlite3_file_control(handle, c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER, asked) {
                ffi::SQLITE_OK => match (*(*file).pMethods).xSync {
                    Some(sync) => sync(file, ffi::SQLITE_SYNC_NORMAL),
                    None => ffi::SQLITE_OK,
                },
                code => code,
            }
        };
        match code {
            ffi::SQLITE_OK => Ok(()),
            code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()),
        }
    }

    /// Begins to copy what is committed into an empty file.
    pub(super) async fn begin_copy(&mut self, to: &Path) -> Result<(), Failure> {
        self.rest().await?;
        self.end_copy();
        // SAFETY: the connection is open and used by this thread alone; what copies from it is dropped before it is.
        self.copy = Some(unsafe { PageCopy::new(self.direct.handle(), to) }?);
        Ok(())
    }

    /// Copies so many pages more. `true`: the copy is whole, and what was committed meanwhile is in it.
    pub(super) async fn copy_pages(&mut self, pages: i32) -> Result<bool, Failure> {
        self.rest().await?;
        let stepped = self.copy.as_mut().map_or(Ok(true), |copy| copy.step(pages));
        if !matches!(stepped, Ok(false)) {
            self.end_copy();
        }
        Ok(stepped?)
    }

    /// Leaves a copy as it is.
    pub(super) fn end_copy(&mut self) {
        self.copy = None;
    }

    /// Makes SQLite keep the WAL when the connection is closed.
    pub(super) async fn keep_log(&mut self) -> Result<(), Failure> {
        self.rest().await?;
        self.direct.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(())
    }

    /// Closes the connection.
    pub(super) async fn close(mut self) -> sqlx::Result<()> {
        self.end_copy();
        drop(self.direct);
        self.sqlx.close().await
    }

    async fn rest(&mut self) -> sqlx::Result<()> {
        if std::mem::take(&mut self.lent) {
            self.sqlx.lock_handle().await?;
        }
        Ok(())
    }
}

/// A text. If it is damaged, only this one name is wrong.
pub(super) fn lossy<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<Cow<'a, str>> {
    Ok(String::from_utf8_lossy(row.get_ref(column)?.as_bytes()?))
}
