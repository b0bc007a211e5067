//! `chatd chat`: the whole screen, on a pseudo terminal.

use std::process::Command;

use crate::client::{chatd, server};
use crate::support::{Client, Folder, Server, texts};
use crate::terminal::Window;

/// Somebody who has logged in with `chatd login`, a folder of state for each.
fn command(folder: &Folder, server: &Server, name: &str) -> Command {
    let state = folder.path().join(name);
    let address = server.address;
    let mut login = chatd(folder, address, &["login", name]);
    login.env("XDG_STATE_HOME", &state).env("CHATD_PASSWORD", "surabaya");
    assert!(login.status().expect("chatd starts").success());
    let mut command = chatd(folder, address, &["chat"]);
    command.env("XDG_STATE_HOME", &state).env("NO_COLOR", "1");
    command
}

fn again(folder: &Folder, address: impl std::fmt::Display) -> Server {
    Server::start_with(folder, folder.command(&["serve", "--set", &format!("server.listen={address}")]))
}

/// The texts of messi's messages to henderson that the server has, in order.
fn sent(server: &Server) -> Vec<String> {
    let (mut henderson, token) = server.login("henderson");
    let inbox = henderson.ask(&format!("inbox {token}"));
    texts(&inbox)
}

fn say((client, token): &mut (Client, String), to: &str, text: &str) {
    client.ask(&format!("send {token} {to}  {text} "));
}

#[test]
fn lines_typed_at_once_are_sent_once_each_and_in_order() {
    let (folder, server) = server();
    for columns in [40, 80, 200] {
        let mut messi = Window::start(&command(&folder, &server, "messi"), columns, false);
        messi.see("messi at ");
        messi.terminal.type_in("/to henderson\rsatu\rdua\r\x1b[200~tiga\rempat\x1b[201~\r");
        messi.see("empat");
        let rows = messi.see("✓");
        assert!(rows.iter().any(|row| row.contains("satu")), "{columns}: {rows:#?}");
        messi.terminal.type_in("X");
        messi.see("> X");
        messi.see_no_more(" message");
        messi.terminal.type_in("\x15\x03");
        assert_eq!(messi.terminal.end(), Some(0));
        assert_eq!(sent(&server), ["satu", "dua", "tiga\nempat"], "{columns}");
    }
}

#[test]
fn what_is_typed_while_the_server_is_away_is_sent_once() {
    let (folder, server) = server();
    let address = server.address;
    let mut messi = Window::start(&command(&folder, &server, "messi"), 80, false);
    messi.see("messi at ");
    messi.terminal.type_in("/to henderson\rsatu\r");
    messi.see("✓");
    server.kill();
    messi.see("not connected");
    messi.terminal.type_in("dua\rtiga\r");
    messi.see("2 messages wait");
    let server = again(&folder, address);
    let rows = messi.see("messi at ");
    assert!(rows.iter().any(|row| row.contains("tiga")), "{rows:#?}");
    let begun = std::time::Instant::now();
    let mut all = Vec::new();
    while all.len() < 3 {
        all.extend(sent(&server));
        assert!(begun.elapsed() < crate::support::PATIENCE, "{all:?}");
    }
    assert_eq!(all, ["satu", "dua", "tiga"]);
}

#[test]
fn messages_come_by_themselves_with_other_peoples_controls_spelled_out() {
    let (folder, server) = server();
    let mut lineker = server.login("lineker");
    say(&mut lineker, "messi", "pagi");
    let mut messi = Window::start(&command(&folder, &server, "messi"), 80, false);
    messi.see("(1)");
    messi.terminal.type_in("/to li\t\r");
    messi.see(" new ");
    messi.see("lineker  pagi");
    say(&mut lineker, "messi", "\x1b[2J\u{202e}你好 😀");
    messi.see("\\x1b[2J\\u202e你好 😀");
    messi.terminal.type_in("?");
    messi.see("Alt-Enter");
    messi.terminal.type_in("\x15/nowhere\r");
    messi.see("there is /drop");
    messi.terminal.type_in("\x15\x06pagi\r");
    messi.see("find: pagi");
}
