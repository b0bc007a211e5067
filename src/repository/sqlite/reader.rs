//! What an inbox reads of the disk: what waits that is older than the tail, its texts, and the order of the senders. Writes
//! nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::types::Json;
use tracing::warn;

use super::SqliteRepository;
use crate::model::{Message, MessageId, Timestamp, UserId};
use crate::repository::mailbox::{Taken, Waiting};
use crate::repository::{Delivery, Want};

/// What the index has of a message: sender, number, bytes of text.
type Indexed = (i64, i64, u64);

// Each row that sqlx hands over costs a few µs, because its thread and ours wake each other; so what may be thousands of
// rows comes in one. A first inbox of 10,000 old messages among 10 million takes 35 ms in place of 102.

/// What the index has for a recipient in the runs that have unread messages, up to a watermark: a row for each run; with the
/// oldest unread message, and how many are unread, unless the index has gone on since.
const INDEXED: &str = "SELECT mail.messages, oldest, iif((SELECT max(last) FROM run) = ?2, mailbox.messages, NULL)
    FROM mailbox JOIN run ON last BETWEEN oldest AND ?2 JOIN mail ON mail.run = last AND recipient = user
    WHERE user = ?1 ORDER BY last";

/// Which of these messages were neither read nor pruned after that.
const UNREAD: &str = "SELECT json_group_array(value) FROM json_each(?1)
    WHERE NOT EXISTS (SELECT 1 FROM receipt WHERE id = value) AND EXISTS (SELECT 1 FROM message WHERE id = value)";

/// Number, time and text of these messages.
const CONTENTS: &str = "SELECT json_group_array(json_array(id, sent_at, text)) FROM message
    WHERE id IN (SELECT value FROM json_each(?1))";

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
        let mut reader = self.readers.turn(recipient).await?;
        let runs: Vec<(Json<Vec<Indexed>>, i64, Option<i64>)> =
            sqlx::query_as(INDEXED).bind(recipient.0).bind(watermark.0).fetch_all(reader.db()).await?;
        let unread = runs.first().and_then(|(.., unread)| *unread);
        let in_run = |(Json(messages), oldest, _): (Json<Vec<Indexed>>, i64, _)| {
            messages.into_iter().filter(move |(_, id, _)| *id >= oldest)
        };
        let mut found: Vec<Indexed> = runs.into_iter().flat_map(in_run).collect();
        // Who has read nothing since the oldest, as after some days away, is spared two searches for each message.
        if unread != i64::try_from(found.len()).ok() {
            let ids: Vec<i64> = found.iter().map(|(_, id, _)| *id).collect();
            let Json(unread): Json<HashSet<i64>> =
                sqlx::query_scalar(UNREAD).bind(Json(ids)).fetch_one(reader.db()).await?;
            found.retain(|(_, id, _)| unread.contains(id));
        }
        let found = found.into_iter().map(|(sender, id, bytes)| Waiting {
            id: MessageId(id),
            sender: UserId(sender),
            bytes,
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
            let mut reader = self.readers.turn(recipient).await?;
            let Json(rows): Json<Vec<(i64, i64, String)>> =
                sqlx::query_scalar(CONTENTS).bind(Json(missing)).fetch_one(reader.db()).await?;
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
        // The tail first: it may move to the disk while the disk is read. What an unfinished run has written already, the
        // tail has too; and the disk alone knows who wrote what retention has removed before it was indexed.
        let tail = self.shared.mailboxes.tail_senders(recipient);
        let sql = "SELECT first_id, sender FROM correspondent WHERE recipient = ?1";
        let mut reader = self.readers.turn(recipient).await?;
        let indexed: Vec<(i64, i64)> = sqlx::query_as(sql).bind(recipient.0).fetch_all(reader.db()).await?;
        let mut senders: Vec<(MessageId, UserId)> =
            indexed.into_iter().map(|(id, sender)| (MessageId(id), UserId(sender))).chain(tail).collect();
        senders.sort_unstable();
        let mut seen = HashSet::new();
        let all = senders.into_iter().map(|(_, sender)| sender).chain(among.iter().copied());
        let wanted = all.filter(|sender| want.drained_senders || among.binary_search(sender).is_ok());
        Ok(wanted.filter(|sender| seen.insert(*sender)).collect())
    }
}
