//! What people change of their own accounts, and how they find those of others.

use super::{AddUserResult, Answer, Grant, NewUser, User};
use crate::model::{Label, MessageId, SendKey, SessionId, Timestamp, TokenHash, UserId};

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

/// A token for a program, as its user asks for it.
#[derive(Clone)]
pub struct NewToken {
    /// Whose it is.
    pub user: UserId,
    /// The session that asks.
    pub session: SessionId,
    /// SHA-256 of the token.
    pub token: TokenHash,
    /// What it is good for.
    pub grant: Grant,
    /// What its user calls it.
    pub label: Label,
    /// Now.
    pub created_at: Timestamp,
    /// The account may have so many tokens.
    pub most: usize,
}

/// The store, as far as people see to their accounts themselves.
pub trait AccountRepository {
    /// Gives an account another password and ends its other sessions. `false`: it has another hash than was checked,
    /// was shut or removed, or the session that asks has ended.
    fn change_password(&self, change: PasswordChange) -> Answer<'_, bool>;
    /// Gives an account a token. `false`: it has as many as it may, or the session that asks has ended.
    fn add_token(&self, token: NewToken) -> Answer<'_, bool>;
    /// Makes an account where there is none at all. `None`: there is one.
    fn add_first_user(&self, user: NewUser) -> Answer<'_, Option<AddUserResult>>;
    /// Says whether an account may administer over HTTP.
    fn set_administrator(&self, user: UserId, administrator: bool) -> Answer<'_, ()>;
    /// Under which keys `sender` sent these messages, where they have one that is still kept. From disk.
    fn keys_of(&self, sender: UserId, messages: Vec<MessageId>) -> Answer<'_, Vec<(MessageId, SendKey)>>;
    /// Gives an account another display name, another country, or both.
    fn set_profile(&self, user: UserId, display_name: Option<Label>, country: Option<Label>) -> Answer<'_, ()>;
    /// The first open accounts whose names, in lower case, begin with this, in the order of these. From disk.
    fn accounts_named<'a>(&'a self, prefix: &'a str, most: usize) -> Answer<'a, Vec<User>>;
}
