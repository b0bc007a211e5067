//! What an inbox reads of the disk: what waits that is older than the tail, its texts, and the order of the senders.
//! Writes nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::SqliteConnection;
use sqlx::types::Json;
use tokio::task::yield_now;
use tracing::error;

use super::SqliteRepository;
use super::checksum::NOTICE;
use super::contents::{self, StoredRow};
use super::group_mail;
use super::index::{Indexed, unread_message};
use crate::model::{Address, Message, MessageId, Timestamp, UserId};
use crate::repository::memory::mailboxes::{TakeResult, UnreadMessage};
use crate::repository::{AddressedMessage, Delivery, InboxQuery};

// Each row of sqlx costs a few µs for two wake-ups of threads. So results that may be thousands of rows come in one
// row. A first inbox of 10,000 old messages among 10 million takes 35 ms instead of 102.

/// From which message on a mailbox has unread mail on the disk, and how much, unless the index has gone on since.
const MAILBOX: &str =
    "SELECT oldest, iif((SELECT max(last) FROM run) = ?2, messages, NULL) FROM mailbox WHERE user = ?1";

/// What the index has for a recipient in the runs from a message on, up to a watermark: a row for each run.
const INDEXED: &str = "SELECT last, CAST(mail.messages AS BLOB), CAST(mail.checksum AS BLOB)
    FROM run JOIN mail ON mail.run = last AND recipient = ?1 WHERE last BETWEEN ?2 AND ?3 ORDER BY last";

/// Which of these messages were neither read nor pruned after that.
const UNREAD: &str = "SELECT json_group_array(value) FROM json_each(?1)
    WHERE NOT EXISTS (SELECT 1 FROM receipt WHERE id = value)
        AND EXISTS (SELECT 1 FROM message WHERE id = value AND target = ?2)";

/// What was sent to a recipient from a message on, up to a watermark, and has no receipt, from the message log itself.
/// That takes as long as the message log is.
const UNREAD_OF_LOG: &str = "SELECT json_group_array(json_array(sender, id, octet_length(text) + ifnull(attached, 0)))
    FROM message
    WHERE id BETWEEN ?2 AND ?3 AND target = ?1
        AND NOT EXISTS (SELECT 1 FROM receipt WHERE receipt.id = message.id)";

/// What waits on the disk.
#[derive(Default)]
struct FoundUnread {
    messages: Vec<UnreadMessage>,
    /// It is no less than was counted, and nothing of it is damaged.
    is_complete: bool,
}

/// More text than this is not read in one row, where each byte may take six and all is held several times.
const IN_ONE_ROW: u64 = 1 << 20;

/// Messages that are loaded at once, at the most: all who send wait meanwhile.
const PIECE: usize = 1024;

impl SqliteRepository {
    /// Leases what waits in memory, after loading what is older from disk.
    pub(super) async fn take(&self, recipient: UserId, want: InboxQuery) -> Result<Vec<UnreadMessage>, sqlx::Error> {
        loop {
            match self.shared.mailboxes.take(recipient, want.messages, want.bytes) {
                TakeResult::Leased(taken) => return Ok(taken),
                TakeResult::LoadFirst => self.load(recipient).await?,
            }
        }
    }

    pub(super) async fn load(&self, recipient: UserId) -> Result<(), sqlx::Error> {
        let lock = self.shared.mailboxes.load_lock(recipient);
        let _one_at_a_time = lock.lock().await;
        let Some(watermark) = self.shared.mailboxes.begin_load(recipient) else { return Ok(()) };
        let mut reader = self.readers.turn(recipient).await?;
        let db = reader.db();
        let mut found = self.unread_on_disk(db, recipient, watermark).await?;
        if !found.is_complete {
            found = self.unread_of_log(db, recipient, watermark).await?;
        }
        drop(reader);
        let mut found = found.messages;
        found.sort_unstable_by_key(|message| message.id);
        for piece in found.chunks(PIECE) {
            self.shared.mailboxes.load(recipient, piece.iter().cloned());
            // Others come in between.
            yield_now().await;
        }
        self.shared.mailboxes.end_load(recipient, watermark);
        Ok(())
    }

    /// What is unread up to a watermark, as the index has it.
    async fn unread_on_disk(
        &self,
        db: &mut SqliteConnection,
        recipient: UserId,
        watermark: MessageId,
    ) -> sqlx::Result<FoundUnread> {
        let mailbox = sqlx::query_as(MAILBOX).bind(recipient.0).bind(watermark.0).fetch_optional(&mut *db).await?;
        // Who asks knows that there is some.
        let Some((oldest, counted)): Option<(i64, Option<i64>)> = mailbox else { return Ok(FoundUnread::default()) };
        let counted = counted.and_then(|counted| usize::try_from(counted).ok());
        let mut messages = Vec::new();
        for part in group_mail::unread_parts(db, recipient, oldest).await? {
            match self.index_of(db, part.group.0, part.from, watermark).await? {
                Some((indexed, _)) => messages.extend(part.unread(indexed)),
                None => return Ok(FoundUnread::default()),
            }
        }
        let Some((mut found, all_checked)) = self.index_of(db, recipient.0, oldest, watermark).await? else {
            return Ok(FoundUnread::default());
        };
        found.retain(|(_, id, _)| *id >= oldest);
        // For an account that has read nothing since the oldest message, two searches for each message are left out.
        if counted != Some(found.len() + messages.len()) || !all_checked {
            let ids: Vec<i64> = found.iter().map(|(_, id, _)| *id).collect();
            let unread = sqlx::query_scalar(UNREAD).bind(Json(ids)).bind(recipient.0);
            let Json(unread): Json<HashSet<i64>> = unread.fetch_one(db).await?;
            found.retain(|(_, id, _)| unread.contains(id));
        }
        messages.extend(found.into_iter().map(|indexed| unread_message(indexed, recipient.into())));
        let is_complete = counted.is_none_or(|counted| messages.len() >= counted);
        Ok(FoundUnread { messages, is_complete })
    }

    /// The same from the message log, where the index is damaged.
    async fn unread_of_log(
        &self,
        db: &mut SqliteConnection,
        recipient: UserId,
        watermark: MessageId,
    ) -> sqlx::Result<FoundUnread> {
        error!(user = recipient.0, "the index of a mailbox is damaged: the message log is read in its place");
        let oldest = sqlx::query_as(MAILBOX).bind(recipient.0).bind(watermark.0).fetch_optional(&mut *db).await?;
        let oldest = oldest.map_or(i64::MAX, |(oldest, _): (i64, Option<i64>)| oldest);
        let of = async |db: &mut SqliteConnection, target: i64, from: i64| {
            let unread = sqlx::query_scalar(UNREAD_OF_LOG).bind(target).bind(from).bind(watermark.0);
            unread.fetch_one(db).await.map(|Json(found): Json<Vec<Indexed>>| found)
        };
        let own = of(&mut *db, recipient.0, oldest).await?;
        let mut messages: Vec<_> = own.into_iter().map(|one| unread_message(one, recipient.into())).collect();
        for part in group_mail::unread_parts(db, recipient, oldest).await? {
            let sent = of(&mut *db, part.group.0, part.from).await?;
            messages.extend(part.unread(sent));
        }
        Ok(FoundUnread { messages, is_complete: true })
    }

    /// What the index has for a person or a group from a message on, and whether all of it has a checksum; `None`: it
    /// is damaged.
    async fn index_of(
        &self,
        db: &mut SqliteConnection,
        target: i64,
        from: i64,
        watermark: MessageId,
    ) -> sqlx::Result<Option<(Vec<Indexed>, bool)>> {
        type RunRow = (i64, Vec<u8>, Option<Vec<u8>>);
        let runs = sqlx::query_as(INDEXED).bind(target).bind(from).bind(watermark.0).fetch_all(db).await?;
        let (mut found, mut all_checked) = (Vec::new(), true);
        for (run, messages, checksum) in &runs as &[RunRow] {
            let checksum = checksum.as_deref().unwrap_or_default();
            all_checked &= !checksum.is_empty();
            let messages = self.shared.damage.unchecked.mail(*run, target, messages, checksum);
            let Some(Ok(messages)) = messages.map(serde_json::from_slice::<Vec<Indexed>>) else { return Ok(None) };
            found.extend(messages);
        }
        Ok(Some((found, all_checked)))
    }

    /// Fetches from the message log what is not in memory, and puts all in the order of the reply.
    pub(super) async fn fetch(
        &self,
        recipient: UserId,
        taken: &[UnreadMessage],
        want: InboxQuery,
    ) -> Result<Delivery, sqlx::Error> {
        let missing: Vec<i64> = taken.iter().filter(|m| m.content.is_none()).map(|m| m.id.0).collect();
        let mut stored = HashMap::new();
        if !missing.is_empty() {
            let mut reader = self.readers.turn(recipient).await?;
            let bytes: u64 = taken.iter().filter(|m| m.content.is_none()).map(|m| m.bytes).sum();
            let query = if bytes > IN_ONE_ROW { contents::entries } else { contents::contents };
            let rows = contents::read(reader.db(), query, &missing).await?;
            stored.extend(rows.into_iter().map(|row| (MessageId(row.id), row)));
        }
        let mut senders: Vec<(UserId, Vec<AddressedMessage>)> =
            self.senders(recipient, taken, want).await?.into_iter().map(|sender| (sender, Vec::new())).collect();
        let place: HashMap<UserId, usize> = senders.iter().enumerate().map(|(i, (sender, _))| (*sender, i)).collect();
        let mut damaged = Vec::new();
        for message in taken {
            let (sent_at, text) = match &message.content {
                Some(content) => content.clone(),
                None => self.content(message.to, stored.get(&message.id)).unwrap_or_else(|sent_at| {
                    damaged.push((recipient, message.id));
                    (sent_at, NOTICE.into())
                }),
            };
            let received = Message { id: message.id, sent_at, text };
            senders[place[&message.sender]].1.push(AddressedMessage { message: received, to: message.to });
        }
        self.shared.damage.tell_all(&damaged)?;
        Ok(Delivery { senders, lease: None })
    }

    /// Time and text of a message that lies on the disk only; where it is damaged, the time that is written there.
    fn content(&self, to: Address, stored: Option<&StoredRow>) -> Result<(Timestamp, Arc<str>), Timestamp> {
        // What the index has and nobody has read is in the message log, unless that is damaged.
        let sent_at = Timestamp(stored.map_or(0, |row| row.content().sent_at));
        let theirs = stored.filter(|row| row.content().target == to.number());
        let text = theirs.and_then(|row| row.text(self.shared.damage.unchecked)).ok_or(sent_at)?;
        Ok((sent_at, text.into()))
    }

    /// The senders of these messages, or all who ever wrote, in the order of their first message ever; what somebody
    /// wrote to a group counts from these messages on.
    async fn senders(
        &self,
        recipient: UserId,
        taken: &[UnreadMessage],
        want: InboxQuery,
    ) -> Result<Vec<UserId>, sqlx::Error> {
        let mut among: Vec<UserId> = taken.iter().map(|message| message.sender).collect();
        among.sort_unstable();
        among.dedup();
        if among.len() < 2 && !want.drained_senders {
            return Ok(among);
        }
        // Reads the tail first: it may move to the disk while the disk is read. The tail also has the messages of an
        // unfinished run. Only the disk has the senders of messages that retention removed before they were indexed.
        let tail = self.shared.mailboxes.tail_senders(recipient, (!want.drained_senders).then_some(&among));
        let sql = "SELECT first_id, sender FROM correspondent WHERE recipient = ?1";
        let mut reader = self.readers.turn(recipient).await?;
        let indexed: Vec<(i64, i64)> = sqlx::query_as(sql).bind(recipient.0).fetch_all(reader.db()).await?;
        let mut senders: Vec<(MessageId, UserId)> =
            indexed.into_iter().map(|(id, sender)| (MessageId(id), UserId(sender))).chain(tail).collect();
        senders.extend(taken.iter().filter(|message| message.to != recipient.into()).map(|m| (m.id, m.sender)));
        senders.sort_unstable();
        let mut seen = HashSet::new();
        let all = senders.into_iter().map(|(_, sender)| sender).chain(among.iter().copied());
        let wanted = all.filter(|sender| want.drained_senders || among.binary_search(sender).is_ok());
        Ok(wanted.filter(|sender| seen.insert(*sender)).collect())
    }
}
