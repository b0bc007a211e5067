//! What Prometheus reads of a running server.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::support::{Folder, PATIENCE, SENT, Server, address_in, texts};

const SETTINGS: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n[limits]\nconnections_per_address = 2\ninbox_messages = 5";

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it is taken");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("it ends");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

/// Each line's name with labels, and its value.
pub fn numbers(address: SocketAddr) -> BTreeMap<String, f64> {
    let (head, body) = get(address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let number = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    lines.map(number).collect()
}

#[test]
fn numbers_follow_what_happens() {
    let folder = Folder::new(SETTINGS);
    folder.add_three();
    let server = Server::start(&folder);
    let address = address_in(&server.log(), "listening for Prometheus").expect("it is logged");
    let at_first = numbers(address);
    for name in ["chatd_connections", "chatd_sessions", "chatd_queue_messages", "chatd_messages_accepted_total"] {
        assert_eq!(at_first[name], 0.0, "{name}");
    }
    assert_eq!(at_first["chatd_users"], 3.0);
    assert!(at_first["chatd_disk_free_bytes"] > 0.0);

    let (mut messi, token) = server.login("messi");
    // Who has shown a token does not make way for a third.
    let (mut henderson, _) = server.login("henderson");
    henderson.ask("auth messi wrong");
    henderson.ask("auth nobody wrong");
    assert!(server.connect().is_over(), "two are all there may be from here");
    for text in ["12345", "67890", "three"] {
        assert_eq!(messi.ask(&format!("send {token} messi  {text} ")), SENT);
    }
    messi.ask(&format!("send {token} messi  over the cap "));
    messi.ask(&format!("send {token} nobody  text "));
    let then = numbers(address);
    for (name, value) in [
        ("chatd_connections", 2.0),
        ("chatd_connections_refused_total", 1.0),
        ("chatd_sessions", 2.0),
        ("chatd_messages_accepted_total", 3.0),
        ("chatd_messages_delivered_total", 0.0),
        ("chatd_queue_messages", 3.0),
        ("chatd_auth_failures_total{reason=\"wrong_password\"}", 1.0),
        ("chatd_auth_failures_total{reason=\"unknown_user\"}", 1.0),
        ("chatd_auth_failures_total{reason=\"throttled\"}", 0.0),
        ("chatd_sends_refused_total{reason=\"inbox_full\"}", 1.0),
        ("chatd_sends_refused_total{reason=\"unknown_recipient\"}", 1.0),
    ] {
        assert_eq!(then[name], value, "{name}");
    }
    assert!(then["chatd_queue_bytes"] >= 15.0);
    assert!(then["chatd_commit_seconds_count"] >= 4.0, "a login and three messages, each waited for");
    assert_eq!(then["chatd_commit_seconds_count"], then["chatd_commit_seconds_bucket{le=\"+Inf\"}"]);
    assert!(then["chatd_commit_seconds_sum"] > 0.0);

    assert_eq!(texts(&messi.ask(&format!("inbox {token}"))).len(), 3);
    messi.ask(&format!("inbox {token}"));
    let begun = Instant::now();
    let is_read =
        |now: BTreeMap<String, f64>| now["chatd_messages_delivered_total"] == 3.0 && now["chatd_queue_messages"] == 0.0;
    while !is_read(numbers(address)) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", numbers(address));
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nothing_else_is_there_and_nobody_can_hold_it_up() {
    let folder = Folder::new(SETTINGS);
    let server = Server::start(&folder);
    let address = address_in(&server.log(), "listening for Prometheus").expect("it is logged");
    let silent: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    assert!(get(address, "/").0.starts_with("HTTP/1.1 404"));
    assert!(get(address, "/metrics2").0.starts_with("HTTP/1.1 404"));
    assert!(get(address, "/metrics").0.starts_with("HTTP/1.1 200"));
    drop(silent);
}

#[test]
fn it_is_off_unless_asked_for() {
    let folder = Folder::new("");
    let server = Server::start(&folder);
    assert!(!server.log().contains("Prometheus"));
}

#[test]
fn silent_connections_do_not_hold_up_a_scrape() {
    let folder = Folder::new(SETTINGS);
    let server = Server::start(&folder);
    let address = address_in(&server.log(), "listening for Prometheus").expect("it is logged");
    let mut silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    for stream in &mut silent {
        // Those who came first were shown out.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: half");
    }
    // Behind all of them, eight at a time and each for as long as it may be silent, it would be minutes.
    for _ in 0..5 {
        assert!(get(address, "/metrics").0.starts_with("HTTP/1.1 200"));
    }
    drop(silent);
}

/// All of them have come when the server goes on.
#[test]
fn a_crowd_that_comes_after_a_scrape_does_not_push_it_out() {
    let folder = Folder::new(SETTINGS);
    let server = Server::start(&folder);
    let address = address_in(&server.log(), "listening for Prometheus").expect("it is logged");
    server.freeze();
    let mut scrape = TcpStream::connect(address).expect("it listens");
    scrape.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    write!(scrape, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it is taken");
    let crowd: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    kill(server.pid(), Signal::SIGCONT).expect("it is there");
    let mut reply = String::new();
    scrape.read_to_string(&mut reply).expect("it ends");
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    drop(crowd);
}

#[test]
fn a_query_and_a_head_are_answered_as_http_wants_it() {
    let folder = Folder::new(SETTINGS);
    let server = Server::start(&folder);
    let address = address_in(&server.log(), "listening for Prometheus").expect("it is logged");
    let (head, body) = get(address, "/metrics?x");
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("chatd_users 0"), "{head}\n{body}");
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        write!(stream, "{request}\r\nHost: {address}\r\n\r\n").expect("it is taken");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it ends");
        reply
    };
    let reply = ask("HEAD /metrics HTTP/1.1");
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.ends_with("\r\n\r\n"), "{reply}");
    assert!(reply.contains("Content-Length: ") && !reply.contains("Content-Length: 0\r\n"), "{reply}");
    assert!(ask("POST /metrics HTTP/1.1").starts_with("HTTP/1.1 405"));
    assert!(ask("nonsense").starts_with("HTTP/1.1 400"));
}
