//! The innocent user: a small round of requests, again and again, and how long each takes.

use super::interrupt::Interrupt;
use super::world::{PASSWORD, Talk, World, token_in};
use anyhow::Result;
use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

/// Between two rounds, as people pause.
const PAUSE: Duration = Duration::from_millis(3);

/// Rounds at the least, however long each takes.
const ROUNDS: usize = 5;

/// One thing that the innocent user does.
#[derive(Clone, Copy)]
pub enum Step {
    /// A short message to oneself.
    Send,
    /// A text of 8 KiB to oneself.
    SendLong,
    /// A short message to somebody who has much mail.
    SendToFriend,
    Inbox,
    /// A text of 150 kB to oneself.
    SendVeryLong,
    /// The same, and the inbox with it.
    InboxLong,
    History,
    /// A conversation that lies far back.
    HistoryOld,
    /// A connection, and a message with the token that is there.
    Arrive,
    /// A connection, and a login.
    Login,
}

/// What the innocent user noticed.
pub struct Lived {
    /// In milliseconds, sorted, of all requests that were not refused.
    times: Vec<f64>,
    pub requests: usize,
    pub failures: Failures,
}

/// What was not done for the innocent user.
#[derive(Default)]
pub struct Failures {
    /// An error that does not say that the server is busy.
    pub refused: usize,
    pub busy: usize,
    /// No reply within 10 s.
    pub late: usize,
    /// The connection was not taken, or was ended.
    pub lost: usize,
    /// The first of them.
    pub first: Option<String>,
}

impl Lived {
    /// The time that so many of a hundred requests did not exceed.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let place = (self.times.len() * percent / 100).min(self.times.len().saturating_sub(1));
        self.times.get(place).copied().unwrap_or(f64::NAN)
    }
}

impl Failures {
    pub fn count(&self) -> usize {
        self.refused + self.busy + self.late + self.lost
    }

    /// Notes an error that the server said.
    pub fn add_refusal(&mut self, said: String) {
        *if said.contains("busy") { &mut self.busy } else { &mut self.refused } += 1;
        self.first.get_or_insert(said);
    }

    fn add(&mut self, failure: Failure) {
        match failure {
            Failure::Said(reply) => self.add_refusal(reply),
            Failure::Lost(error) => {
                let is_late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                *if is_late { &mut self.late } else { &mut self.lost } += 1;
                self.first.get_or_insert(error.to_string());
            }
        }
    }
}

/// Why a step was not done.
enum Failure {
    Said(String),
    Lost(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Lost(error)
    }
}

/// The innocent user, with a connection that is opened again when it was lost.
pub struct Innocent<'a> {
    world: &'a World,
    steps: &'static [Step],
    talk: Option<Talk>,
    /// What the last login gave.
    new_session: Option<(Talk, String)>,
}

impl<'a> Innocent<'a> {
    pub fn new(world: &'a World, steps: &'static [Step]) -> Self {
        Self { world, steps, talk: None, new_session: None }
    }

    /// Goes round for so many seconds.
    pub fn live(&mut self, seconds: f64, interrupt: &Interrupt) -> Result<Lived> {
        let begun = Instant::now();
        let mut lived = Lived { times: Vec::new(), requests: 0, failures: Failures::default() };
        let mut rounds = 0;
        while rounds < ROUNDS || begun.elapsed().as_secs_f64() < seconds {
            for step in self.steps {
                interrupt.check()?;
                lived.requests += 1;
                let done = self.step(*step);
                match done {
                    Ok(time) => lived.times.push(time.as_secs_f64() * 1000.0),
                    Err((time, failure)) => {
                        if let Failure::Lost(_) = failure {
                            self.talk = None;
                            lived.times.push(time.as_secs_f64() * 1000.0);
                        }
                        lived.failures.add(failure);
                    }
                }
            }
            rounds += 1;
            thread::sleep(PAUSE);
        }
        lived.times.sort_by(f64::total_cmp);
        Ok(lived)
    }

    /// Does one thing: how long it took.
    fn step(&mut self, step: Step) -> Result<Duration, (Duration, Failure)> {
        let begun = Instant::now();
        let done = match step {
            Step::Login => self.log_in(),
            Step::Arrive => self.arrive().and_then(|mut talk| ask(&mut talk, &self.request(step))),
            Step::InboxLong => self.ask(Step::SendVeryLong).and_then(|()| self.ask(step)),
            _ => self.ask(step),
        };
        let time = begun.elapsed();
        // So that the logins do not push out the session that is in use.
        if let Some((mut talk, token)) = self.new_session.take() {
            let _ = talk.ask(&format!("logout {token}"));
        }
        done.map(|()| time).map_err(|failure| (time, failure))
    }

    fn request(&self, step: Step) -> String {
        let token = self.world.token("innocent");
        match step {
            Step::Send | Step::Arrive => format!("send {token} innocent  halo "),
            Step::SendLong => format!("send {token} innocent  {} ", "x".repeat(8192)),
            Step::SendVeryLong => format!("send {token} innocent  {} ", "x".repeat(150_000)),
            Step::SendToFriend => format!("send {token} friend  halo "),
            Step::Inbox | Step::InboxLong => format!("inbox {token}"),
            Step::History => format!("history {token} innocent"),
            Step::HistoryOld => format!("history {token} old"),
            Step::Login => format!("auth innocent {PASSWORD}"),
        }
    }

    /// Asks on the connection that is there.
    fn ask(&mut self, step: Step) -> Result<(), Failure> {
        let mut talk = match self.talk.take() {
            Some(talk) => talk,
            None => self.arrive()?,
        };
        let asked = ask(&mut talk, &self.request(step));
        self.talk = Some(talk);
        asked
    }

    fn log_in(&mut self) -> Result<(), Failure> {
        let mut talk = self.arrive()?;
        let reply = talk.ask(&self.request(Step::Login))?;
        let token = token_in(reply).ok_or_else(|| Failure::Said(reply.chars().take(200).collect()))?;
        self.new_session = Some((talk, token));
        Ok(())
    }

    fn arrive(&self) -> Result<Talk, Failure> {
        Talk::from(self.world.home, self.world.address).map_err(|error| match error.downcast::<io::Error>() {
            Ok(error) => Failure::Lost(error),
            Err(error) => Failure::Said(error.to_string()),
        })
    }
}

fn ask(talk: &mut Talk, request: &str) -> Result<(), Failure> {
    let reply = talk.ask(request)?;
    if reply.starts_with("{\"status\": \"OK\"") {
        Ok(())
    } else {
        Err(Failure::Said(reply.chars().take(200).collect()))
    }
}
