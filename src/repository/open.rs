//! From a URL to a store: one arm for each kind of store that is built in.

use std::path::PathBuf;
use std::sync::Arc;

use super::sqlite::{self, Role};
use super::{OpenError, Repository, StoreOptions, postgres};

/// A store that was opened.
pub struct Store {
    /// The store itself.
    pub repository: Arc<dyn Repository>,
    /// Whether it was made when it was opened.
    pub is_new: bool,
}

/// Whether this is the URL of a database on servers, that has no file here.
fn is_on_servers(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// The file of the database at `url`; `None`: it is on servers.
pub(crate) fn file_of(url: &str) -> Result<Option<PathBuf>, OpenError> {
    if is_on_servers(url) { Ok(None) } else { sqlite::database_path(url).map(Some) }
}

/// A URL as it may be shown: without a password.
pub(crate) fn shown(url: &str) -> String {
    if is_on_servers(url) { postgres::shown(url) } else { url.to_owned() }
}

/// Whether the servers of the database can be reached, where it is on servers.
pub(crate) async fn reach(url: &str) -> Result<(), OpenError> {
    if is_on_servers(url) { postgres::reach(url).await } else { Ok(()) }
}

/// Opens the store at `url` for `role`.
pub async fn open(url: &str, options: &StoreOptions, role: Role) -> Result<Store, OpenError> {
    match url.split_once("://") {
        Some(("sqlite", _)) => {
            let repository = sqlite::open(url, options, role).await?;
            Ok(Store { is_new: repository.is_new(), repository: Arc::new(repository) })
        }
        Some(("postgres" | "postgresql", _)) => {
            let (repository, is_new) = postgres::open(url, options, role).await?;
            Ok(Store { is_new, repository: Arc::new(repository) })
        }
        _ => Err(OpenError::Url(url.to_owned())),
    }
}
