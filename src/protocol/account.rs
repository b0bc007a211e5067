//! What somebody asks of one's own account, and who else there is.

use std::io::Write;

use super::Profile;
use super::python::texts;
use crate::model::{Label, LookupName, Password, SessionId, Timestamp};

/// Commands about one's own account and about the list of accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountCommand {
    /// Another password, which ends the other sessions.
    ChangePassword {
        /// The one that holds, or should.
        old: Password,
        /// The one that is to hold; it need not be fit for it.
        new: Password,
    },
    /// Where am I logged in?
    Sessions,
    /// End one of my sessions.
    EndSession(SessionId),
    /// Another name in messages.
    Rename(Label),
    /// Whose names begin with this?
    People(LookupName),
}

/// The replies to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountReply {
    /// The new password holds, and the other sessions have ended.
    PasswordChanged,
    /// The asker's sessions, oldest first.
    Sessions(Vec<OwnSession>),
    /// The session has ended.
    SessionEnded,
    /// The new name is in force.
    Renamed,
    /// Accounts, by name.
    People(Vec<Person>),
}

/// A session of the asker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSession {
    /// Its place in the order of logins.
    pub id: SessionId,
    /// When it began.
    pub created_at: Timestamp,
    /// When its token was last shown; that may be an hour old.
    pub last_used_at: Timestamp,
    /// From where it was opened.
    pub address: String,
    /// What it was opened in; empty where that was not said.
    pub label: String,
    /// It is the one that asks.
    pub is_current: bool,
}

/// Somebody, and whether a client of theirs is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub profile: Profile,
    /// A connection of theirs is open.
    pub is_online: bool,
}

pub(super) const PASSWORD_CHANGED: &str = "Password changed";
pub(super) const SESSION_ENDED: &str = "Session ended";
pub(super) const RENAMED: &str = "Profile changed";

/// Spells one of the asker's sessions.
pub(super) fn session(session: &OwnSession, out: &mut Vec<u8>) {
    let OwnSession { id, created_at, last_used_at, address, label, is_current } = session;
    write!(out, "{{\"id\": {id}, \"created\": \"{created_at}\", \"last_used\": \"{last_used_at}\", ")
        .expect("a Vec takes every byte");
    texts(&[("address", address), ("label", label)], out);
    write!(out, "\"current\": {is_current}}}").expect("a Vec takes every byte");
}

/// Spells one of a list of people.
pub(super) fn person(Person { profile, is_online }: &Person, out: &mut Vec<u8>) {
    out.push(b'{');
    texts(&[("user", profile.username.as_str()), ("name", &profile.display_name)], out);
    write!(out, "\"online\": {is_online}}}").expect("a Vec takes every byte");
}
