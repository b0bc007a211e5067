//! What happens to `chatd chat`, and what it wants done.

use std::sync::Arc;

use crate::cli::chat::screen::state::ShownMessage;
use crate::model::{MessageId, Timestamp};

/// Something that happened.
#[derive(Debug)]
pub(crate) enum ChatEvent {
    /// Of the terminal: a key, a paste, the focus, a new size.
    Terminal(ratatui::crossterm::event::Event),
    /// Time has passed.
    Tick(Timestamp),
    /// The connection is there, again or for the first time.
    Up,
    Lost(String),
    SessionEnded,
    /// The conversations, and how far each was read.
    Conversations(Vec<ConversationNews>),
    /// Messages of any conversation, as they were accepted: each with the name of the other side.
    Came(Vec<(String, MessageId, ShownMessage)>),
    /// A part of a conversation that was asked for; `last`: there is nothing before it.
    Page {
        with: String,
        messages: Vec<(MessageId, ShownMessage)>,
        last: bool,
    },
    /// The message with this key is stored under this number.
    Stored {
        with: String,
        key: String,
        id: MessageId,
    },
    /// The server does not take it.
    Refused {
        with: String,
        key: String,
        why: String,
    },
    People(Vec<String>),
}

/// What the server says of a conversation.
#[derive(Debug)]
pub(crate) struct ConversationNews {
    pub(crate) with: String,
    pub(crate) newest: (Timestamp, MessageId),
    pub(crate) unread: u64,
    pub(crate) read_by_me: MessageId,
    pub(crate) read_by_other: MessageId,
}

/// Something to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    Send {
        with: String,
        key: String,
        text: Arc<str>,
    },
    /// The message with this key waits no more: it is stored, or was taken back.
    Done {
        key: String,
    },
    /// Ask for the messages before this one, or for the newest.
    Older {
        with: String,
        before: Option<MessageId>,
    },
    /// All up to here was read.
    Read {
        with: String,
        upto: MessageId,
    },
    /// Ask who could be written to.
    People,
    /// Ring, and show this where the person is.
    Notify(String),
    /// As Ctrl-Z.
    Suspend,
    /// Draw all of it anew.
    Redraw,
    Quit,
}
