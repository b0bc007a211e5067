//! The index that is written later: when the tail of the log has grown long, its messages are sorted once and written, in
//! slices between the commits, to the tables that find them by recipient and by conversation. Measured: one page
//! dirtied for dozens of rows, where an index kept up at each commit dirties one for nearly every row.

use std::collections::{BTreeMap, HashSet};

use sqlx::SqliteConnection;

use super::packed::{Packed, USER, WIDE};
use crate::model::{MessageId, UserId};
use crate::repository::mailbox::Mailboxes;

/// A message of the tail, without its text.
#[derive(Clone, Copy, Debug)]
pub struct Logged {
    /// Its place in the log.
    pub id: MessageId,
    /// Who sent it.
    pub sender: UserId,
    /// Who reads it.
    pub recipient: UserId,
    /// The length of its text.
    pub bytes: u64,
}

/// A run in progress over a part of the tail.
#[derive(Debug)]
pub struct Run {
    to: MessageId,
    dialogue: Vec<Logged>,
    queue: Vec<Logged>,
    correspondents: Vec<Logged>,
}

/// How many rows are written between two commits of messages.
pub const SLICE: usize = 2048;

const DIALOGUE: &str = "INSERT OR IGNORE INTO dialogue (chunk, a, b, id)
    SELECT id >> 16, a, b, id FROM (SELECT CAST(substr(v, 1, 10) AS INTEGER) AS a, CAST(substr(v, 11, 10) AS INTEGER) AS b,
        CAST(substr(v, 21, 14) AS INTEGER) AS id FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1)))";
const QUEUE: &str = "INSERT OR IGNORE INTO queue (recipient, id, sender, bytes)
    SELECT CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11, 14) AS INTEGER), CAST(substr(v, 25, 10) AS INTEGER),
        CAST(substr(v, 35, 14) AS INTEGER) FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1))";
const CORRESPONDENT: &str = "INSERT OR IGNORE INTO correspondent (recipient, sender, first_id)
    SELECT CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11, 10) AS INTEGER), CAST(substr(v, 21, 14) AS INTEGER)
    FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1))";
const MAILBOX: &str = "INSERT INTO mailbox (user, messages, bytes)
    SELECT CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11, 14) AS INTEGER), CAST(substr(v, 25, 14) AS INTEGER)
    FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1)) WHERE true
    ON CONFLICT (user) DO UPDATE SET messages = messages + excluded.messages, bytes = bytes + excluded.bytes";

impl Run {
    /// Sorts the tail. Each list is taken from its end, so each is in falling order.
    pub fn new(tail: &[Logged]) -> Run {
        let mut dialogue = tail.to_vec();
        dialogue.sort_unstable_by_key(|m| std::cmp::Reverse((m.id.0 >> 16, pair(m), m.id)));
        let mut queue = tail.to_vec();
        queue.sort_unstable_by_key(|m| std::cmp::Reverse((m.recipient, m.id)));
        let mut seen = HashSet::new();
        let mut correspondents: Vec<_> =
            tail.iter().filter(|m| seen.insert((m.recipient, m.sender))).copied().collect();
        correspondents.sort_unstable_by_key(|m| std::cmp::Reverse((m.recipient, m.sender)));
        let to = tail.last().map_or(MessageId(0), |last| last.id);
        Run { to, dialogue, queue, correspondents }
    }

    /// The last message of the run.
    pub fn to(&self) -> MessageId {
        self.to
    }

    /// Writes the next slice, in a transaction of its own. `true`: that was the last.
    pub async fn slice(&mut self, db: &mut SqliteConnection, mailboxes: &Mailboxes) -> sqlx::Result<bool> {
        if !self.dialogue.is_empty() {
            let rows = last(&self.dialogue);
            let columns = |m: &Logged| [(pair(m).0.0, USER), (pair(m).1.0, USER), (m.id.0, WIDE)];
            write(db, DIALOGUE, rows.iter().rev().map(columns)).await?;
            self.dialogue.truncate(self.dialogue.len() - rows.len());
        } else if !self.queue.is_empty() {
            let rows = last(&self.queue);
            let unread = rows.iter().rev().filter(|m| mailboxes.is_unread(m.recipient, m.id));
            let bytes = |m: &Logged| i64::try_from(m.bytes).unwrap_or(i64::MAX);
            let columns = |m: &Logged| [(m.recipient.0, USER), (m.id.0, WIDE), (m.sender.0, USER), (bytes(m), WIDE)];
            write(db, QUEUE, unread.map(columns)).await?;
            self.queue.truncate(self.queue.len() - rows.len());
        } else {
            let rows = last(&self.correspondents);
            let columns = |m: &Logged| [(m.recipient.0, USER), (m.sender.0, USER), (m.id.0, WIDE)];
            write(db, CORRESPONDENT, rows.iter().rev().map(columns)).await?;
            self.correspondents.truncate(self.correspondents.len() - rows.len());
        }
        Ok(self.dialogue.is_empty() && self.queue.is_empty() && self.correspondents.is_empty())
    }

    /// Notes on disk that the run begins, so that a start after a crash knows of its leavings.
    pub async fn begin(&self, db: &mut SqliteConnection) -> sqlx::Result<()> {
        sqlx::query("UPDATE progress SET indexing_to = ?1").bind(self.to.0).execute(db).await.map(|_| ())
    }

    /// Moves the watermark past `tail`, which the run wrote whole, and counts what of it is unread.
    pub async fn finish(tail: &[Logged], db: &mut SqliteConnection, mailboxes: &Mailboxes) -> sqlx::Result<()> {
        let mut totals: BTreeMap<UserId, (i64, i64)> = BTreeMap::new();
        for message in tail.iter().filter(|m| mailboxes.is_unread(m.recipient, m.id)) {
            let total = totals.entry(message.recipient).or_default();
            total.0 += 1;
            total.1 += i64::try_from(message.bytes).unwrap_or(0);
        }
        let rows = totals.iter().map(|(user, (messages, bytes))| [(user.0, USER), (*messages, WIDE), (*bytes, WIDE)]);
        let to = tail.last().map_or(0, |last| last.id.0);
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *db).await?;
        write(db, MAILBOX, rows).await?;
        sqlx::query("UPDATE progress SET watermark = ?1, indexing_to = ?1").bind(to).execute(&mut *db).await?;
        sqlx::query("COMMIT").execute(&mut *db).await.map(|_| ())
    }
}

/// The two people of a conversation, always in the same order.
fn pair(message: &Logged) -> (UserId, UserId) {
    (message.sender.min(message.recipient), message.sender.max(message.recipient))
}

fn last(rows: &[Logged]) -> Vec<Logged> {
    rows[rows.len().saturating_sub(SLICE)..].to_vec()
}

async fn write<const N: usize>(
    db: &mut SqliteConnection,
    sql: &'static str,
    rows: impl Iterator<Item = [(i64, usize); N]>,
) -> sqlx::Result<()> {
    let mut packed = Packed::with_capacity(SLICE, N * WIDE);
    rows.for_each(|row| packed.row(&row, ""));
    if packed.rows() > 0 {
        sqlx::query(sql).bind(packed.finish()).execute(db).await?;
    }
    Ok(())
}
