//! What one account, or one address, can make the listener for browsers hold or compute has a share there, too.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Answer, Page};
use crate::database::tamper;
use crate::security::resident_kib;
use crate::support::{Client, PATIENCE, SENT};

/// A connection whose own system takes little of an answer that nobody reads.
pub fn with_little_room(page: &Page) -> TcpStream {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket can be made");
    socket.set_recv_buffer_size(16 << 10).expect("the option is there");
    socket.connect(&page.address.into()).expect("the server listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    socket.into()
}

/// Begins a request with a body, and waits until the server reads that.
fn with_half_a_body(page: &Page, request: &str, headers: &str, length: usize, part: &str) -> TcpStream {
    let mut stream = TcpStream::connect(page.address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    let kind = "Content-Type: application/json\r\nExpect: 100-continue";
    write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: {length}\r\n{headers}\r\n")
        .expect("it is taken");
    let mut said = [0; 25];
    stream.read_exact(&mut said).expect("it is to go on");
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(part.as_bytes()).expect("it is taken");
    stream
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn descriptors(process: Pid) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count()
}

fn write_to_oneself(client: &mut Client, token: &str, name: &str, times: usize, text: &str) {
    for _ in 0..times {
        assert_eq!(client.ask(&format!("send {token} {name} {text}")), SENT);
    }
}

#[test]
fn strangers_whose_bodies_do_not_come_keep_nobody_of_their_address_out() {
    let page = Page::new("[limits]\nconnections_per_address = 20");
    let crowd: Vec<TcpStream> = (0..20).map(|_| with_half_a_body(&page, "POST /api/v1/login", "", 1000, "{")).collect();
    assert_eq!(page.raw("GET /health", "", "").status, 200, "the first of them makes room");
    drop(crowd);
}

#[test]
fn a_stranger_is_heard_for_no_longer_than_a_login_takes() {
    let page = Page::new("");
    let login = json!({ "name": "messi", "password": "x".repeat(4_100) });
    assert_eq!(page.ask("POST /api/v1/login", "", &login).code(), (413, "too_large".to_owned()));
    let (_, token) = page.server.login("messi");
    let text = json!({ "text": "x".repeat(60_000) });
    assert_eq!(page.ask("POST /api/v1/conversations/messi/messages", &token, &text).status, 201);
}

#[test]
fn bodies_that_do_not_come_take_only_their_accounts_share() {
    let page = Page::new("[limits]\nline_bytes = 100000\nbuffered_bytes = 200000");
    let (_messi, token) = page.server.login("messi");
    let (_henderson, hendersons) = page.server.login("henderson");
    let send = |name: &str| format!("POST /api/v1/conversations/{name}/messages");
    let crowd: Vec<TcpStream> = (0..10)
        .map(|_| with_half_a_body(&page, &send("messi"), &bearer(&token), 60_000, &"x".repeat(50_000)))
        .collect();
    let text = json!({ "text": "x".repeat(60_000) });
    for _ in 0..10 {
        assert_eq!(page.ask(&send("henderson"), &hendersons, &text).status, 201);
    }
    page.folder.done(&["user", "disable", "messi"], "");
    // Each was told that there is no room for it, or that its session has ended.
    let told: Vec<String> = crowd
        .into_iter()
        .map(|stream| {
            let mut status = [0; 12];
            BufReader::new(stream).read_exact(&mut status).expect("an answer comes");
            String::from_utf8_lossy(&status).into_owned()
        })
        .collect();
    let busy = told.iter().filter(|status| status.ends_with("503")).count();
    let over = told.iter().filter(|status| status.ends_with("401")).count();
    println!("10 bodies that do not come: {busy} had no room, {over} ended with their session");
    assert!(busy + over == 10 && busy > 0 && over > 0, "{told:?}");
}

#[test]
fn long_answers_that_nobody_reads_take_only_their_accounts_share_and_end_with_the_session() {
    const CROWD: usize = 60;
    let page = Page::new("[limits]\nbuffered_reply_bytes = 33554432\nwrite_timeout = \"1h\"");
    let (mut messi, token) = page.server.login("messi");
    let (mut henderson, hendersons) = page.server.login("henderson");
    // Each byte of it becomes six.
    write_to_oneself(&mut messi, &token, "messi", 20, &"\u{1}".repeat(50_000));
    write_to_oneself(&mut henderson, &hendersons, "henderson", 10, &"x".repeat(50_000));
    let (before, open) = (resident_kib(page.server.pid()), descriptors(page.server.pid()));
    let crowd: Vec<TcpStream> = (0..CROWD)
        .map(|_| {
            let mut stream = with_little_room(&page);
            let head = format!("Host: localhost\r\n{}", bearer(&token));
            write!(stream, "GET /api/v1/conversations/messi/messages HTTP/1.1\r\n{head}\r\n").expect("it is taken");
            stream
        })
        .collect();
    let mut shown = 0;
    for stream in &crowd {
        // Who had to make room is gone.
        let mut status = [0; 12];
        stream
            .peek(&mut status)
            .ok()
            .filter(|read| *read == 12)
            .inspect(|_| shown += usize::from(&status[9..] == b"200"));
    }
    let grown = resident_kib(page.server.pid()).saturating_sub(before);
    println!("{shown} of {CROWD} long answers have begun, and nobody reads them: {grown} KiB more");
    assert!(shown > 0, "nobody is answered");
    assert!(grown < 120 << 10, "{grown} KiB");
    for _ in 0..10 {
        let answer = page.ask("GET /api/v1/conversations/henderson/messages", &hendersons, &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.body.len() > 500_000, "{}", answer.body.len());
    }
    page.folder.done(&["user", "disable", "messi"], "");
    until("they are written to for ever", || descriptors(page.server.pid()) <= open);
}

#[test]
fn newer_messages_come_in_parts_with_nothing_left_out() {
    let page = Page::new("");
    let (mut messi, token) = page.server.login("messi");
    write_to_oneself(&mut messi, &token, "messi", 30, &"x".repeat(100_000));
    let (mut after, mut found, mut parts) = (0, 0, 0);
    loop {
        let request = format!("GET /api/v1/conversations/messi/messages?after={after}&limit=1000000");
        let answer: Answer = page.ask(&request, &token, &Value::Null);
        let list = answer.json()["messages"].as_array().expect("a list").clone();
        assert!(answer.body.len() < 1_200_000, "{} bytes in one answer", answer.body.len());
        let Some(last) = list.last() else { break };
        after = last["id"].as_i64().expect("a number");
        (found, parts) = (found + list.len(), parts + 1);
    }
    assert_eq!((found, parts), (30, 3));
}

/// How long ago something last came on a connection, in milliseconds, as its system knows.
fn last_heard(stream: &TcpStream) -> u32 {
    // SAFETY: it is plain numbers.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).expect("it is small");
    let (level, name, into) = (libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast());
    // SAFETY: it writes no more than `length` bytes to `info`, which outlives the call.
    let result = unsafe { libc::getsockopt(stream.as_raw_fd(), level, name, into, &raw mut length) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    info.tcpi_last_data_recv
}

/// Each question looks at ten thousand accounts. All have been asked when the server goes on, and who was answered when
/// is asked of the system, so that it does not matter how fast this test is.
#[test]
fn who_looks_for_people_often_does_not_keep_others_waiting() {
    const CROWD: usize = 30;
    const QUESTIONS: usize = 3;
    let Page { folder, server, .. } = Page::new("[server]\nthreads = 1");
    assert_eq!(server.stop(), Some(0));
    tamper(
        &folder.database(),
        "WITH RECURSIVE n (i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
         INSERT INTO user (id, name, folded, display_name, country, password_hash, created_at)
         SELECT i, 'crowd' || i, 'crowd' || i, 'Crowd', '', '', 0 FROM n",
    );
    let page = Page::start(folder);
    let (_messi, token) = page.server.login("messi");
    let (_henderson, hendersons) = page.server.login("henderson");
    let ask = |stream: &mut TcpStream, token: &str, times: usize| {
        let head = format!("Host: localhost\r\n{}", bearer(token));
        let request = format!("GET /api/v1/people?q=nobody HTTP/1.1\r\n{head}\r\n").repeat(times);
        stream.write_all(request.as_bytes()).expect("it is taken");
    };
    let mut crowd: Vec<TcpStream> = (0..CROWD).map(|_| TcpStream::connect(page.address).expect("it listens")).collect();
    let mut henderson = TcpStream::connect(page.address).expect("it listens");
    henderson.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    page.server.freeze();
    crowd.iter_mut().for_each(|stream| ask(stream, &token, 1));
    ask(&mut henderson, &hendersons, QUESTIONS);
    kill(page.server.pid(), Signal::SIGCONT).expect("it is there");
    let mut answers = Vec::new();
    while answers.windows(4).filter(|four| four == b"\r\n\r\n").count() < QUESTIONS {
        let mut read = [0; 4_096];
        let count = henderson.read(&mut read).expect("it is answered");
        assert!(count > 0, "the connection was closed");
        answers.extend_from_slice(&read[..count]);
    }
    let is_answered = |stream: &&TcpStream| {
        stream.set_nonblocking(true).expect("it can be set");
        stream.peek(&mut [0]).is_ok()
    };
    let answered = crowd.iter().filter(is_answered).filter(|stream| last_heard(stream) > last_heard(&henderson));
    let before = answered.count();
    println!("{before} of {CROWD} were answered before {QUESTIONS} of another account that came last");
    assert!(before <= CROWD / 2, "{before} of {CROWD} were answered first");
}
