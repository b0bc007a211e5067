//! Jumps of the wall clock, while a server runs and while none runs. The last uses of sessions are stored in wall clock
//! time. They move with a jump, so that no session ends because of it. The times at which messages were read are shown
//! to people and stay unchanged. For them the jumps are stored, and the time inside a jump does not count.

use std::time::Duration;

use tracing::warn;

use super::direct::{Failure, WalConnection};
use crate::model::Timestamp;

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
/// While a server runs, a smaller difference is none: the clock is corrected all the time.
pub(super) const NOTICED: i64 = 10 * SECOND;
/// So much time may pass between two servers. With more, it is not known whether time has passed or the clock was set.
const OFF: i64 = 7 * 24 * HOUR;

/// The clock as the last server saw it; before there was such a note, the newest time that is stored.
const SEEN: &str = "SELECT (SELECT seen_at FROM clock), max(coalesce((SELECT max(last_used_at) FROM session), 0),
    coalesce((SELECT sent_at FROM message ORDER BY id DESC LIMIT 1), 0))";
const NOTE_SEEN: &str = "INSERT INTO clock (id, seen_at) VALUES (1, ?1)
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at";
/// No session was used in the future.
const SHIFT: &str = "UPDATE session SET last_used_at = min(last_used_at + ?1, ?2) WHERE ?1 <> 0 OR last_used_at > ?2";
const NOTE_JUMP: &str = "INSERT INTO clock_jump (since, until) VALUES (?1, ?2)
    ON CONFLICT (since) DO UPDATE SET until = max(until, excluded.until)";
/// The clock went back to before the end of a jump: that was none.
const FORGET_JUMPS: &str = "DELETE FROM clock_jump WHERE until > ?1";

/// A server begins, in a transaction of its own.
pub(super) async fn begin(db: &mut WalConnection, now: Timestamp) -> Result<(), Failure> {
    let (seen, newest): (Option<i64>, i64) = db.row(SEEN, |row| Ok((row.get(0)?, row.get(1)?))).await?;
    let jump = match seen {
        Some(seen) if !(-HOUR..=OFF).contains(&(now.0 - seen)) => now.0 - seen,
        // A time of the future may be one session's only.
        None if newest > 0 && now.0 - newest > OFF => now.0 - newest,
        _ => 0,
    };
    let before = Timestamp(now.0 - jump);
    if jump != 0 {
        warn!(%before, %now, "the clock has jumped since the last server: nothing ends for that; set it, if it is wrong");
    }
    write(db, jump, now).await
}

/// The wall clock has jumped to `now`, by so many milliseconds.
pub(super) async fn follow(db: &mut WalConnection, jump: i64, now: Timestamp) -> Result<(), Failure> {
    db.execute("BEGIN IMMEDIATE", ()).await?;
    write(db, jump, now).await?;
    db.execute("COMMIT", ()).await.map(drop)
}

async fn write(db: &mut WalConnection, jump: i64, now: Timestamp) -> Result<(), Failure> {
    db.execute(SHIFT, (jump, now.0)).await?;
    db.execute(FORGET_JUMPS, (now.0,)).await?;
    if jump > HOUR {
        db.execute(NOTE_JUMP, (now.0 - jump, now.0)).await?;
    }
    note(db, now).await
}

/// Notes the wall clock for the next server.
pub(super) async fn note(db: &mut WalConnection, now: Timestamp) -> Result<(), Failure> {
    db.execute(NOTE_SEEN, (now.0,)).await.map(drop)
}

/// How often that is done.
pub(super) const NOTE_EVERY: Duration = Duration::from_secs(3_600);

/// The time that lies as long ago as `before` would without jumps: newest first, since when and until when each.
pub(super) fn without(now: Timestamp, before: Timestamp, jumps: &[(i64, i64)]) -> Timestamp {
    let (mut end, mut left) = (now.0, now.0.saturating_sub(before.0));
    for (since, until) in jumps.iter().filter(|(since, until)| since < until) {
        let span = (end - until).max(0);
        if left <= span {
            break;
        }
        left -= span;
        end = end.min(*since);
    }
    Timestamp(end.saturating_sub(left))
}

/// Adds what no server has seen yet, for a command beside it.
pub(super) fn with_unseen(mut jumps: Vec<(i64, i64)>, seen: Option<i64>, now: Timestamp) -> Vec<(i64, i64)> {
    if let Some(seen) = seen.filter(|seen| now.0 - seen > OFF) {
        jumps.insert(0, (seen, now.0));
    }
    jumps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_jump_is_no_age() {
        let before = |now, before, jumps: &[(i64, i64)]| without(Timestamp(now), Timestamp(before), jumps).0;
        assert_eq!(before(100, 70, &[]), 70);
        assert_eq!(before(100, 70, &[(10, 60)]), 70, "it was long ago");
        assert_eq!(before(100, 70, &[(40, 90)]), 20, "10 since, and 20 before");
        assert_eq!(before(100, 70, &[(80, 95), (30, 75)]), 10, "5 since, 5 between, and 20 before");
        assert_eq!(before(100, 70, &[(0, 100)]), -30);
        assert_eq!(with_unseen(vec![(1, 2)], Some(5), Timestamp(OFF + 6)), [(5, OFF + 6), (1, 2)]);
        assert_eq!(with_unseen(vec![], Some(5), Timestamp(OFF)), []);
    }
}
