//! What no other page, no other name, no proxy and no peer can do. Each tries to break a rule.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::Page;
use crate::support::PATIENCE;

#[test]
fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
    let page = Page::new("");
    let answer = page.ask("POST /api/v1/login", "", &json!({ "name": "messi", "password": "surabaya" }));
    assert_eq!(answer.status, 200);
    let cookie = answer.header("set-cookie").expect("it is set");
    assert!(cookie.starts_with("__Host-chatd="), "{cookie}");
    for part in ["; Path=/;", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie} has no {part}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let token = cookie.split(['=', ';']).nth(1).expect("its value");
    assert!(!answer.text().contains(token), "a script reads bodies");
    assert_eq!(
        answer.json(),
        json!({ "name": "messi", "display_name": "Lionel Messi", "country": "Argentina", "administrator": false })
    );

    assert_eq!(page.browse("GET /api/v1/me", token, &Value::Null).json()["name"], "messi");
    let answer = page.browse("POST /api/v1/logout", token, &Value::Null);
    assert_eq!(answer.status, 204);
    assert!(answer.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")), "{}", answer.head);
    assert_eq!(answer.header("clear-site-data"), Some("\"cache\""));
    let dead = page.browse("GET /api/v1/me", token, &Value::Null);
    assert_eq!(dead.code(), (401, "unknown_token".to_owned()));
}

#[test]
fn a_page_of_another_origin_gets_nothing_with_the_cookie_that_the_browser_sends_along() {
    let page = Page::new("[web]\nhosts = [\"chat.example.org\"]");
    let token = page.login("messi");
    let cookie = format!("Cookie: __Host-chatd={token}\r\n");
    let address = page.address;
    let other_port = format!("Origin: http://127.0.0.1:{}\r\n", address.port().wrapping_add(1));
    for asked in ["GET /api/v1/me", "POST /api/v1/logout"] {
        for others in [
            "Sec-Fetch-Site: same-site\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: none\r\n",
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n",
            "Origin: null\r\n",
            "Origin: https://evil.example\r\n",
            "Origin: http://chat.example.org\r\n",
            &format!("Origin: http://localhost:{}\r\n", address.port()),
            &other_port,
            // An old browser, or no browser: nothing says that our page asks.
            "",
        ] {
            let answer = page.raw(asked, &format!("{cookie}{others}"), "");
            assert_eq!(answer.code(), (403, "cross_origin".to_owned()), "{asked} {others}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    // A login from elsewhere would put somebody into an account of another's choice.
    let login = json!({ "name": "messi", "password": "surabaya" }).to_string();
    let headers = "Content-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n";
    assert_eq!(page.raw("POST /api/v1/login", headers, &login).code(), (403, "cross_origin".to_owned()));
    // The browser asks before it lets another page send JSON; nothing is allowed.
    let asked = "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n";
    let preflight = page.raw("OPTIONS /api/v1/login", asked, "");
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (403, None));
    // And of all that the session still lives.
    assert_eq!(page.browse("GET /api/v1/me", &token, &Value::Null).status, 200);
    for ours in [format!("Origin: http://{address}\r\n"), "Origin: https://chat.example.org\r\n".to_owned()] {
        assert_eq!(page.raw("GET /api/v1/me", &format!("{cookie}{ours}"), "").status, 200, "{ours}");
    }
}

#[test]
fn a_form_of_another_page_cannot_log_in() {
    let page = Page::new("");
    let login = json!({ "name": "messi", "password": "surabaya" }).to_string();
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"]
    {
        let answer = page.raw("POST /api/v1/login", &format!("Content-Type: {kind}\r\n"), &login);
        assert_eq!(answer.code(), (415, "wrong_type".to_owned()), "{kind}");
    }
    assert_eq!(page.raw("POST /api/v1/login", "", &login).code(), (415, "wrong_type".to_owned()));
    let json = "Content-Type: Application/JSON; charset=utf-8\r\n";
    assert_eq!(page.raw("POST /api/v1/login", json, &login).status, 200);
}

#[test]
fn cookie_and_bearer_together_are_refused() {
    let page = Page::new("");
    let token = page.login("messi");
    let both =
        format!("Sec-Fetch-Site: same-origin\r\nCookie: __Host-chatd={token}\r\nAuthorization: Bearer {token}\r\n");
    assert_eq!(page.raw("GET /api/v1/me", &both, "").code(), (400, "two_credentials".to_owned()));
    assert_eq!(page.ask("GET /api/v1/me", &token, &Value::Null).json()["name"], "messi");
    let query = page.raw(&format!("GET /api/v1/me?token={token}"), "", "");
    assert_eq!(query.code(), (401, "unknown_token".to_owned()), "a token in a query would be in logs");
}

#[test]
fn a_name_that_is_not_ours_is_not_answered_not_even_with_the_page() {
    let page = Page::new("[web]\nhosts = [\"chat.example.org\"]");
    for path in ["/", "/health", "/api/v1/me", "/a/x/y.js", "/nothing"] {
        let answer = page.raw(&format!("GET {path}"), "Host: evil.example\r\n", "");
        assert_eq!(answer.code(), (403, "unknown_host".to_owned()), "{path}");
        assert!(answer.json()["message"].as_str().is_some_and(|text| text.contains("web.hosts")));
    }
    for ours in ["chat.example.org", "CHAT.EXAMPLE.ORG:443", "localhost:1", "[::1]:8080", "192.0.2.7"] {
        assert_eq!(page.raw("GET /health", &format!("Host: {ours}\r\n"), "").status, 200, "{ours}");
    }
}

#[test]
fn every_answer_keeps_the_browser_from_more_than_the_page_needs() {
    let page = Page::new("");
    for request in ["GET /health", "GET /api/v1/me", "GET /nothing", "DELETE /health", "POST /api/v1/login", "GET /"] {
        let answer = page.raw(request, "", "");
        let header = |name: &str| answer.header(name).unwrap_or_else(|| panic!("{request} has no {name}")).to_owned();
        assert_eq!(
            header("content-security-policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
             manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types chatd"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
        assert!(header("permissions-policy").contains("geolocation=()"));
        assert_eq!(answer.header("strict-transport-security"), None, "it is not encrypted");
        if request != "GET /" {
            assert_eq!(header("cache-control"), "no-store", "{request}");
        }
    }
}

/// With these a login is refused after two wrong ones from an address.
const TWO_TRIES: &str = "[throttle]\naddress_per_minute = 2\naddress_per_hour = 2\n";

fn try_to_log_in(page: &Page, forwarded: &str) -> (u16, String) {
    let body = json!({ "name": "messi", "password": "wrong" }).to_string();
    page.raw("POST /api/v1/login", &format!("Content-Type: application/json\r\n{forwarded}"), &body).code()
}

#[test]
fn nobody_gets_more_attempts_by_naming_other_addresses() {
    let page = Page::new(TWO_TRIES);
    let wrong = (401, "wrong_login".to_owned());
    assert_eq!(try_to_log_in(&page, "X-Forwarded-For: 198.51.100.1\r\n"), wrong);
    assert_eq!(try_to_log_in(&page, "X-Forwarded-For: 198.51.100.2\r\n"), wrong);
    let third = try_to_log_in(&page, "X-Forwarded-For: 198.51.100.3\r\n");
    assert_eq!(third, (429, "throttled".to_owned()));
    let mut client = page.server.connect();
    assert!(client.ask("auth messi wrong").contains("too many attempts"), "the buckets are those of the wire");
}

#[test]
fn behind_a_trusted_proxy_each_client_has_its_own_attempts_and_cannot_invent_more() {
    let page = Page::new(&format!("{TWO_TRIES}[web]\ntrusted_proxies = [\"127.0.0.1\"]\n"));
    let from = |address: &str| try_to_log_in(&page, &format!("X-Forwarded-For: 203.0.113.77, {address}\r\n"));
    let (wrong, throttled) = ((401, "wrong_login".to_owned()), (429, "throttled".to_owned()));
    assert_eq!([from("198.51.100.1"), from("198.51.100.1")], [wrong.clone(), wrong.clone()]);
    assert_eq!(from("198.51.100.1"), throttled);
    assert_eq!(from("198.51.100.2"), wrong);
    let invented = try_to_log_in(&page, "X-Forwarded-For: 203.0.113.1, 198.51.100.1\r\n");
    assert_eq!(invented, throttled, "the first entry is the client's own");
}

#[test]
fn whom_a_proxy_passes_on_is_not_on_this_machine() {
    let page = Page::new("[protocol]\nregister = \"loopback\"");
    let register = |headers: &str, name: &str| {
        let wanted = json!({ "invite": "", "name": name, "password": "rahasia" }).to_string();
        page.raw("POST /api/v1/register", &format!("Content-Type: application/json\r\n{headers}"), &wanted).status
    };
    for passed_on in ["X-Forwarded-For: 192.0.2.2\r\n", "Via: 1.1 proxy\r\n", "Forwarded: for=192.0.2.2\r\n"] {
        assert_eq!(register(passed_on, "eve"), 403, "{passed_on}");
    }
    assert_eq!(register("", "eve"), 200);
}

#[test]
fn a_refused_login_says_how_long_to_wait_and_not_which_part_was_wrong() {
    let page = Page::new("[throttle]\naddress_per_minute = 2\naddress_per_hour = 2");
    let login = |name: &str| page.ask("POST /api/v1/login", "", &json!({ "name": name, "password": "wrong" }));
    let (here, nowhere) = (login("messi"), login("nobody"));
    assert_eq!((here.status, here.text()), (nowhere.status, nowhere.text()));
    let throttled = login("messi");
    assert_eq!(throttled.status, 429);
    let seconds: u64 = throttled.header("retry-after").and_then(|after| after.parse().ok()).expect("it is told");
    assert!((1..=3600).contains(&seconds), "{seconds}");
}

#[test]
fn heads_and_bodies_have_ends() {
    let page = Page::new("");
    let long = page.raw("GET /health", &format!("X-Long: {}\r\n", "x".repeat(20_000)), "");
    assert_eq!(long.status, 431);
    let password = "x".repeat(70_000);
    let long = page.ask("POST /api/v1/login", "", &json!({ "name": "messi", "password": password }));
    assert_eq!(long.code(), (413, "too_large".to_owned()));
    let token = page.login("messi");
    for (more, status) in [(0, 200), (1, 413)] {
        let json = json!({ "display_name": "Leo" }).to_string();
        let body = format!("{json}{}", " ".repeat((64 << 10) + more - json.len()));
        let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
        assert_eq!(page.raw("POST /api/v1/me", &headers, &body).status, status, "{} bytes", body.len());
    }
    for broken in
        ["", "{", "[]", "{\"name\": 1, \"password\": \"x\"}", "{\"name\": \"x\", \"password\": \"y\", \"z\": 1}"]
    {
        let answer = page.raw("POST /api/v1/login", "Content-Type: application/json\r\n", broken);
        assert_eq!(answer.code(), (400, "malformed".to_owned()), "{broken}");
    }
}

/// A head that does not come holds a connection for ten seconds, and hyper closes it; what is tried here is that such
/// connections make room for others long before.
#[test]
fn silent_connections_make_room_for_those_who_ask() {
    let page = Page::new("[limits]\nunauthenticated_connections = 5");
    let mut silent: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(page.address).expect("it listens");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: half").expect("it is taken");
            stream
        })
        .collect();
    assert_eq!(page.raw("GET /health", "", "").status, 200);
    let first = &mut silent[0];
    first.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    assert_eq!(first.read(&mut [0; 1]).unwrap_or(0), 0, "the first made room");
}

#[test]
fn a_peer_that_reads_nothing_is_not_waited_for_longer_than_the_settings_say() {
    let page = Page::new("[limits]\nwrite_timeout = \"200ms\"");
    let mut stream = TcpStream::connect(page.address).expect("it listens");
    stream.set_write_timeout(Some(Duration::from_millis(100))).expect("it is not zero");
    let request = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    let begun = std::time::Instant::now();
    // Answers pile up until the server gives up, which a write then tells.
    let broken = loop {
        match stream.write_all(request.as_bytes()) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => break error.kind(),
        }
        assert!(begun.elapsed() < PATIENCE, "the server waits for ever");
    };
    assert!(matches!(broken, std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe), "{broken:?}");
}
