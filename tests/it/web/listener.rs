//! Where browsers come in: addresses, TLS, a stop, a reload, and the files of the page.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use flate2::read::GzDecoder;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use super::{Answer, Page, with_page};
use crate::support::{Folder, PATIENCE, Server, address_in};

#[test]
fn the_page_is_off_unless_asked_for_and_only_on_loopback_in_the_clear() {
    let folder = Folder::new("");
    assert!(!Server::start(&folder).log().contains("browsers"));
    folder.configure("[web]\nlisten = \"0.0.0.0:0\"");
    let output = folder.run(&["serve"], "");
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && why.contains("web.listen: 0.0.0.0:0 is not loopback"), "{why}");
    assert!(why.contains("web.tls_listen"), "the remedy is named: {why}");
    folder.configure("[web]\ntls_listen = \"127.0.0.1:0\"");
    let why = String::from_utf8_lossy(&folder.run(&["serve"], "").stderr).into_owned();
    assert!(why.contains("server.tls_certificate: web.tls_listen wants a certificate and its key"), "{why}");
    for (bad, words) in [
        ("hosts = [\"https://chat.example.org\"]", "write \"chat.example.org\""),
        ("hosts = [\"Chat.example.org\"]", "write \"chat.example.org\""),
        ("trusted_proxies = [\"proxy.example.org\"]", "is no address such as"),
        ("hosts = 7", "want a list of texts"),
    ] {
        folder.configure(&format!("[web]\n{bad}"));
        let why = String::from_utf8_lossy(&folder.run(&["config", "check"], "").stderr).into_owned();
        assert!(why.contains(words), "{bad}: {why}");
    }
    let flags = ["config", "show", "--set", "web.hosts=a.example.org, b.example.org:8443"];
    folder.configure("");
    assert!(folder.done(&flags, "").contains("hosts = [\"a.example.org\", \"b.example.org:8443\"]"));
}

#[test]
fn the_demonstration_names_the_page_first() {
    let folder = Folder::new("[server]\ntext_listen = \"127.0.0.1:0\"\n[web]\nlisten = \"127.0.0.1:0\"");
    let server = Server::start_with(&folder, folder.command(&["serve", "--demo"]));
    let address = address_in(&server.log(), "listening for browsers").expect("it is logged");
    let begun = Instant::now();
    let said = loop {
        let log = server.log();
        if let Some((_, said)) = log.split_once("chatd is running.").filter(|(_, said)| said.contains("Ctrl-C")) {
            break said.to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "{log}");
    };
    let (page, text) = (said.find(&format!("http://{address}")), said.find("nc 127.0.0.1"));
    assert!(page.is_some() && page < text, "{said}");
}

#[test]
fn a_reload_takes_other_names_and_says_that_another_address_has_to_wait() {
    let page = Page::new("");
    let ask = || page.raw("GET /health", "Host: chat.example.org\r\n", "").status;
    assert_eq!(ask(), 403);
    page.folder.configure("[web]\nlisten = \"127.0.0.1:1\"\nhosts = [\"chat.example.org\"]");
    kill(page.server.pid(), Signal::SIGHUP).expect("it runs");
    let begun = Instant::now();
    while ask() != 200 || !page.server.log().contains("takes effect at the next start key=\"web.listen\"") {
        assert!(begun.elapsed() < PATIENCE, "{}", page.server.log());
    }
}

/// A connection that was used, and is kept for the next request.
fn kept_alive(page: &Page) -> TcpStream {
    let mut stream = TcpStream::connect(page.address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is taken");
    let mut read = Vec::new();
    while !read.ends_with(b"{\"status\":\"ok\"}") {
        let mut more = [0; 1024];
        let length = stream.read(&mut more).expect("it is answered");
        assert_ne!(length, 0, "{:?}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&more[..length]);
    }
    stream
}

#[test]
fn a_stop_ends_connections_that_wait_for_nothing_and_answers_what_was_asked() {
    let page = Page::new("");
    let mut idle = kept_alive(&page);
    // A head that has come, and a body that comes while the server stops.
    let mut asking = kept_alive(&page);
    let body = json!({ "name": "messi", "password": "surabaya" }).to_string();
    let head = "POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let half = format!("{head}Content-Length: {}\r\nExpect: 100-continue\r\n\r\n", body.len());
    asking.write_all(half.as_bytes()).expect("it is taken");
    let mut goes_on = [0; 25];
    asking.read_exact(&mut goes_on).expect("the server waits for the body");
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    kill(page.server.pid(), Signal::SIGTERM).expect("it runs");
    assert_eq!(idle.read(&mut [0; 1]).expect("it ends in order"), 0);
    asking.write_all(body.as_bytes()).expect("it is taken");
    let answer = Answer::read(&mut asking);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let Page { folder: _folder, mut server, .. } = page;
    assert_eq!(server.wait(), Some(0));
    assert!(!server.log().contains("did not end in time"), "{}", server.log());
}

#[test]
fn who_speaks_no_tls_at_the_tls_port_is_told_so() {
    let folder = Folder::new("");
    crate::security::new_certificate(&folder);
    folder.configure(&with_page(
        "[server]\ntls_certificate = \"chat.crt\"\ntls_key = \"chat.key\"\n[web]\ntls_listen = \"127.0.0.1:0\"",
    ));
    let server = Server::start(&folder);
    let address = address_in(&server.log(), "listening for browsers in TLS").expect("it is logged");
    let mut plain = TcpStream::connect(address).expect("it listens");
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is taken");
    let answer = Answer::read(&mut plain);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("https://"), "{}", answer.text());
}

#[test]
fn the_page_is_served_in_tls_and_says_that_it_stays_so() {
    let folder = Folder::new("");
    let certificate = crate::security::new_certificate(&folder);
    folder.configure(&with_page(
        "[server]\ntls_certificate = \"chat.crt\"\ntls_key = \"chat.key\"\n[web]\ntls_listen = \"127.0.0.1:0\"",
    ));
    folder.add_three();
    let server = Server::start(&folder);
    let address = address_in(&server.log(), "listening for browsers in TLS").expect("it is logged");
    let ask = |request: &str, headers: &str, body: &str| {
        let mut stream = crate::security::connect_tls(address, &certificate).expect("the certificate is ours");
        let length = body.len();
        let head = format!("{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}");
        write!(stream.get_mut(), "{head}\r\n{headers}\r\n{body}").expect("it is taken");
        stream.get_mut().flush().expect("it is taken");
        Answer::read(&mut stream)
    };
    let health = ask("GET /health", "", "");
    assert_eq!((health.status, health.header("strict-transport-security")), (200, Some("max-age=31536000")));
    let login = json!({ "name": "messi", "password": "surabaya" }).to_string();
    let json = format!("Content-Type: application/json\r\nOrigin: https://{address}\r\n");
    assert_eq!(ask("POST /api/v1/login", &json, &login).status, 200);
    let in_the_clear = json.replace("https", "http");
    assert_eq!(ask("POST /api/v1/login", &in_the_clear, &login).status, 403);
}

/// The files that are served, by name, with their bytes.
fn files() -> Vec<(String, Vec<u8>)> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let (mut folders, mut found) = (vec![web.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is part of the project").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(&web).expect("it is there").to_string_lossy().into_owned();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if ["html", "js", "css", "svg", "png", "webmanifest"].contains(&ending) {
                found.push((name, fs::read(&path).expect("it can be read")));
            }
        }
    }
    found
}

#[test]
fn files_of_the_page_are_served_as_they_lie_and_may_be_kept() {
    let page = Page::new("");
    let shell = page.raw("GET /", "", "");
    let Some(hash) = shell.text().split("/a/").nth(1).and_then(|rest| rest.split('/').next()).map(str::to_owned) else {
        assert!(!files().iter().any(|(name, _)| name == "index.html"), "{}", shell.text());
        println!("SKIPPED: web/ has no index.html");
        return;
    };
    assert_eq!(shell.header("cache-control"), Some("no-cache"));
    assert_eq!(shell.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(hash.len(), 16, "{hash}");
    for (name, bytes) in files() {
        let path = format!("GET /a/{hash}/{name}");
        let plain = page.raw(&path, "", "");
        assert_eq!(plain.status, 200, "{name}");
        assert_eq!(plain.header("cache-control"), Some("public, max-age=31536000, immutable"), "{name}");
        if !name.ends_with("html") && !name.ends_with("webmanifest") && name != "sw.js" {
            assert_eq!(plain.body, bytes, "{name} is served as it lies");
        }
        let small = page.raw(&path, "Accept-Encoding: br, gzip;q=0.5\r\n", "");
        assert_eq!(small.header("content-encoding"), Some("gzip"), "{name}");
        let mut unpacked = Vec::new();
        GzDecoder::new(&small.body[..]).read_to_end(&mut unpacked).expect("it is gzip");
        assert_eq!(unpacked, plain.body, "{name}");
        assert_eq!(page.raw(&path, "Accept-Encoding: gzip;q=0\r\n", "").header("content-encoding"), None);
    }
    let tag = shell.header("etag").expect("it has one");
    assert_eq!(page.raw("GET /", &format!("If-None-Match: {tag}\r\n"), "").status, 304);
    for missing in ["/a/0000000000000000/index.html", &format!("/a/{hash}/../Cargo.toml"), &format!("/a/{hash}/x")] {
        assert_eq!(page.raw(&format!("GET {missing}"), "", "").code(), (404, "not_found".to_owned()), "{missing}");
    }
}

#[test]
fn what_is_not_there_is_said_in_json() {
    let page = Page::new("");
    assert_eq!(page.raw("GET /nothing", "", "").code(), (404, "not_found".to_owned()));
    assert_eq!(page.raw("DELETE /health", "", "").code(), (405, "wrong_method".to_owned()));
    assert_eq!(page.ask("GET /api/v1/me", "", &Value::Null).code(), (401, "unknown_token".to_owned()));
    assert_eq!(page.ask("GET /api/v1/me", "x", &Value::Null).code(), (401, "unknown_token".to_owned()));
    assert_eq!(page.raw("HEAD /health", "", "").status, 200);
}
