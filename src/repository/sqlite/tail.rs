//! Reads the tail of the message log once, when a server starts. A damaged message does not hold up the mail of others.

use sqlx::SqliteConnection;
use tracing::error;

use super::checksum::{Content, Damage, NOTICE};
use super::contents::is_corrupt;
use super::schema::Progress;
use crate::model::{Address, GroupId, MessageId, Timestamp, UserId};
use crate::repository::memory::directory::Directory;
use crate::repository::memory::groups::Groups;
use crate::repository::memory::mailboxes::UnreadMessage;

/// The messages after one and up to another. The text of what was read is not needed.
const TAIL: &str = "SELECT m.id, CAST(m.sender AS INTEGER), CAST(m.target AS INTEGER), CAST(m.sent_at AS INTEGER),
        octet_length(m.text) + ifnull(CAST(m.attached AS INTEGER), 0), CASE WHEN r.id IS NULL THEN CAST(m.text AS BLOB) END, CAST(m.checksum AS BLOB),
        r.id IS NOT NULL
    FROM message m LEFT JOIN receipt r ON r.id = m.id WHERE m.id > ?1 AND m.id <= ?2 ORDER BY m.id";

/// How many queries are made to find what can be read of a damaged tail.
const QUERIES: usize = 20_000;

/// A message of the tail.
#[derive(Debug)]
pub(super) struct TailRow {
    id: i64,
    sender: i64,
    target: i64,
    sent_at: i64,
    bytes: u64,
    text: Option<Vec<u8>>,
    checksum: Option<Vec<u8>>,
    read: bool,
}

/// The log after the watermark, as far as it can be read.
pub(super) async fn read(db: &mut SqliteConnection, progress: Progress, damage: &Damage) -> sqlx::Result<Vec<TailRow>> {
    let mut ranges = vec![(progress.watermark.0, progress.next_id.0 - 1)];
    let (mut rows, mut unreadable, mut queries) = (Vec::new(), Vec::new(), 0);
    while let Some((after, to)) = ranges.pop() {
        queries += 1;
        match read_range(db, after, to).await {
            Ok(found) => rows.extend(found),
            Err(error) if !is_corrupt(&error) || queries > QUERIES => return Err(error),
            Err(_) if to - after > 1 => {
                let middle = after + (to - after) / 2;
                ranges.extend([(middle, to), (after, middle)]);
            }
            Err(_) => unreadable.push(to),
        }
    }
    if let (Some(first), Some(last)) = (unreadable.first(), unreadable.last()) {
        damage.messages.add(unreadable.len());
        let messages = unreadable.len();
        error!(messages, first, last, "messages of the last days cannot be read any more; a backup may have them");
    }
    Ok(rows)
}

async fn read_range(db: &mut SqliteConnection, after: i64, to: i64) -> sqlx::Result<Vec<TailRow>> {
    type Columns = (i64, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>, bool);
    let rows: Vec<Columns> = sqlx::query_as(TAIL).bind(after).bind(to).fetch_all(db).await?;
    let rows = rows.into_iter().map(|(id, sender, target, sent_at, bytes, text, checksum, read)| TailRow {
        id,
        sender: sender.unwrap_or(-1),
        target: target.unwrap_or(-1),
        sent_at: sent_at.unwrap_or(-1),
        bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        text,
        checksum,
        read,
    });
    Ok(rows.collect())
}

impl TailRow {
    /// The message, and whether it was read. For a group this is not known here. A damaged message may name a sender
    /// that does not exist. It then comes from its recipient, so that he learns of it.
    pub(crate) fn waiting(self, directory: &Directory, groups: &Groups, damage: &Damage) -> (UnreadMessage, bool) {
        let id = MessageId(self.id);
        let mut sender = UserId(self.sender);
        let group = groups.group(GroupId(self.target)).map(|group| group.id);
        let to = group.map_or(Address::User(UserId(self.target)), Address::Group);
        let sent_at = Timestamp(self.sent_at);
        let content = (!self.read).then(|| {
            let bytes = self.text.as_deref().unwrap_or_default();
            let content = Content { id: id.0, sender: sender.0, target: self.target, sent_at: sent_at.0, text: bytes };
            match damage.unchecked.text(&content, self.checksum.as_deref().unwrap_or_default()) {
                Some(text) => (sent_at, text.into()),
                None => {
                    damage.tell(UserId(self.target), id);
                    if directory.user(sender).is_none() {
                        sender = UserId(self.target);
                    }
                    (sent_at, NOTICE.into())
                }
            }
        });
        (UnreadMessage { id, sender, to, bytes: self.bytes, content }, self.read)
    }
}
