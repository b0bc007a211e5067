//! The settings: defaults < file < environment < flags, checked once, with a line that names the key for each mistake.
//! `chat.toml` at the top of the project is their manual, and a test compares it with the defaults here.

mod acme;
mod check;
mod load;
mod place;
mod protocol;
pub(crate) mod range;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use self::acme::AcmeConfig;
pub use self::load::load;
pub(crate) use self::load::{LoadedConfig, keys, read};
pub(crate) use self::place::SYSTEM_FILE;
pub(crate) use self::protocol::{ProtocolConfig, Registering, WordOrder};
pub use self::value::Listen;
pub(crate) use self::value::{Span, WordList};

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen.
    pub server: ServerConfig,
    /// The page.
    pub web: WebConfig,
    /// The certificate that comes by itself.
    pub acme: AcmeConfig,
    /// Where to store.
    pub database: Database,
    /// What a password hash costs.
    pub password: PasswordConfig,
    /// How often one may try to log in.
    pub throttle: ThrottleConfig,
    /// Details of the wire.
    pub protocol: ProtocolConfig,
    /// Logins.
    pub session: SessionConfig,
    /// How mail leaves the queue.
    pub delivery: DeliveryConfig,
    /// How much is too much.
    pub limits: Limits,
    /// What is logged.
    pub log: LogConfig,
    /// What is counted.
    pub metrics: Metrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// The JSON port.
    pub listen: SocketAddr,
    /// The text port.
    pub text_listen: Listen,
    /// The JSON port in TLS.
    pub tls_listen: Listen,
    /// The certificate and those that vouch for it (PEM).
    pub tls_certificate: PathBuf,
    /// Its key (PEM).
    pub tls_key: PathBuf,
    /// Passwords may cross a network without TLS.
    pub allow_plaintext: bool,
    /// Threads that speak with clients.
    pub threads: usize,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8889)),
            text_listen: Listen(None),
            tls_listen: Listen(None),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            allow_plaintext: false,
            threads: 1,
        }
    }
}

/// The page and the HTTP API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// Where browsers connect.
    pub listen: Listen,
    /// The same in TLS.
    pub tls_listen: Listen,
    /// The names under which they come.
    pub hosts: WordList,
    /// Addresses and networks of proxies.
    pub trusted_proxies: WordList,
    /// Push services beside those of the browsers' makers.
    pub push_hosts: WordList,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `sqlite://PATH`.
    pub url: String,
    /// `send` is refused when the file system has less room, in bytes.
    pub min_free_bytes: u64,
    /// How long to wait for another process that holds the database.
    pub busy_timeout: Span,
    /// The newest messages are kept in memory; when there are this many, they are indexed on disk.
    pub tail_messages: usize,
}

impl Default for Database {
    fn default() -> Database {
        Database {
            url: "sqlite://chat.db".to_owned(),
            min_free_bytes: 32 << 20,
            busy_timeout: Span::seconds(5),
            tail_messages: 65_536,
        }
    }
}

/// What a password hash costs, and how many at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordConfig {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    pub threads: usize,
    /// Logins that may wait for a thread.
    pub queue: usize,
}

impl Default for PasswordConfig {
    fn default() -> PasswordConfig {
        PasswordConfig { memory_kib: 19 * 1024, iterations: 2, parallelism: 1, threads: 1, queue: 1024 }
    }
}

/// Wrong logins that are allowed before they have to wait; 0: any number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThrottleConfig {
    /// From one address, in a minute.
    pub address_per_minute: u32,
    /// In an hour.
    pub address_per_hour: u32,
    /// From one address to one account, in a minute.
    pub account_per_minute: u32,
    /// In an hour.
    pub account_per_hour: u32,
    /// Accounts that one address may make in an hour; 0: any number.
    pub registrations_per_hour: u32,
    /// Addresses, and pairs of address and account, that are remembered at the most.
    pub buckets: usize,
}

impl Default for ThrottleConfig {
    fn default() -> ThrottleConfig {
        ThrottleConfig {
            address_per_minute: 10,
            address_per_hour: 60,
            account_per_minute: 5,
            account_per_hour: 20,
            registrations_per_hour: 5,
            buckets: 65536,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// A session that is not used for this long ends.
    pub idle_expiry: Span,
    /// Sessions of one user; the oldest go first.
    pub per_user: usize,
}

impl Default for SessionConfig {
    fn default() -> SessionConfig {
        SessionConfig { idle_expiry: Span::days(30), per_user: 100 }
    }
}

/// How mail leaves the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// A reply that the peer's TCP has and that was not broken off for this long has arrived; `0s`: no such rule.
    pub confirm_after: Span,
    /// What was read stays in the log for this long.
    pub keep_delivered: Span,
    /// Text in one inbox reply, in bytes; the rest comes with the next.
    pub reply_bytes: u64,
    /// Messages in one inbox reply; the rest comes with the next.
    pub reply_messages: usize,
    /// A `wait` lasts no longer than this.
    pub wait_at_most: Span,
    /// Messages in one reply to `history` or `status`.
    pub history_messages: usize,
}

impl Default for DeliveryConfig {
    fn default() -> DeliveryConfig {
        DeliveryConfig {
            confirm_after: Span::seconds(15),
            keep_delivered: Span::days(30),
            reply_bytes: 8 << 20,
            reply_messages: 10_000,
            wait_at_most: Span::seconds(300),
            history_messages: 100,
        }
    }
}

/// How much is too much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// A line that shows a living token, in bytes.
    pub line_bytes: usize,
    /// Any other line, in bytes.
    pub line_bytes_without_token: usize,
    /// Lines beyond that, all connections together, in bytes.
    pub buffered_bytes: usize,
    /// Replies beyond 32 KiB that clients have not taken yet, all connections together, in bytes.
    pub buffered_reply_bytes: usize,
    pub connections: usize,
    /// Connections from one address, or from one IPv6 network of 64 bits.
    pub connections_per_address: usize,
    /// Connections that have shown a token of one account.
    pub connections_per_account: usize,
    /// Connections that have not shown a living token.
    pub unauthenticated_connections: usize,
    /// A peer whose TCP gives no sign of life for this long is gone.
    pub peer_timeout: Span,
    /// A TLS handshake that takes longer is broken off.
    pub handshake_timeout: Span,
    /// A peer that takes no byte of a reply for this long is disconnected.
    pub write_timeout: Span,
    /// A peer that is slower than this with a long line or a reply, on the average and `write_timeout` aside, is waited
    /// for no longer; in bytes.
    pub min_bytes_per_second: u32,
    /// Unread messages of one user.
    pub inbox_messages: u64,
    /// Unread text of one user, in bytes.
    pub inbox_bytes: u64,
    /// What one user may have stored, read mail too, in bytes; 0 for any amount.
    pub stored_bytes: u64,
    /// A file, in bytes; 0: none may be sent.
    pub file_bytes: u64,
    /// Groups in which one user may be.
    pub groups_per_user: usize,
    /// Members of one group.
    pub group_members: usize,
}

/// What a line has beside a file: words, names, the marks around the data.
const BESIDE_FILE: u64 = 4 << 10;

impl Limits {
    /// How long a line may be that brings a file: in base64, which takes a third more.
    pub(crate) fn file_line(&self) -> usize {
        let word = self.file_bytes.div_ceil(3) * 4 + BESIDE_FILE;
        usize::try_from(word).unwrap_or(usize::MAX).min(self.buffered_bytes).max(self.line_bytes)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            line_bytes: 2 << 20,
            line_bytes_without_token: 4 << 10,
            buffered_bytes: 256 << 20,
            buffered_reply_bytes: 256 << 20,
            connections: 10_000,
            connections_per_address: 1_000,
            connections_per_account: 1_000,
            unauthenticated_connections: 1_000,
            peer_timeout: Span::seconds(120),
            handshake_timeout: Span::seconds(10),
            write_timeout: Span::seconds(30),
            min_bytes_per_second: 1024,
            inbox_messages: 100_000,
            inbox_bytes: 64 << 20,
            stored_bytes: 1 << 30,
            file_bytes: 10 << 20,
            groups_per_user: 100,
            group_members: 10_000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or tracing's directives.
    pub level: String,
    /// How lines look on stderr.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { level: "info".to_owned(), format: LogFormat::Text }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    pub listen: Listen,
}

/// How lines look on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// What is wrong with the settings: a line for each mistake, with the place, the key and the remedy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadConfig(Vec<String>);

impl BadConfig {
    pub fn new(mistake: impl Into<String>) -> BadConfig {
        BadConfig(vec![mistake.into()])
    }

    /// These mistakes; `Ok` where there is none.
    pub fn all(mistakes: Vec<String>) -> Result<(), BadConfig> {
        if mistakes.is_empty() { Ok(()) } else { Err(BadConfig(mistakes)) }
    }

    pub fn mistakes(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for BadConfig {}

/// `chat.toml`, which says what each setting means.
pub(crate) const MANUAL: &str = include_str!("../../chat.toml");

#[cfg(test)]
mod tests;
