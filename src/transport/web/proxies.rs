//! Which address a request comes from, where proxies stand between.

use std::net::IpAddr;

use axum::http::HeaderMap;

use crate::model::AddressRange;

/// The address that a request is counted for: the peer's, or where the peer is a proxy that is trusted, the last one
/// before the trusted ones in `X-Forwarded-For`. What stands before it was written by whoever came to it.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[AddressRange]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let mut nearest = peer;
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let entries = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.rsplit(','));
    for entry in entries {
        if !is_trusted(nearest) {
            break;
        }
        match address_in(entry.trim()) {
            Some(address) => nearest = address,
            None => break,
        }
    }
    nearest
}

/// The address of an entry, which may have a port.
fn address_in(entry: &str) -> Option<IpAddr> {
    let with_port = || entry.parse().ok().map(|socket: std::net::SocketAddr| socket.ip());
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    entry.parse().ok().or_else(with_port).or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
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
            assert_eq!(client_address(address(peer), &headers, &trusted), address(wanted), "{peer} {forwarded:?}");
        }
    }
}
