//! Listens, lets connections in as far as the limits allow, and sees them out at the end. Binding and signals are the
//! caller's; this takes a listener that is there and a token that says when to stop.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

pub use crate::protocol::dialect::Dialect;
use crate::service::{Peer, Service};
use crate::session::{self, Settings};

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub total: usize,
    /// From one address.
    pub per_address: usize,
}

/// How long to wait when the process has no file descriptor left.
const BACK_OFF: Duration = Duration::from_millis(50);
/// A peer that is silent for this long is asked for a sign of life.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// A peer whose TCP acknowledges nothing for this long is gone.
const USER_TIMEOUT: Duration = Duration::from_secs(120);

/// All that connections share.
#[derive(Clone)]
pub struct Server {
    service: Arc<Service>,
    /// What the next connection goes by.
    settings: Arc<RwLock<Arc<Settings>>>,
    connections: Arc<Connections>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Who is connected, counted.
#[derive(Debug)]
struct Connections {
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    limits: ConnectionLimits,
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place in the count.
struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Server {
    /// A server that stops when `stop` is cancelled.
    pub fn new(service: Arc<Service>, settings: Settings, limits: ConnectionLimits, stop: CancellationToken) -> Server {
        let counts = Counts { limits, total: 0, by_address: HashMap::new() };
        let connections = Arc::new(Connections { counts: Mutex::new(counts) });
        let settings = Arc::new(RwLock::new(Arc::new(settings)));
        Server { service, settings, connections, tasks: TaskTracker::new(), stop }
    }

    /// Takes other limits, and settings made from the former ones. Connections that are there keep what they have.
    pub fn set_limits(&self, limits: ConnectionLimits, settings: impl FnOnce(&Settings) -> Settings) {
        self.connections.counts().limits = limits;
        let mut current = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(settings(&current));
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.counts().total
    }

    /// Accepts connections until the stop; they spell as `dialect` says.
    pub async fn listen(&self, listener: TcpListener, dialect: fn() -> Dialect) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, address)) => self.receive(stream, dialect(), address.ip().to_canonical()),
                Err(error) => {
                    warn!(%error, "no connection can be accepted for the moment");
                    sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Waits until every connection is over.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn receive(&self, stream: TcpStream, dialect: Dialect, address: IpAddr) {
        let Some(place) = Connections::enter(&self.connections, address) else {
            warn!(%address, "connection refused: too many");
            return;
        };
        if let Err(error) = tune(&stream) {
            debug!(%address, %error, "the socket takes no options");
        }
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (service, stop) = (self.service.clone(), self.stop.clone());
        let session = session::run(stream, dialect, Peer { address }, service, settings, stop);
        self.tasks.spawn(async move {
            session.await;
            drop(place);
        });
    }
}

impl Connections {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(connections: &Arc<Connections>, address: IpAddr) -> Option<Place> {
        let mut counts = connections.counts();
        let Counts { limits, total, by_address } = &mut *counts;
        if *total >= limits.total {
            return None;
        }
        let here = by_address.entry(address).or_default();
        if *here >= limits.per_address {
            return None;
        }
        *here += 1;
        *total += 1;
        Some(Place { connections: connections.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.connections.counts();
        counts.total -= 1;
        if let Some(here) = counts.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

/// No delay for small replies; dead peers are found by TCP, because a living one may be silent for as long as it likes.
fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_AFTER / 4).with_retries(4);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}
