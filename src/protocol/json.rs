//! The wire of the original server: requests are words between single spaces, replies are the text of Python's
//! `json.dumps`. Every rule here is in `docs/PROTOCOL.md`; the transcripts in `tests/transcripts` hold it to the byte.
//! The other end, which writes requests and reads replies, is [`client`](super::client).

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;

use memchr::memchr;
use serde::ser::Serialize;
use serde_json::ser::{CharEscape, Formatter};

use super::grammar::{self, Words as _};
use super::rendering::{Cursor, Place, Spelling, Step};
use super::{
    ConversationEntry, Conversations, FollowReply, GroupReadCount, HistoryEntry, Receipt, Refusal, Reply, Request,
    SenderMessages,
};
use crate::model::{MessageId, Timestamp, Token};

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
    Cursor::default().advance(reply, &Spelling::Json, out, usize::MAX);
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

fn write_ascii(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(out, PythonStyle))
}

/// Appends a string, with its quotes.
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    write_ascii(text, out).expect("a Vec takes every byte");
}

/// Appends a part of a string, without quotes.
pub(super) fn escape(part: &str, out: &mut Vec<u8>) {
    let mut serializer = serde_json::Serializer::with_formatter(out, PartOfString);
    part.serialize(&mut serializer).expect("a Vec takes every byte");
}

pub(super) const ACKNOWLEDGED: &str = "Acknowledged";
pub(super) const GROUP_CHANGED: &str = "Done";

/// What a sender hears whose message some members of the group have no room for.
pub(super) fn sent_to_some(not_delivered: u64) -> String {
    format!("Message Sent, but {not_delivered} members have no room for it")
}

/// Appends what stands before the value of a reply: a status, and its key.
pub(super) fn begin(reply: &Reply, out: &mut Vec<u8>) {
    let (status, key) = match reply {
        Reply::LoggedIn { .. } => ("OK", "tokenid"),
        Reply::Sent | Reply::SentToSome { .. } | Reply::Acknowledged | Reply::GroupChanged => ("OK", "message"),
        Reply::Inbox(_) | Reply::Online(_) | Reply::LoggedOut { .. } => ("OK", "messages"),
        Reply::History(_) => ("OK", "history"),
        Reply::Status(_) | Reply::GroupStatus(_) => ("OK", "sent"),
        Reply::Groups(_) => ("OK", "groups"),
        Reply::Members(_) => ("OK", "members"),
        Reply::Follow(_) => ("OK", "follow"),
        Reply::Conversations(_) => ("OK", "conversations"),
        Reply::Read(_) => ("OK", "read"),
        Reply::Stored(_) => ("OK", "id"),
        Reply::Account(reply) => ("OK", reply.key()),
        Reply::Refused(_) => ("ERROR", "message"),
    };
    for part in ["{\"status\": \"", status, "\", \"", key, "\": "] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends the next part of the value of a reply. Each reply has its value here, for every dialect.
pub(super) fn step(reply: &Reply, at: &mut Place, out: &mut Vec<u8>) -> Step {
    match reply {
        Reply::LoggedIn { token } | Reply::LoggedOut { token } => string(&token.reveal(), out),
        Reply::Sent => string("Message Sent", out),
        Reply::SentToSome { not_delivered } => string(&sent_to_some(*not_delivered), out),
        Reply::GroupChanged => string(GROUP_CHANGED, out),
        Reply::Acknowledged => string(ACKNOWLEDGED, out),
        Reply::Refused(refusal) => string(&refused(*refusal), out),
        Reply::Inbox(senders) => return inbox(senders, at, out),
        Reply::History(messages) => return history(messages, at, out),
        Reply::Account(reply) => return reply.step(at, out),
        Reply::Follow(followed) => return follow(followed, at, out),
        Reply::Conversations(conversations) => return self::conversations(conversations, at, out),
        Reply::Stored(id) => write!(out, "{id}").expect("a Vec takes every byte"),
        Reply::Read(messages) => write!(out, "{messages}").expect("a Vec takes every byte"),
        Reply::Groups(names) | Reply::Members(names) | Reply::Online(names) => {
            return at.item(names, out, |name, out| string(name.as_str(), out));
        }
        Reply::Status(receipts) => return at.item(receipts, out, receipt),
        Reply::GroupStatus(receipts) => return at.item(receipts, out, group_receipt),
    }
    Step::Over
}

/// Appends what stands after the value of a reply.
pub(super) fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\r\n\r\n");
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

/// An inbox is an object, in which each sender has a list.
fn inbox(senders: &[SenderMessages], at: &mut Place, out: &mut Vec<u8>) -> Step {
    if at.takes_text_end() {
        out.extend_from_slice(b"\"}");
    }
    let Some(from) = senders.get(at.group) else {
        out.extend_from_slice(if at.group == 0 { b"{}" } else { b"}" });
        return Step::Over;
    };
    if at.item == 0 {
        out.extend_from_slice(if at.group == 0 { b"{" } else { b", " });
        string(from.username.as_str(), out);
        out.extend_from_slice(b": ");
    }
    let Some(message) = at.next(&from.messages, out) else {
        at.next_group();
        return Step::Item;
    };
    out.push(b'{');
    up_to_text(&[("msg_from", &from.sender), ("msg_to", from.recipient_of(message.id))], out);
    at.text(&message.text)
}

/// A part of a conversation is a list.
fn history(messages: &[HistoryEntry], at: &mut Place, out: &mut Vec<u8>) -> Step {
    if at.takes_text_end() {
        out.extend_from_slice(b"\", ");
        read(messages[at.item - 1].read_at, out);
    }
    let Some(entry) = at.next(messages, out) else { return Step::Over };
    past(entry, at, out)
}

/// A message of a conversation, up to its text.
fn past(HistoryEntry { message, from, to, .. }: &HistoryEntry, at: &mut Place, out: &mut Vec<u8>) -> Step {
    sent(message.id, message.sent_at, out);
    let people = [("from", from.username.as_str()), ("to", to.username.as_str())];
    up_to_text(&[people[0], people[1], ("msg_from", &from.display_name), ("msg_to", &to.display_name)], out);
    at.text(&message.text)
}

/// A part of what somebody sent and received is an object with a list.
fn follow(followed: &FollowReply, at: &mut Place, out: &mut Vec<u8>) -> Step {
    if at.item == 0 {
        out.extend_from_slice(b"{\"messages\": ");
    }
    let step = history(&followed.messages, at, out);
    if matches!(step, Step::Over) {
        let FollowReply { next, more, reads, .. } = followed;
        write!(out, ", \"next\": {next}, \"more\": {more}, \"reads\": {reads}}}").expect("a Vec takes every byte");
    }
    step
}

/// A part of somebody's conversations is an object with a list.
fn conversations(conversations: &Conversations, at: &mut Place, out: &mut Vec<u8>) -> Step {
    let list = &conversations.list;
    if at.takes_text_end() {
        out.extend_from_slice(b"\", ");
        read(list[at.item - 1].newest.read_at, out);
        out.push(b'}');
    } else if at.item == 0 {
        out.extend_from_slice(b"{\"list\": ");
    }
    let Some(ConversationEntry { with, unread, read_to, other_read_to, newest }) = at.next(list, out) else {
        let next = conversations.next.map_or("null".to_owned(), |id| id.to_string());
        write!(out, ", \"next\": {next}}}").expect("a Vec takes every byte");
        return Step::Over;
    };
    out.push(b'{');
    texts(&[("with", with.username.as_str()), ("name", &with.display_name)], out);
    write!(out, "\"unread\": {unread}, \"read_to\": {read_to}, \"other_read_to\": {other_read_to}, \"newest\": ")
        .expect("a Vec takes every byte");
    past(newest, at, out)
}

/// What became of a message.
fn receipt(receipt: &Receipt, out: &mut Vec<u8>) {
    sent(receipt.id, receipt.sent_at, out);
    read(receipt.read_at, out);
}

/// How many have read a message to a group.
fn group_receipt(GroupReadCount { id, sent_at, read_by, of }: &GroupReadCount, out: &mut Vec<u8>) {
    sent(*id, *sent_at, out);
    write!(out, "\"read_by\": {read_by}, \"of\": {of}}}").expect("a Vec takes every byte");
}

/// Begins an object with the number and the time of a message.
fn sent(id: MessageId, at: Timestamp, out: &mut Vec<u8>) {
    write!(out, "{{\"id\": {id}, \"time\": \"{at}\", ").expect("a Vec takes every byte");
}

/// Ends an object with the time when a message was read.
fn read(at: Option<Timestamp>, out: &mut Vec<u8>) {
    match at {
        Some(at) => write!(out, "\"read\": \"{at}\"}}").expect("a Vec takes every byte"),
        None => out.extend_from_slice(b"\"read\": null}"),
    }
}

/// Texts under their keys, and the beginning of the message's own.
fn up_to_text(before: &[(&str, &str)], out: &mut Vec<u8>) {
    texts(before, out);
    out.extend_from_slice(b"\"msg\": \"");
}

/// Texts under their keys, each with what stands before the next key.
pub(super) fn texts(texts: &[(&str, &str)], out: &mut Vec<u8>) {
    for (key, text) in texts {
        string(key, out);
        out.extend_from_slice(b": ");
        string(text, out);
        out.extend_from_slice(b", ");
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

/// A string in that style, of which only a part is written.
struct PartOfString;

impl Formatter for PartOfString {
    fn begin_string<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }

    fn end_string<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }

    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        PythonStyle.write_string_fragment(writer, fragment)
    }

    fn write_char_escape<W: io::Write + ?Sized>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        PythonStyle.write_char_escape(writer, escape)
    }
}
