//! The wire of the original server: requests are words between single spaces, replies are the text of Python's
//! `json.dumps`. Every rule here is in `docs/PROTOCOL.md`; the transcripts in `tests/transcripts` hold it to the byte.
//! The other end, which writes requests and reads replies, is [`client`](super::client).

use std::io::Write;
use std::sync::Arc;

use memchr::memchr;

use super::account;
use super::grammar::{self, Words as _};
use super::parts::{Cursor, Place, Spell, Step};
use super::python::{string, texts};
use super::value::{GROUP, Value};
use super::{
    ConversationEntry, ConversationKind, Conversations, FetchedMessage, FollowReply, GroupReadCount, HistoryEntry,
    InboxFile, ReadBy, Receipt, Refusal, Reply, Request, SenderMessages,
};
use crate::model::{MessageId, Timestamp, Token, Username};

/// Reads one line, its CRLF included.
pub fn parse(line: &[u8]) -> Result<Request, Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| Refusal::Malformed)?;
    let mut words = JsonWords::of(line);
    let name = words.required()?;
    grammar::read(line, name, &mut words)
}

/// The token at the beginning of a long line, or why the line is refused: only a command with a token may be long.
pub fn parse_head(head: &[u8]) -> Result<Token, Refusal> {
    parse(whole(head).as_bytes())?.token.ok_or(Refusal::LineTooLong)
}

/// What there is of a line whose cut may have gone through a character of the text.
pub(super) fn whole(head: &[u8]) -> &str {
    head.utf8_chunks().next().map_or("", |chunk| chunk.valid())
}

/// Appends the reply and its CRLF CRLF.
pub fn render(reply: &Reply, out: &mut Vec<u8>) {
    out.reserve(64);
    Cursor::default().advance(reply, &JsonSpelling, out, usize::MAX);
}

/// The words of a line, split at U+0020 alone, so that two spaces have an empty word between them.
#[derive(Clone)]
pub(super) struct JsonWords<'a> {
    line: &'a str,
    /// Where the next word begins.
    next: Option<usize>,
}

impl<'a> JsonWords<'a> {
    pub(super) fn of(line: &'a str) -> JsonWords<'a> {
        JsonWords { line, next: Some(0) }
    }
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

/// How this wire spells replies.
#[derive(Debug)]
pub(super) struct JsonSpelling;

impl Spell for JsonSpelling {
    fn begin(&self, reply: &Reply, out: &mut Vec<u8>) {
        let status = if matches!(reply, Reply::Refused(_)) { "ERROR" } else { "OK" };
        for part in ["{\"status\": \"", status, "\", \"", reply.value().0, "\": "] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    fn step(&self, reply: &Reply, at: &mut Place, out: &mut Vec<u8>) -> Step {
        match reply.value().1 {
            Value::Text(text) => string(&text, out),
            Value::Number(number) => write!(out, "{number}").expect("a Vec takes every byte"),
            Value::StoredForSome(id, not_delivered) => {
                write!(out, "{id}, \"not_delivered\": {not_delivered}").expect("a Vec takes every byte");
            }
            Value::Names(names) => return at.item(names, out, |name, out| string(name.as_str(), out)),
            Value::Inbox(senders, files) => return inbox(senders, files, at, out),
            Value::Fetched(messages) => return fetched(messages, at, out),
            Value::LongText(text) => return long_text(text, at, out),
            Value::Files(list) => return files(list, at, out),
            Value::History(messages) => return history(messages, at, out),
            Value::Receipts(receipts) => return at.item(receipts, out, receipt),
            Value::ReadCounts(receipts) => return at.item(receipts, out, group_receipt),
            Value::Follow(followed) => return follow(followed, at, out),
            Value::Conversations(list) => return conversations(list, at, out),
            Value::Sessions(sessions) => return at.item(sessions, out, account::session),
            Value::People(people) => return at.item(people, out, account::person),
            Value::OnlinePeople(people) => {
                return at.item(people, out, |person, out| string(person.username.as_str(), out));
            }
        }
        Step::Over
    }

    fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"}\r\n\r\n");
    }
}

/// An inbox is an object, in which each sender has a list.
pub(super) fn inbox(senders: &[SenderMessages], files: &[InboxFile], at: &mut Place, out: &mut Vec<u8>) -> Step {
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
    let people = [("msg_from", &*from.sender), ("msg_to", from.recipient_of(at.item - 1))];
    let file = files.binary_search_by_key(&message.id, |file| file.message).ok().map(|place| &files[place]);
    content(&people, &message.text, file, at, out)
}

/// Messages that were handed out are a list.
fn fetched(messages: &[FetchedMessage], at: &mut Place, out: &mut Vec<u8>) -> Step {
    if at.takes_text_end() {
        out.extend_from_slice(b"\"}");
    }
    let Some(FetchedMessage { entry, file }) = at.next(messages, out) else { return Step::Over };
    past(entry, file.as_ref(), at, out)
}

/// Names, text and file of a message, up to the longest of them.
fn content(
    people: &[(&str, &str)],
    text: &Arc<str>,
    file: Option<&InboxFile>,
    at: &mut Place,
    out: &mut Vec<u8>,
) -> Step {
    let Some(InboxFile { id, name, data, .. }) = file else {
        up_to_text(people, out);
        return at.text(text);
    };
    texts(people, out);
    texts(&[("msg", text), ("fileid", &id.to_string()), ("file_name", name)], out);
    out.extend_from_slice(b"\"file_content\": \"");
    at.text(data)
}

/// A string that may be long.
pub(super) fn long_text(text: &Arc<str>, at: &mut Place, out: &mut Vec<u8>) -> Step {
    out.push(b'"');
    if at.takes_text_end() { Step::Over } else { at.text(text) }
}

/// An object, in which each sender has a list of names.
pub(super) fn files(files: &[(Username, Vec<String>)], at: &mut Place, out: &mut Vec<u8>) -> Step {
    let Some((sender, names)) = files.get(at.group) else {
        out.extend_from_slice(if at.group == 0 { b"{}" } else { b"}" });
        return Step::Over;
    };
    if at.item == 0 {
        out.extend_from_slice(if at.group == 0 { b"{" } else { b", " });
        string(sender.as_str(), out);
        out.extend_from_slice(b": ");
    }
    if matches!(at.item(names, out, |name, out| string(name, out)), Step::Over) {
        at.next_group();
    }
    Step::Item
}

/// A part of a conversation is a list.
fn history(messages: &[HistoryEntry], at: &mut Place, out: &mut Vec<u8>) -> Step {
    if at.takes_text_end() {
        out.extend_from_slice(b"\", ");
        how_read(&messages[at.item - 1], out);
    }
    let Some(entry) = at.next(messages, out) else { return Step::Over };
    past(entry, None, at, out)
}

/// A message of a conversation, up to its text or its file.
fn past(entry: &HistoryEntry, file: Option<&InboxFile>, at: &mut Place, out: &mut Vec<u8>) -> Step {
    let HistoryEntry { message, from, to, kind, .. } = entry;
    sent(message.id, message.sent_at, out);
    texts(&[("from", from.username.as_str()), ("to", to.username.as_str())], out);
    self::kind(*kind, out);
    let people = [("msg_from", from.display_name.as_str()), ("msg_to", to.display_name.as_str())];
    content(&people, &message.text, file, at, out)
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
        how_read(&list[at.item - 1].newest, out);
        out.push(b'}');
    } else if at.item == 0 {
        out.extend_from_slice(b"{\"list\": ");
    }
    let Some(ConversationEntry { with, kind, unread, read_to, other_read_to, newest }) = at.next(list, out) else {
        let next = conversations.next.map_or("null".to_owned(), |id| id.to_string());
        write!(out, ", \"next\": {next}}}").expect("a Vec takes every byte");
        return Step::Over;
    };
    out.push(b'{');
    texts(&[("with", with.username.as_str()), ("name", &with.display_name)], out);
    self::kind(*kind, out);
    write!(out, "\"unread\": {unread}, \"read_to\": {read_to}, \"other_read_to\": {other_read_to}, \"newest\": ")
        .expect("a Vec takes every byte");
    past(newest, None, at, out)
}

/// What became of a message.
fn receipt(receipt: &Receipt, out: &mut Vec<u8>) {
    sent(receipt.id, receipt.sent_at, out);
    read(receipt.read_at, out);
}

/// How many have read a message to a group.
fn group_receipt(GroupReadCount { id, sent_at, read_by, of }: &GroupReadCount, out: &mut Vec<u8>) {
    sent(*id, *sent_at, out);
    self::read_by(ReadBy { read_by: *read_by, of: *of }, out);
}

/// Says that it is a group; of a person nothing is said.
fn kind(kind: ConversationKind, out: &mut Vec<u8>) {
    if kind == ConversationKind::Group {
        texts(&[("kind", GROUP)], out);
    }
}

/// Ends an object with how far a message was read.
fn how_read(entry: &HistoryEntry, out: &mut Vec<u8>) {
    match entry.readers {
        Some(readers) => read_by(readers, out),
        None => read(entry.read_at, out),
    }
}

/// Ends an object with how many have read a message.
fn read_by(ReadBy { read_by, of }: ReadBy, out: &mut Vec<u8>) {
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
