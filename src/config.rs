//! The settings: defaults < file < environment < flags, checked once, with one line that names the key when something is
//! wrong. `chat.toml` at the top of the project is their manual, and a test compares it with the defaults here.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::builder::DefaultState;
use config::{ConfigBuilder, Environment, File, FileFormat};
use serde::{Deserialize, Serialize};

/// A length of time, written like `30d` or `15s`; `0s` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    const fn seconds(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    const fn days(days: u64) -> Span {
        Span::seconds(days * 24 * 60 * 60)
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Span).map_err(|e| {
            serde::de::Error::custom(format!("{text:?} is no length of time such as \"30d\" or \"15s\": {e}"))
        })
    }
}

/// Where to listen, or nowhere: written as an address or as `""`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl Serialize for Listen {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(address) => serializer.collect_str(&address),
            None => serializer.serialize_str(""),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Listen, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Listen(None));
        }
        text.parse().map(|address| Listen(Some(address))).map_err(|_| {
            serde::de::Error::custom(format!("{text:?} is no address and port such as \"127.0.0.1:8890\", nor \"\""))
        })
    }
}

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen.
    pub server: Server,
    /// Where to store.
    pub database: Database,
    /// What a password hash costs.
    pub password: Password,
    /// How often one may try to log in.
    pub throttle: Throttle,
    /// Details of the wire.
    pub protocol: Protocol,
    /// Logins.
    pub session: Session,
    /// How mail leaves the queue.
    pub delivery: Delivery,
    /// How much is too much.
    pub limits: Limits,
    /// What is logged.
    pub log: Log,
    /// What is counted.
    pub metrics: Metrics,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The JSON wire.
    pub listen: SocketAddr,
    /// The document's dialogue, for people.
    pub text_listen: Listen,
    /// The JSON wire in TLS.
    pub tls_listen: Listen,
    /// The certificate and those that vouch for it (PEM).
    pub tls_certificate: PathBuf,
    /// Its key (PEM).
    pub tls_key: PathBuf,
    /// Passwords may cross a network in the clear.
    pub allow_plaintext: bool,
    /// Threads that speak with clients.
    pub threads: usize,
}

impl Default for Server {
    fn default() -> Server {
        Server {
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

impl Server {
    /// Whether passwords may come in unencrypted at this address; `key` is the setting that names it.
    pub fn allows_plaintext_at(&self, key: &str, address: SocketAddr) -> Result<(), BadConfig> {
        if address.ip().is_loopback() || self.allow_plaintext {
            return Ok(());
        }
        bad(
            key,
            format_args!(
                "{address} is not loopback, and passwords would cross the network in the clear: use server.tls_listen, or \
                 set server.allow_plaintext = true where something else encrypts"
            ),
        )
    }
}

/// Where to store.
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
pub struct Password {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Hashes at once.
    pub threads: usize,
    /// Logins that may wait for a thread.
    pub queue: usize,
}

impl Default for Password {
    fn default() -> Password {
        Password { memory_kib: 19 * 1024, iterations: 2, parallelism: 1, threads: 1, queue: 1024 }
    }
}

/// Wrong logins that are let through before they have to wait; 0: any number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttle {
    /// From one address, in a minute.
    pub address_per_minute: u32,
    /// In an hour.
    pub address_per_hour: u32,
    /// From one address to one account, in a minute.
    pub account_per_minute: u32,
    /// In an hour.
    pub account_per_hour: u32,
    /// Addresses, and pairs of address and account, that are remembered at the most.
    pub buckets: usize,
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle {
            address_per_minute: 10,
            address_per_hour: 60,
            account_per_minute: 5,
            account_per_hour: 20,
            buckets: 65536,
        }
    }
}

/// Details of the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protocol {
    /// An inbox names senders all of whose mail was read.
    pub drained_senders: bool,
}

/// Logins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// A session that is not used for this long ends.
    pub idle_expiry: Span,
    /// Sessions of one user; the oldest go first.
    pub per_user: usize,
}

impl Default for Session {
    fn default() -> Session {
        Session { idle_expiry: Span::days(30), per_user: 100 }
    }
}

/// How mail leaves the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// A reply that the peer's TCP has and that was not broken off for this long has arrived; `0s`: no such rule.
    pub confirm_after: Span,
    /// What was read stays in the log for this long.
    pub keep_delivered: Span,
    /// Text in one inbox reply, in bytes; the rest comes with the next.
    pub reply_bytes: u64,
    /// A `wait` lasts no longer than this.
    pub wait_at_most: Span,
    /// Messages in one reply to `history` or `status`.
    pub history_messages: usize,
}

impl Default for Delivery {
    fn default() -> Delivery {
        Delivery {
            confirm_after: Span::seconds(15),
            keep_delivered: Span::days(30),
            reply_bytes: 8 << 20,
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
    /// Replies beyond 64 KiB that clients have not taken yet, all connections together, in bytes.
    pub buffered_reply_bytes: usize,
    /// Connections.
    pub connections: usize,
    /// Connections from one address.
    pub connections_per_address: usize,
    /// Connections that have not shown a living token.
    pub unauthenticated_connections: usize,
    /// A peer whose TCP gives no sign of life for this long is gone.
    pub peer_timeout: Span,
    /// A TLS handshake that takes longer is broken off.
    pub handshake_timeout: Span,
    /// A peer that takes no byte of a reply for this long is disconnected.
    pub write_timeout: Span,
    /// Unread messages of one user.
    pub inbox_messages: u64,
    /// Unread text of one user, in bytes.
    pub inbox_bytes: u64,
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
            unauthenticated_connections: 1_000,
            peer_timeout: Span::seconds(120),
            handshake_timeout: Span::seconds(10),
            write_timeout: Span::seconds(30),
            inbox_messages: 100_000,
            inbox_bytes: 64 << 20,
        }
    }
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or tracing's directives.
    pub level: String,
    /// How lines look on stderr.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Log {
    /// A word that is no level would be taken for the name of a part of the program, and all the rest be silent.
    fn check(&self) -> Result<(), BadConfig> {
        let is_level = |word: &str| ["error", "warn", "info", "debug", "trace", "off"].contains(&word);
        match self.level.split(',').find(|directive| !directive.contains('=') && !is_level(directive)) {
            None => Ok(()),
            Some(word) => bad("log.level", format_args!("{word:?} is none of error, warn, info, debug, trace, off")),
        }
    }
}

/// What is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Where Prometheus reads it.
    pub listen: Listen,
}

impl Metrics {
    /// Whether the numbers may be shown at this address: whoever reaches it reads them.
    pub fn allows(address: SocketAddr) -> Result<(), BadConfig> {
        match address.ip().is_loopback() {
            true => Ok(()),
            false => bad(
                "metrics.listen",
                format_args!("{address} is not loopback, and nobody is asked for a password there"),
            ),
        }
    }
}

/// How lines look on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What is wrong with the settings: one line, with the place and the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

/// Settings with where they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// What is odd but no error, a line each.
    pub warnings: Vec<String>,
}

/// `chat.toml`, which says what each setting means.
pub const MANUAL: &str = include_str!("../chat.toml");

const SYSTEM_FILE: &str = "/etc/chatd/chat.toml";
const PREFIX: &str = "CHATD";
/// Variables of ours that are no settings: the file's name, and what the client takes.
const OTHER_VARIABLES: [&str; 7] = [
    "CHATD_CONFIG",
    "CHATD_CONNECT",
    "CHATD_USER",
    "CHATD_PASSWORD",
    "CHATD_PASSWORD_FILE",
    "CHATD_TLS",
    "CHATD_TLS_CA",
];

/// Which file is used: the one that was asked for, `$CHATD_CONFIG`, `./chat.toml`, `/etc/chatd/chat.toml`, or none.
fn choose_file(asked: Option<&Path>) -> Option<PathBuf> {
    let named = asked.map(Path::to_owned).or_else(|| std::env::var_os("CHATD_CONFIG").map(PathBuf::from));
    named.or_else(|| ["chat.toml", SYSTEM_FILE].map(PathBuf::from).into_iter().find(|path| path.exists()))
}

/// Reads the settings. `flags` are `key=value` from the command line.
pub fn load(asked: Option<&Path>, flags: &[String]) -> Result<Loaded, BadConfig> {
    let file = choose_file(asked);
    let mut builder = config::Config::builder();
    if let Some(state) = std::env::var_os("STATE_DIRECTORY") {
        // systemd names the service's own directory; several would be separated by colons.
        let state = state.to_string_lossy().split(':').next().unwrap_or_default().to_owned();
        let url = format!("sqlite://{state}/chat.db");
        builder = builder.set_default("database.url", url).map_err(|e| BadConfig(e.to_string()))?;
    }
    if let Some(path) = &file {
        builder = with_file(builder, path)?;
    }
    builder = builder.add_source(Environment::with_prefix(PREFIX).prefix_separator("_").separator("__"));
    for flag in flags {
        let (key, value) = flag.split_once('=').ok_or_else(|| BadConfig(format!("--set {flag}: want KEY=VALUE")))?;
        if !keys().contains(key) {
            return Err(BadConfig(format!("--set {flag}: there is no setting {key:?}")));
        }
        builder = builder.set_override(key, value).map_err(|e| BadConfig(format!("--set {flag}: {e}")))?;
    }
    let mut warnings = Vec::new();
    for (variable, _) in std::env::vars_os() {
        let variable = variable.to_string_lossy();
        let key = variable.strip_prefix("CHATD_").map(|rest| rest.to_lowercase().replace("__", "."));
        if key.is_some_and(|key| !keys().contains(key.as_str())) && !OTHER_VARIABLES.contains(&&*variable) {
            warnings.push(format!("the environment variable {variable} is no setting of chatd's"));
        }
    }
    let merged = builder.build().map_err(|e| BadConfig(e.to_string()))?;
    let config: Config = lenient(merged).map_err(|e| BadConfig(e.to_string()))?;
    check(&config)?;
    Ok(Loaded { config, file, warnings })
}

/// The merged settings; a stray variable was only worth a warning, so it is no unknown key here.
fn lenient(merged: config::Config) -> Result<Config, config::ConfigError> {
    let mut builder = config::Config::builder();
    for key in keys() {
        if let Ok(value) = merged.get::<config::Value>(&key) {
            builder = builder.set_override(&key, value)?;
        }
    }
    builder.build()?.try_deserialize()
}

/// Reads the file twice: strictly by itself, which gives the line of a mistake, and then as one of the sources.
fn with_file(builder: ConfigBuilder<DefaultState>, path: &Path) -> Result<ConfigBuilder<DefaultState>, BadConfig> {
    let text = std::fs::read_to_string(path).map_err(|e| BadConfig(format!("{}: {e}", path.display())))?;
    if let Err(error) = toml::from_str::<Config>(&text) {
        let start = error.span().map_or(0, |span| span.start);
        let number = text[..start].matches('\n').count() + 1;
        let line = text.lines().nth(number - 1).unwrap_or_default().trim();
        let what = error.message().replace('\n', " ");
        return Err(BadConfig(format!("{}:{number}: {line}: {what}", path.display())));
    }
    Ok(builder.add_source(File::from_str(&text, FileFormat::Toml)))
}

/// All keys there are, as `section.key`.
pub fn keys() -> BTreeSet<String> {
    let table = toml::Table::try_from(Config::default()).expect("the defaults are TOML");
    let section = |(name, value): (String, toml::Value)| {
        let keys = value.as_table().map(|t| t.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        keys.into_iter().map(move |key| format!("{name}.{key}"))
    };
    table.into_iter().flat_map(section).collect()
}

fn bad<T>(key: &str, why: fmt::Arguments<'_>) -> Result<T, BadConfig> {
    Err(BadConfig(format!("{key}: {why}")))
}

fn check(config: &Config) -> Result<(), BadConfig> {
    let Config { server, password, throttle, limits, delivery, session, log, .. } = config;
    server.allows_plaintext_at("server.listen", server.listen)?;
    for (key, path) in [("server.tls_certificate", &server.tls_certificate), ("server.tls_key", &server.tls_key)] {
        if server.tls_listen != Listen(None) && path.as_os_str().is_empty() {
            return bad(key, format_args!("server.tls_listen wants a certificate and its key"));
        }
    }
    if let Listen(Some(address)) = server.text_listen {
        server.allows_plaintext_at("server.text_listen", address)?;
    }
    if let Listen(Some(address)) = config.metrics.listen {
        Metrics::allows(address)?;
    }
    log.check()?;
    let cost = crate::password::Cost {
        memory_kib: password.memory_kib,
        iterations: password.iterations,
        parallelism: password.parallelism,
    };
    if let Err(why) = crate::password::check(cost) {
        return bad("password", format_args!("argon2 takes no such parameters: {why}"));
    }
    let at_least_one = [
        ("database.tail_messages", config.database.tail_messages as u64),
        ("server.threads", server.threads as u64),
        ("password.threads", password.threads as u64),
        ("password.queue", password.queue as u64),
        ("throttle.buckets", throttle.buckets as u64),
        ("session.per_user", session.per_user as u64),
        ("delivery.reply_bytes", delivery.reply_bytes),
        ("delivery.history_messages", delivery.history_messages as u64),
        ("limits.connections", limits.connections as u64),
        ("limits.connections_per_address", limits.connections_per_address as u64),
        ("limits.unauthenticated_connections", limits.unauthenticated_connections as u64),
        ("limits.inbox_messages", limits.inbox_messages),
        ("limits.inbox_bytes", limits.inbox_bytes),
        ("limits.handshake_timeout", limits.handshake_timeout.0.as_millis() as u64),
        ("limits.write_timeout", limits.write_timeout.0.as_millis() as u64),
        ("session.idle_expiry", session.idle_expiry.0.as_secs()),
    ];
    if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
        return bad(key, format_args!("must not be 0"));
    }
    if delivery.wait_at_most > Span::days(1) {
        return bad("delivery.wait_at_most", format_args!("must not be longer than a day"));
    }
    // Each of the four signs of life that are asked for has a second at least.
    if limits.peer_timeout.0 < Duration::from_secs(8) {
        return bad("limits.peer_timeout", format_args!("must be 8s at least"));
    }
    if limits.line_bytes_without_token < 1024 + 128 {
        return bad(
            "limits.line_bytes_without_token",
            format_args!("a login with a long password would not fit in less than 1152"),
        );
    }
    if limits.line_bytes < limits.line_bytes_without_token || limits.line_bytes > 64 << 20 {
        return bad("limits.line_bytes", format_args!("must lie between limits.line_bytes_without_token and 64 MiB"));
    }
    if u32::try_from(limits.buffered_reply_bytes).is_err() || limits.buffered_reply_bytes < 1 << 16 {
        return bad("limits.buffered_reply_bytes", format_args!("must lie between 64 KiB and 4 GiB"));
    }
    if limits.buffered_bytes < limits.line_bytes {
        return bad("limits.buffered_bytes", format_args!("one line of limits.line_bytes must fit in"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `chat.toml` with every setting uncommented.
    fn manual() -> String {
        let setting = |line: &str| {
            let rest = line.strip_prefix("# ")?;
            let (key, _) = rest.split_once(" = ")?;
            key.chars().all(|c| c.is_ascii_lowercase() || c == '_').then(|| rest.to_owned())
        };
        let lines = MANUAL.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned()));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_manual_shows_every_key_with_its_default() {
        let shown: toml::Table = manual().parse().expect("the manual is TOML");
        let known = toml::Table::try_from(Config::default()).expect("the defaults are TOML");
        assert_eq!(toml::to_string(&shown), toml::to_string(&known));
        assert_eq!(toml::from_str::<Config>(MANUAL), Ok(Config::default()), "all is commented out");
    }

    #[test]
    fn every_broken_file_gives_its_error() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad_configs"));
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).expect("the folder is part of the project") {
            let path = entry.expect("it can be listed").path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            seen += 1;
            let wanted = std::fs::read_to_string(path.with_extension("error")).expect("each has its error");
            let error = load(Some(&path), &[]).expect_err(&path.display().to_string());
            let error = error.0.replace(&path.display().to_string(), "FILE");
            assert_eq!(error, wanted.trim_end(), "{}", path.display());
            assert_eq!(error.lines().count(), 1);
        }
        assert!(seen >= 6, "only {seen} files were found");
    }

    #[test]
    fn flags_win_over_the_file_and_unknown_ones_are_refused() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let file = folder.path().join("chat.toml");
        std::fs::write(&file, "[limits]\nconnections = 5\n[session]\nidle_expiry = \"2h\"\n")
            .expect("it can be written");
        let loaded = load(Some(&file), &["limits.connections=7".to_owned()]).expect("all is in order");
        assert_eq!(loaded.config.limits.connections, 7);
        assert_eq!(loaded.config.session.idle_expiry, Span::seconds(7200));
        assert!(load(Some(&file), &["limits.conections=7".to_owned()]).is_err());
        assert!(load(Some(&file), &["limits.connections=many".to_owned()]).is_err());
    }
}
