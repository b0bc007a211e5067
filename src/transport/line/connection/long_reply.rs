//! A long reply becomes bytes on another thread, so that those who serve go on with others. Its length is counted and
//! charged before there are any bytes, and turns go round by account.

use std::io;
use std::mem;
use std::pin::pin;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::charge::Charge;
use crate::protocol::rendering::Rendering;
use crate::protocol::{Refusal, Reply};
use crate::transport::line::connection::{ACK_POLL_INTERVAL, Connection};
use crate::transport::stream::{PeerState, Stream};

impl<S: Stream> Connection<'_, S> {
    /// Renders a reply where it keeps nobody waiting; gives whether there was room for it. The connection waits for it,
    /// so that replies stay in their order, unless the peer or its session ends meanwhile.
    pub(super) async fn reply_elsewhere(&mut self, reply: Reply) -> io::Result<bool> {
        let rendering = self.dialect.rendering(reply);
        let is_rendered = match self.charge().is_some() {
            true => self.rendered(rendering).await?,
            false => false,
        };
        if !is_rendered {
            self.out_charge = None;
            self.dialect.render_instead(Refusal::Busy, &mut self.out);
        }
        Ok(is_rendered)
    }

    async fn rendered(&mut self, rendering: Rendering) -> io::Result<bool> {
        let Some(charge) = self.out_charge.take() else { return Ok(false) };
        let (turns, out) = (self.settings.memory.rendering.clone(), mem::take(&mut self.out));
        let mut work = pin!(async move {
            // Given on only when the work is done, even if nobody waits for it any longer.
            let turn = turns.take(charge.payer()).await;
            spawn_blocking(move || {
                let _turn = turn;
                render(&rendering, out, charge)
            })
            .await
        });
        let (is_rendered, out, charge) = loop {
            tokio::select! {
                biased;
                done = &mut work => break done.map_err(io::Error::other)?,
                () = self.slot.revoked() => return Err(io::Error::other("the session has ended")),
                () = sleep(ACK_POLL_INTERVAL) => {
                    if self.stream.peer_state()? == PeerState::Gone {
                        return Err(io::ErrorKind::ConnectionReset.into());
                    }
                }
            }
        };
        (self.out, self.out_charge) = (out, Some(charge));
        Ok(is_rendered)
    }
}

/// Appends the reply, if there is room for so many bytes.
fn render(rendering: &Rendering, mut out: Vec<u8>, mut charge: Charge) -> (bool, Vec<u8>, Charge) {
    let length = rendering.length();
    let has_room = charge.set(out.len() + length);
    if has_room {
        out.reserve_exact(length);
        rendering.render(&mut out);
    }
    (has_room, out, charge)
}
