//! A server of the HTTP API in memory, for the page's tests: it can lose a reply, fall silent and be away when a test
//! wants it. `GET /` and `/a/…` are the files of `web/`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types chatd";

#[derive(Clone)]
pub struct Stored {
    pub id: u64,
    pub from: String,
    pub to: String,
    pub text: String,
    key: String,
    time: u64,
}

struct Stream {
    user: String,
    events: Sender<String>,
}

/// What the server has, and what it does wrong.
#[derive(Default)]
pub struct World {
    /// Name and display name.
    pub users: BTreeMap<String, String>,
    pub log: Vec<Stored>,
    read: HashMap<(String, String), u64>,
    sessions: HashMap<String, String>,
    streams: Vec<Stream>,
    /// How many streams were ever opened.
    pub opened: usize,
    /// The next so many sends are stored, and the connection is cut in the middle of the reply.
    pub lose_replies: usize,
    /// Who subscribed, and with what.
    pub subscriptions: Vec<(String, Value)>,
    /// Connections are cut as they come.
    pub away: bool,
    /// How many times a send came.
    pub sends: usize,
}

pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_millis()).expect("it fits")
}

impl World {
    /// Stores a message and tells the streams of both.
    pub fn say(&mut self, from: &str, to: &str, text: &str, key: &str, time: u64) -> u64 {
        let id = self.log.len() as u64 + 1;
        let [from, to, text, key] = [from, to, text, key].map(str::to_owned);
        self.log.push(Stored { id, from: from.clone(), to: to.clone(), text, key, time });
        for user in [&from, &to] {
            let event = self.seen_by(self.log.last().expect("it was pushed"), user);
            self.tell(user, "message", &event);
        }
        id
    }

    /// All up to `upto` was read by `by`.
    pub fn mark_read(&mut self, by: &str, with: &str, upto: u64) {
        let mark = self.read.entry((by.to_owned(), with.to_owned())).or_default();
        *mark = upto.max(*mark);
        self.tell(by, "read", &json!({ "conversation": with, "by": by, "upto": upto }));
        self.tell(with, "read", &json!({ "conversation": by, "by": by, "upto": upto }));
    }

    pub fn upto(&self, by: &str, with: &str) -> u64 {
        self.read.get(&(by.to_owned(), with.to_owned())).copied().unwrap_or_default()
    }

    /// Open streams of all users. A stream whose peer is gone is found out by the next event.
    pub fn open_streams(&mut self) -> usize {
        self.streams.retain(|stream| stream.events.send("event: ping\ndata: {}\n\n".to_owned()).is_ok());
        self.streams.len()
    }

    /// Logs everybody out, and says so on the streams.
    pub fn end_sessions(&mut self) {
        self.sessions.clear();
        for stream in self.streams.drain(..) {
            let _ = stream.events.send("event: ended\ndata: {}\n\n".to_owned());
        }
    }

    /// Cuts all streams.
    pub fn cut(&mut self) {
        self.streams.clear();
    }

    fn tell(&mut self, user: &str, event: &str, data: &Value) {
        let id = data.get("id").map(|id| format!("id: {id}\n")).unwrap_or_default();
        let text = format!("event: {event}\n{id}data: {data}\n\n");
        self.streams.retain(|stream| stream.user != user || stream.events.send(text.clone()).is_ok());
    }

    fn seen_by(&self, m: &Stored, user: &str) -> Value {
        let with = if m.from == user { &m.to } else { &m.from };
        let display = self.users.get(&m.from);
        json!({ "id": m.id, "time": m.time, "conversation": with, "from": m.from, "display_name": display,
            "text": m.text })
    }

    fn conversation(&self, user: &str, with: &str) -> impl Iterator<Item = &Stored> {
        let (user, with) = (user.to_owned(), with.to_owned());
        self.log.iter().filter(move |m| (m.from == user && m.to == with) || (m.from == with && m.to == user))
    }

    fn conversations(&self, user: &str) -> Value {
        let mut list: Vec<Value> = Vec::new();
        for (name, display) in self.users.iter().filter(|(name, _)| *name != user) {
            let Some(newest) = self.conversation(user, name).last() else { continue };
            let read = self.upto(user, name);
            let unread = self.conversation(user, name).filter(|m| m.from == *name && m.id > read).count();
            list.push(json!({ "name": name, "display_name": display, "kind": "user", "unread": unread,
                "newest": self.seen_by(newest, user), "read_upto": read, "their_read_upto": self.upto(name, user) }));
        }
        list.sort_by_key(|c| std::cmp::Reverse(c["newest"]["id"].as_u64()));
        json!({ "conversations": list, "next": null })
    }

    fn send(&mut self, from: &str, to: &str, body: &Value) -> (u16, Value) {
        self.sends += 1;
        let (text, key) = (body["text"].as_str().unwrap_or_default(), body["key"].as_str().unwrap_or_default());
        if !self.users.contains_key(to) {
            return (404, json!({ "error": "unknown_user", "message": "nobody has this name" }));
        }
        if let Some(m) = self.log.iter().find(|m| m.from == from && m.key == key && !key.is_empty()) {
            return (200, json!({ "id": m.id, "time": m.time }));
        }
        let time = now();
        let id = self.say(from, to, text, key, time);
        (201, json!({ "id": id, "time": time }))
    }

    fn page(&self, user: &str, with: &str, query: &HashMap<String, String>) -> Value {
        let number = |key: &str| query.get(key).and_then(|text| text.parse::<u64>().ok());
        let limit = usize::try_from(number("limit").unwrap_or(50)).expect("it fits");
        let (before, after) = (number("before").unwrap_or(u64::MAX), number("after"));
        let fitting = |m: &&Stored| m.id < before && m.id > after.unwrap_or_default();
        let mut list: Vec<&Stored> = self.conversation(user, with).filter(fitting).collect();
        match after {
            Some(_) => list.truncate(limit),
            None => drop(list.drain(..list.len().saturating_sub(limit))),
        }
        json!({ "messages": list.into_iter().map(|m| self.seen_by(m, user)).collect::<Vec<_>>() })
    }
}

struct Request {
    method: String,
    path: String,
    query: HashMap<String, String>,
    session: Option<String>,
    body: Value,
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex: Option<String> = (byte == b'%').then(|| bytes.by_ref().take(2).map(char::from).collect());
        out.push(hex.and_then(|hex| u8::from_str_radix(&hex, 16).ok()).unwrap_or(byte));
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|bytes| *bytes > 0)?;
    let (mut length, mut session) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "cookie" => {
                session = value.split("chatd=").nth(1).map(|rest| rest.split(';').next().expect("one").to_owned())
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query =
        query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), decode(v))).collect();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some(Request { method, path: path.to_owned(), query, session, body })
}

/// What is answered: status, further header lines, type, body.
struct Answer(u16, String, &'static str, Vec<u8>);

fn answer_json(status: u16, body: &Value) -> Answer {
    Answer(status, "Cache-Control: no-store\r\n".to_owned(), "application/json", body.to_string().into_bytes())
}

fn file(path: &str) -> Option<Answer> {
    let name = match path {
        "/" => "index.html",
        "/sw.js" | "/manifest.webmanifest" => &path[1..],
        _ => path.strip_prefix("/a/stand-in/")?,
    };
    let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("web").join(name)).ok()?;
    let (kind, text) = match name.rsplit('.').next()? {
        "html" => ("text/html; charset=utf-8", true),
        "js" => ("text/javascript; charset=utf-8", name == "sw.js"),
        "css" => ("text/css; charset=utf-8", false),
        "svg" => ("image/svg+xml", false),
        "webmanifest" => ("application/manifest+json", true),
        _ => ("image/png", false),
    };
    let bytes = match text {
        true => String::from_utf8(bytes).ok()?.replace("/a/HASH/", "/a/stand-in/").into_bytes(),
        false => bytes,
    };
    let headers = format!("Content-Security-Policy: {POLICY}\r\nX-Content-Type-Options: nosniff\r\n");
    Some(Answer(200, headers, kind, bytes))
}

pub struct StandIn {
    pub address: SocketAddr,
    pub world: Arc<Mutex<World>>,
}

impl StandIn {
    pub fn start() -> StandIn {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let world = Arc::new(Mutex::new(World::default()));
        let shared = world.clone();
        // The thread ends with the tests.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let world = shared.clone();
                thread::spawn(move || serve(stream, &world));
            }
        });
        StandIn { address, world }
    }

    pub fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut self.world.lock().expect("no test panics with it"))
    }
}

fn serve(stream: TcpStream, world: &Mutex<World>) {
    let mut writer = stream.try_clone().expect("it can be cloned");
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        if world.lock().expect("no panics").away {
            return;
        }
        let Some(Answer(status, headers, kind, body)) = answer(&request, world, &mut writer) else { return };
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        if writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&body)).is_err() {
            return;
        }
    }
}

/// None: the connection is over.
fn answer(request: &Request, world: &Mutex<World>, writer: &mut TcpStream) -> Option<Answer> {
    if let Some(answer) = file(&request.path) {
        return Some(answer);
    }
    let missing = || Some(answer_json(404, &json!({ "error": "not_found", "message": "there is nothing here" })));
    let Some(path) = request.path.strip_prefix("/api/v1/") else { return missing() };
    let mut world_now = world.lock().expect("no panics");
    if path == "login" {
        let name = request.body["name"].as_str().unwrap_or_default();
        let Some(display) = world_now.users.get(name).filter(|_| request.body["password"] == "surabaya").cloned()
        else {
            return Some(answer_json(401, &json!({ "error": "wrong_login", "message": "wrong" })));
        };
        let token = format!("t{}", world_now.sessions.len());
        world_now.sessions.insert(token.clone(), name.to_owned());
        let cookie = format!("Set-Cookie: chatd={token}; Path=/; HttpOnly; SameSite=Strict\r\n");
        let body = json!({ "name": name, "display_name": display }).to_string().into_bytes();
        return Some(Answer(200, cookie, "application/json", body));
    }
    let Some(me) = request.session.as_ref().and_then(|token| world_now.sessions.get(token)).cloned() else {
        return Some(answer_json(401, &json!({ "error": "unknown_token", "message": "log in first" })));
    };
    let parts: Vec<String> = path.split('/').map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (status, body) = match (request.method.as_str(), parts.as_slice()) {
        ("POST", ["logout"]) => {
            world_now.sessions.remove(request.session.as_deref().unwrap_or_default());
            (200, json!({}))
        }
        ("GET", ["me"]) => (200, json!({ "name": me, "display_name": world_now.users[&me] })),
        ("GET", ["sessions"]) => {
            let ours =
                json!({ "id": 7, "created": now(), "last_used": now(), "address": "127.0.0.1", "current": true });
            let other = json!({ "id": 3, "created": 0, "last_used": now() - 86_400_000, "address": "2001:db8::17",
                "current": false });
            (200, json!({ "sessions": [other, ours] }))
        }
        ("GET", ["people"]) => {
            let q = request.query.get("q").cloned().unwrap_or_default().to_lowercase();
            let fits = |(name, display): &(&String, &String)| format!("{name} {display}").to_lowercase().contains(&q);
            let row = |(name, display)| json!({ "name": name, "display_name": display, "online": false });
            (200, json!({ "people": world_now.users.iter().filter(fits).map(row).collect::<Vec<_>>() }))
        }
        ("GET", ["groups"]) => (200, json!({ "groups": [] })),
        ("GET", ["conversations"]) => (200, world_now.conversations(&me)),
        ("GET", ["conversations", with, "messages"]) => (200, world_now.page(&me, with, &request.query)),
        ("POST", ["conversations", with, "messages"]) => {
            let answer = world_now.send(&me, with, &request.body);
            if world_now.lose_replies > 0 {
                world_now.lose_replies -= 1;
                // Where nothing of a reply has come, Chromium itself sends the same request again.
                let _ = writer
                    .write_all(b"HTTP/1.1 201 X\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{");
                return None;
            }
            answer
        }
        ("POST", ["conversations", with, "read"]) => {
            world_now.mark_read(&me, with, request.body["upto"].as_u64().unwrap_or_default());
            (200, json!({}))
        }
        // A point of the curve, any.
        ("GET", ["push"]) => (
            200,
            json!({ "key": concat!("BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8",
            "u-Ts1XbjhazAkj7I99e8QcYP7DkM") }),
        ),
        ("POST", ["push"]) => {
            world_now.subscriptions.push((me, request.body.clone()));
            (200, json!({}))
        }
        ("DELETE", ["push"]) => {
            world_now.subscriptions.retain(|(_, subscription)| subscription["endpoint"] != request.body["endpoint"]);
            (200, json!({}))
        }
        ("GET", ["events"]) => {
            let (sender, events) = channel();
            let after = request.query.get("after").and_then(|text| text.parse().ok()).unwrap_or(0);
            open_stream(&mut world_now, &me, sender, after);
            drop(world_now);
            pour(writer, &events);
            return None;
        }
        _ => return missing(),
    };
    Some(answer_json(status, &body))
}

fn open_stream(world: &mut World, me: &str, events: Sender<String>, after: u64) {
    world.opened += 1;
    let hello = json!({ "me": me, "version": "stand-in", "file_bytes": 10 << 20 });
    events.send(format!("event: hello\ndata: {hello}\n\n")).expect("we hold the other end");
    for m in world.log.iter().filter(|m| m.id > after && (m.from == me || m.to == me)) {
        let event = format!("event: message\nid: {}\ndata: {}\n\n", m.id, world.seen_by(m, me));
        events.send(event).expect("we hold the other end");
    }
    world.streams.push(Stream { user: me.to_owned(), events });
}

/// Writes the events until one side is gone.
fn pour(writer: &mut TcpStream, events: &Receiver<String>) {
    let head =
        "HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nConnection: close\r\nCache-Control: no-store\r\n\r\n";
    let mut text = head.to_owned();
    loop {
        if writer.write_all(text.as_bytes()).is_err() {
            return;
        }
        text = match events.recv_timeout(Duration::from_secs(15)) {
            Ok(text) => text,
            Err(RecvTimeoutError::Timeout) => "event: ping\ndata: {}\n\n".to_owned(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
    }
}
