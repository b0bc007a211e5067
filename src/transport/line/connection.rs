//! One connection, from its first byte to its last. Only this loop reads, writes and closes. It takes requests out of
//! the lines, asks the service, and decides from what the peer sends, or how it ends, whether a reply has arrived.

mod ending;
mod exchange;
mod gone;
mod incoming;
mod long_reply;
mod replies;
mod turn_away;
mod wait;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep_until;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::debug;

use crate::charge::{Charge, Memory};
use crate::protocol::Refusal;
use crate::protocol::dialect::Dialect;
use crate::protocol::family::FamilySettings;
use crate::service::{Peer, Service};
use crate::transport::admission::Slot;
use crate::transport::confirmation::Unconfirmed;
use crate::transport::line::connection::incoming::LongLine;
use crate::transport::line::connection::replies::Patience;
use crate::transport::line::framer::{Ending, LineLimits, Lines};
use crate::transport::stream::Stream;
use crate::transport::tls::begins_handshake;

/// What holds for every connection.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// How long a line may be.
    pub line: LineLimits,
    /// How long a line may be that brings a file, in bytes.
    pub file_line: usize,
    /// Room for long lines and for long replies, all connections together.
    pub memory: Arc<Memory>,
    /// A peer that takes no byte of a reply for this long counts as gone.
    pub write_timeout: Duration,
    /// A peer that is slower than this with a long line or with taking replies, on the average and `write_timeout`
    /// aside, is waited for no longer; in bytes.
    pub min_bytes_per_second: u32,
    /// A peer whose TCP gives no sign of life for this long is gone.
    pub peer_timeout: Duration,
    /// A reply that was acknowledged and stayed whole for this long has arrived; zero: no such rule.
    pub confirm_after: Duration,
    /// How long a connection may wait, at a stop, for the proof that its last replies arrived.
    pub linger: Duration,
    /// How the words of the family are spoken on the JSON port; `None`: they are none.
    pub family: Option<FamilySettings>,
}

/// How often to check whether the peer's TCP has acknowledged all.
const ACK_POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(crate) use crate::transport::line::connection::turn_away::turn_away;

/// Why a connection is over.
enum Over {
    /// The peer ended the stream.
    Ended,
    Stopped,
    Closed,
    /// The peer speaks TLS, and this port does not.
    NoTls,
}

/// How a connection ended, for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Usual,
    /// The peer spoke TLS on a port that does not.
    NoTls,
}

enum ConnectionEvent {
    Bytes,
    Ended,
    Stopped,
    Quiet,
    /// The long line that is being collected is not waited for any longer.
    LineOver(Refusal),
}

struct Connection<'a, S> {
    stream: S,
    peer: Peer,
    service: &'a Service,
    settings: &'a ConnectionSettings,
    dialect: Dialect,
    lines: Lines,
    /// The long line being collected, or carried out.
    long_line: Option<LongLine>,
    out: Vec<u8>,
    /// Room for them, where they are long.
    out_charge: Option<Charge>,
    /// For the peer to take them.
    patience: Patience,
    /// Whether the peer is silent, and whether it has a session, for those who count connections.
    slot: Slot,
    handed_out: Unconfirmed,
    /// Ready when the server stops. Made once, since to begin and end listening costs more than to answer a request.
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    first: bool,
    /// Requests answered since others had their turn, or since the peer had nothing to say.
    in_this_turn: u32,
}

/// Speaks with one peer until it ends, breaks, or `stop` is cancelled.
pub async fn run<S: Stream>(
    stream: S,
    dialect: Dialect,
    peer: Peer,
    slot: Slot,
    service: Arc<Service>,
    settings: Arc<ConnectionSettings>,
    stop: CancellationToken,
) -> End {
    let ending = match dialect {
        Dialect::Json | Dialect::Family(_) => Ending::CrLf,
        Dialect::Text(_) => Ending::Lf,
    };
    let mut connection = Connection {
        stream,
        peer,
        service: &service,
        settings: &settings,
        dialect,
        lines: Lines::new(ending, settings.line),
        long_line: None,
        out: Vec::new(),
        out_charge: None,
        patience: Patience::default(),
        slot,
        handed_out: Unconfirmed::default(),
        stopped: Box::pin(stop.cancelled_owned()),
        first: true,
        in_this_turn: 0,
    };
    let over = connection.converse().await;
    let end = if matches!(over, Ok(Over::NoTls)) { End::NoTls } else { End::Usual };
    let over = match over {
        Ok(Over::Ended) => Box::pin(connection.settle()).await,
        Ok(Over::Stopped) => Box::pin(connection.say_goodbye()).await,
        Ok(Over::Closed) => connection.stream.shutdown().await,
        Ok(Over::NoTls) => {
            let Connection { stream, dialect, .. } = &mut connection;
            turn_away(stream, dialect, Refusal::NoTls, settings.linger).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = over {
        // What was handed out and not proven goes back into the queue with `connection`.
        debug!(address = %connection.peer.address, %error, "connection lost");
    }
    end
}

impl<S: Stream> Connection<'_, S> {
    async fn converse(&mut self) -> io::Result<Over> {
        let mut has_read = false;
        loop {
            let answered = self.in_this_turn;
            if self.answer_all().await?.is_some() {
                return Ok(Over::Closed);
            }
            if std::mem::take(&mut has_read) && self.in_this_turn == answered {
                self.take_turn().await;
            }
            self.charge_long_line().await?;
            match self.next_event().await? {
                ConnectionEvent::Bytes => {
                    has_read = true;
                    self.slot.touch();
                    if self.first && begins_handshake(self.lines.pending()) {
                        return Ok(Over::NoTls);
                    }
                }
                ConnectionEvent::Ended => return Ok(Over::Ended),
                ConnectionEvent::Stopped => return Ok(Over::Stopped),
                ConnectionEvent::Quiet => self.check_quiet().await?,
                ConnectionEvent::LineOver(refusal) => self.refuse_long_line(refusal).await?,
            }
        }
    }

    async fn next_event(&mut self) -> io::Result<ConnectionEvent> {
        let confirm_after = self.settings.confirm_after;
        let quiet_at = match confirm_after.is_zero() {
            true => None,
            false => self.handed_out.next_quiet(confirm_after),
        };
        let Connection { stream, lines, long_line, slot, settings, stopped, in_this_turn, .. } = self;
        let most = incoming::read_at_most(slot);
        let received = lines.buffered();
        let line_over = async {
            match long_line {
                Some(long_line) => Box::pin(long_line.over(slot, received, settings)).await,
                None => std::future::pending().await,
            }
        };
        let quiet = async {
            match quiet_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let mut read = pin!(incoming::read(stream, lines, most));
        let read = poll_fn(|context| {
            let read = read.as_mut().poll(context);
            // A connection that waits for its peer takes no turn.
            if read.is_pending() {
                *in_this_turn = 0;
            }
            read
        });
        tokio::select! {
            biased;
            // First, so that a peer that never pauses is stopped as well.
            () = stopped.as_mut() => Ok(ConnectionEvent::Stopped),
            read = read => Ok(match read? {
                0 => ConnectionEvent::Ended,
                _ => ConnectionEvent::Bytes,
            }),
            () = quiet => Ok(ConnectionEvent::Quiet),
            refusal = line_over => Ok(ConnectionEvent::LineOver(refusal)),
        }
    }
}
