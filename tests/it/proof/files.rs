//! A database that another process holds, that another server serves, or that is none of ours.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::support::{Folder, PATIENCE, SENT, Server, texts, unread_on_disk};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(future)
}

/// Holds the database as another program might, while `meanwhile` runs.
fn locked<T>(folder: &Folder, meanwhile: impl FnOnce() -> T) -> T {
    block_on(async {
        let options = SqliteConnectOptions::new().filename(folder.database());
        let mut other: SqliteConnection = options.connect().await.expect("it is there");
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("it is free");
        let result = meanwhile();
        sqlx::query("ROLLBACK").execute(&mut other).await.expect("it was begun");
        other.close().await.expect("it closes");
        result
    })
}

#[test]
fn a_lock_that_is_short_is_waited_for() {
    let folder = Folder::new("[database]\nbusy_timeout = \"60s\"");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut client, token) = server.login("messi");
    locked(&folder, || {
        client.send(format!("send {token} messi waited\r\n"));
        thread::sleep(Duration::from_millis(500));
    });
    assert_eq!(client.receive(), SENT);
}

#[test]
fn a_lock_that_is_long_is_answered_with_an_error_and_survived() {
    let folder = Folder::new("[database]\nbusy_timeout = \"200ms\"");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut client, token) = server.login("messi");
    assert_eq!(client.ask(&format!("send {token} messi before")), SENT);
    locked(&folder, || {
        for _ in 0..3 {
            assert!(client.ask(&format!("send {token} messi never")).contains("unavailable"));
        }
        // Reading needs no lock.
        assert_eq!(texts(&client.ask(&format!("inbox {token}"))), ["before"]);
        assert!(client.ask(&format!("send {token} messi never")).contains("unavailable"));
    });
    let begun = Instant::now();
    while client.ask(&format!("send {token} messi after")) != SENT {
        assert!(begun.elapsed() < PATIENCE);
    }
    // What was confirmed during the lock is confirmed after it.
    while unread_on_disk(&folder.database()) > 1 {
        assert!(begun.elapsed() < PATIENCE);
    }
    server.kill();
    let server = Server::start(&folder);
    assert_eq!(texts(&server.connect().ask(&format!("inbox {token}"))), ["after"]);
}

/// `chatd serve` ends at once, with this status and one line.
fn refused(folder: &Folder, status: i32) -> String {
    let output = folder.run(&["serve"], "");
    let said = String::from_utf8(output.stderr).expect("chatd prints UTF-8");
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[test]
fn a_second_server_names_the_first() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let said = refused(&folder, 1);
    assert!(said.contains(&format!("in use by another chatd, process {}", server.pid())), "{said}");
    let (mut client, token) = server.login("messi");
    assert_eq!(client.ask(&format!("send {token} messi hal")), SENT);
    // One that was killed has left its number, and holds nobody back.
    server.kill();
    drop(Server::start(&folder));
}

#[test]
fn what_is_not_a_database_of_ours_is_left_as_it_is() {
    let whole = {
        let folder = Folder::new("");
        folder.add_three();
        fs::read(folder.database()).expect("it was made")
    };
    let foreign = {
        let folder = Folder::new("");
        block_on(async {
            let options = SqliteConnectOptions::new().filename(folder.database()).create_if_missing(true);
            let mut other = options.connect().await.expect("it can be made");
            sqlx::query("CREATE TABLE theirs (x)").execute(&mut other).await.expect("it is SQL");
            other.close().await.expect("it closes");
        });
        fs::read(folder.database()).expect("it was made")
    };
    let mut garbage_with_a_header = whole[..100].to_vec();
    garbage_with_a_header.resize(whole.len(), 0xA5);
    let cases = [
        ("garbage", vec![0xA5; 5000], 0o600, "not a database"),
        ("short", b"SQLite".to_vec(), 0o600, "not a database"),
        ("garbage with a header", garbage_with_a_header, 0o600, "not a readable database"),
        ("truncated", whole[..whole.len() / 2].to_vec(), 0o600, "truncated"),
        ("foreign", foreign, 0o600, "belongs to another program"),
        ("read-only", whole, 0o400, "read-only"),
    ];
    for (what, bytes, mode, why) in cases {
        let folder = Folder::new("");
        fs::write(folder.database(), &bytes).expect("it can be written");
        fs::set_permissions(folder.database(), fs::Permissions::from_mode(mode)).expect("it is ours");
        // No retry mends it.
        let said = refused(&folder, 78);
        assert!(said.contains(why) && said.contains("chat.db"), "{what}: {said}");
        assert_eq!(fs::read(folder.database()).expect("it is there"), bytes, "{what} was changed");
        let mode_after = fs::metadata(folder.database()).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode_after, mode, "{what}");
    }
}
