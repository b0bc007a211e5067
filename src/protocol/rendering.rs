//! A reply becomes bytes, a long one in pieces: each is made when the one before it has been taken, so that the texts
//! of a reply are held once and what they become never as a whole. A rendering owns all that it says, so that a piece
//! can be made on another thread.

use std::mem;
use std::sync::Arc;

use super::text::{self, ReplyContext};
use super::{ConversationEntry, GroupReadCount, HistoryEntry, Receipt, Reply, SenderMessages, json};
use crate::model::{Message, MessageId, Username};

/// How one reply is spelled.
#[derive(Debug)]
pub(super) enum Spelling {
    Json,
    Text(ReplyContext),
}

impl Spelling {
    fn begin(&self, reply: &Reply, out: &mut Vec<u8>) {
        match self {
            Spelling::Json => json::begin(reply, out),
            Spelling::Text(_) => {}
        }
    }

    fn step(&self, reply: &Reply, at: &mut Place, out: &mut Vec<u8>) -> Step {
        match self {
            Spelling::Json => json::step(reply, at, out),
            Spelling::Text(echo) => text::step(echo, reply, at, out),
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        match self {
            Spelling::Json => json::end(out),
            Spelling::Text(_) => out.extend_from_slice(text::END),
        }
    }
}

/// What the next part of a reply is.
#[derive(Debug)]
pub(super) enum Step {
    /// Something short, which was appended.
    Item,
    /// The text of a message, to be escaped. All that stands before it was appended.
    Text(Arc<str>),
    /// The last one, which was appended.
    Over,
}

/// Which part of a reply comes next: a place in a list, or in a list of lists.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// In the outer list, where there are two.
    pub group: usize,
    /// In the inner list.
    pub item: usize,
    is_after_text: bool,
}

impl Place {
    /// The next item of a list; what stands before it was appended. `None`: the list is closed.
    pub(super) fn next<'a, T>(&mut self, items: &'a [T], out: &mut Vec<u8>) -> Option<&'a T> {
        if self.item == 0 {
            out.push(b'[');
        }
        match items.get(self.item) {
            Some(_) if self.item > 0 => out.extend_from_slice(b", "),
            Some(_) => {}
            None => out.push(b']'),
        }
        self.item += 1;
        items.get(self.item - 1)
    }

    /// Appends the next item of a list of short ones.
    pub(super) fn item<T>(&mut self, items: &[T], out: &mut Vec<u8>, spell: impl FnOnce(&T, &mut Vec<u8>)) -> Step {
        let Some(item) = self.next(items, out) else { return Step::Over };
        spell(item, out);
        Step::Item
    }

    /// The inner list is over.
    pub(super) fn next_group(&mut self) {
        *self = Place { group: self.group + 1, ..Place::default() };
    }

    /// The text of an item comes next.
    pub(super) fn text(&mut self, text: &Arc<str>) -> Step {
        self.is_after_text = true;
        Step::Text(text.clone())
    }

    /// Whether the text of an item was appended, and what stands after it was not. Asked once.
    pub(super) fn takes_text_end(&mut self) -> bool {
        mem::take(&mut self.is_after_text)
    }
}

/// How far a reply has become bytes.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    has_begun: bool,
    place: Place,
    /// The text in hand, and how many bytes of it were escaped.
    text: Option<(Arc<str>, usize)>,
}

impl Cursor {
    /// Appends what comes next until `out` has `most` bytes, or [`PART`] more; gives whether that was the end.
    pub(super) fn advance(&mut self, reply: &Reply, spelling: &Spelling, out: &mut Vec<u8>, most: usize) -> bool {
        if !mem::replace(&mut self.has_begun, true) {
            spelling.begin(reply, out);
        }
        while out.len() < most {
            if let Some((text, from)) = &mut self.text {
                let end = text.floor_char_boundary(*from + ((most - out.len()) / ESCAPED).max(CHARACTER));
                json::escape(&text[*from..end], out);
                *from = end;
                if end == text.len() {
                    self.text = None;
                }
                continue;
            }
            match spelling.step(reply, &mut self.place, out) {
                Step::Item => {}
                Step::Text(text) => self.text = Some((text, 0)),
                Step::Over => {
                    spelling.end(out);
                    return true;
                }
            }
        }
        false
    }
}

/// A reply and its spelling.
#[derive(Debug)]
pub struct Rendering {
    reply: Reply,
    spelling: Spelling,
    cursor: Cursor,
}

impl Rendering {
    pub(super) fn new(reply: Reply, spelling: Spelling) -> Rendering {
        Rendering { reply, spelling, cursor: Cursor::default() }
    }

    /// Appends the next piece until `out` has `most` bytes, or [`PART`] more; gives whether it is the last one.
    pub fn render(&mut self, out: &mut Vec<u8>, most: usize) -> bool {
        self.cursor.advance(&self.reply, &self.spelling, out, most)
    }
}

/// The most that a part takes beside a message's text: names, keys, times, numbers; in bytes.
pub const PART: usize = 8 << 10;
/// The longest character, in bytes.
const CHARACTER: usize = 4;
/// The most bytes that one byte of a text becomes: `\u0001`.
const ESCAPED: usize = 6;
/// The most that an item of a list takes beside its texts: keys, times, numbers.
const ITEM: usize = 256;

impl Reply {
    /// Whether the reply is certain to have no more than `most` bytes, in any dialect. Costs little however long it is.
    pub fn is_at_most(&self, most: usize) -> bool {
        let mut left = most;
        let mut fits = |texts: &[&str]| {
            let bytes = ITEM + ESCAPED * texts.iter().map(|text| text.len()).sum::<usize>();
            let is_left = left.checked_sub(bytes);
            left = is_left.unwrap_or(0);
            is_left.is_some()
        };
        match self {
            Reply::Inbox(senders) => senders.iter().all(|from| {
                let people = [&*from.sender];
                fits(&[from.username.as_str()])
                    && from.messages.iter().all(|m| fits(&[people[0], from.recipient_of(m.id), &m.text]))
            }),
            Reply::Online(names) | Reply::Groups(names) | Reply::Members(names) => {
                names.iter().all(|name| fits(&[name.as_str()]))
            }
            Reply::History(messages) => messages.iter().all(|past| past_fits(past, &mut fits)),
            Reply::Follow(followed) => followed.messages.iter().all(|past| past_fits(past, &mut fits)),
            Reply::Conversations(conversations) => conversations.list.iter().all(|entry| {
                fits(&[entry.with.username.as_str(), &entry.with.display_name]) && past_fits(&entry.newest, &mut fits)
            }),
            Reply::Status(receipts) => receipts.iter().all(|_| fits(&[])),
            Reply::GroupStatus(receipts) => receipts.iter().all(|_| fits(&[])),
            Reply::Account(reply) => reply.items().iter().all(|texts| fits(texts)),
            Reply::LoggedIn { .. }
            | Reply::Sent
            | Reply::Stored(_)
            | Reply::LoggedOut { .. }
            | Reply::Acknowledged
            | Reply::SentToSome { .. }
            | Reply::GroupChanged
            | Reply::Read(_)
            | Reply::Refused(_) => true,
        }
    }

    /// The memory that the reply takes while it is written, in bytes: texts, and what stands beside them.
    pub fn held(&self) -> usize {
        let message = |message: &Message| size_of::<Message>() + COUNTED + message.text.len();
        let names = |past: &HistoryEntry| past.from.display_name.len() + past.to.display_name.len();
        let entry = |past: &HistoryEntry| size_of::<HistoryEntry>() + names(past) + message(&past.message);
        match self {
            Reply::Inbox(senders) => {
                let people = |from: &SenderMessages| {
                    let groups = from.to_groups.len() * size_of::<(MessageId, Arc<str>)>();
                    size_of::<SenderMessages>() + from.sender.len() + from.recipient.len() + groups
                };
                senders.iter().map(|from| people(from) + from.messages.iter().map(message).sum::<usize>()).sum()
            }
            Reply::History(messages) => messages.iter().map(entry).sum(),
            Reply::Follow(followed) => followed.messages.iter().map(entry).sum(),
            Reply::Conversations(conversations) => {
                let names = |entry: &ConversationEntry| size_of::<ConversationEntry>() + entry.with.display_name.len();
                conversations.list.iter().map(|conversation| names(conversation) + entry(&conversation.newest)).sum()
            }
            // The names are those of the accounts.
            Reply::Online(names) | Reply::Groups(names) | Reply::Members(names) => names.len() * size_of::<Username>(),
            Reply::Status(receipts) => receipts.len() * size_of::<Receipt>(),
            Reply::GroupStatus(receipts) => receipts.len() * size_of::<GroupReadCount>(),
            Reply::Account(reply) => {
                let held = |texts: &Vec<&str>| ITEM + texts.iter().map(|text| text.len()).sum::<usize>();
                reply.items().iter().map(held).sum()
            }
            Reply::LoggedIn { .. }
            | Reply::Sent
            | Reply::Stored(_)
            | Reply::LoggedOut { .. }
            | Reply::Acknowledged
            | Reply::SentToSome { .. }
            | Reply::GroupChanged
            | Reply::Read(_)
            | Reply::Refused(_) => 0,
        }
    }
}

fn past_fits(past: &HistoryEntry, fits: &mut impl FnMut(&[&str]) -> bool) -> bool {
    let people = [&past.from, &past.to];
    people.iter().all(|person| fits(&[person.username.as_str(), &person.display_name])) && fits(&[&past.message.text])
}

/// What a shared text has beside it, in bytes: two counters.
const COUNTED: usize = 2 * size_of::<usize>();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{MessageId, Timestamp};
    use crate::protocol::{Conversations, FollowReply, Profile};

    fn name(text: &str) -> Username {
        Username::parse(text).expect("it is a name")
    }

    fn message(text: &str) -> Message {
        Message { id: MessageId(i64::MAX), sent_at: Timestamp(0), text: text.into() }
    }

    fn past(text: &str) -> HistoryEntry {
        let person = || Profile { username: name("messi"), display_name: text.chars().take(128).collect() };
        let read_at = Some(Timestamp(i64::MAX / 2_000_000));
        HistoryEntry { message: message(text), from: person(), to: person(), read_at }
    }

    fn conversation(text: &str) -> ConversationEntry {
        let (newest, last) = (past(text), MessageId(i64::MAX));
        let with = newest.from.clone();
        ConversationEntry { with, unread: u64::MAX, read_to: last, other_read_to: last, newest }
    }

    fn replies(texts: &[String]) -> Vec<Reply> {
        let from = SenderMessages {
            username: name("l'ineta"),
            sender: texts.first().cloned().unwrap_or_default(),
            recipient: "é".into(),
            messages: texts.iter().map(|text| message(text)).collect(),
            to_groups: Vec::new(),
        };
        let receipt = Receipt { id: MessageId(i64::MAX), sent_at: Timestamp(0), read_at: None };
        vec![
            Reply::Inbox(vec![from]),
            Reply::History(texts.iter().map(|text| past(text)).collect()),
            Reply::Status(vec![receipt; texts.len()]),
            Reply::Follow(FollowReply {
                messages: texts.iter().map(|text| past(text)).collect(),
                next: MessageId(i64::MAX),
                more: false,
                reads: u64::MAX,
            }),
            Reply::Conversations(Conversations {
                list: texts.iter().map(|text| conversation(text)).collect(),
                next: Some(MessageId(i64::MAX)),
            }),
            Reply::Online(vec![name("l'ineta"); texts.len()]),
            Reply::Sent,
        ]
    }

    fn whole(reply: &Reply, spelling: Spelling) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(Rendering::new(reply.clone(), spelling).render(&mut out, usize::MAX));
        out
    }

    fn spellings() -> [Spelling; 2] {
        [Spelling::Json, Spelling::Text(ReplyContext::Inbox)]
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_are_the_whole(texts in prop::collection::vec(any::<String>(), 0..9), most in 1_usize..5_000) {
            for reply in replies(&texts) {
                for (spelling, same) in spellings().into_iter().zip(spellings()) {
                    let mut rendering = Rendering::new(reply.clone(), spelling);
                    let mut all = Vec::new();
                    let mut is_last = false;
                    while !is_last {
                        let mut piece = Vec::new();
                        is_last = rendering.render(&mut piece, most);
                        prop_assert!(is_last || piece.len() >= most, "{} of {most}", piece.len());
                        prop_assert!(piece.len() < most + PART, "{} of {most}", piece.len());
                        all.extend(piece);
                    }
                    prop_assert!(!reply.is_at_most(all.len().saturating_sub(ITEM)) || all.len() < ITEM);
                    prop_assert_eq!(all, whole(&reply, same));
                }
            }
        }
    }

    /// A text that becomes six times as long is never held as that.
    #[test]
    fn one_long_text_comes_in_many_pieces() {
        let text = "\u{1}".repeat(1 << 20);
        let mut rendering = Rendering::new(Reply::History(vec![past(&text)]), Spelling::Json);
        let (mut pieces, mut bytes) = (0, 0);
        let mut out = Vec::with_capacity(PART + 10_000);
        while !rendering.render(&mut out, 10_000) {
            (pieces, bytes) = (pieces + 1, bytes + out.len());
            out.clear();
        }
        assert!(pieces > 600 && bytes > 6 << 20, "{bytes} bytes in {pieces} pieces");
        assert!(out.capacity() <= PART + 10_000, "{}", out.capacity());
    }

    #[test]
    fn the_longest_that_texts_become_is_no_more_than_was_thought() {
        for text in ["\u{1}", "\u{7f}", "é", "\u{ad}", "\u{ffff}", "😀", "\"", "\\"] {
            for reply in replies(&vec![text.repeat(100); 50]) {
                for spelling in spellings() {
                    let length = whole(&reply, spelling).len();
                    assert!(length < 64 || !reply.is_at_most(length - 64), "{text:?} {reply:?}");
                }
            }
        }
    }
}
