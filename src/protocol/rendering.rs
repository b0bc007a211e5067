//! A reply with its spelling, which becomes bytes in pieces. It owns all that it says, so that a piece can be made on
//! another thread.

use super::Reply;
use super::family::spelling::FamilySpelling;
use super::json::JsonSpelling;
use super::parts::{Cursor, Place, Spell, Step};
use super::text::ReplyContext;

/// How one reply is spelled.
#[derive(Debug)]
pub(super) enum Spelling {
    Json,
    Text(ReplyContext),
    Family(FamilySpelling),
}

impl Spell for Spelling {
    fn begin(&self, reply: &Reply, out: &mut Vec<u8>) {
        match self {
            Spelling::Json => JsonSpelling.begin(reply, out),
            Spelling::Text(context) => context.begin(reply, out),
            Spelling::Family(family) => family.begin(reply, out),
        }
    }

    fn step(&self, reply: &Reply, at: &mut Place, out: &mut Vec<u8>) -> Step {
        match self {
            Spelling::Json => JsonSpelling.step(reply, at, out),
            Spelling::Text(context) => context.step(reply, at, out),
            Spelling::Family(family) => family.step(reply, at, out),
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        match self {
            Spelling::Json => JsonSpelling.end(out),
            Spelling::Text(context) => context.end(out),
            Spelling::Family(family) => family.end(out),
        }
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

    /// The memory that the reply takes, in bytes: texts, and what stands beside them.
    pub fn held(&self) -> usize {
        self.reply.held()
    }

    /// Appends the next piece until `out` has `most` bytes, or [`PART`](super::parts::PART) more; gives whether it is
    /// the last one.
    pub fn render(&mut self, out: &mut Vec<u8>, most: usize) -> bool {
        self.cursor.advance(&self.reply, &self.spelling, out, most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{FileId, Message, MessageId, Timestamp, Username};
    use crate::protocol::ConversationKind::Group;
    use crate::protocol::parts::PART;
    use crate::protocol::{
        ConversationEntry, Conversations, FetchedMessage, FollowReply, HistoryEntry, InboxFile, Profile, ReadBy,
        Receipt, SenderMessages,
    };

    fn name(text: &str) -> Username {
        Username::parse(text).expect("it is a name")
    }

    fn message(text: &str) -> Message {
        Message { id: MessageId(i64::MAX), sent_at: Timestamp(0), text: text.into() }
    }

    fn past(text: &str) -> HistoryEntry {
        let person = || Profile { username: name("messi"), display_name: text.chars().take(128).collect() };
        let read_at = Some(Timestamp(i64::MAX / 2_000_000));
        let readers = Some(ReadBy { read_by: u64::MAX, of: u64::MAX });
        HistoryEntry { message: message(text), from: person(), to: person(), kind: Group, read_at, readers }
    }

    fn conversation(text: &str) -> ConversationEntry {
        let (newest, last) = (past(text), MessageId(i64::MAX));
        let with = newest.from.clone();
        ConversationEntry { with, kind: Group, unread: u64::MAX, read_to: last, other_read_to: last, newest }
    }

    /// A message with a file, of which only the data are long.
    fn fetched(data: &str) -> FetchedMessage {
        let (message, id) = (MessageId(i64::MAX), FileId(i64::MAX));
        let file = Some(InboxFile { message, id, name: data.chars().take(63).collect(), data: data.into() });
        FetchedMessage { entry: past(""), file }
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
            Reply::Fetched(texts.iter().map(|text| FetchedMessage { entry: past(text), file: None }).collect()),
            Reply::Fetched(texts.iter().map(|text| fetched(text)).collect()),
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
}
