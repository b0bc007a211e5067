//! Long replies are made in pieces, as the peer takes them: what they become is never held as a whole.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chatd::internals::repository::{NewUser, Repository};
use chatd::model::{Label, Username};
use chatd::protocol::dialect::Dialect;
use nix::unistd::Pid;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::shares::{BUSY, with_little_room};
use super::turns::{connected, service};
use super::{resident_kib, server};
use crate::leases::log_in;
use crate::repository::{OPTIONS, open, quick_folder};
use crate::support::{Client, Folder, PATIENCE, SENT, Server};

/// A text that becomes six times as long in a reply.
fn long_text(bytes: usize) -> String {
    "\u{1}".repeat(bytes)
}

/// Asks for something long, and has read its first byte only.
fn begun(server: &Server, request: &str) -> Client {
    let mut reader = with_little_room(server);
    reader.send(request);
    let mut first = [0];
    reader.stream.get_mut().read_exact(&mut first).expect("something comes");
    assert_eq!(&first, b"{");
    reader
}

#[test]
fn a_long_reply_takes_the_memory_of_its_texts_and_of_one_piece() {
    const READERS: usize = 10;
    const TEXT: usize = 1_000_000;
    let (_folder, server) = server("[limits]\nwrite_timeout = \"1h\"");
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {token} messi {}", long_text(TEXT))), SENT);
    let request = format!("history {token} messi\r\n");
    let whole = messi.ask(request.trim_end()).len();
    assert!(whole > 6 * TEXT, "{whole} bytes");
    let before = resident_kib(server.pid());
    let mut readers: Vec<Client> = (0..READERS).map(|_| begun(&server, &request)).collect();
    let grown = resident_kib(server.pid()).saturating_sub(before);
    println!("{READERS} replies of {whole} bytes that are not read: {grown} KiB more");
    // The texts, once more while they are read from the disk, and the pieces; before, 60,000 and more.
    assert!(grown < (2 * READERS * TEXT) as u64 / 1024, "{grown} KiB");
    for reader in &mut readers {
        assert_eq!(reader.receive().len() + 1, whole);
    }
}

/// Who asks again has what was written before; but this was asked while the reply was on its way.
#[test]
fn a_request_that_comes_before_the_end_of_a_long_reply_does_not_prove_it() {
    let (_folder, server) = server("[delivery]\nconfirm_after = \"0s\"");
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {token} messi {}", long_text(1_000_000))), SENT);
    let mut reader = begun(&server, &format!("inbox {token}\r\n"));
    reader.send(format!("show {token}\r\n"));
    assert!(reader.receive().ends_with("\\u0001\\r\\n\"}]}}"));
    assert!(reader.receive().contains("messi"));
    let reset = |reader: Client| {
        let stream = reader.stream.into_inner();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it can be set");
    };
    reset(reader);
    // It goes back when the server hears of the reset; and so does a reply that was broken off.
    let wait = format!("wait {token} {}\r\n", PATIENCE.as_secs());
    reset(begun(&server, &wait));
    let mut reader = begun(&server, &wait);
    assert!(reader.receive().len() > 6_000_000);
    assert!(reader.ask(&format!("ack {token}")).contains("OK"));
    assert!(!messi.ask(&format!("inbox {token}")).contains("msg"), "what was asked for after it was read is over");
}

#[test]
fn where_there_is_no_room_for_a_long_reply_nothing_of_it_is_said() {
    let (_folder, server) = server("[limits]\nbuffered_reply_bytes = 1000000\nwrite_timeout = \"1h\"");
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {token} messi {}", long_text(1_000_000))), SENT);
    let reader = begun(&server, &format!("history {token} messi\r\n"));
    for command in ["history", "inbox"] {
        assert_eq!(messi.ask(&format!("{command} {token} messi")), BUSY, "{command}");
    }
    drop(reader);
    // What was not handed out waits.
    let mut reply = messi.ask(&format!("inbox {token}"));
    while reply == BUSY {
        reply = messi.ask(&format!("inbox {token}"));
    }
    assert!(reply.len() > 6_000_000);
}

/// Accounts with one session each, as an administrator makes them, but all at once.
fn fill(database: &Path, accounts: u32) {
    let database = rusqlite::Connection::open(database).expect("it is a database");
    let numbers =
        format!("WITH RECURSIVE n (i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 999 + {accounts})");
    let sql = format!(
        "BEGIN;
         {numbers} INSERT INTO user (id, name, folded, display_name, country, password_hash, created_at)
            SELECT i, 'crowd' || i, 'crowd' || i, 'Crowd', '', '', 0 FROM n;
         {numbers} INSERT INTO session (user, token_hash, address, created_at, last_used_at)
            SELECT i, randomblob(32), '192.0.2.1', unixepoch() * 1000, unixepoch() * 1000 FROM n;
         DELETE FROM change;
         COMMIT;"
    );
    database.execute_batch(&sql).expect("the tables are there");
}

/// The most memory that a process has had, in KiB.
fn most_kib(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("every process has it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn lists_of_many_names_are_made_one_after_the_other() {
    const ACCOUNTS: u32 = 20_000;
    const ASKERS: usize = 300;
    let folder = Folder::new("[limits]\nbuffered_reply_bytes = 1000000");
    folder.add_three();
    fill(&folder.database(), ACCOUNTS);
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("show {token}")).matches("crowd").count(), ACCOUNTS as usize);
    let before = most_kib(server.pid());
    let mut askers: Vec<Client> = (0..ASKERS).map(|_| server.connect()).collect();
    askers.iter_mut().for_each(|asker| asker.send(format!("show {token}\r\n")));
    let replies: Vec<String> = askers.iter_mut().map(Client::receive).collect();
    let grown = most_kib(server.pid()) - before;
    let refused = replies.iter().filter(|reply| *reply == BUSY).count();
    println!("{ASKERS} lists of {ACCOUNTS} names: {grown} KiB more, {refused} had no room");
    assert!(refused < ASKERS, "nobody got a list");
    // Each has 320,000 bytes while it is made.
    assert!(grown < 30_000, "{grown} KiB");
}

#[tokio::test]
async fn a_list_of_very_many_names_is_the_same_in_pieces() {
    const MANY: usize = 3_000;
    let folder = quick_folder();
    let repository = Arc::new(open(folder.path(), &OPTIONS).await);
    let mut token = None;
    let names: Vec<String> = (0..MANY).map(|number| format!("{}'{number}", "n".repeat(50))).collect();
    for name in &names {
        let username = Username::parse(name).expect("it is a name");
        let (display_name, country) = (Label::from(&username), Label::default());
        let password_hash = String::new();
        let administrator = false;
        let user = NewUser { username: username.clone(), display_name, country, password_hash, administrator };
        repository.add_user(user).await.expect("the store works");
        let user = repository.user_named(name).await.expect("the store works").expect("it is there");
        token = Some(log_in(&repository, user.id, 1).await.0);
    }
    let token = token.expect("there are many").reveal();
    let service = service(repository);
    for (dialect, opening, quote, end) in [
        (Dialect::json(), "{\"status\": \"OK\", \"messages\": [", '"', "]}\r\n\r\n"),
        (Dialect::text(), "[", '"', "]\r\n"),
    ] {
        let mut peer = connected(dialect, service.clone());
        peer.write_all(format!("show {token}\r\nx\r\n").as_bytes()).await.expect("there is room");
        let quoted: Vec<String> = names.iter().map(|name| format!("{quote}{name}{quote}")).collect();
        let wanted = format!("{opening}{}{end}", quoted.join(", "));
        assert!(wanted.len() > 2 * 65_536);
        let mut got = vec![0; wanted.len()];
        peer.read_exact(&mut got).await.expect("it comes");
        assert!(got == wanted.as_bytes(), "{:.300}", String::from_utf8_lossy(&got));
        assert!(matches!(peer.read_u8().await.expect("the next reply comes"), b'{' | b'*'));
    }
}
