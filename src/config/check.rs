//! What the settings must be: each by itself, and then together. Every message names the remedy.

use std::fmt;
use std::net::SocketAddr;

use serde::de::Error as _;
use toml::Value;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use super::range::{self, Range};
use super::{AcmeConfig, BadConfig, Config, Listen, Metrics, ServerConfig, Span, WordList};
use crate::auth::password;
use crate::model::{AddressRange, PushHost};

/// What is wrong with the value of one setting, by itself.
pub(super) fn alone(key: &str, value: &Value) -> Option<String> {
    let range = Range::of(key);
    let name = key.rsplit('.').next().unwrap_or(key);
    if let Some(range) = range.filter(|range| !range.is_time()) {
        match value {
            Value::Integer(_) => {}
            Value::String(text) if text.parse::<i64>().is_ok() => return Some("a number has no quotes".to_owned()),
            other => return Some(format!("{other} is no whole number; it must be {range}")),
        }
    }
    if range.is_some_and(Range::is_time)
        && let Some(count) = value.as_integer().or_else(|| value.as_str()?.parse().ok()).filter(|count| *count != 0)
    {
        return Some(format!("{value} has no unit; write \"{count}{}\"", unit(key)));
    }
    if name.ends_with("listen") {
        return no_address(key, value);
    }
    if key.starts_with("web.") {
        return no_words(key, value);
    }
    if let Some(name) = key.strip_prefix("acme.")
        && let Some(why) = AcmeConfig::wrong(name, value)
    {
        return Some(why);
    }
    if key == "log.level" {
        return value.as_str().and_then(no_level);
    }
    match (one(key, value), range) {
        (Ok(config), Some(range)) if !range.holds(&config) => Some(format!("it must be {range}")),
        (Ok(_), _) => None,
        // It does not even fit into the number's type.
        (Err(_), Some(range)) if !range.is_time() => Some(format!("it must be {range}")),
        (Err(error), _) => Some(error.message().replace('\n', " ")),
    }
}

/// The defaults with this one setting.
fn one(key: &str, value: &Value) -> Result<Config, toml::de::Error> {
    let (section, name) = key.split_once('.').ok_or_else(|| toml::de::Error::custom("it is of no section"))?;
    let section_table = toml::Table::from_iter([(name.to_owned(), value.clone())]);
    toml::Table::from_iter([(section.to_owned(), Value::Table(section_table))]).try_into()
}

/// The unit of a length of time that is meant, most likely: that of the default.
fn unit(key: &str) -> String {
    let defaults = Value::try_from(Config::default()).unwrap_or(Value::Boolean(false));
    let default = key.split_once('.').and_then(|(section, name)| defaults.get(section)?.get(name)?.as_str());
    let default = default.and_then(|text| humantime::parse_duration(text).ok()).unwrap_or_default();
    range::short(Span(default)).trim_start_matches(|c: char| c.is_ascii_digit()).to_owned()
}

fn no_address(key: &str, value: &Value) -> Option<String> {
    let may_be_empty = key != "server.listen";
    let text = match value {
        Value::String(text) if text.is_empty() && may_be_empty => return None,
        Value::String(text) => text.clone(),
        Value::Integer(port) => port.to_string(),
        other => other.to_string(),
    };
    if value.is_str() && text.parse::<SocketAddr>().is_ok() {
        return None;
    }
    let port = |text: &str| text.parse::<u16>().ok();
    if let Some(port) = port(&text) {
        return Some(format!("{value} is a port without an address; write \"127.0.0.1:{port}\""));
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        let example = SocketAddr::new(address, Config::default().server.listen.port());
        return Some(format!("{value} is an address without a port; write \"{example}\""));
    }
    if let Some((host, port)) = text.rsplit_once(':').and_then(|(host, rest)| Some((host, port(rest)?))) {
        let host = if host == "localhost" { "a name" } else { "no IP address" };
        return Some(format!("{value}: what stands before the port is {host}; write \"127.0.0.1:{port}\""));
    }
    let or_empty = if may_be_empty { ", nor \"\" for nowhere" } else { "" };
    Some(format!("{value} is no address and port such as \"127.0.0.1:8889\"{or_empty}"))
}

/// What is wrong with a list of names or of addresses.
fn no_words(key: &str, value: &Value) -> Option<String> {
    let WordList(words) = match value.clone().try_into() {
        Ok(words) => words,
        Err(error) => return Some(error.message().replace('\n', " ")),
    };
    words.iter().find_map(|word| match key {
        "web.trusted_proxies" => word.parse::<AddressRange>().err().map(|why| format!("{word:?}: {why}")),
        "web.push_hosts" => word.parse::<PushHost>().err().map(|why| format!("{word:?}: {why}")),
        _ => no_host(word).then(|| {
            let bare = word.rsplit("//").next().unwrap_or_default().split('/').next().unwrap_or_default();
            format!("{word:?} is no name of a host in lower case; write {:?}", bare.to_lowercase())
        }),
    })
}

/// Whether this is not how a browser spells a host in `Host` and `Origin`, with its port where it has one.
fn no_host(word: &str) -> bool {
    let (name, port) = word.split_once(':').unwrap_or((word, "1"));
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    name.is_empty() || !name.chars().all(is_name) || port.parse::<u16>().is_err()
}

/// The filter takes an unknown word for the name of a module, and then logs nothing else.
fn no_level(level: &str) -> Option<String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    for directive in level.split(',') {
        if !directive.contains('=') && !LEVELS.contains(&directive) {
            return Some(format!("{directive:?} is none of {}", LEVELS.join(", ")));
        }
        if directive.parse::<Directive>().is_err() {
            return Some(format!("{directive:?} is no directive such as \"chatd=debug\""));
        }
    }
    EnvFilter::try_new(level).err().map(|error| error.to_string().replace('\n', " "))
}

/// Mistakes that several settings make together: the settings, at least one of which must change, and the reason.
pub(super) fn together(config: &Config) -> Vec<(&'static [&'static str], String)> {
    let Config { server, web, password, limits, .. } = config;
    let mut wrong = Vec::new();
    let mut complain = |keys: &'static [&'static str], why: Result<(), BadConfig>| {
        wrong.extend(why.err().map(|why| (keys, why.to_string())));
    };
    complain(&["server.listen", "server.allow_plaintext"], server.allows_plaintext_at("server.listen", server.listen));
    if let Listen(Some(address)) = server.text_listen {
        let allowed = server.allows_plaintext_at("server.text_listen", address);
        complain(&["server.text_listen", "server.allow_plaintext"], allowed);
    }
    if let Listen(Some(address)) = web.listen {
        let allowed = server.allows_plaintext_at("web.listen", address);
        complain(&["web.listen", "server.allow_plaintext"], allowed);
    }
    if let Listen(Some(address)) = config.metrics.listen {
        complain(&["metrics.listen"], Metrics::allows(address));
    }
    for (setting, address) in [("server.tls_listen", server.tls_listen), ("web.tls_listen", web.tls_listen)] {
        let files = [
            (&["server.tls_certificate", "server.tls_listen", "web.tls_listen"][..], &server.tls_certificate),
            (&["server.tls_key", "server.tls_listen", "web.tls_listen"], &server.tls_key),
        ];
        for (keys, path) in files {
            if address != Listen(None) && path.as_os_str().is_empty() && !config.acme.is_on() {
                let why = format!("{}: {setting} wants a certificate and its key, or acme.hosts", keys[0]);
                complain(keys, Err(BadConfig::new(why)));
            }
        }
    }
    complain(&["acme.hosts", "server.tls_certificate", "server.tls_key"], config.acme.is_alone(server));
    let cost = password::Cost {
        memory_kib: password.memory_kib,
        iterations: password.iterations,
        parallelism: password.parallelism,
    };
    if let Err(why) = password::check(cost) {
        let why = format!("password: argon2 takes no such parameters: {why}");
        complain(&["password.memory_kib", "password.parallelism", "password.iterations"], Err(BadConfig::new(why)));
    }
    for (keys, less, more) in [
        (
            &["limits.line_bytes_without_token", "limits.line_bytes"][..],
            limits.line_bytes_without_token,
            limits.line_bytes,
        ),
        (&["limits.line_bytes", "limits.buffered_bytes"], limits.line_bytes, limits.buffered_bytes),
    ] {
        if less > more {
            let why = format!("{} = {more}: it must not be less than {} = {less}", keys[1], keys[0]);
            complain(keys, Err(BadConfig::new(why)));
        }
    }
    wrong
}

impl ServerConfig {
    /// Whether passwords may come in unencrypted at this address; `key` is the setting that names it.
    pub fn allows_plaintext_at(&self, key: &str, address: SocketAddr) -> Result<(), BadConfig> {
        if address.ip().is_loopback() || self.allow_plaintext {
            return Ok(());
        }
        bad(
            key,
            format_args!(
                "{address} is not loopback, and passwords would cross the network in the clear: use {}, or \
                 set server.allow_plaintext = true where something else encrypts",
                if key == "web.listen" { "web.tls_listen" } else { "server.tls_listen" }
            ),
        )
    }
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

fn bad<T>(key: &str, why: fmt::Arguments<'_>) -> Result<T, BadConfig> {
    Err(BadConfig::new(format!("{key}: {why}")))
}
