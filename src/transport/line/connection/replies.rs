//! Replies that are not written yet, and their memory, which is charged to an account. While the peer does not read, no
//! more replies are made. The settings limit how long the server waits for it.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};

use crate::charge::{Charge, Payer, UNCHARGED, UNREAD};
use crate::protocol::parts::PART;
use crate::protocol::{Refusal, Reply};
use crate::service::{Outcome, TokenState};
use crate::transport::admission::Slot;
use crate::transport::line::connection::long_reply::PIECE;
use crate::transport::line::connection::{Connection, ConnectionSettings};
use crate::transport::stream::{PeerState, Stream};

/// An idle connection keeps no more room than this for its next reply, in bytes: a short one.
const IDLE_CAPACITY: usize = 128;
/// The least text that a reply may have, in bytes; there is always room for so much.
const LEAST_TEXT: usize = UNCHARGED / 2;
/// What a reply usually takes beside its texts, in bytes: the piece that is being written, names, numbers.
const BESIDE_TEXT: usize = 2 * PIECE;

impl<S: Stream> Connection<'_, S> {
    pub(super) fn reply(&mut self, outcome: &Outcome) {
        if outcome.token == TokenState::Dead {
            self.slot.forget_token();
        }
        self.dialect.render(&outcome.reply, &mut self.out);
    }

    /// Sets memory aside for a reply that may be long, as much as its account may have; the reply gets no longer than
    /// that.
    pub(super) fn charge_reply(&mut self) {
        self.peer.reply_bytes = LEAST_TEXT as u64;
        if let Some(holder) = self.slot.holder() {
            let mut charge = self.settings.memory.replies.charge(Payer::Account(holder.user));
            let wanted = usize::try_from(self.service.reply_bytes()).unwrap_or(usize::MAX);
            let room = charge.take_up_to(wanted.saturating_add(BESIDE_TEXT));
            self.peer.reply_bytes = room.saturating_sub(BESIDE_TEXT).max(LEAST_TEXT) as u64;
            self.out_charge = Some(charge);
        }
    }

    pub(super) async fn reply_and_hand_out(&mut self, outcome: Outcome, promised: bool) -> io::Result<()> {
        let Outcome { reply, token, lease } = outcome;
        if token == TokenState::Dead {
            self.slot.forget_token();
        }
        let is_said = self.say(reply).await?;
        let Some(lease) = lease else { return self.flush_if_long().await };
        if is_said {
            // Requests that lie in the socket already were written without knowing this reply.
            let received = self.lines.received() + self.stream.unread()?;
            let ended = self.stream.peer_state()? == PeerState::Ended;
            self.handed_out.add(lease, received, ended);
            if promised {
                self.handed_out.require_explicit_ack();
            }
        }
        self.flush().await
    }

    /// Makes a reply, or the first piece of a long one, and then the others. It may stay here while a slow peer reads
    /// it, so it is charged to the account. When there is no room, the peer hears that the server is busy, and the
    /// messages in the reply wait again.
    async fn say(&mut self, reply: Reply) -> io::Result<bool> {
        let before = self.out.len();
        let mut rendering = self.dialect.rendering(reply);
        let is_whole = rendering.render(&mut self.out, PIECE - PART);
        let held = self.out.capacity() + if is_whole { 0 } else { PIECE + rendering.held() };
        if held <= UNCHARGED {
            self.out_charge = None;
            return Ok(true);
        }
        if !self.charge().is_some_and(|charge| charge.set(held)) {
            self.out.truncate(before);
            self.out.shrink_to_fit();
            self.out_charge = None;
            self.dialect.render_instead(Refusal::Busy, &mut self.out);
            return Ok(false);
        }
        if !is_whole {
            Box::pin(self.write_in_pieces(rendering)).await?;
        }
        Ok(true)
    }

    /// What is charged for the replies, to the account whose the connection is.
    pub(super) fn charge(&mut self) -> Option<&mut Charge> {
        if self.out_charge.is_none() {
            let holder = self.slot.holder()?;
            self.out_charge = Some(self.settings.memory.replies.charge(Payer::Account(holder.user)));
        }
        self.out_charge.as_mut()
    }

    /// Writes the replies, if there are so many that the peer should take them before it gets more.
    pub(super) async fn flush_if_long(&mut self) -> io::Result<()> {
        if self.out.len() >= UNREAD { self.flush().await } else { Ok(()) }
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.write().await?;
        self.out.shrink_to(IDLE_CAPACITY);
        self.out_charge = None;
        self.patience = Patience::default();
        if !self.handed_out.is_empty() {
            self.handed_out.written(Instant::now());
        }
        Ok(())
    }

    /// Writes what there is of the replies.
    pub(super) async fn write(&mut self) -> io::Result<()> {
        let Connection { stream, out, out_charge, slot, settings, patience, .. } = self;
        patience.bytes += out.len();
        let mut taking = Taking { slot, charge: out_charge.as_ref(), settings, patience };
        let mut written = 0;
        while written < out.len() {
            match taking.wait(stream.write(&out[written..])).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                some => written += some,
            }
        }
        taking.wait(stream.flush()).await?;
        out.clear();
        Ok(())
    }
}

/// How long a peer may take for replies.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// How many bytes it was given to take.
    bytes: usize,
    /// Since when it keeps us waiting.
    since: Option<Instant>,
}

/// A peer that is to take replies.
struct Taking<'a> {
    slot: &'a Slot,
    charge: Option<&'a Charge>,
    settings: &'a ConnectionSettings,
    patience: &'a mut Patience,
}

impl Taking<'_> {
    /// Does what is nearly always done at once, and then needs no clock. While the peer keeps us waiting, it is a
    /// silent one.
    async fn wait<T>(&mut self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut work = pin!(work);
        match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            Poll::Ready(done) => done,
            Poll::Pending => {
                self.slot.touch();
                let done = Box::pin(self.wait_long(work)).await;
                self.slot.mark_busy();
                done
            }
        }
    }

    async fn wait_long<T>(&mut self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let now = Instant::now();
        let deadline = *self.patience.since.get_or_insert(now) + self.settings.patience(self.patience.bytes);
        let cut = async {
            match self.charge {
                Some(charge) => charge.cut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = sleep_until(deadline.min(now + self.settings.write_timeout)) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes its replies too slowly"))
            }
            () = self.slot.revoked() => Err(io::Error::other("the session has ended")),
            () = cut => Err(io::Error::other("others needed the memory of a reply that was not taken")),
        }
    }
}
