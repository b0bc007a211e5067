//! Copies of a database, made whole while it is in use.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use sqlx::{ConnectOptions, Connection};

use super::copy_sum::{self, CopySum};
use super::paths::{companion_path, failed, sync_directory_of};
use super::snapshot::Snapshot;
use super::unfinished::{self, Unfinished};
use super::{StoreOptions, lock, schema};
use crate::repository::OpenError;

const IS_THERE: &str = "there is such a file already, and it is left as it is";

/// A copy of a database under way.
pub(crate) struct Backup<'a> {
    database: &'a Path,
    to: &'a Path,
    options: &'a StoreOptions,
    unfinished: Unfinished,
}

impl<'a> Backup<'a> {
    /// Begins a copy of `database` into the new file `to`, whoever uses it meanwhile. What was committed before this
    /// begins is in it.
    pub(crate) async fn begin(
        database: &'a Path,
        to: &'a Path,
        options: &'a StoreOptions,
    ) -> Result<Backup<'a>, OpenError> {
        lock::check_files_of_server(database)?;
        if schema::version(database, options).await?.is_none() {
            return Err(OpenError::Missing(database.to_owned()));
        }
        if to.symlink_metadata().is_ok() {
            return Err(failed(to, IS_THERE));
        }
        unfinished::clear(to);
        // The copy gets this name when it is complete. Until then it has another one.
        let unfinished = Unfinished::of(to).map_err(|e| failed(to, e))?;
        Ok(Backup { database, to, options, unfinished })
    }

    /// Makes the copy, with a checksum beside it, from a snapshot or, without one, from the database itself.
    pub(crate) async fn finish(self, snapshot: Option<&Snapshot>) -> Result<(), OpenError> {
        self.copy(snapshot).await?;
        let Backup { database, to, unfinished, .. } = self;
        // The files may have been changed meanwhile.
        lock::check_files_of_server(database)?;
        let sum = CopySum::of(&unfinished.path).await.map_err(|e| failed(&unfinished.path, e))?;
        // Before the copy has its name, so that no copy is without. One that lies here is of a copy that is gone.
        sum.write(to)?;
        put(&unfinished.path, to).inspect_err(|_| _ = fs::remove_file(copy_sum::path_of(to)))
    }

    async fn copy(&self, snapshot: Option<&Snapshot>) -> Result<(), OpenError> {
        let (database, path) = (self.database, &self.unfinished.path);
        let from = snapshot.map_or(database, Snapshot::path);
        let connect = schema::connect_options(from, self.options).read_only(true).immutable(snapshot.is_some());
        let mut connection = connect.disable_statement_logging().connect().await.map_err(|e| failed(database, e))?;
        let name = path.to_str().ok_or_else(|| failed(path, "the name is not UTF-8"))?;
        // SQLite writes into a file that is there only if it is empty. It makes none, because its thread may come to
        // this after an interrupted copy was removed.
        sqlx::query("VACUUM INTO ?1")
            .bind(to_be_written(name))
            .execute(&mut connection)
            .await
            .map_err(|e| failed(path, e))?;
        connection.close().await.map_err(|e| failed(database, e))?;
        self.unfinished.file.sync_all().map_err(|e| failed(path, e))
    }
}

/// The URI of a file that exists, in SQLite's form: <https://sqlite.org/uri.html>.
fn to_be_written(name: &str) -> String {
    let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    // What comes after two slashes would be taken for a host.
    let slashes = if name.starts_with('/') { "//" } else { "" };
    format!("file:{slashes}{escaped}?mode=rw")
}

/// Gives a finished file its name, durably. What has got that name meanwhile stays.
pub(super) fn put(unfinished: &Path, to: &Path) -> Result<(), OpenError> {
    let renamed = match renameat_with(CWD, unfinished, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(failed(to, IS_THERE)),
        // Not every file system can tell.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            fs::rename(unfinished, to)
        }
        renamed => renamed,
    };
    renamed.and_then(|()| sync_directory_of(to)).map_err(|e| failed(to, e))
}

/// The copy that is made before a migration; its name says from which schema.
pub(crate) async fn before_migration(
    database: &Path,
    schema: i64,
    options: &StoreOptions,
) -> Result<PathBuf, OpenError> {
    let name = |number: u32| match number {
        1 => companion_path(database, &format!(".schema-{schema}")),
        _ => companion_path(database, &format!(".schema-{schema}-{number}")),
    };
    // An earlier attempt may have left one, and the database may have changed since.
    let to = (1..).map(name).find(|path| path.symlink_metadata().is_err()).expect("the numbers do not end");
    Backup::begin(database, &to, options).await?.finish(None).await?;
    Ok(to)
}
