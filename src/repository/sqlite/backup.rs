//! Copies of a database: made whole while it is in use, and put in the place of another.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection};

use super::lock::Lock;
use super::paths::{beside, failed};
use super::verify::{self, Findings};
use super::{Options, schema};
use crate::repository::OpenError;

/// Copies `database` into the new file `to`, whoever uses it meanwhile. What was committed before this began is in it.
pub async fn backup(database: &Path, to: &Path, options: &Options) -> Result<(), OpenError> {
    if schema::version(database, options).await?.is_none() {
        return Err(OpenError::Missing(database.to_owned()));
    }
    if to.symlink_metadata().is_ok() {
        return Err(failed(to, "there is such a file already, and it is left as it is"));
    }
    // Whoever sees the name sees the whole: until then it has another.
    let unfinished = beside(to, &format!(".unfinished-{}", std::process::id()));
    let copied = copy(database, &unfinished, options).await.and_then(|()| put(&unfinished, to));
    if copied.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    copied
}

async fn copy(database: &Path, to: &Path, options: &Options) -> Result<(), OpenError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(|e| failed(to, e))?;
    let connect = schema::connect_options(database, options).read_only(true).disable_statement_logging();
    let mut connection = connect.connect().await.map_err(|e| failed(database, e))?;
    let name = to.to_str().ok_or_else(|| failed(to, "the name is not UTF-8"))?;
    // SQLite writes into a file that is there only if it is empty.
    sqlx::query("VACUUM INTO ?1").bind(name).execute(&mut connection).await.map_err(|e| failed(to, e))?;
    connection.close().await.map_err(|e| failed(database, e))?;
    made.sync_all().map_err(|e| failed(to, e))
}

/// Gives a finished file its name, durably.
fn put(unfinished: &Path, to: &Path) -> Result<(), OpenError> {
    fs::rename(unfinished, to).and_then(|()| sync_directory_of(to)).map_err(|e| failed(to, e))
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
}

/// The copy that is made before a migration; its name says from which schema.
pub async fn before_migration(database: &Path, schema: i64, options: &Options) -> Result<PathBuf, OpenError> {
    let name = |number: u32| match number {
        1 => beside(database, &format!(".schema-{schema}")),
        _ => beside(database, &format!(".schema-{schema}-{number}")),
    };
    // An earlier attempt may have left one, and the database may have changed since.
    let to = (1..).map(name).find(|path| path.symlink_metadata().is_err()).expect("the numbers do not end");
    backup(database, &to, options).await?;
    Ok(to)
}

/// What a restore did.
#[derive(Debug)]
pub struct Restored {
    /// What the copy holds.
    pub findings: Findings,
    /// Where the former database is now, if there was one.
    pub aside: Option<PathBuf>,
}

/// Puts a copy of `from` in the place of `database`, which no server may have open, and which is kept under another name.
/// The copy is verified first.
pub async fn restore(mut from: File, database: &Path, aside: &str, options: &Options) -> Result<Restored, OpenError> {
    let mut lock = Lock::take(database)?;
    lock.sign().map_err(|e| failed(database, e))?;
    let copy = beside(database, ".restoring");
    let mut write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&copy)?;
        io::copy(&mut from, &mut file)?;
        file.sync_all()
    };
    let written = write().map_err(|e| failed(&copy, e));
    let verified = match written {
        Ok(()) => verify::verify(&copy, options).await,
        Err(error) => Err(error),
    };
    let findings = verified.inspect_err(|_| _ = fs::remove_file(&copy))?;
    let aside = move_aside(database, aside)?;
    put(&copy, database)?;
    Ok(Restored { findings, aside })
}

/// Renames a database and its companions. The log goes first: beside another database it would spoil it.
fn move_aside(database: &Path, suffix: &str) -> Result<Option<PathBuf>, OpenError> {
    if database.symlink_metadata().is_err() {
        return Ok(None);
    }
    let aside = beside(database, suffix);
    for companion in ["-wal", "-shm", ".failed", ""] {
        let (old, new) = (beside(database, companion), beside(&aside, companion));
        match fs::rename(&old, new) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(|e| failed(&old, e))?,
        }
    }
    Ok(Some(aside))
}
