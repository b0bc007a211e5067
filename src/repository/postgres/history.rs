//! Looking back: what two people wrote to each other, or what was written to a group while one was in it, and what
//! became of it. Changes nothing.

use super::PostgresRepository;
use super::delivery::{limit, text};
use super::groups::read_count;
use crate::model::{Address, GroupId, Message, MessageId, Timestamp, UserId};
use crate::repository::{Error, HistoryQuery, StoredMessage, StoredReceipt};

/// The newest messages between two people before one, as far as so many bytes go, but one at least.
const BETWEEN: &str = "SELECT q.id, q.sender, q.target, false, q.sent_at, q.text, r.read_at, NULL::bigint, NULL::bigint
    FROM (SELECT p.*, row_number() OVER w AS k, sum(octet_length(p.text)) OVER w AS total FROM (
            (SELECT * FROM message WHERE sender = $1 AND target = $2 AND id < $3 ORDER BY id DESC LIMIT $4)
            UNION
            (SELECT * FROM message WHERE sender = $2 AND target = $1 AND id < $3 ORDER BY id DESC LIMIT $4)
            ORDER BY id DESC LIMIT $4) p
        WINDOW w AS (ORDER BY p.id DESC)) q
    LEFT JOIN receipt r ON r.id = q.id
    WHERE q.k = 1 OR q.total <= $5 ORDER BY q.id";
/// The same of a group, while one was in it.
const OF_GROUP: &str = "SELECT q.id, q.sender, q.target, true, q.sent_at, q.text, NULL::bigint, c.have_read, c.got
    FROM (SELECT p.*, row_number() OVER w AS k, sum(octet_length(p.text)) OVER w AS total FROM (
            SELECT g.* FROM membership s CROSS JOIN LATERAL
                (SELECT * FROM message m WHERE m.target = s.grp AND m.id < $3 AND m.id > s.since
                    AND m.id <= coalesce(s.until, m.id) ORDER BY m.id DESC LIMIT $4) g
            WHERE s.grp = $2 AND s.member = $1 ORDER BY g.id DESC LIMIT $4) p
        WINDOW w AS (ORDER BY p.id DESC)) q
    CROSS JOIN LATERAL read_count(q.target, q.id, q.sender) c
    WHERE q.k = 1 OR q.total <= $5 ORDER BY q.id";
const RECEIPTS: &str = "SELECT m.id, m.sent_at, r.read_at FROM
        (SELECT id, sent_at FROM message WHERE sender = $1 AND target = $2 ORDER BY id DESC LIMIT $3) m
    LEFT JOIN receipt r ON r.id = m.id ORDER BY m.id";

/// A message, whether it is to a group, when it was read, and how many have read it of how many.
pub(super) type LogRow = (i64, i64, i64, bool, i64, Vec<u8>, Option<i64>, Option<i64>, Option<i64>);

/// A message as its sender or a reader sees it.
pub(super) fn stored(row: LogRow) -> StoredMessage {
    let (id, sender, target, is_group, sent_at, bytes, read_at, read, of) = row;
    StoredMessage {
        message: Message { id: MessageId(id), sent_at: Timestamp(sent_at), text: text(bytes) },
        sender: UserId(sender),
        to: if is_group { GroupId(target).into() } else { UserId(target).into() },
        read_at: read_at.map(Timestamp),
        readers: read.zip(of).map(|(read, of)| read_count(read, of)),
    }
}

impl PostgresRepository {
    pub(super) async fn look_back(
        &self,
        one: UserId,
        other: Address,
        page: HistoryQuery,
    ) -> Result<Vec<StoredMessage>, Error> {
        let sql = if other.group().is_some() { OF_GROUP } else { BETWEEN };
        let ask = || {
            sqlx::query_as(sql)
                .bind(one.0)
                .bind(other.number())
                .bind(page.before.map_or(i64::MAX, |id| id.0))
                .bind(limit(page.messages))
                .bind(i64::try_from(page.bytes).unwrap_or(i64::MAX))
                .fetch_all(self.shared.servers.reads())
        };
        Ok(self.look(ask).await?.into_iter().map(stored).collect())
    }

    pub(super) async fn receipts_of(
        &self,
        sender: UserId,
        recipient: UserId,
        messages: usize,
    ) -> Result<Vec<StoredReceipt>, Error> {
        let ask = || {
            sqlx::query_as(RECEIPTS)
                .bind(sender.0)
                .bind(recipient.0)
                .bind(limit(messages))
                .fetch_all(self.shared.servers.reads())
        };
        let rows: Vec<(i64, i64, Option<i64>)> = self.look(ask).await?;
        Ok(rows.into_iter().map(|(id, sent, read)| (MessageId(id), Timestamp(sent), read.map(Timestamp))).collect())
    }
}
