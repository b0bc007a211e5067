//! Looking back: what two people wrote to each other and what became of it, from the newest down. Reads the tail of the
//! log and then the index, run by run from the newest, so that the cost goes with how far back the answer lies and
//! not with how much is stored. Changes nothing.

use std::cmp::Reverse;

use sqlx::types::Json;

use super::readers::Readers;
use crate::model::{Message, MessageId, Timestamp, UserId};
use crate::repository::{Entry, Page, Receipt};

/// How many runs of the index one turn looks into at the most, and how much of the index, unless one run has more.
const RUNS: i64 = 64;
const TURN_BYTES: i64 = 256 << 10;

/// The tail has no index by person: it is short, and its rows are read without their texts.
const TAIL: &str = "SELECT id FROM message WHERE id > ?1 AND id < ?2 AND sender = ?3 AND recipient = ?4
    ORDER BY id DESC LIMIT ?5";
/// The next runs to look into, from the one that ends before ?1 down to the one that has message ?2, and how much each has.
const NEXT: &str = "SELECT last, coalesce(octet_length(messages), 0)
    FROM run LEFT JOIN mail ON mail.run = last AND recipient = ?3
    WHERE last < ?1 AND last >= ?2 ORDER BY last DESC LIMIT ?4";
/// The index may name messages that are gone from the log.
const INDEX: &str = "SELECT value ->> 1 FROM run CROSS JOIN mail ON mail.run = run.last AND mail.recipient = ?2
    CROSS JOIN json_each(mail.messages)
    WHERE run.last >= ?3 AND run.last < ?4 AND value ->> 0 = ?1 AND value ->> 1 < ?5
      AND EXISTS (SELECT 1 FROM message WHERE message.id = value ->> 1)
    ORDER BY value ->> 1 DESC LIMIT ?6";
/// No message of theirs that is left in the log is older than this.
const FIRST: &str = "SELECT max(first_id, (SELECT coalesce(min(id), 0) FROM message)) FROM correspondent
    WHERE recipient = ?2 AND sender = ?1";
const LENGTHS: &str =
    "SELECT id, octet_length(text) FROM message WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id DESC";
const MESSAGES: &str = "SELECT m.id, m.sender, m.recipient, m.sent_at, r.delivered_at, m.text
    FROM message m LEFT JOIN receipt r ON r.id = m.id WHERE m.id IN (SELECT value FROM json_each(?1)) ORDER BY m.id";
const RECEIPTS: &str = "SELECT m.id, m.sent_at, r.delivered_at
    FROM message m LEFT JOIN receipt r ON r.id = m.id WHERE m.id IN (SELECT value FROM json_each(?1)) ORDER BY m.id";

/// A part of what two people wrote to each other, oldest first.
pub async fn conversation(readers: &Readers, one: UserId, other: UserId, page: Page) -> sqlx::Result<Vec<Entry>> {
    let look = Look { readers, account: one, before: page.before, most: page.messages };
    let mut ids = look.sent(one, other).await?;
    if one != other {
        ids.extend(look.sent(other, one).await?);
        ids.sort_unstable_by_key(|id| Reverse(*id));
        ids.truncate(page.messages);
    }
    let mut reader = readers.turn(one).await?;
    let lengths: Vec<(i64, i64)> = sqlx::query_as(LENGTHS).bind(Json(&ids)).fetch_all(reader.db()).await?;
    let mut room = page.bytes;
    let fits = lengths.into_iter().enumerate().map_while(|(place, (id, bytes))| {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        let fits = place == 0 || bytes <= room;
        room = room.saturating_sub(bytes);
        fits.then_some(id)
    });
    let ids: Vec<i64> = fits.collect();
    type Row = (i64, i64, i64, i64, Option<i64>, String);
    let rows: Vec<Row> = sqlx::query_as(MESSAGES).bind(Json(&ids)).fetch_all(reader.db()).await?;
    let entry = |(id, sender, recipient, sent_at, read_at, text): Row| Entry {
        message: Message { id: MessageId(id), sent_at: Timestamp(sent_at), text: text.into() },
        sender: UserId(sender),
        recipient: UserId(recipient),
        read_at: read_at.map(Timestamp),
    };
    Ok(rows.into_iter().map(entry).collect())
}

/// What became of the newest messages of `sender` to `recipient`, oldest first.
pub async fn receipts(
    readers: &Readers,
    sender: UserId,
    recipient: UserId,
    messages: usize,
) -> sqlx::Result<Vec<Receipt>> {
    let look = Look { readers, account: sender, before: None, most: messages };
    let ids = look.sent(sender, recipient).await?;
    let mut reader = readers.turn(sender).await?;
    let rows: Vec<(i64, i64, Option<i64>)> = sqlx::query_as(RECEIPTS).bind(Json(&ids)).fetch_all(reader.db()).await?;
    Ok(rows.into_iter().map(|(id, sent, read)| (MessageId(id), Timestamp(sent), read.map(Timestamp))).collect())
}

/// Who looks back, and how far.
struct Look<'a> {
    readers: &'a Readers,
    /// In whose turns.
    account: UserId,
    before: Option<MessageId>,
    most: usize,
}

impl Look<'_> {
    /// The newest messages of one to the other, newest first.
    async fn sent(&self, sender: UserId, recipient: UserId) -> sqlx::Result<Vec<i64>> {
        let before = self.before.map_or(i64::MAX, |id| id.0);
        let mut reader = self.readers.turn(self.account).await?;
        let db = reader.db();
        // If the watermark moves on meanwhile, what it passes is still in the log and is found there.
        let watermark: i64 = sqlx::query_scalar("SELECT coalesce(max(last), 0) FROM run").fetch_one(&mut *db).await?;
        let tail = sqlx::query_scalar(TAIL).bind(watermark).bind(before).bind(sender.0).bind(recipient.0);
        let mut found: Vec<i64> = tail.bind(i64::try_from(self.most).unwrap_or(i64::MAX)).fetch_all(&mut *db).await?;
        let first = sqlx::query_scalar(FIRST).bind(sender.0).bind(recipient.0).fetch_optional(&mut *db).await?;
        let Some(first): Option<i64> = first else { return Ok(found) };
        // The run that has the newest message wanted may go on beyond it.
        let newest = "SELECT last FROM run WHERE last >= ?1 ORDER BY last LIMIT 1";
        let newest = sqlx::query_scalar(newest).bind(before.min(watermark + 1) - 1).fetch_optional(&mut *db).await?;
        drop(reader);
        let mut above = newest.map_or(0, |last: i64| last + 1).min(watermark + 1);
        let mut runs = 1;
        while found.len() < self.most {
            let mut reader = self.readers.turn(self.account).await?;
            let next = sqlx::query_as(NEXT).bind(above).bind(first).bind(recipient.0).bind(runs);
            let next: Vec<(i64, i64)> = next.fetch_all(reader.db()).await?;
            let Some(oldest) = within_a_turn(&next) else { break };
            let wanted = i64::try_from(self.most - found.len()).unwrap_or(i64::MAX);
            let index = sqlx::query_scalar(INDEX).bind(sender.0).bind(recipient.0).bind(oldest).bind(above);
            let older: Vec<i64> = index.bind(before).bind(wanted).fetch_all(reader.db()).await?;
            found.extend(older);
            above = oldest;
            runs = RUNS.min(2 * runs);
        }
        Ok(found)
    }
}

/// The oldest of these runs, newest first, that one turn looks into.
fn within_a_turn(runs: &[(i64, i64)]) -> Option<i64> {
    let mut room = TURN_BYTES;
    let fits = runs.iter().enumerate().take_while(|(place, (_, bytes))| {
        room -= bytes;
        *place == 0 || room >= 0
    });
    fits.last().map(|(_, (last, _))| *last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_looks_into_a_bounded_part_of_the_index() {
        assert_eq!(within_a_turn(&[]), None);
        assert_eq!(within_a_turn(&[(9, TURN_BYTES * 5), (8, 1)]), Some(9), "one at least");
        assert_eq!(within_a_turn(&[(9, TURN_BYTES - 1), (8, 1), (7, 1)]), Some(8));
        assert_eq!(within_a_turn(&[(9, 0), (8, 0), (7, 0)]), Some(7));
    }
}
