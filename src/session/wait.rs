//! `wait`: a connection that sits still until there is mail, and sees meanwhile whether anybody is still there to read it.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Connection, Event};
use crate::model::Token;
use crate::protocol::{Command, Reply};
use crate::service::{Arrival, Outcome};
use crate::socket::Stream;

/// Who sends more than this behind a `wait`, in bytes, does not want to wait.
const BEHIND: usize = 64 * 1024;

impl<S: Stream> Connection<'_, S> {
    /// What `inbox` says as soon as there is mail; the empty inbox when the time is over, the server stops, the peer ends
    /// its stream, or more comes than is kept for later. A peer that is gone is handed nothing.
    pub(super) async fn wait(&mut self, token: Option<Token>, at_most: Duration) -> io::Result<Outcome> {
        self.flush().await?;
        let deadline = Instant::now() + at_most.min(self.service.wait_at_most());
        let mut heard: Option<Arrival> = None;
        loop {
            // First it is made sure that an arrival is heard of, so that none falls between looking and waiting.
            let caller = self.service.authenticate(token).await;
            let arrival = self.service.arrival(&caller).await;
            let looked = self.service.handle(self.peer, caller, Command::Inbox).await;
            let Ok(mut arrival) = arrival else { return Ok(refused(looked, heard)) };
            if let Reply::Refused(_) = looked.reply {
                return Ok(refused(looked, heard));
            }
            if looked.lease.is_some() || !self.sit_still(&mut arrival, deadline).await? {
                return Ok(looked);
            }
            heard = Some(arrival);
        }
    }

    /// `true` when mail has come, `false` when there is no more use in waiting.
    async fn sit_still(&mut self, arrival: &mut Arrival, deadline: Instant) -> io::Result<bool> {
        loop {
            tokio::select! {
                biased;
                event = self.next_event() => match event? {
                    Event::Bytes if self.lines.buffered() < BEHIND => {}
                    Event::Quiet => self.check_quiet().await?,
                    Event::Bytes | Event::Ended | Event::Stopped => return Ok(false),
                },
                () = arrival.heard() => return Ok(true),
                () = sleep_until(deadline) => return Ok(false),
            }
        }
    }
}

/// Who heard of mail and may not look, lets another look.
fn refused(outcome: Outcome, heard: Option<Arrival>) -> Outcome {
    if let Some(heard) = heard {
        heard.pass_on();
    }
    outcome
}
