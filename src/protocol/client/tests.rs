//! What one end writes is what the other end reads.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{Label, LookupName, Password, SendKey};
use crate::protocol::ConversationKind::{Group, Person};
use crate::protocol::json::render;
use crate::protocol::{Command, GroupCommand, Send};

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
        ("[!-~]{1,64}", name(), "( [^\r]{0,40}){1,3}").prop_map(|(key, recipient, text)| {
            let key = SendKey::parse(&key).expect("it is one");
            Command::SendOnce { key, recipient, text: (text + "\r\n").into() }
        }),
        Just(Command::Inbox),
        Just(Command::Show),
        Just(Command::Logout),
        (0u64..1 << 40).prop_map(|seconds| Command::Wait { at_most: Duration::from_secs(seconds) }),
        (0u64..1 << 40).prop_map(|seconds| Command::Fetch { at_most: Duration::from_secs(seconds) }),
        Just(Command::Ack),
        (name(), prop::option::of(1i64..), prop::option::of(any::<u64>())).prop_map(|(username, before, count)| {
            Command::History { username, before: before.map(MessageId), count }
        }),
        name().prop_map(|username| Command::Status { username }),
        (prop::option::of(0i64..), 0u64..1 << 40, prop::option::of(any::<u64>())).prop_map(
            |(after, seconds, reads)| Command::Follow {
                after: after.map(MessageId),
                at_most: Duration::from_secs(seconds),
                reads
            }
        ),
        prop::option::of(1i64..).prop_map(|before| Command::Conversations { before: before.map(MessageId) }),
        (name(), 0i64..).prop_map(|(username, to)| Command::Read { username, to: MessageId(to) }),
        group_command().prop_map(Command::Group),
    ];
    prop_oneof![1 => login, 8 => (token(), command).prop_map(|(token, command)| command.with(token))]
}

fn group_command() -> impl Strategy<Value = GroupCommand> {
    prop_oneof![
        Just(GroupCommand::List),
        (name(), prop::option::of(word()))
            .prop_map(|(group, word)| { GroupCommand::Create(group, word.as_deref().map(Password::attempt)) }),
        (name(), prop::option::of(word()))
            .prop_map(|(group, word)| GroupCommand::Join(group, word.as_deref().map(Password::attempt))),
        (name(), "[a-zA-Z0-9é你]{1,9}( [a-z]{1,9})?")
            .prop_map(|(group, label)| GroupCommand::Rename(group, Label::parse(&label).expect("it is one"))),
        name().prop_map(GroupCommand::Leave),
        name().prop_map(GroupCommand::Members),
        name().prop_map(GroupCommand::Delete),
        (name(), name()).prop_map(|(group, user)| GroupCommand::Invite(group, user)),
        (name(), name()).prop_map(|(group, user)| GroupCommand::Remove(group, user)),
    ]
}

fn from_sender() -> impl Strategy<Value = SenderMessages> {
    let message =
        any::<String>().prop_map(|text| Message { id: MessageId(0), sent_at: Timestamp(0), text: text.into() });
    let messages = prop::collection::vec((message, prop::option::of("[a-z]{1,3}")), 0..4);
    // The first is to the reader, or how is one to know his name?
    (word(), any::<String>(), "[A-Z]{0,3}", messages).prop_map(|(username, sender, recipient, messages)| {
        let others = messages.iter().enumerate().skip(1);
        let to_groups = others.filter_map(|(place, (_, group))| Some((place, group.as_deref()?.into()))).collect();
        let messages: Vec<Message> = messages.into_iter().map(|(message, _)| message).collect();
        // The display names stand in the messages.
        let shown = |name: String| if messages.is_empty() { String::new() } else { name };
        let (sender, recipient) = (shown(sender), shown(recipient));
        SenderMessages { username: Username::stored(&username), sender, recipient, messages, to_groups }
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
    let to_person = (receipt(), any::<String>(), person(), person()).prop_map(|(receipt, text, from, to)| {
        let message = Message { id: receipt.id, sent_at: receipt.sent_at, text: text.into() };
        HistoryEntry { message, from, to, kind: Person, read_at: receipt.read_at, readers: None }
    });
    let to_person = to_person.boxed();
    let readers = prop::option::of((any::<u64>(), any::<u64>()));
    let to_group = (to_person.clone(), readers).prop_map(|(past, readers)| {
        let readers = readers.map(|(read_by, of)| ReadBy { read_by, of });
        HistoryEntry { kind: Group, read_at: None, readers, ..past }
    });
    prop_oneof![to_person, to_group]
}

fn fetched() -> impl Strategy<Value = FetchedMessage> {
    let file = prop::option::of((any::<i64>(), any::<String>(), any::<String>()));
    (past(), file).prop_map(|(past, file)| {
        let message = past.message.id;
        let file = file.map(|(id, name, data)| InboxFile { message, id: FileId(id), name, data: data.into() });
        FetchedMessage { entry: HistoryEntry { read_at: None, readers: None, ..past }, file }
    })
}

fn followed() -> impl Strategy<Value = FollowReply> {
    (prop::collection::vec(past(), 0..4), 0i64.., any::<bool>(), any::<u64>())
        .prop_map(|(messages, next, more, reads)| FollowReply { messages, next: MessageId(next), more, reads })
}

fn conversations() -> impl Strategy<Value = Conversations> {
    let entry = (past(), any::<u64>(), 0i64.., 0i64..).prop_map(|(newest, unread, read_to, other)| {
        let (read_to, other_read_to) = (MessageId(read_to), MessageId(other));
        let with = newest.from.clone();
        ConversationEntry { with, kind: newest.kind, unread, read_to, other_read_to, newest }
    });
    (prop::collection::vec(entry, 0..4), prop::option::of(1i64..))
        .prop_map(|(list, next)| Conversations { list, next: next.map(MessageId) })
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
        Just(Refusal::BadKey),
        Just(Refusal::KeyUsed),
        Just(Refusal::GroupExists),
        Just(Refusal::BadGroupName),
        Just(Refusal::UnknownGroup),
        Just(Refusal::AlreadyAMember),
        Just(Refusal::NotAMember),
        Just(Refusal::NotTheOwner),
        Just(Refusal::GroupFull),
        Just(Refusal::TooManyGroups),
        prop::sample::select(&Number::ALL[..]).prop_map(Refusal::NotANumber),
        Just(Refusal::LineTooLong),
        Just(Refusal::Busy),
        Just(Refusal::WantsTls),
        Just(Refusal::NoTls),
        Just(Refusal::Unavailable),
        (1u64..1 << 40).prop_map(|seconds| Refusal::Throttled { retry_after: Duration::from_secs(seconds) }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let names = || prop::collection::vec(word().prop_map(|name| Username::stored(&name)), 0..6);
    let count = (receipt(), any::<u64>(), any::<u64>()).prop_map(|(receipt, read_by, of)| GroupReadCount {
        id: receipt.id,
        sent_at: receipt.sent_at,
        read_by,
        of,
    });
    prop_oneof![
        token().prop_map(|token| Reply::LoggedIn { token }),
        Just(Reply::Sent),
        prop::collection::vec(from_sender(), 0..4).prop_map(Reply::Inbox),
        names().prop_map(Reply::Online),
        names().prop_map(Reply::Groups),
        names().prop_map(Reply::Members),
        Just(Reply::GroupChanged),
        any::<u64>().prop_map(|not_delivered| Reply::SentToSome { not_delivered }),
        prop::collection::vec(count, 1..4).prop_map(Reply::GroupStatus),
        token().prop_map(|token| Reply::LoggedOut { token, username: Username::stored("") }),
        Just(Reply::Acknowledged),
        prop::collection::vec(fetched(), 0..4).prop_map(Reply::Fetched),
        prop::collection::vec(past(), 0..4).prop_map(Reply::History),
        prop::collection::vec(receipt(), 0..4).prop_map(Reply::Status),
        followed().prop_map(Reply::Follow),
        conversations().prop_map(Reply::Conversations),
        any::<u64>().prop_map(Reply::Read),
        (1i64.., any::<u64>()).prop_map(|(id, not_delivered)| Reply::Stored { id: MessageId(id), not_delivered }),
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
