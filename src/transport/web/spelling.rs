//! How messages and conversations are spelled in JSON.

use serde_json::{Value, json};

use crate::model::Username;
use crate::protocol::{ConversationEntry, HistoryEntry};

/// A message as `me` sees it: in the conversation with the other one.
pub(super) fn message(me: &Username, entry: &HistoryEntry) -> Value {
    let HistoryEntry { message, from, to, read_at } = entry;
    let other = if from.username == *me { to } else { from };
    json!({
        "id": message.id.0,
        "time": message.sent_at.0,
        "conversation": other.username.as_str(),
        "from": from.username.as_str(),
        "display_name": from.display_name,
        "to": to.username.as_str(),
        "text": &*message.text,
        "read_at": read_at.map(|at| at.0),
    })
}

/// A conversation of `me`.
pub(super) fn conversation(me: &Username, entry: &ConversationEntry) -> Value {
    let ConversationEntry { with, unread, read_to, other_read_to, newest } = entry;
    json!({
        "name": with.username.as_str(),
        "display_name": with.display_name,
        "kind": "person",
        "newest": message(me, newest),
        "unread": unread,
        "read_upto": read_to.0,
        "their_read_upto": other_read_to.0,
    })
}
