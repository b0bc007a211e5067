//! What an inbox reads of the disk: what waits that is older than the tail, its texts, and the order of the senders. Writes
//! nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tracing::warn;

use super::SqliteRepository;
use crate::model::{Message, MessageId, Timestamp, UserId};
use crate::repository::mailbox::{Taken, Waiting};
use crate::repository::{Delivery, Want};

/// Message, sender, bytes of text; and how many are unread, unless the index has gone on since.
type Indexed = (i64, i64, i64, Option<i64>);

/// What the index has for a recipient from the oldest unread message on, up to a watermark: all of it, or without what
/// was read and what was pruned after that.
const INDEXED: &str = "SELECT value ->> 1, value ->> 0, value ->> 2,
        (SELECT messages FROM mailbox WHERE user = ?1 AND (SELECT max(last) FROM run) = ?2)
    FROM run CROSS JOIN mail ON mail.run = run.last AND recipient = ?1 CROSS JOIN json_each(messages)
    WHERE run.last BETWEEN (SELECT oldest FROM mailbox WHERE user = ?1) AND ?2
      AND value ->> 1 >= (SELECT oldest FROM mailbox WHERE user = ?1)
      AND (?3 OR NOT EXISTS (SELECT 1 FROM receipt WHERE receipt.id = value ->> 1)
          AND EXISTS (SELECT 1 FROM message WHERE message.id = value ->> 1))";

impl SqliteRepository {
    /// Leases what waits in memory, after loading what is older from disk.
    pub(super) async fn take(&self, recipient: UserId, bytes: u64) -> Result<Vec<Waiting>, sqlx::Error> {
        loop {
            match self.shared.mailboxes.take(recipient, bytes) {
                Taken::Leased(taken) => return Ok(taken),
                Taken::LoadFirst => self.load(recipient).await?,
            }
        }
    }

    async fn load(&self, recipient: UserId) -> Result<(), sqlx::Error> {
        let lock = self.shared.mailboxes.load_lock(recipient);
        let _one_at_a_time = lock.lock().await;
        let Some(watermark) = self.shared.mailboxes.begin_load(recipient) else { return Ok(()) };
        let rows = |all| sqlx::query_as(INDEXED).bind(recipient.0).bind(watermark.0).bind(all).fetch_all(&self.readers);
        let mut found: Vec<Indexed> = rows(true).await?;
        // Who has read nothing since the oldest, as after some days away, is spared two searches for each message.
        if found.first().is_some_and(|(.., unread)| *unread != i64::try_from(found.len()).ok()) {
            found = rows(false).await?;
        }
        let found = found.into_iter().map(|(id, sender, bytes, _)| Waiting {
            id: MessageId(id),
            sender: UserId(sender),
            bytes: u64::try_from(bytes).unwrap_or(0),
            content: None,
        });
        self.shared.mailboxes.load(recipient, found.collect(), watermark);
        Ok(())
    }

    /// Fetches from the log what is not in memory, and puts all in the order of the reply.
    pub(super) async fn deliver(
        &self,
        recipient: UserId,
        taken: &[Waiting],
        want: Want,
    ) -> Result<Delivery, sqlx::Error> {
        let missing: Vec<i64> = taken.iter().filter(|m| m.content.is_none()).map(|m| m.id.0).collect();
        let mut contents = HashMap::new();
        if !missing.is_empty() {
            let sql = "SELECT id, sent_at, text FROM message WHERE id IN (SELECT value FROM json_each(?1))";
            let ids = serde_json::to_string(&missing).unwrap_or_default();
            let rows: Vec<(i64, i64, String)> = sqlx::query_as(sql).bind(ids).fetch_all(&self.readers).await?;
            contents.extend(rows.into_iter().map(|(id, at, text)| (MessageId(id), (Timestamp(at), Arc::from(text)))));
        }
        let mut senders: Vec<(UserId, Vec<Message>)> =
            self.senders(recipient, taken, want).await?.into_iter().map(|sender| (sender, Vec::new())).collect();
        let place: HashMap<UserId, usize> = senders.iter().enumerate().map(|(i, (sender, _))| (*sender, i)).collect();
        for message in taken {
            let content = message.content.clone().or_else(|| contents.remove(&message.id));
            let Some((sent_at, text)) = content else {
                warn!(id = message.id.0, "a queued message is not in the log");
                continue;
            };
            senders[place[&message.sender]].1.push(Message { id: message.id, sent_at, text });
        }
        Ok(Delivery { senders, lease: None })
    }

    /// The senders of these messages, or all who ever wrote, in the order of their first message ever.
    async fn senders(&self, recipient: UserId, taken: &[Waiting], want: Want) -> Result<Vec<UserId>, sqlx::Error> {
        let mut among: Vec<UserId> = taken.iter().map(|message| message.sender).collect();
        among.sort_unstable();
        among.dedup();
        if among.len() < 2 && !want.drained_senders {
            return Ok(among);
        }
        // The tail first: it may move to the disk while the disk is read, and an unfinished run is not to be seen.
        let (watermark, tail) = self.shared.mailboxes.tail_senders(recipient);
        let sql = "SELECT sender FROM correspondent WHERE recipient = ?1 AND first_id <= ?2 ORDER BY first_id";
        let indexed: Vec<i64> =
            sqlx::query_scalar(sql).bind(recipient.0).bind(watermark.0).fetch_all(&self.readers).await?;
        let mut seen = HashSet::new();
        let all = indexed.into_iter().map(UserId).chain(tail).chain(among.iter().copied());
        let wanted = all.filter(|sender| want.drained_senders || among.binary_search(sender).is_ok());
        Ok(wanted.filter(|sender| seen.insert(*sender)).collect())
    }
}
