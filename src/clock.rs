//! What time it is, and how long the machine has been running. The first is shown and stored, and may jump: a clock is
//! set, or a board has none and begins in 1970. The second only goes on, so what must not end for a jump goes by that.

use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::model::Timestamp;

/// Where times come from.
pub trait TimeSource: Send + Sync {
    /// The wall clock.
    fn wall(&self) -> Timestamp;
    /// Time since some moment. It never goes back, and includes the time in which the machine was suspended.
    fn running(&self) -> Duration;
}

/// A clock; the machine's own, unless it was made of something else.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<dyn TimeSource>>);

impl Clock {
    /// That of the machine.
    pub const SYSTEM: Clock = Clock(None);

    /// One that goes by `source`.
    pub fn of(source: Arc<dyn TimeSource>) -> Clock {
        Clock(Some(source))
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        self.0.as_ref().map_or_else(Timestamp::now, |source| source.wall())
    }

    /// Since some moment, on and on.
    pub(crate) fn running(&self) -> Duration {
        let system = || clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
        self.0.as_ref().map_or_else(system, |source| source.running())
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// A clock and a time that does not jump: it began with the wall clock.
#[derive(Debug)]
pub struct Steady {
    clock: Clock,
    wall: Timestamp,
    running: Duration,
}

impl Steady {
    pub fn new(clock: Clock) -> Steady {
        Steady { wall: clock.now(), running: clock.running(), clock }
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The time that does not jump.
    pub fn steady(&self) -> Timestamp {
        let since = self.clock.running().saturating_sub(self.running);
        Timestamp(self.wall.0.saturating_add(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
    }

    /// By how much the wall clock has jumped forward in all, in milliseconds.
    pub fn ahead(&self) -> i64 {
        self.now().0.saturating_sub(self.steady().0)
    }
}
