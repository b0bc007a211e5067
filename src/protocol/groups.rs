//! Commands and replies about groups.

use crate::model::{Label, LookupName, MessageId, Password, Timestamp};

/// Commands about groups. A name need not be in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupCommand {
    /// Make a group; with a password, nobody joins without it.
    Create(LookupName, Option<Password>),
    /// Be in a group.
    Join(LookupName, Option<Password>),
    /// Give a group that I own another name in messages.
    Rename(LookupName, Label),
    /// Be in a group no more.
    Leave(LookupName),
    /// Which groups am I in?
    List,
    /// Who is in this group of mine?
    Members(LookupName),
    /// Put somebody into a group of mine.
    Invite(LookupName, LookupName),
    /// Take somebody out of a group that I own.
    Remove(LookupName, LookupName),
    /// Remove a group that I own.
    Delete(LookupName),
}

/// What became of a message to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupReadCount {
    /// Its place in the message log.
    pub id: MessageId,
    /// When it was accepted.
    pub sent_at: Timestamp,
    /// How many members have read it.
    pub read_by: u64,
    /// How many got it.
    pub of: u64,
}
