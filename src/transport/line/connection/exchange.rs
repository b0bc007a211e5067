//! Requests in the order in which they came: each is carried out and answered before the next, save `send`s, which are
//! carried out together.

use std::io;

use tokio::task::yield_now;

use crate::charge::Payer;
use crate::protocol::dialect::Dialect;
use crate::protocol::{Command, Refusal, Reply, Request, Send};
use crate::service::{Caller, PerMessage, TokenState};
use crate::transport::line::connection::gone::may_take_long;
use crate::transport::line::connection::incoming::charge_connection;
use crate::transport::line::connection::{Connection, Over};
use crate::transport::line::framer::Frame;
use crate::transport::stream::Stream;

/// Requests of one connection that are taken together, at the most.
const BATCH_MAX: usize = 256;

/// Requests of one connection that are answered in one turn. Turns go round by account, because one account may have a
/// thousand connections with many requests each, and another a single request.
const IN_A_TURN: u32 = 8;

/// A request with its place in the stream, or why there is none.
type Asked = (u64, Result<Request, Refusal>);

impl<S: Stream> Connection<'_, S> {
    /// The next request that has arrived whole.
    async fn next_request(&mut self) -> Option<Asked> {
        loop {
            let held = self.lines.capacity();
            let (at, refusal) = match self.lines.next_frame()? {
                Frame::Line { bytes, at } => return Some((at, self.dialect.parse(bytes))),
                Frame::Empty { at } => (at, Refusal::UnknownCommand),
                Frame::TooLong { at, .. } => (at, Refusal::LineTooLong),
                Frame::NeedsAdmission { head, at } => {
                    let token = self.dialect.parse_head(head);
                    let brings_a_file = self.dialect.brings_a_file(head);
                    let is_http = Dialect::begins_http(head);
                    match self.admit(token, held).await {
                        Ok(long_line) => {
                            self.long_line = Some(long_line);
                            match brings_a_file {
                                true => self.lines.admit_up_to(self.settings.file_line),
                                false => self.lines.admit(),
                            }
                            continue;
                        }
                        Err(refusal) => {
                            self.lines.discard();
                            (at, if is_http { Refusal::Http } else { refusal })
                        }
                    }
                }
            };
            self.dialect.pass();
            return Some((at, Err(refusal)));
        }
    }

    /// Answers the requests that have arrived. Carries out consecutive `send`s together; this makes pipelining fast.
    /// Gives a reason when the connection must be closed.
    pub(super) async fn answer_all(&mut self) -> io::Result<Option<Over>> {
        let mut sends = PerMessage::new();
        while let Some((at, request)) = self.next_request().await {
            self.count_in_turn().await;
            self.slot.mark_busy();
            let first = std::mem::take(&mut self.first);
            match self.authenticate(at, request).await {
                Ok((caller, Request { command: Command::Send(send), .. })) => {
                    sends.push((caller, send));
                    if sends.len() == BATCH_MAX {
                        self.send(&mut sends).await?;
                    }
                }
                Ok((caller, Request { command, .. })) => {
                    self.send(&mut sends).await?;
                    self.carry_out(caller, command).await?;
                }
                Err(refusal) => {
                    self.send(&mut sends).await?;
                    self.reply(&refusal.into());
                    self.flush_if_long().await?;
                    if first && refusal == Refusal::Http {
                        self.flush().await?;
                        return Ok(Some(Over::Closed));
                    }
                }
            }
        }
        self.send(&mut sends).await?;
        self.flush().await?;
        self.slot.touch();
        Ok(None)
    }

    /// Waits for another turn when this connection has used its own.
    async fn count_in_turn(&mut self) {
        self.in_this_turn += 1;
        if self.in_this_turn > IN_A_TURN {
            self.in_this_turn = 1;
            self.take_turn().await;
        }
    }

    /// Waits for a turn after many requests, or after a read that held no request. Of all connections that do so, one
    /// at a time goes on. A connection that waits here counts as silent.
    pub(super) async fn take_turn(&mut self) {
        let address = Payer::at(self.peer.address);
        let payer = self.slot.holder().map_or(address, |holder| Payer::Account(holder.user));
        self.slot.touch();
        let _turn = self.settings.memory.reading.take(payer).await;
        yield_now().await;
    }

    /// Finds out who asks, and which account has the connection. A request proves that the peer has read the replies
    /// before it. A request with a token that is not living proves nothing.
    async fn authenticate(&mut self, at: u64, request: Result<Request, Refusal>) -> Result<(Caller, Request), Refusal> {
        let request = request.inspect_err(|_| self.handed_out.request(at))?;
        let caller = self.service.authenticate(request.token).await;
        if caller.token() != TokenState::Dead {
            self.handed_out.request(at);
        }
        match charge_connection(&mut self.slot, self.service, &caller) {
            // Who has too many connections can log out still.
            Err(refusal) if request.command != Command::Logout => Err(refusal),
            _ => Ok((caller, request)),
        }
    }

    async fn carry_out(&mut self, caller: Caller, command: Command) -> io::Result<()> {
        let (outcome, promised) = match command {
            // A client that uses these knows how to confirm.
            command @ (Command::Wait { .. } | Command::Fetch { .. } | Command::Follow { .. }) => {
                (Box::pin(self.wait(caller, command)).await?, true)
            }
            command => {
                if command == Command::Ack && caller.token() == TokenState::Living {
                    self.handed_out.acknowledged();
                }
                if may_have_a_long_reply(&command) {
                    self.charge_reply();
                }
                match may_take_long(&command) {
                    true => (Box::pin(self.unless_gone(caller, command)).await?, false),
                    false => (self.service.handle(&self.peer, caller, command).await, false),
                }
            }
        };
        if let Reply::LoggedIn { token } = outcome.reply {
            let caller = self.service.authenticate(Some(token)).await;
            // Where the account has too many connections, this one hears so with its next request.
            let _ = charge_connection(&mut self.slot, self.service, &caller);
        }
        self.reply_and_hand_out(outcome, promised).await
    }

    async fn send(&mut self, sends: &mut PerMessage<(Caller, Send)>) -> io::Result<()> {
        if sends.is_empty() {
            return Ok(());
        }
        for outcome in self.service.send(&self.peer, std::mem::take(sends)).await {
            self.reply(&outcome);
        }
        self.flush_if_long().await
    }
}

/// Whether the reply may be so long that memory is set aside for it first.
fn may_have_a_long_reply(command: &Command) -> bool {
    use Command::{Conversations, Family, History, Inbox, Show, Status};
    matches!(command, Inbox | History { .. } | Status { .. } | Show | Conversations { .. } | Family(_))
}
