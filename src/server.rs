//! Listens, lets connections in as far as the limits allow, and sees them out at the end. Binding and signals are the
//! caller's; this takes a listener that is there and a token that says when to stop.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

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
    settings: Arc<Settings>,
    connections: Arc<Connections>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Who is connected, counted.
#[derive(Debug)]
struct Connections {
    limits: ConnectionLimits,
    by_address: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// A connection's place in the count.
struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Server {
    /// A server that stops when `stop` is cancelled.
    pub fn new(service: Arc<Service>, settings: Settings, limits: ConnectionLimits, stop: CancellationToken) -> Server {
        let connections = Arc::new(Connections { limits, by_address: Mutex::default() });
        Server { service, settings: Arc::new(settings), connections, tasks: TaskTracker::new(), stop }
    }

    /// Accepts connections until the stop.
    pub async fn listen(&self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, address)) => self.receive(stream, address.ip().to_canonical()),
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

    fn receive(&self, stream: TcpStream, address: IpAddr) {
        let Some(place) = Connections::enter(&self.connections, address) else {
            warn!(%address, "connection refused: too many");
            return;
        };
        if let Err(error) = tune(&stream) {
            debug!(%address, %error, "the socket takes no options");
        }
        let session =
            session::run(stream, Peer { address }, self.service.clone(), self.settings.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            session.await;
            drop(place);
        });
    }
}

impl Connections {
    fn enter(connections: &Arc<Connections>, address: IpAddr) -> Option<Place> {
        let mut counts = connections.by_address.lock().unwrap_or_else(|broken| broken.into_inner());
        let (total, by_address) = &mut *counts;
        if *total >= connections.limits.total {
            return None;
        }
        let here = by_address.entry(address).or_default();
        if *here >= connections.limits.per_address {
            return None;
        }
        *here += 1;
        *total += 1;
        Some(Place { connections: connections.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.connections.by_address.lock().unwrap_or_else(|broken| broken.into_inner());
        let (total, by_address) = &mut *counts;
        *total -= 1;
        if let Some(here) = by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                by_address.remove(&self.address);
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
