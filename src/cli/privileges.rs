//! Root's administration commands act as the owner of the state directory: a database that root makes, or a file beside
//! it, could not be opened by the service.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};

/// When root runs the command, the process becomes the owner of the directory that holds `database`, and stays that
/// user. Call it before there are other threads.
pub(crate) fn become_owner_of(database: &Path) -> anyhow::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let directory = database.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(metadata) = fs::metadata(directory) else { return Ok(()) };
    let (user, group) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    if user.is_root() {
        return Ok(());
    }
    setgroups(&[group])
        .and_then(|()| setgid(group))
        .and_then(|()| setuid(user))
        .with_context(|| format!("cannot act as user {user}, who owns {}", directory.display()))
}
