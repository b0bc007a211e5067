//! The push services of browsers. A browser says where it wants to be told, and that is an address that this server
//! then asks: so it must be a service of a browser's maker or one that the administrator has named, and none inside
//! this network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::http::Uri;

use crate::model::PushHost;

/// The services of Google, Mozilla, Apple and Microsoft; a dot at the beginning stands for whatever is before it.
const KNOWN: &[&str] = &["fcm.googleapis.com", ".push.services.mozilla.com", ".push.apple.com", ".notify.windows.com"];

/// A longer address is none of a push service, in bytes.
const ADDRESS_BYTES: usize = 1024;

/// Where one browser is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PushAddress {
    pub host: PushHost,
    /// What is asked there.
    pub path: String,
}

/// Why nobody is to be asked at an address.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoService {
    #[error("its name has no public address")]
    Private,
    #[error(transparent)]
    Unknown(#[from] std::io::Error),
}

impl PushAddress {
    /// The address, if it is one of a service that may be asked.
    pub(super) fn parse(address: &str, named: &[PushHost]) -> Option<PushAddress> {
        if address.len() > ADDRESS_BYTES {
            return None;
        }
        let uri: Uri = address.parse().ok()?;
        let authority = uri.authority()?;
        let path = uri.path_and_query()?.as_str().to_owned();
        if uri.scheme_str() == Some("http") {
            let local = PushHost::Local(authority.as_str().parse().ok()?);
            return named.contains(&local).then_some(PushAddress { host: local, path });
        }
        if uri.scheme_str() != Some("https") || authority.as_str() != authority.host() {
            return None;
        }
        let host = authority.host().to_ascii_lowercase();
        let is_known = KNOWN.iter().any(|known| match known.starts_with('.') {
            true => host.ends_with(known),
            false => host == *known,
        });
        let host = PushHost::Name(host);
        (is_known || named.contains(&host)).then_some(PushAddress { host, path })
    }

    /// The origin, as a signature names it.
    pub(super) fn origin(&self) -> String {
        match &self.host {
            PushHost::Name(name) => format!("https://{name}"),
            PushHost::Local(address) => format!("http://{address}"),
        }
    }

    /// What the service is called in `Host`.
    pub(super) fn authority(&self) -> String {
        match &self.host {
            PushHost::Name(name) => name.clone(),
            PushHost::Local(address) => address.to_string(),
        }
    }

    /// Where to connect to: what the name has now, looked up once, so that it cannot be another a moment later.
    pub(super) async fn look_up(&self) -> Result<SocketAddr, NoService> {
        match &self.host {
            PushHost::Local(address) => Ok(*address),
            PushHost::Name(name) => {
                let mut found = tokio::net::lookup_host((name.as_str(), 443)).await?;
                found.find(|address| is_public(address.ip())).ok_or(NoService::Private)
            }
        }
    }
}

/// Whether an address is one of the internet's, and not of this network, this machine or none at all.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special =
        matches!((a, b, c), (0 | 224.., ..) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _));
    let is_inside = address.is_private() || address.is_loopback() || address.is_link_local();
    !(is_special || is_inside || address.is_documentation())
}

/// 2000::/3 is what is given out, and some of it leads back to addresses of IPv4 or nowhere.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4((u32::from(high) << 16 | u32::from(low)).into()),
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002 | 0x3fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_services_of_browsers_and_those_that_were_named_are_asked() {
        let named: Vec<PushHost> =
            ["push.example.org", "http://127.0.0.1:4000"].iter().map(|name| name.parse().expect("it is one")).collect();
        for good in [
            "https://fcm.googleapis.com/fcm/send/x:y",
            "https://updates.push.services.mozilla.com/wpush/v2/gAAA",
            "https://web.push.apple.com/QGu",
            "https://wns2-par02p.notify.windows.com/w/?token=BQ%3d",
            "https://PUSH.example.org/x",
            "http://127.0.0.1:4000/push/1",
        ] {
            assert!(PushAddress::parse(good, &named).is_some(), "{good}");
        }
        let windows = PushAddress::parse("https://a.notify.windows.com/w/?token=BQ%3d", &[]).expect("it is known");
        assert_eq!(
            (windows.origin(), windows.path),
            ("https://a.notify.windows.com".to_owned(), "/w/?token=BQ%3d".to_owned())
        );
        for bad in [
            "http://fcm.googleapis.com/x",
            "https://fcm.googleapis.com:8443/x",
            "https://fcm.googleapis.com@evil.example/x",
            "https://x:y@fcm.googleapis.com/x",
            "https://evil.example/fcm.googleapis.com",
            "https://fcm.googleapis.com.evil.example/x",
            "https://evilpush.apple.com/x",
            "https://push.apple.com/x",
            "https://sub.push.example.org/x",
            "http://push.example.org/x",
            "https://127.0.0.1:4000/x",
            "https://127.0.0.1/x",
            "http://127.0.0.1:4001/x",
            "http://[::1]:4000/x",
            "https://[::1]/x",
            "ftp://push.example.org/x",
            "//push.example.org/x",
            "/x",
            "",
            "https://",
            &format!("https://push.example.org/{}", "x".repeat(1024)),
        ] {
            assert_eq!(PushAddress::parse(bad, &named), None, "{bad}");
        }
    }

    #[test]
    fn no_address_inside_is_public() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(inside.parse().expect("it is an address")), "{inside}");
        }
        for public in ["142.250.1.1", "2a00:1450::5f", "64:ff9b::8efa:101", "2600:1901::1", "::ffff:142.250.1.1"] {
            assert!(is_public(public.parse().expect("it is an address")), "{public}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_asked() {
        let address = PushAddress { host: PushHost::Name("localhost".to_owned()), path: "/".to_owned() };
        assert!(address.look_up().await.is_err());
    }
}
