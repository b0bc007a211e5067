//! One connection, from its first byte to its last. This loop alone reads, writes and closes; it takes requests out of
//! the lines, asks the service, and judges by what comes back whether a reply has arrived.

mod gone;
mod turn_away;
mod wait;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::debug;

use self::gone::may_take_long;
use crate::connections::Place;
use crate::delivery::{HandedOut, QUIET_AFTER_END};
use crate::frame::{Ending, Frame, LineLimits, Lines};
use crate::model::Token;
use crate::protocol::dialect::Dialect;
use crate::protocol::{Command, Refusal, Request, Send};
use crate::service::{Caller, Each, Outcome, Peer, Service, TokenState};
use crate::socket::{PeerState, Stream};
use crate::tls::begins_handshake;

/// What holds for every connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a line may be.
    pub line: LineLimits,
    /// Room for lines beyond the short limit, all connections together, in bytes.
    pub long_lines: Arc<Semaphore>,
    /// Room for long replies that were not taken yet, all connections together, in bytes.
    pub long_replies: Arc<Semaphore>,
    /// All of that room: a reply that is longer waits until it has the room to itself.
    pub long_replies_bytes: u32,
    /// A peer that takes no byte of a reply for this long is gone.
    pub write_timeout: Duration,
    /// A peer whose TCP gives no sign of life for this long is gone.
    pub peer_timeout: Duration,
    /// A reply that was acknowledged and stayed whole for this long has arrived; zero: no such rule.
    pub confirm_after: Duration,
    /// How long a connection may wait, at a stop, for the proof that its last replies arrived.
    pub linger: Duration,
}

/// Requests of one connection that are taken together, at the most.
const TOGETHER: usize = 256;
/// Replies are written when they are this long together, in bytes.
const WRITE_AT: usize = 64 * 1024;
/// An idle connection keeps no more room than this for its next reply, in bytes: a short one.
const IDLE_CAPACITY: usize = 128;
/// How often the socket is asked whether the peer's TCP has acknowledged all.
const ASK_EVERY: Duration = Duration::from_millis(20);

thread_local! {
    /// Where reads land. Shared by all connections of a thread, so that an idle one holds no buffer.
    static LANDING: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 * 1024].into_boxed_slice());
}

pub use self::turn_away::turn_away;

/// Why a connection is over.
enum Over {
    /// The peer ended the stream.
    Ended,
    /// The server stops.
    Stopped,
    /// We close it.
    Closed,
    /// The peer speaks TLS, and this port does not.
    NoTls,
}

/// What the server is told of a connection that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing worth a word.
    Usual,
    /// The peer spoke TLS on a port that does not.
    NoTls,
}

enum Event {
    Bytes,
    Ended,
    Stopped,
    Quiet,
}

struct Connection<'a, S> {
    stream: S,
    peer: &'a Peer,
    service: &'a Service,
    settings: &'a Settings,
    dialect: Dialect,
    lines: Lines,
    /// Room for the long line being collected.
    room: Option<OwnedSemaphorePermit>,
    /// Replies not yet written.
    out: Vec<u8>,
    /// Room for them, where they are long.
    out_room: Option<OwnedSemaphorePermit>,
    /// Whether the peer is silent, and whether it has a session, for those who count connections.
    place: Place,
    handed_out: HandedOut,
    /// Ready when the server stops. Made once, since to begin and end listening costs more than to answer a request.
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Nothing was answered yet.
    first: bool,
}

/// A request with its place in the stream, or why there is none.
type Asked = (u64, Result<Request, Refusal>);

/// Speaks with one peer until it ends, breaks, or `stop` is cancelled.
pub async fn run<S: Stream>(
    stream: S,
    dialect: Dialect,
    peer: Peer,
    place: Place,
    service: Arc<Service>,
    settings: Arc<Settings>,
    stop: CancellationToken,
) -> End {
    let ending = match dialect {
        Dialect::Json => Ending::CrLf,
        Dialect::Text(_) => Ending::Lf,
    };
    let mut connection = Connection {
        stream,
        peer: &peer,
        service: &service,
        settings: &settings,
        dialect,
        lines: Lines::new(ending, settings.line),
        room: None,
        out: Vec::new(),
        out_room: None,
        place,
        handed_out: HandedOut::default(),
        stopped: Box::pin(stop.cancelled_owned()),
        first: true,
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
        debug!(address = %peer.address, %error, "connection lost");
    }
    end
}

impl<S: Stream> Connection<'_, S> {
    async fn converse(&mut self) -> io::Result<Over> {
        loop {
            if self.answer_all().await?.is_some() {
                return Ok(Over::Closed);
            }
            if !self.lines.is_long() {
                self.room = None;
            }
            match self.next_event().await? {
                Event::Bytes => {
                    self.place.heard();
                    if self.first && begins_handshake(self.lines.pending()) {
                        return Ok(Over::NoTls);
                    }
                }
                Event::Ended => return Ok(Over::Ended),
                Event::Stopped => return Ok(Over::Stopped),
                Event::Quiet => self.check_quiet().await?,
            }
        }
    }

    /// The next request that has arrived whole.
    async fn next_request(&mut self) -> Option<Asked> {
        loop {
            let (at, refusal) = match self.lines.next_frame()? {
                Frame::Line { bytes, at } => return Some((at, self.dialect.parse(bytes))),
                Frame::Empty { at } => (at, Refusal::UnknownCommand),
                Frame::TooLong { at, .. } => (at, Refusal::LineTooLong),
                Frame::NeedsAdmission { head, at } => {
                    let token = self.dialect.parse_head(head);
                    match self.admit(token).await {
                        Ok(room) => {
                            self.room = Some(room);
                            self.lines.admit();
                            continue;
                        }
                        Err(refusal) => {
                            self.lines.discard();
                            (at, refusal)
                        }
                    }
                }
            };
            self.dialect.pass();
            return Some((at, Err(refusal)));
        }
    }

    /// Room for a long line, if the token that it shows is a living one.
    async fn admit(&self, token: Result<Token, Refusal>) -> Result<OwnedSemaphorePermit, Refusal> {
        match self.service.authenticate(Some(token?)).await.token() {
            TokenState::Living => {}
            TokenState::NotShown | TokenState::Dead => return Err(Refusal::UnknownToken),
            TokenState::Unknown => return Err(Refusal::Unavailable),
        }
        let bytes = u32::try_from(self.settings.line.long).map_err(|_| Refusal::LineTooLong)?;
        self.settings.long_lines.clone().try_acquire_many_owned(bytes).map_err(|_| Refusal::Busy)
    }

    /// Answers the requests that have arrived. Those `send`s that stand together are carried out together, which
    /// is what makes pipelining worth its while. Gives a reason where the connection is to be closed.
    async fn answer_all(&mut self) -> io::Result<Option<Over>> {
        let mut sends = Each::new();
        while let Some((at, request)) = self.next_request().await {
            // Who asks a thousand things at once must not keep the others waiting for all of the answers.
            consume_budget().await;
            self.place.at_work();
            let first = std::mem::take(&mut self.first);
            match request {
                Ok(Request { token, command: Command::Send(send) }) => {
                    sends.push((self.authenticate(at, token).await, send));
                    if sends.len() == TOGETHER {
                        self.send(&mut sends).await;
                    }
                }
                Ok(Request { token, command }) => {
                    self.send(&mut sends).await;
                    let caller = self.authenticate(at, token).await;
                    self.carry_out(caller, command).await?;
                }
                Err(refusal) => {
                    self.send(&mut sends).await;
                    self.handed_out.request(at);
                    self.reply(&refusal.into());
                    if first && refusal == Refusal::Http {
                        self.flush().await?;
                        return Ok(Some(Over::Closed));
                    }
                }
            }
        }
        self.send(&mut sends).await;
        self.flush().await?;
        self.place.heard();
        Ok(None)
    }

    /// Finds out who asks. Who asks again has read what was written before; but who shows a token that is good for nothing
    /// proves nothing.
    async fn authenticate(&mut self, at: u64, token: Option<Token>) -> Caller {
        let caller = self.service.authenticate(token).await;
        if matches!(caller.token(), TokenState::NotShown | TokenState::Living) {
            self.handed_out.request(at);
        }
        caller
    }

    async fn carry_out(&mut self, caller: Caller, command: Command) -> io::Result<()> {
        let (outcome, promised) = match command {
            // Who knows of `wait` knows how to confirm.
            Command::Wait { at_most } => (Box::pin(self.wait(caller, at_most)).await?, true),
            command => {
                if command == Command::Ack && caller.token() == TokenState::Living {
                    self.handed_out.acknowledged();
                }
                match may_take_long(&command) {
                    true => (Box::pin(self.unless_gone(caller, command)).await?, false),
                    false => (self.service.handle(self.peer, caller, command).await, false),
                }
            }
        };
        self.reply_and_hand_out(outcome, promised).await
    }

    async fn send(&mut self, sends: &mut Each<(Caller, Send)>) {
        if !sends.is_empty() {
            for outcome in self.service.send(self.peer, std::mem::take(sends)).await {
                self.reply(&outcome);
            }
        }
    }

    fn reply(&mut self, outcome: &Outcome) {
        match outcome.token {
            TokenState::NotShown | TokenState::Unknown => {}
            TokenState::Living => self.place.showed_token(true),
            TokenState::Dead => self.place.showed_token(false),
        }
        self.dialect.render(&outcome.reply, &mut self.out);
    }

    async fn reply_and_hand_out(&mut self, outcome: Outcome, promised: bool) -> io::Result<()> {
        if outcome.lease.is_none() {
            self.reply_if_there_is_room(&outcome);
            return if self.out.len() >= WRITE_AT { self.flush().await } else { Ok(()) };
        }
        // Requests that lie in the socket already were written without knowing this reply.
        let received = self.lines.received() + self.stream.unread()?;
        let ended = self.stream.peer_state()? == PeerState::Ended;
        let is_said = self.reply_if_there_is_room(&outcome);
        if let Some(lease) = outcome.lease.filter(|_| is_said) {
            self.handed_out.made(lease, received, ended);
            if promised {
                self.handed_out.promised();
            }
        }
        self.flush().await
    }

    /// A long reply may lie here for as long as the peer is slow to take it, so all of them together must fit into the
    /// room; where this one does not, the peer hears that the server is busy, and messages in it wait again.
    fn reply_if_there_is_room(&mut self, outcome: &Outcome) -> bool {
        let before = self.out.len();
        self.reply(outcome);
        if self.out.len() < WRITE_AT || self.out_room.is_some() {
            return true;
        }
        let bytes = u32::try_from(self.out.capacity()).unwrap_or(u32::MAX).min(self.settings.long_replies_bytes);
        self.out_room = self.settings.long_replies.clone().try_acquire_many_owned(bytes).ok();
        if self.out_room.is_none() {
            self.out.truncate(before);
            self.out.shrink_to_fit();
            self.dialect.render_instead(Refusal::Busy, &mut self.out);
        }
        self.out_room.is_some()
    }

    /// Writes all replies. Each write must get on within the deadline.
    async fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.out.len() {
            written += within(self.settings.write_timeout, self.stream.write(&self.out[written..])).await?;
        }
        self.out.clear();
        self.out.shrink_to(IDLE_CAPACITY);
        self.out_room = None;
        within(self.settings.write_timeout, self.stream.flush()).await?;
        if !self.handed_out.is_empty() {
            self.handed_out.written(Instant::now());
        }
        Ok(())
    }

    async fn next_event(&mut self) -> io::Result<Event> {
        let confirm_after = self.settings.confirm_after;
        let quiet_at = match confirm_after.is_zero() {
            true => None,
            false => self.handed_out.next_quiet(confirm_after),
        };
        let Connection { stream, lines, stopped, .. } = self;
        let quiet = async {
            match quiet_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // First, so that a peer that never pauses is stopped as well.
            () = stopped.as_mut() => Ok(Event::Stopped),
            read = read(stream, lines) => Ok(if read? == 0 { Event::Ended } else { Event::Bytes }),
            () = quiet => Ok(Event::Quiet),
        }
    }

    /// The connection has been silent since a reply was written: that counts if the peer's TCP has all of it.
    async fn check_quiet(&mut self) -> io::Result<()> {
        match has_all(&self.stream)? {
            true => self.handed_out.quiet(Instant::now(), self.settings.confirm_after),
            false => sleep(ASK_EVERY).await,
        }
        Ok(())
    }

    /// The peer sends no more. Waits for the proof that it has what was written before it ended.
    async fn settle(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + self.settings.write_timeout;
        while !self.handed_out.is_empty() && Instant::now() < deadline {
            if has_all(&self.stream)? {
                self.handed_out.ended();
                self.handed_out.quiet(Instant::now(), QUIET_AFTER_END);
            }
            if !self.handed_out.is_empty() {
                sleep(ASK_EVERY).await;
            }
        }
        self.stream.shutdown().await
    }

    /// The server stops: says so by ending the stream, and waits a little for the peer to end it too.
    async fn say_goodbye(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let deadline = Instant::now() + self.settings.linger;
        let Connection { stream, lines, handed_out, settings, .. } = self;
        // To close with bytes unread would be a reset, which may destroy replies on their way to the peer.
        while (!handed_out.is_empty() || stream.unread()? > 0) && Instant::now() < deadline {
            match timeout(deadline.saturating_duration_since(Instant::now()), read(stream, lines)).await {
                // Alive, and its TCP has everything: whenever it reads on, it will find the replies.
                Err(_) if !settings.confirm_after.is_zero() && has_all(stream)? => {
                    handed_out.quiet(Instant::now(), Duration::ZERO);
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

/// A time limit on what is nearly always done at once, and then needs no clock.
async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let mut work = pin!(work);
    match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        Poll::Ready(done) => done,
        Poll::Pending => timeout(limit, work).await?,
    }
}

/// Reads what is there into `lines`; 0 at the end of the stream.
async fn read<S: Stream>(stream: &mut S, lines: &mut Lines) -> io::Result<usize> {
    poll_fn(|context| {
        LANDING.with_borrow_mut(|landing| {
            let mut landing = ReadBuf::new(landing);
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
