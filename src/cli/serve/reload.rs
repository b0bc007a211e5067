//! SIGHUP: reads the settings again and takes over what can change while the server runs. Either all of it or, when
//! something is wrong with the file, nothing; the log says which.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::parts;
use crate::cli::log::LogLevel;
use crate::config::{BadConfig, Config, Loaded, keys};
use crate::server::Server;
use crate::service::Service;
use crate::tls::Tls;

/// The settings that a reload takes over; a name that ends in a dot or an underscore stands for all that begin so. The
/// others wait for the next start.
const TAKEN_OVER: [&str; 14] = [
    "session.",
    "protocol.",
    "delivery.",
    "limits.connections",
    "limits.connections_per_address",
    "limits.unauthenticated_connections",
    "limits.line_bytes",
    "limits.line_bytes_without_token",
    "limits.write_timeout",
    "log.level",
    "server.tls_certificate",
    "server.tls_key",
    "throttle.account_per_",
    "throttle.address_per_",
];

/// All that a reload reaches.
pub struct Reload<L> {
    /// Reads the settings as the start did.
    pub load: L,
    /// What the server was started with.
    pub started_with: Config,
    /// The settings in force.
    pub config: watch::Sender<Arc<Config>>,
    /// The log.
    pub level: LogLevel,
    /// The rules.
    pub service: Arc<Service>,
    /// The limits.
    pub server: Server,
    /// The certificate.
    pub tls: Option<Arc<Tls>>,
}

impl<L: Fn() -> Result<Loaded, BadConfig>> Reload<L> {
    /// Reads the settings again and puts them in force, or says why they stay as they were.
    pub fn run(&self) {
        match self.try_run() {
            Ok(()) => info!("settings reloaded"),
            Err(error) => error!(%error, "settings not reloaded: the old ones stay in force"),
        }
    }

    fn try_run(&self) -> Result<(), BadConfig> {
        let Loaded { config, warnings, .. } = (self.load)()?;
        // What can fail comes first, certificates too, so that nothing is changed by half.
        let identity = parts::identity(&config)?;
        self.level.set(&config.log.level)?;
        if let (Some(tls), Some(identity)) = (&self.tls, identity) {
            tls.set_identity(identity);
        }
        self.service.set_rules(parts::rules(&config));
        self.service.throttle().set_rates(parts::rates(&config));
        self.server
            .set_limits(parts::connection_limits(&config), |former| parts::settings(&config, parts::Room::of(former)));
        warnings.iter().for_each(|warning| warn!("{warning}"));
        for key in differences(&self.started_with, &config).iter().filter(|key| !is_taken_over(key)) {
            warn!(key, "this setting was changed: it takes effect at the next start");
        }
        self.config.send_replace(Arc::new(config));
        Ok(())
    }
}

fn is_taken_over(key: &str) -> bool {
    TAKEN_OVER.iter().any(|taken| key == *taken || (taken.ends_with(['.', '_']) && key.starts_with(taken)))
}

/// The settings that are not the same in both.
fn differences(one: &Config, other: &Config) -> Vec<String> {
    let tables = [one, other].map(|config| toml::Table::try_from(config).unwrap_or_default());
    let value = |table: &toml::Table, key: &str| {
        let (section, name) = key.split_once('.')?;
        table.get(section)?.get(name).cloned()
    };
    keys().into_iter().filter(|key| value(&tables[0], key) != value(&tables[1], key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_over_is_named_as_the_settings_are() {
        let keys = keys();
        for taken in TAKEN_OVER {
            assert!(keys.iter().any(|key| key.starts_with(taken) && is_taken_over(key)), "{taken}");
        }
        assert!(!is_taken_over("limits.inbox_messages") && is_taken_over("session.per_user"));
    }

    #[test]
    fn differences_are_found_by_key() {
        let mut other = Config::default();
        other.limits.connections += 1;
        other.server.allow_plaintext = true;
        assert_eq!(differences(&Config::default(), &other), ["limits.connections", "server.allow_plaintext"]);
    }
}
