//! A connection whose client waits. It checks meanwhile whether the client is still there.

use std::io;

use crate::charge::READ;
use crate::protocol::Command;
use crate::service::{Caller, Outcome};
use crate::transport::line::connection::{Connection, ConnectionEvent};
use crate::transport::stream::Stream;

/// A client that sends more bytes than this after a `wait` does not want to wait.
const BEHIND: usize = READ;

impl<S: Stream> Connection<'_, S> {
    /// Carries out a command that may wait. A peer that is gone is handed nothing.
    pub(super) async fn wait(&mut self, caller: Caller, command: Command) -> io::Result<Outcome> {
        self.flush().await?;
        // It has been carried out.
        self.long_line = None;
        // Nothing is set aside while nothing comes; a reply for which there is no room then waits in the queue.
        self.charge_reply();
        self.out_charge = None;
        let (service, peer) = (self.service, self.peer.clone());
        service.attend(&peer, caller, command, self.no_more_use()).await
    }

    /// Ready when the server stops, the peer ends its stream, or more comes than is kept for later.
    async fn no_more_use(&mut self) -> io::Result<()> {
        loop {
            match self.next_event().await? {
                ConnectionEvent::Bytes if self.lines.buffered() < BEHIND => {}
                ConnectionEvent::Quiet => self.check_quiet().await?,
                ConnectionEvent::Bytes
                | ConnectionEvent::Ended
                | ConnectionEvent::Stopped
                | ConnectionEvent::LineOver(_) => return Ok(()),
            }
        }
    }
}
