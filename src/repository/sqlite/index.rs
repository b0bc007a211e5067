//! The index that is written later: when the tail of the log has grown long, it is sorted by recipient once and written,
//! in slices between the commits, to the tables that find messages by recipient. Measured with 1,000 recipients: a
//! run of 32,768 messages writes 1,000 rows, 20 bytes a message, whatever is stored already, where an index kept up
//! at each commit dirties a 4 KiB page for nearly every message.

use std::collections::HashSet;
use std::vec::IntoIter;

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

/// A run in progress over a part of the tail. What fails half-way is begun anew.
#[derive(Debug)]
pub struct Run {
    to: MessageId,
    recipients: Vec<UserId>,
    /// Recipients and their messages, as JSON.
    mail: IntoIter<(UserId, String)>,
    /// The first message of each sender to each recipient.
    correspondents: IntoIter<Logged>,
    /// How many rows are written between two commits of messages.
    slice: usize,
}

/// How long the tail grows.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    messages: usize,
}

/// An average text; the tail is bounded in bytes by that.
const TEXT: u64 = 256;
/// The most rows that are written between two commits of messages.
const SLICE: usize = 512;
/// The most bytes that these rows have, but for the last of them.
const SLICE_BYTES: usize = 32 << 10;

impl Tail {
    /// A tail that is indexed when it holds this many messages, or as much text as so many usually have.
    pub fn new(messages: usize) -> Tail {
        Tail { messages }
    }

    /// Whether it is time to index a tail of this size.
    pub fn is_due(&self, messages: usize, bytes: u64) -> bool {
        messages >= self.messages || bytes >= self.messages as u64 * TEXT
    }

    /// How many rows are written between two commits of messages: a run takes a hundred commits and more.
    fn slice(&self) -> usize {
        (self.messages / 128).clamp(1, SLICE)
    }
}

const MAIL: &str = "INSERT OR REPLACE INTO mail (run, recipient, messages)
    SELECT ?2, CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11) AS TEXT)
    FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1))";
const CORRESPONDENT: &str = "INSERT OR IGNORE INTO correspondent (recipient, sender, first_id)
    SELECT CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11, 10) AS INTEGER), CAST(substr(v, 21, 14) AS INTEGER)
    FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1))";
const MAILBOX: &str = "INSERT INTO mailbox (user, messages, bytes, oldest)
    SELECT CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11, 14) AS INTEGER), CAST(substr(v, 25, 14) AS INTEGER),
        CAST(substr(v, 39, 14) AS INTEGER)
    FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1)) WHERE true
    ON CONFLICT (user) DO UPDATE SET messages = messages + excluded.messages, bytes = bytes + excluded.bytes,
        oldest = CASE messages WHEN 0 THEN excluded.oldest ELSE oldest END";

impl Run {
    /// Sorts the tail, which takes milliseconds.
    pub fn new(mut tail: Vec<Logged>, size: Tail) -> Run {
        let to = tail.last().map_or(MessageId(0), |last| last.id);
        tail.sort_unstable_by_key(|m| (m.recipient, m.id));
        let by_recipient = tail.chunk_by(|a, b| a.recipient == b.recipient);
        let (mut mail, mut correspondents) = (Vec::new(), Vec::new());
        for messages in by_recipient {
            let rows: Vec<_> = messages.iter().map(|m| (m.sender.0, m.id.0, m.bytes)).collect();
            let json = serde_json::to_string(&rows).expect("numbers are JSON");
            mail.push((messages[0].recipient, json));
            let mut senders = HashSet::new();
            correspondents.extend(messages.iter().copied().filter(|m: &Logged| senders.insert(m.sender)));
        }
        correspondents.sort_unstable_by_key(|m| (m.recipient, m.sender));
        let recipients = mail.iter().map(|(recipient, _)| *recipient).collect();
        Run { to, recipients, mail: mail.into_iter(), correspondents: correspondents.into_iter(), slice: size.slice() }
    }

    /// The last message of the run.
    pub fn to(&self) -> MessageId {
        self.to
    }

    /// Whose mail it is, each once.
    pub fn recipients(&self) -> &[UserId] {
        &self.recipients
    }

    /// Writes the next slice, in a transaction of its own. `true`: there was nothing left to write.
    pub async fn slice(&mut self, db: &mut SqliteConnection) -> sqlx::Result<bool> {
        if self.mail.len() > 0 {
            let mut rows = Packed::with_capacity(1, SLICE_BYTES);
            for (user, json) in self.mail.by_ref() {
                rows.row(&[(user.0, USER)], &json);
                if rows.rows() >= self.slice || rows.len() >= SLICE_BYTES {
                    break;
                }
            }
            sqlx::query(MAIL).bind(rows.finish()).bind(self.to.0).execute(db).await?;
        } else if self.correspondents.len() > 0 {
            let mut rows = Packed::with_capacity(self.slice, 2 * USER + WIDE);
            for m in self.correspondents.by_ref().take(self.slice) {
                rows.row(&[(m.recipient.0, USER), (m.sender.0, USER), (m.id.0, WIDE)], "");
            }
            sqlx::query(CORRESPONDENT).bind(rows.finish()).execute(db).await?;
        } else {
            return Ok(true);
        }
        Ok(false)
    }

    /// Moves the watermark to the end of the run, all of which is written, and counts what of it is unread.
    pub async fn finish(&self, db: &mut SqliteConnection, mailboxes: &Mailboxes) -> sqlx::Result<()> {
        let mut rows = Packed::with_capacity(self.recipients.len(), USER + 3 * WIDE);
        for (user, unread) in mailboxes.unread_up_to(self.to, &self.recipients) {
            let [messages, bytes] = [unread.messages, unread.bytes].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
            rows.row(&[(user.0, USER), (messages, WIDE), (bytes, WIDE), (unread.oldest.0, WIDE)], "");
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *db).await?;
        if rows.rows() > 0 {
            sqlx::query(MAILBOX).bind(rows.finish()).execute(&mut *db).await?;
        }
        sqlx::query("INSERT INTO run (last) VALUES (?1)").bind(self.to.0).execute(&mut *db).await?;
        sqlx::query("COMMIT").execute(&mut *db).await.map(|_| ())
    }
}
