//! What the figures should be, and whether they are. Knows nothing of how they were made.
//!
//! A goal that was missed is no failure of the run: the machine is shared, and a slow spell of it proves nothing.

use crate::directory::Directory;
use crate::figures::Who;
use crate::groups::GroupRow;
use crate::rows::{self, Row};
use crate::stored::Line;

/// One figure and what it should be.
pub struct Goal {
    what: String,
    wanted: Wanted,
    measured: f64,
}

#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_reached(&self) -> bool {
        match self.wanted {
            Wanted::AtLeast(bound) => self.measured >= bound,
            Wanted::AtMost(bound) => self.measured <= bound,
        }
    }
}

/// The goals of the load beside Redis, as far as it was measured.
pub fn of_rows(rows: &[Row]) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut add = |what: String, wanted, measured: Option<f64>| {
        goals.extend(measured.map(|measured| Goal { what, wanted, measured }));
    };
    let beside_redis = |connections, figure| rows::waiting(rows, connections)?.ratio(Who::Chatd, Who::Redis, figure);
    for connections in [64, 256, 1000] {
        let sends = beside_redis(connections, |outcome| outcome.sends_per_second);
        add(format!("sends/s, {connections} connections, chatd to redis"), Wanted::AtLeast(1.2), sends);
    }
    let median = beside_redis(1, |outcome| outcome.median_ms);
    add("p50, 1 connection, chatd to redis".to_owned(), Wanted::AtMost(1.1), median);
    let p99 = beside_redis(256, |outcome| outcome.p99_ms);
    add("p99, 256 connections, chatd to redis".to_owned(), Wanted::AtMost(1.0), p99);
    if let Some((row, gain)) = rows::gain(rows, Who::Chatd) {
        add(format!("times the sends with {} in one packet", row.depth), Wanted::AtLeast(4.0), Some(gain));
    }
    goals
}

/// The goal for a connection that says nothing.
pub fn of_idle(bytes: f64) -> Goal {
    Goal { what: "KiB for an idle connection".to_owned(), wanted: Wanted::AtMost(6.0), measured: bytes / 1024.0 }
}

/// The goals of a full database beside an empty one.
pub fn of_stored(lines: &[Line]) -> Vec<Goal> {
    let goal = |line: &Line| {
        let what = format!("{}, stored to none", line.what);
        Some(Goal { what, wanted: Wanted::AtMost(1.2), measured: line.slowdown? })
    };
    lines.iter().filter_map(goal).collect()
}

/// The goal for groups of a thousand.
pub fn of_groups(rows: &[GroupRow]) -> Vec<Goal> {
    let thousand = rows.iter().filter(|row| row.members == Some(1_000));
    let goal = |row: &GroupRow| Goal {
        what: "deliveries/s, a group of 1,000 members".to_owned(),
        wanted: Wanted::AtLeast(1_000_000.0),
        measured: row.deliveries_per_second,
    };
    thousand.map(goal).collect()
}

/// The goals of a server with a million accounts and sessions.
pub fn of_directory(directory: &Directory) -> Vec<Goal> {
    let [quiet, beside] = directory.slowest_ms;
    let goal = |what: &str, bound, measured| Goal { what: what.to_owned(), wanted: Wanted::AtMost(bound), measured };
    vec![
        goal("ms to start, many accounts", 1_500.0, directory.start_ms),
        goal("MB after the start, many accounts", 400.0, directory.resident_mb),
        goal("ms for `user add`, many accounts", 50.0, directory.add_ms),
        goal("ms for `user add` without a server", 50.0, directory.add_alone_ms),
        goal("slowest send, with admin commands to without", 2.0, beside / quiet),
        goal("ms, p99 of sends beside `show`, many accounts", 10.0, directory.show_p99_ms),
        goal("ms, p99 of sends beside a full inbox", 10.0, directory.inbox_p99_ms),
    ]
}

/// Prints each goal with what was measured.
pub fn print(goals: &[Goal]) {
    println!("\n{:<60} {:>10} {:>10}", "goal", "wanted", "measured");
    for goal in goals {
        let (sign, bound) = match goal.wanted {
            Wanted::AtLeast(bound) => (">=", bound),
            Wanted::AtMost(bound) => ("<=", bound),
        };
        let verdict = if goal.is_reached() { "reached" } else { "missed" };
        println!("{:<60} {:>10} {:>10.2}  {verdict}", goal.what, format!("{sign} {bound:.1}"), goal.measured);
    }
}
