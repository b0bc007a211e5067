//! Which settings file is read, and whether one in the working directory may be read: a person who can write it chooses
//! where root keeps passwords.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, geteuid};

use super::BadConfig;

/// The settings of the service.
pub(crate) const SYSTEM_FILE: &str = "/etc/chatd/chat.toml";
const HERE: &str = "chat.toml";
const VARIABLE: &str = "CHATD_CONFIG";

/// A settings file that was found.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    /// Nobody named it: it lies in the working directory.
    pub unasked: bool,
}

/// The file that was asked for, that of `$CHATD_CONFIG`, `./chat.toml`, `/etc/chatd/chat.toml`, or none.
pub(super) fn find(asked: Option<&Path>) -> Result<Option<FoundFile>, BadConfig> {
    // An empty variable counts as none, as for all variables of chatd.
    let variable = std::env::var_os(VARIABLE).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = asked.map(Path::to_owned).or(variable) {
        let bytes = File::open(&path).and_then(read).map_err(|error| unreadable(&path, &error))?;
        return Ok(Some(FoundFile { path, bytes, unasked: false }));
    }
    for (name, unasked) in [(HERE, true), (SYSTEM_FILE, false)] {
        let path = PathBuf::from(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(|error| unreadable(&path, &error))?,
        };
        if unasked {
            let of = |opened: io::Result<File>| opened.and_then(|opened| opened.metadata());
            let both = of(file.try_clone()).and_then(|it| Ok((it, of(File::open("."))?)));
            let (it, directory) = both.map_err(|error| unreadable(&path, &error))?;
            trust(&it, &directory, geteuid())?;
        }
        let bytes = read(file).map_err(|error| unreadable(&path, &error))?;
        return Ok(Some(FoundFile { path, bytes, unasked }));
    }
    Ok(None)
}

/// Whether `./chat.toml` may be read by this user: only if nobody but that user and root can have written it.
fn trust(file: &Metadata, directory: &Metadata, reader: Uid) -> Result<(), BadConfig> {
    for (what, it) in [("it", file), ("its directory", directory)] {
        let owner = Uid::from_raw(it.uid());
        let why = if owner != reader && !owner.is_root() {
            format!("{what} belongs to user {owner}")
        } else if it.mode() & 0o022 != 0 {
            format!("others can write to {what} (mode {:03o}; `chmod go-w` mends that)", it.mode() & 0o777)
        } else {
            continue;
        };
        let remedy = "name the file that is meant with --config";
        return Err(BadConfig::new(format!("./{HERE} is not used, because {why}: {remedy}")));
    }
    Ok(())
}

fn read(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: &io::Error) -> BadConfig {
    BadConfig::new(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_settings_file_here_is_used_only_if_nobody_else_can_write_it() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let file = folder.path().join(HERE);
        fs::write(&file, "").expect("it can be written");
        let me = geteuid();
        let other = Uid::from_raw(me.as_raw() + 1);
        let judge = |file_mode: u32, directory_mode: u32, reader: Uid| {
            fs::set_permissions(&file, Permissions::from_mode(file_mode)).expect("it is ours");
            fs::set_permissions(folder.path(), Permissions::from_mode(directory_mode)).expect("it is ours");
            let of = |path: &Path| fs::metadata(path).expect("it is there");
            trust(&of(&file), &of(folder.path()), reader)
        };
        assert_eq!(judge(0o644, 0o755, me), Ok(()));
        for (file, directory) in [(0o664, 0o755), (0o646, 0o755), (0o644, 0o775), (0o644, 0o1777)] {
            let why = judge(file, directory, me).expect_err("others can write there").to_string();
            assert!(why.contains("chmod go-w") && why.contains("--config"), "{why}");
        }
        // Everybody may use a file of root. Only its owner may use a file of a user.
        assert_eq!(judge(0o644, 0o755, other).is_ok(), me.is_root());
    }
}
