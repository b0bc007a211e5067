//! Who may ask at all. A browser tells where a request comes from, and another page's requests are not answered, be it
//! a page on another port of this host, to which the browser gives our cookie as well. And a name that is not ours is
//! not answered, because a page elsewhere may have made it point here.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};

use super::WebSettings;
use super::error::ErrorCode;

/// The name of our cookie. Browsers take one of this name only over TLS or on loopback, for this host alone.
pub(super) const COOKIE: &str = "__Host-chatd";

/// Whether a request that was sent to this name is for us. Where the target names a host, too, both are the same.
pub(super) fn check_host(headers: &HeaderMap, target: &Uri, settings: &WebSettings) -> Result<(), ErrorCode> {
    let host = host(headers).ok_or(ErrorCode::UnknownHost)?;
    if target.authority().is_some_and(|named| !named.as_str().eq_ignore_ascii_case(&host)) {
        return Err(ErrorCode::UnknownHost);
    }
    let name = without_port(&host);
    let is_ours = settings.hosts.iter().any(|ours| without_port(ours) == name);
    if is_ours || is_local_or_address(name) { Ok(()) } else { Err(ErrorCode::UnknownHost) }
}

/// Whether no other page has made a browser ask this.
pub(super) fn check_origin(headers: &HeaderMap, is_encrypted: bool, settings: &WebSettings) -> Result<(), ErrorCode> {
    match (text(headers, "sec-fetch-site"), text(headers, "origin")) {
        (Some("same-origin"), _) | (None, None) => Ok(()),
        (None, Some(origin)) if is_our_origin(origin, headers, is_encrypted, settings) => Ok(()),
        _ => Err(ErrorCode::CrossOrigin),
    }
}

/// Whether the browser has said itself that our page asks. Without that the cookie does not count.
pub(super) fn names_our_page(headers: &HeaderMap) -> bool {
    // What these say was checked before.
    headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN)
}

fn is_our_origin(origin: &str, headers: &HeaderMap, is_encrypted: bool, settings: &WebSettings) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let authority = authority.to_ascii_lowercase();
    if scheme == "https" && settings.hosts.contains(&authority) {
        return true;
    }
    let host = host(headers).unwrap_or_default();
    match is_encrypted {
        true => scheme == "https" && authority == host,
        false => scheme == "http" && authority == host && is_local_or_address(without_port(&host)),
    }
}

/// The one value of a header; of several, none counts.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(one), None) => Some(one.to_str().unwrap_or("?")),
        (None, _) => None,
        (Some(_), Some(_)) => Some("?"),
    }
}

fn host(headers: &HeaderMap) -> Option<String> {
    text(headers, "host").map(str::to_ascii_lowercase)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// An address cannot be made to point elsewhere, and `localhost` is this machine everywhere.
fn is_local_or_address(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::{HeaderName, HeaderValue};

    use super::*;
    use crate::transport::web::WritePatience;

    fn settings() -> WebSettings {
        WebSettings {
            hosts: vec!["chat.example.org".to_owned(), "other.example.org:8443".to_owned()],
            trusted_proxies: Vec::new(),
            push_hosts: Vec::new(),
            write_patience: WritePatience { most: Duration::ZERO, min_bytes_per_second: 1 },
            linger: Duration::ZERO,
        }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("it is a name");
            headers.append(name, HeaderValue::from_str(value).expect("it is a value"));
        }
        headers
    }

    #[test]
    fn a_name_that_is_not_ours_is_not_answered() {
        let check = |host: &str| check_host(&headers(&[("host", host)]), &Uri::from_static("/"), &settings());
        for ours in [
            "chat.example.org",
            "CHAT.example.org:443",
            "other.example.org",
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "192.0.2.1",
            "[::1]:8080",
            "[::1]",
            "::1",
        ] {
            assert_eq!(check(ours), Ok(()), "{ours}");
        }
        for other in
            ["evil.example", "chat.example.org.evil.example", "localhost.evil.example", "", ":8080", "127.0.0.1.evil"]
        {
            assert_eq!(check(other), Err(ErrorCode::UnknownHost), "{other}");
        }
        let path = Uri::from_static("/");
        assert_eq!(check_host(&HeaderMap::new(), &path, &settings()), Err(ErrorCode::UnknownHost));
        let two = headers(&[("host", "localhost"), ("host", "localhost")]);
        assert_eq!(check_host(&two, &path, &settings()), Err(ErrorCode::UnknownHost));
        let named =
            |target| check_host(&headers(&[("host", "localhost:8080")]), &Uri::from_static(target), &settings());
        assert_eq!(named("http://LOCALHOST:8080/"), Ok(()));
        assert_eq!(named("http://evil.example/"), Err(ErrorCode::UnknownHost));
    }

    #[test]
    fn another_page_is_not_answered_whatever_it_has_in_common_with_ours() {
        let check = |lines: &[(&str, &str)], is_encrypted| check_origin(&headers(lines), is_encrypted, &settings());
        for (lines, is_encrypted) in [
            (&[][..], false),
            (&[("sec-fetch-site", "same-origin")][..], false),
            (&[("host", "localhost:8080"), ("origin", "http://localhost:8080")], false),
            (&[("host", "127.0.0.1:8080"), ("origin", "https://chat.example.org")], false),
            (&[("host", "other.example.org:8443"), ("origin", "https://other.example.org:8443")], true),
        ] {
            assert_eq!(check(lines, is_encrypted), Ok(()), "{lines:?}");
        }
        for (lines, is_encrypted) in [
            (&[("sec-fetch-site", "same-site")][..], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
            // The same-origin of a page that says so itself is only taken from the browser's own header.
            (&[("sec-fetch-site", "cross-site"), ("host", "localhost"), ("origin", "http://localhost")], false),
            (&[("host", "localhost:8080"), ("origin", "http://localhost:8081")], false),
            (&[("host", "localhost:8080"), ("origin", "http://127.0.0.1:8080")], false),
            (&[("host", "localhost:8080"), ("origin", "null")], false),
            (&[("host", "chat.example.org"), ("origin", "http://chat.example.org")], false),
            (&[("host", "chat.example.org"), ("origin", "https://chat.example.org:8443")], false),
            (&[("host", "other.example.org:8443"), ("origin", "https://other.example.org")], true),
            (&[("host", "localhost:8080"), ("origin", "http://localhost:8080")], true),
        ] {
            assert_eq!(check(lines, is_encrypted), Err(ErrorCode::CrossOrigin), "{lines:?}");
        }
    }
}
