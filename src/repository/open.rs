//! From a URL to a store: one arm for each kind of store that is built in.

use std::sync::Arc;

use super::sqlite::{self, Role};
use super::{OpenError, Repository, StoreOptions};

/// A store that was opened.
pub struct Store {
    /// The store itself.
    pub repository: Arc<dyn Repository>,
    /// Whether it was made when it was opened.
    pub is_new: bool,
}

/// Opens the store at `url` for `role`.
pub async fn open(url: &str, options: &StoreOptions, role: Role) -> Result<Store, OpenError> {
    match url.split_once("://") {
        Some(("sqlite", _)) => {
            let repository = sqlite::open(url, options, role).await?;
            Ok(Store { is_new: repository.is_new(), repository: Arc::new(repository) })
        }
        _ => Err(OpenError::Url(url.to_owned())),
    }
}
