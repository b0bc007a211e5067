//! Renders a long reply in pieces. The next piece is made when the peer has taken the last one. So the texts are in
//! memory once, and their bytes never all together. Another thread makes all pieces but the first, so that the threads
//! that serve are free for others. Accounts take turns.

use std::io;
use std::mem;
use std::pin::pin;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::protocol::parts::PART;
use crate::protocol::rendering::Rendering;
use crate::transport::line::connection::{ACK_POLL_INTERVAL, Connection};
use crate::transport::stream::{PeerState, Stream};

/// The most of a reply that is bytes at a time.
pub(super) const PIECE: usize = 64 << 10;

impl<S: Stream> Connection<'_, S> {
    /// Writes the first piece of a long reply, which is made, and makes and writes the others, but for the last one,
    /// which is made only: what comes of the peer before that was said without knowing all of the reply.
    pub(super) async fn write_in_pieces(&mut self, mut rendering: Rendering) -> io::Result<()> {
        loop {
            if let Err(error) = self.write().await {
                spawn_blocking(move || drop(rendering));
                return Err(error);
            }
            let Some(rest) = self.piece(rendering).await? else { return Ok(()) };
            rendering = rest;
        }
    }

    /// Makes the next piece and gives what is left, nothing after the last one. The connection waits for it, so that
    /// replies stay in their order, unless the peer or its session ends meanwhile. The texts and names of a long reply
    /// are many: what is done with is given back on the other thread too.
    async fn piece(&mut self, mut rendering: Rendering) -> io::Result<Option<Rendering>> {
        let Some(charge) = self.out_charge.take() else { return Err(io::Error::other("a reply without a charge")) };
        let (turns, mut out) = (self.settings.memory.rendering.clone(), mem::take(&mut self.out));
        let mut work = pin!(async move {
            // Given on only when the work is done, even if nobody waits for it any longer.
            let turn = turns.take(charge.payer()).await;
            spawn_blocking(move || {
                let _turn = turn;
                out.reserve_exact(PIECE.saturating_sub(out.len()));
                let is_last = rendering.render(&mut out, PIECE - PART);
                ((!is_last).then_some(rendering), out, charge)
            })
            .await
        });
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    let (rest, out, charge) = done.map_err(io::Error::other)?;
                    (self.out, self.out_charge) = (out, Some(charge));
                    return Ok(rest);
                }
                () = self.slot.revoked() => return Err(io::Error::other("the session has ended")),
                () = sleep(ACK_POLL_INTERVAL) => {
                    if self.stream.peer_state()? == PeerState::Gone {
                        return Err(io::ErrorKind::ConnectionReset.into());
                    }
                }
            }
        }
    }
}
