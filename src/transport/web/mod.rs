//! The page and the HTTP API: requests of HTTP/1.1 in, JSON and events out. A request comes from somebody who shows a
//! session's token, in a cookie or as a Bearer; the rules are the service's. `docs/HTTP.md` says what can be asked.

mod account;
mod admin;
mod asker;
mod assets;
mod body;
mod connection;
mod conversations;
mod deadline;
mod error;
mod events;
mod files;
mod groups;
mod headers;
mod hook;
mod inbox;
mod invites;
mod origin;
mod pieces;
mod proxies;
mod push;
mod reply_charge;
mod router;
mod sessions;
mod setup;
mod shares;
mod spelling;
mod tokens;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;

pub(crate) use self::connection::ask_for_tls;
pub(crate) use self::deadline::WritePatience;
use self::inbox::Deliveries;
use self::push::Pushes;
use self::setup::SetupLink;
use self::shares::{SendRates, Streams, Uploads};
use crate::charge::Memory;
use crate::model::{AddressRange, PushHost, Token};
use crate::service::Service;

/// What holds for every connection of this kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebSettings {
    /// The names under which browsers come, in lower case, with the port where it is not that of the scheme.
    pub hosts: Vec<String>,
    /// Proxies whose word on the client's address counts.
    pub trusted_proxies: Vec<AddressRange>,
    /// Push services beside those of the browsers' makers.
    pub push_hosts: Vec<PushHost>,
    /// How long a peer may take for a reply.
    pub write_patience: WritePatience,
    /// How long a request in hand may take at a stop.
    pub linger: Duration,
}

/// The page and the API, as connections are given to it.
pub(crate) struct Web {
    state: Arc<WebState>,
    router: Router,
}

/// What the routes share.
struct WebState {
    service: Arc<Service>,
    /// What all listeners share.
    memory: Arc<Memory>,
    settings: RwLock<Arc<WebSettings>>,
    streams: Arc<Streams>,
    sends: SendRates,
    uploads: Arc<Uploads>,
    pushes: Pushes,
    deliveries: Arc<Deliveries>,
    setup: SetupLink,
}

impl Web {
    /// The page and the API of this service.
    pub(crate) fn new(service: Arc<Service>, memory: Arc<Memory>, settings: WebSettings) -> Web {
        let state = Arc::new(WebState {
            service,
            memory,
            settings: RwLock::new(Arc::new(settings)),
            streams: Arc::default(),
            sends: SendRates::default(),
            uploads: Arc::default(),
            pushes: Pushes::default(),
            deliveries: Arc::default(),
            setup: SetupLink::default(),
        });
        Web { router: router::router(state.clone()), state }
    }

    /// Takes other settings; requests in hand keep the old ones.
    pub(crate) fn set_settings(&self, settings: WebSettings) {
        *self.state.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Tells browsers that are not open what waits, for as long as what this gives is awaited. What comes once it has
    /// given that rings.
    pub(crate) async fn tell_browsers(self: Arc<Web>) -> impl Future<Output = ()> {
        let at_start = push::watched_at_start(&self.state).await;
        push::tell_browsers(self.state.clone(), at_start)
    }

    /// Makes a link for the first account; gives its secret.
    pub(crate) fn open_setup(&self) -> Token {
        self.state.setup.open()
    }

    /// Whether whoever connects from here speaks for others.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.state.settings().trusted_proxies.iter().any(|range| range.contains(address))
    }
}

impl WebState {
    fn settings(&self) -> Arc<WebSettings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
