//! A reply that is about to become bytes. It owns all that it says, so that a long one can be rendered on another
//! thread, and its length can be known before the bytes are made.

use std::io::{self, Write};

use super::text::{self, ReplyContext};
use super::{Reply, json};

/// How one reply is spelled.
#[derive(Debug)]
pub(super) enum Spelling {
    Json,
    Text(ReplyContext),
}

impl Spelling {
    /// Writes the reply and its end.
    pub(super) fn write(&self, reply: &Reply, out: &mut impl Write) -> io::Result<()> {
        match self {
            Spelling::Json => json::write(reply, out),
            Spelling::Text(echo) => text::write(echo, reply, out),
        }
    }
}

/// A reply and its spelling.
#[derive(Debug)]
pub struct Rendering {
    reply: Reply,
    spelling: Spelling,
}

impl Rendering {
    pub(super) fn new(reply: Reply, spelling: Spelling) -> Rendering {
        Rendering { reply, spelling }
    }

    /// How many bytes [`Rendering::render`] will append.
    pub fn length(&self) -> usize {
        let mut count = Length(0);
        self.spelling.write(&self.reply, &mut count).expect("counting does not fail");
        count.0
    }

    /// Appends the reply and its end.
    pub fn render(&self, out: &mut Vec<u8>) {
        self.spelling.write(&self.reply, out).expect("a Vec takes every byte");
    }
}

/// Counts what is written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

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
                let people = [&*from.sender, &from.recipient];
                fits(&[from.username.as_str()])
                    && from.messages.iter().all(|message| fits(&[people[0], people[1], &message.text]))
            }),
            Reply::Online(names) => names.iter().all(|name| fits(&[name.as_str()])),
            Reply::History(messages) => messages.iter().all(|past| {
                let people = [&past.from, &past.to];
                people.iter().all(|person| fits(&[person.username.as_str(), &person.display_name]))
                    && fits(&[&past.message.text])
            }),
            Reply::Status(receipts) => receipts.iter().all(|_| fits(&[])),
            Reply::LoggedIn { .. }
            | Reply::Sent
            | Reply::LoggedOut { .. }
            | Reply::Acknowledged
            | Reply::Refused(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Message, MessageId, Timestamp, Username};
    use crate::protocol::{HistoryEntry, Profile, Receipt, SenderMessages};

    fn name(text: &str) -> Username {
        Username::parse(text).expect("it is a name")
    }

    fn message(text: &str) -> Message {
        Message { id: MessageId(i64::MAX), sent_at: Timestamp(0), text: text.into() }
    }

    fn replies(texts: &[String]) -> Vec<Reply> {
        let person = |text: &String| Profile { username: name("messi"), display_name: text.clone() };
        let past = |text: &String| HistoryEntry {
            message: message(text),
            from: person(text),
            to: person(text),
            read_at: Some(Timestamp(i64::MAX / 2_000_000)),
        };
        let from = SenderMessages {
            username: name("l'ineta"),
            sender: texts.concat(),
            recipient: "é".into(),
            messages: texts.iter().map(|text| message(text)).collect(),
        };
        let receipt = Receipt { id: MessageId(i64::MAX), sent_at: Timestamp(0), read_at: None };
        vec![
            Reply::Inbox(vec![from]),
            Reply::History(texts.iter().map(past).collect()),
            Reply::Status(vec![receipt; texts.len()]),
            Reply::Online(vec![name("l'ineta"); texts.len()]),
            Reply::Sent,
        ]
    }

    proptest! {
        #[test]
        fn the_length_is_known_before_a_reply_is_rendered(texts in prop::collection::vec(any::<String>(), 0..20)) {
            for reply in replies(&texts) {
                for spelling in [Spelling::Json, Spelling::Text(ReplyContext::Inbox)] {
                    let rendering = Rendering::new(reply.clone(), spelling);
                    let mut out = Vec::new();
                    rendering.render(&mut out);
                    prop_assert_eq!(rendering.length(), out.len());
                    prop_assert!(!reply.is_at_most(out.len().saturating_sub(ITEM)) || out.len() < ITEM);
                }
            }
        }
    }

    #[test]
    fn the_longest_that_texts_become_is_no_more_than_was_thought() {
        for text in ["\u{1}", "\u{7f}", "é", "\u{ad}", "\u{ffff}", "😀", "\"", "\\"] {
            for reply in replies(&vec![text.repeat(100); 50]) {
                for spelling in [Spelling::Json, Spelling::Text(ReplyContext::Inbox)] {
                    let length = Rendering::new(reply.clone(), spelling).length();
                    assert!(length < 64 || !reply.is_at_most(length - 64), "{text:?} {reply:?}");
                }
            }
        }
    }
}
