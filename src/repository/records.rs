//! Accounts and sessions as the store gives them: plain data.

use std::fmt;
use std::sync::Arc;

use crate::model::{InviteId, Label, Scope, SessionId, Timestamp, UserId, Username};

#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// Its name on the wire.
    pub username: Username,
    pub display_name: Box<str>,
    /// Where its owner is from; may be empty. Many accounts share one.
    pub country: Arc<str>,
    /// Nobody may log in.
    pub disabled: bool,
    /// May administer over HTTP.
    pub administrator: bool,
    /// Removed. Only the recipients of its messages still see it.
    pub removed: bool,
    pub created_at: Timestamp,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({} {:?})", self.id, self.username.as_str())
    }
}

/// An account to be made.
#[derive(Clone)]
pub struct NewUser {
    /// Its name on the wire.
    pub username: Username,
    /// Its name in messages.
    pub display_name: Label,
    /// Where its owner is from; may be empty.
    pub country: Label,
    /// A PHC string.
    pub password_hash: String,
    /// May administer over HTTP.
    pub administrator: bool,
}

/// What became of [`add_user`](super::Repository::add_user).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddUserResult {
    Added,
    /// A living account has this name, or one that differs only in case.
    NameTaken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its place in the order of logins.
    pub id: SessionId,
    pub user: Arc<User>,
    /// What it is good for, where it is no login.
    pub grant: Option<Grant>,
}

/// What a token is good for that is no login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What for.
    pub scope: Scope,
    /// The only account or group to which it may send, by number.
    pub to: Option<i64>,
}

/// A living session as the disk has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// Its place in the order of logins.
    pub id: SessionId,
    pub username: Username,
    pub created_at: Timestamp,
    /// When its token was last shown; that may be an hour old.
    pub last_used_at: Timestamp,
    /// From where it was opened.
    pub address: String,
    /// What its user calls it, or the browser that it was opened in.
    pub label: String,
    /// What it is good for, where it is no login.
    pub scope: Option<Scope>,
    /// The name of the only account or group to which it may send.
    pub to: Option<String>,
}

/// A code that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredInvite {
    pub id: InviteId,
    /// For whom it is.
    pub label: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A session that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedSession {
    /// Its place in the order of logins.
    pub id: SessionId,
    /// A logout ended it. Otherwise it was revoked, expired, or evicted.
    pub logged_out: bool,
}
