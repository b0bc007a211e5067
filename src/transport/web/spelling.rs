//! How messages, conversations and groups are spelled in JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::{MessageId, Username};
use crate::protocol::{ConversationEntry, ConversationKind, HistoryEntry};
use crate::service::{GroupProfile, MemberProfile, SentFile};

/// The files of some messages, by message.
pub(super) type Files = BTreeMap<MessageId, SentFile>;

/// In which conversation `me` sees a message: that with the other one, or that of the group.
pub(super) fn conversation_of<'a>(me: &Username, entry: &'a HistoryEntry) -> &'a Username {
    let is_sent = entry.kind == ConversationKind::Group || entry.from.username == *me;
    if is_sent { &entry.to.username } else { &entry.from.username }
}

/// A message as `me` sees it.
pub(super) fn message(me: &Username, entry: &HistoryEntry, files: &Files) -> Value {
    let HistoryEntry { message, from, to, kind, read_at, readers } = entry;
    let mut spelled = json!({
        "id": message.id.0,
        "time": message.sent_at.0,
        "conversation": conversation_of(me, entry).as_str(),
        "kind": spelled_kind(*kind),
        "from": from.username.as_str(),
        "display_name": from.display_name,
        "to": to.username.as_str(),
        "text": &*message.text,
        "read_at": read_at.map(|at| at.0),
    });
    if let Some(brought) = files.get(&message.id) {
        spelled["file"] = file(brought);
    }
    if let (Some(readers), Some(fields)) = (readers, spelled.as_object_mut()) {
        fields.insert("read_by".to_owned(), readers.read_by.into());
        fields.insert("of".to_owned(), readers.of.into());
    }
    spelled
}

/// What is told of a file; its bytes are at a route of their own.
pub(super) fn file(file: &SentFile) -> Value {
    json!({ "id": file.id.0, "name": file.name, "type": file.media_type, "bytes": file.bytes })
}

fn spelled_kind(kind: ConversationKind) -> &'static str {
    match kind {
        ConversationKind::Person => "person",
        ConversationKind::Group => "group",
    }
}

/// A conversation of `me`.
pub(super) fn conversation(me: &Username, entry: &ConversationEntry, files: &Files) -> Value {
    let ConversationEntry { with, kind, unread, read_to, other_read_to, newest } = entry;
    json!({
        "name": with.username.as_str(),
        "display_name": with.display_name,
        "kind": spelled_kind(*kind),
        "newest": message(me, newest, files),
        "unread": unread,
        "read_upto": read_to.0,
        "their_read_upto": other_read_to.0,
    })
}

/// A group of `me`'s.
pub(super) fn group(me: &Username, group: &GroupProfile) -> Value {
    json!({
        "name": group.profile.username.as_str(),
        "display_name": group.profile.display_name,
        "owner": group.owner.as_str(),
        "mine": group.owner == *me,
        "members": group.members,
    })
}

/// A member of a group.
pub(super) fn member(member: &MemberProfile) -> Value {
    json!({
        "name": member.profile.username.as_str(),
        "display_name": member.profile.display_name,
        "owner": member.is_owner,
        "online": member.is_online,
    })
}
