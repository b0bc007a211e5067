//! Copies a database from one kind of store to the other, with all that is in it: an arm for each direction.

use std::path::{Path, PathBuf};

use super::copied::{CopiedTable, Told, pour};
use super::postgres::{PostgresSource, PostgresTarget};
use super::sqlite::{SqliteSource, SqliteTarget};
use super::{OpenError, StoreOptions, file_of, shown};

/// Where a database is that is copied.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseAddress {
    /// A file of SQLite.
    File(PathBuf),
    /// The URL of a database on PostgreSQL. It may have a password in it.
    Servers(String),
}

impl DatabaseAddress {
    /// What somebody has typed: a path, or a URL as in `database.url`.
    pub fn parse(text: &str) -> Result<DatabaseAddress, OpenError> {
        let is_url = ["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| text.starts_with(scheme));
        let url = match is_url || text.contains("://") {
            true => text.to_owned(),
            false => format!("sqlite://{text}"),
        };
        let unknown = || OpenError::Refused {
            path: shown(text).into(),
            why: "this is no database to copy: name a file, sqlite:///PATH or postgres://USER@HOST/DATABASE".to_owned(),
        };
        match file_of(&url) {
            Ok(Some(file)) => Ok(DatabaseAddress::File(file)),
            Ok(None) => Ok(DatabaseAddress::Servers(url)),
            Err(OpenError::Url(_)) => Err(unknown()),
            Err(error) => Err(error),
        }
    }

    /// Its file, if it has one here.
    pub fn file(&self) -> Option<&Path> {
        match self {
            DatabaseAddress::File(file) => Some(file),
            DatabaseAddress::Servers(_) => None,
        }
    }

    /// For messages: without a password.
    pub fn shown(&self) -> String {
        match self {
            DatabaseAddress::File(file) => file.display().to_string(),
            DatabaseAddress::Servers(url) => shown(url),
        }
    }
}

/// Copies the database at one address to the other, where there is none yet. Nobody serves either of them meanwhile.
/// All of it is there afterwards, and was compared, or nothing. Gives how many rows each table has.
pub async fn copy(
    from: &DatabaseAddress,
    to: &DatabaseAddress,
    options: &StoreOptions,
    told: Told<'_>,
) -> Result<Vec<(CopiedTable, u64)>, OpenError> {
    let refused = |why: &str| OpenError::Refused { path: from.shown().into(), why: why.to_owned() };
    match (from, to) {
        (DatabaseAddress::File(file), DatabaseAddress::Servers(url)) => {
            let mut source = SqliteSource::open(file, options).await?;
            pour(&mut source, PostgresTarget::begin(url).await?, told).await
        }
        (DatabaseAddress::Servers(url), DatabaseAddress::File(file)) => {
            let mut source = PostgresSource::open(url).await?;
            let copied = pour(&mut source, SqliteTarget::begin(file, options).await?, told).await?;
            source.close().await;
            Ok(copied)
        }
        (DatabaseAddress::File(_), DatabaseAddress::File(_)) => {
            Err(refused("both are SQLite: `chatd db backup FILE` makes a copy of the database of the settings"))
        }
        (DatabaseAddress::Servers(_), DatabaseAddress::Servers(_)) => Err(refused(
            "both are PostgreSQL, which has its own tools: pg_basebackup, or pg_dump and pg_restore while no chatd runs",
        )),
    }
}
