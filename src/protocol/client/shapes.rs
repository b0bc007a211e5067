//! Replies as JSON has them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

#[derive(Deserialize)]
pub(super) struct ReplyObject {
    pub(super) status: ReplyStatus,
    pub(super) tokenid: Option<String>,
    pub(super) message: Option<String>,
    pub(super) messages: Option<Messages>,
    pub(super) fetch: Option<Vec<PastRead>>,
    pub(super) history: Option<Vec<PastRead>>,
    pub(super) sent: Option<Vec<ReceiptRead>>,
    pub(super) groups: Option<Vec<String>>,
    pub(super) members: Option<Vec<String>>,
    pub(super) follow: Option<FollowedRead>,
    pub(super) conversations: Option<ConversationsRead>,
    pub(super) read: Option<u64>,
    pub(super) id: Option<i64>,
    pub(super) not_delivered: Option<u64>,
    pub(super) sessions: Option<Vec<SessionRead>>,
    pub(super) people: Option<Vec<PersonRead>>,
}

#[derive(Deserialize)]
pub(super) enum ReplyStatus {
    #[serde(rename = "OK")]
    Ok,
    #[serde(rename = "ERROR")]
    Error,
}

/// What stands under `messages`: each request has its own.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Messages {
    Token(String),
    Names(Vec<String>),
    Inbox(Ordered<Vec<MessageRead>>),
}

#[derive(Deserialize)]
pub(super) struct MessageRead {
    pub(super) msg_from: String,
    pub(super) msg_to: String,
    pub(super) msg: String,
}

#[derive(Deserialize)]
pub(super) struct PastRead {
    pub(super) id: i64,
    pub(super) time: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) msg_from: String,
    pub(super) msg_to: String,
    pub(super) msg: String,
    pub(super) kind: Option<String>,
    pub(super) read: Option<String>,
    pub(super) read_by: Option<u64>,
    pub(super) of: Option<u64>,
    pub(super) fileid: Option<String>,
    pub(super) file_name: Option<String>,
    pub(super) file_content: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ReceiptRead {
    pub(super) id: i64,
    pub(super) time: String,
    pub(super) read: Option<String>,
    pub(super) read_by: Option<u64>,
    pub(super) of: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct FollowedRead {
    pub(super) messages: Vec<PastRead>,
    pub(super) next: i64,
    pub(super) more: bool,
    pub(super) reads: u64,
}

#[derive(Deserialize)]
pub(super) struct ConversationsRead {
    pub(super) list: Vec<ConversationRead>,
    pub(super) next: Option<i64>,
}

#[derive(Deserialize)]
pub(super) struct ConversationRead {
    pub(super) with: String,
    pub(super) name: String,
    pub(super) kind: Option<String>,
    pub(super) unread: u64,
    pub(super) read_to: i64,
    pub(super) other_read_to: i64,
    pub(super) newest: PastRead,
}

#[derive(Deserialize)]
pub(super) struct SessionRead {
    pub(super) id: i64,
    pub(super) created: String,
    pub(super) last_used: String,
    pub(super) address: String,
    pub(super) label: String,
    pub(super) current: bool,
}

#[derive(Deserialize)]
pub(super) struct PersonRead {
    pub(super) user: String,
    pub(super) name: String,
    pub(super) online: bool,
}

/// An object whose keys keep their order.
pub(super) struct Ordered<V>(pub(super) Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<V>(std::marker::PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<V> {
            type Value = Ordered<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<V>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(std::marker::PhantomData))
    }
}
