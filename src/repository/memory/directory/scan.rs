//! Finds sessions that were not used for long, and uses that are not in the database yet.

use super::{Directory, NONE};
use crate::model::{SessionId, Timestamp};

/// What a look at some of the sessions found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionScan {
    /// Sessions that were not used for too long.
    pub idle: Vec<SessionId>,
    /// Sessions of whose last use the database has not heard for long, with that use.
    pub used: Vec<(SessionId, Timestamp)>,
    /// From where on to look next; `None` at the end.
    pub next: Option<usize>,
}

impl Directory {
    /// Looks at the next `most` sessions from `from` on: which were not used since `unused_since`, and which were used
    /// at least `millis` after the database last heard of it.
    pub(crate) fn look_at_sessions(
        &self,
        from: usize,
        most: usize,
        unused_since: Timestamp,
        millis: i64,
    ) -> SessionScan {
        let mut found = SessionScan::default();
        let end = self.sessions.len().min(from.saturating_add(most));
        for live in self.sessions[from.min(end)..end].iter().filter(|live| live.account != NONE) {
            let last_use = live.last_use();
            if last_use < unused_since && !self.grants.contains_key(&live.id) {
                found.idle.push(live.id);
            }
            if last_use.0.saturating_sub(live.stored_use.0) >= millis {
                found.used.push((live.id, last_use));
            }
        }
        found.next = (end < self.sessions.len()).then_some(end);
        found
    }
}
