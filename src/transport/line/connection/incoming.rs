//! Reads bytes and long lines. The memory of a long line is charged to an account.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::{Instant, sleep_until};

use crate::charge::{Charge, Payer, READ, READ_UNAUTHENTICATED};
use crate::model::Token;
use crate::protocol::Refusal;
use crate::service::{Caller, Service, TokenState};
use crate::transport::admission::Slot;
use crate::transport::line::connection::{Connection, ConnectionSettings};
use crate::transport::line::framer::Lines;
use crate::transport::stream::Stream;

thread_local! {
    /// Where reads land. Shared by all connections of a thread, so that an idle one holds no buffer.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// How much may be read at once.
pub(super) fn read_at_most(slot: &Slot) -> usize {
    if slot.is_authenticated() { READ } else { READ_UNAUTHENTICATED }
}

/// Reads what is there into `lines`, up to `most` bytes; gives 0 at the end of the stream.
pub(super) async fn read<S: Stream>(stream: &mut S, lines: &mut Lines, most: usize) -> io::Result<usize> {
    poll_fn(|context| {
        READ_BUFFER.with_borrow_mut(|landing| {
            let mut landing = ReadBuf::new(&mut landing[..most]);
            match Pin::new(&mut *stream).poll_read(context, &mut landing) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {
                    // A read that fills less than it could has taken all that was there.
                    let over = landing.remaining() > 0;
                    lines.push(landing.filled(), over);
                    Poll::Ready(Ok(landing.filled().len()))
                }
            }
        })
    })
    .await
}

/// A line beyond the short limit: the memory that it takes is its account's.
pub(super) struct LongLine {
    charge: Charge,
    begun: Instant,
}

impl LongLine {
    /// Waits until there is a reason to wait no longer for the rest of the line, and gives it.
    pub(super) async fn over(&self, slot: &Slot, received: usize, settings: &ConnectionSettings) -> Refusal {
        tokio::select! {
            () = self.charge.cut() => Refusal::Busy,
            () = slot.session_ended() => Refusal::UnknownToken,
            () = sleep_until(self.begun + settings.patience(received)) => Refusal::TooSlow,
        }
    }
}

impl ConnectionSettings {
    /// How long the peer may take for so many bytes.
    pub(super) fn patience(&self, bytes: usize) -> Duration {
        self.write_timeout + Duration::from_secs(bytes as u64 / u64::from(self.min_bytes_per_second.max(1)))
    }
}

/// Charges the connection to the account of the living token that it shows.
pub(super) fn charge_connection(slot: &mut Slot, service: &Service, caller: &Caller) -> Result<(), Refusal> {
    let Some(holder) = caller.holder().filter(|holder| !slot.belongs_to(holder)) else { return Ok(()) };
    slot.authenticate(holder).map_err(|_| Refusal::TooManyConnections)?;
    // The session may have ended before the connection began to listen for its end.
    if !service.is_open(holder.session) {
        slot.forget_token();
    }
    Ok(())
}

impl<S: Stream> Connection<'_, S> {
    /// Room for a long line, of which so many bytes are here, if its token is a living one.
    pub(super) async fn admit(&mut self, token: Result<Token, Refusal>, held: usize) -> Result<LongLine, Refusal> {
        let caller = self.service.authenticate(Some(token?)).await;
        charge_connection(&mut self.slot, self.service, &caller)?;
        let is_living = caller.token() == TokenState::Living;
        let holder = self.slot.holder().filter(|_| is_living).ok_or(Refusal::UnknownToken)?;
        let mut charge = self.settings.memory.lines.charge(Payer::Account(holder.user));
        match charge.set(held) {
            true => Ok(LongLine { charge, begun: Instant::now() }),
            false => Err(Refusal::Busy),
        }
    }

    /// Charges the account for the part of a long line that has come.
    pub(super) async fn charge_long_line(&mut self) -> io::Result<()> {
        let Some(long_line) = &mut self.long_line else { return Ok(()) };
        if !self.lines.is_long() {
            self.long_line = None;
            return Ok(());
        }
        match long_line.charge.set(self.lines.capacity()) {
            true => Ok(()),
            false => self.refuse_long_line(Refusal::Busy).await,
        }
    }

    /// Gives up the line that is being collected; the rest of it is discarded as it comes.
    pub(super) async fn refuse_long_line(&mut self, refusal: Refusal) -> io::Result<()> {
        self.lines.discard();
        // Nothing more is there; this gives its memory back.
        while self.lines.next_frame().is_some() {}
        self.long_line = None;
        self.dialect.pass();
        self.reply(&refusal.into());
        self.flush().await
    }
}
