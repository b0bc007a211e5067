//! Servers that `chatd login --as NAME` keeps: the address, TLS, and the user. One file for each name, beside the
//! tokens, which are kept by address and user.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::chat::tokens::{self, file_name};
use crate::config::BadConfig;

/// Where the files lie in the client's folder.
const FOLDER: &str = "servers";

/// A server under a name of one's own.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptServer {
    /// HOST:PORT.
    pub(crate) connect: String,
    pub(crate) tls: bool,
    /// The authorities to trust in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_ca: Option<PathBuf>,
    pub(crate) user: String,
}

/// What is kept under the name.
pub(crate) fn read(name: &str) -> Result<Option<KeptServer>, BadConfig> {
    let Some(file) = tokens::place().map(|place| place.join(FOLDER).join(file_name(name))) else { return Ok(None) };
    let bad = |why: String| BadConfig::new(format!("{}: {why}", file.display()));
    match std::fs::read_to_string(&file) {
        Ok(text) => toml::from_str(&text).map(Some).map_err(|why| bad(why.message().to_owned())),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(bad(why.to_string())),
    }
}

/// Keeps a server under the name, in the place of the one that was kept before.
pub(crate) fn keep(name: &str, server: &KeptServer) -> anyhow::Result<()> {
    let folder = tokens::folder()?.join(FOLDER);
    tokens::make(&folder)?;
    tokens::write(&folder.join(file_name(name)), toml::to_string(server)?.trim_end())
}

/// The error for a name under which no server is kept.
pub(crate) fn unknown(name: &str) -> BadConfig {
    let names = names();
    let others = if names.is_empty() { String::new() } else { format!(" (there are: {})", names.join(", ")) };
    BadConfig::new(format!(
        "no server is kept as {name}{others}: `chatd login --as {name} --connect HOST:PORT USER` keeps one"
    ))
}

/// The names that are kept, as the files have them.
fn names() -> Vec<String> {
    let Some(place) = tokens::place() else { return Vec::new() };
    let entries = std::fs::read_dir(place.join(FOLDER)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    // What was being written when its writer died.
    names.retain(|name| !name.contains('.'));
    names.sort();
    names
}
