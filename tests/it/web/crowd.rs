//! Many open streams: what each takes, and how soon a message is at one of them. CHATD_STREAMS says how many, 400 where
//! it says nothing; `CHATD_STREAMS=10000 cargo test --test it web::crowd -- --nocapture` has the figures.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use super::Page;
use crate::security::resident_kib;
use crate::support::PATIENCE;

/// Streams of one session and of one account.
const BY_SESSION: usize = 8;
const BY_USER: usize = 32;

fn open(page: &Page, token: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(page.address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    let head = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\nAccept: application/x-ndjson\r\n");
    write!(stream, "GET /api/v1/events HTTP/1.1\r\n{head}\r\n").expect("it is taken");
    // As small as a buffer may be, because these are on our side.
    let mut stream = BufReader::with_capacity(512, stream);
    wait_for(&mut stream, "\"event\":\"hello\"");
    stream
}

fn wait_for(stream: &mut BufReader<TcpStream>, words: &str) {
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert_ne!(stream.read_line(&mut line).expect("a line comes"), 0, "the stream ended before {words}");
    }
}

#[test]
fn each_of_many_streams_takes_little_memory_and_hears_of_its_message() {
    let streams: usize = std::env::var("CHATD_STREAMS").ok().and_then(|count| count.parse().ok()).unwrap_or(400);
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be asked");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("it is ours");
    let limits =
        "[limits]\nconnections = 100000\nconnections_per_address = 100000\nunauthenticated_connections = 100000";
    let page = Page::new(limits);
    let users: Vec<String> = (0..streams.div_ceil(BY_USER)).map(|number| format!("user{number}")).collect();
    users.iter().for_each(|user| page.folder.add_user(user, user, ""));
    let tokens: Vec<String> = (0..streams.div_ceil(BY_SESSION))
        .map(|session| page.server.login(&users[session / (BY_USER / BY_SESSION)]).1)
        .collect();
    // What the first streams take has the server's own growth in it.
    let mut open_streams: Vec<_> = (0..100).map(|number| open(&page, &tokens[number / BY_SESSION])).collect();
    let before = resident_kib(page.server.pid());
    open_streams.extend((100..streams).map(|number| open(&page, &tokens[number / BY_SESSION])));
    let after = resident_kib(page.server.pid());
    let each = (after.saturating_sub(before)) * 1024 / (streams as u64 - 100);
    let (mut sender, token) = page.server.login("messi");
    let mut times: Vec<_> = (0..200)
        .map(|number| {
            let place = number * (streams / 200).max(1) % streams;
            let user = &users[place / BY_USER];
            let begun = Instant::now();
            sender.send(format!("send {token} {user}  nomor {number} \r\n"));
            wait_for(&mut open_streams[place], &format!("nomor {number}"));
            let took = begun.elapsed();
            sender.receive();
            took
        })
        .collect();
    times.sort_unstable();
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{streams} streams: {each} bytes each; a message to one: median {median:?}, p99 {p99:?}");
    let list = page.ask("GET /api/v1/conversations", &tokens[0], &json!(null));
    assert_eq!(list.status, 200, "the server serves others meanwhile");
    assert!(each < 64 << 10, "{each} bytes each");
}
