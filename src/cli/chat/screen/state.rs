//! What `chatd chat` knows and shows. Pure: no terminal, no network, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::cli::chat::screen::draft::Draft;
use crate::cli::chat::screen::draft_file::Drafts;
use crate::model::{MessageId, Timestamp};

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct ChatState {
    /// Whose session it is.
    pub(crate) me: String,
    pub(crate) address: String,
    /// The person's time zone.
    pub(crate) clock: TimeZone,
    pub(crate) now: Timestamp,
    pub(crate) columns: u16,
    pub(crate) rows: u16,
    pub(crate) colours: bool,
    /// The window has the keyboard, as far as the terminal tells.
    pub(crate) focused: bool,
    pub(crate) line: LineState,
    /// Newest first.
    pub(crate) conversations: Vec<ChatConversation>,
    /// The name of the one that is open.
    pub(crate) open: Option<String>,
    /// Where there is room for one of them only: the list, and not the open conversation.
    pub(crate) shows_list: bool,
    /// Who could be written to, as far as is known.
    pub(crate) people: BTreeSet<String>,
    pub(crate) help: bool,
    /// The first line of it that is shown.
    pub(crate) help_from: usize,
    pub(crate) search: Option<Search>,
    /// What the person is told; the next key takes it away.
    pub(crate) note: Option<String>,
    /// What is typed is sent by the next program of this kind, if this one does not.
    pub(crate) keeps_outbox: bool,
    /// The person was told what leaving would cost, and the next wish to leave is obeyed.
    pub(crate) leaves: bool,
    /// What is typed while no conversation is open.
    pub(crate) draft: Draft,
    /// What Tab goes through.
    pub(crate) completion: Option<Completion>,
}

/// The connection to the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LineState {
    Connecting,
    Up,
    /// Why it is lost.
    Lost(String),
    /// The session has ended: nothing goes on without a new login.
    Ended,
}

/// A conversation with one person, or in one group.
#[derive(Clone, Debug)]
pub(crate) struct ChatConversation {
    pub(crate) name: String,
    /// What has been loaded of it, without gaps: all that is newer than the oldest of these.
    pub(crate) messages: BTreeMap<MessageId, ShownMessage>,
    /// What was typed and is not stored yet, in the order typed.
    pub(crate) outbox: Vec<OutboxMessage>,
    /// When the newest message came, and its number.
    pub(crate) newest: (Timestamp, MessageId),
    pub(crate) unread: u64,
    /// All up to here I have read.
    pub(crate) read_by_me: MessageId,
    /// All up to here the other side has read.
    pub(crate) read_by_other: MessageId,
    /// The first message that was new when the conversation was opened, or came while nobody looked.
    pub(crate) new_from: Option<MessageId>,
    pub(crate) older: Older,
    /// The row at the bottom of the window; `None`: the last one there is, whatever comes.
    pub(crate) bottom: Option<Anchor>,
    pub(crate) draft: Draft,
    /// Who has written in it, as far as is known: in a group more than two.
    pub(crate) writers: BTreeSet<String>,
}

/// A message that the server has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ShownMessage {
    pub(crate) sent_at: Timestamp,
    pub(crate) from: String,
    /// As people read it: without the blanks and the line end that clients put around a text.
    pub(crate) text: Arc<str>,
    /// The recipient has it.
    pub(crate) read: bool,
}

/// A message on its way to the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OutboxMessage {
    /// The key by which the server knows it again, so that it is stored once however often it is sent.
    pub(crate) key: String,
    pub(crate) text: Arc<str>,
    /// Its number, where the server has it and it has not come yet among all others.
    pub(crate) stored: Option<MessageId>,
    /// Why the server does not take it.
    pub(crate) refused: Option<String>,
}

/// What there is before the oldest loaded message.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Older {
    #[default]
    Unknown,
    /// It was asked for.
    Asked,
    Nothing,
}

/// A message by which a place in a conversation is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ItemKey {
    Stored(MessageId),
    Unsent(String),
}

/// A row of a conversation: a message, and which of its rows, whatever the width.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Anchor {
    pub(crate) item: ItemKey,
    pub(crate) row: usize,
}

/// A search in the open conversation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    pub(crate) query: Draft,
    pub(crate) hit: Option<MessageId>,
    /// It goes on in older messages when they have come.
    pub(crate) goes_on: bool,
}

/// What Tab has offered, so that the next Tab offers the next.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    /// Where the word begins, in bytes.
    pub(crate) from: usize,
    pub(crate) words: Vec<String>,
    pub(crate) next: usize,
}

impl ChatState {
    pub(crate) fn new(me: &str, address: &str, clock: TimeZone, colours: bool) -> ChatState {
        ChatState {
            me: me.to_owned(),
            address: address.to_owned(),
            clock,
            now: Timestamp(0),
            columns: 80,
            rows: 24,
            colours,
            focused: true,
            line: LineState::Connecting,
            conversations: Vec::new(),
            open: None,
            shows_list: true,
            people: BTreeSet::new(),
            help: false,
            help_from: 0,
            search: None,
            note: None,
            keeps_outbox: false,
            leaves: false,
            draft: Draft::default(),
            completion: None,
        }
    }

    pub(crate) fn opened(&self) -> Option<&ChatConversation> {
        let name = self.open.as_deref()?;
        self.conversations.iter().find(|conversation| conversation.name == name)
    }

    pub(crate) fn opened_mut(&mut self) -> Option<&mut ChatConversation> {
        let name = self.open.as_deref()?;
        self.conversations.iter_mut().find(|conversation| conversation.name == name)
    }

    /// The conversation of that name, begun where there is none.
    pub(crate) fn conversation(&mut self, name: &str) -> &mut ChatConversation {
        let there = self.conversations.iter().position(|conversation| conversation.name == name);
        let place = there.unwrap_or_else(|| {
            self.conversations.insert(0, ChatConversation::new(name));
            self.people.insert(name.to_owned());
            0
        });
        &mut self.conversations[place]
    }

    /// What is typed and not sent, in all conversations.
    pub(crate) fn drafts(&self) -> Drafts {
        let texts = self.conversations.iter().map(|conversation| (&*conversation.name, conversation.draft.text()));
        let texts = texts.chain([("", self.draft.text())]).filter(|(_, text)| !text.is_empty());
        texts.map(|(with, text)| (with.to_owned(), text.to_owned())).collect()
    }

    /// What is being typed.
    pub(crate) fn typing(&self) -> &Draft {
        match (&self.search, self.opened()) {
            (Some(search), _) => &search.query,
            (None, Some(open)) => &open.draft,
            (None, None) => &self.draft,
        }
    }

    pub(crate) fn typing_mut(&mut self) -> &mut Draft {
        if let Some(search) = &mut self.search {
            return &mut search.query;
        }
        let name = self.open.as_deref();
        match self.conversations.iter_mut().find(|conversation| Some(conversation.name.as_str()) == name) {
            Some(open) => &mut open.draft,
            None => &mut self.draft,
        }
    }

    /// Newest first; of those without a message the one begun last is first.
    pub(crate) fn sort(&mut self) {
        self.conversations.sort_by_key(|conversation| std::cmp::Reverse(conversation.rank()));
    }

    /// How many messages wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        let waiting = |conversation: &ChatConversation| {
            conversation.outbox.iter().filter(|message| message.refused.is_none() && message.stored.is_none()).count()
        };
        self.conversations.iter().map(waiting).sum()
    }

    /// The open conversation is before the person's eyes, up to its end.
    pub(crate) fn looks_at_end(&self) -> bool {
        let open_is_shown = !self.shows_list || self.is_wide();
        self.focused && open_is_shown && self.opened().is_some_and(|open| open.bottom.is_none())
    }

    /// There is room for the list beside the conversation.
    pub(crate) fn is_wide(&self) -> bool {
        self.columns >= WIDE
    }
}

/// From here on the list stands beside the conversation, in columns.
const WIDE: u16 = 72;

impl ChatConversation {
    fn new(name: &str) -> ChatConversation {
        ChatConversation {
            name: name.to_owned(),
            messages: BTreeMap::new(),
            outbox: Vec::new(),
            newest: (Timestamp(0), MessageId(0)),
            unread: 0,
            read_by_me: MessageId(0),
            read_by_other: MessageId(0),
            new_from: None,
            older: Older::Unknown,
            bottom: None,
            draft: Draft::default(),
            writers: BTreeSet::new(),
        }
    }

    /// Takes a message that the server has.
    pub(crate) fn insert(&mut self, id: MessageId, message: ShownMessage) {
        if !self.writers.contains(&message.from) {
            self.writers.insert(message.from.clone());
        }
        self.messages.insert(id, message);
    }

    /// What is among the messages of the server is in the outbox no more.
    pub(crate) fn clear_outbox(&mut self) {
        let messages = &self.messages;
        self.outbox.retain(|message| message.stored.is_none_or(|id| !messages.contains_key(&id)));
    }

    /// Puts the mark above the first message that the person has not read, where there is none yet.
    pub(crate) fn note_what_is_new(&mut self, me: &str) {
        if self.new_from.is_none() && self.unread > 0 {
            let after = MessageId(self.read_by_me.0 + 1);
            let first = self.messages.range(after..).find(|(_, message)| message.from != me);
            self.new_from = first.map(|(id, _)| *id);
        }
    }

    /// What decides its place in the list: without a message that the server has, it is new.
    fn rank(&self) -> MessageId {
        if self.newest.1 == MessageId(0) || !self.outbox.is_empty() { MessageId(i64::MAX) } else { self.newest.1 }
    }

    /// The number of the newest message that is loaded.
    pub(crate) fn last(&self) -> Option<MessageId> {
        self.messages.last_key_value().map(|(id, _)| *id)
    }
}
