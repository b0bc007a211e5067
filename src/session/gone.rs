//! Work for a peer that may go while it waits: what costs much is not done for one that is gone.

use std::io;
use std::pin::pin;

use tokio::time::sleep;

use super::{ASK_EVERY, Connection};
use crate::protocol::Request;
use crate::service::Outcome;
use crate::socket::{PeerState, Stream};

/// Whether a request may wait its turn for long, and changes nothing that the peer, once gone, would want to be changed.
pub fn may_take_long(request: &Request) -> bool {
    matches!(request, Request::Auth { .. } | Request::History { .. } | Request::Status { .. })
}

impl<S: Stream> Connection<'_, S> {
    /// Carries out a request, unless the peer resets the connection or its TCP gives up meanwhile: then no more is done. A
    /// peer that has only ended its stream still reads.
    pub(super) async fn unless_gone(&mut self, request: Request) -> io::Result<Outcome> {
        let (service, peer) = (self.service, self.peer);
        let mut work = pin!(service.handle(peer, request));
        loop {
            tokio::select! {
                biased;
                outcome = &mut work => return Ok(outcome),
                () = sleep(ASK_EVERY) => {
                    if self.stream.peer_state()? == PeerState::Gone {
                        return Err(io::ErrorKind::ConnectionReset.into());
                    }
                }
            }
        }
    }
}
