//! Runs of the closed loop, round after round: what they load, and what each subject made of it. Knows nothing of how
//! the subjects were started, nor of what is printed in the end.

use crate::drive::{Load, Outcome};
use crate::figures::{Who, median, ratio};
use crate::interrupt::Interrupt;
use crate::wire::Requests;
use anyhow::Result;
use std::net::SocketAddr;
use std::time::Duration;

/// A server that runs, and what to send it.
pub struct Subject<'a> {
    pub who: Who,
    pub address: SocketAddr,
    pub requests: &'a Requests,
}

/// How long each run is.
#[derive(Clone, Copy)]
pub struct Pace {
    pub warm_up: Duration,
    pub measured: Duration,
}

/// One line of the table: how many connections, how many sends in a packet, and what came of each run.
pub struct Row {
    pub connections: usize,
    pub depth: usize,
    outcomes: Vec<(Who, Outcome)>,
}

impl Row {
    pub fn new(connections: usize, depth: usize) -> Self {
        Self { connections, depth, outcomes: Vec::new() }
    }

    /// One run of each subject. Who runs the rounds lets the subjects take turns in each, so that a slow spell of the
    /// machine meets all of them.
    pub fn round(&mut self, subjects: &[Subject], pace: Pace, interrupt: &Interrupt) -> Result<()> {
        for Subject { who, address, requests } in subjects {
            let load = Load {
                name: who.name(),
                address: *address,
                requests,
                connections: self.connections,
                depth: self.depth,
                warm_up: pace.warm_up,
                measured: pace.measured,
            };
            let outcome = load.run(interrupt)?;
            eprintln!(
                "{:>9}  round {}  {:<7}  {:>7.0} sends/s  p50 {:.2} ms  p99 {:.2} ms  generator {:.0} % of a core",
                self.label(),
                self.of(*who).count() + 1,
                who.name(),
                outcome.sends_per_second,
                outcome.median_ms,
                outcome.p99_ms,
                outcome.generator_cpu * 100.0,
            );
            self.outcomes.push((*who, outcome));
        }
        Ok(())
    }

    /// What the row is called: the number of connections, and of sends in a packet if it is not one.
    pub fn label(&self) -> String {
        match self.depth {
            1 => self.connections.to_string(),
            depth => format!("{} x {depth}", self.connections),
        }
    }

    /// The median over the rounds of one figure of one subject; `None` if it was not measured.
    pub fn median(&self, who: Who, figure: fn(&Outcome) -> f64) -> Option<f64> {
        median(self.of(who).map(figure))
    }

    /// How often one subject's median is that of another, if both were measured.
    pub fn ratio(&self, over: Who, under: Who, figure: fn(&Outcome) -> f64) -> Option<f64> {
        ratio(self.median(over, figure), self.median(under, figure))
    }

    /// Sends that one subject has accepted in all rounds.
    pub fn accepted(&self, who: Who) -> usize {
        self.of(who).map(|outcome| outcome.accepted).sum()
    }

    fn of(&self, who: Who) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(move |(measured, _)| *measured == who).map(|(_, outcome)| outcome)
    }
}

/// The row with so many connections that wait for each reply.
pub fn waiting(rows: &[Row], connections: usize) -> Option<&Row> {
    rows.iter().find(|row| row.connections == connections && row.depth == 1)
}

/// How many times the sends of one connection that waits for each reply pipelining gains, with the row that shows it.
pub fn gain(rows: &[Row], who: Who) -> Option<(&Row, f64)> {
    let sends = |row: &Row| row.median(who, |outcome| outcome.sends_per_second);
    let pipelined = rows.iter().find(|row| row.depth > 1)?;
    Some((pipelined, sends(pipelined)? / sends(waiting(rows, 1)?)?))
}
