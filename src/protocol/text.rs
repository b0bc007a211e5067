//! The text protocol: what a person types and reads, one line each way. The text listener and `chatd client` share it,
//! so that both say the same. Knows nothing about sockets and terminals. A reply comes without its line end.
//!
//! Input that is clear is accepted. Blanks (spaces and tabs) before and between command, name and password do not
//! count, and neither do words after the last word of a command. The text of a message begins after the one blank that
//! ends the name, and goes up to the line end. It is not changed. On the wire it has a space before it and a space and
//! CR LF after it, as on the original server. A message that has only blanks is a command with too few words.
//!
//! A command that needs a session uses that of the connection, or that of a token right after the command: `send TOKEN
//! henderson halo`. No name looks like a token, so the two cannot be confused.

use std::sync::Arc;

use super::grammar::{self, Words as _};
use super::json::JsonSpelling;
use super::parts::{Cursor, Place, Spell, Step};
use super::value::{Value, no_room};
use super::{Refusal, Reply, Request, python};
use crate::model::{MessageId, Token};

/// What of a request its reply is told with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyContext {
    /// A login as this user.
    Auth(String),
    /// A message to this user.
    Send(String),
    /// A command to which "Error, not authorized" is said before the login: `inbox`, and all commands that the text
    /// protocol does not have.
    Inbox,
    /// A command that answers "belum melakukan autentifikasi" before the login.
    Show,
    /// The same, with other words at the end.
    Logout,
    /// Nothing that was understood.
    Unknown,
}

/// Reads one line, with or without its line end. `session` is the one that the connection has logged in with.
pub fn parse(line: &[u8], session: Option<Token>) -> (ReplyContext, Result<Request, Refusal>) {
    let Ok(line) = std::str::from_utf8(line) else { return (ReplyContext::Unknown, Err(Refusal::Malformed)) };
    let line = line.strip_suffix("\r\0").or(line.strip_suffix('\n')).unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut words = TextWords { rest: line, session, named: "" };
    let name = match words.optional().unwrap_or_default() {
        // The text protocol's example says "sent".
        "sent" => "send",
        name => name,
    };
    let request = grammar::read(line, name, &mut words);
    let named = || words.named.to_owned();
    let echo = match name {
        _ if matches!(request, Err(Refusal::Malformed | Refusal::UnknownCommand | Refusal::Http)) => {
            ReplyContext::Unknown
        }
        "auth" => ReplyContext::Auth(named()),
        "send" | "sendkey" => ReplyContext::Send(named()),
        "show" => ReplyContext::Show,
        "logout" => ReplyContext::Logout,
        _ => ReplyContext::Inbox,
    };
    (echo, request)
}

/// The token at the beginning of a long line, or that of its connection, or why the line is refused.
pub fn parse_head(head: &[u8], session: Option<Token>) -> Result<Token, Refusal> {
    // The cut may have gone through a character of the text.
    let whole = head.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    parse(whole.as_bytes(), session).1?.token.ok_or(Refusal::LineTooLong)
}

/// The line that a person reads, without its line end.
pub fn render(echo: &ReplyContext, reply: &Reply) -> String {
    let mut out = Vec::new();
    Cursor::default().advance(reply, echo, &mut out, usize::MAX);
    out.truncate(out.len() - END.len());
    String::from_utf8(out).expect("what a person reads is text")
}

/// The end of a line.
const END: &[u8] = b"\r\n";

impl Spell for ReplyContext {
    fn begin(&self, _: &Reply, _: &mut Vec<u8>) {}

    fn step(&self, reply: &Reply, at: &mut Place, out: &mut Vec<u8>) -> Step {
        let line = match (reply, self) {
            (Reply::LoggedIn { token }, ReplyContext::Auth(name)) => {
                format!("username {name} logged in, token {}", token.reveal())
            }
            (Reply::LoggedIn { token }, _) => token.reveal(),
            (Reply::Sent, ReplyContext::Send(recipient)) => format!("message sent to {recipient}"),
            (Reply::Sent, _) => "message sent".to_owned(),
            (Reply::Stored { id, not_delivered }, context) => stored(*id, context, *not_delivered),
            (Reply::LoggedOut { .. }, _) => "Logout berhasil dilakukan".to_owned(),
            (Reply::Acknowledged, _) => "acknowledged".to_owned(),
            (Reply::Refused(refusal), context) => refused(context, *refusal),
            // What the text protocol has no words for is told as on the JSON port, in lists of names as Python has
            // them, and words without quotes.
            (other, _) => match other.value().1 {
                Value::Names(names) => {
                    return at.item(names, out, |name, out| out.extend(python::repr(name.as_str()).bytes()));
                }
                Value::Text(words) => words.into_owned(),
                _ => return JsonSpelling.step(reply, at, out),
            },
        };
        out.extend_from_slice(line.as_bytes());
        Step::Over
    }

    fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(END);
    }
}

fn stored(id: MessageId, context: &ReplyContext, not_delivered: u64) -> String {
    let to = match context {
        ReplyContext::Send(recipient) => format!(" to {recipient}"),
        _ => String::new(),
    };
    match not_delivered {
        0 => format!("message {id} sent{to}"),
        some => format!("message {id} sent{to}, {}", no_room(some)),
    }
}

fn refused(echo: &ReplyContext, refusal: Refusal) -> String {
    let words = match (refusal, echo) {
        (Refusal::UnknownCommand | Refusal::Http, _) => "*Maaf, command tidak benar",
        (Refusal::Malformed, _) => "-Maaf, command tidak benar",
        (Refusal::UnknownUser, _) => "Error, User Tidak Ada",
        (Refusal::WrongPassword, _) => "Error, Password Salah",
        (Refusal::UnknownRecipient, _) => "Error, User Tidak Ditemukan",
        (Refusal::UnknownToken, ReplyContext::Show | ReplyContext::Logout) => "belum melakukan autentifikasi",
        (Refusal::UnknownToken, _) => "Error, not authorized",
        (ours, _) => {
            let words = ours.words().expect("the text protocol has the words for all others");
            return format!("Error, {words}");
        }
    };
    words.to_owned()
}

/// The words of a line, blanks between them.
struct TextWords<'a> {
    /// What was not taken yet. After a word, without the one blank that ended it.
    rest: &'a str,
    /// The session that the connection has logged in with.
    session: Option<Token>,
    /// The name that the line has, as it was typed.
    named: &'a str,
}

impl<'a> grammar::Words<'a> for TextWords<'a> {
    fn required(&mut self) -> Result<&'a str, Refusal> {
        self.optional().ok_or(Refusal::Malformed)
    }

    fn optional(&mut self) -> Option<&'a str> {
        let (word, rest) = next(self.rest);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn name(&mut self) -> Result<&'a str, Refusal> {
        self.named = self.required()?;
        Ok(self.named)
    }

    /// The token that comes next, or the connection's own.
    fn token(&mut self) -> Result<Token, Refusal> {
        let (word, rest) = next(self.rest);
        if let Some(token) = Token::parse(word) {
            self.rest = rest;
            return Ok(token);
        }
        self.session.ok_or(Refusal::UnknownToken)
    }

    /// What is left, as it travels, if that is more than blanks.
    fn text(&mut self) -> Result<Arc<str>, Refusal> {
        match self.rest.trim().is_empty() {
            true => Err(Refusal::Malformed),
            false => Ok(format!(" {} \r\n", self.rest).into()),
        }
    }
}

/// The next word, which is empty at the end, and what comes after the blank that ends it.
fn next(rest: &str) -> (&str, &str) {
    let rest = rest.trim_start_matches(is_blank);
    rest.split_once(is_blank).unwrap_or((rest, ""))
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::model::{LookupName, Message, Timestamp, Username};
    use crate::protocol::{Command, Receipt, SenderMessages};

    const TOKEN: &str = "503d38c0-2691-4ff1-81ad-fc11f9f5ad03";

    fn token() -> Token {
        Token::parse(TOKEN).expect("it is one")
    }

    /// What is shown when a logged-in person types `line` and the service answers `reply`.
    fn dialogue(line: &str, reply: impl Into<Reply>) -> String {
        let (echo, request) = parse(line.as_bytes(), Some(token()));
        request.expect("the line is a request");
        render(&echo, &reply.into())
    }

    /// What is shown when `line` is refused by the grammar.
    fn refusal(line: &str, session: Option<Token>) -> String {
        let (echo, request) = parse(line.as_bytes(), session);
        render(&echo, &request.expect_err("the line gets no further").into())
    }

    fn names(names: &[&str]) -> Reply {
        Reply::Online(names.iter().map(|name| Username::stored(name)).collect())
    }

    /// The text that `line` sends, and to whom.
    fn sent(line: &str) -> (String, String) {
        match parse(line.as_bytes(), Some(token())).1 {
            Ok(Request { command: Command::Send(send), .. }) => (send.recipient.to_string(), send.text.to_string()),
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn every_row_of_the_documents_table() {
        let logged_in = Reply::LoggedIn { token: token() };
        assert_eq!(dialogue("auth messi surabaya", logged_in), format!("username messi logged in, token {TOKEN}"));
        assert_eq!(dialogue("auth x surabaya", Refusal::UnknownUser), "Error, User Tidak Ada");
        assert_eq!(dialogue("auth messi x", Refusal::WrongPassword), "Error, Password Salah");
        for line in ["send henderson feeling good", "sent henderson feeling good"] {
            assert_eq!(dialogue(line, Reply::Sent), "message sent to henderson");
        }
        assert_eq!(dialogue("send nobody feeling good", Refusal::UnknownRecipient), "Error, User Tidak Ditemukan");
        assert_eq!(dialogue("inbox", Reply::Inbox(Vec::new())), "{}");
        let message = |text: &str| Message { id: MessageId(1), sent_at: Timestamp(0), text: text.into() };
        let inbox = Reply::Inbox(vec![SenderMessages {
            username: Username::stored("messi"),
            sender: "Lionel Messi".to_owned(),
            recipient: "Jordan Henderson".to_owned(),
            messages: vec![message(" hal \r\n"), message(" feeling good \r\n")],
            to_groups: Vec::new(),
        }]);
        let shown = r#"{"messi": [{"msg_from": "Lionel Messi", "msg_to": "Jordan Henderson", "msg": " hal \r\n"}, {"msg_from": "Lionel Messi", "msg_to": "Jordan Henderson", "msg": " feeling good \r\n"}]}"#;
        assert_eq!(dialogue(" inbox", inbox), shown);
        assert_eq!(dialogue("show", names(&["messi", "henderson", "lineker"])), "['messi', 'henderson', 'lineker']");
        assert_eq!(
            dialogue("logout", Reply::LoggedOut { token: token(), username: Username::stored("messi") }),
            "Logout berhasil dilakukan"
        );
        assert_eq!(refusal("send henderson feeling good", None), "Error, not authorized");
        assert_eq!(refusal("inbox", None), "Error, not authorized");
        assert_eq!(refusal("show", None), "belum melakukan autentifikasi");
        assert_eq!(refusal("logout", None), "belum melakukan autentifikasi");
        for line in ["halo", "", "Send henderson halo", "GET / HTTP/1.1"] {
            assert_eq!(refusal(line, None), "*Maaf, command tidak benar", "{line:?}");
        }
        for line in ["auth", "auth messi", "send", "send henderson", "send henderson  ", "sent"] {
            assert_eq!(refusal(line, None), "-Maaf, command tidak benar", "{line:?}");
            assert_eq!(refusal(line, Some(token())), "-Maaf, command tidak benar", "{line:?}");
        }
    }

    #[test]
    fn an_ended_session_is_told_as_none_and_our_words_follow_an_error() {
        assert_eq!(dialogue("send messi hal", Refusal::UnknownToken), "Error, not authorized");
        assert_eq!(dialogue("show", Refusal::UnknownToken), "belum melakukan autentifikasi");
        assert_eq!(dialogue("send messi hal", Refusal::InboxFull), "Error, the recipient's inbox is full");
    }

    #[test]
    fn a_text_keeps_its_spaces_and_gets_those_of_the_document() {
        let to = |text: &str| ("henderson".to_owned(), text.to_owned());
        assert_eq!(sent("send henderson feeling good"), to(" feeling good \r\n"));
        assert_eq!(sent("sent henderson feeling good\r\n"), to(" feeling good \r\n"));
        assert_eq!(sent("send henderson feeling good\r\0"), to(" feeling good \r\n"));
        assert_eq!(sent("  send \t henderson   two  more  \n"), to("   two  more   \r\n"));
        assert_eq!(sent("send henderson a\rb\u{a0}\r\n"), to(" a\rb\u{a0} \r\n"));
        assert_eq!(sent(&format!("send {TOKEN} henderson halo")), to(" halo \r\n"));
    }

    #[test]
    fn a_token_after_the_command_stands_before_the_connections_own() {
        let other = Token::generate();
        let mine = Some(token());
        for (line, session, wanted) in [
            ("inbox".to_owned(), mine, Ok(token())),
            (format!("inbox {}", other.reveal()), mine, Ok(other)),
            (format!("inbox {}", other.reveal()), None, Ok(other)),
            ("inbox messi".to_owned(), mine, Ok(token())),
            (format!("inbox {}", other.reveal().to_uppercase()), None, Err(Refusal::UnknownToken)),
        ] {
            assert_eq!(parse(line.as_bytes(), session).1, wanted.map(|token| Command::Inbox.with(token)), "{line}");
        }
        assert_eq!(parse(format!("send {TOKEN} halo").as_bytes(), mine).1, Err(Refusal::Malformed));
    }

    #[test]
    fn extensions_are_typed_like_the_rest() {
        let mine = Some(token());
        let (token, username) = (token(), LookupName::of("messi"));
        let request = |line: &str| parse(line.as_bytes(), mine).1;
        assert_eq!(request("wait 30"), Ok(Command::Wait { at_most: Duration::from_secs(30) }.with(token)));
        assert_eq!(request(&format!("wait {TOKEN} 0")), Ok(Command::Wait { at_most: Duration::ZERO }.with(token)));
        assert_eq!(request("wait"), Err(Refusal::Malformed));
        for seconds in ["-1", "1.5", "+1", "x"] {
            assert_eq!(refusal(&format!("wait {seconds}"), mine), "Error, SECONDS must be a whole number");
        }
        assert_eq!(request("ack"), Ok(Command::Ack.with(token)));
        assert_eq!(dialogue("ack", Reply::Acknowledged), "acknowledged");
        let history = |before: Option<i64>, count| {
            Ok(Command::History { username: username.clone(), before: before.map(MessageId), count }.with(token))
        };
        assert_eq!(request("history messi"), history(None, None));
        assert_eq!(request("history messi 0 5"), history(None, Some(5)));
        assert_eq!(request("history messi 7"), history(Some(7), None));
        assert_eq!(request("history messi 99999999999999999999"), history(Some(i64::MAX), None));
        assert_eq!(request("history"), Err(Refusal::Malformed));
        assert_eq!(refusal("history messi x", mine), "Error, BEFORE-ID must be a whole number");
        assert_eq!(refusal("history messi 1 x", mine), "Error, COUNT must be a whole number");
        assert_eq!(request("status messi"), Ok(Command::Status { username: username.clone() }.with(token)));
        for line in ["wait 1", "ack", "history messi", "status messi"] {
            assert_eq!(refusal(line, None), "Error, not authorized");
        }
        let receipt = |id, read_at| Receipt { id: MessageId(id), sent_at: Timestamp(0), read_at };
        assert_eq!(
            dialogue("status messi", Reply::Status(vec![receipt(1, Some(Timestamp(5))), receipt(2, None)])),
            r#"[{"id": 1, "time": "1970-01-01T00:00:00.000Z", "read": "1970-01-01T00:00:00.005Z"}, {"id": 2, "time": "1970-01-01T00:00:00.000Z", "read": null}]"#
        );
    }

    #[test]
    fn what_is_no_utf_8_is_no_request() {
        assert_eq!(parse(b"send messi \xff", Some(token())), (ReplyContext::Unknown, Err(Refusal::Malformed)));
    }

    #[test]
    fn names_are_quoted_as_python_quotes_them() {
        let quoted = |name: &str| render(&ReplyContext::Show, &names(&[name]));
        assert_eq!(quoted("josé你"), "['josé你']");
        assert_eq!(quoted("o'neill"), r#"["o'neill"]"#);
        assert_eq!(quoted(r#"o'"n"#), r#"['o\'"n']"#);
        assert_eq!(quoted(r"a\b"), r"['a\\b']");
        assert_eq!(quoted("a\u{200d}\u{7f}\n\u{e0001} \u{a0}"), r"['a\u200d\x7f\n\U000e0001 \xa0']");
        assert_eq!(render(&ReplyContext::Show, &names(&[])), "[]");
    }
}
