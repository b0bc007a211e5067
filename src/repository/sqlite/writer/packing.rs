//! What is written of each message, in one statement for all of a commit: its row and its checksum.

use std::sync::atomic::Ordering;

use tracing::error;

use super::Writer;
use crate::model::{Address, MessageId, UserId};
use crate::repository::memory::mailboxes::UnreadMessage;
use crate::repository::sqlite::checksum::{BYTES, Content};
use crate::repository::sqlite::packed::{JsonbRows, USER, WIDE};
use crate::repository::{NewMessage, PerMessage, SendResult};

pub(super) const INSERT_MESSAGES: &str = "INSERT INTO message (id, sender, target, sent_at, checksum, text)
    SELECT ?2 + key, CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11, 10) AS INTEGER),
        CAST(substr(v, 21, 14) AS INTEGER), substr(v, 35, 4), CAST(substr(v, 39) AS TEXT)
    FROM (SELECT key, CAST(value AS BLOB) AS v FROM json_each(?1))";

impl Writer {
    /// Gives each message its number and its place in the bind, or says why it gets none.
    pub(super) fn pack(
        &self,
        sends: &[(PerMessage<NewMessage>, impl Sized)],
    ) -> (JsonbRows, Vec<(UserId, UnreadMessage)>, Vec<PerMessage<SendResult>>) {
        let count = sends.iter().map(|(messages, _)| messages.len()).sum();
        let text: usize = sends.iter().flat_map(|(messages, _)| messages).map(|message| message.text.len()).sum();
        let mut packed =
            JsonbRows::with_capacity(count, 2 * USER + WIDE + BYTES + text.checked_div(count).unwrap_or(0) + 1);
        let mut delivered = Vec::with_capacity(count);
        let has_room = self.shared.has_room.load(Ordering::Relaxed);
        let mut reserve = self.shared.mailboxes.reserve();
        let mut charging = self.shared.stored.charging();
        let queued = sends.iter().map(|(messages, _)| {
            let queued = messages.iter().map(|message| {
                let bytes = message.text.len() as u64;
                if !has_room {
                    return SendResult::NoSpace;
                }
                // Nobody is in a group yet.
                let Address::User(recipient) = message.to else { return SendResult::NotAMember };
                if !reserve.room(recipient, message.sender, bytes) {
                    return SendResult::InboxFull;
                }
                if !charging.charge(message.sender, bytes) {
                    reserve.give_back(recipient, message.sender, bytes);
                    return SendResult::StoredFull;
                }
                let id = MessageId(self.next_id + packed.rows() as i64);
                let columns = [(message.sender.0, USER), (message.to.number(), USER), (message.sent_at.0, WIDE)];
                let [(sender, _), (target, _), (sent_at, _)] = columns;
                let stored = Content { id: id.0, sender, target, sent_at, text: message.text.as_bytes() };
                if let Err(error) = packed.row_with(&columns, &stored.checksum(), &message.text) {
                    error!(%error, "a message was refused");
                    reserve.give_back(recipient, message.sender, bytes);
                    charging.give_back(message.sender, bytes);
                    return SendResult::Unfit;
                }
                let content = Some((message.sent_at, message.text.clone()));
                let unread = UnreadMessage { id, sender: message.sender, to: message.to, bytes, content };
                delivered.push((recipient, unread));
                SendResult::Stored { id, not_delivered: 0 }
            });
            queued.collect()
        });
        let queued = queued.collect();
        (packed, delivered, queued)
    }
}
