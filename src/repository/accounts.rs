//! What people change of their own accounts, and how they find those of others.

use super::{Answer, User};
use crate::model::{Label, SessionId, UserId};

/// Another password for an account, as its user asks for it.
#[derive(Clone)]
pub struct PasswordChange {
    /// The account.
    pub user: UserId,
    /// The session that asks; it goes on.
    pub session: SessionId,
    /// The hash that the former password was checked against.
    pub checked: String,
    /// A PHC string.
    pub password_hash: String,
}

/// The store, as far as people see to their accounts themselves.
pub trait AccountRepository {
    /// Gives an account another password and ends its other sessions. `false`: it has another hash than was checked,
    /// was shut or removed, or the session that asks has ended.
    fn change_password(&self, change: PasswordChange) -> Answer<'_, bool>;
    /// Gives an account another display name, another country, or both.
    fn set_profile(&self, user: UserId, display_name: Option<Label>, country: Option<Label>) -> Answer<'_, ()>;
    /// The first open accounts whose names, in lower case, begin with this, in the order of these. From disk.
    fn accounts_named<'a>(&'a self, prefix: &'a str, most: usize) -> Answer<'a, Vec<User>>;
}
