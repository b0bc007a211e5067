//! Accepts connections as far as the limits allow, and ends them at the stop. The caller binds and handles signals.
//! This gets an open listener and a token that says when to stop.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::ops::metrics::Counter;
use crate::protocol::Refusal;
pub(crate) use crate::protocol::dialect::Dialect;
use crate::service::{Peer, Service};
use crate::transport::admission::{ConnectionLimits, Connections, Slot};
use crate::transport::line::connection;
use crate::transport::line::connection::{ConnectionSettings, End};
use crate::transport::tls::{Accepted, Tls};
use crate::transport::web::{self, Web};

/// How long to wait when the process has no file descriptor left.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Descriptors that are kept from connections, for the files that are opened while the server runs.
const KEPT_DESCRIPTORS: u64 = 16;
/// What the system takes of replies ahead of what it can send, in bytes.
const UNSENT: u32 = 16 << 10;
/// How many times TCP asks a silent peer whether it lives. Without an answer the peer counts as gone.
const KEEPALIVE_RETRIES: u32 = 4;

/// What is spoken at a listener.
///
/// It is no trait, because the two have little in common. Both get a stream, a slot and the token of the stop. Both
/// call the service's methods and get an `Outcome`. But lines have replies in order, and bytes prove that these
/// arrived. HTTP is served by hyper, and a client confirms by a request.
#[derive(Clone)]
pub(crate) enum Spoken {
    Lines(fn(&ConnectionSettings) -> Dialect),
    Http(Arc<Web>),
}

#[derive(Clone)]
pub(crate) struct Server {
    service: Arc<Service>,
    /// What the next connection goes by.
    settings: Arc<RwLock<Arc<ConnectionSettings>>>,
    connections: Arc<Connections>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Connections that were too many.
    turned_away: Arc<Counter>,
}

impl Server {
    /// A server that stops when `stop` is cancelled.
    pub(crate) fn new(
        service: Arc<Service>,
        settings: ConnectionSettings,
        limits: ConnectionLimits,
        stop: CancellationToken,
    ) -> Server {
        let connections = Connections::new(limits);
        let counted = connections.clone();
        service.set_presence(move |user| counted.has_any_of(user));
        let settings = Arc::new(RwLock::new(Arc::new(settings)));
        Server { service, settings, connections, tasks: TaskTracker::new(), stop, turned_away: Arc::default() }
    }

    /// Takes other limits, and settings made from the former ones. Existing connections keep theirs.
    pub(crate) fn set_limits(
        &self,
        limits: ConnectionLimits,
        settings: impl FnOnce(&ConnectionSettings) -> ConnectionSettings,
    ) {
        self.connections.set_limits(limits);
        let mut current = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(settings(&current));
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.connections.count()
    }

    /// How many there were too many of.
    pub(crate) fn refused(&self) -> u64 {
        self.turned_away.get()
    }

    /// Accepts connections until the stop, with TLS or without.
    pub(crate) async fn listen(&self, listener: TcpListener, spoken: Spoken, tls: Option<Arc<Tls>>) {
        loop {
            let accepted = tokio::select! {
                accepted = accept(&listener) => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, address)) => self.receive(stream, &spoken, tls.clone(), address.ip().to_canonical()),
                Err(error) => {
                    warn!(%error, "no connection can be accepted for the moment");
                    sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Takes what a session had from its connections when it ends.
    pub(crate) async fn follow_ended_sessions(self) {
        let mut ended = self.service.ended_sessions();
        loop {
            match ended.recv().await {
                Ok(session) => self.connections.session_ended(session.id, !session.logged_out),
                Err(RecvError::Lagged(_)) => {
                    for session in self.connections.sessions().into_iter().filter(|id| !self.service.is_open(*id)) {
                        self.connections.session_ended(session, true);
                    }
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Waits until every connection is over.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn receive(&self, stream: TcpStream, spoken: &Spoken, tls: Option<Arc<Tls>>, address: IpAddr) {
        let slot = match spoken {
            Spoken::Http(web) if web.trusts(address) => self.connections.enter_proxy(address),
            _ => self.connections.enter(address),
        };
        let Some(slot) = slot else {
            self.turned_away.add(1);
            warn!(%address, "connection refused: too many");
            return;
        };
        let eviction = slot.eviction();
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Err(error) = tune(&stream, settings.peer_timeout) {
            debug!(%address, %error, "the socket takes no options");
        }
        let stop = self.stop.clone();
        let task = match spoken {
            Spoken::Lines(dialect) => {
                let lines = LineConnection {
                    dialect: dialect(&settings),
                    address,
                    slot,
                    service: self.service.clone(),
                    settings,
                };
                self.tasks.spawn(lines.run(stream, tls, stop))
            }
            Spoken::Http(web) => self.tasks.spawn(serve_http(web.clone(), stream, tls, address, slot, stop)),
        };
        eviction.attach_task(task.abort_handle());
    }
}

/// A connection of lines that was let in.
struct LineConnection {
    dialect: Dialect,
    address: IpAddr,
    slot: Slot,
    service: Arc<Service>,
    settings: Arc<ConnectionSettings>,
}

impl LineConnection {
    async fn run(self, stream: TcpStream, tls: Option<Arc<Tls>>, stop: CancellationToken) {
        let LineConnection { dialect, address, slot, service, settings } = self;
        let peer = Peer { address, is_here: address.is_loopback(), reply_bytes: 0, is_encrypted: tls.is_some() };
        let Some(tls) = tls else {
            if connection::run(stream, dialect, peer, slot, service, settings, stop).await == End::NoTls {
                warn!(%address, "a client speaks TLS on a port that does not: it was told so");
            }
            return;
        };
        match accept_tls(&tls, stream, address, &stop).await {
            Some(Accepted::Tls(stream)) => {
                connection::run(stream, dialect, peer, slot, service, settings, stop).await;
            }
            Some(Accepted::Plain(mut stream)) => {
                let _ = connection::turn_away(&mut stream, &dialect, Refusal::WantsTls, settings.linger).await;
            }
            Some(Accepted::Challenge) | None => {}
        }
    }
}

async fn serve_http(
    web: Arc<Web>,
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    address: IpAddr,
    slot: Slot,
    stop: CancellationToken,
) {
    let Some(tls) = tls else { return web.serve(stream, false, address, slot, stop).await };
    match accept_tls(&tls, stream, address, &stop).await {
        Some(Accepted::Tls(stream)) => web.serve(stream, true, address, slot, stop).await,
        Some(Accepted::Plain(mut stream)) => web::ask_for_tls(&mut stream).await,
        Some(Accepted::Challenge) | None => {}
    }
}

/// Does the TLS handshake, unless the server stops before that. Logs the result.
async fn accept_tls(tls: &Arc<Tls>, stream: TcpStream, address: IpAddr, stop: &CancellationToken) -> Option<Accepted> {
    let accepted = tokio::select! {
        accepted = tls.accept(stream, address) => accepted,
        () = stop.cancelled() => return None,
    };
    match &accepted {
        Ok(Accepted::Tls(_)) => {}
        Ok(Accepted::Challenge) => info!(%address, "a certificate authority has asked whether a name leads here"),
        Ok(Accepted::Plain(_)) => warn!(%address, "a client does not speak TLS on the TLS port: it was told so"),
        Err(error) => debug!(%address, %error, "no TLS"),
    }
    accepted.ok()
}

/// Accepts a connection, if there are descriptors for it and for those who read files. Others wait to be accepted.
async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    // The system gives the lowest number that is free.
    let lowest = listener.as_fd().try_clone_to_owned()?;
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if u64::try_from(lowest.as_raw_fd()).is_ok_and(|lowest| lowest + KEPT_DESCRIPTORS >= most) {
        return Err(nix::errno::Errno::EMFILE.into());
    }
    drop(lowest);
    listener.accept().await
}

/// No delay for small replies; dead peers are found by TCP, because a living one may be silent for as long as it likes.
fn tune(stream: &TcpStream, peer_timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    // What the peer does not read stays with us, where it is counted, and not in the system's memory.
    socket.set_tcp_notsent_lowat(UNSENT)?;
    let keepalive =
        TcpKeepalive::new().with_time(peer_timeout / 2).with_interval(peer_timeout / 8).with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(peer_timeout))
}
