//! How many lines of the log a client can cause: few, whatever it asks for and whatever the disk is like.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rusqlite::Connection;

use crate::proof::power::Disk;
use crate::support::{Client, Folder, PATIENCE, SENT, Server};

/// How often each request is made: far more often than there may be lines.
const TIMES: usize = 400;
/// Lines of one kind: 15 at once and five in each second. A request may cause several kinds.
const AT_ONCE: usize = 15;
const A_SECOND: usize = 5;
const KINDS: usize = 4;

/// Makes each request again and again, and counts the lines.
fn drive(server: &Server, token: &str, state: &str) {
    let requests = [
        "auth messi surabaya".to_owned(),
        "auth messi wrong".to_owned(),
        "auth nobody wrong".to_owned(),
        format!("send {token} henderson x"),
        format!("send {token} nobody x"),
        format!("inbox {token}"),
        format!("show {token}"),
        format!("wait {token} 0"),
        format!("ack {token}"),
        format!("history {token} henderson"),
        format!("status {token} henderson"),
        "logout 00000000-0000-0000-0000-000000000000".to_owned(),
        format!("send {token} henderson {}", "x".repeat(5_000)),
        "nonsense".to_owned(),
        "\u{7f}".to_owned(),
        format!("logout {token}"),
    ];
    for request in requests {
        let (before, begun) = (lines(server), Instant::now());
        let mut client = server.connect();
        for _ in 0..TIMES / 100 {
            client.send(format!("{request}\r\n").repeat(100));
            (0..100).for_each(|_| drop(client.receive()));
        }
        let (caused, took) = (lines(server) - before, begun.elapsed().as_secs() as usize + 1);
        let most = KINDS * (AT_ONCE + A_SECOND * took);
        assert!(caused <= most, "{caused} lines by {request:?}, disk {state}; {most} are allowed:\n{}", server.log());
    }
    let mut others: Vec<Client> = Vec::new();
    let before = lines(server);
    // Connections that say what they are not, and go away.
    for _ in 0..TIMES {
        let mut client = server.connect();
        client.send([22, 3, 1, 2, 0]);
        others.push(client);
    }
    drop(others);
    assert!(lines(server) - before <= KINDS * (AT_ONCE + 20 * A_SECOND), "disk {state}:\n{}", server.log());
}

fn lines(server: &Server) -> usize {
    server.log().lines().count()
}

fn chatters(settings: &str) -> Folder {
    let folder = Folder::new(settings);
    folder.add_three();
    folder
}

#[test]
fn no_request_floods_the_log_while_the_disk_is_well() {
    let folder = chatters("");
    let server = Server::start(&folder);
    let (_client, token) = server.login("messi");
    drive(&server, &token, "well");
}

#[test]
fn no_request_floods_the_log_while_the_disk_is_nearly_full() {
    let folder = chatters("[database]\nmin_free_bytes = 1125899906842624");
    let server = Server::start(&folder);
    let (_client, token) = server.login("messi");
    drive(&server, &token, "nearly full");
}

#[test]
fn no_request_floods_the_log_while_another_process_holds_the_database() {
    let folder = chatters("[database]\nbusy_timeout = \"1ms\"");
    let server = Server::start(&folder);
    let (_client, token) = server.login("messi");
    let held = Connection::open(folder.database()).expect("it is a database");
    held.execute_batch("BEGIN IMMEDIATE").expect("nobody writes for long");
    drive(&server, &token, "held by another process");
}

#[test]
fn no_request_floods_the_log_while_files_may_not_grow() {
    let folder = chatters("");
    let mut command = Command::new("sh");
    command.current_dir(folder.path());
    // Blocks of 512 bytes.
    command.args(["-c", "ulimit -f 2048; exec \"$0\" serve", env!("CARGO_BIN_EXE_chatd")]);
    let server = Server::start_with(&folder, command);
    let (mut client, token) = server.login("messi");
    let (text, begun) = ("x".repeat(50_000), Instant::now());
    while client.ask(&format!("send {token} messi {text}")) == SENT {
        assert!(begun.elapsed() < PATIENCE);
    }
    drive(&server, &token, "with a limit for files");
}

#[test]
fn no_request_floods_the_log_while_the_disk_is_full() {
    let folder = Folder::new("");
    let Some(disk) = Disk::tmpfs(&folder, 32) else {
        println!("SKIPPED: a small disk needs root");
        return;
    };
    folder.configure(&format!("[database]\n{}", disk.url()));
    folder.add_three();
    let server = Server::start(&folder);
    let (_client, token) = server.login("messi");
    fill(&disk.path);
    drive(&server, &token, "full");
}

fn fill(disk: &Path) {
    let mut file = File::create(disk.join("filler")).expect("it can be made");
    loop {
        match file.write_all(&[0; 4096]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return,
            Err(error) => panic!("{error}"),
        }
    }
}
