//! What a reload takes over. Nothing else of the new settings reaches the running server, so which settings are live is
//! found by making this twice, and is written down nowhere that could differ.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::Table;

use crate::auth::throttle::Rates;
use crate::charge::Memory;
use crate::cli::serve::assemble;
use crate::config::{Config, keys};
use crate::protocol::family::FamilySettings;
use crate::service::Rules;
use crate::transport::admission::ConnectionLimits;
use crate::transport::line::connection::ConnectionSettings;
use crate::transport::line::framer::LineLimits;
use crate::transport::web::WebSettings;

/// All that can change while the server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveSettings {
    pub level: String,
    pub rules: Rules,
    pub rates: Rates,
    pub connections: ConnectionLimits,
    pub line: LineLimits,
    pub file_line: usize,
    pub family: Option<FamilySettings>,
    /// Room for long lines and for long replies, all connections together.
    pub line_room: usize,
    pub reply_room: usize,
    pub write_timeout: Duration,
    pub min_bytes_per_second: u32,
    pub peer_timeout: Duration,
    pub confirm_after: Duration,
    pub web: WebSettings,
    pub keep_delivered: Duration,
    /// The certificate and its key, which are read again.
    pub identity: (PathBuf, PathBuf),
}

impl LiveSettings {
    /// What these settings say of it.
    pub(crate) fn of(config: &Config) -> LiveSettings {
        let Config { server, limits, delivery, log, .. } = config;
        LiveSettings {
            level: log.level.clone(),
            rules: assemble::rules(config),
            rates: assemble::rates(config),
            connections: assemble::connection_limits(config),
            line: LineLimits { short: limits.line_bytes_without_token, long: limits.line_bytes },
            file_line: limits.file_line(),
            family: assemble::family(config),
            line_room: limits.buffered_bytes,
            reply_room: limits.buffered_reply_bytes,
            min_bytes_per_second: limits.min_bytes_per_second,
            write_timeout: limits.write_timeout.0,
            peer_timeout: limits.peer_timeout.0,
            confirm_after: delivery.confirm_after.0,
            web: assemble::web_settings(config),
            keep_delivered: delivery.keep_delivered.0,
            identity: (server.tls_certificate.clone(), server.tls_key.clone()),
        }
    }
}

impl LiveSettings {
    /// What each connection goes by, with the memory that all share.
    pub(super) fn of_connections(&self, memory: Arc<Memory>) -> ConnectionSettings {
        ConnectionSettings {
            line: self.line,
            file_line: self.file_line,
            memory,
            min_bytes_per_second: self.min_bytes_per_second,
            write_timeout: self.write_timeout,
            peer_timeout: self.peer_timeout,
            confirm_after: self.confirm_after,
            linger: assemble::LINGER,
            family: self.family,
        }
    }
}

/// The settings in which `new` differs from `started_with` and that no reload takes over.
pub(super) fn waiting(started_with: &Config, new: &Config) -> Vec<String> {
    let Ok(table) = Table::try_from(new) else { return Vec::new() };
    let former = LiveSettings::of(started_with);
    let waits = |key: &String| {
        let (section, name) = key.split_once('.')?;
        let value = table.get(section)?.get(name)?.clone();
        let only_this = with(started_with, section, name, value)?;
        Some(only_this != *started_with && LiveSettings::of(&only_this) == former)
    };
    keys().into_iter().filter(|key| waits(key) == Some(true)).collect()
}

fn with(config: &Config, section: &str, name: &str, value: toml::Value) -> Option<Config> {
    let mut table = Table::try_from(config).ok()?;
    table.get_mut(section)?.as_table_mut()?.insert(name.to_owned(), value);
    table.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MANUAL, range};

    /// Any other value of its type.
    fn other(key: &str, value: &toml::Value) -> toml::Value {
        let ends = range::Range::of(key).map(range::Range::ends);
        match (value, ends) {
            (value, Some([least, most])) => {
                if *value == least {
                    most
                } else {
                    least
                }
            }
            (toml::Value::Boolean(is), _) => toml::Value::Boolean(!is),
            _ if key == "web.push_hosts" => toml::Value::Array(vec!["push.example.org".into()]),
            (toml::Value::Array(_), _) => toml::Value::Array(vec!["192.0.2.1".into()]),
            _ if key.ends_with("listen") => "127.0.0.1:1".into(),
            _ if key == "log.format" => "json".into(),
            _ if key == "protocol.register" => "open".into(),
            _ if key == "protocol.register_order" => "name_first".into(),
            _ => "other".into(),
        }
    }

    /// The head of `chat.toml` names them: a section of which all are live as `[section]`.
    #[test]
    fn the_manual_says_of_each_setting_whether_a_reload_takes_it_over() {
        let started_with = Config::default();
        let defaults = Table::try_from(&started_with).expect("the defaults are TOML");
        let mut named = Vec::new();
        for (section, values) in &defaults {
            let values = values.as_table().expect("all are sections");
            let is_live = |name: &&String| {
                let other = other(&format!("{section}.{name}"), &values[*name]);
                let new = with(&started_with, section, name, other).expect("it is of the setting's type");
                assert_ne!(new, started_with, "{section}.{name}");
                waiting(&started_with, &new).is_empty()
            };
            let live: Vec<_> = values.keys().filter(is_live).collect();
            match live.len() == values.len() {
                true => named.push(format!("[{section}]")),
                false => named.extend(live.iter().map(|name| format!("{section}.{name}"))),
            }
        }
        named.sort_unstable();
        let words = MANUAL.lines().map_while(|line| line.strip_prefix('#')).collect::<Vec<_>>().join(" ");
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let wanted = format!("takes over {}; all others wait for the next start", named.join(", "));
        assert!(words.contains(&wanted), "the head of chat.toml must say: {wanted}");
    }

    #[test]
    fn what_waits_for_the_next_start_is_named_and_nothing_else() {
        let mut other = Config::default();
        other.limits.connections += 1;
        other.limits.peer_timeout = crate::config::Span(Duration::from_secs(60));
        other.limits.inbox_bytes += 1;
        other.server.allow_plaintext = true;
        assert_eq!(waiting(&Config::default(), &other), ["limits.inbox_bytes", "server.allow_plaintext"]);
    }
}
