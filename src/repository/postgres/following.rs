//! What one account sent and received after a message, for who keeps his own place in the message log, and with whom it
//! has exchanged messages. Numbers become visible in their order, so whoever has seen one has seen all below it.

use super::PostgresRepository;
use super::delivery::limit;
use super::history::{LogRow, stored};
use crate::model::{Address, GroupId, MessageId, UserId};
use crate::repository::{ConversationPage, ConversationQuery, ConversationSummary, Error, FollowPage, FollowQuery};

const LAST: &str = "SELECT last FROM head";
/// One statement sees the last message and all up to it, or none of a batch. A row without a message says how far it
/// goes.
const AFTER: &str = "SELECT h.last, q.* FROM head h LEFT JOIN LATERAL (
        SELECT p.id, p.sender, p.target, (SELECT a.owner IS NOT NULL FROM account a WHERE a.id = p.target) AS is_group,
            p.sent_at, p.text, r.read_at, p.k, p.total FROM (
            SELECT u.*, row_number() OVER w AS k, sum(octet_length(u.text)) OVER w AS total FROM (
                (SELECT * FROM message WHERE target = $1 AND id > $2 ORDER BY id LIMIT $3)
                UNION
                (SELECT * FROM message WHERE sender = $1 AND id > $2 ORDER BY id LIMIT $3)
                UNION
                (SELECT g.* FROM membership s CROSS JOIN LATERAL
                    (SELECT * FROM message m WHERE m.target = s.grp AND m.id > greatest(s.since, $2)
                        AND m.id <= coalesce(s.until, m.id) ORDER BY m.id LIMIT $3) g
                WHERE s.member = $1 AND (s.until IS NULL OR s.until > $2))
                ORDER BY id LIMIT $3) u
            WINDOW w AS (ORDER BY u.id)) p
        LEFT JOIN receipt r ON r.id = p.id) q ON q.k = 1 OR q.total <= $4
    ORDER BY q.id";
const UNREAD: &str = "SELECT CASE target WHEN $1 THEN sender ELSE target END, bool_and(target <> $1), count(*), min(id)
    FROM unread_mail($1) GROUP BY 1 ORDER BY 1";
/// The newest message with each other and in each group, newest first.
const NEWEST: &str = "WITH newest (other, is_group, id) AS (
        SELECT o.other, false, greatest(
            (SELECT m.id FROM message m WHERE m.sender = $1 AND m.target = o.other ORDER BY m.id DESC LIMIT 1),
            (SELECT m.id FROM message m WHERE m.sender = o.other AND m.target = $1 ORDER BY m.id DESC LIMIT 1))
        FROM (SELECT recipient AS other FROM correspondent WHERE sender = $1
            UNION SELECT sender FROM correspondent WHERE recipient = $1) o
        UNION ALL
        SELECT s.grp, true, max(g.id) FROM membership s CROSS JOIN LATERAL
            (SELECT m.id FROM message m WHERE m.target = s.grp AND m.id > s.since AND m.id <= coalesce(s.until, m.id)
                ORDER BY m.id DESC LIMIT 1) g
        WHERE s.member = $1 GROUP BY s.grp)
    SELECT other, is_group, id FROM newest WHERE id < $2 ORDER BY id DESC LIMIT $3";
/// A message by its number and by who sees it.
const ONE: &str =
    "SELECT m.id, m.sender, m.target, $4::boolean, m.sent_at, m.text, r.read_at, NULL::bigint, NULL::bigint
    FROM message m LEFT JOIN receipt r ON r.id = m.id
    WHERE m.id = $3 AND m.target = ANY (ARRAY[$1, $2]::bigint[])";
/// The first message of one to another that is unread.
const UNREAD_BY_OTHER: &str = "SELECT min(u.id) FROM (
        (SELECT m.id FROM message m WHERE m.sender = $1 AND m.target = $2
            AND m.id > (SELECT upto FROM hand WHERE account = $2) ORDER BY m.id LIMIT 1)
        UNION ALL
        SELECT m.id FROM flight f CROSS JOIN LATERAL unnest(f.ids, f.targets) AS i (id, target)
            JOIN message m ON m.target = i.target AND m.id = i.id
        WHERE f.account = $2 AND m.sender = $1 AND m.target = $2) u";

type AfterRow =
    (i64, Option<i64>, Option<i64>, Option<i64>, Option<bool>, Option<i64>, Option<Vec<u8>>, Option<i64>, Option<i64>);

/// A row with a message, and its place among those that were found.
fn found(row: AfterRow) -> Option<(i64, LogRow)> {
    let (_, id, sender, target, is_group, sent_at, text, read_at, place) = row;
    Some((place?, (id?, sender?, target?, is_group?, sent_at?, text?, read_at, None, None)))
}

/// Whom a number stands for.
fn address(number: i64, is_group: bool) -> Address {
    if is_group { GroupId(number).into() } else { UserId(number).into() }
}

/// What of one sender or group is unread.
struct UnreadShare {
    with: Address,
    count: u64,
    oldest: i64,
}

impl PostgresRepository {
    pub(super) async fn last_of_log(&self) -> Result<MessageId, Error> {
        Ok(MessageId(self.look(|| sqlx::query_scalar(LAST).fetch_one(self.shared.servers.reads())).await?))
    }

    pub(super) async fn all_after(&self, user: UserId, page: FollowQuery) -> Result<FollowPage, Error> {
        let most = limit(page.messages);
        let ask = || {
            sqlx::query_as(AFTER)
                .bind(user.0)
                .bind(page.after.0)
                // One more, to see whether there are more.
                .bind(most.saturating_add(1))
                .bind(i64::try_from(page.bytes).unwrap_or(i64::MAX))
                .fetch_all(self.shared.servers.reads())
        };
        let rows: Vec<AfterRow> = self.look(ask).await?;
        let end = rows.first().map_or(0, |row| row.0);
        let found: Vec<(i64, LogRow)> = rows.into_iter().filter_map(found).collect();
        let fits = found.iter().take_while(|(place, _)| *place <= most).count();
        let is_cut = fits < found.len() || self.has_more(user, page, &found).await?;
        let messages: Vec<_> = found.into_iter().take(fits).map(|(_, row)| stored(row)).collect();
        // Of a place that this message log has not reached yet, the database knows nothing: it may be an older copy.
        let next = match messages.last() {
            Some(last) if is_cut => last.message.id,
            _ => MessageId(end),
        };
        Ok(FollowPage { messages, next, more: next.0 < end })
    }

    /// Whether bytes have cut the page short: then another look finds something after it.
    async fn has_more(&self, user: UserId, page: FollowQuery, found: &[(i64, LogRow)]) -> Result<bool, Error> {
        let Some((_, last)) = found.last().filter(|_| page.bytes < i64::MAX as u64) else { return Ok(false) };
        let ask = || {
            sqlx::query_as(AFTER)
                .bind(user.0)
                .bind(last.0)
                .bind(1_i64)
                .bind(0_i64)
                .fetch_all(self.shared.servers.reads())
        };
        let rows: Vec<AfterRow> = self.look(ask).await?;
        Ok(rows.first().is_some_and(|row| row.1.is_some()))
    }

    async fn unread_shares(&self, user: UserId) -> Result<Vec<UnreadShare>, Error> {
        let rows: Vec<(i64, bool, i64, i64)> =
            self.look(|| sqlx::query_as(UNREAD).bind(user.0).fetch_all(self.shared.servers.reads())).await?;
        let share = |(number, is_group, count, oldest): (i64, bool, i64, i64)| UnreadShare {
            with: address(number, is_group),
            count: u64::try_from(count).unwrap_or(0),
            oldest,
        };
        Ok(rows.into_iter().map(share).collect())
    }

    pub(super) async fn unread_by(&self, user: UserId) -> Result<Vec<Address>, Error> {
        self.settled().await?;
        let mut all: Vec<Address> = self.unread_shares(user).await?.into_iter().map(|share| share.with).collect();
        all.sort_unstable();
        Ok(all)
    }

    pub(super) async fn conversations_of(
        &self,
        user: UserId,
        page: ConversationQuery,
    ) -> Result<ConversationPage, Error> {
        self.settled().await?;
        let before = page.before.map_or(i64::MAX, |id| id.0);
        let most = limit(page.conversations).saturating_add(1);
        let ask = || sqlx::query_as(NEWEST).bind(user.0).bind(before).bind(most).fetch_all(self.shared.servers.reads());
        let newest: Vec<(i64, bool, i64)> = self.look(ask).await?;
        let unread = self.unread_shares(user).await?;
        let (mut conversations, mut room) = (Vec::new(), page.bytes);
        let mut last = None;
        for (other, is_group, id) in newest.iter().take(page.conversations) {
            let with = address(*other, *is_group);
            let ask = || {
                let one = sqlx::query_as(ONE).bind(user.0).bind(*other).bind(*id).bind(*is_group);
                one.fetch_optional(self.shared.servers.reads())
            };
            let row: Option<LogRow> = self.look(ask).await?;
            let bytes = row.as_ref().map_or(0, |row| row.5.len() as u64);
            if last.is_some() && bytes > room {
                return Ok(ConversationPage { conversations, next: last });
            }
            room = room.saturating_sub(bytes);
            last = Some(MessageId(*id));
            // All of it may have been removed since.
            let Some(row) = row else { continue };
            let theirs = unread.iter().find(|share| share.with == with);
            conversations.push(ConversationSummary {
                with,
                newest: stored(row),
                unread: theirs.map_or(0, |share| share.count),
                read_to: MessageId(theirs.map_or(*id, |share| share.oldest - 1)),
                other_read_to: self.read_by_other(user, with, *id).await?,
            });
        }
        let next = last.filter(|_| newest.len() > page.conversations);
        Ok(ConversationPage { conversations, next })
    }

    /// Up to where the other has read what was written to him.
    async fn read_by_other(&self, user: UserId, with: Address, newest: i64) -> Result<MessageId, Error> {
        let Some(other) = with.user() else { return Ok(MessageId(0)) };
        let ask =
            || sqlx::query_scalar(UNREAD_BY_OTHER).bind(user.0).bind(other.0).fetch_one(self.shared.servers.reads());
        let oldest: Option<i64> = self.look(ask).await?;
        Ok(MessageId(oldest.map_or(newest, |oldest| oldest - 1)))
    }
}
