//! A database that is copied into another kind of store. Nobody serves it meanwhile, and nobody changes it.

use std::path::{Path, PathBuf};

use super::checksum::Unchecked;
use super::copied_tables::{self, RowsNotRead};
use super::direct::{Failure, WalConnection};
use super::lock::Lock;
use super::paths::failed;
use super::{StoreOptions, companion, schema};
use crate::repository::OpenError;
use crate::repository::copied::{CopiedReader, CopiedTable, RowsOut};

pub(crate) struct SqliteSource {
    path: PathBuf,
    db: WalConnection,
    unchecked: Unchecked,
    /// It is the last field, because SQLite must close its files first.
    _lock: Lock,
}

impl SqliteSource {
    /// Opens the database at a path, alone.
    pub(crate) async fn open(path: &Path, options: &StoreOptions) -> Result<SqliteSource, OpenError> {
        if path.symlink_metadata().is_err() {
            return Err(failed(path, "there is no such database"));
        }
        match schema::version(path, options).await? {
            None => return Err(failed(path, "there is no database in this file")),
            Some(found) if found < schema::known_version() => return Err(is_old(path, found)),
            Some(_) => {}
        }
        let mut lock = Lock::take(path)?;
        companion::check_those_of_sqlite(path)?;
        lock.check_wal(path)?;
        let acknowledged = lock.acknowledged();
        let is_cut_short = acknowledged.is_some_and(|noted| noted.is_cut_short(path).unwrap_or(true));
        lock.hold(path)?;
        lock.sign_for_now().map_err(|e| failed(path, e))?;
        let failed = |error: Failure| failed(path, error);
        let mut sqlite = schema::writer(path, options).await?;
        let unchecked = schema::unchecked(&mut sqlite).await.map_err(|e| failed(e.into()))?;
        let last = schema::progress(&mut sqlite).await.map_err(|e| failed(e.into()))?.next_id.0 - 1;
        let mut db = WalConnection::new(sqlite).await.map_err(failed)?;
        // It writes nothing, and nobody else does.
        db.execute("BEGIN IMMEDIATE", ()).await.map_err(failed)?;
        if is_cut_short || acknowledged.is_some_and(|noted| noted.last.0 > last) {
            let why = "the disk has lost what the last server acknowledged: `chatd serve` on it says more, and goes on \
                       without that; stop it then, and copy again";
            return Err(OpenError::Refused { path: path.to_owned(), why: why.to_owned() });
        }
        Ok(SqliteSource { path: path.to_owned(), db, unchecked, _lock: lock })
    }
}

fn is_old(path: &Path, found: i64) -> OpenError {
    let (shown, known) = (path.display(), schema::known_version());
    let why = format!(
        "the database has schema {found}, and a copy is made of schema {known}: \
         `chatd db migrate --set database.url=sqlite://{shown}` first"
    );
    OpenError::Refused { path: path.to_owned(), why }
}

/// Why a table could not be read from the database at a path.
pub(super) fn unreadable(path: &Path, why: RowsNotRead) -> OpenError {
    match why {
        RowsNotRead::Sqlite(failure) => failed(path, failure),
        RowsNotRead::Damaged(id) => failed(
            path,
            format!("message {id} is damaged: `chatd db verify` names all that are; a backup may have them"),
        ),
        RowsNotRead::NotTaken(error) => error,
    }
}

impl CopiedReader for SqliteSource {
    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    async fn size(&mut self) -> Result<u64, OpenError> {
        copied_tables::size(&mut self.db).await.map_err(|e| failed(&self.path, e))
    }

    async fn read(&mut self, table: CopiedTable, rows: RowsOut) -> Result<(), OpenError> {
        copied_tables::read(&mut self.db, table, self.unchecked, rows).await.map_err(|why| unreadable(&self.path, why))
    }
}
