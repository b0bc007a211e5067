//! Work that grows with the number of accounts, sessions or messages: who is logged in, the end of idle sessions,
//! retention. It is done in pieces, so that other work comes in between.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustc_hash::FxHashSet;
use tokio::task::yield_now;

use super::change::Change;
use super::{SqliteRepository, jumps, unread_log};
use crate::model::{SessionId, Timestamp, Username};
use crate::repository::Error;

/// How many sessions one step looks at.
const PIECE: usize = 1_000;
/// How often a session's use is written down.
const NOTE_USE_AFTER: Duration = Duration::from_secs(3600);
/// How much of the message log one transaction of a prune looks at.
const PRUNE: i64 = 2_000;

/// Up to which message all members have read a group; where nobody has anything to read, all of it.
const READ_BY_ALL: &str = "SELECT json_group_array(json_array(id, read_to)) FROM (
    SELECT id, coalesce(min(read_to), 9223372036854775807) AS read_to
    FROM user LEFT JOIN membership ON grp = id AND (until IS NULL OR read_to < until)
    WHERE owner IS NOT NULL GROUP BY id)";

impl SqliteRepository {
    /// Users with a session, in the order of their oldest. Whose oldest ends meanwhile is listed once still.
    pub(super) async fn online_in_pieces(&self) -> Vec<Username> {
        let (mut online, mut listed) = (Vec::new(), FxHashSet::default());
        let mut after = SessionId(i64::MIN);
        loop {
            let piece = self.shared.directory().online(after, PIECE);
            let is_last = piece.len() < PIECE;
            after = piece.last().map_or(after, |(last, ..)| *last);
            let new = piece.into_iter().filter(|(_, user, _)| listed.insert(*user));
            online.extend(new.map(|(.., username)| username));
            if is_last {
                return online;
            }
            yield_now().await;
        }
    }

    /// Ends the sessions not used since `unused_since` and notes when the others were used.
    pub(super) async fn tidy_in_pieces(&self, unused_since: Timestamp) -> Result<u64, Error> {
        let after = i64::try_from(NOTE_USE_AFTER.as_millis()).unwrap_or(i64::MAX);
        let (mut ended, mut from) = (0, Some(0));
        while let Some(place) = from {
            let found = self.shared.directory().look_at_sessions(place, PIECE, unused_since, after);
            if !found.used.is_empty() {
                self.rows(Change::NoteUses(found.used)).await?;
            }
            if !found.idle.is_empty() {
                ended += self.rows(Change::EndSessions(found.idle)).await?;
            }
            from = found.next;
            yield_now().await;
        }
        Ok(ended)
    }

    /// The time before which a message must have been read to be as old as one read at `before` would be without jumps.
    async fn without_jumps(&self, now: Timestamp, before: Timestamp) -> Result<Timestamp, Error> {
        let sql = "SELECT since, until FROM clock_jump WHERE until <= ?1 ORDER BY since DESC";
        let jumps = sqlx::query_as(sql).bind(now.0).fetch_all(self.readers.pool()).await.map_err(unread_log)?;
        let seen = sqlx::query_scalar("SELECT seen_at FROM clock").fetch_optional(self.readers.pool()).await;
        // A server has seen all.
        let seen = seen.map_err(unread_log)?.filter(|_| self.lock().is_none());
        let jumps = jumps::with_unseen(jumps, seen, now);
        Ok(jumps::without(now, before, &jumps))
    }

    /// Removes what was read before `read_before` from the message log.
    pub(super) async fn prune_in_pieces(&self, read_before: Timestamp) -> Result<u64, Error> {
        let now = self.shared.time.now();
        if (self.shared.time.ahead() - self.shared.ahead.load(Ordering::Relaxed)).abs() >= jumps::NOTICED {
            // The clock is being set.
            return Ok(0);
        }
        let read_before = self.without_jumps(now, read_before).await?;
        // What one reads of a group meanwhile goes the next time.
        let read_by_all = sqlx::query_scalar(READ_BY_ALL).fetch_one(self.readers.pool()).await;
        let read_by_all: Arc<str> = read_by_all.map_err(unread_log).map(|json: String| json.into())?;
        let mut pruned = 0;
        let mut after = 0;
        loop {
            let next = "SELECT id FROM message WHERE id > ?1 ORDER BY id LIMIT 1";
            let next = sqlx::query_scalar(next).bind(after).fetch_optional(self.readers.pool()).await;
            let Some(next): Option<i64> = next.map_err(unread_log)? else { return Ok(pruned) };
            after = next - 1;
            // What was sent after that time cannot have been read before it, and all that follows was sent later still.
            // But the clock may have been ahead once, so a message from the future says nothing of those that follow.
            let sent = "SELECT sent_at FROM message WHERE id > ?1 AND sent_at <= ?2 ORDER BY id LIMIT 1";
            let sent = sqlx::query_scalar(sent).bind(after).bind(now.0).fetch_optional(self.readers.pool()).await;
            if sent.map_err(unread_log)?.is_some_and(|sent_at: i64| sent_at >= read_before.0) {
                return Ok(pruned);
            }
            let removed = self
                .rows(Change::Prune { read_before, after, look_at: PRUNE, read_by_all: read_by_all.clone() })
                .await?;
            pruned += removed;
            if removed == 0 {
                after += PRUNE;
            }
        }
    }
}
