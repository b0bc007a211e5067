//! What only a word of the family is answered with.

use std::sync::Arc;

use crate::model::{FileId, MessageId, Username};
use crate::protocol::SenderMessages;

/// The answers that only a [`FamilyCommand`](super::FamilyCommand) has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FamilyReply {
    /// Who is logged in, in the order of their oldest living session.
    OnlinePeople(Vec<OnlinePerson>),
    /// The accounts, by name.
    Accounts(Vec<Username>),
    /// What was sent to a group, by sender.
    GroupLog(Vec<SenderMessages>),
    /// What waited, by sender, and the files that some of it brings, in the order of their messages.
    Inbox(Vec<SenderMessages>, Vec<InboxFile>),
    /// A file.
    File {
        /// What it is called.
        name: String,
        /// Its bytes, as the sender wrote them.
        data: Arc<str>,
    },
    /// The names of files, by sender.
    Files(Vec<(Username, Vec<String>)>),
}

/// A file that a message of an inbox brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxFile {
    /// The message.
    pub message: MessageId,
    /// Its number.
    pub id: FileId,
    /// What it is called.
    pub name: String,
    /// Its bytes, as the sender wrote them; empty where they are fetched by themselves.
    pub data: Arc<str>,
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
