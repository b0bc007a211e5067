//! What people change of their own accounts, and how they find those of others.

use std::time::Duration;

use super::{AddUserResult, Answer, Grant, NewUser, StoredInvite, User};
use crate::model::{InviteId, Label, MessageId, SendKey, SessionId, Timestamp, TokenHash, UserId};

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

/// A code to be given out, good for one account.
#[derive(Clone)]
pub struct NewInvite {
    /// SHA-256 of the code.
    pub code: TokenHash,
    /// For whom it is.
    pub label: Label,
    /// How long it works.
    pub lasts: Duration,
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
    /// Makes an account and uses a code up, both or neither. `None`: the code was used, is over, or is none.
    fn add_invited_user(&self, user: NewUser, code: TokenHash) -> Answer<'_, Option<AddUserResult>>;
    /// Whether a code works. From disk.
    fn is_invite(&self, code: TokenHash) -> Answer<'_, bool>;
    /// Keeps a code, and forgets those that are over.
    fn add_invite(&self, invite: NewInvite) -> Answer<'_, InviteId>;
    /// The first codes after this one that work, in the order of their numbers, none only at the end. From disk.
    fn invites(&self, after: InviteId) -> Answer<'_, Vec<StoredInvite>>;
    /// Takes a code back. `false`: there is no such one.
    fn remove_invite(&self, invite: InviteId) -> Answer<'_, bool>;
    /// Says whether an account may administer over HTTP.
    fn set_administrator(&self, user: UserId, administrator: bool) -> Answer<'_, ()>;
    /// Under which keys `sender` sent these messages, where they have one that is still kept. From disk.
    fn keys_of(&self, sender: UserId, messages: Vec<MessageId>) -> Answer<'_, Vec<(MessageId, SendKey)>>;
    /// Gives an account another display name, another country, or both.
    fn set_profile(&self, user: UserId, display_name: Option<Label>, country: Option<Label>) -> Answer<'_, ()>;
    /// The first open accounts whose names, in lower case, begin with this, in the order of these. From disk.
    fn accounts_named<'a>(&'a self, prefix: &'a str, most: usize) -> Answer<'a, Vec<User>>;
}
