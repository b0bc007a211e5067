//! The wire of the original server from the client's end: writes the requests that [`crate::protocol::json::parse`]
//! reads and reads the replies that [`crate::protocol::json::render`] writes. Knows nothing of connections.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::model::{Foreign, Message, MessageId, Timestamp, Token, Username};
use crate::protocol::json::{ACKNOWLEDGED, parse, refused};
use crate::protocol::{HistoryEntry, Number, Profile, Receipt, Refusal, Reply, Request, SenderMessages, grammar};

/// Something in the request has a space or a line end where a line of words cannot have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the protocol cannot carry it: a name or password with a space in it, or a line end in mid-text")]
pub struct Unwritable;

/// Why a text is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A refusal in words that no server of ours has.
    #[error("{0}")]
    Words(Foreign),
    /// Nothing that a server of this protocol says.
    #[error("the server's reply makes no sense: is that the JSON port of a chat server?")]
    Shape,
}

/// The line that asks this, its CRLF included.
pub fn write(request: &Request) -> Result<Vec<u8>, Unwritable> {
    let mut line = grammar::write(request);
    if !line.ends_with("\r\n") {
        line += "\r\n";
    }
    // What cannot be carried is what would be read as something else.
    let one_line = line.find("\r\n") == line.len().checked_sub(2);
    let same = one_line && parse(line.as_bytes()).as_ref() == Ok(request);
    same.then(|| line.into_bytes()).ok_or(Unwritable)
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
        ReplyObject { messages: Some(Messages::Token(text)), .. } => Ok(Reply::LoggedOut { token: token(text)? }),
        ReplyObject { messages: Some(Messages::Names(names)), .. } => {
            Ok(Reply::Online(names.iter().map(|name| Username::stored(name)).collect()))
        }
        ReplyObject { messages: Some(Messages::Inbox(Ordered(senders))), .. } => {
            Ok(Reply::Inbox(senders.into_iter().map(from_sender).collect()))
        }
        ReplyObject { history: Some(messages), .. } => {
            messages.into_iter().map(past).collect::<Result<_, _>>().map(Reply::History)
        }
        ReplyObject { sent: Some(receipts), .. } => {
            receipts.into_iter().map(receipt).collect::<Result<_, _>>().map(Reply::Status)
        }
        ReplyObject { status: ReplyStatus::Ok, message: Some(words), .. } if words == ACKNOWLEDGED => {
            Ok(Reply::Acknowledged)
        }
        ReplyObject { status: ReplyStatus::Ok, message: Some(_), .. } => Ok(Reply::Sent),
        ReplyObject { .. } => Err(Unreadable::Shape),
    }
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
        Refusal::NotANumber(Number::Seconds),
        Refusal::NotANumber(Number::BeforeId),
        Refusal::NotANumber(Number::Count),
        Refusal::LineTooLong,
        Refusal::Busy,
        Refusal::WantsTls,
        Refusal::NoTls,
        Refusal::Unavailable,
    ];
    let throttled = || {
        let seconds = words.split(' ').find_map(|word| word.parse().ok())?;
        let refusal = Refusal::Throttled { retry_after: std::time::Duration::from_secs(seconds) };
        (refused(refusal) == words).then_some(refusal)
    };
    constant.into_iter().find(|refusal| refused(*refusal) == words).or_else(throttled)
}

#[derive(Deserialize)]
struct ReplyObject {
    status: ReplyStatus,
    tokenid: Option<String>,
    message: Option<String>,
    messages: Option<Messages>,
    history: Option<Vec<PastRead>>,
    sent: Option<Vec<ReceiptRead>>,
}

#[derive(Deserialize)]
enum ReplyStatus {
    #[serde(rename = "OK")]
    Ok,
    #[serde(rename = "ERROR")]
    Error,
}

/// What stands under `messages`: each request has its own.
#[derive(Deserialize)]
#[serde(untagged)]
enum Messages {
    Token(String),
    Names(Vec<String>),
    Inbox(Ordered<Vec<MessageRead>>),
}

#[derive(Deserialize)]
struct MessageRead {
    msg_from: String,
    msg_to: String,
    msg: String,
}

#[derive(Deserialize)]
struct PastRead {
    id: i64,
    time: String,
    from: String,
    to: String,
    msg_from: String,
    msg_to: String,
    msg: String,
    read: Option<String>,
}

#[derive(Deserialize)]
struct ReceiptRead {
    id: i64,
    time: String,
    read: Option<String>,
}

fn past(read: PastRead) -> Result<HistoryEntry, Unreadable> {
    let person = |username: &str, display_name| Profile { username: Username::stored(username), display_name };
    let (from, to) = (person(&read.from, read.msg_from), person(&read.to, read.msg_to));
    let message = Message { id: MessageId(read.id), sent_at: time(&read.time)?, text: read.msg.into() };
    Ok(HistoryEntry { message, from, to, read_at: read.read.as_deref().map(time).transpose()? })
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
    let message = |message: MessageRead| Message { id: MessageId(0), sent_at: Timestamp(0), text: message.msg.into() };
    SenderMessages {
        username: Username::stored(&username),
        sender,
        recipient,
        messages: messages.into_iter().map(message).collect(),
    }
}

/// An object whose keys keep their order.
struct Ordered<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<V>(std::marker::PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<V> {
            type Value = Ordered<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<V>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{LookupName, Password};
    use crate::protocol::json::render;
    use crate::protocol::{Command, Send};

    fn token() -> impl Strategy<Value = Token> {
        Just(()).prop_map(|()| Token::generate())
    }

    /// A word as people have them for names: no white space, and nothing that Python would strip.
    fn word() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9é你😀._-]{1,12}"
    }

    fn name() -> impl Strategy<Value = LookupName> {
        word().prop_map(|word| LookupName::of(&word))
    }

    fn request() -> impl Strategy<Value = Request> {
        let text = prop_oneof![Just(String::new()), "( [^\r]{0,40}){1,3}".prop_map(|text| text + "\r\n")];
        let login = (name(), word()).prop_map(|(username, password)| Request {
            token: None,
            command: Command::Auth { username, password: Password::attempt(&password) },
        });
        let command = prop_oneof![
            (name(), text).prop_map(|(recipient, text)| Command::Send(Send { recipient, text: text.into() })),
            Just(Command::Inbox),
            Just(Command::Show),
            Just(Command::Logout),
            (0u64..1 << 40).prop_map(|seconds| Command::Wait { at_most: Duration::from_secs(seconds) }),
            Just(Command::Ack),
            (name(), prop::option::of(1i64..), prop::option::of(any::<u64>())).prop_map(|(username, before, count)| {
                Command::History { username, before: before.map(MessageId), count }
            }),
            name().prop_map(|username| Command::Status { username }),
        ];
        prop_oneof![1 => login, 8 => (token(), command).prop_map(|(token, command)| command.with(token))]
    }

    fn from_sender() -> impl Strategy<Value = SenderMessages> {
        let message =
            any::<String>().prop_map(|text| Message { id: MessageId(0), sent_at: Timestamp(0), text: text.into() });
        let messages = prop::collection::vec(message, 0..4);
        (word(), any::<String>(), any::<String>(), messages).prop_map(|(username, sender, recipient, messages)| {
            // The display names stand in the messages.
            let shown = |name: String| if messages.is_empty() { String::new() } else { name };
            let (sender, recipient) = (shown(sender), shown(recipient));
            SenderMessages { username: Username::stored(&username), sender, recipient, messages }
        })
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        (0i64..1 << 45).prop_map(Timestamp)
    }

    fn receipt() -> impl Strategy<Value = Receipt> {
        (1i64.., time(), prop::option::of(time())).prop_map(|(id, sent_at, read_at)| Receipt {
            id: MessageId(id),
            sent_at,
            read_at,
        })
    }

    fn past() -> impl Strategy<Value = HistoryEntry> {
        let person = || {
            (word(), any::<String>())
                .prop_map(|(name, display_name)| Profile { username: Username::stored(&name), display_name })
        };
        (receipt(), any::<String>(), person(), person()).prop_map(|(receipt, text, from, to)| {
            let message = Message { id: receipt.id, sent_at: receipt.sent_at, text: text.into() };
            HistoryEntry { message, from, to, read_at: receipt.read_at }
        })
    }

    fn refusal() -> impl Strategy<Value = Refusal> {
        prop_oneof![
            Just(Refusal::UnknownCommand),
            Just(Refusal::Malformed),
            Just(Refusal::UnknownUser),
            Just(Refusal::WrongPassword),
            Just(Refusal::UnknownToken),
            Just(Refusal::UnknownRecipient),
            Just(Refusal::InboxFull),
            Just(Refusal::StoredFull),
            Just(Refusal::NotANumber(Number::Seconds)),
            Just(Refusal::NotANumber(Number::BeforeId)),
            Just(Refusal::NotANumber(Number::Count)),
            Just(Refusal::LineTooLong),
            Just(Refusal::Busy),
            Just(Refusal::WantsTls),
            Just(Refusal::NoTls),
            Just(Refusal::Unavailable),
            (1u64..1 << 40).prop_map(|seconds| Refusal::Throttled { retry_after: Duration::from_secs(seconds) }),
        ]
    }

    fn reply() -> impl Strategy<Value = Reply> {
        let name = word().prop_map(|name| Username::stored(&name));
        prop_oneof![
            token().prop_map(|token| Reply::LoggedIn { token }),
            Just(Reply::Sent),
            prop::collection::vec(from_sender(), 0..4).prop_map(Reply::Inbox),
            prop::collection::vec(name, 0..6).prop_map(Reply::Online),
            token().prop_map(|token| Reply::LoggedOut { token }),
            Just(Reply::Acknowledged),
            prop::collection::vec(past(), 0..4).prop_map(Reply::History),
            prop::collection::vec(receipt(), 0..4).prop_map(Reply::Status),
            refusal().prop_map(Reply::Refused),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_meant(request in request()) {
            let line = write(&request).expect("there are only names and texts that a line can carry");
            prop_assert_eq!(parse(&line), Ok(request));
        }

        #[test]
        fn what_is_rendered_is_read_as_meant(reply in reply()) {
            let mut text = Vec::new();
            render(&reply, &mut text);
            prop_assert_eq!(read(&text), Ok(reply));
        }

        #[test]
        fn any_words_are_carried_whole_or_not_at_all(username: String, password: String) {
            let (username, password) = (LookupName::of(&username), Password::attempt(&password));
            let request = Request { token: None, command: Command::Auth { username, password } };
            if let Ok(line) = write(&request) {
                prop_assert_eq!(parse(&line), Ok(request));
                prop_assert_eq!(line.windows(2).filter(|pair| pair == b"\r\n").count(), 1);
            }
        }

        #[test]
        fn no_text_is_too_strange_to_be_read(text: Vec<u8>) {
            let _ = read(&text);
        }
    }

    #[test]
    fn what_a_line_cannot_carry_is_not_written() {
        let auth = |username: &str, password: &str| {
            let (username, password) = (LookupName::of(username), Password::attempt(password));
            Request { token: None, command: Command::Auth { username, password } }
        };
        assert!(write(&auth("messi", "surabaya")).is_ok());
        for (username, password) in [("me ssi", "x"), ("messi", "x y"), ("messi", "x\r\nshow"), ("messi", "x\n")] {
            assert_eq!(write(&auth(username, password)), Err(Unwritable), "{username:?} {password:?}");
        }
        let send = |text: &str| {
            let send = Send { recipient: LookupName::of("m"), text: text.into() };
            write(&Command::Send(send).with(Token::generate()))
        };
        assert!(send(" a\nb \r\n").is_ok());
        for text in ["a \r\n", " a", " a\r\nb\r\n"] {
            assert_eq!(send(text), Err(Unwritable), "{text:?}");
        }
    }

    #[test]
    fn what_no_server_of_ours_says_is_told_apart() {
        let words = |words: &str| Err(Unreadable::Words(words.to_owned().into()));
        assert_eq!(read(br#"{"status": "ERROR", "message": "Group Tidak Ada"}"#), words("Group Tidak Ada"));
        for strange in
            ["", "{}", "[]", "HTTP/1.1 400 Bad Request", r#"{"status": "OK"}"#, r#"{"status": "OK", "tokenid": "x"}"#]
        {
            assert_eq!(read(strange.as_bytes()), Err(Unreadable::Shape), "{strange}");
        }
    }
}
