//! From settings to the parts of the server.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::Semaphore;
use tracing::warn;

use super::cost;
use crate::config::{BadConfig, Config, Listen};
use crate::connections::ConnectionLimits;
use crate::frame::LineLimits;
use crate::password::{OWASP_MINIMUM, Passwords};
use crate::repository::Repository;
use crate::service::{Rules, Service};
use crate::session::Settings;
use crate::throttle::{Rate, Rates, Throttle};
use crate::tls::Identity;

/// How long a connection may wait at a stop for the proof that its last replies arrived.
const LINGER: Duration = Duration::from_secs(2);

/// Files that are open besides connections: the store, its readers, the log, the listeners.
const OTHER_FILES: u64 = 64;

/// Lets the process have as many files open as the system gives it, since each connection is one.
pub fn allow_files(config: &Config) -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let wanted = config.limits.connections as u64 + OTHER_FILES;
    if most < wanted {
        warn!(most, wanted, "the system gives this process fewer open files than limits.connections wants");
    }
    Ok(())
}

/// The service on a store.
pub fn service(repository: Arc<dyn Repository>, config: &Config) -> anyhow::Result<Arc<Service>> {
    let cost = cost(config);
    if cost.memory_kib < OWASP_MINIMUM.memory_kib || cost.iterations < OWASP_MINIMUM.iterations {
        warn!(?cost, "password hashes are cheaper than OWASP's minimum: for tests only");
    }
    let passwords = Passwords::start(cost, config.password.threads, config.password.queue)?;
    let throttle = Throttle::new(rates(config), config.throttle.buckets);
    Ok(Arc::new(Service::new(repository, passwords, throttle, rules(config))))
}

/// The certificate that the settings name, where TLS is wanted.
pub fn identity(config: &Config) -> Result<Option<Identity>, BadConfig> {
    let crate::config::Server { tls_listen, tls_certificate, tls_key, .. } = &config.server;
    match tls_listen {
        Listen(None) => Ok(None),
        Listen(Some(_)) => {
            Identity::load(tls_certificate, tls_key).map(Some).map_err(|e| BadConfig::new(e.to_string()))
        }
    }
}

/// How often one may try to log in.
pub fn rates(config: &Config) -> Rates {
    let throttle = &config.throttle;
    Rates {
        address: Rate { per_minute: throttle.address_per_minute, per_hour: throttle.address_per_hour },
        account: Rate { per_minute: throttle.account_per_minute, per_hour: throttle.account_per_hour },
    }
}

/// What the service goes by.
pub fn rules(config: &Config) -> Rules {
    Rules {
        idle_expiry: config.session.idle_expiry.0,
        sessions_per_user: config.session.per_user,
        drained_senders: config.protocol.drained_senders,
        inbox_reply_bytes: config.delivery.reply_bytes,
        wait_at_most: config.delivery.wait_at_most.0,
        history_messages: config.delivery.history_messages,
    }
}

/// The room for long lines and the one for long replies, all connections together.
pub struct Room {
    lines: Arc<Semaphore>,
    replies: Arc<Semaphore>,
    replies_bytes: u32,
}

impl Room {
    /// Rooms that are empty.
    pub fn new(config: &Config) -> Room {
        let replies_bytes = u32::try_from(config.limits.buffered_reply_bytes).expect("the settings were checked");
        Room {
            lines: Arc::new(Semaphore::new(config.limits.buffered_bytes)),
            replies: Arc::new(Semaphore::new(config.limits.buffered_reply_bytes)),
            replies_bytes,
        }
    }

    /// The rooms that connections go by already.
    pub fn of(settings: &Settings) -> Room {
        Room {
            lines: settings.long_lines.clone(),
            replies: settings.long_replies.clone(),
            replies_bytes: settings.long_replies_bytes,
        }
    }
}

/// What each connection goes by.
pub fn settings(config: &Config, room: Room) -> Settings {
    Settings {
        line: LineLimits { short: config.limits.line_bytes_without_token, long: config.limits.line_bytes },
        long_lines: room.lines,
        long_replies: room.replies,
        long_replies_bytes: room.replies_bytes,
        write_timeout: config.limits.write_timeout.0,
        peer_timeout: config.limits.peer_timeout.0,
        confirm_after: config.delivery.confirm_after.0,
        linger: LINGER,
    }
}

/// How many connections there may be.
pub fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        total: config.limits.connections,
        per_address: config.limits.connections_per_address,
        strangers: config.limits.unauthenticated_connections,
    }
}
