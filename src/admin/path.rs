//! The path of the administrator's socket: beside the database, also when that path is very long.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The longest path that a socket's address holds, in bytes: `sun_path` less the zero at its end.
const ADDRESS_BYTES: usize = 107;
/// The longest name of a socket in a directory that is named as `/proc/self/fd/1234567890`, in bytes.
const NAME_BYTES: usize = ADDRESS_BYTES - "/proc/self/fd/1234567890/".len();

pub(crate) fn socket_of(database: &Path) -> PathBuf {
    let file = database.file_name().unwrap_or(OsStr::new("chat.db"));
    let mut name = file.to_owned();
    name.push(".socket");
    if name.len() > NAME_BYTES {
        let hash = Sha256::digest(file.as_bytes());
        let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        name = format!("chatd-{hash}.socket").into();
    }
    database.with_file_name(name)
}

/// An address of a socket, good for as long as this is kept.
pub(crate) struct SocketPath {
    path: PathBuf,
    /// The directory, where its own path is too long.
    _directory: Option<File>,
}

impl SocketPath {
    /// The address of the socket at `path`.
    pub(crate) fn of(path: &Path) -> io::Result<SocketPath> {
        if path.as_os_str().len() <= ADDRESS_BYTES {
            return Ok(SocketPath { path: path.to_owned(), _directory: None });
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let directory = File::options().read(true).custom_flags(flags).open(parent)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(SocketPath { path, _directory: Some(directory) })
    }

    /// As `bind` and `connect` take it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_lies_beside_its_database_and_its_name_fits() {
        assert_eq!(socket_of(Path::new("/var/lib/chatd/chat.db")), Path::new("/var/lib/chatd/chat.db.socket"));
        assert_eq!(socket_of(Path::new("chat.db")), Path::new("chat.db.socket"));
        let [one, other] = ["a", "b"].map(|end| socket_of(Path::new(&format!("/x/{}{end}", "n".repeat(200)))));
        assert_ne!(one, other);
        assert_eq!(one.parent(), Some(Path::new("/x")));
        assert!(one.file_name().is_some_and(|name| name.len() <= NAME_BYTES));
    }
}
