//! The stream of events: what arrives by itself, and goes on after a break.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use super::Page;
use crate::support::{PATIENCE, texts};

/// An open stream, as a browser or a script reads it.
pub struct Stream {
    lines: BufReader<TcpStream>,
}

/// One event: its name, its id, its data.
#[derive(Debug)]
pub struct Event {
    name: String,
    id: Option<String>,
    pub data: Value,
}

impl Stream {
    pub fn open(page: &Page, token: &str, query: &str, headers: &str) -> Stream {
        let (stream, head) = Stream::ask(page.address, token, query, headers);
        assert!(head.to_lowercase().contains("x-accel-buffering: no"), "{head}");
        assert!(head.to_lowercase().contains("cache-control: no-store"), "{head}");
        stream
    }

    /// By way of a proxy, which keeps what is said to it alone.
    pub fn through(proxy: SocketAddr, token: &str) -> Stream {
        Stream::ask(proxy, token, "", "").0
    }

    fn ask(address: SocketAddr, token: &str, query: &str, headers: &str) -> (Stream, String) {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        write!(
            stream,
            "GET /api/v1/events{query} HTTP/1.1\r\nHost: {address}\r\nSec-Fetch-Site: same-origin\r\n\
             Cookie: __Host-chatd={token}\r\n{headers}\r\n"
        )
        .expect("it is taken");
        let mut stream = Stream { lines: BufReader::new(stream) };
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.lines.read_line(&mut head).expect("a head comes"), 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        (stream, head)
    }

    /// The next line of the body, without what the chunks put around it; `None` at its end.
    fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).expect("a line comes") == 0 {
                return None;
            }
            // Sizes of chunks, and the ends of chunks, end in CR LF; our lines do not.
            if !line.ends_with("\r\n") {
                return Some(line.trim_end_matches('\n').to_owned());
            }
            if line == "0\r\n" {
                return None;
            }
        }
    }

    fn event(&mut self) -> Option<Event> {
        let (mut name, mut id, mut data) = (String::new(), None, Value::Null);
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("event", value)) => value.clone_into(&mut name),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data = serde_json::from_str(value).expect("data is JSON"),
                None if line.is_empty() => return Some(Event { name, id, data }),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next event, which has this name.
    pub fn expect(&mut self, name: &str) -> Event {
        loop {
            let event = self.event().unwrap_or_else(|| panic!("the stream ended before {name}"));
            if event.name == name {
                return event;
            }
            // Who comes and goes meanwhile has a test of its own.
            assert!(event.name == "ping" || event.name == "presence", "{event:?} and not {name}");
        }
    }
}

fn send(page: &Page, token: &str, to: &str, text: &str) -> i64 {
    let body = json!({ "text": text });
    let sent = page.browse(&format!("POST /api/v1/conversations/{to}/messages"), token, &body);
    assert_eq!(sent.status, 201, "{}", sent.text());
    sent.json()["id"].as_i64().expect("a number")
}

#[test]
fn every_window_of_both_sees_each_message_and_each_mark() {
    let page = Page::new("");
    let (messi, henderson) = (page.login("messi"), page.login("henderson"));
    let mut windows: Vec<Stream> =
        [&messi, &messi, &henderson].into_iter().map(|token| Stream::open(&page, token, "", "")).collect();
    for window in &mut windows {
        let hello = window.expect("hello");
        assert_eq!(hello.data["conversations"], json!([]));
        assert!(hello.data["version"].as_str().is_some_and(|version| !version.is_empty()));
    }
    let id = send(&page, &messi, "henderson", "halo");
    for (window, other) in windows.iter_mut().zip(["henderson", "henderson", "messi"]) {
        let message = window.expect("message");
        assert_eq!(message.id, Some(id.to_string()));
        assert_eq!((&message.data["text"], &message.data["conversation"]), (&json!("halo"), &json!(other)));
    }
    // An old client takes and confirms it; the windows hear of that.
    let (mut old, token) = page.server.login("henderson");
    assert_eq!(texts(&old.ask(&format!("inbox {token}"))), ["halo"]);
    assert!(old.ask(&format!("ack {token}")).contains("OK"));
    for (window, other) in windows.iter_mut().zip(["henderson", "henderson", "messi"]) {
        loop {
            let read = window.expect("read").data;
            assert_eq!(read["conversation"], other);
            if read["by"] == "henderson" && read["upto"] == id {
                break;
            }
        }
    }
}

#[test]
fn a_stream_goes_on_where_it_was_also_after_a_restart() {
    let page = Page::new("");
    let (messi, henderson) = (page.login("messi"), page.login("henderson"));
    let mut stream = Stream::open(&page, &henderson, "?after=0", "");
    stream.expect("hello");
    let first = send(&page, &messi, "henderson", "satu");
    assert_eq!(stream.expect("message").data["text"], "satu");
    drop(stream);
    send(&page, &messi, "henderson", "dua");
    let Page { folder, server, .. } = page;
    server.kill();
    let page = Page::start(folder);
    send(&page, &messi, "henderson", "tiga");
    let resumed = format!("Last-Event-ID: {first}\r\n");
    for (query, headers) in [("", &*resumed), ("?after=999999", &resumed), (&format!("?after={first}"), "")] {
        let mut stream = Stream::open(&page, &henderson, query, headers);
        assert_eq!(stream.expect("hello").data["conversations"][0]["unread"], 3);
        assert_eq!(stream.expect("message").data["text"], "dua");
        assert_eq!(stream.expect("message").data["text"], "tiga");
    }
    let bad = page.browse("GET /api/v1/events?after=x", &henderson, &Value::Null);
    assert_eq!(bad.code(), (400, "malformed".to_owned()));
}

#[test]
fn a_stream_ends_with_its_session_and_says_so() {
    let page = Page::new("");
    let (here, there) = (page.login("messi"), page.login("messi"));
    let mut stream = Stream::open(&page, &here, "", "");
    stream.expect("hello");
    assert_eq!(page.browse("POST /api/v1/logout", &here, &Value::Null).status, 204);
    stream.expect("ended");
    assert!(stream.event().is_none(), "nothing comes after it");
    let mut stream = Stream::open(&page, &there, "", "");
    stream.expect("hello");
    page.folder.done(&["user", "disable", "messi"], "");
    stream.expect("ended");
}

#[test]
fn a_stop_ends_streams_in_order() {
    let page = Page::new("");
    let token = page.login("messi");
    let mut stream = Stream::open(&page, &token, "", "");
    stream.expect("hello");
    nix::sys::signal::kill(page.server.pid(), nix::sys::signal::Signal::SIGTERM).expect("it runs");
    assert!(stream.event().is_none());
    let Page { folder: _folder, mut server, .. } = page;
    assert_eq!(server.wait(), Some(0));
    assert!(!server.log().contains("did not end in time"), "{}", server.log());
}

#[test]
fn who_is_far_behind_is_told_to_load_anew() {
    let page = Page::new("[limits]\ninbox_messages = 100000");
    let henderson = page.login("henderson");
    let (mut messi, token) = page.server.login("messi");
    for number in 0..650 {
        messi.send(format!("send {token} henderson {number}\r\n"));
    }
    for _ in 0..650 {
        messi.receive();
    }
    let mut stream = Stream::open(&page, &henderson, "?after=1", "");
    stream.expect("hello");
    let mut seen = 0;
    let reset = loop {
        let event = stream.event().expect("it goes on");
        match &*event.name {
            "message" => seen += 1,
            "presence" => {}
            _ => break event,
        }
    };
    assert!(reset.name == "reset" && seen < 600, "{seen} messages, then {reset:?}");
    let id =
        page.browse("GET /api/v1/conversations", &henderson, &Value::Null).json()["conversations"][0]["newest"]["id"]
            .clone();
    assert_eq!(reset.id, Some(id.to_string()), "what is loaded anew has all up to here");
    messi.ask(&format!("send {token} henderson  baru "));
    assert_eq!(stream.expect("message").data["text"].as_str().map(str::trim), Some("baru"));
}

#[test]
fn a_script_reads_lines_of_json() {
    let page = Page::new("");
    let (messi, henderson) = (page.login("messi"), page.login("henderson"));
    let mut stream = Stream::open(&page, &henderson, "", "Accept: application/x-ndjson\r\n");
    let mut next = || -> Value { serde_json::from_str(&stream.line().expect("a line comes")).expect("JSON") };
    assert_eq!(next()["event"], "hello");
    let id = send(&page, &messi, "henderson", "baris\nkedua");
    let message = next();
    assert_eq!(
        (&message["event"], &message["id"], &message["text"]),
        (&json!("message"), &json!(id), &json!("baris\nkedua"))
    );
}

#[test]
fn a_session_has_eight_streams_at_once() {
    let page = Page::new("");
    let token = page.login("messi");
    let mut streams: Vec<Stream> = (0..8).map(|_| Stream::open(&page, &token, "", "")).collect();
    streams.iter_mut().for_each(|stream| drop(stream.expect("hello")));
    let ninth = page.browse("GET /api/v1/events", &token, &Value::Null);
    assert_eq!(ninth.code(), (429, "too_many_connections".to_owned()));
    streams.pop();
    let begun = std::time::Instant::now();
    // The server hears of the end a moment later.
    loop {
        let mut stream = TcpStream::connect(page.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        let head = format!("Host: {}\r\nSec-Fetch-Site: same-origin\r\nCookie: __Host-chatd={token}\r\n", page.address);
        write!(stream, "GET /api/v1/events HTTP/1.1\r\n{head}\r\n").expect("it is taken");
        let mut status = String::new();
        BufReader::new(stream).read_line(&mut status).expect("it is answered");
        if status.contains(" 200 ") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{status}");
    }
}

#[test]
fn who_of_my_conversations_is_connected_is_told_when_it_changes() {
    let page = Page::new("");
    let (messi, henderson) = (page.login("messi"), page.login("henderson"));
    send(&page, &messi, "henderson", "halo");
    send(&page, &messi, "lineker", "halo");
    let mut there = Stream::open(&page, &henderson, "", "");
    there.expect("hello");
    let mut stream = Stream::open(&page, &messi, "", "");
    let hello = stream.event().expect("it begins");
    assert_eq!(hello.name, "hello");
    let mut next_presence = |cause: &dyn Fn()| loop {
        cause();
        let event = stream.event().expect("it goes on");
        if event.name == "presence" {
            return event.data;
        }
    };
    assert_eq!(next_presence(&|| {}), json!({ "name": "henderson", "online": true }), "lineker is not");
    drop(there);
    // A message of a conversation is told with what is new of presence; the connection ends in its own time.
    let lineker = page.login("lineker");
    let gone = next_presence(&|| {
        send(&page, &lineker, "messi", "halo");
        std::thread::sleep(std::time::Duration::from_millis(150));
    });
    assert_eq!(gone, json!({ "name": "henderson", "online": false }));
}

#[test]
fn a_window_knows_its_own_message_by_its_key_and_nobody_elses_stream_has_it() {
    let page = Page::new("");
    let (messi, henderson) = (page.login("messi"), page.login("henderson"));
    let mut own = Stream::open(&page, &messi, "", "");
    let mut other = Stream::open(&page, &henderson, "", "Accept: application/x-ndjson\r\n");
    own.expect("hello");
    let body = json!({ "text": "halo", "key": "kunci-1" });
    assert_eq!(page.browse("POST /api/v1/conversations/henderson/messages", &messi, &body).status, 201);
    assert_eq!(own.expect("message").data["key"], "kunci-1");
    send(&page, &messi, "henderson", "tanpa kunci");
    assert_eq!(own.expect("message").data.get("key"), None);
    let mut seen = 0;
    while seen < 2 {
        let line: Value = serde_json::from_str(&other.line().expect("it goes on")).expect("a line is JSON");
        if line["event"] == "message" {
            assert_eq!(line.get("key"), None, "{line}");
            seen += 1;
        }
    }
}
