//! Files on the API: who gets them, as what, and what tries to break out of one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use super::events::Stream;
use super::{Answer, Page};
use crate::database::{dump_sql, tamper};
use crate::security::resident_kib;
use crate::support::{EMPTY, PATIENCE};

/// The beginning of a picture.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

pub fn cookie(token: &str) -> String {
    format!("Sec-Fetch-Site: same-origin\r\nCookie: __Host-chatd={token}\r\n")
}

/// Begins a request, whose body is to come.
pub fn begin(page: &Page, request: &str, headers: &str, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(page.address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    let head = format!("Host: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}");
    write!(stream, "{request} HTTP/1.1\r\n{head}\r\n").expect("it is taken");
    stream
}

pub fn post(page: &Page, path: &str, token: &str, body: &[u8]) -> Answer {
    let mut stream = begin(page, &format!("POST {path}"), &cookie(token), body.len());
    // Who is refused may not be read to the end.
    let _ = stream.write_all(body);
    Answer::read(&mut stream)
}

/// Sends a file; gives its number.
pub fn send(page: &Page, from: &str, to: &str, name: &str, body: &[u8]) -> i64 {
    let sent = post(page, &format!("/api/v1/conversations/{to}/files?name={name}"), from, body);
    assert_eq!(sent.status, 201, "{}", sent.text());
    let list = page.browse(&format!("GET /api/v1/conversations/{to}/messages?limit=1"), from, &Value::Null).json();
    list["messages"][0]["file"]["id"].as_i64().expect("it is told")
}

pub fn get(page: &Page, token: &str, file: i64, headers: &str) -> Answer {
    page.raw(&format!("GET /api/v1/files/{file}"), &format!("{}{headers}", cookie(token)), "")
}

/// How many files there are, and pieces of files.
fn stored(page: &Page) -> (i64, i64) {
    let count = |table: &str| {
        let found = dump_sql(&page.folder.database(), format!("SELECT count(*) || '' FROM {table}"));
        found[0].parse().expect("a number")
    };
    (count("file"), count("file_piece"))
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_file_comes_as_it_was_sent_to_a_person_on_the_stream_in_the_list_and_to_clients_of_the_wire() {
    let page = Page::new("");
    let [messi, henderson] = ["messi", "henderson"].map(|name| page.login(name));
    let mut window = Stream::open(&page, &henderson, "", "");
    assert_eq!(window.expect("hello").data["file_bytes"], 10 << 20);
    let bytes: Vec<u8> = (0..700_001).map(|place| (place * 31 % 251) as u8).collect();
    let sent = post(&page, "/api/v1/conversations/henderson/files?name=a%2Fb%2Ffoto%20baru.bin&key=k1", &messi, &bytes);
    let first = sent.json();
    assert_eq!((sent.status, &first["id"]), (201, &json!(1)));
    let file = json!({ "id": 1, "name": "foto baru.bin", "type": "application/octet-stream", "bytes": 700_001 });
    let told = window.expect("message").data;
    assert_eq!((&told["file"], &told["text"], &told["id"]), (&file, &json!(""), &first["id"]));
    let again = post(&page, "/api/v1/conversations/henderson/files?name=foto.bin&key=k1", &messi, &bytes);
    assert_eq!((again.status, again.json()), (200, first), "the same key stores nothing");
    assert_eq!(stored(&page).0, 1);
    for token in [&messi, &henderson] {
        let list = page.browse("GET /api/v1/conversations", token, &Value::Null).json();
        assert_eq!(list["conversations"][0]["newest"]["file"], file);
        let answer = get(&page, token, 1, "");
        assert_eq!((answer.status, answer.body == bytes), (200, true));
        let tag = answer.header("etag").expect("it has one").to_owned();
        let known = get(&page, token, 1, &format!("If-None-Match: {tag}\r\n"));
        assert_eq!((known.status, known.body.len()), (304, 0));
    }
    // What a client of the wire is handed, and a script without a stream.
    let (mut old, token) = page.server.login("henderson");
    let reply = old.ask(&format!("inbox {token}"));
    let spelled: Value = serde_json::from_str(&reply).expect("replies are JSON");
    let content = spelled["messages"]["messi"][0]["file_content"].as_str();
    let content = content.unwrap_or_else(|| panic!("no file came: {reply:.300}")).to_owned();
    assert_eq!(content, format!("b'{}'", Base64::encode_string(&bytes)));
    assert!(old.ask(&format!("ack {token}")).contains("Acknowledged"));
    assert_eq!(old.ask(&format!("inbox {token}")), EMPTY);
    let file = send(&page, &messi, "henderson", "b.txt", b"x");
    let inbox = page.browse("GET /api/v1/inbox", &henderson, &Value::Null).json();
    assert_eq!(inbox["messages"][0]["file"], json!({ "id": file, "name": "b.txt" }));
    let delivery = json!({ "delivery": inbox["delivery"] });
    assert_eq!(page.browse("POST /api/v1/inbox/ack", &henderson, &delivery).status, 204);
    page.folder.done(&["db", "verify"], "");
}

#[test]
fn only_who_sent_or_received_a_file_gets_it() {
    let page = Page::new("");
    let [messi, henderson, lineker] = ["messi", "henderson", "lineker"].map(|name| page.login(name));
    let to_one = send(&page, &messi, "henderson", "a.txt", b"rahasia");
    assert_eq!(get(&page, &lineker, to_one, "").code(), (404, "not_found".into()));
    assert_eq!(get(&page, &lineker, 999, "").code(), (404, "not_found".into()), "and nothing tells the two apart");
    for bad in ["x", "-1", "1.0", "99999999999999999999", "..%2F1"] {
        let answer = page.raw(&format!("GET /api/v1/files/{bad}"), &cookie(&messi), "");
        assert_eq!(answer.code(), (404, "not_found".into()), "{bad}");
    }
    let file = format!("GET /api/v1/files/{to_one}");
    assert_eq!(page.raw(&file, "", "").code(), (401, "unknown_token".into()));
    let elsewhere = format!("Sec-Fetch-Site: cross-site\r\nCookie: __Host-chatd={messi}\r\n");
    assert_eq!(page.raw(&file, &elsewhere, "").code(), (403, "cross_origin".into()));
    // A group: who is in it, and who was in it then.
    assert_eq!(page.browse("POST /api/v1/groups", &messi, &json!({ "name": "team" })).status, 201);
    let to_team = "/api/v1/conversations/team/files?name=a";
    assert_eq!(post(&page, to_team, &henderson, b"x").code(), (403, "not_a_member".into()));
    let before = send(&page, &messi, "team", "a.txt", b"sebelum");
    assert_eq!(page.browse("POST /api/v1/groups/team/join", &henderson, &Value::Null).status, 204);
    let during = send(&page, &messi, "team", "b.txt", b"selama");
    assert_eq!(page.browse("POST /api/v1/groups/team/leave", &henderson, &Value::Null).status, 204);
    let after = send(&page, &messi, "team", "c.txt", b"sesudah");
    assert_eq!([before, during, after].map(|file| get(&page, &henderson, file, "").status), [404, 200, 404]);
    assert_eq!([before, during, after].map(|file| get(&page, &lineker, file, "").status), [404; 3]);
    // Tokens of programs do what their scope says.
    let make = |scope: &str| {
        let made = page.browse("POST /api/v1/tokens", &messi, &json!({ "label": scope, "scope": scope })).json();
        format!("Authorization: Bearer {}\r\n", made["token"].as_str().expect("it is told"))
    };
    let (sender, reader) = (make("send"), make("read"));
    assert_eq!(page.raw(&file, &sender, "").code(), (403, "out_of_scope".into()));
    assert_eq!(page.raw(&file, &reader, "").text(), "rahasia");
    let to_henderson = "POST /api/v1/conversations/henderson/files?name=a";
    assert_eq!(page.raw(to_henderson, &reader, "x").code(), (403, "out_of_scope".into()));
    assert_eq!(page.raw(to_henderson, &sender, "x").status, 201);
}

#[test]
fn nothing_that_is_in_a_file_is_run_or_breaks_out_of_its_name() {
    let page = Page::new("");
    let messi = page.login("messi");
    let script = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    for (name, body, kind) in [
        ("foto.png", PNG, "image/png"),
        ("x.svg", &script[..], "application/octet-stream"),
        ("x.html", b"<script>alert(1)</script>", "application/octet-stream"),
        ("x.png", b"<script>alert(1)</script>", "application/octet-stream"),
        ("x.html", PNG, "application/octet-stream"),
        ("x.pdf", b"%PDF-1.4", "application/octet-stream"),
        ("x.js", b"alert(1)", "application/octet-stream"),
        ("x.css", b"* {}", "application/octet-stream"),
    ] {
        let answer = get(&page, &messi, send(&page, &messi, "messi", name, body), "");
        assert_eq!((answer.header("content-type"), &*answer.body), (Some(kind), body), "{name}");
        let policy = "default-src 'none'; sandbox; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        assert_eq!(answer.header("content-security-policy"), Some(policy));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
        let disposition = answer.header("content-disposition").expect("it has one");
        assert!(disposition.starts_with("attachment; filename=\""), "{disposition}");
    }
    // %0D%0A would begin another header; a path would lead elsewhere.
    for bad in ["a%0D%0ASet-Cookie:%20x=y", "", "..", ".", "a%2F", "%00", &"x".repeat(256)] {
        let answer = post(&page, &format!("/api/v1/conversations/messi/files?name={bad}"), &messi, b"x");
        assert_eq!(answer.code(), (400, "malformed".into()), "{bad}");
    }
    let file = send(&page, &messi, "messi", "..%2F..%2Fetc%2Fa%22%3B%20x%3D%22%E2%80%AEgpj.exe", b"x");
    let answer = get(&page, &messi, file, "");
    let disposition = answer.header("content-disposition").expect("it has one");
    assert!(
        disposition.starts_with("attachment; filename=\"a__ x=__u202egpj.exe\"; filename*=UTF-8''a%22"),
        "{disposition}"
    );
}

/// Sends 310,000 bytes and does not say before how many they are.
fn post_without_length(page: &Page, path: &str, token: &str) -> Answer {
    let headers = format!("{}Transfer-Encoding: chunked\r\nConnection: close\r\nHost: localhost\r\n", cookie(token));
    let mut stream = TcpStream::connect(page.address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    write!(stream, "POST {path} HTTP/1.1\r\n{headers}\r\n").expect("it is taken");
    for _ in 0..31 {
        if write!(stream, "2710\r\n{}\r\n", "x".repeat(10_000)).is_err() {
            break;
        }
    }
    let _ = stream.write_all(b"0\r\n\r\n");
    Answer::read(&mut stream)
}

#[test]
fn what_is_too_large_or_goes_nowhere_is_refused_and_leaves_nothing() {
    let page = Page::new("[limits]\nfile_bytes = 300000\nstored_bytes = 400000");
    let messi = page.login("messi");
    let to = |name: &str| format!("/api/v1/conversations/{name}/files?name=a");
    let large = post(&page, &to("henderson"), &messi, &[7; 300_001]);
    assert_eq!(large.code(), (413, "too_large".into()));
    assert_eq!(large.json()["message"], "a file may have 300000 bytes at the most");
    assert_eq!(post_without_length(&page, &to("henderson"), &messi).code(), (413, "too_large".into()));
    // The answer comes also where the whole body is on its way before anything is known.
    assert_eq!(post(&page, &to("nobody"), &messi, &[7; 300_000]).code(), (404, "unknown_user".into()));
    assert_eq!(post(&page, &to("henderson"), &messi, &[7; 300_000]).status, 201);
    assert_eq!(post(&page, &to("henderson"), &messi, &[7; 300_000]).code(), (429, "stored_full".into()));
    // One whose sender goes in the middle.
    let mut half = begin(&page, &format!("POST {}", to("henderson")), &cookie(&messi), 300_000);
    half.write_all(&[7; 250_000]).expect("it is taken");
    until("its first piece is not stored", || stored(&page).0 == 2);
    drop(half);
    until("what came of it stays", || stored(&page) == (1, 2));
    // Under a key that was used nothing is stored, and no more is read.
    let again = format!("{}&key=k", to("henderson"));
    assert_eq!(post(&page, &again, &messi, b"x").status, 201);
    assert_eq!(post(&page, &again, &messi, b"x").status, 200);
    assert_eq!(post_without_length(&page, &again, &messi).code(), (413, "too_large".into()));
    // Nothing at all is a file, too.
    assert_eq!(get(&page, &messi, send(&page, &messi, "henderson", "kosong", b""), "").body, b"");
}

#[test]
fn files_on_their_way_are_in_memory_in_pieces_and_an_account_has_four() {
    let page = Page::new("[limits]\nfile_bytes = 67108864");
    let [messi, henderson] = ["messi", "henderson"].map(|name| page.login(name));
    let to = "POST /api/v1/conversations/henderson/files?name=a";
    let size = 32 << 20;
    let before = resident_kib(page.server.pid());
    let mut crowd: Vec<TcpStream> = (0..4).map(|_| begin(&page, to, &cookie(&messi), size)).collect();
    for stream in &mut crowd {
        stream.write_all(&vec![7; size - 1]).expect("it is taken");
    }
    let grown = resident_kib(page.server.pid()).saturating_sub(before);
    println!("4 files of 32 MiB are on their way: {grown} KiB more");
    assert!(grown < 64 << 10, "{grown} KiB");
    let fifth = post(&page, "/api/v1/conversations/henderson/files?name=a", &messi, b"x");
    assert_eq!(fifth.code(), (429, "throttled".into()));
    assert_eq!(post(&page, "/api/v1/conversations/messi/files?name=a", &henderson, b"x").status, 201);
    // Their session ends.
    page.folder.done(&["user", "disable", "messi"], "");
    for mut stream in crowd {
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer comes");
        assert_eq!(&status[9..], b"401");
    }
    until("what came of them stays", || stored(&page).0 == 1);
}

#[test]
fn a_damaged_file_is_not_handed_out() {
    let page = Page::new("");
    let messi = page.login("messi");
    let file = send(&page, &messi, "messi", "a", &[7; 500_000]);
    let Page { folder, server, .. } = page;
    assert_eq!(server.stop(), Some(0));
    tamper(&folder.database(), "UPDATE file_piece SET data = zeroblob(length(data)) WHERE place = 2");
    let page = Page::start(folder);
    // Who asks for the inbox is told its name, and nobody reads it for that.
    let inbox = page.browse("GET /api/v1/inbox", &messi, &Value::Null).json();
    assert_eq!(inbox["messages"][0]["file"], json!({ "id": file, "name": "a" }));
    assert_eq!(get(&page, &messi, file, "").code(), (404, "not_found".into()));
    assert!(page.server.log().contains("a file is damaged"), "the log says so");
}
