//! Admin commands beside a running server, which carries them out at its own socket, and the commits of other programs
//! to the database's file.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::support::{Client, Folder, NO_SESSION, PATIENCE, SENT, Server};

fn socket_of(folder: &Folder) -> PathBuf {
    folder.path().join("chat.db.socket")
}

/// Runs statements on the database as another program would.
fn commit(database: &Path, statements: &[&'static str]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let mut database = SqliteConnectOptions::new().filename(database).connect().await.expect("it is a database");
        for sql in statements {
            sqlx::query(*sql).execute(&mut database).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        database.close().await.expect("it closes");
    });
}

fn count(database: &Path, sql: &'static str) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(database).read_only(true);
        let mut database = options.connect().await.expect("it is a database");
        sqlx::query_scalar(sql).fetch_one(&mut database).await.expect("it can be read")
    })
}

fn becomes_true(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn ask(socket: &Path, question: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    // A question that is too long is not read to its end.
    let _ = stream.write_all(question);
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("an answer comes");
    answer
}

#[test]
fn an_admin_command_beside_a_server_is_carried_out_by_the_server() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    // While this lock is held nobody else could write to the file, and the server's own commits wait, not fail.
    let inode = |suffix: &str| fs::metadata(folder.path().join(format!("chat.db{suffix}"))).map(|file| file.len());
    assert!(inode("-wal").is_ok());

    // At once: what the command has done is in force when it ends.
    folder.add_user("new", "New", "");
    assert!(messi.ask("auth new surabaya").contains("tokenid"));
    folder.done(&["user", "disable", "new"], "");
    assert!(messi.ask("auth new surabaya").contains("User Tidak Ada"));
    folder.done(&["user", "enable", "new"], "");
    folder.done(&["user", "passwd", "new", "--password-stdin"], "other\n");
    assert!(messi.ask("auth new other").contains("tokenid"));
    assert_eq!(folder.done(&["session", "revoke", "messi"], ""), "1 sessions ended\n");
    assert_eq!(messi.ask(&format!("show {token}")), NO_SESSION);
    assert_eq!(folder.done(&["user", "remove", "new"], ""), "new removed, 0 unread messages discarded\n");
    assert!(messi.ask("auth new other").contains("User Tidak Ada"));
    assert!(folder.done(&["user", "list"], "").starts_with("henderson: Jordan Henderson, Inggris\n"));

    let log = server.log();
    for command in ["add_account", "set_disabled", "set_password", "end_sessions", "remove_account"] {
        assert!(log.contains(&format!("command={command}")), "{command}:\n{log}");
    }
    assert!(!log.contains("by another process"), "the file was written by another process:\n{log}");
    assert!(!log.contains("argon2"), "a hash is in the log:\n{log}");
}

#[test]
fn the_log_has_every_command_of_a_script() {
    const COMMANDS: usize = 40;
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    for _ in 0..COMMANDS {
        folder.done(&["user", "enable", "messi"], "");
    }
    assert_eq!(server.log().matches("command=set_disabled").count(), COMMANDS, "{}", server.log());
}

#[test]
fn the_administrators_socket_is_the_owners_alone_and_goes_with_the_server() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let metadata = fs::symlink_metadata(socket_of(&folder)).expect("it is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(server.stop(), Some(0));
    assert!(!socket_of(&folder).exists());

    // What a server that was killed leaves is in nobody's way, not even without a server.
    let server = Server::start(&folder);
    kill(server.pid(), Signal::SIGKILL).expect("it runs");
    drop(server);
    assert!(socket_of(&folder).exists());
    folder.done(&["user", "disable", "messi"], "");
    let server = Server::start(&folder);
    folder.done(&["user", "enable", "messi"], "");
    assert!(server.log().contains("command=set_disabled"));
}

#[test]
fn a_file_in_the_place_of_the_socket_is_left_as_it_is() {
    let folder = Folder::new("");
    folder.add_three();
    fs::write(socket_of(&folder), "precious").expect("it can be written");
    let server = Server::start(&folder);
    becomes_true("it says so", || server.log().contains("no socket for administrators"));
    assert_eq!(fs::read_to_string(socket_of(&folder)).expect("it is there"), "precious");
}

#[test]
fn a_database_with_a_long_path_has_a_socket_too() {
    for name in ["chat.db".to_owned(), "n".repeat(200)] {
        let folder = Folder::new("");
        let directory = folder.path().join("d".repeat(120));
        fs::create_dir(&directory).expect("it can be made");
        let url = format!("sqlite://{}/{name}", directory.display());
        folder.configure(&format!("[database]\nurl = {url:?}\nmin_free_bytes = 0"));
        folder.add_three();
        let server = Server::start(&folder);
        folder.done(&["user", "disable", "messi"], "");
        assert!(server.log().contains("command=set_disabled"), "{}", server.log());
    }
}

#[test]
fn the_administrators_door_is_open_when_the_ports_are_crowded() {
    let folder = Folder::new("[limits]\nconnections = 3\nunauthenticated_connections = 3");
    folder.add_three();
    let server = Server::start(&folder);
    let tokens = ["messi", "henderson", "lineker"].map(|name| server.login(name));
    assert!(server.connect().is_over(), "three connections are all there may be");
    let listen = format!("server.listen={}", server.address);
    let health = folder.run(&["health", "--set", &listen], "");
    assert!(health.status.success(), "{}", String::from_utf8_lossy(&health.stderr));
    assert!(String::from_utf8_lossy(&health.stdout).contains("chat.db.socket: OK, answered in"));
    assert!(String::from_utf8_lossy(&health.stderr).contains("its port is not"));
    assert_eq!(folder.done(&["session", "list"], "").lines().count(), 3);
    assert_eq!(folder.done(&["session", "revoke", "--all"], ""), "3 sessions ended\n");
    drop(tokens);
}

#[test]
fn the_administrators_door_is_open_when_many_connections_there_say_nothing() {
    let folder = Folder::new("");
    folder.add_three();
    let _server = Server::start(&folder);
    let socket = socket_of(&folder);
    let mut silent: Vec<_> = (0..300).map(|_| UnixStream::connect(&socket).expect("the server listens")).collect();
    assert!(ask(&socket, b"{\"version\": 1, \"command\": \"health\"}\n").contains("\"Ok\":{\"done\""));
    let newest = silent.last_mut().expect("there are 300");
    newest.write_all(b"{\"version\": 1, \"command\": \"health\"}\n").expect("it is not closed");
    newest.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    let mut answer = String::new();
    BufReader::new(newest).read_line(&mut answer).expect("an answer comes");
    assert!(answer.contains("\"Ok\":{\"done\""), "{answer}");
}

#[test]
fn the_administrators_door_is_open_when_many_connections_there_wait_for_an_answer() {
    let folder = Folder::new("[database]\nbusy_timeout = \"1h\"");
    folder.add_three();
    let server = Server::start(&folder);
    let socket = socket_of(&folder);
    let held = rusqlite::Connection::open(folder.database()).expect("it is a database");
    held.execute_batch("BEGIN IMMEDIATE").expect("nobody writes for long");
    // Each asks for a change, which waits for the one who holds the database.
    let ask_for_change = |_| {
        let mut stream = UnixStream::connect(&socket).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        let question = b"{\"version\":1,\"command\":{\"set_disabled\":{\"name\":\"messi\",\"disabled\":true}}}\n";
        stream.write_all(question).expect("it is not closed");
        BufReader::new(stream)
    };
    let under_way: Vec<_> = (0..16).map(ask_for_change).collect();
    becomes_true("16 questions are under way", || server.log().matches("an administrator asks").count() == 16);
    let mut waiting: Vec<_> = (0..100).map(ask_for_change).collect();
    // The server may close before it has read all.
    let is_over = |stream: &mut BufReader<UnixStream>| match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    for (place, oldest) in waiting.iter_mut().take(100 - 64).enumerate() {
        assert!(is_over(oldest), "number {place} of 100 waits");
    }
    held.execute_batch("ROLLBACK").expect("it was begun");
    for mut stream in under_way.into_iter().chain(waiting.into_iter().skip(100 - 64)) {
        let mut answer = String::new();
        stream.read_line(&mut answer).expect("an answer comes");
        assert!(answer.contains("\"Ok\":{\"done\""), "{answer:?}");
    }
    folder.done(&["health"], "");
}

#[test]
fn the_administrators_door_is_open_when_no_descriptor_is_left() {
    let folder = Folder::new("");
    folder.add_three();
    let mut command = std::process::Command::new("sh");
    command.current_dir(folder.path());
    command.arg("-c").arg(format!("ulimit -n 48; exec {} serve", env!("CARGO_BIN_EXE_chatd")));
    let server = Server::start_with(&folder, command);
    let crowd: Vec<_> = (0..64).map(|_| TcpStream::connect(server.address).expect("the backlog takes it")).collect();
    becomes_true("all descriptors are taken", || server.log().contains("no connection can be accepted"));
    for _ in 0..3 {
        folder.done(&["user", "disable", "messi"], "");
    }
    assert_eq!(server.log().matches("command=set_disabled").count(), 3);
    drop(crowd);
}

#[test]
fn what_is_asked_at_the_socket_is_bounded_and_has_a_version() {
    let folder = Folder::new("");
    let _server = Server::start(&folder);
    let ask = |question: &[u8]| ask(&socket_of(&folder), question);
    assert!(ask(b"{\"version\": 1, \"command\": \"health\"}\n").contains("\"Ok\":{\"done\""));
    assert!(ask(b"{\"version\": 2, \"command\": \"dance\"}\n").contains("speaks version 1"));
    assert!(ask(b"{\"version\": 1, \"command\": \"dance\"}\n").contains("no question: unknown variant"));
    assert!(ask(b"{\"command\": \"health\"}\n").contains("speaks version 1"));
    assert!(ask(b"auth messi surabaya\r\n").contains("no question"));
    assert!(ask(&[b'x'; 1 << 20]).contains("at most 1048576 bytes"));
}

#[test]
fn a_server_that_does_not_answer_is_not_passed_by() {
    let folder = Folder::new("");
    folder.add_three();
    let listener = UnixListener::bind(socket_of(&folder)).expect("the path is free");
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the command connects");
        let mut question = String::new();
        BufReader::new(&stream).read_line(&mut question).expect("it asks");
        stream.write_all(b"{\"version\":2,\"result\":{\"Err\":\"speaks version 2\"}}\n").expect("it reads");
        question
    });
    let refused = folder.run(&["user", "disable", "messi"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("speaks version 2"));
    assert!(other.join().expect("it does not panic").contains("\"version\":1"));
}

#[test]
fn an_admin_command_without_a_server_reads_only_what_it_needs() {
    let folder = Folder::new("");
    folder.add_three();
    // Whoever reads all accounts and sessions fails.
    commit(&folder.database(), &["ALTER TABLE session RENAME TO hidden"]);
    folder.add_user("new", "New", "");
    assert_eq!(folder.done(&["user", "list"], "").lines().count(), 4);
}

#[test]
fn what_a_stranger_commits_to_the_file_is_followed_without_reading_all() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    let (mut henderson, hendersons) = server.login("henderson");
    commit(&folder.database(), &["DELETE FROM session WHERE user = 2"]);
    becomes_true("the session ends", || henderson.ask(&format!("show {hendersons}")) == NO_SESSION);
    commit(
        &folder.database(),
        &[
            "UPDATE user SET display_name = 'Leo' WHERE id = 1",
            "UPDATE user SET name = 'gary', folded = 'gary' WHERE id = 3",
        ],
    );
    becomes_true("the new name is known", || messi.ask(&format!("send {token} gary x")) == SENT);
    assert!(messi.ask(&format!("send {token} lineker x")).contains("User Tidak Ditemukan"));

    // Whoever reads all accounts and sessions again fails from here on.
    commit(
        &folder.database(),
        &[
            "ALTER TABLE session RENAME TO hidden",
            "INSERT INTO user (name, folded, display_name, country, password_hash, created_at)
             VALUES ('new', 'new', 'New', '', '', 0)",
        ],
    );
    becomes_true("the new account is known", || messi.ask(&format!("send {token} new x")) == SENT);
    assert!(!server.log().contains("could not be read"), "{}", server.log());
}

#[test]
fn the_change_feed_does_not_grow() {
    let folder = Folder::new("");
    folder.add_three();
    let changes = || count(&folder.database(), "SELECT count(*) FROM change");
    assert_eq!(changes(), 3, "nobody follows yet");
    let server = Server::start(&folder);
    // A login takes its own change out, and those that were followed.
    let mut client: Client = server.connect();
    client.login("messi");
    assert_eq!(changes(), 0);
    commit(&folder.database(), &["UPDATE user SET country = 'x'"]);
    assert_eq!(changes(), 3);
    becomes_true("they are followed", || {
        client.login("messi");
        changes() == 0
    });
}

#[test]
fn a_stranger_changes_more_than_is_followed_at_once() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    commit(
        &folder.database(),
        &["INSERT INTO user (name, folded, display_name, country, password_hash, created_at)
           SELECT 'many' || value, 'many' || value, 'x', '', '', 0 FROM (WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 3000) SELECT value FROM n)"],
    );
    becomes_true("the last is known", || messi.ask(&format!("send {token} many3000 x")) == SENT);
    assert_eq!(messi.ask(&format!("send {token} many1 x")), SENT);
}
