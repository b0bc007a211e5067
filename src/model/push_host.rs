//! Push services that are named beside those of the browsers' makers.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A push service that the administrator has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PushHost {
    /// Over https, at a public address.
    Name(String),
    /// On this machine, without TLS.
    Local(SocketAddr),
}

/// The text names no push service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no name such as \"push.example.org\" and no service on this machine such as \"http://127.0.0.1:4000\"")]
pub(crate) struct BadPushHost;

impl FromStr for PushHost {
    type Err = BadPushHost;

    fn from_str(text: &str) -> Result<PushHost, BadPushHost> {
        if let Some(local) = text.strip_prefix("http://") {
            let address: SocketAddr = local.parse().map_err(|_| BadPushHost)?;
            return if address.ip().is_loopback() { Ok(PushHost::Local(address)) } else { Err(BadPushHost) };
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let fits = !text.is_empty() && text.chars().all(is_name) && text.parse::<IpAddr>().is_err();
        if fits { Ok(PushHost::Name(text.to_ascii_lowercase())) } else { Err(BadPushHost) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_over_https_and_only_loopback_in_the_clear() {
        assert_eq!("push.example.org".parse(), Ok(PushHost::Name("push.example.org".to_owned())));
        assert_eq!("http://[::1]:80".parse(), Ok(PushHost::Local(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80)))));
        for bad in [
            "",
            "https://push.example.org",
            "http://192.168.0.7:80",
            "http://push.example.org",
            "127.0.0.1",
            "a b",
            "push.example.org:1",
        ] {
            assert_eq!(bad.parse::<PushHost>(), Err(BadPushHost), "{bad}");
        }
    }
}
