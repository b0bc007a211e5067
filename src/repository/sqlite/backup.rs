//! Copies of a database, made whole while it is in use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sqlx::{ConnectOptions, Connection};

use super::copy_sum::{self, CopySum};
use super::paths::{companion_path, directory_of, failed, sync_directory_of};
use super::{StoreOptions, lock, schema};
use crate::repository::OpenError;

/// After the name of a copy that is not finished; a process number follows.
const UNFINISHED: &str = ".unfinished-";

const IS_THERE: &str = "there is such a file already, and it is left as it is";

/// A copy under way. Unless it gets its name it goes.
struct Unfinished {
    path: PathBuf,
    /// Locked, so that nobody takes it for one that was left.
    file: File,
}

impl Unfinished {
    fn of(copy: &Path) -> io::Result<Unfinished> {
        let path = companion_path(copy, &format!("{UNFINISHED}{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let unfinished = Unfinished { path, file };
        unfinished.file.try_lock()?;
        Ok(unfinished)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Where it has got its name it is not here any more.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(companion_path(&self.path, "-journal"));
    }
}

/// Copies `database` into the new file `to`, with a checksum beside it, whoever uses it meanwhile. What was committed
/// before this began is in it.
pub(crate) async fn backup(database: &Path, to: &Path, options: &StoreOptions) -> Result<(), OpenError> {
    lock::check_files_of_server(database)?;
    if schema::version(database, options).await?.is_none() {
        return Err(OpenError::Missing(database.to_owned()));
    }
    if to.symlink_metadata().is_ok() {
        return Err(failed(to, IS_THERE));
    }
    clear_unfinished(to);
    // Whoever sees the name sees the whole: until then it has another.
    let unfinished = Unfinished::of(to).map_err(|e| failed(to, e))?;
    copy(database, &unfinished, options).await?;
    // The files may have been changed meanwhile.
    lock::check_files_of_server(database)?;
    let sum = CopySum::of(&unfinished.path).await.map_err(|e| failed(&unfinished.path, e))?;
    // Before the copy has its name, so that no copy is without. One that lies here is of a copy that is gone.
    sum.write(to)?;
    put(&unfinished.path, to).inspect_err(|_| _ = fs::remove_file(copy_sum::path_of(to)))
}

async fn copy(database: &Path, to: &Unfinished, options: &StoreOptions) -> Result<(), OpenError> {
    let path = &to.path;
    let connect = schema::connect_options(database, options).read_only(true).disable_statement_logging();
    let mut connection = connect.connect().await.map_err(|e| failed(database, e))?;
    let name = path.to_str().ok_or_else(|| failed(path, "the name is not UTF-8"))?;
    // SQLite writes into a file that is there only if it is empty. It makes none, because its thread may come to this
    // after an interrupted copy was removed.
    sqlx::query("VACUUM INTO ?1")
        .bind(to_be_written(name))
        .execute(&mut connection)
        .await
        .map_err(|e| failed(path, e))?;
    connection.close().await.map_err(|e| failed(database, e))?;
    to.file.sync_all().map_err(|e| failed(path, e))
}

/// A file that is there, as SQLite is told of it: <https://sqlite.org/uri.html>.
fn to_be_written(name: &str) -> String {
    let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    // What comes after two slashes would be taken for a host.
    let slashes = if name.starts_with('/') { "//" } else { "" };
    format!("file:{slashes}{escaped}?mode=rw")
}

/// Removes what copies that were killed have left where the new one goes.
fn clear_unfinished(to: &Path) {
    for entry in fs::read_dir(directory_of(to)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((_, pid)) = name.rsplit_once(UNFINISHED) else { continue };
        let pid = pid.strip_suffix("-journal").unwrap_or(pid);
        if let Ok(pid) = pid.parse()
            && kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)
            && is_left(&entry.path())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a file is empty or begins as SQLite's databases and journals do, a journal also with zeros, and nobody holds
/// it.
fn is_left(path: &Path) -> bool {
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let Ok(mut file) = open else { return false };
    let mut head = [0; 8];
    let is_ours = match file.read_exact(&mut head) {
        Ok(()) => [*b"SQLite f", [0; 8]].contains(&head) || head == *b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",
        Err(error) => error.kind() == ErrorKind::UnexpectedEof && file.metadata().is_ok_and(|file| file.len() == 0),
    };
    is_ours && file.try_lock().is_ok()
}

/// Gives a finished file its name, durably. What has got that name meanwhile stays.
fn put(unfinished: &Path, to: &Path) -> Result<(), OpenError> {
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
    backup(database, &to, options).await?;
    Ok(to)
}
