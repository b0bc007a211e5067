//! What was committed, in the form in which the directory takes it over. A backend makes events from its own commits,
//! and from the change feed for commits of other processes. An event has the new state, so it does no harm to take it
//! over twice.

use std::net::IpAddr;

use super::groups::GroupEvent;
use super::stored::StoredAmount;
use crate::model::{Label, SessionId, Timestamp, TokenHash, UserId};
use crate::repository::{Grant, User};

/// A session as the directory keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRecord {
    /// Its place in the order of logins.
    pub id: SessionId,
    pub user: UserId,
    /// SHA-256 of its token.
    pub token: TokenHash,
    /// When it was last used, as far as the database knows.
    pub last_used_at: Timestamp,
    /// The address from which it was opened, if that is an IP address.
    pub address: Option<IpAddr>,
    /// What it is good for, where it is no login.
    pub grant: Option<Grant>,
}

/// What one change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Nothing that the directory shows.
    Nothing,
    /// An account is new, or is now like this.
    UserStored(Box<User>),
    /// An account has another password; its sessions ended.
    PasswordSet(UserId),
    /// An account may administer from now on, or no more.
    AdministratorSet(UserId, bool),
    /// An account was shut or opened; its sessions ended.
    DisabledSet(UserId, bool),
    /// An account has another display name, another country, or both.
    ProfileSet {
        user: UserId,
        display_name: Option<Label>,
        country: Option<Label>,
    },
    /// An account is gone, with its sessions and its mail.
    UserRemoved(UserId),
    /// A session is new, or is now like this. Others ended for it.
    SessionOpened(SessionRecord, Vec<SessionId>),
    SessionsEnded(Vec<SessionId>),
    /// A session ended because its user asked for it.
    LoggedOut(SessionId),
    /// Groups and their members changed.
    GroupsChanged(Vec<GroupEvent>),
    /// One after the other.
    Several(Vec<Event>),
    /// Messages of these senders were removed from the message log.
    MessagesRemoved(Vec<(UserId, StoredAmount)>),
    /// The database has heard when these sessions were last used.
    UsesStored(Vec<(SessionId, Timestamp)>),
}

impl Event {
    /// The event, or the events in it.
    pub(crate) fn each(self) -> Vec<Event> {
        match self {
            Event::Several(events) => events.into_iter().flat_map(Event::each).collect(),
            event => vec![event],
        }
    }

    /// Moves the stored use of a session by so many milliseconds.
    pub(crate) fn move_uses(&mut self, milliseconds: i64) {
        if let Event::SessionOpened(record, _) = self {
            record.last_used_at.0 += milliseconds;
        }
    }
}

/// What events have ended. Whoever holds something for these sessions and accounts must hear of it: leases end, those
/// who wait are woken, and mailboxes are removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Sessions, and whose they were.
    pub sessions: Vec<(SessionId, UserId)>,
    /// Accounts that lived before and do so no more.
    pub users: Vec<UserId>,
}
