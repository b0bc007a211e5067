//! Whatever one connection, one account or one address can make the server hold has a share, a deadline, and is given
//! back when its cause ends: `src/charge.rs` has the table, and each of its kinds is driven here.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::{resident_kib, server};
use crate::support::{Client, NO_SESSION, PATIENCE, SENT, Server, texts};

pub const BUSY: &str = "{\"status\": \"ERROR\", \"message\": \"the server is busy, try again\"}";
const TOO_SLOW: &str = "{\"status\": \"ERROR\", \"message\": \"the line came too slowly, send it again\"}";
const TOO_MANY: &str = "{\"status\": \"ERROR\", \"message\": \"too many connections of this account, close one\"}";

/// Writes as much of `bytes` as the system takes, now; gives how much.
fn write_what_fits(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_nonblocking(true).expect("it can be set");
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(some) => written += some,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // Who was shown out need not be heard.
            Err(_) => break,
        }
    }
    stream.set_nonblocking(false).expect("it can be set");
    written
}

/// A connection whose own system takes little of a reply that nobody reads.
pub fn with_little_room(server: &Server) -> Client {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket can be made");
    socket.set_recv_buffer_size(16 << 10).expect("the option is there");
    socket.connect(&server.address.into()).expect("the server listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    Client { stream: BufReader::new(socket.into()) }
}

#[test]
fn strangers_who_read_no_replies_take_little_memory_and_keep_nobody_out() {
    const CROWD: usize = 200;
    let (_folder, server) = server(&format!("[limits]\nunauthenticated_connections = {CROWD}"));
    let before = resident_kib(server.pid());
    let bytes = b"a\r\n".repeat(400_000 / 3);
    // Each has been let in, and heard.
    let mut crowd: Vec<(TcpStream, usize)> = (0..CROWD)
        .map(|_| {
            let mut client = server.connect();
            client.ask("a");
            (client.stream.into_inner(), 0)
        })
        .collect();
    for (stream, written) in &mut crowd {
        *written += write_what_fits(stream, &bytes);
    }
    // Once all of them are stuck in a write, somebody new gets in; before, that took `write_timeout`, which is longer.
    let begun = Instant::now();
    let (mut messi, token) = loop {
        let mut client = server.connect();
        let _ = client.stream.get_mut().write_all(b"auth messi surabaya\r\n");
        let mut reply = [0; 200];
        match client.stream.get_mut().read(&mut reply) {
            Ok(read) if read > 0 => {
                let reply = String::from_utf8_lossy(&reply[..read]).into_owned();
                let token = reply.split('"').nth(7).expect("a login is answered with a token").to_owned();
                break (client, token);
            }
            _ => assert!(begun.elapsed() < PATIENCE, "the door stays shut"),
        }
        for (stream, written) in &mut crowd {
            *written += write_what_fits(stream, &bytes[*written..]);
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert!(crowd.iter().all(|(_, written)| *written > 50_000), "all have sent more than is answered");
    let grown = resident_kib(server.pid()).saturating_sub(before);
    println!("{CROWD} strangers who read no replies: {grown} KiB more, {} KiB each", grown / CROWD as u64);
    assert!(grown < 64 * CROWD as u64, "{grown} KiB");
    assert_eq!(messi.ask(&format!("send {token} messi hal")), SENT);
    drop(crowd);
}

#[test]
fn one_account_has_so_many_connections_and_no_more() {
    let (_folder, server) = server("[limits]\nconnections_per_account = 2");
    let (mut first, token) = server.login("messi");
    let mut second = server.connect();
    assert!(second.ask(&format!("show {token}")).contains("messi"));
    let mut third = server.connect();
    assert_eq!(third.ask(&format!("show {token}")), TOO_MANY);
    assert_eq!(third.ask(&format!("send {token} messi hal")), TOO_MANY);
    // Another account has its own, and this one as many as it had.
    let (mut other, others) = server.login("henderson");
    assert_eq!(other.ask(&format!("send {others} messi hal")), SENT);
    assert!(first.ask(&format!("show {token}")).contains("messi"));
    // What is closed is given back, by and by; and to log out is always possible.
    drop(second);
    let begun = Instant::now();
    while third.ask(&format!("show {token}")) == TOO_MANY {
        assert!(begun.elapsed() < PATIENCE);
    }
    let mut fourth = server.connect();
    assert!(fourth.ask(&format!("logout {token}")).contains("OK"));
    // With the session its connections are nobody's.
    let login = fourth.login("messi");
    assert!(fourth.ask(&format!("show {login}")).contains("messi"));
    assert_eq!(first.ask(&format!("show {token}")), NO_SESSION);
}

#[test]
fn lines_that_are_never_ended_take_only_their_accounts_share_and_end_with_the_session() {
    let (folder, server) = server("[limits]\nline_bytes = 1000000\nbuffered_bytes = 2000000");
    let (_messi, token) = server.login("messi");
    let (mut henderson, hendersons) = server.login("henderson");
    let half = "x".repeat(300_000);
    let mut crowd: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = server.connect();
            client.send(format!("send {token} messi {half}"));
            client
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(henderson.ask(&format!("send {hendersons} henderson {half}")), SENT);
    }
    // They lasted after this, for ever: now each is told at once, or was told before that there is no room for it.
    folder.done(&["user", "disable", "messi"], "");
    let told: Vec<String> = crowd.iter_mut().map(Client::receive).collect();
    let busy = told.iter().filter(|reply| *reply == BUSY).count();
    let over = told.iter().filter(|reply| *reply == NO_SESSION).count();
    println!("20 lines that are never ended: {busy} had no room, {over} ended with their session");
    assert!(busy + over == 20 && over > 0, "{told:?}");
    // The rest of the line is no request, and the connection lives.
    let client = &mut crowd[0];
    client.send("x\r\n");
    assert!(client.ask("halo").contains("Protocol"));
}

#[test]
fn a_long_line_that_comes_too_slowly_is_refused() {
    let (_folder, server) = server("[limits]\nwrite_timeout = \"200ms\"\nmin_bytes_per_second = 1000000");
    let (mut client, token) = server.login("messi");
    client.send(format!("send {token} messi {}", "x".repeat(10_000)));
    assert_eq!(client.receive(), TOO_SLOW);
    client.send("x\r\n");
    assert_eq!(client.ask(&format!("send {token} messi hal")), SENT);
}

#[test]
fn slow_readers_of_long_replies_keep_nobody_from_theirs_and_end_with_the_session() {
    let (folder, server) =
        server("[limits]\nbuffered_reply_bytes = 8388608\nwrite_timeout = \"1h\"\n[delivery]\nreply_bytes = 4194304");
    let (mut messi, token) = server.login("messi");
    let (mut henderson, hendersons) = server.login("henderson");
    let part = "x".repeat(200_000);
    for _ in 0..20 {
        assert_eq!(messi.ask(&format!("send {token} messi {part}")), SENT);
    }
    assert_eq!(henderson.ask(&format!("send {hendersons} henderson {}", "x".repeat(1_000_000))), SENT);
    let mut slow: Vec<Client> = (0..20)
        .map(|_| {
            let mut reader = with_little_room(&server);
            reader.send(format!("history {token} messi\r\n"));
            assert_ne!(reader.stream.get_ref().peek(&mut [0; 16]).expect("something comes"), 0);
            reader
        })
        .collect();
    for _ in 0..120 {
        assert!(henderson.ask(&format!("history {hendersons} henderson")).len() > 1_000_000, "{BUSY}");
    }
    folder.done(&["user", "disable", "messi"], "");
    let whole = 4_000_000;
    for reader in &mut slow {
        let mut rest = Vec::new();
        // The connection ends, by an end or a reset, in the middle of the reply; or it was told that there is no room.
        reader.send("halo\r\n");
        let _ = reader.stream.get_mut().set_read_timeout(Some(Duration::from_millis(500)));
        let _ = reader.stream.read_to_end(&mut rest);
        assert!(rest.len() < whole, "{} bytes came", rest.len());
    }
}

/// A reply has no more text than its account may hold. The client need not ask for less.
#[test]
fn a_page_is_shorter_where_there_is_little_room_for_replies_and_the_rest_comes_with_the_next_request() {
    const TEXTS: usize = 100;
    for (room, fits_whole) in [(1 << 30, true), (2_000_000, false)] {
        let (_folder, server) = server(&format!("[limits]\nbuffered_reply_bytes = {room}"));
        let (mut messi, token) = server.login("messi");
        let rest = "x".repeat(40_000);
        for number in 0..TEXTS {
            assert_eq!(messi.ask(&format!("send {token} messi {number} {rest}")), SENT);
        }
        let mut history = Vec::new();
        let (mut before, mut pages) = (0, 0);
        loop {
            let page = messi.ask(&format!("history {token} messi {before} {TEXTS}"));
            let page: serde_json::Value = serde_json::from_str(&page).expect("replies are JSON");
            let page = page["history"].as_array().unwrap_or_else(|| panic!("no history: {page}"));
            let Some(first) = page.first() else { break };
            before = first["id"].as_u64().expect("a number");
            history.splice(0..0, page.iter().map(|said| said["msg"].as_str().expect("a text").trim().to_owned()));
            pages += 1;
        }
        let (mut inbox, mut inboxes) = (Vec::new(), 0);
        loop {
            let page = texts(&messi.ask(&format!("inbox {token}")));
            if page.is_empty() {
                break;
            }
            inbox.extend(page);
            inboxes += 1;
        }
        assert_eq!((pages == 1, inboxes == 1), (fits_whole, fits_whole), "{pages} pages, {inboxes} inboxes");
        let all: Vec<String> = (0..TEXTS).map(|number| format!("{number} {rest}")).collect();
        assert!(history == all, "{} texts in {pages} pages", history.len());
        assert!(inbox == all, "{} texts in {inboxes} inboxes", inbox.len());
    }
}
