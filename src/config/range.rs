//! What each number and each length of time may be: one table, which the check reads, the manual shows and the tests
//! compare. A value outside would overflow somewhere, or ask the system for more than it gives.

use std::fmt;
use std::time::Duration;

use super::{Config, Span};

/// The bounds of one setting; both are allowed.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The setting, as `section.key`.
    pub key: &'static str,
    bounds: Bounds,
}

#[derive(Clone, Copy, Debug)]
enum Bounds {
    Number { least: u64, most: u64, get: fn(&Config) -> u64 },
    Time { least: Span, most: Span, get: fn(&Config) -> Span },
}

const DAY: u64 = 24 * 60 * 60;
/// The longest time that anything is kept: a hundred years.
const CENTURY: Span = Span::seconds(36_500 * DAY);
/// Half of `limits.peer_timeout` goes to TCP_KEEPIDLE. The kernel allows at most 32,767 seconds there.
const PEER_TIMEOUT: Span = Span::seconds(18 * 60 * 60);
/// TCP asks the peer four times, with at least a second for each.
const SHORTEST_PEER_TIMEOUT: Span = Span::seconds(8);
const MILLISECOND: Span = Span(Duration::from_millis(1));
const NONE: Span = Span::seconds(0);
/// A login with a long name and a long password fits in.
const SHORTEST_LINE: u64 = 1024 + 128;
const LONGEST_LINE: u64 = 64 << 20;

const fn number(key: &'static str, least: u64, most: u64, get: fn(&Config) -> u64) -> Range {
    Range { key, bounds: Bounds::Number { least, most, get } }
}

const fn time(key: &'static str, least: Span, most: Span, get: fn(&Config) -> Span) -> Range {
    Range { key, bounds: Bounds::Time { least, most, get } }
}

/// One for each setting that is a number or a length of time.
pub const RANGES: &[Range] = &[
    number("server.threads", 1, 256, |c| c.server.threads as u64),
    number("database.min_free_bytes", 0, 1 << 50, |c| c.database.min_free_bytes),
    time("database.busy_timeout", NONE, Span::seconds(DAY), |c| c.database.busy_timeout),
    number("database.tail_messages", 1, 1 << 24, |c| c.database.tail_messages as u64),
    number("password.memory_kib", 8, 1 << 20, |c| c.password.memory_kib.into()),
    number("password.iterations", 1, 1000, |c| c.password.iterations.into()),
    number("password.parallelism", 1, 64, |c| c.password.parallelism.into()),
    number("password.threads", 1, 256, |c| c.password.threads as u64),
    number("password.queue", 1, 1 << 16, |c| c.password.queue as u64),
    number("throttle.address_per_minute", 0, 1_000_000, |c| c.throttle.address_per_minute.into()),
    number("throttle.address_per_hour", 0, 1_000_000, |c| c.throttle.address_per_hour.into()),
    number("throttle.account_per_minute", 0, 1_000_000, |c| c.throttle.account_per_minute.into()),
    number("throttle.account_per_hour", 0, 1_000_000, |c| c.throttle.account_per_hour.into()),
    number("throttle.registrations_per_hour", 0, 1_000_000, |c| c.throttle.registrations_per_hour.into()),
    number("throttle.buckets", 1, 1_000_000, |c| c.throttle.buckets as u64),
    time("session.idle_expiry", Span::seconds(1), CENTURY, |c| c.session.idle_expiry),
    number("session.per_user", 1, 1_000_000, |c| c.session.per_user as u64),
    time("delivery.confirm_after", NONE, Span::seconds(30 * DAY), |c| c.delivery.confirm_after),
    time("delivery.keep_delivered", NONE, CENTURY, |c| c.delivery.keep_delivered),
    number("delivery.reply_bytes", 1, 1 << 30, |c| c.delivery.reply_bytes),
    number("delivery.reply_messages", 1, 100_000, |c| c.delivery.reply_messages as u64),
    time("delivery.wait_at_most", NONE, Span::seconds(DAY), |c| c.delivery.wait_at_most),
    number("delivery.history_messages", 1, 100_000, |c| c.delivery.history_messages as u64),
    number("limits.line_bytes", SHORTEST_LINE, LONGEST_LINE, |c| c.limits.line_bytes as u64),
    number("limits.line_bytes_without_token", SHORTEST_LINE, LONGEST_LINE, |c| {
        c.limits.line_bytes_without_token as u64
    }),
    number("limits.buffered_bytes", SHORTEST_LINE, 1 << 36, |c| c.limits.buffered_bytes as u64),
    number("limits.buffered_reply_bytes", 1 << 16, u32::MAX as u64, |c| c.limits.buffered_reply_bytes as u64),
    number("limits.connections", 1, 1_000_000, |c| c.limits.connections as u64),
    number("limits.connections_per_address", 1, 1_000_000, |c| c.limits.connections_per_address as u64),
    number("limits.connections_per_account", 1, 1_000_000, |c| c.limits.connections_per_account as u64),
    number("limits.unauthenticated_connections", 1, 1_000_000, |c| c.limits.unauthenticated_connections as u64),
    time("limits.peer_timeout", SHORTEST_PEER_TIMEOUT, PEER_TIMEOUT, |c| c.limits.peer_timeout),
    time("limits.handshake_timeout", MILLISECOND, Span::seconds(DAY), |c| c.limits.handshake_timeout),
    time("limits.write_timeout", MILLISECOND, Span::seconds(DAY), |c| c.limits.write_timeout),
    number("limits.min_bytes_per_second", 1, 1 << 20, |c| c.limits.min_bytes_per_second.into()),
    number("limits.inbox_messages", 1, 1_000_000_000, |c| c.limits.inbox_messages),
    number("limits.inbox_bytes", 1, 1 << 50, |c| c.limits.inbox_bytes),
    number("limits.stored_bytes", 0, 1 << 50, |c| c.limits.stored_bytes),
    number("limits.file_bytes", 0, 64 << 20, |c| c.limits.file_bytes),
    number("limits.groups_per_user", 1, 10_000, |c| c.limits.groups_per_user as u64),
    number("limits.group_members", 2, 100_000, |c| c.limits.group_members as u64),
];

impl Range {
    /// That of this setting, if it is a number or a length of time.
    pub fn of(key: &str) -> Option<&'static Range> {
        RANGES.iter().find(|range| range.key == key)
    }

    /// Whether the setting is a length of time.
    pub fn is_time(&self) -> bool {
        matches!(self.bounds, Bounds::Time { .. })
    }

    /// The least and the most, as they are written.
    pub fn ends(&self) -> [toml::Value; 2] {
        match self.bounds {
            Bounds::Number { least, most, .. } => {
                [least, most].map(|end| i64::try_from(end).unwrap_or(i64::MAX)).map(toml::Value::Integer)
            }
            Bounds::Time { least, most, .. } => [least, most].map(short).map(toml::Value::String),
        }
    }

    /// Whether the settings keep to it.
    pub fn holds(&self, config: &Config) -> bool {
        match self.bounds {
            Bounds::Number { least, most, get } => (least..=most).contains(&get(config)),
            Bounds::Time { least, most, get } => (least..=most).contains(&get(config)),
        }
    }
}

/// As the manual shows it: `1 to 256`, `"8s" to "18h"`.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bounds {
            Bounds::Number { least, most, .. } => write!(f, "{least} to {most}"),
            Bounds::Time { least, most, .. } => write!(f, "\"{}\" to \"{}\"", short(least), short(most)),
        }
    }
}

/// In the largest unit that needs no fraction.
pub(super) fn short(span: Span) -> String {
    let (seconds, millis) = (span.0.as_secs(), span.0.as_millis());
    match seconds {
        0 if millis > 0 => format!("{millis}ms"),
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(DAY) => format!("{}d", seconds / DAY),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::*;

    #[test]
    fn every_number_and_every_time_has_a_range_and_its_default_keeps_to_it() {
        let defaults = toml::Table::try_from(Config::default()).expect("the defaults are TOML");
        let mut seen = 0;
        for key in keys() {
            let (section, name) = key.split_once('.').expect("each is of a section");
            let wants_one = match &defaults[section][name] {
                toml::Value::Integer(_) => true,
                toml::Value::String(text) => humantime::parse_duration(text).is_ok(),
                _ => false,
            };
            assert_eq!(Range::of(&key).is_some(), wants_one, "{key}");
            seen += usize::from(wants_one);
        }
        assert_eq!(RANGES.len(), seen, "a row is of no setting, or stands there twice");
        for range in RANGES {
            assert!(range.holds(&Config::default()), "{}", range.key);
        }
    }
}
