//! The page and the HTTP API, with real sockets.
//!
//! - `push`: browsers that are told with the page closed
//! - `admin`: the first account by a link, and who may administer
//! - `behind`: nginx and HAProxy in front of it
//! - `rules`: what no other page, name, proxy or peer can do
//! - `conversations`: messages, read marks, people, sessions
//! - `crowd`: many streams
//! - `curl`: the examples of the document
//! - `events`: what arrives by itself
//! - `files`: files in and out, and what tries to break out of one
//! - `groups`: groups, their members and their mail
//! - `invites`: accounts that are made by a code, on the wire and in a browser
//! - `nodes`: the same at two nodes on one PostgreSQL
//! - `shares`: what one account or one address can have at once
//! - `scripts`: tokens with a scope, hooks, the inbox without a stream
//! - `listener`: addresses, TLS, stop, reload, and the files of the page

mod admin;
mod behind;
mod conversations;
mod crowd;
mod curl;
mod events;
pub mod files;
mod groups;
pub mod invites;
mod listener;
mod nodes;
pub mod push;
mod rules;
pub mod scripts;
mod shares;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::support::{Folder, PATIENCE, Server, address_in};

/// An answer, whole.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads one to the end of the connection.
    pub fn read(stream: &mut impl Read) -> Answer {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the server ends it");
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(&bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).expect("heads are ASCII");
        let mut body = bytes[end + 4..].to_vec();
        if head.to_lowercase().contains("transfer-encoding: chunked") {
            body = unchunked(&body);
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head, body }
    }

    /// The value of a header, if there is one.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of an answer that says no.
    pub fn code(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap_or_default().to_owned())
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("a chunk has its size");
        whole.extend_from_slice(&body[end + 2..][..size]);
        body = &body[end + 2 + size + 2..];
    }
    whole
}

/// A server with a page, and the three accounts.
pub struct Page {
    pub folder: Folder,
    pub server: Server,
    pub address: SocketAddr,
}

impl Page {
    pub fn new(settings: &str) -> Page {
        let folder = Folder::new(&with_page(settings));
        folder.add_three();
        Page::start(folder)
    }

    pub fn start(folder: Folder) -> Page {
        let server = Server::start(&folder);
        let address = address_in(&server.log(), "listening for browsers").expect("it is logged");
        Page { folder, server, address }
    }

    /// A request as it stands, `Host` and `Connection` put to it.
    pub fn raw(&self, request: &str, headers: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        let host = if headers.contains("Host: ") { String::new() } else { format!("Host: {}\r\n", self.address) };
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let text = format!("{request} HTTP/1.1\r\n{host}Connection: close\r\n{length}{headers}\r\n{body}");
        // A server that refuses a head may have closed before it read all.
        let _ = stream.write_all(text.as_bytes());
        Answer::read(&mut stream)
    }

    /// A request of a script with JSON.
    pub fn ask(&self, request: &str, token: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let token = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        self.raw(request, &format!("Content-Type: application/json\r\n{token}"), &body)
    }

    /// What the page in a browser would ask with this cookie.
    pub fn browse(&self, request: &str, cookie: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = format!(
            "Content-Type: application/json\r\nSec-Fetch-Site: same-origin\r\nCookie: __Host-chatd={cookie}\r\n"
        );
        self.raw(request, &headers, &body)
    }

    /// Logs in as the page does; gives the value of the cookie.
    pub fn login(&self, name: &str) -> String {
        let body = serde_json::json!({ "name": name, "password": "surabaya" });
        let answer = self.ask("POST /api/v1/login", "", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let cookie = answer.header("set-cookie").expect("the cookie is set");
        let (value, _) = cookie.strip_prefix("__Host-chatd=").and_then(|rest| rest.split_once(';')).expect("its value");
        value.to_owned()
    }
}

/// The settings with a page at a free port.
pub fn with_page(settings: &str) -> String {
    let mut table: toml::Table = settings.parse().expect("the test's settings are TOML");
    let web = table.entry("web").or_insert_with(|| toml::Table::new().into()).as_table_mut().expect("a section");
    web.entry("listen").or_insert_with(|| "127.0.0.1:0".into());
    table.to_string()
}
