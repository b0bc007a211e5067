//! The files that chatd itself keeps beside a database. Whoever may write in the directory could have put a link in the
//! place of one, so none is followed, and what is opened must be a plain file of the caller's or of root's.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::unistd::geteuid;

/// Opens a companion to read and write it, and makes it where there is none.
pub fn open(path: &Path) -> io::Result<File> {
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

/// Replaces what is in a companion.
pub fn write(path: &Path, content: &[u8]) -> io::Result<File> {
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
        Some(libc::ELOOP) => io::Error::other("a symbolic link is in the place of this file: remove it"),
        _ => error,
    }
}

fn checked(file: File) -> io::Result<File> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("something that is no file is in its place: remove it"));
    }
    if metadata.nlink() > 1 {
        return Err(io::Error::other("this file has another name, too: remove it"));
    }
    if metadata.uid() != geteuid().as_raw() && metadata.uid() != 0 {
        return Err(io::Error::other(format!("this file belongs to user {}: remove it", metadata.uid())));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
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
    fn a_companion_is_made_and_found_again() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let path = folder.path().join("chat.db.lock");
        write(&path, b"longer").expect("it can be made");
        write(&path, b"short").expect("it is ours");
        assert_eq!(fs::read(&path).expect("it is there"), b"short");
    }
}
