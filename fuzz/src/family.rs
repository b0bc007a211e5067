//! The words of the family change nothing of what the first grammar understands, take a session only from a token or
//! from the connection, and whatever others wrote, a reply to one of them is one JSON text in ASCII.

use chatd::model::{Message, MessageId, Timestamp, Token, Username};
use chatd::protocol::dialect::Dialect;
use chatd::protocol::family::{FamilyReply, FamilySettings, RegisterOrder};
use chatd::protocol::{Command, FamilyCommand, GroupCommand, Refusal, Reply, Request, SenderMessages, json};

const SESSION: &str = "503d38c0-2691-4ff1-81ad-fc11f9f5ad03";

/// The data are a line without its end and, after 0xff, what others wrote.
pub fn check(data: &[u8]) {
    let (typed, theirs) = data.split_at(data.iter().position(|byte| *byte == 0xff).unwrap_or(data.len()));
    let line = [typed, b"\r\n"].concat();
    let first = json::parse(&line);
    for keys in [false, true] {
        for order in [RegisterOrder::UsernameFirst, RegisterOrder::NameFirst] {
            let mut dialect = Dialect::family(FamilySettings { keys, register: true, order });
            let session = Token::parse(SESSION).expect("it is one");
            let _ = dialect.parse(b"login messi surabaya\r\n");
            dialect.render(&Reply::LoggedIn { token: session }, &mut Vec::new());
            let _ = dialect.parse_head(&line[..line.len() / 2]);
            let request = dialect.parse(&line);
            compare(&first, &request, &line);
            let reply = request.map_or_else(Reply::from, |request| answer(&request, session, theirs));
            let mut out = Vec::new();
            dialect.render(&reply, &mut out);
            assert!(out.ends_with(b"}\r\n\r\n"));
            assert!(out[..out.len() - 4].iter().all(|byte| matches!(byte, b' '..=b'~')));
            let read: serde_json::Value = serde_json::from_slice(&out).expect("a reply is JSON");
            let status = if matches!(reply, Reply::Refused(_)) { "ERROR" } else { "OK" };
            assert_eq!(read["status"], status);
        }
    }
}

/// What the first grammar understands stays what it was, but for `status` without a name.
fn compare(first: &Result<Request, Refusal>, request: &Result<Request, Refusal>, line: &[u8]) {
    match (first, request) {
        (Ok(Request { command: Command::Status { username }, .. }), Ok(request)) if username.is_empty() => {
            assert_eq!(request.command, Command::Show);
        }
        (Ok(_), _) => assert_eq!(first, request),
        (Err(_), Ok(Request { token: Some(token), .. })) => {
            let shows = |token: &str| line.windows(token.len()).any(|window| window == token.as_bytes());
            assert!(shows(&token.reveal()) || token.reveal() == SESSION, "the token of nobody");
        }
        (Err(_), Ok(Request { token: None, command })) => {
            let needs_none = matches!(command, Command::Auth { .. } | Command::Family(FamilyCommand::Register(_)));
            assert!(needs_none, "{command:?} without a session");
        }
        (Err(first), Err(now)) => {
            let is_of_the_parser = matches!(now, Refusal::Malformed | Refusal::UnknownToken);
            assert!(first == now || is_of_the_parser, "{first:?}, now {now:?}");
        }
    }
}

/// What a service might say, with the texts of others in it.
fn answer(request: &Request, token: Token, theirs: &[u8]) -> Reply {
    let theirs = String::from_utf8_lossy(theirs).into_owned();
    let name = Username::stored(&theirs);
    let message = Message { id: MessageId(1), sent_at: Timestamp(0), text: theirs.as_str().into() };
    let senders = || {
        vec![SenderMessages {
            username: name.clone(),
            sender: theirs.clone(),
            recipient: theirs.clone(),
            messages: vec![message.clone(), message.clone()],
            to_groups: Vec::new(),
        }]
    };
    match &request.command {
        Command::Auth { .. } | Command::Family(FamilyCommand::Register(_)) => Reply::LoggedIn { token },
        Command::Logout => Reply::LoggedOut { token, username: name },
        Command::Show => Reply::Online(vec![name.clone(), name]),
        Command::Inbox => Reply::Inbox(senders()),
        Command::Fetch { .. } => Reply::Fetched(senders().into_iter().flat_map(SenderMessages::into_fetched).collect()),
        Command::Group(GroupCommand::List) => Reply::Groups(vec![name.clone(), name]),
        Command::Group(_) | Command::Family(FamilyCommand::CreateGroup { .. }) => Reply::GroupChanged,
        Command::Family(FamilyCommand::Accounts) => Reply::Family(FamilyReply::Accounts(vec![name.clone(), name])),
        Command::Family(FamilyCommand::OnlinePeople) => Reply::Family(FamilyReply::OnlinePeople(Vec::new())),
        Command::Family(FamilyCommand::GroupLog(_)) => Reply::Family(FamilyReply::GroupLog(senders())),
        Command::Family(FamilyCommand::Files) => Reply::Family(FamilyReply::Files(vec![(name, vec![theirs])])),
        Command::Family(FamilyCommand::Download { .. }) => {
            Reply::Family(FamilyReply::File { name: theirs.clone(), data: theirs.as_str().into() })
        }
        _ => Reply::Sent,
    }
}
