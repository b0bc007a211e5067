//! Looking back: what two people wrote to each other and what became of it, from the newest down. Reads the tail of the
//! log and then the index, run by run from the newest, so that the cost goes with how far back the answer lies and
//! not with how much is stored. Changes nothing.

use std::cmp::Reverse;

use sqlx::SqlitePool;
use sqlx::types::Json;

use crate::model::{Message, MessageId, Timestamp, UserId};
use crate::repository::{Entry, Page, Receipt};

/// How many runs of the index one query looks into at the most.
const RUNS: i64 = 64;

/// The tail has no index by person: it is short, and its rows are read without their texts.
const TAIL: &str = "SELECT id FROM message WHERE id > ?1 AND id < ?2 AND sender = ?3 AND recipient = ?4
    ORDER BY id DESC LIMIT ?5";
/// The oldest of the next runs to look into, from the one that ends before ?1 down to the one that has message ?2.
const NEXT: &str =
    "SELECT min(last) FROM (SELECT last FROM run WHERE last < ?1 AND last >= ?2 ORDER BY last DESC LIMIT ?3)";
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
pub async fn conversation(readers: &SqlitePool, one: UserId, other: UserId, page: Page) -> sqlx::Result<Vec<Entry>> {
    let mut ids = sent(readers, one, other, page.before, page.messages).await?;
    if one != other {
        ids.extend(sent(readers, other, one, page.before, page.messages).await?);
        ids.sort_unstable_by_key(|id| Reverse(*id));
        ids.truncate(page.messages);
    }
    let lengths: Vec<(i64, i64)> = sqlx::query_as(LENGTHS).bind(Json(&ids)).fetch_all(readers).await?;
    let mut room = page.bytes;
    let fits = lengths.into_iter().enumerate().map_while(|(place, (id, bytes))| {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        let fits = place == 0 || bytes <= room;
        room = room.saturating_sub(bytes);
        fits.then_some(id)
    });
    let ids: Vec<i64> = fits.collect();
    type Row = (i64, i64, i64, i64, Option<i64>, String);
    let rows: Vec<Row> = sqlx::query_as(MESSAGES).bind(Json(&ids)).fetch_all(readers).await?;
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
    readers: &SqlitePool,
    sender: UserId,
    recipient: UserId,
    messages: usize,
) -> sqlx::Result<Vec<Receipt>> {
    let ids = sent(readers, sender, recipient, None, messages).await?;
    let rows: Vec<(i64, i64, Option<i64>)> = sqlx::query_as(RECEIPTS).bind(Json(&ids)).fetch_all(readers).await?;
    Ok(rows.into_iter().map(|(id, sent, read)| (MessageId(id), Timestamp(sent), read.map(Timestamp))).collect())
}

/// The newest messages of one to the other before `before`, newest first, at most `most`.
async fn sent(
    readers: &SqlitePool,
    sender: UserId,
    recipient: UserId,
    before: Option<MessageId>,
    most: usize,
) -> sqlx::Result<Vec<i64>> {
    let wanted = |found: &Vec<i64>| i64::try_from(most - found.len()).unwrap_or(i64::MAX);
    let before = before.map_or(i64::MAX, |id| id.0);
    // If the watermark moves on meanwhile, what it passes is still in the log and is found there.
    let watermark: i64 = sqlx::query_scalar("SELECT coalesce(max(last), 0) FROM run").fetch_one(readers).await?;
    let tail = sqlx::query_scalar(TAIL).bind(watermark).bind(before).bind(sender.0).bind(recipient.0);
    let mut found: Vec<i64> = tail.bind(i64::try_from(most).unwrap_or(i64::MAX)).fetch_all(readers).await?;
    let first = sqlx::query_scalar(FIRST).bind(sender.0).bind(recipient.0).fetch_optional(readers).await?;
    let Some(first): Option<i64> = first else { return Ok(found) };
    // The run that has the newest message wanted may go on beyond it.
    let newest = "SELECT last FROM run WHERE last >= ?1 ORDER BY last LIMIT 1";
    let newest = sqlx::query_scalar(newest).bind(before.min(watermark + 1) - 1).fetch_optional(readers).await?;
    let mut above = newest.map_or(0, |last: i64| last + 1).min(watermark + 1);
    let mut runs = 1;
    while found.len() < most {
        let oldest = sqlx::query_scalar(NEXT).bind(above).bind(first).bind(runs).fetch_one(readers).await?;
        let Some(oldest): Option<i64> = oldest else { break };
        let index = sqlx::query_scalar(INDEX).bind(sender.0).bind(recipient.0).bind(oldest).bind(above);
        let older: Vec<i64> = index.bind(before).bind(wanted(&found)).fetch_all(readers).await?;
        found.extend(older);
        above = oldest;
        runs = RUNS.min(2 * runs);
    }
    Ok(found)
}
