//! What the client keeps between runs, under `$XDG_STATE_HOME/chatd`: tokens, one file for each account, and the lines
//! typed. Everything is the owner's alone.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::client::ServerAddress;
use crate::model::Token;

/// The folder of the client's files. Made when it is first needed.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let folder = place().context(NOWHERE)?;
    make(&folder)?;
    Ok(folder)
}

const NOWHERE: &str = "neither XDG_STATE_HOME nor HOME says where to keep things";

/// Where that is, whether it is there or not.
pub(crate) fn place() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("chatd"))
}

/// Makes a folder that is the owner's alone.
pub(crate) fn make(folder: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| folder.display().to_string())
}

/// The logins at one server. Without a folder there are none.
pub(crate) struct Logins {
    folder: Option<PathBuf>,
}

impl Logins {
    /// Those at this address. Nothing is made before something is kept.
    pub(crate) fn at(address: &ServerAddress) -> Logins {
        Logins { folder: place().map(|place| place.join("sessions").join(file_name(&address.to_string()))) }
    }

    /// Makes sure that something can be kept.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        make(self.folder.as_ref().context(NOWHERE)?)
    }

    /// Who logged in last with `chatd login`.
    pub(crate) fn current_user(&self) -> anyhow::Result<Option<String>> {
        self.folder.as_ref().map_or(Ok(None), |folder| read(&folder.join("user")))
    }

    /// The user's token, which may have ended meanwhile.
    pub(crate) fn token(&self, user: &str) -> anyhow::Result<Option<Token>> {
        let Some(file) = self.token_file(user) else { return Ok(None) };
        Ok(read(&file)?.and_then(|text| Token::parse(&text)))
    }

    pub(crate) fn keep(&self, user: &str, token: Token) -> anyhow::Result<()> {
        self.prepare()?;
        write(&self.token_file(user).context(NOWHERE)?, &token.reveal())
    }

    /// Makes this user the one meant where none is named.
    pub(crate) fn make_current(&self, user: &str) -> anyhow::Result<()> {
        write(&self.folder.as_ref().context(NOWHERE)?.join("user"), user)
    }

    pub(crate) fn forget(&self, user: &str) -> anyhow::Result<()> {
        let Some(file) = self.token_file(user) else { return Ok(()) };
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context(file.display().to_string()),
            _ => Ok(()),
        }
    }

    /// Where what the user typed waits for the server.
    pub(crate) fn outbox_file(&self, user: &str) -> anyhow::Result<PathBuf> {
        self.prepare()?;
        Ok(self.folder.as_ref().context(NOWHERE)?.join(format!("outbox-{}", file_name(user))))
    }

    fn token_file(&self, user: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("token-{}", file_name(user))))
    }
}

/// Writes the whole file or nothing. From the beginning only the owner can read it.
pub(crate) fn write(file: &Path, line: &str) -> anyhow::Result<()> {
    let new = file.with_extension(format!("new-{}", std::process::id()));
    replace(file, &new, line).with_context(|| file.display().to_string())
}

/// The same by way of a file that nobody else writes meanwhile.
pub(crate) fn replace(file: &Path, new: &Path, line: &str) -> io::Result<()> {
    let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
    open.write_all(format!("{line}\n").as_bytes())?;
    fs::rename(new, file)
}

/// The first line of a file; `None` where there is none.
fn read(file: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text.lines().next().filter(|line| !line.is_empty()).map(str::to_owned)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(file.display().to_string()),
    }
}

/// A name that is a file name whatever it holds: all but ASCII letters, digits, `-` and `_` is spelled in hex. A dot
/// is spelled too, because `with_extension` cuts there.
pub(crate) fn file_name(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let spelled = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") };
    name.bytes().map(spelled).collect()
}

#[cfg(test)]
mod tests {
    use crate::cli::chat::tokens::file_name;

    #[test]
    fn no_name_leaves_its_folder() {
        assert_eq!(file_name("messi"), "messi");
        assert_eq!(file_name("../x"), "%2e%2e%2fx");
        assert_eq!(file_name("[::1]:8889"), "%5b%3a%3a1%5d%3a8889");
        assert_eq!(file_name("josé"), "jos%c3%a9");
    }
}
