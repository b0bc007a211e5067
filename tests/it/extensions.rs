//! What the original server did not have: waiting for mail, saying that it was read, looking back.

use std::io::BufRead;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Client, EMPTY, Folder, MALFORMED, NO_SESSION, PATIENCE, SENT, Server, Talker, UNKNOWN, texts};

const ACKNOWLEDGED: &str = "{\"status\": \"OK\", \"message\": \"Acknowledged\"}";

fn server_with(settings: &str) -> (Folder, Server) {
    let folder = Folder::new(settings);
    folder.add_three();
    let server = Server::start(&folder);
    (folder, server)
}

fn error(words: &str) -> String {
    format!("{{\"status\": \"ERROR\", \"message\": \"{words}\"}}")
}

/// The list under `key` of a reply that says OK.
fn list(reply: &str, key: &str) -> Vec<Value> {
    let value: Value = serde_json::from_str(reply).expect("replies are JSON");
    assert_eq!(value["status"], "OK", "{reply}");
    value[key].as_array().unwrap_or_else(|| panic!("no {key}: {reply}")).clone()
}

fn history(client: &mut Client, request: &str) -> Vec<Value> {
    list(&client.ask(&format!("history {request}")), "history")
}

fn said(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["msg"].as_str().expect("a text").trim()).collect()
}

/// Has come so far on a connection that nobody has read from.
fn nothing_came(client: &Client) -> bool {
    let stream = client.stream.get_ref();
    stream.set_nonblocking(true).expect("it can be set");
    let nothing = stream.peek(&mut [0]).is_err();
    stream.set_nonblocking(false).expect("it can be set");
    nothing
}

/// A connection that waits for mail. What a request says that came behind `wait` is only read when the wait is over, so
/// another connection's request is what shows that the server has seen the wait: it does so before it answers this one.
fn waiting(server: &Server, token: &str, seconds: u64) -> Client {
    let mut client = server.connect();
    // The reply to `show` is written before the wait begins.
    client.send(format!("show {token}\r\nwait {token} {seconds}\r\n"));
    assert!(client.receive().contains("\"OK\""));
    client
}

#[test]
fn a_wait_is_answered_like_an_inbox_as_soon_as_there_is_mail() {
    let (_folder, server) = server_with("");
    let (mut messi, messis) = server.login("messi");
    let (_, hendersons) = server.login("henderson");
    let mut henderson = waiting(&server, &hendersons, 300);
    assert!(nothing_came(&henderson));
    assert_eq!(messi.ask(&format!("send {messis} henderson  satu ")), SENT);
    let reply = henderson.receive();
    let shape = r#"{"status": "OK", "messages": {"messi": [{"msg_from": "Lionel Messi", "msg_to": "Jordan Henderson", "msg": "  satu \r\n"}]}}"#;
    assert_eq!(reply, shape);
    // What waits already is there at once.
    messi.ask(&format!("send {messis} henderson  dua "));
    assert_eq!(texts(&henderson.ask(&format!("wait {hendersons} 300"))), ["dua"]);
    assert_eq!(henderson.ask(&format!("wait {hendersons} 0")), EMPTY);
    assert_eq!(henderson.ask(&format!("wait {hendersons} 1")), EMPTY);
}

/// What comes again after a reset has the number that it had, and the same text sent twice has two.
#[test]
fn a_fetched_message_that_comes_again_is_known_by_its_number() {
    let (_folder, server) = server_with("");
    let [(mut messi, m), (mut henderson, h)] = ["messi", "henderson"].map(|name| server.login(name));
    assert_eq!(list(&henderson.ask(&format!("fetch {h}")), "fetch"), Vec::<Value>::new());
    for _ in 0..2 {
        assert_eq!(messi.ask(&format!("send {m} henderson  satu ")), SENT);
    }
    let first = list(&henderson.ask(&format!("fetch {h} 300")), "fetch");
    let numbers = |messages: &[Value]| messages.iter().map(|message| message["id"].clone()).collect::<Vec<_>>();
    assert_eq!((said(&first), numbers(&first)), (vec!["satu", "satu"], vec![1.into(), 2.into()]));
    assert_eq!((&first[0]["from"], &first[0]["to"]), (&"messi".into(), &"henderson".into()));
    assert!(first[0]["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{first:?}");
    socket2::SockRef::from(henderson.stream.get_ref()).set_linger(Some(Duration::ZERO)).expect("it can be set");
    drop(henderson);
    let mut henderson = server.connect();
    // The first two were not confirmed, so they come before what is newer.
    assert_eq!(messi.ask(&format!("send {m} henderson  dua ")), SENT);
    let mut again = list(&henderson.ask(&format!("fetch {h} 300")), "fetch");
    while again.len() < 3 {
        again.extend(list(&henderson.ask(&format!("fetch {h} 300")), "fetch"));
        again.sort_by_key(|message| message["id"].as_i64());
    }
    assert_eq!(again[..2], first[..]);
    assert_eq!(again[2]["id"], 3);
    // It is confirmed as what `wait` hands out is, and `inbox` has nothing more.
    assert_eq!(henderson.ask(&format!("ack {h}")), ACKNOWLEDGED);
    assert_eq!(henderson.ask(&format!("inbox {h}")), EMPTY);
    assert_eq!(henderson.ask(&format!("fetch {h} x")), error("SECONDS must be a whole number"));
    assert_eq!(henderson.ask("fetch"), MALFORMED);
    assert_eq!(henderson.ask("fetch x"), NO_SESSION);
}

#[test]
fn a_wait_that_makes_no_sense_is_refused() {
    let (_folder, server) = server_with("");
    let (mut client, token) = server.login("messi");
    for (request, reply) in [
        ("wait".to_owned(), MALFORMED.to_owned()),
        (format!("wait {token}"), MALFORMED.to_owned()),
        (format!("wait {token} "), error("SECONDS must be a whole number")),
        (format!("wait {token} -1"), error("SECONDS must be a whole number")),
        (format!("wait {token} 1.5"), error("SECONDS must be a whole number")),
        ("wait x 1".to_owned(), NO_SESSION.to_owned()),
        (format!("WAIT {token} 1"), UNKNOWN.to_owned()),
    ] {
        assert_eq!(client.ask(&request), reply, "{request}");
    }
}

#[test]
fn no_wait_is_longer_than_the_settings_allow() {
    let (_folder, server) = server_with("[delivery]\nwait_at_most = \"1s\"");
    let (mut client, token) = server.login("messi");
    assert_eq!(client.ask(&format!("wait {token} 99999999999999999999")), EMPTY);
}

#[test]
fn of_two_who_wait_one_gets_the_message_and_the_other_the_next() {
    let (_folder, server) = server_with("");
    let (mut messi, token) = server.login("messi");
    let mut waiting = [waiting(&server, &token, 300), waiting(&server, &token, 300)];
    messi.ask(&format!("send {token} messi  satu "));
    messi.ask(&format!("send {token} messi  dua "));
    let mut read: Vec<String> = waiting.iter_mut().flat_map(|client| texts(&client.receive())).collect();
    read.sort();
    assert_eq!(read, ["dua", "satu"]);
}

#[test]
fn requests_behind_a_wait_take_their_turn() {
    let (_folder, server) = server_with("");
    let (mut messi, token) = server.login("messi");
    let mut client = waiting(&server, &token, 300);
    client.send(format!("show {token}\r\nsend {token} henderson x\r\n"));
    assert_eq!(messi.ask(&format!("send {token} messi  satu ")), SENT);
    assert_eq!(texts(&client.receive()), ["satu"]);
    assert!(client.receive().contains("[\"messi\"]"));
    assert_eq!(client.receive(), SENT);
    // Too much of them ends the wait: memory is not theirs.
    client.send(format!("wait {token} 300\r\n{}", format!("show {token}\r\n").repeat(2000)));
    assert_eq!(client.receive(), EMPTY);
    for _ in 0..2000 {
        assert!(client.receive().contains("[\"messi\"]"));
    }
}

#[test]
fn who_is_gone_is_handed_nothing() {
    let (_folder, server) = server_with("");
    let (mut messi, token) = server.login("messi");
    for reset in [true, false] {
        let client = waiting(&server, &token, 300).stream.into_inner();
        if reset {
            socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("the option is there");
        }
        drop(client);
    }
    // One who has ended its stream hears so at once.
    let mut half = waiting(&server, &token, 300);
    half.stream.get_ref().shutdown(std::net::Shutdown::Write).expect("it is open");
    assert_eq!(half.receive(), EMPTY);
    assert!(half.is_over());
    messi.ask(&format!("send {token} messi  satu "));
    assert_eq!(texts(&messi.ask(&format!("wait {token} 300"))), ["satu"]);
}

#[test]
fn mail_that_its_reader_lost_comes_to_the_next_who_waits() {
    let (_folder, server) = server_with("");
    let (mut messi, token) = server.login("messi");
    // More than a socket holds, so that the reset finds the reply under way.
    for _ in 0..6 {
        assert_eq!(messi.ask(&format!("send {token} messi {}", "x".repeat(1 << 20))), SENT);
    }
    let mut lost = server.connect();
    lost.send(format!("inbox {token}\r\n"));
    lost.stream.fill_buf().expect("the reply begins");
    let mut next = waiting(&server, &token, 300);
    assert!(nothing_came(&next));
    let socket = lost.stream.into_inner();
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("the option is there");
    drop(socket);
    assert_eq!(texts(&next.receive()).len(), 6);
}

#[test]
fn a_stop_ends_every_wait() {
    let (_folder, server) = server_with("[server]\ntext_listen = \"127.0.0.1:0\"");
    let (_, token) = server.login("messi");
    let mut client = waiting(&server, &token, 300);
    let mut talker = Talker::connect(&server);
    talker.type_in(&format!("show {token}\nwait {token} 300\n"));
    assert_eq!(talker.read(), "['messi']");
    assert_eq!(server.stop(), Some(0));
    assert_eq!(client.receive(), EMPTY);
    assert!(client.is_over());
    assert_eq!(talker.read(), "{}");
    assert!(talker.is_over());
}

#[test]
fn the_end_of_an_account_ends_its_waits() {
    let (folder, server) = server_with("");
    let (_, token) = server.login("messi");
    let mut client = waiting(&server, &token, 300);
    folder.done(&["user", "remove", "messi"], "");
    assert_eq!(client.receive(), NO_SESSION);
}

#[test]
fn a_wait_of_a_session_that_is_revoked_ends_at_once_with_an_error() {
    let (folder, server) = server_with("");
    let (mut messi, messis) = server.login("messi");
    let others = messi.login("messi");
    // Two wait with the one and one with the other, and nobody is sent anything.
    let mut revoked = [&messis, &messis].map(|token| waiting(&server, token, 200));
    let mut other = waiting(&server, &others, 200);
    assert_eq!(folder.done(&["session", "revoke", "--id", "1"], ""), "1 sessions ended\n");
    for client in &mut revoked {
        assert_eq!(client.receive(), NO_SESSION);
    }
    assert!(nothing_came(&other), "its own session lives");
    folder.done(&["user", "passwd", "messi", "--password-stdin"], "other\n");
    assert_eq!(other.receive(), NO_SESSION);
    let token = messi.ask("auth messi other").split('"').nth(7).expect("it is right").to_owned();
    let mut gone = waiting(&server, &token, 200);
    assert!(messi.ask(&format!("logout {token}")).contains("\"OK\""));
    assert_eq!(gone.receive(), NO_SESSION);
}

#[test]
fn what_was_acknowledged_is_not_delivered_again_even_after_a_crash() {
    let (folder, server) = server_with("");
    let (mut client, token) = server.login("messi");
    assert_eq!(client.ask("ack"), MALFORMED);
    assert_eq!(client.ask("ack x"), NO_SESSION);
    assert_eq!(client.ask(&format!("ack {token}")), ACKNOWLEDGED);
    client.ask(&format!("send {token} messi  satu "));
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))), ["satu"]);
    assert_eq!(client.ask(&format!("ack {token}")), ACKNOWLEDGED);
    client.ask(&format!("send {token} messi  dua "));
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))), ["dua"]);
    server.kill();
    let server = Server::start(&folder);
    assert_eq!(texts(&server.connect().ask(&format!("inbox {token}"))), ["dua"]);
}

#[test]
fn history_has_both_sides_and_changes_nothing() {
    let (_folder, server) = server_with("");
    let (mut messi, messis) = server.login("messi");
    let (mut henderson, hendersons) = server.login("henderson");
    let (mut lineker, linekers) = server.login("lineker");
    messi.ask(&format!("send {messis} henderson  satu "));
    lineker.ask(&format!("send {linekers} henderson  rahasia "));
    assert_eq!(texts(&henderson.ask(&format!("inbox {hendersons}"))).len(), 2);
    assert_eq!(henderson.ask(&format!("ack {hendersons}")), ACKNOWLEDGED);
    henderson.ask(&format!("send {hendersons} messi  dua "));
    messi.ask(&format!("send {messis} henderson  tiga "));
    messi.ask(&format!("send {messis} messi  catatan "));
    let seen = history(&mut messi, &format!("{messis} henderson"));
    assert_eq!(said(&seen), ["satu", "dua", "tiga"]);
    assert_eq!(seen, history(&mut henderson, &format!("{hendersons} messi")));
    assert_eq!(said(&history(&mut messi, &format!("{messis} messi"))), ["catatan"]);
    assert!(history(&mut messi, &format!("{messis} lineker")).is_empty());
    assert!(seen[0]["read"].is_string() && seen[1]["read"].is_null() && seen[2]["read"].is_null());
    let people = ["from", "to", "msg_from", "msg_to"].map(|key| seen[1][key].as_str().expect("a name"));
    assert_eq!(people, ["henderson", "messi", "Jordan Henderson", "Lionel Messi"]);
    assert!(seen.windows(2).all(|two| two[0]["id"].as_i64() < two[1]["id"].as_i64()), "{seen:?}");
    let status = list(&messi.ask(&format!("status {messis} henderson")), "sent");
    let receipt = |seen: &Value| (seen["id"].clone(), seen["time"].clone(), seen["read"].clone());
    assert_eq!(status.iter().map(receipt).collect::<Vec<_>>(), [receipt(&seen[0]), receipt(&seen[2])]);
    // Nothing of that has read anything.
    assert_eq!(texts(&messi.ask(&format!("inbox {messis}"))), ["dua", "catatan"]);
    assert_eq!(texts(&henderson.ask(&format!("inbox {hendersons}"))), ["tiga"]);
}

#[test]
fn history_goes_back_a_page_at_a_time_from_the_tail_into_the_index() {
    let folder = Folder::new("[database]\ntail_messages = 16\n[delivery]\nhistory_messages = 7\nreply_bytes = 100");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, messis) = server.login("messi");
    let (mut henderson, hendersons) = server.login("henderson");
    for number in 0..60 {
        match number % 3 {
            0 => henderson.ask(&format!("send {hendersons} messi  {number} ")),
            _ => messi.ask(&format!("send {messis} henderson  {number} ")),
        };
        messi.ask(&format!("send {messis} lineker  other "));
    }
    check_pages(&mut messi, &messis, &mut henderson, &hendersons);
    drop((messi, henderson));
    // A stop indexes all of it.
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&folder);
    check_pages(&mut server.connect(), &messis, &mut server.connect(), &hendersons);
}

fn check_pages(messi: &mut Client, messis: &str, henderson: &mut Client, hendersons: &str) {
    let (mut pages, mut before) = (Vec::new(), 0);
    loop {
        let page = history(messi, &format!("{messis} henderson {before} 1000"));
        assert!(page.len() <= 7);
        let Some(first) = page.first() else { break };
        before = first["id"].as_i64().expect("a number");
        pages.push(said(&page).join(" "));
    }
    let all: Vec<String> = pages.iter().rev().flat_map(|page| page.split(' ').map(str::to_owned)).collect();
    assert_eq!(all, (0..60).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(said(&history(messi, &format!("{messis} henderson 0 2"))), ["58", "59"]);
    assert!(history(messi, &format!("{messis} henderson 0 0")).is_empty());
    assert_eq!(list(&henderson.ask(&format!("status {hendersons} messi")), "sent").len(), 7);
}

#[test]
fn history_of_nobody_and_with_no_numbers_is_refused() {
    // Without a name `status` is a word of the family.
    let (_folder, server) = server_with("[protocol]\nfamily = false");
    let (mut client, token) = server.login("messi");
    for (request, reply) in [
        (format!("history {token}"), MALFORMED.to_owned()),
        (format!("history {token} nobody"), error("User Tidak Ditemukan")),
        (format!("history {token} messi x"), error("BEFORE-ID must be a whole number")),
        (format!("history {token} messi 0 -5"), error("COUNT must be a whole number")),
        ("history x messi".to_owned(), NO_SESSION.to_owned()),
        (format!("status {token}"), MALFORMED.to_owned()),
        (format!("status {token} nobody"), error("User Tidak Ditemukan")),
        ("status x messi".to_owned(), NO_SESSION.to_owned()),
        (format!("history {token} messi "), "{\"status\": \"OK\", \"history\": []}".to_owned()),
        (format!("status {token} messi "), "{\"status\": \"OK\", \"sent\": []}".to_owned()),
    ] {
        assert_eq!(client.ask(&request), reply, "{request}");
    }
}

#[test]
fn a_long_text_does_not_make_a_reply_without_end() {
    let (_folder, server) = server_with("[delivery]\nreply_bytes = 100000");
    let (mut client, token) = server.login("messi");
    for letter in ["a", "b", "c"] {
        client.ask(&format!("send {token} messi {}", letter.repeat(60_000)));
    }
    assert_eq!(said(&history(&mut client, &format!("{token} messi"))), ["c".repeat(60_000)]);
}

#[test]
fn who_may_not_look_any_more_lets_another_look() {
    let (_folder, server) = server_with("");
    let (mut lineker, linekers) = server.login("lineker");
    let (mut messi, token) = server.login("messi");
    let (_, ended) = server.login("messi");
    let _ended: Vec<Client> = (0..5).map(|_| waiting(&server, &ended, 300)).collect();
    let mut next = waiting(&server, &token, 300);
    assert!(messi.ask(&format!("logout {ended}")).contains("\"OK\""));
    assert_eq!(lineker.ask(&format!("send {linekers} messi  satu ")), SENT);
    assert_eq!(texts(&next.receive()), ["satu"]);
}

#[test]
fn hundreds_wait_at_once_and_every_message_comes_once() {
    let (_folder, server) = server_with("");
    let (mut messi, token) = server.login("messi");
    let mut clients: Vec<Client> = (0..500).map(|_| waiting(&server, &token, 300)).collect();
    messi.send((0..500).map(|number| format!("send {token} messi  {number} \r\n")).collect::<String>());
    for _ in 0..500 {
        assert_eq!(messi.receive(), SENT);
    }
    let begun = Instant::now();
    let mut read: Vec<String> = Vec::new();
    while read.len() < 500 {
        assert!(begun.elapsed() < PATIENCE, "only {} came", read.len());
        for client in clients.iter_mut().filter(|client| !nothing_came(client)) {
            read.extend(texts(&client.receive()));
        }
    }
    read.sort_by_key(|text| text.parse::<u32>().expect("a number"));
    assert!(read.iter().enumerate().all(|(place, text)| *text == place.to_string()), "{read:?}");
}
