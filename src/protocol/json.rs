//! The wire of the original server: requests are words between single spaces, replies are the text of Python's
//! `json.dumps`. Every rule here is in `docs/PROTOCOL.md`; the transcripts in `tests/transcripts` hold it to the byte.
//! The other end, which writes requests and reads replies, is [`client`](super::client).

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use memchr::memchr;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::ser::{CharEscape, Formatter};

use super::grammar::{self, Words as _};
use super::{HistoryEntry, Receipt, Refusal, Reply, Request, SenderMessages};
use crate::model::{Message, Timestamp, Token, Username};

/// Reads one line, its CRLF included.
pub fn parse(line: &[u8]) -> Result<Request, Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| Refusal::Malformed)?;
    let mut words = JsonWords { line, next: Some(0) };
    let name = words.required()?;
    grammar::read(line, name, &mut words)
}

/// The token that a long line shows at its beginning, or why the line gets no further: only a command with a
/// token may be long.
pub fn parse_head(head: &[u8]) -> Result<Token, Refusal> {
    // The cut may have gone through a character of the text.
    let whole = head.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    parse(whole.as_bytes())?.token.ok_or(Refusal::LineTooLong)
}

/// Appends the reply and its CRLF CRLF.
pub fn render(reply: &Reply, out: &mut Vec<u8>) {
    out.reserve(64);
    write(reply, out).expect("a Vec takes every byte");
}

/// Writes the reply and its CRLF CRLF.
pub fn write(reply: &Reply, out: &mut impl io::Write) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, PythonStyle);
    ReplyText(reply).serialize(&mut serializer)?;
    out.write_all(b"\r\n\r\n")
}

/// The words of a line, split at U+0020 alone, so that two spaces have an empty word between them.
struct JsonWords<'a> {
    line: &'a str,
    /// Where the next word begins.
    next: Option<usize>,
}

impl<'a> grammar::Words<'a> for JsonWords<'a> {
    /// The next word, stripped as Python strips it.
    fn required(&mut self) -> Result<&'a str, Refusal> {
        let start = self.next.ok_or(Refusal::Malformed)?;
        let end = memchr(b' ', &self.line.as_bytes()[start..]).map(|length| start + length);
        self.next = end.map(|space| space + 1);
        Ok(self.line[start..end.unwrap_or(self.line.len())].trim_matches(is_python_space))
    }

    /// The next word, if there is one with something in it.
    fn optional(&mut self) -> Option<&'a str> {
        self.required().ok().filter(|word| !word.is_empty())
    }

    /// A token that is not spelled like one belongs to no session.
    fn token(&mut self) -> Result<Token, Refusal> {
        Token::parse(self.required()?).ok_or(Refusal::UnknownToken)
    }

    /// What is left, with the space before it; nothing is stripped.
    fn text(&mut self) -> Result<Arc<str>, Refusal> {
        Ok(self.next.take().map_or("", |next| &self.line[next - 1..]).into())
    }
}

/// What Python's `str.strip()` strips: Unicode white space and the four information separators.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Any value in the style of the wire: JSON in ASCII, without a line end.
pub fn ascii(value: &(impl Serialize + ?Sized)) -> String {
    let mut out = Vec::new();
    write_ascii(value, &mut out).expect("a Vec takes every byte and the keys are strings");
    String::from_utf8(out).expect("JSON in this style is ASCII")
}

fn write_ascii(value: &(impl Serialize + ?Sized), out: &mut impl io::Write) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, PythonStyle);
    Ok(value.serialize(&mut serializer)?)
}

pub(super) const ACKNOWLEDGED: &str = "Acknowledged";

/// Where a reply is told: under a status, a key, and with a value that Python's style spells.
trait Teller: Sized {
    type Told;

    fn tell(self, status: &'static str, key: &'static str, value: &(impl Serialize + ?Sized)) -> Self::Told;
}

/// Each reply has its key and its value here, for every dialect.
fn tell<T: Teller>(reply: &Reply, to: T) -> T::Told {
    match reply {
        Reply::LoggedIn { token } => to.tell("OK", "tokenid", &token.reveal()),
        Reply::Sent => to.tell("OK", "message", "Message Sent"),
        Reply::Inbox(senders) => to.tell("OK", "messages", &InboxText(senders)),
        Reply::Online(names) => {
            let names: Vec<&str> = names.iter().map(Username::as_str).collect();
            to.tell("OK", "messages", &names)
        }
        Reply::LoggedOut { token } => to.tell("OK", "messages", &token.reveal()),
        Reply::Acknowledged => to.tell("OK", "message", ACKNOWLEDGED),
        Reply::History(messages) => to.tell("OK", "history", &HistoryText(messages)),
        Reply::Status(receipts) => to.tell("OK", "sent", &StatusText(receipts)),
        Reply::Refused(refusal) => to.tell("ERROR", "message", &refused(*refusal)),
    }
}

/// The value of a reply alone, without a line end.
pub fn value(reply: &Reply) -> String {
    let mut out = Vec::new();
    write_value(reply, &mut out).expect("a Vec takes every byte and the keys are strings");
    String::from_utf8(out).expect("JSON in this style is ASCII")
}

/// Writes what [`value`] gives.
pub fn write_value(reply: &Reply, out: &mut impl io::Write) -> io::Result<()> {
    struct Value<'a, W>(&'a mut W);

    impl<W: io::Write> Teller for Value<'_, W> {
        type Told = io::Result<()>;

        fn tell(self, _: &'static str, _: &'static str, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
            write_ascii(value, self.0)
        }
    }

    tell(reply, Value(out))
}

struct ReplyText<'a>(&'a Reply);

impl Serialize for ReplyText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Pair<S>(S);

        impl<S: Serializer> Teller for Pair<S> {
            type Told = Result<S::Ok, S::Error>;

            fn tell(self, status: &'static str, key: &'static str, value: &(impl Serialize + ?Sized)) -> Self::Told {
                let mut map = self.0.serialize_map(Some(2))?;
                map.serialize_entry("status", status)?;
                map.serialize_entry(key, value)?;
                map.end()
            }
        }

        tell(self.0, Pair(serializer))
    }
}

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

/// An inbox as a JSON object.
struct InboxText<'a>(&'a [SenderMessages]);

impl Serialize for InboxText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|from| (from.username.as_str(), FromText(from))))
    }
}

struct FromText<'a>(&'a SenderMessages);

impl Serialize for FromText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.messages.iter().map(|message| MessageText(self.0, message)))
    }
}

struct MessageText<'a>(&'a SenderMessages, &'a Message);

impl Serialize for MessageText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("msg_from", &self.0.sender)?;
        map.serialize_entry("msg_to", &self.0.recipient)?;
        map.serialize_entry("msg", &*self.1.text)?;
        map.end()
    }
}

/// A part of a conversation as a JSON list.
struct HistoryText<'a>(&'a [HistoryEntry]);

impl Serialize for HistoryText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(PastText))
    }
}

struct PastText<'a>(&'a HistoryEntry);

impl Serialize for PastText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let HistoryEntry { message, from, to, read_at } = self.0;
        let mut map = serializer.serialize_map(Some(8))?;
        map.serialize_entry("id", &message.id.0)?;
        map.serialize_entry("time", &message.sent_at.to_string())?;
        map.serialize_entry("from", from.username.as_str())?;
        map.serialize_entry("to", to.username.as_str())?;
        map.serialize_entry("msg_from", &from.display_name)?;
        map.serialize_entry("msg_to", &to.display_name)?;
        map.serialize_entry("msg", &*message.text)?;
        map.serialize_entry("read", &read_at.as_ref().map(Timestamp::to_string))?;
        map.end()
    }
}

/// What became of messages, as a JSON list.
struct StatusText<'a>(&'a [Receipt]);

impl Serialize for StatusText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ReceiptText))
    }
}

struct ReceiptText<'a>(&'a Receipt);

impl Serialize for ReceiptText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("id", &self.0.id.0)?;
        map.serialize_entry("time", &self.0.sent_at.to_string())?;
        map.serialize_entry("read", &self.0.read_at.as_ref().map(Timestamp::to_string))?;
        map.end()
    }
}

/// A UTF-16 unit as `\u` and four digits. Digit by digit, because a text may be millions of them.
fn unit_escape(unit: u16) -> [u8; 6] {
    let digit = |shift: u16| b"0123456789abcdef"[usize::from(unit >> shift & 0xf)];
    [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]
}

/// JSON as `json.dumps` writes it by default: a space after comma and colon, ASCII only.
struct PythonStyle;

impl Formatter for PythonStyle {
    fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.begin_array_value(writer, first)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(place) = rest.bytes().position(|byte| !(b' '..=b'~').contains(&byte)) {
            let c = rest[place..].chars().next().expect("all before it was ASCII, so a character begins here");
            writer.write_all(&rest.as_bytes()[..place])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                writer.write_all(&unit_escape(*unit))?;
            }
            rest = &rest[place + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: io::Write + ?Sized>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => writer.write_all(&unit_escape(byte.into())),
        }
    }
}
