//! The messages of two people and whether they were read, newest first. Reads the tail of the message log, and then the
//! parts of the conversation in the index. Each part names the one before. So the cost depends on what is found, not on
//! what others have written. It is bounded when nothing is found. Changes nothing.

use std::cmp::Reverse;

use sqlx::types::Json;
use tracing::error;

use super::checksum::{Content, Damage, NOTICE, Unchecked};
use super::contents::{self, StoredRow};
use super::group_mail;
use super::readers::Readers;
use crate::model::{Address, GroupId, Message, MessageId, Timestamp, UserId};
use crate::repository::{GroupReceipt, HistoryQuery, StoredMessage, StoredReceipt};

/// How many parts of a conversation one turn reads at the most.
const PARTS: i64 = 64;
/// How many parts are read in all. More are needed only in rare cases: one of the two has written for very long without
/// the other, retention has removed a very long part, or the search begins at a number that is no message of theirs.
const ALL_PARTS: i64 = 512;
/// In how many runs the part that has a message is looked for, where the message is not one of theirs.
const RUNS: i64 = 256;

/// The tail has no index by person: it is short, and its rows are read without their texts.
const TAIL: &str = "SELECT id FROM message WHERE id > ?1 AND id < ?2
    AND (sender = ?3 AND target = ?4 OR ?5 AND sender = ?4 AND target = ?3 OR ?8 AND target = ?4)
    AND (NOT ?7 OR EXISTS (SELECT 1 FROM receipt WHERE receipt.id = message.id)) ORDER BY id DESC LIMIT ?6";
/// Where to begin: the part that has message ?3, or else one of the ?4 runs before, if it is in any, else the latest.
const BEGIN: &str = "SELECT coalesce(
        (SELECT max(run) FROM (SELECT last FROM run
                WHERE last <= (SELECT min(last) FROM run WHERE last >= ?3) ORDER BY last DESC LIMIT ?4)
            CROSS JOIN conversation ON run = last AND conversation.low = pair.low AND conversation.high = pair.high),
        iif(EXISTS (SELECT 1 FROM run WHERE last = latest), latest, former))
    FROM pair WHERE low = ?1 AND high = ?2";
/// The part in run ?3 and those before it, at most ?4: of each the newest messages, at most ?7, before ?5; of ?6 = 0
/// both of them, else of the one whose sign it is; with ?8 only those that were read. The index may name messages that
/// are gone from the message log.
const PART: &str = "WITH RECURSIVE part (run, messages, earlier, place) AS (
        SELECT run, messages, earlier, 1 FROM conversation WHERE run = ?3 AND low = ?1 AND high = ?2
        UNION ALL
        SELECT c.run, c.messages, c.earlier, place + 1 FROM part
        JOIN conversation c ON c.run = part.earlier AND c.low = ?1 AND c.high = ?2
        WHERE place < ?4 AND c.run < part.run)
    SELECT earlier, (SELECT json_group_array(abs(value)) FROM (
            SELECT value FROM json_each(iif(json_valid(messages), messages, '[]')) WHERE abs(value) < ?5 AND value * ?6 >= 0
                AND EXISTS (SELECT 1 FROM message WHERE id = abs(value))
                AND (NOT ?8 OR EXISTS (SELECT 1 FROM receipt WHERE id = abs(value)))
            ORDER BY abs(value) DESC LIMIT ?7))
    FROM part ORDER BY place";
const RECEIPTS: &str = "SELECT m.id, m.sent_at, r.delivered_at
    FROM message m LEFT JOIN receipt r ON r.id = m.id WHERE m.id IN (SELECT value FROM json_each(?1)) ORDER BY m.id";

/// A part of what two people wrote to each other, or of what was written to a group while one was in it, oldest first.
pub(crate) async fn conversation(
    readers: &Readers,
    damage: &Damage,
    one: UserId,
    other: Address,
    page: HistoryQuery,
) -> sqlx::Result<Vec<StoredMessage>> {
    let ids = match other {
        Address::User(_) => {
            let (both, before, most) = (true, page.before, page.messages);
            ConversationScan { readers, from: one, to: other, both, read: false, before, most }.back().await?
        }
        Address::Group(group) => of_group(readers, one, group, page).await?,
    };
    let mut reader = readers.turn(one).await?;
    let mut lengths = contents::read(reader.db(), contents::lengths, &ids).await?;
    lengths.sort_unstable_by_key(|(id, _)| Reverse(*id));
    let mut room = page.bytes;
    let fits = lengths.into_iter().enumerate().map_while(|(place, (id, bytes))| {
        let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        let fits = place == 0 || bytes <= room;
        room = room.saturating_sub(bytes);
        fits.then_some(id)
    });
    let ids: Vec<i64> = fits.collect();
    let mut rows = contents::read(reader.db(), contents::entries, &ids).await?;
    rows.sort_unstable_by_key(|row| row.id);
    let mut damaged = Vec::new();
    let entry = |row| entry(row, one, other, damage.unchecked, &mut damaged);
    let mut entries: Vec<StoredMessage> = rows.into_iter().filter_map(entry).collect();
    if let Address::Group(group) = other {
        let messages: Vec<_> = entries.iter().map(|entry| (entry.message.id.0, entry.sender.0)).collect();
        let counts = group_mail::read_counts(reader.db(), group, &messages).await?;
        entries.iter_mut().zip(counts).for_each(|(entry, count)| entry.readers = Some(count));
    }
    damage.tell_all(&damaged)?;
    Ok(entries)
}

/// The newest messages of a group that somebody may look at, newest first.
async fn of_group(readers: &Readers, one: UserId, group: GroupId, page: HistoryQuery) -> sqlx::Result<Vec<i64>> {
    let times = group_mail::when_in_group(readers.turn(one).await?.db(), group, one).await?;
    let mut found = Vec::new();
    for (since, until) in times {
        let after = MessageId(until.0.saturating_add(1));
        let before = page.before.map_or(after, |before| before.min(after));
        let (to, most) = (group.into(), page.messages - found.len());
        let ids = ConversationScan { readers, from: one, to, both: true, read: false, before: Some(before), most }
            .back()
            .await?;
        found.extend(ids.into_iter().filter(|id| *id > since.0));
        if found.len() >= page.messages {
            break;
        }
    }
    Ok(found)
}

/// The newest message of a group that somebody may look at.
pub(super) async fn newest_of_group(readers: &Readers, one: UserId, group: GroupId) -> sqlx::Result<Option<i64>> {
    let newest = HistoryQuery { before: None, messages: 1, bytes: 0 };
    Ok(of_group(readers, one, group, newest).await?.pop())
}

/// A message between two people or to a group; `None`: the index says so, but it is another one.
fn entry(
    row: StoredRow,
    one: UserId,
    other: Address,
    unchecked: Unchecked,
    damaged: &mut Vec<(UserId, MessageId)>,
) -> Option<StoredMessage> {
    let Content { id, sender, target, sent_at, .. } = row.content();
    let (id, mut sender) = (MessageId(id), UserId(sender));
    let (theirs, mut to) = match other {
        Address::User(person) if sender == person && target == one.0 => (true, one.into()),
        Address::User(_) => (sender == one && target == other.number(), other),
        Address::Group(_) => (target == other.number(), other),
    };
    let text = match row.text(unchecked) {
        Some(_) if !theirs => {
            error!(id = id.0, "the index of conversations names a message of others; `chatd db verify` says more");
            return None;
        }
        Some(text) => text.into(),
        None => {
            damaged.push((UserId(target), id));
            if let Address::User(person) = other
                && !theirs
            {
                (sender, to) = (person, one.into());
            }
            NOTICE.into()
        }
    };
    let message = Message { id, sent_at: Timestamp(sent_at), text };
    Some(StoredMessage { message, sender, to, read_at: row.read_at.map(Timestamp), readers: None })
}

/// What became of the newest messages of `sender` to `recipient`, oldest first.
pub(super) async fn receipts(
    readers: &Readers,
    sender: UserId,
    recipient: UserId,
    messages: usize,
) -> sqlx::Result<Vec<StoredReceipt>> {
    let to = recipient.into();
    let look = ConversationScan { readers, from: sender, to, both: false, read: false, before: None, most: messages };
    let ids = look.back().await?;
    let mut reader = readers.turn(sender).await?;
    let rows: Vec<(i64, i64, Option<i64>)> = sqlx::query_as(RECEIPTS).bind(Json(&ids)).fetch_all(reader.db()).await?;
    Ok(rows.into_iter().map(|(id, sent, read)| (MessageId(id), Timestamp(sent), read.map(Timestamp))).collect())
}

/// What became of the newest messages of `sender` to a group, oldest first.
pub(crate) async fn group_receipts(
    readers: &Readers,
    sender: UserId,
    group: GroupId,
    messages: usize,
) -> sqlx::Result<Vec<GroupReceipt>> {
    let to = group.into();
    let look = ConversationScan { readers, from: sender, to, both: false, read: false, before: None, most: messages };
    let ids = look.back().await?;
    let mut reader = readers.turn(sender).await?;
    let rows: Vec<(i64, i64, Option<i64>)> = sqlx::query_as(RECEIPTS).bind(Json(&ids)).fetch_all(reader.db()).await?;
    let sent: Vec<(i64, i64)> = rows.iter().map(|(id, ..)| (*id, sender.0)).collect();
    let counts = group_mail::read_counts(reader.db(), group, &sent).await?;
    Ok(rows.into_iter().zip(counts).map(|((id, at, _), count)| (MessageId(id), Timestamp(at), count)).collect())
}

/// Who looks back, and how far.
pub(super) struct ConversationScan<'a> {
    readers: &'a Readers,
    /// The account whose turns are used.
    from: UserId,
    to: Address,
    /// What the other wrote, too.
    both: bool,
    /// Only what was read.
    read: bool,
    before: Option<MessageId>,
    most: usize,
}

impl ConversationScan<'_> {
    /// The newest message of `sender` to `recipient` that was read, if it is not too far back.
    pub(super) async fn newest_read(readers: &Readers, sender: UserId, recipient: UserId) -> sqlx::Result<Option<i64>> {
        let scan = ConversationScan {
            readers,
            from: sender,
            to: recipient.into(),
            both: false,
            read: true,
            before: None,
            most: 1,
        };
        Ok(scan.back().await?.pop())
    }

    /// The newest messages, newest first.
    async fn back(&self) -> sqlx::Result<Vec<i64>> {
        let before = self.before.map_or(i64::MAX, |id| id.0);
        let most = |found: usize| i64::try_from(self.most - found).unwrap_or(i64::MAX);
        let (from, to) = (self.from.0, self.to.number());
        let (low, high) = match self.to {
            // All of a group.
            Address::Group(_) if self.both => (to, to),
            _ => (from.min(to), from.max(to)),
        };
        let sign = match self.both {
            true => 0,
            false if from <= to => 1,
            false => -1,
        };
        let mut reader = self.readers.turn(self.from).await?;
        let db = reader.db();
        // If the watermark moves on meanwhile, what it passes is still in the message log and is found there.
        let watermark: i64 = sqlx::query_scalar("SELECT coalesce(max(last), 0) FROM run").fetch_one(&mut *db).await?;
        let of_group = self.both && self.to.group().is_some();
        let tail = sqlx::query_scalar(TAIL).bind(watermark).bind(before).bind(from).bind(to).bind(self.both);
        let tail = tail.bind(most(0)).bind(self.read).bind(of_group);
        let mut found: Vec<i64> = tail.fetch_all(&mut *db).await?;
        let begin = sqlx::query_scalar(BEGIN).bind(low).bind(high).bind(before).bind(RUNS);
        let mut next: Option<i64> = begin.fetch_optional(&mut *db).await?.flatten();
        drop(reader);
        let before = before.min(watermark + 1);
        let (mut parts, mut seen) = (1, 0);
        while let Some(run) = next.filter(|_| found.len() < self.most && seen < ALL_PARTS) {
            let mut reader = self.readers.turn(self.from).await?;
            let part = sqlx::query_as(PART).bind(low).bind(high).bind(run).bind(parts);
            let part: Vec<(Option<i64>, Json<Vec<i64>>)> =
                part.bind(before).bind(sign).bind(most(found.len())).bind(self.read).fetch_all(reader.db()).await?;
            // What is damaged does not lead round in circles.
            next = part.last().and_then(|(earlier, _)| *earlier).filter(|earlier| *earlier < run);
            found.extend(part.into_iter().flat_map(|(_, Json(ids))| ids));
            seen += parts;
            parts = PARTS.min(2 * parts);
        }
        found.truncate(self.most);
        Ok(found)
    }
}
