//! The key and the value of each reply on the JSON port. Each reply has one arm. All code that spells or measures
//! replies uses this value.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use super::account::{PASSWORD_CHANGED, RENAMED, SESSION_ENDED};
use super::{
    AccountReply, ConversationEntry, Conversations, FamilyReply, FetchedMessage, FollowReply, GroupReadCount,
    HistoryEntry, InboxFile, OnlinePerson, OwnSession, Person, Receipt, Refusal, Reply, SenderMessages,
};
use crate::model::{Message, Username};

pub(super) const ACKNOWLEDGED: &str = "Acknowledged";
pub(super) const GROUP_CHANGED: &str = "Done";
/// What stands under `kind` where a group is meant.
pub(super) const GROUP: &str = "group";

/// The reply to a sender when some members of the group have no room for the message.
pub(super) fn sent_to_some(not_delivered: u64) -> String {
    format!("Message Sent, {}", no_room(not_delivered))
}

/// Who does not get it.
pub(super) fn no_room(not_delivered: u64) -> String {
    let members = if not_delivered == 1 { "member has" } else { "members have" };
    format!("but {not_delivered} {members} no room for it")
}

/// The value of a reply.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    /// A number, and under a key of its own how many do not get the message.
    StoredForSome(u64, u64),
    /// A list of strings.
    Names(&'a [Username]),
    /// An object with a list for each sender, and the files that messages in it bring.
    Inbox(&'a [SenderMessages], &'a [InboxFile]),
    /// A list of messages, and the files that they bring.
    Fetched(&'a [FetchedMessage]),
    /// A string that may be long.
    LongText(&'a Arc<str>),
    /// An object with a list of names for each sender.
    Files(&'a [(Username, Vec<String>)]),
    /// A list of messages.
    History(&'a [HistoryEntry]),
    /// A list of what became of messages.
    Receipts(&'a [Receipt]),
    /// A list of how many have read each message.
    ReadCounts(&'a [GroupReadCount]),
    /// An object with a list of messages.
    Follow(&'a FollowReply),
    /// An object with a list of conversations.
    Conversations(&'a Conversations),
    /// A list of the asker's sessions.
    Sessions(&'a [OwnSession]),
    /// A list of people.
    People(&'a [Person]),
    /// A list of people who are logged in.
    OnlinePeople(&'a [OnlinePerson]),
}

impl Value<'_> {
    fn text(text: &str) -> Value<'_> {
        Value::Text(Cow::Borrowed(text))
    }

    fn owned<'a>(text: String) -> Value<'a> {
        Value::Text(Cow::Owned(text))
    }
}

impl Reply {
    /// The key beside the status, and what stands under it.
    pub(super) fn value(&self) -> (&'static str, Value<'_>) {
        match self {
            Reply::LoggedIn { token } => ("tokenid", Value::owned(token.reveal())),
            Reply::LoggedOut { token, .. } => ("messages", Value::owned(token.reveal())),
            Reply::Sent => ("message", Value::text("Message Sent")),
            Reply::SentToSome { not_delivered } => ("message", Value::owned(sent_to_some(*not_delivered))),
            Reply::Stored { id, not_delivered: 0 } => ("id", Value::Number(id.0.unsigned_abs())),
            Reply::Stored { id, not_delivered } => ("id", Value::StoredForSome(id.0.unsigned_abs(), *not_delivered)),
            Reply::GroupChanged => ("message", Value::text(GROUP_CHANGED)),
            Reply::Acknowledged => ("message", Value::text(ACKNOWLEDGED)),
            Reply::Read(messages) => ("read", Value::Number(*messages)),
            Reply::Inbox(senders) => ("messages", Value::Inbox(senders, &[])),
            Reply::Fetched(messages) => ("fetch", Value::Fetched(messages)),
            Reply::Online(names) => ("messages", Value::Names(names)),
            Reply::Groups(names) => ("groups", Value::Names(names)),
            Reply::Members(names) => ("members", Value::Names(names)),
            Reply::History(messages) => ("history", Value::History(messages)),
            Reply::Status(receipts) => ("sent", Value::Receipts(receipts)),
            Reply::GroupStatus(receipts) => ("sent", Value::ReadCounts(receipts)),
            Reply::Follow(followed) => ("follow", Value::Follow(followed)),
            Reply::Conversations(conversations) => ("conversations", Value::Conversations(conversations)),
            Reply::Account(AccountReply::PasswordChanged) => ("message", Value::text(PASSWORD_CHANGED)),
            Reply::Account(AccountReply::SessionEnded) => ("message", Value::text(SESSION_ENDED)),
            Reply::Account(AccountReply::Renamed) => ("message", Value::text(RENAMED)),
            Reply::Account(AccountReply::Sessions(sessions)) => ("sessions", Value::Sessions(sessions)),
            Reply::Account(AccountReply::People(people)) => ("people", Value::People(people)),
            Reply::Family(FamilyReply::OnlinePeople(people)) => ("messages", Value::OnlinePeople(people)),
            Reply::Family(FamilyReply::Accounts(names)) => ("messages", Value::Names(names)),
            Reply::Family(FamilyReply::GroupLog(senders)) => ("messages", Value::Inbox(senders, &[])),
            Reply::Family(FamilyReply::Inbox(senders, files)) => ("messages", Value::Inbox(senders, files)),
            Reply::Family(FamilyReply::File { data, .. }) => ("message", Value::LongText(data)),
            Reply::Family(FamilyReply::Files(list)) => ("messages", Value::Files(list)),
            Reply::Refused(refusal) => ("message", Value::owned(refused(*refusal))),
        }
    }

    /// The memory that the reply takes while it is written, in bytes: texts, and what stands beside them.
    pub fn held(&self) -> usize {
        let message = |message: &Message| size_of::<Message>() + COUNTED + message.text.len();
        let names = |past: &HistoryEntry| past.from.display_name.len() + past.to.display_name.len();
        let brought = |file: &InboxFile| size_of::<InboxFile>() + file.data.len();
        let entry = |past: &HistoryEntry| size_of::<HistoryEntry>() + names(past) + message(&past.message);
        match self.value().1 {
            Value::Text(_) | Value::Number(_) | Value::StoredForSome(..) => 0,
            // The names are those of the accounts.
            Value::Names(names) => size_of_val(names),
            Value::LongText(text) => text.len(),
            Value::Files(list) => {
                list.iter().flat_map(|(_, names)| names).map(|name| size_of::<String>() + name.len()).sum()
            }
            Value::Inbox(senders, files) => {
                let brought: usize = files.iter().map(brought).sum();
                let people = |from: &SenderMessages| {
                    let groups = from.to_groups.len() * size_of::<(usize, Arc<str>)>();
                    size_of::<SenderMessages>() + from.sender.len() + from.recipient.len() + groups
                };
                let sent = senders.iter().map(|from| people(from) + from.messages.iter().map(message).sum::<usize>());
                brought + sent.sum::<usize>()
            }
            Value::Fetched(messages) => {
                messages.iter().map(|fetched| entry(&fetched.entry) + fetched.file.as_ref().map_or(0, brought)).sum()
            }
            Value::History(messages) => messages.iter().map(entry).sum(),
            Value::Receipts(receipts) => size_of_val(receipts),
            Value::ReadCounts(receipts) => size_of_val(receipts),
            Value::Follow(followed) => followed.messages.iter().map(entry).sum(),
            Value::Conversations(conversations) => {
                let names = |entry: &ConversationEntry| size_of::<ConversationEntry>() + entry.with.display_name.len();
                conversations.list.iter().map(|conversation| names(conversation) + entry(&conversation.newest)).sum()
            }
            Value::Sessions(sessions) => sessions
                .iter()
                .map(|session| size_of::<OwnSession>() + session.address.len() + session.label.len())
                .sum(),
            Value::People(people) => {
                people.iter().map(|person| size_of::<Person>() + person.profile.display_name.len()).sum()
            }
            Value::OnlinePeople(people) => {
                people.iter().map(|person| size_of::<OnlinePerson>() + person.display_name.len()).sum()
            }
        }
    }
}

/// The words of a refusal.
pub(super) fn refused(refusal: Refusal) -> String {
    let words: &dyn Display = match refusal {
        Refusal::UnknownCommand | Refusal::Http => &"**Protocol Tidak Benar",
        Refusal::Malformed => &"--Protocol Tidak Benar",
        Refusal::UnknownUser => &"User Tidak Ada",
        Refusal::WrongPassword => &"Password Salah",
        Refusal::UnknownToken => &"Informasi tidak ditemukan",
        Refusal::UnknownRecipient => &"User Tidak Ditemukan",
        ours => &ours.words().expect("the original server has the words for all others"),
    };
    words.to_string()
}

/// What a shared text has beside it, in bytes: two counters.
const COUNTED: usize = 2 * size_of::<usize>();
