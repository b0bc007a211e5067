//! What is written when messages were read.

use std::collections::BTreeMap;

use super::Writer;
use crate::model::{Timestamp, UserId};
use crate::repository::memory::mailboxes::UnreadMessage;
use crate::repository::sqlite::direct::Failure;

/// Retention may have removed a message that was leased when its recipient's account went.
const RECEIPT: &str = "INSERT OR IGNORE INTO receipt (id, delivered_at) SELECT value, ?2 FROM json_each(?1)
    WHERE EXISTS (SELECT 1 FROM message WHERE message.id = value)";

const UNCOUNT: &str = "UPDATE mailbox SET messages = messages - (value ->> 1), bytes = bytes - (value ->> 2)
    FROM json_each(?1) WHERE user = value ->> 0";

impl Writer {
    /// Takes what was read off the queue. What is not indexed yet is not counted on disk either.
    pub(super) async fn write_confirmed(
        &mut self,
        confirmed: &[(UserId, Vec<UnreadMessage>)],
        now: Timestamp,
    ) -> Result<(), Failure> {
        if confirmed.is_empty() {
            return Ok(());
        }
        let all =
            || confirmed.iter().flat_map(|(user, messages)| messages.iter().map(move |message| (user.0, message)));

        let ids: Vec<i64> = all().map(|(_, message)| message.id.0).collect();
        let ids = serde_json::to_string(&ids).unwrap_or_default();
        self.db.execute(RECEIPT, (ids, now.0)).await?;

        let mut totals = BTreeMap::new();
        for (user, message) in all().filter(|(_, m)| m.id <= self.watermark) {
            let (messages, bytes) = totals.entry(user).or_insert((0, 0));
            *messages += 1;
            *bytes += i64::try_from(message.bytes).unwrap_or(0);
        }
        if !totals.is_empty() {
            let rows: Vec<_> = totals.into_iter().map(|(user, (messages, bytes))| [user, messages, bytes]).collect();
            let rows = serde_json::to_string(&rows).unwrap_or_default();
            self.db.execute(UNCOUNT, (rows,)).await?;
        }
        Ok(())
    }
}
