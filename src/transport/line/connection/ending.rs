//! The end of a connection, and the silence before it: what is still needed as a proof that the last replies arrived.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use crate::transport::confirmation::QUIET_AFTER_END;
use crate::transport::line::connection::incoming::{read, read_at_most};
use crate::transport::line::connection::{ACK_POLL_INTERVAL, Connection};
use crate::transport::line::framer::Frame;
use crate::transport::stream::{PeerState, Stream};

impl<S: Stream> Connection<'_, S> {
    /// The connection has been silent since a reply was written: that counts if the peer's TCP has all of it.
    pub(super) async fn check_quiet(&mut self) -> io::Result<()> {
        match has_all(&self.stream)? {
            true => self.handed_out.confirm_by_silence(Instant::now(), self.settings.confirm_after),
            false => sleep(ACK_POLL_INTERVAL).await,
        }
        Ok(())
    }

    /// The peer sends no more. Waits for the proof that it has what was written before it ended.
    pub(super) async fn settle(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + self.settings.write_timeout;
        while !self.handed_out.is_empty() && Instant::now() < deadline {
            if has_all(&self.stream)? {
                self.handed_out.ended();
                self.handed_out.confirm_by_silence(Instant::now(), QUIET_AFTER_END);
            }
            if !self.handed_out.is_empty() {
                sleep(ACK_POLL_INTERVAL).await;
            }
        }
        self.stream.shutdown().await
    }

    /// The server stops: says so by ending the stream, and waits a little for the peer to end it too.
    pub(super) async fn say_goodbye(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let deadline = Instant::now() + self.settings.linger;
        let most = read_at_most(&self.slot);
        let Connection { stream, lines, handed_out, settings, .. } = self;
        // A close with unread bytes would send a reset. This could destroy replies that are on their way to the peer.
        while (!handed_out.is_empty() || stream.unread()? > 0) && Instant::now() < deadline {
            match timeout(deadline.saturating_duration_since(Instant::now()), read(stream, lines, most)).await {
                // Alive, and its TCP has everything: whenever it reads on, it will find the replies.
                Err(_) if !settings.confirm_after.is_zero() && has_all(stream)? => {
                    handed_out.confirm_by_silence(Instant::now(), Duration::ZERO);
                }
                Err(_) => break,
                Ok(Err(error)) => return Err(error),
                Ok(Ok(0)) => {
                    if stream.unacknowledged()? == 0 {
                        handed_out.ended();
                    }
                    break;
                }
                // Nothing is answered any more, but a request that comes now shows that the last reply was read.
                Ok(Ok(_)) => {
                    while let Some(frame) = lines.next_frame() {
                        let (Frame::Line { at, .. }
                        | Frame::Empty { at }
                        | Frame::NeedsAdmission { at, .. }
                        | Frame::TooLong { at, .. }) = frame;
                        if let Frame::NeedsAdmission { .. } = frame {
                            lines.discard();
                        }
                        handed_out.request(at);
                    }
                    // A crowd that has sent much must not keep the others, and the clock, waiting.
                    yield_now().await;
                }
            }
        }
        Ok(())
    }
}

/// Whether the peer lives and its TCP has acknowledged all. Asked in this order, so that a reset in between is seen.
fn has_all<S: Stream>(stream: &S) -> io::Result<bool> {
    let unacknowledged = stream.unacknowledged()?;
    match stream.peer_state()? {
        PeerState::Gone => Err(io::ErrorKind::ConnectionReset.into()),
        PeerState::Open | PeerState::Ended => Ok(unacknowledged == 0),
    }
}
