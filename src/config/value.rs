//! How a setting of its own kind is written.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time, written like `30d` or `15s`; `0s` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    pub(super) const fn seconds(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    pub(super) const fn days(days: u64) -> Span {
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
        humantime::parse_duration(&text).map(Span).map_err(|why| match why {
            humantime::DurationError::NumberOverflow => serde::de::Error::custom(format!("{text:?} is too long")),
            _ => serde::de::Error::custom(format!("{text:?} is no length of time such as \"30d\" or \"15s\": {why}")),
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

/// Some words, written as a list, or as one text with commas where there is no list (environment, flags).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WordList(pub Vec<String>);

impl<'de> Deserialize<'de> for WordList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<WordList, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "want a list of texts such as [\"one\", \"two\"]")]
        enum Written {
            List(Vec<String>),
            Text(String),
        }
        Ok(WordList(match Written::deserialize(deserializer)? {
            Written::List(words) => words,
            Written::Text(text) => {
                text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
            }
        }))
    }
}
