//! From settings to the parts of the server.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::auth::password::{OWASP_MINIMUM, Passwords};
use crate::auth::throttle::{Rate, Rates, Throttle};
use crate::cli::serve::cost;
use crate::config::{Config, ProtocolConfig, Registering, WordOrder};
use crate::protocol::dialect::Dialect;
use crate::protocol::family::{FamilySettings, RegisterOrder};
use crate::repository::{GroupLimits, Repository};
use crate::service::{RegisterRule, Rules, Service};
use crate::transport::admission::ConnectionLimits;
use crate::transport::line::connection::ConnectionSettings;
use crate::transport::web::{WebSettings, WritePatience};

/// How long a connection may wait at a stop for the proof that its last replies arrived.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// Files that are open besides connections: the store, its readers, the log, the listeners.
const OTHER_FILES: u64 = 64;

/// Lets the process have as many files open as the system gives it, since each connection is one.
pub(crate) fn allow_files(config: &Config) -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let wanted = config.limits.connections as u64 + OTHER_FILES;
    if most < wanted {
        warn!(most, wanted, "the system gives this process fewer open files than limits.connections wants");
    }
    Ok(())
}

/// The service on a store.
pub(crate) fn service(repository: Arc<dyn Repository>, config: &Config) -> anyhow::Result<Arc<Service>> {
    let cost = cost(config);
    if cost.memory_kib < OWASP_MINIMUM.memory_kib || cost.iterations < OWASP_MINIMUM.iterations {
        warn!(?cost, "password hashes are cheaper than OWASP's minimum: for tests only");
    }
    let passwords = Passwords::start(cost, config.password.threads, config.password.queue)?;
    let throttle = Throttle::new(rates(config), config.throttle.buckets);
    Ok(Arc::new(Service::new(repository, passwords, throttle, rules(config))))
}

/// How often one may try to log in.
pub(crate) fn rates(config: &Config) -> Rates {
    let throttle = &config.throttle;
    Rates {
        address: Rate { per_minute: throttle.address_per_minute, per_hour: throttle.address_per_hour },
        account: Rate { per_minute: throttle.account_per_minute, per_hour: throttle.account_per_hour },
    }
}

/// What the service goes by.
pub(crate) fn rules(config: &Config) -> Rules {
    Rules {
        idle_expiry: config.session.idle_expiry.0,
        sessions_per_user: config.session.per_user,
        drained_senders: config.protocol.drained_senders,
        directory: config.protocol.directory,
        inbox_reply_bytes: config.delivery.reply_bytes,
        inbox_reply_messages: config.delivery.reply_messages,
        wait_at_most: config.delivery.wait_at_most.0,
        history_messages: config.delivery.history_messages,
        groups: GroupLimits { groups: config.limits.groups_per_user, members: config.limits.group_members },
        register: match config.protocol.register {
            Registering::Closed => RegisterRule::Closed,
            Registering::Loopback => RegisterRule::Loopback,
            Registering::Invite => RegisterRule::Invite,
            Registering::Open => RegisterRule::Open,
        },
        file_bytes: config.limits.file_bytes,
        registrations_per_hour: config.throttle.registrations_per_hour,
    }
}

/// What is spoken at a JSON port.
pub(super) fn json_port(settings: &ConnectionSettings) -> Dialect {
    settings.family.map_or_else(Dialect::json, Dialect::family)
}

/// How the words of the family are spoken.
pub(super) fn family(config: &Config) -> Option<FamilySettings> {
    let ProtocolConfig { family, family_keys, register, register_order, .. } = config.protocol;
    let order = match register_order {
        WordOrder::UsernameFirst => RegisterOrder::UsernameFirst,
        WordOrder::NameFirst => RegisterOrder::NameFirst,
    };
    let register = register != Registering::Closed;
    family.then_some(FamilySettings { keys: family_keys, register, order })
}

/// What each connection of the page goes by.
pub(super) fn web_settings(config: &Config) -> WebSettings {
    let Config { web, limits, .. } = config;
    WebSettings {
        hosts: web.hosts.0.clone(),
        // The check of the settings has read them all.
        push_hosts: web.push_hosts.0.iter().filter_map(|host| host.parse().ok()).collect(),
        trusted_proxies: web.trusted_proxies.0.iter().filter_map(|range| range.parse().ok()).collect(),
        write_patience: WritePatience {
            most: limits.write_timeout.0,
            min_bytes_per_second: limits.min_bytes_per_second,
        },
        linger: LINGER,
    }
}

/// How many connections there may be.
pub(crate) fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        total: config.limits.connections,
        per_address: config.limits.connections_per_address,
        per_account: config.limits.connections_per_account,
        unauthenticated: config.limits.unauthenticated_connections,
    }
}
