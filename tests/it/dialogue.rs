//! The text listener: every row of the protocol's table, typed into a socket as `nc` would, and what people do besides.

use std::io::{BufRead, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::support::{EMPTY, Folder, PATIENCE, SENT, Server, Talker, texts};

/// A server that people can talk to, and the folder that must outlive it.
fn server() -> (Folder, Server) {
    let folder = Folder::new("[server]\ntext_listen = \"127.0.0.1:0\"");
    folder.add_three();
    let server = Server::start(&folder);
    (folder, server)
}

/// The token in the reply to a login.
fn token(reply: &str) -> String {
    let (_, token) = reply.split_once("logged in, token ").unwrap_or_else(|| panic!("no login: {reply}"));
    assert_eq!(token.len(), 36, "{reply}");
    token.to_owned()
}

#[test]
fn every_row_of_the_documents_table() {
    let (_folder, server) = server();
    let mut messi = Talker::connect(&server);
    for (typed, shown) in [
        ("send henderson feeling good", "Error, not authorized"),
        ("inbox", "Error, not authorized"),
        ("show", "belum melakukan autentifikasi"),
        ("logout", "belum melakukan autentifikasi"),
        ("auth nobody surabaya", "Error, User Tidak Ada"),
        ("auth messi jakarta", "Error, Password Salah"),
        ("halo", "*Maaf, command tidak benar"),
        ("", "*Maaf, command tidak benar"),
        ("auth messi", "-Maaf, command tidak benar"),
        ("send henderson", "-Maaf, command tidak benar"),
    ] {
        assert_eq!(messi.ask(typed), shown, "{typed:?}");
    }
    let reply = messi.ask("auth messi surabaya");
    assert_eq!(reply, format!("username messi logged in, token {}", token(&reply)));
    let mut henderson = Talker::connect(&server);
    token(&henderson.ask("auth henderson surabaya"));
    assert_eq!(henderson.ask("inbox"), "{}");
    assert_eq!(messi.ask("send henderson hal"), "message sent to henderson");
    assert_eq!(messi.ask("sent henderson feeling good"), "message sent to henderson");
    assert_eq!(messi.ask("send nobody feeling good"), "Error, User Tidak Ditemukan");
    // The example of the text protocol, to the letter.
    assert_eq!(
        henderson.ask(" inbox"),
        r#"{"messi": [{"msg_from": "Lionel Messi", "msg_to": "Jordan Henderson", "msg": " hal \r\n"}, {"msg_from": "Lionel Messi", "msg_to": "Jordan Henderson", "msg": " feeling good \r\n"}]}"#
    );
    let mut lineker = Talker::connect(&server);
    token(&lineker.ask("auth lineker surabaya"));
    assert_eq!(lineker.ask("show"), "['messi', 'henderson', 'lineker']");
    assert_eq!(messi.ask("logout"), "Logout berhasil dilakukan");
    assert_eq!(messi.ask("show"), "belum melakukan autentifikasi");
    assert_eq!(messi.ask("inbox"), "Error, not authorized");
    assert_eq!(lineker.ask("show"), "['henderson', 'lineker']");
}

#[test]
fn a_whole_session_can_be_piped_in_at_once() {
    let (_folder, server) = server();
    let mut talker = Talker::connect(&server);
    talker.type_in("auth messi surabaya\nsend messi satu\nsend messi dua\ninbox\nlogout\ninbox\n\nshow\r\n");
    talker.stream.get_ref().shutdown(Shutdown::Write).expect("it is open");
    token(&talker.read());
    assert_eq!(talker.read(), "message sent to messi");
    assert_eq!(talker.read(), "message sent to messi");
    let inbox = talker.read();
    assert!(inbox.contains("\" satu \\r\\n\"") && inbox.contains("\" dua \\r\\n\""), "{inbox}");
    assert_eq!(talker.read(), "Logout berhasil dilakukan");
    assert_eq!(talker.read(), "Error, not authorized");
    assert_eq!(talker.read(), "*Maaf, command tidak benar");
    assert_eq!(talker.read(), "belum melakukan autentifikasi");
    assert!(talker.is_over());
}

#[test]
fn a_session_is_taken_up_again_with_its_token_on_either_port() {
    let (_folder, server) = server();
    let token = token(&Talker::connect(&server).ask("auth messi surabaya"));
    let mut talker = Talker::connect(&server);
    assert_eq!(talker.ask(&format!("send {token} henderson halo")), "message sent to henderson");
    assert_eq!(talker.ask(&format!("show {token}")), "['messi']");
    // A token once shown does not log the connection in.
    assert_eq!(talker.ask("show"), "belum melakukan autentifikasi");
    assert_eq!(server.connect().ask(&format!("send {token} messi  dari json ")), SENT);
    let mut other = Talker::connect(&server);
    other.ask("auth henderson surabaya");
    assert!(other.ask(&format!("inbox {token}")).contains("dari json"));
    assert!(other.ask("inbox").contains("halo"));
    // Another's logout leaves the connection's own session be.
    assert_eq!(other.ask(&format!("logout {token}")), "Logout berhasil dilakukan");
    assert_eq!(other.ask("show"), "['henderson']");
    assert_eq!(other.ask(&format!("show {token}")), "belum melakukan autentifikasi");
}

#[test]
fn what_a_reader_lost_is_read_by_the_next() {
    let (_folder, server) = server();
    let mut messi = Talker::connect(&server);
    messi.ask("auth messi surabaya");
    // More than a socket holds, so that the reset finds the reply under way.
    let long = "x".repeat(1 << 20);
    for _ in 0..6 {
        assert_eq!(messi.ask(&format!("send henderson {long}")), "message sent to henderson");
    }
    let mut henderson = Talker::connect(&server);
    let token = token(&henderson.ask("auth henderson surabaya"));
    henderson.type_in("inbox\n");
    henderson.stream.fill_buf().expect("the reply begins");
    let socket = henderson.stream.into_inner();
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("the option is there");
    drop(socket);
    let mut client = server.connect();
    let begun = std::time::Instant::now();
    loop {
        let read = texts(&client.ask(&format!("inbox {token}"))).len();
        if read > 0 {
            assert_eq!(read, 6);
            break;
        }
        assert!(begun.elapsed() < crate::support::PATIENCE, "the messages were lost");
    }
    assert_eq!(client.ask(&format!("inbox {token}")), EMPTY);
}

#[test]
fn long_and_broken_lines_are_answered_with_one_line_each() {
    let (_folder, server) = server();
    let mut talker = Talker::connect(&server);
    let long = "y".repeat(100_000);
    assert_eq!(talker.ask(&format!("send henderson {long}")), "Error, not authorized");
    assert_eq!(talker.ask(&format!("auth messi {long}")), "Error, the line is too long");
    talker.stream.get_mut().write_all(b"send messi \xff\n").expect("the server reads");
    assert_eq!(talker.read(), "-Maaf, command tidak benar");
    talker.ask("auth messi surabaya");
    assert_eq!(talker.ask(&format!("send messi {long}")), "message sent to messi");
    assert!(talker.ask("inbox").contains(&long));
    let mut browser = Talker::connect(&server);
    assert_eq!(browser.ask("POST / HTTP/1.1"), "*Maaf, command tidak benar");
    assert!(browser.is_over());
}

#[test]
fn the_demonstration_invites_people_to_its_text_port() {
    let folder = Folder::new("[server]\ntext_listen = \"127.0.0.1:0\"\n[web]\nlisten = \"127.0.0.1:0\"");
    let server = Server::start_with(&folder, folder.command(&["serve", "--demo"]));
    let address = server.text_address.expect("the demonstration talks to people");
    assert!(server.log().contains("WARN --demo does not use database.url of the settings, but sqlite://chat-demo.db"));
    assert!(!server.log().contains("does not use server.listen"), "{}", server.log());
    // A thread of its own says it, once the server listens.
    let begun = Instant::now();
    while !server.log().contains(&format!("nc {} {}", address.ip(), address.port())) {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
    }
    let mut talker = Talker::connect(&server);
    token(&talker.ask("auth messi surabaya"));
    assert_eq!(talker.ask("send henderson halo apa kabar"), "message sent to henderson");
}

/// A text port is what the demonstration is for, so an empty `text_listen` is not taken either, and that is said.
#[test]
fn the_demonstration_says_that_it_talks_to_people_although_the_settings_do_not_want_it() {
    let folder = Folder::new("[server]\ntext_listen = \"\"");
    // Somebody else may have the port of the demonstration, so it need not start.
    let taken = std::net::TcpListener::bind("127.0.0.1:8890");
    let output = folder.run(&["serve", "--demo"], "");
    drop(taken);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{log}");
    assert!(log.contains("WARN --demo does not use server.text_listen of the settings, but 127.0.0.1:8890"), "{log}");
    assert!(!folder.database().exists(), "the database of the settings is left alone");
}

/// A telnet that sends each key ends a line with CR NUL, and talks to the other end of its options.
#[test]
fn a_telnet_in_character_mode_is_answered() {
    let (_folder, server) = server();
    let mut talker = Talker::connect(&server);
    let socket =
        |talker: &mut Talker, bytes: &[u8]| talker.stream.get_mut().write_all(bytes).expect("the server reads");
    // DO SUPPRESS-GO-AHEAD, WILL TERMINAL-TYPE, and a name for the terminal.
    socket(&mut talker, b"\xff\xfd\x03\xff\xfb\x18\xff\xfa\x18\0xterm\xff\xf0");
    for key in b"auth messi surabaya" {
        socket(&mut talker, &[*key]);
    }
    socket(&mut talker, b"\r\0");
    token(&talker.read());
    socket(&mut talker, b"send messi ha\xff\xf1lo\r\0inbox\r\0");
    assert_eq!(talker.read(), "message sent to messi");
    assert!(talker.read().contains("\" halo \\r\\n\""));
    socket(&mut talker, b"\r\0");
    assert_eq!(talker.read(), "*Maaf, command tidak benar");
}
