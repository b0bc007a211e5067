//! The listeners: those that systemd holds, and new ones for the rest. One table says what there can be.

use std::io;
use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::config::{BadConfig, Config, Metrics};
use crate::ops::systemd;
use crate::ops::vital;
use crate::transport::stream;

/// What is served at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// The text port.
    Text,
    /// The JSON port, in TLS.
    Tls,
    /// The page and the HTTP API.
    Web,
    /// The same in TLS.
    WebTls,
    Metrics,
    /// The JSON port.
    Json,
}

impl Served {
    fn is_tls(self) -> bool {
        matches!(self, Served::Tls | Served::WebTls)
    }
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub served: Served,
    /// Its name in the log.
    pub words: &'static str,
    /// The setting that has its address.
    pub setting: &'static str,
    /// The name that a socket unit gives it (`FileDescriptorName=`).
    socket: &'static str,
    /// That unit, as it is in the package.
    unit: &'static str,
    address: fn(&Config) -> Option<SocketAddr>,
    /// Whether it may be there.
    rule: fn(&Config, SocketAddr) -> Result<(), BadConfig>,
}

/// The JSON port comes last: when the log names it, all listeners are open.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        served: Served::Text,
        words: "listening for people",
        setting: "server.text_listen",
        socket: "chat-text",
        unit: "chatd-hardened-text.socket",
        address: |config| config.server.text_listen.0,
        rule: |config, address| config.server.allows_plaintext_at("server.text_listen", address),
    },
    Endpoint {
        served: Served::Tls,
        words: "listening for TLS",
        setting: "server.tls_listen",
        socket: "chat-tls",
        unit: "chatd-hardened-tls.socket",
        address: |config| config.server.tls_listen.0,
        rule: |_, _| Ok(()),
    },
    Endpoint {
        served: Served::Web,
        words: "listening for browsers",
        setting: "web.listen",
        socket: "chat-web",
        unit: "chatd-hardened-web.socket",
        address: |config| config.web.listen.0,
        rule: |config, address| config.server.allows_plaintext_at("web.listen", address),
    },
    Endpoint {
        served: Served::WebTls,
        words: "listening for browsers in TLS",
        setting: "web.tls_listen",
        socket: "chat-web-tls",
        unit: "chatd-hardened-web-tls.socket",
        address: |config| config.web.tls_listen.0,
        rule: |_, _| Ok(()),
    },
    Endpoint {
        served: Served::Metrics,
        words: "listening for Prometheus",
        setting: "metrics.listen",
        socket: "chat-metrics",
        unit: "chatd-hardened-metrics.socket",
        address: |config| config.metrics.listen.0,
        rule: |_, address| Metrics::allows(address),
    },
    Endpoint {
        served: Served::Json,
        words: "listening",
        setting: "server.listen",
        socket: "chat",
        unit: "chatd-hardened.socket",
        address: |config| Some(config.server.listen),
        rule: |config, address| config.server.allows_plaintext_at("server.listen", address),
    },
];

/// The listeners that were there before this process, by name.
pub(super) struct Inherited(Vec<(String, std::net::TcpListener)>);

impl Inherited {
    pub(super) fn get() -> anyhow::Result<Inherited> {
        let listeners = systemd::descriptors().and_then(|inherited| {
            inherited.into_iter().map(|(name, fd)| Ok((name, stream::inherited_listener(fd)?))).collect()
        });
        Ok(Inherited(listeners.context("the listeners that systemd passes on")?))
    }

    /// Whether one is for TLS.
    pub(super) fn has_tls(&self) -> bool {
        ENDPOINTS.iter().any(|endpoint| endpoint.served.is_tls() && self.has(endpoint))
    }

    fn has(&self, endpoint: &Endpoint) -> bool {
        self.0.iter().any(|(name, _)| name == endpoint.socket)
    }

    /// Opens all listeners. For each endpoint, takes all sockets that systemd holds for it. If there are none, opens a
    /// new one, if the settings have an address. TLS is served only with a certificate. Other sockets are not served.
    pub(super) fn open(
        &mut self,
        config: &Config,
        with_tls: bool,
    ) -> anyhow::Result<Vec<(&'static Endpoint, TcpListener)>> {
        let mut open = Vec::new();
        for endpoint in ENDPOINTS.iter().filter(|endpoint| !endpoint.served.is_tls() || with_tls) {
            let (mine, others) = std::mem::take(&mut self.0).into_iter().partition(|(name, _)| name == endpoint.socket);
            self.0 = others;
            let mut listeners = Vec::new();
            for (_, listener) in mine {
                listeners.push(TcpListener::from_std(listener)?);
            }
            if let (true, Some(address)) = (listeners.is_empty(), (endpoint.address)(config)) {
                listeners.push(endpoint.bind(address)?);
            }
            for listener in listeners {
                // An inherited one may have any address.
                (endpoint.rule)(config, listener.local_addr()?)?;
                open.push((endpoint, listener));
            }
        }
        Ok(open)
    }

    /// Logs once which sockets are not served. systemd keeps them open, so their clients would wait for ever. The
    /// server closes such connections.
    pub(super) fn turn_away_the_rest(self) -> anyhow::Result<Vec<JoinHandle<()>>> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<_> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        let known: Vec<_> = ENDPOINTS.iter().map(|endpoint| endpoint.socket).collect();
        warn!(
            sockets = names.join(", "),
            "systemd passes on sockets that are not served, and whoever connects is sent away: the names are {}, and \
             chat-tls and chat-web-tls want server.tls_certificate and server.tls_key, or acme.hosts",
            known.join(", ")
        );
        self.0
            .into_iter()
            .map(|(_, listener)| Ok(vital::spawn_task("turned away", turn_away(TcpListener::from_std(listener)?))))
            .collect()
    }
}

async fn turn_away(listener: TcpListener) {
    loop {
        if listener.accept().await.is_err() {
            // No descriptor is left; the next moment may have one.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// How many connections may wait to be accepted. tokio's default of 128 is too few when many clients come back after a
/// restart: the others try again only a second later.
const BACKLOG: u32 = 4096;

impl Endpoint {
    /// Where the settings want it.
    pub(super) fn address(&self, config: &Config) -> Option<SocketAddr> {
        (self.address)(config)
    }

    /// A new listener. An error that no retry can remove is a bad setting.
    pub(super) fn bind(&self, address: SocketAddr) -> anyhow::Result<TcpListener> {
        let listen = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // A server that was stopped a moment ago does not keep its successor from the address.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        let setting = self.setting;
        listen().map_err(|error| match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT) => BadConfig::new(format!(
                "{setting}: {address}: this service has no network of its own, and systemd holds no listener for it: \
                 `systemctl enable --now {}`, then start again",
                self.unit
            ))
            .into(),
            Some(libc::EACCES) => BadConfig::new(format!(
                "{setting}: {address}: {error}: ports below {} are root's; take another, or a socket unit such as {}",
                first_free_port(),
                self.unit
            ))
            .into(),
            _ => anyhow::Error::from(error).context(format!("{setting}: {address}")),
        })
    }
}

/// The first port that everybody may take.
fn first_free_port() -> String {
    let port = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    port.map_or_else(|_: io::Error| "1024".to_owned(), |port| port.trim().to_owned())
}
