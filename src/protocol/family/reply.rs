//! What only a word of the family is answered with.

use std::sync::Arc;

use crate::model::Username;
use crate::protocol::SenderMessages;

/// The answer to a [`FamilyCommand`](super::FamilyCommand) that has one of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FamilyReply {
    /// Who is logged in, in the order of their oldest living session.
    OnlinePeople(Vec<OnlinePerson>),
    /// The accounts, by name.
    Accounts(Vec<Username>),
    /// What was sent to a group, by sender.
    GroupLog(Vec<SenderMessages>),
}

/// Somebody who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnlinePerson {
    /// The account's name.
    pub username: Username,
    /// Its name in messages.
    pub display_name: Box<str>,
    /// Where its owner is from; may be empty.
    pub country: Arc<str>,
}
