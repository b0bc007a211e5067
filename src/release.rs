//! Which program this is, as `chatd --version` and `chatd health` say it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protocol::WIRE;
use crate::repository::sqlite::known_schema;

/// A program: its version, its commit, and the schema and the wire that it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Release {
    /// The version of the crate.
    pub version: String,
    /// The commit that it was built from, with `-dirty` where its files had been changed. None when it was not known,
    /// and in a debug build.
    pub commit: Option<String>,
    /// The newest schema of the database that it knows.
    pub schema: i64,
    /// The newest version of the wire that it speaks.
    pub wire: u32,
}

impl Release {
    /// This program.
    pub(crate) fn this() -> Release {
        Release {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("EMBEDDED_COMMIT").map(str::to_owned),
            schema: known_schema(),
            wire: WIRE,
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Release { version, commit, schema, wire } = self;
        let commit = commit.as_ref().map_or(String::new(), |commit| format!("commit {commit}, "));
        write!(f, "{version} ({commit}schema {schema}, wire {wire})")
    }
}
