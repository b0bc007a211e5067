//! The requests that read, timed one at a time on a connection that has nothing else to do: `show`, and `inbox` with
//! few and many messages waiting. Knows nothing of what else the database holds.

use crate::figures::{Who, median};
use crate::interrupt::Interrupt;
use crate::talk::{Talk, messages_in};
use crate::wire::{Requests, recipient_name};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// How many messages wait, and how often such an `inbox` is timed in a round.
const INBOXES: [(usize, usize); 3] = [(1, 501), (100, 201), (10_000, 11)];

/// A request, and how long each of its replies took.
pub struct Timing {
    pub what: String,
    samples: Vec<(Who, f64)>,
}

impl Timing {
    pub fn new(what: String) -> Self {
        Self { what, samples: Vec::new() }
    }

    pub fn add(&mut self, who: Who, took: Duration) {
        self.samples.push((who, took.as_secs_f64() * 1000.0));
    }

    /// The median of one subject's times in milliseconds; `None` if it was not measured.
    pub fn median_ms(&self, who: Who) -> Option<f64> {
        median(self.samples.iter().filter(|(timed, _)| *timed == who).map(|(_, milliseconds)| *milliseconds))
    }
}

/// A chatd that is asked, and the account in whose name: nobody else writes to it or reads its mail.
pub struct Reader<'a> {
    pub who: Who,
    pub talk: Talk,
    pub token: &'a str,
    /// Sends to this account.
    pub mail: &'a Requests,
}

impl Reader<'_> {
    /// Sends the account so many messages.
    pub fn post(&mut self, messages: usize) -> Result<()> {
        self.talk.post(self.mail, 0, messages)
    }

    fn time_show(&mut self) -> Result<Duration> {
        let request = format!("show {}\r\n", self.token);
        let begun = Instant::now();
        self.talk.ask(&request)?;
        Ok(begun.elapsed())
    }

    /// Times an inbox in which `messages` are waiting, and leaves it empty.
    pub fn time_inbox(&mut self, messages: usize) -> Result<Duration> {
        time_inbox(&mut self.talk, self.token, messages)
    }
}

/// Times the inbox of the token's user, in which `messages` are waiting, and leaves it empty.
pub fn time_inbox(talk: &mut Talk, token: &str, messages: usize) -> Result<Duration> {
    let request = format!("inbox {token}\r\n");
    let begun = Instant::now();
    let reply = talk.ask(&request)?;
    let took = begun.elapsed();
    let came = messages_in(reply);
    ensure!(came == messages, "an inbox in which {messages} messages were waiting gave {came}");
    // Only when this is answered, nothing is left to do that could slow the next request.
    talk.ask(&format!("ack {token}\r\n"))?;
    Ok(took)
}

/// Has the server read something from its disk, so that it has opened what it reads with.
pub fn touch_disk(talk: &mut Talk, token: &str) -> Result<()> {
    talk.ask(&format!("history {token} {} 1\r\n", recipient_name(0))).map(drop)
}

/// The timings that [`round`] adds to.
pub fn timings(sessions: usize) -> Vec<Timing> {
    let show = format!("show, {sessions} logged in");
    let inboxes = INBOXES.iter().map(|(messages, _)| format!("inbox, {messages} waiting"));
    std::iter::once(show).chain(inboxes).map(Timing::new).collect()
}

/// Times everything some times, the readers taking turns. Gives how many messages each of them was sent.
pub fn round(timings: &mut [Timing], readers: &mut [Reader], interrupt: &Interrupt) -> Result<usize> {
    let (show, inboxes) = timings.split_first_mut().expect("`timings` begins with `show`");
    let mut sent = 0;
    for (timing, (messages, times)) in inboxes.iter_mut().zip(INBOXES) {
        for _ in 0..times {
            interrupt.check()?;
            for reader in &mut *readers {
                reader.post(messages)?;
                timing.add(reader.who, reader.time_inbox(messages)?);
                // Between inboxes, because many in a row only tell on which core the kernel has put the server for now.
                show.add(reader.who, reader.time_show()?);
            }
            sent += messages;
        }
    }
    Ok(sent)
}
