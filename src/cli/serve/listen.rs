//! The listeners: those that systemd holds, and new ones for the rest.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};
use tracing::warn;

use crate::config::{self, Listen};
use crate::systemd;

/// The listeners that were there before this process, by name; each can be taken once.
pub struct Inherited(Vec<(String, std::net::TcpListener)>);

impl Inherited {
    /// What systemd passed on.
    pub fn get() -> anyhow::Result<Inherited> {
        Ok(Inherited(systemd::listeners().context("the listeners that systemd passes on")?))
    }

    /// The listener for plain text: the one named `chat`, or a new one at `server.listen`.
    pub fn plaintext(&mut self, server: &config::Server) -> anyhow::Result<TcpListener> {
        let listener = match self.take("chat") {
            Some(listener) => TcpListener::from_std(listener)?,
            None => bind("server.listen", server.listen)?,
        };
        // An inherited one may have any address.
        server.allows_plaintext_at("server.listen", listener.local_addr()?)?;
        Ok(listener)
    }

    /// The listener for people: the one named `chat-text`, or a new one at `server.text_listen` where that is set.
    pub fn text(&mut self, server: &config::Server) -> anyhow::Result<Option<TcpListener>> {
        let listener = match (self.take("chat-text"), server.text_listen) {
            (Some(listener), _) => TcpListener::from_std(listener)?,
            (None, Listen(Some(address))) => bind("server.text_listen", address)?,
            (None, Listen(None)) => return Ok(None),
        };
        server.allows_plaintext_at("server.text_listen", listener.local_addr()?)?;
        Ok(Some(listener))
    }

    /// The listener for TLS: the one named `chat-tls`, or a new one at `server.tls_listen`, where that is set.
    pub fn tls(&mut self, server: &config::Server) -> anyhow::Result<Option<TcpListener>> {
        let Listen(Some(address)) = server.tls_listen else { return Ok(None) };
        Ok(Some(match self.take("chat-tls") {
            Some(listener) => TcpListener::from_std(listener)?,
            None => bind("server.tls_listen", address)?,
        }))
    }

    /// The listener for Prometheus: the one named `chat-metrics`, or a new one at `metrics.listen` where that is set.
    pub fn metrics(&mut self, metrics: &config::Metrics) -> anyhow::Result<Option<TcpListener>> {
        let listener = match (self.take("chat-metrics"), metrics.listen) {
            (Some(listener), _) => TcpListener::from_std(listener)?,
            (None, Listen(Some(address))) => bind("metrics.listen", address)?,
            (None, Listen(None)) => return Ok(None),
        };
        config::Metrics::allows(listener.local_addr()?)?;
        Ok(Some(listener))
    }

    /// The inherited listener of this name.
    fn take(&mut self, name: &str) -> Option<std::net::TcpListener> {
        let place = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// Says which were passed on for nothing: clients of these would wait for ever.
    pub fn warn_about_the_rest(&self) {
        for (name, _) in &self.0 {
            warn!(
                name,
                "nothing listens on this socket of systemd's: chat, chat-text, chat-tls and chat-metrics are the names"
            );
        }
    }
}

/// Connections that wait to be accepted. tokio's own 128 are too few for a crowd that comes back after a restart: whoever
/// does not fit tries again a second later.
const BACKLOG: u32 = 4096;

fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A server that was stopped a moment ago does not keep its successor from the address.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("{key}: {address}"))
}
