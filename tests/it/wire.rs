//! Where we differ from the 2020 program on purpose, and what bad input does: an error for who sent it, nothing for
//! others.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Client, EMPTY, Folder, MALFORMED, NO_SESSION, PATIENCE, SENT, Server, UNKNOWN, texts};

fn server() -> (Folder, Server) {
    server_with("")
}

fn server_with(settings: &str) -> (Folder, Server) {
    let folder = Folder::new(settings);
    folder.add_three();
    let server = Server::start(&folder);
    (folder, server)
}

fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).expect("the option is there");
}

#[test]
fn pipelined_requests_are_each_answered_in_order() {
    let (_folder, server) = server();
    let (mut client, token) = server.login("messi");
    let one_packet = format!(
        "send {token} messi  one \r\nshow {token}\r\nsend {token} nobody x\r\nfoo\r\n\r\nsend {token} messi  two \r\ninbox {token}\r\n"
    );
    client.send(&one_packet);
    assert_eq!(client.receive(), SENT);
    assert_eq!(client.receive(), "{\"status\": \"OK\", \"messages\": [\"messi\"]}");
    assert_eq!(client.receive(), "{\"status\": \"ERROR\", \"message\": \"User Tidak Ditemukan\"}");
    assert_eq!(client.receive(), UNKNOWN);
    assert_eq!(client.receive(), SENT);
    assert_eq!(texts(&client.receive()), ["one", "two"]);
    assert_eq!(client.ask(&format!("inbox {token}")), EMPTY);
}

#[test]
fn a_logout_between_two_sends_of_one_packet_stands_between_them() {
    let (_folder, server) = server();
    let (mut client, token) = server.login("messi");
    client.send(format!("send {token} messi a\r\nlogout {token}\r\nsend {token} messi b\r\n"));
    assert_eq!(client.receive(), SENT);
    assert!(client.receive().contains("\"OK\""));
    assert_eq!(client.receive(), NO_SESSION);
}

#[test]
fn invalid_utf8_is_answered_and_survived() {
    let (_folder, server) = server();
    let (mut client, token) = server.login("messi");
    for bad in [&b"\xff"[..], b"\x80", b"caf\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        client.send([&format!("send {token} messi ").into_bytes(), bad, b"\r\n"].concat());
        assert_eq!(client.receive(), MALFORMED);
    }
    // A character may lie on any edge of a packet.
    let line = format!("send {token} messi é你😀\r\n").into_bytes();
    for piece in line.chunks(1) {
        client.send(piece);
        thread::sleep(Duration::from_micros(300));
    }
    assert_eq!(client.receive(), SENT);
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))), ["é你😀"]);
}

#[test]
fn lines_over_the_limit_are_answered_once_and_discarded() {
    let (_folder, server) = server_with("[limits]\nline_bytes = 100000");
    let (mut client, token) = server.login("messi");
    let too_long = "{\"status\": \"ERROR\", \"message\": \"the line is too long\"}";
    assert_eq!(client.ask(&format!("send {token} messi {}", "x".repeat(200_000))), too_long);
    assert_eq!(client.ask(&format!("send {token} messi {}", "y".repeat(90_000))), SENT);
    assert_eq!(client.ask(&format!("auth messi {}", "x".repeat(5_000))), too_long);
    assert_eq!(client.ask(&"z".repeat(300_000)), UNKNOWN);
    assert_eq!(client.ask(&format!("send {} messi {}", "0".repeat(36), "x".repeat(5_000))), NO_SESSION);
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))), ["y".repeat(90_000)]);
    // Even as the first line of its connection.
    assert_eq!(server.connect().ask(&format!("send {token} messi {}", "y".repeat(90_000))), SENT);
}

#[test]
fn bad_peers_are_not_noticed_by_others() {
    let (_folder, server) = server();
    let (mut client, token) = server.login("messi");
    client.ask(&format!("send {token} messi {}", "x".repeat(1 << 20)));
    for _ in 0..20 {
        let mut garbage = server.connect();
        garbage.send([0u8, 255, 13, 10, 0, 7]);
        drop(garbage);
        let mut half = server.connect();
        half.send("auth messi sura");
        half.stream.get_ref().shutdown(Shutdown::Write).expect("it is open");
        assert!(half.is_over());
        let mut in_mid_reply = server.connect();
        in_mid_reply.send(format!("inbox {token}\r\n"));
        reset(in_mid_reply.stream.into_inner());
        let mut no_line_end = server.connect();
        no_line_end.send(vec![b'a'; 10_000]);
        reset(no_line_end.stream.into_inner());
    }
    assert_eq!(client.ask(&format!("show {token}")), "{\"status\": \"OK\", \"messages\": [\"messi\"]}");
    // The last reset may still be on its way to the server.
    let begun = Instant::now();
    while texts(&client.ask(&format!("inbox {token}"))).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the message was lost");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn http_is_answered_once_and_closed() {
    let (_folder, server) = server();
    let mut browser = server.connect();
    browser.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nauth messi surabaya\r\n");
    assert_eq!(browser.receive(), UNKNOWN);
    assert!(browser.is_over());
    // Also where the first line is too long to be read whole.
    let mut browser = server.connect();
    browser.send(format!("POST /{} HTTP/1.1\r\nHost: x\r\n\r\nauth messi surabaya\r\n", "a".repeat(5_000)));
    assert_eq!(browser.receive(), UNKNOWN);
    assert!(browser.is_over());
}

#[test]
fn two_hundred_connections_at_once_are_all_answered() {
    let (_folder, server) = server();
    let (_, token) = server.login("messi");
    let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(format!("send {token} messi hal\r\n"));
    }
    for client in &mut clients {
        assert_eq!(client.receive(), SENT);
    }
    for client in &mut clients {
        client.send(format!("show {token}\r\n"));
    }
    for client in &mut clients {
        assert!(client.receive().contains("messi"));
    }
}

#[test]
fn a_drained_sender_is_named_only_where_that_is_wanted() {
    let (_folder, server) = server();
    let (mut client, token) = server.login("messi");
    client.ask(&format!("send {token} messi hal"));
    client.ask(&format!("inbox {token}"));
    assert_eq!(client.ask(&format!("inbox {token}")), EMPTY);
    let (_folder, server) = server_with("[protocol]\ndrained_senders = true");
    let (mut client, token) = server.login("messi");
    client.ask(&format!("send {token} messi hal"));
    client.ask(&format!("inbox {token}"));
    assert_eq!(client.ask(&format!("inbox {token}")), "{\"status\": \"OK\", \"messages\": {\"messi\": []}}");
}

#[test]
fn a_client_that_reads_nothing_for_a_while_gets_everything() {
    let (_folder, server) = server();
    let (mut client, token) = server.login("messi");
    let text = "x".repeat(1 << 20);
    for _ in 0..6 {
        assert_eq!(client.ask(&format!("send {token} messi {text}")), SENT);
    }
    client.stream.get_mut().write_all(format!("inbox {token}\r\n").as_bytes()).expect("the server reads");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(texts(&client.receive()).len(), 6);
}
