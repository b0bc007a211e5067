//! The wire of the original server from the client's end: writes the requests that [`crate::protocol::json::parse`]
//! reads and reads the replies that [`crate::protocol::json::render`] writes. Knows nothing of connections.

mod shapes;

use self::shapes::{
    ConversationRead, ConversationsRead, FollowedRead, MessageRead, Messages, Ordered, PastRead, PersonRead,
    ReceiptRead, ReplyObject, ReplyStatus, SessionRead,
};
use crate::model::{
    BadLabel, BadPassword, FileId, FileName, Foreign, LookupName, Message, MessageId, SessionId, Timestamp, Token,
    Username,
};
use crate::protocol::account::{PASSWORD_CHANGED, RENAMED, SESSION_ENDED};
use crate::protocol::family::{FamilyDialogue, FamilySettings, FileRecipients, RegisterOrder};
use crate::protocol::json::parse;
use crate::protocol::value::{ACKNOWLEDGED, GROUP, GROUP_CHANGED, refused, sent_to_some};
use crate::protocol::{
    AccountReply, Command, ConversationEntry, ConversationKind, Conversations, FamilyCommand, FetchedMessage,
    FollowReply, GroupReadCount, HistoryEntry, InboxFile, Number, OwnSession, Person, Profile, ReadBy, Receipt,
    Refusal, Reply, Request, SenderMessages, grammar,
};

/// Something in the request has a space or a line end where a line of words cannot have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the protocol cannot carry it: a name or password with a space in it, or a line end in mid-text")]
pub struct Unwritable;

/// Why a text is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A refusal in words that no chatd has.
    #[error("{0}")]
    Words(Foreign),
    /// Nothing that a server of this protocol says.
    #[error("the server's reply makes no sense: is that the JSON port of a chat server?")]
    Shape,
}

/// The line that asks this, its CRLF included.
pub fn write(request: &Request) -> Result<Vec<u8>, Unwritable> {
    let mut line = grammar::write(request).ok_or(Unwritable)?;
    if !line.ends_with("\r\n") {
        line += "\r\n";
    }
    // What cannot be carried is what would be read as something else.
    let one_line = line.find("\r\n") == line.len().checked_sub(2);
    let same = one_line && parse(line.as_bytes()).as_ref() == Ok(request);
    same.then(|| line.into_bytes()).ok_or(Unwritable)
}

/// The line that sends a file, up to the data: these are one word, in base64, and CR LF behind it ends the line.
pub fn write_file(token: Token, recipient: &LookupName, name: &FileName) -> Result<Vec<u8>, Unwritable> {
    let line = format!("sendfile {} {recipient} {} ", token.reveal(), name.as_str());
    let whom = FileRecipients::One(recipient.clone());
    let command = Command::Family(FamilyCommand::SendFile { whom, name: name.clone(), data: "".into() });
    // As above.
    let settings = FamilySettings { keys: false, register: false, order: RegisterOrder::UsernameFirst };
    let read = FamilyDialogue::new(settings).parse(format!("{line}\r\n").as_bytes());
    (read == Ok(command.with(token))).then(|| line.into_bytes()).ok_or(Unwritable)
}

/// The reply that a text spells, with or without its CRLF CRLF. What the wire does not carry is empty or zero in it:
/// numbers and times of messages in an inbox, and display names where a sender has no messages.
pub fn read(text: &[u8]) -> Result<Reply, Unreadable> {
    let answer: ReplyObject = serde_json::from_slice(text).map_err(|_| Unreadable::Shape)?;
    let token = |text: String| Token::parse(&text).ok_or(Unreadable::Shape);
    match answer {
        ReplyObject { status: ReplyStatus::Error, message: Some(words), .. } => {
            known(&words).map(Reply::Refused).ok_or_else(|| Unreadable::Words(words.into()))
        }
        ReplyObject { tokenid: Some(text), .. } => Ok(Reply::LoggedIn { token: token(text)? }),
        ReplyObject { messages: Some(Messages::Token(text)), .. } => {
            Ok(Reply::LoggedOut { token: token(text)?, username: Username::stored("") })
        }
        ReplyObject { messages: Some(Messages::Names(list)), .. } => Ok(Reply::Online(names(&list))),
        ReplyObject { messages: Some(Messages::Inbox(Ordered(senders))), .. } => {
            Ok(Reply::Inbox(senders.into_iter().map(from_sender).collect()))
        }
        ReplyObject { fetch: Some(messages), .. } => {
            messages.into_iter().map(fetched).collect::<Result<_, _>>().map(Reply::Fetched)
        }
        ReplyObject { history: Some(messages), .. } => {
            messages.into_iter().map(past).collect::<Result<_, _>>().map(Reply::History)
        }
        ReplyObject { sent: Some(receipts), .. } => status(receipts),
        ReplyObject { groups: Some(list), .. } => Ok(Reply::Groups(names(&list))),
        ReplyObject { members: Some(list), .. } => Ok(Reply::Members(names(&list))),
        ReplyObject { status: ReplyStatus::Ok, id: Some(id), not_delivered, .. } => {
            Ok(Reply::Stored { id: MessageId(id), not_delivered: not_delivered.unwrap_or(0) })
        }
        ReplyObject { follow: Some(read), .. } => followed(read).map(Reply::Follow),
        ReplyObject { conversations: Some(read), .. } => conversations(read).map(Reply::Conversations),
        ReplyObject { status: ReplyStatus::Ok, read: Some(messages), .. } => Ok(Reply::Read(messages)),
        ReplyObject { sessions: Some(sessions), .. } => {
            let sessions = sessions.into_iter().map(session).collect::<Result<_, _>>()?;
            Ok(Reply::Account(AccountReply::Sessions(sessions)))
        }
        ReplyObject { people: Some(people), .. } => {
            Ok(Reply::Account(AccountReply::People(people.into_iter().map(person).collect())))
        }
        ReplyObject { status: ReplyStatus::Ok, message: Some(words), .. } => Ok(match &*words {
            ACKNOWLEDGED => Reply::Acknowledged,
            PASSWORD_CHANGED => Reply::Account(AccountReply::PasswordChanged),
            SESSION_ENDED => Reply::Account(AccountReply::SessionEnded),
            RENAMED => Reply::Account(AccountReply::Renamed),
            GROUP_CHANGED => Reply::GroupChanged,
            words => {
                let number = words.split(' ').find_map(|word| word.parse().ok());
                let to_some = number.filter(|not_delivered| sent_to_some(*not_delivered) == words);
                to_some.map_or(Reply::Sent, |not_delivered| Reply::SentToSome { not_delivered })
            }
        }),
        ReplyObject { .. } => Err(Unreadable::Shape),
    }
}

fn names(list: &[String]) -> Vec<Username> {
    list.iter().map(|name| Username::stored(name)).collect()
}

/// The refusal that has these words.
fn known(words: &str) -> Option<Refusal> {
    let constant = [
        Refusal::UnknownCommand,
        Refusal::Malformed,
        Refusal::UnknownUser,
        Refusal::WrongPassword,
        Refusal::UnknownToken,
        Refusal::UnknownRecipient,
        Refusal::InboxFull,
        Refusal::StoredFull,
        Refusal::BadKey,
        Refusal::KeyUsed,
        Refusal::BadNewPassword(BadPassword::Length),
        Refusal::BadNewPassword(BadPassword::Characters),
        Refusal::BadDisplayName(BadLabel::Length),
        Refusal::BadDisplayName(BadLabel::Characters),
        Refusal::UnknownSession,
        Refusal::OutOfScope,
        Refusal::DirectoryOff,
        Refusal::GroupExists,
        Refusal::BadGroupName,
        Refusal::UnknownGroup,
        Refusal::AlreadyAMember,
        Refusal::NotAMember,
        Refusal::NotTheOwner,
        Refusal::GroupFull,
        Refusal::TooManyGroups,
        Refusal::LineTooLong,
        Refusal::Busy,
        Refusal::WantsTls,
        Refusal::NoTls,
        Refusal::Unavailable,
    ];
    let numbers = Number::ALL.into_iter().map(Refusal::NotANumber);
    let throttled = || {
        let seconds = words.split(' ').find_map(|word| word.parse().ok())?;
        let refusal = Refusal::Throttled { retry_after: std::time::Duration::from_secs(seconds) };
        (refused(refusal) == words).then_some(refusal)
    };
    constant.into_iter().chain(numbers).find(|refusal| refused(*refusal) == words).or_else(throttled)
}

fn session(read: SessionRead) -> Result<OwnSession, Unreadable> {
    Ok(OwnSession {
        id: SessionId(read.id),
        created_at: time(&read.created)?,
        last_used_at: time(&read.last_used)?,
        address: read.address,
        label: read.label,
        is_current: read.current,
    })
}

fn person(read: PersonRead) -> Person {
    let profile = Profile { username: Username::stored(&read.user), display_name: read.name };
    Person { profile, is_online: read.online }
}

fn followed(read: FollowedRead) -> Result<FollowReply, Unreadable> {
    let FollowedRead { messages, next, more, reads } = read;
    let messages = messages.into_iter().map(past).collect::<Result<_, _>>()?;
    Ok(FollowReply { messages, next: MessageId(next), more, reads })
}

fn conversations(read: ConversationsRead) -> Result<Conversations, Unreadable> {
    let entry = |read: ConversationRead| {
        Ok(ConversationEntry {
            with: Profile { username: Username::stored(&read.with), display_name: read.name },
            kind: kind(read.kind.as_deref())?,
            unread: read.unread,
            read_to: MessageId(read.read_to),
            other_read_to: MessageId(read.other_read_to),
            newest: past(read.newest)?,
        })
    };
    let list = read.list.into_iter().map(entry).collect::<Result<_, _>>()?;
    Ok(Conversations { list, next: read.next.map(MessageId) })
}

fn fetched(mut read: PastRead) -> Result<FetchedMessage, Unreadable> {
    let (message, id) = (MessageId(read.id), read.fileid.take());
    let file = match (id, read.file_name.take(), read.file_content.take()) {
        (Some(id), Some(name), Some(data)) => {
            let id = FileId(id.parse().map_err(|_| Unreadable::Shape)?);
            Some(InboxFile { message, id, name, data: data.into() })
        }
        _ => None,
    };
    Ok(FetchedMessage { entry: past(read)?, file })
}

fn past(read: PastRead) -> Result<HistoryEntry, Unreadable> {
    let person = |username: &str, display_name| Profile { username: Username::stored(username), display_name };
    let (from, to) = (person(&read.from, read.msg_from), person(&read.to, read.msg_to));
    let message = Message { id: MessageId(read.id), sent_at: time(&read.time)?, text: read.msg.into() };
    let readers = read.read_by.zip(read.of).map(|(read_by, of)| ReadBy { read_by, of });
    let read_at = read.read.as_deref().map(time).transpose()?;
    Ok(HistoryEntry { message, from, to, kind: kind(read.kind.as_deref())?, read_at, readers })
}

/// Without a group it is a person.
fn kind(said: Option<&str>) -> Result<ConversationKind, Unreadable> {
    match said {
        None => Ok(ConversationKind::Person),
        Some(GROUP) => Ok(ConversationKind::Group),
        Some(_) => Err(Unreadable::Shape),
    }
}

/// Of messages to a person, or to a group.
fn status(receipts: Vec<ReceiptRead>) -> Result<Reply, Unreadable> {
    let of_group = |read: &ReceiptRead| {
        let sent_at = time(&read.time).ok()?;
        Some(GroupReadCount { id: MessageId(read.id), sent_at, read_by: read.read_by?, of: read.of? })
    };
    match receipts.iter().map(of_group).collect::<Option<Vec<_>>>() {
        Some(counts) if !counts.is_empty() => Ok(Reply::GroupStatus(counts)),
        _ => receipts.into_iter().map(receipt).collect::<Result<_, _>>().map(Reply::Status),
    }
}

fn receipt(read: ReceiptRead) -> Result<Receipt, Unreadable> {
    let read_at = read.read.as_deref().map(time).transpose()?;
    Ok(Receipt { id: MessageId(read.id), sent_at: time(&read.time)?, read_at })
}

fn time(text: &str) -> Result<Timestamp, Unreadable> {
    text.parse().map_err(|_| Unreadable::Shape)
}

fn from_sender((username, messages): (String, Vec<MessageRead>)) -> SenderMessages {
    let (sender, recipient) =
        messages.first().map(|message| (message.msg_from.clone(), message.msg_to.clone())).unwrap_or_default();
    // The wire does not say which of them are groups. Messages to another target than the first one's are told apart.
    let others = messages.iter().enumerate().filter(|(_, message)| message.msg_to != recipient);
    let to_groups = others.map(|(place, message)| (place, message.msg_to.as_str().into())).collect();
    let message = |message: MessageRead| Message { id: MessageId(0), sent_at: Timestamp(0), text: message.msg.into() };
    SenderMessages {
        username: Username::stored(&username),
        sender,
        recipient,
        messages: messages.into_iter().map(message).collect(),
        to_groups,
    }
}

#[cfg(test)]
mod tests;
