//! Connections, buffers, queues and sessions have ends, and what happens there.

use std::io::BufRead;
use std::thread;
use std::time::{Duration, Instant};

use super::shares::with_little_room;
use super::{resident_kib, server};
use crate::support::{Client, EMPTY, NO_SESSION, PATIENCE, SENT, Server, texts};

const BUSY: &str = "{\"status\": \"ERROR\", \"message\": \"the server is busy, try again\"}";
const FULL: &str = "{\"status\": \"ERROR\", \"message\": \"the recipient's inbox is full\"}";

/// A connection that the server has let in and heard.
fn stranger(server: &Server) -> Client {
    let mut client = server.connect();
    assert!(client.ask("halo").contains("Protocol"));
    client
}

fn is_alive(client: &mut Client) -> bool {
    client.ask("halo").contains("Protocol")
}

#[test]
fn when_there_is_no_room_the_longest_silent_stranger_goes() {
    let (_folder, server) = server("[limits]\nconnections = 4");
    let (mut messi, token) = server.login("messi");
    let [mut first, mut second, mut third] = [(); 3].map(|()| {
        thread::sleep(Duration::from_millis(5));
        stranger(&server)
    });
    thread::sleep(Duration::from_millis(5));
    assert!(is_alive(&mut first));
    let mut fourth = stranger(&server);
    assert!(second.is_over(), "it was silent for the longest");
    assert!(is_alive(&mut first) && is_alive(&mut third) && is_alive(&mut fourth));
    // With a session each, nobody goes, and who comes is sent away.
    for client in [&mut first, &mut third, &mut fourth] {
        assert!(client.ask(&format!("show {token}")).contains("messi"));
    }
    assert!(server.connect().is_over());
    assert!(messi.ask(&format!("show {token}")).contains("messi"));
    assert!(server.log().contains("connection refused: too many"), "{}", server.log());
    // Who shows a token that is none is unauthenticated again.
    assert_eq!(third.ask("show UNKNOWN"), NO_SESSION);
    assert!(is_alive(&mut stranger(&server)));
    assert!(third.is_over());
}

#[test]
fn strangers_and_one_address_have_limits_of_their_own() {
    let (_folder, server) = server("[limits]\nunauthenticated_connections = 2\nconnections_per_address = 4");
    let logins = [server.login("messi"), server.login("henderson")];
    let mut strangers = [stranger(&server), stranger(&server)];
    // The address has its four, and within it, too, the connection goes that is unauthenticated and was silent for
    // longest.
    let mut fifth = stranger(&server);
    assert!(strangers[0].is_over(), "three strangers are too many, and so are five connections");
    for client in [&mut strangers[1], &mut fifth] {
        assert!(client.ask(&format!("show {}", logins[0].1)).contains("messi"));
    }
    assert!(server.connect().is_over(), "all four have shown a token");
    drop(logins);
    // The server may not have seen yet that the two are gone.
    let begun = Instant::now();
    let mut third = loop {
        let mut client = server.connect();
        client.send("halo\r\n");
        if client.stream.fill_buf().is_ok_and(|reply| !reply.is_empty()) {
            break client;
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert!(is_alive(&mut strangers[1]) && is_alive(&mut fifth));
    assert!(third.receive().contains("Protocol"));
}

#[test]
fn more_strangers_than_allowed_push_each_other_out_and_nobody_else() {
    let (_folder, server) = server("[limits]\nunauthenticated_connections = 3");
    let (mut messi, token) = server.login("messi");
    let mut strangers: Vec<Client> = (0..50).map(|_| stranger(&server)).collect();
    let mut last = strangers.pop().expect("there are fifty");
    assert!(is_alive(&mut last));
    let over = strangers.iter_mut().take(45).filter_map(|client| client.is_over().then_some(())).count();
    assert_eq!(over, 45);
    assert!(messi.ask(&format!("show {token}")).contains("messi"));
}

#[test]
fn long_lines_share_one_room() {
    let (_folder, server) = server("[limits]\nline_bytes = 100000\nbuffered_bytes = 150000");
    let (mut first, token) = server.login("messi");
    let mut second = server.connect();
    let half = "x".repeat(50_000);
    // Whichever line comes first to the server has the room; it is the first's that is wanted here.
    let begun = Instant::now();
    loop {
        first.send(format!("send {token} messi {half}"));
        if second.ask(&format!("send {token} messi {half}")) == BUSY {
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
        first.send("\r\n");
        first.receive();
    }
    assert_eq!(second.ask(&format!("send {token} messi short")), SENT);
    first.send("\r\n");
    assert_eq!(first.receive(), SENT);
    assert_eq!(second.ask(&format!("send {token} messi {half}")), SENT);
}

#[test]
fn a_queue_is_full_by_number_and_by_size() {
    let (_folder, server) = server("[limits]\ninbox_messages = 5\ninbox_bytes = 1000");
    let (mut client, token) = server.login("messi");
    for _ in 0..3 {
        assert_eq!(client.ask(&format!("send {token} messi x")), SENT);
    }
    assert_eq!(client.ask(&format!("send {token} messi x")), FULL);
    assert_eq!(client.ask(&format!("send {token} henderson {}", "x".repeat(900))), SENT);
    assert_eq!(client.ask(&format!("send {token} henderson {}", "x".repeat(200))), FULL);
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))).len(), 3);
    // What was read leaves the queue when the next request shows that it was, by and by.
    let begun = Instant::now();
    while client.ask(&format!("send {token} messi x")) != SENT {
        assert!(begun.elapsed() < PATIENCE);
    }
}

#[test]
fn sessions_end_by_number() {
    let (_folder, server) = server("[session]\nper_user = 2");
    let (mut client, first) = server.login("messi");
    let second = client.login("messi");
    let third = client.login("messi");
    assert_eq!(client.ask(&format!("show {first}")), NO_SESSION);
    assert!(client.ask(&format!("show {second}")).contains("messi"));
    assert!(client.ask(&format!("show {third}")).contains("messi"));
}

#[test]
fn sessions_end_by_idleness() {
    let (_folder, server) = server("[session]\nidle_expiry = \"1s\"");
    let (mut client, token) = server.login("messi");
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(client.ask(&format!("show {token}")), NO_SESSION);
    // The connection was idle for as long, and lives.
    client.login("messi");
}

/// Fills `messi`'s inbox with six messages of a megabyte.
fn fill(client: &mut Client, token: &str) {
    let text = "x".repeat(1 << 20);
    for _ in 0..6 {
        assert_eq!(client.ask(&format!("send {token} messi {text}")), SENT);
    }
}

#[test]
fn who_takes_nothing_is_disconnected_and_his_mail_waits() {
    let (_folder, server) = server("[limits]\nwrite_timeout = \"500ms\"");
    let (mut client, token) = server.login("messi");
    fill(&mut client, &token);
    let mut slow = server.connect();
    slow.send(format!("inbox {token}\r\n"));
    let begun = Instant::now();
    loop {
        let inbox = client.ask(&format!("inbox {token}"));
        if texts(&inbox).len() == 6 {
            break;
        }
        assert_eq!(inbox, EMPTY);
        assert!(begun.elapsed() < PATIENCE, "the slow reader keeps the mail");
        thread::sleep(Duration::from_millis(20));
    }
    println!("a reader who takes nothing: others have the mail after {} ms", begun.elapsed().as_millis());
}

#[test]
fn slow_readers_together_hold_no_more_than_their_room() {
    const READERS: usize = 12;
    let (_folder, server) = server(
        "[limits]\nbuffered_reply_bytes = 16777216\ninbox_bytes = 1000000000\nwrite_timeout = \"1h\"\n\
         [delivery]\nreply_bytes = 6291456",
    );
    let (mut quick, token) = server.login("henderson");
    let (mut messi, messis) = server.login("messi");
    // 6 MiB for each reader. All are there before anything is measured, because they stay in memory until another
    // thread has indexed them, which takes as long as it takes.
    (0..READERS).for_each(|_| fill(&mut messi, &messis));
    let before = resident_kib(server.pid());
    let mut slow: Vec<Client> = Vec::new();
    for _ in 0..READERS {
        let mut reader = with_little_room(&server);
        reader.send(format!("inbox {messis}\r\n"));
        // Its reply has begun to come, or it was told that there is no room.
        assert!(!reader.stream.fill_buf().expect("something comes").is_empty());
        slow.push(reader);
    }
    let held = resident_kib(server.pid()).saturating_sub(before) / 1024;
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(quick.ask(&format!("send {token} henderson x")), SENT);
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "{READERS} slow readers of 6 MiB: the server grew by {held} MiB; a send by others takes {:?} at the median, {:?} at the most",
        times[50], times[99]
    );
    let refused = slow.iter().filter(|reader| reader.stream.buffer().starts_with(BUSY.as_bytes())).count();
    assert!((READERS - 4..READERS).contains(&refused), "{refused} were told that the server is busy");
    assert!(held < 120, "{held} MiB");
    // What they could not have was not lost.
    drop(slow);
    let (mut texts_read, mut begun) = (0, Instant::now());
    while texts_read < 6 * READERS {
        match messi.ask(&format!("inbox {messis}")).matches("\"msg\": ").count() {
            0 => assert!(begun.elapsed() < PATIENCE, "only {texts_read} came"),
            texts => (texts_read, begun) = (texts_read + texts, Instant::now()),
        }
    }
}
