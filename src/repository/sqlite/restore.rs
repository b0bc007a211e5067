//! Replaces a database by a copy. One step decides: before the note is on the disk, nothing has changed. After it,
//! whoever opens the database next finishes the restore.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::copy_sum::CopySum;
use super::lock::Lock;
use super::paths::{companion_path, failed, remove, sync_directory_of};
use super::restore_note::{NOTE, is_unfinished};
use super::verify::{self, DatabaseFindings};
use super::{StoreOptions, companion};
use crate::repository::OpenError;

/// The copy, until it has its place.
const COPY: &str = ".restoring";
/// What moves with a database. The WAL goes first: beside another database it would spoil it.
const MOVED: [&str; 5] = ["-wal", "-shm", "-journal", ".failed", ""];

/// A copy to be put in the place of a database.
#[derive(Debug)]
pub(crate) struct BackupCopy {
    pub path: PathBuf,
    pub file: File,
    /// The checksum that lies beside it.
    pub checksum: Option<CopySum>,
}

#[derive(Debug)]
pub(crate) struct Restored {
    pub findings: DatabaseFindings,
    /// Where the former database is now, if there was one.
    pub aside: Option<PathBuf>,
}

/// Puts a copy of `from` in the place of `database`, which no server may have open, and which is kept under another
/// name. The copy is verified first, and compared with its checksum.
pub(crate) async fn restore(
    mut from: BackupCopy,
    database: &Path,
    aside: &str,
    options: &StoreOptions,
) -> Result<Restored, OpenError> {
    let mut lock = Lock::take(database)?;
    lock.hold(database)?;
    lock.sign_for_now().map_err(|e| failed(database, e))?;
    if let Some(done) = finish_or_undo(database)? {
        warn!("{done}");
    }
    let copy = companion_path(database, COPY);
    let written = companion::write(&copy, b"").and_then(|mut file| {
        io::copy(&mut from.file, &mut file)?;
        file.sync_all()
    });
    let verified = match written.map_err(|e| failed(&copy, e)) {
        Ok(()) => check(&from, &copy, options).await,
        Err(error) => Err(error),
    };
    let findings = verified.inspect_err(|_| _ = fs::remove_file(&copy))?;
    let former = database.symlink_metadata().is_ok();
    let aside = free_suffix(database, aside);
    decide(database, &aside)?;
    finish(database, &aside)?;
    lock.drop_note();
    Ok(Restored { findings, aside: former.then(|| companion_path(database, &aside)) })
}

async fn check(from: &BackupCopy, copy: &Path, options: &StoreOptions) -> Result<DatabaseFindings, OpenError> {
    if let Some(checksum) = from.checksum {
        checksum.check(copy, &from.path).await?;
    }
    verify::verify(copy, options).await
}

/// A suffix under which nothing lies yet.
fn free_suffix(database: &Path, suffix: &str) -> String {
    let numbered = |number: u32| if number == 1 { suffix.to_owned() } else { format!("{suffix}-{number}") };
    let is_free = |suffix: &String| {
        MOVED.iter().all(|end| companion_path(&companion_path(database, suffix), end).symlink_metadata().is_err())
    };
    (1..).map(numbered).find(is_free).expect("the numbers do not end")
}

fn decide(database: &Path, aside: &str) -> Result<(), OpenError> {
    let (note, unwritten) = (companion_path(database, NOTE), companion_path(database, ".restore-unwritten"));
    companion::write(&unwritten, aside.as_bytes())
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&unwritten, &note))
        .and_then(|()| sync_directory_of(database))
        .map_err(|e| failed(&note, e))
}

/// All that comes after, as often as it takes.
fn finish(database: &Path, aside: &str) -> Result<(), OpenError> {
    let (copy, former) = (companion_path(database, COPY), companion_path(database, aside));
    let sync = || sync_directory_of(database).map_err(|e| failed(database, e));
    if copy.symlink_metadata().is_ok() {
        for companion in MOVED {
            let (old, new) = (companion_path(database, companion), companion_path(&former, companion));
            match fs::rename(&old, new) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed.map_err(|e| failed(&old, e))?,
            }
        }
        // On the disk before the new one comes: a WAL that comes back would spoil it.
        sync()?;
        fs::rename(&copy, database).map_err(|e| failed(&copy, e))?;
        sync()?;
    }
    remove(&companion_path(database, NOTE))?;
    sync()
}

/// Finishes a restore that was interrupted, or undoes one that had not decided. Gives what was done, in words. The
/// caller holds the lock.
pub(crate) fn finish_or_undo(database: &Path) -> Result<Option<String>, OpenError> {
    let note = companion_path(database, NOTE);
    if is_unfinished(database) {
        let aside = fs::read_to_string(&note).map_err(|e| failed(&note, e))?;
        if aside.is_empty() || aside.contains('/') {
            return Err(failed(&note, "it does not say where the former database goes: remove it"));
        }
        finish(database, &aside)?;
        let former = companion_path(database, &aside);
        return Ok(Some(match former.symlink_metadata() {
            Ok(_) => format!("a restore that was interrupted is finished; the former database is {}", former.display()),
            Err(_) => "a restore that was interrupted is finished".to_owned(),
        }));
    }
    remove(&companion_path(database, ".restore-unwritten"))?;
    Ok(remove(&companion_path(database, COPY))?
        .then(|| "a restore that was interrupted is undone: the database is what it was before".to_owned()))
}
