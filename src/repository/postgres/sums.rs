//! Sums over all accounts. They are made anew for whoever asks while that is cheap; where it takes long, a sum is given
//! out again for twenty times as long as it took.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::reads::ReadPool;

const SUMS: &str =
    "SELECT coalesce(sum(b.received - h.read), 0)::bigint, coalesce(sum(b.bytes - h.read_bytes), 0)::bigint,
        (SELECT count(*) FROM session WHERE scope IS NULL),
        (SELECT count(*) FROM account WHERE owner IS NULL AND removed_at IS NULL)
    FROM mailbox b JOIN hand h ON h.account = b.account";
/// What takes no longer is made anew each time.
pub(super) const CHEAP: Duration = Duration::from_secs(2);

/// Whether something that took so long is still good.
pub(super) fn is_good(made: Instant, took: Duration) -> bool {
    took > CHEAP && made.elapsed() < 20 * took
}

/// What was found last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub unread_messages: u64,
    pub unread_bytes: u64,
    pub sessions: u64,
    pub users: u64,
}

#[derive(Default)]
pub(super) struct Sums(Mutex<Option<(Instant, Duration, Totals)>>);

impl Sums {
    pub(super) async fn get(&self, reads: ReadPool) -> sqlx::Result<Totals> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, took, totals)) = known
            && is_good(made, took)
        {
            return Ok(totals);
        }
        let begun = Instant::now();
        let row: (i64, i64, i64, i64) = sqlx::query_as(SUMS).fetch_one(reads).await?;
        let number = |sum: i64| u64::try_from(sum).unwrap_or(0);
        let totals = Totals {
            unread_messages: number(row.0),
            unread_bytes: number(row.1),
            sessions: number(row.2),
            users: number(row.3),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), begun.elapsed(), totals));
        Ok(totals)
    }
}
