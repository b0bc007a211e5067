//! The files that chatd itself keeps beside a database. Somebody else may be able to write in the directory and put a
//! link there. So links are not followed, and each file must be a plain file of the caller or of root.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::unistd::geteuid;

use super::paths::companion_path;
use crate::repository::OpenError;

/// What SQLite keeps beside a database.
pub(super) const OF_SQLITE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// Opens a companion to read and write it, and makes it where there is none.
pub(super) fn open(path: &Path) -> io::Result<File> {
    loop {
        match options().create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made,
        }
        match options().open(path) {
            // Its owner has removed it between the two calls.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => return opened.map_err(in_plain_words).and_then(checked),
        }
    }
}

/// Opens a companion to read and write it; `None` where there is none.
pub(super) fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match options().open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map_err(in_plain_words).and_then(checked).map(Some),
    }
}

/// Refuses what is in the place of a file that SQLite itself keeps beside a database, where SQLite would follow it to
/// another file. SQLite opens these without a look.
pub(super) fn check_those_of_sqlite(database: &Path) -> Result<(), OpenError> {
    for suffix in OF_SQLITE {
        let path = companion_path(database, suffix);
        let found = fs::symlink_metadata(&path).and_then(|metadata| match metadata.is_symlink() {
            true => Err(is_a_link()),
            false => check(&metadata),
        });
        match found {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(OpenError::Refused { path, why: error.to_string() });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Replaces what is in a companion.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut file = open(path)?;
    file.set_len(0)?;
    file.write_all(content)?;
    Ok(file)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Without O_NONBLOCK a FIFO in the place of the file would hold the caller up.
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

fn in_plain_words(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ELOOP) => is_a_link(),
        _ => error,
    }
}

fn is_a_link() -> io::Error {
    io::Error::other("a symbolic link is in the place of this file: remove it")
}

fn checked(file: File) -> io::Result<File> {
    check(&file.metadata()?).map(|()| file)
}

fn check(metadata: &Metadata) -> io::Result<()> {
    if !metadata.is_file() {
        return Err(io::Error::other("something that is no file is in its place: remove it"));
    }
    if metadata.nlink() > 1 {
        return Err(io::Error::other("this file has another name, too: remove it"));
    }
    if metadata.uid() != geteuid().as_raw() && metadata.uid() != 0 {
        return Err(io::Error::other(format!("this file belongs to user {}: remove it", metadata.uid())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_in_the_place_of_a_companion_is_not_followed() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let [target, companion] = ["target", "chat.db.lock"].map(|name| folder.path().join(name));
        fs::write(&target, "precious").expect("it can be written");
        symlink(&target, &companion).expect("it can be made");
        assert!(open(&companion).is_err_and(|error| error.to_string().contains("symbolic link")));
        fs::remove_file(&companion).expect("it is there");
        fs::hard_link(&target, &companion).expect("it can be made");
        assert!(write(&companion, b"").is_err_and(|error| error.to_string().contains("another name")));
        fs::remove_file(&companion).expect("it is there");
        symlink(folder.path().join("nowhere"), &companion).expect("it can be made");
        assert!(write(&companion, b"").is_err());
        fs::remove_file(&companion).expect("it is there");
        nix::unistd::mkfifo(&companion, nix::sys::stat::Mode::S_IRUSR).expect("it can be made");
        assert!(write(&companion, b"").is_err());
        assert_eq!(fs::read(&target).expect("it is there"), b"precious");
        assert!(!folder.path().join("nowhere").exists());
    }

    #[test]
    fn a_link_in_the_place_of_a_file_of_sqlites_is_refused() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let [database, target] = ["chat.db", "target"].map(|name| folder.path().join(name));
        fs::write(&target, "precious").expect("it can be written");
        for suffix in OF_SQLITE {
            let path = companion_path(&database, suffix);
            assert!(check_those_of_sqlite(&database).is_ok());
            symlink(&target, &path).expect("it can be made");
            let said = check_those_of_sqlite(&database).expect_err("it is a link").to_string();
            assert!(said.contains(suffix) && said.contains("symbolic link"), "{said}");
            fs::remove_file(&path).expect("it is there");
            fs::hard_link(&target, &path).expect("it can be made");
            let said = check_those_of_sqlite(&database).expect_err("it is a link").to_string();
            assert!(said.contains("another name"), "{said}");
            fs::remove_file(&path).expect("it is there");
        }
    }

    #[test]
    fn a_companion_is_made_and_found_again() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let path = folder.path().join("chat.db.lock");
        write(&path, b"longer").expect("it can be made");
        write(&path, b"short").expect("it is ours");
        assert_eq!(fs::read(&path).expect("it is there"), b"short");
    }
}
