//! The clock of the database server, by which messages are stamped and sessions grow old: the clocks of nodes may be
//! wrong by a day.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, TimeSource};
use crate::model::Timestamp;

/// The server's clock, as this machine has measured it.
pub(super) struct DatabaseClock {
    /// The node's own, of which only how fast it runs counts.
    own: Clock,
    /// By how many milliseconds the server's is ahead of the node's.
    ahead: AtomicI64,
}

impl DatabaseClock {
    pub(super) fn new(own: Clock) -> DatabaseClock {
        DatabaseClock { own, ahead: AtomicI64::new(0) }
    }

    /// The server says what time it is.
    pub(super) fn set(&self, now: i64) {
        self.ahead.store(now.saturating_sub(self.own.now().0), Ordering::Relaxed);
    }
}

impl TimeSource for DatabaseClock {
    fn wall(&self) -> Timestamp {
        Timestamp(self.own.now().0.saturating_add(self.ahead.load(Ordering::Relaxed)))
    }

    fn running(&self) -> Duration {
        self.own.running()
    }
}
