//! Whether this user may use a database at a path. If not, the error says who owns the files, and systemd does not try
//! again.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, Uid, User, eaccess, geteuid};

use crate::config::BadConfig;
use crate::repository::sqlite::paths::companion_path;

/// Whether the files that are there can be written, and new ones made beside them.
pub(super) fn can_write(database: &Path) -> Result<(), BadConfig> {
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    can_fill("database.url", folder)?;
    for suffix in ["", "-wal", "-shm", ".lock"] {
        may("database.url", &companion_path(database, suffix), AccessFlags::R_OK | AccessFlags::W_OK)?;
    }
    Ok(())
}

/// Whether files can be made in the folder, which is of this setting. Folders that are missing are made.
pub(super) fn can_fill(setting: &str, folder: &Path) -> Result<(), BadConfig> {
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    may(setting, there, AccessFlags::W_OK | AccessFlags::X_OK)
}

fn may(setting: &str, path: &Path, access: AccessFlags) -> Result<(), BadConfig> {
    let shown = path.display();
    let why = match eaccess(path, access) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EROFS) => {
            "this file system cannot be written here; under systemd's ProtectSystem=strict only the state \
                              directory and ReadWritePaths= can"
                .to_owned()
        }
        Err(Errno::EACCES | Errno::EPERM) => {
            let owner = path.metadata().map_or_else(|_| "another user".to_owned(), |it| name(Uid::from_raw(it.uid())));
            let me = name(geteuid());
            format!("it belongs to {owner}, and {me}, who runs this, may not write it: `chown {me}: {shown}` as root")
        }
        Err(error) => error.desc().to_owned(),
    };
    Err(BadConfig::new(format!("{setting}: {shown}: {why}")))
}

fn name(user: Uid) -> String {
    User::from_uid(user).ok().flatten().map_or_else(|| user.to_string(), |user| user.name)
}
