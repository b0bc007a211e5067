//! Which address a request comes from, where proxies stand between.

use std::net::IpAddr;

use axum::http::HeaderMap;

use crate::model::AddressRange;

/// What proxies add to a request.
const PASSED_ON: [&str; 6] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded", "via"];

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientAddress {
    /// What it is counted for: the peer, or where the peer is a proxy that is trusted, the last one before the trusted
    /// ones in `X-Forwarded-For`. What stands before it was written by whoever came to it.
    pub address: IpAddr,
    /// It comes from this machine, and nothing says that a proxy passed it on.
    pub is_here: bool,
    /// A proxy that is trusted says that it came over https.
    pub is_https: bool,
}

impl ClientAddress {
    pub(super) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[AddressRange]) -> ClientAddress {
        let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
        let is_passed_on = is_trusted(peer) || PASSED_ON.iter().any(|name| headers.contains_key(*name));
        let mut address = peer;
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        // Each entry by itself: a client can put any bytes before what a proxy adds to the same line.
        for entry in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
            if !is_trusted(address) {
                break;
            }
            match std::str::from_utf8(entry).ok().and_then(|entry| address_in(entry.trim())) {
                Some(nearer) => address = nearer,
                None => break,
            }
        }
        let scheme = headers.get_all("x-forwarded-proto").iter().next_back();
        let is_https = is_trusted(peer) && scheme.is_some_and(|scheme| scheme.as_bytes() == b"https");
        ClientAddress { address, is_here: peer.is_loopback() && !is_passed_on, is_https }
    }
}

/// The address of an entry, which may have a port.
fn address_in(entry: &str) -> Option<IpAddr> {
    let with_port = || entry.parse().ok().map(|socket: std::net::SocketAddr| socket.ip());
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    entry.parse().ok().or_else(with_port).or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().expect("it is one")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("it is one")
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_what_they_wrote_themselves() {
        let trusted = [range("127.0.0.1"), range("10.0.0.0/8")];
        for (peer, forwarded, wanted) in [
            ("192.0.2.1", &["198.51.100.1"][..], "192.0.2.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // The first entry is the client's own invention.
            ("127.0.0.1", &["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &["203.0.113.9", "198.51.100.1, 10.1.1.1"], "198.51.100.1"),
            ("127.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("127.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("127.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("127.0.0.1", &["203.0.113.9, unknown"], "127.0.0.1"),
            ("127.0.0.1", &["203.0.113.9, "], "127.0.0.1"),
            ("127.0.0.1", &["203.0.113.9, nonsense, 10.1.1.1"], "10.1.1.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                headers.append("x-forwarded-for", line.parse().expect("it is a header"));
            }
            let client = ClientAddress::of(address(peer), &headers, &trusted);
            assert_eq!(
                client,
                ClientAddress { address: address(wanted), is_here: false, is_https: false },
                "{peer} {forwarded:?}"
            );
        }
    }

    #[test]
    fn bytes_of_the_client_hide_no_address_that_a_proxy_adds() {
        for sent in [
            &b"\xff, 192.0.2.2"[..],
            b"\xc3(\x80,192.0.2.2:99",
            b"127.0.0.1\xff, , \t192.0.2.2",
            b"\xe2\x80\xa8,192.0.2.2",
        ] {
            let mut headers = HeaderMap::new();
            headers.append("x-forwarded-for", HeaderValue::from_bytes(sent).expect("it is a header"));
            let client = ClientAddress::of(address("127.0.0.1"), &headers, &[range("127.0.0.1")]);
            assert_eq!(
                client,
                ClientAddress { address: address("192.0.2.2"), is_here: false, is_https: false },
                "{sent:?}"
            );
        }
    }

    #[test]
    fn only_what_no_proxy_passed_on_comes_from_this_machine() {
        let is_here = |peer: &str, header: Option<&'static str>, trusted: &[AddressRange]| {
            let headers = header.into_iter().map(|name| (name.parse().unwrap(), HeaderValue::from_static("\"")));
            ClientAddress::of(address(peer), &headers.collect(), trusted).is_here
        };
        assert!(is_here("127.0.0.1", None, &[]) && is_here("::1", Some("accept"), &[]));
        assert!(!is_here("192.0.2.1", None, &[]));
        assert!(!is_here("127.0.0.1", None, &[range("127.0.0.1")]));
        for name in PASSED_ON {
            assert!(!is_here("127.0.0.1", Some(name), &[]), "{name}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_that_a_request_came_over_https() {
        let trusted = [range("127.0.0.1")];
        let is_https = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-proto", HeaderValue::from_str(line).expect("it is text"));
            }
            ClientAddress::of(address(peer), &headers, &trusted).is_https
        };
        assert!(is_https("127.0.0.1", &["https"]));
        // The last line is the proxy's own.
        assert!(!is_https("127.0.0.1", &["https", "http"]));
        assert!(!is_https("127.0.0.1", &[]));
        assert!(!is_https("192.0.2.1", &["https"]));
    }
}
