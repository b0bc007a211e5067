//! A row as it is printed, and whether its goal is met.

use super::innocent::Lived;
use std::fmt;

/// What an innocent user's slowest request in a hundred may take under any attack, unless it is slow in quiet, too.
const GOAL_MS: f64 = 20.0;

/// How many times as long as in quiet it may take.
const TIMES_QUIET: f64 = 3.0;

pub const HEADING: &str = "\
                 quiet, ms        under attack, ms                     not done            server
row             p50     p99     p50     p99    most requests  refused  busy  late  lost   peak MB  attacks  goal ms";

/// What came of one attack.
pub struct Outcome {
    pub label: &'static str,
    pub what: &'static str,
    pub quiet: Lived,
    pub attacked: Lived,
    /// Requests, connections or rounds of the attackers.
    pub asked: u64,
    pub peak_bytes: u64,
}

impl Outcome {
    /// What the slowest request in a hundred may take.
    fn goal_ms(&self) -> f64 {
        (TIMES_QUIET * self.quiet.percentile_ms(99)).max(GOAL_MS)
    }

    /// The time is within the goal, and all was done.
    pub fn is_met(&self) -> bool {
        self.attacked.failures.count() == 0 && self.attacked.percentile_ms(99) <= self.goal_ms()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (quiet, attacked, failures) = (&self.quiet, &self.attacked, &self.attacked.failures);
        write!(f, "{:<11} {:>7.2} {:>7.2}", self.label, quiet.percentile_ms(50), quiet.percentile_ms(99))?;
        let [p50, p99, most] = [50, 99, 100].map(|percent| attacked.percentile_ms(percent));
        write!(f, " {p50:>7.2} {p99:>7.2} {most:>7.1} {:>8}", attacked.requests)?;
        write!(f, "  {:>7} {:>5} {:>5} {:>5}", failures.refused, failures.busy, failures.late, failures.lost)?;
        write!(f, "  {:>8.0} {:>8} {:>8.1}", self.peak_bytes as f64 / 1e6, self.asked, self.goal_ms())?;
        write!(f, "  {}  {}", if self.is_met() { "MET   " } else { "MISSED" }, self.what)?;
        for (when, failures) in [("in quiet", &quiet.failures), ("under attack", failures)] {
            if let Some(first) = &failures.first {
                write!(f, "\n            {} not done {when}, the first: {first}", failures.count())?;
            }
        }
        Ok(())
    }
}
