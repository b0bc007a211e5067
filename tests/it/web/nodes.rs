//! The API at two nodes on one PostgreSQL: what is made at one works at the other.

use std::io::Write;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Page, files, invites, push, scripts, with_page};
use crate::browser::until;
use crate::cluster::{Cluster, on};
use crate::support::{EMPTY, Folder};

/// Two pages on a database with the example accounts.
fn two_pages(cluster: &Cluster, settings: &str) -> (String, Page, Page) {
    let url = cluster.database();
    let folder = || Folder::new(&with_page(&format!("{}{settings}", on(&url))));
    let first = folder();
    first.add_three();
    let second = folder();
    (url, Page::start(first), Page::start(second))
}

#[test]
fn files_go_in_at_one_node_and_out_at_another() {
    let Some(cluster) = Cluster::get() else { return };
    let (url, one, other) = two_pages(cluster, "");
    let [messi, henderson, lineker] = ["messi", "henderson", "lineker"].map(|name| one.login(name));
    let photo: Vec<u8> = (0..500_001_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = files::send(&one, &messi, "henderson", "foto.jpg", &photo);
    let got = files::get(&other, &henderson, file, "");
    assert!(got.status == 200 && got.body == photo, "{}", got.head);
    assert_eq!(files::get(&other, &lineker, file, "").status, 404);
    // One that breaks off leaves nothing.
    let path = "POST /api/v1/conversations/henderson/files?name=b";
    let mut broken = files::begin(&one, path, &files::cookie(&messi), 1_000_000);
    broken.write_all(&photo).expect("it is taken");
    let pieces = "SELECT count(DISTINCT file) FROM file_piece";
    until(|| cluster.sql_at(&url, pieces) == "2", "nothing of it is stored");
    drop(broken);
    until(|| cluster.sql_at(&url, pieces) == "1", "something of it stays");
    let (mut client, token) = other.server.login("henderson");
    let inbox = client.ask(&format!("inbox {token}"));
    assert!(inbox.contains("\"file_name\": \"foto.jpg\""), "{}", &inbox[..200.min(inbox.len())]);
    assert_eq!(client.ask(&format!("inbox {token}")), EMPTY);
    // A younger one may be on its way.
    cluster.sql_at(&url, "UPDATE file SET created_at = created_at - 90000000");
    other.folder.done(&["db", "prune", "--set", "delivery.keep_delivered=0s"], "");
    assert_eq!(cluster.sql_at(&url, "SELECT count(*) FROM file"), "0", "it goes with its message");
}

/// Runs a step while no message can be stored.
fn while_no_message_is_stored(cluster: &'static Cluster, url: &str, step: impl FnOnce()) {
    let held = "BEGIN; SELECT last FROM head FOR UPDATE; SELECT pg_sleep(3); COMMIT";
    let lock = {
        let url = url.to_owned();
        thread::spawn(move || cluster.sql_at(&url, held))
    };
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    until(|| cluster.sql_at(url, sleeps) == "1", "nothing holds the lock");
    step();
    lock.join().expect("psql ends");
}

#[test]
fn a_file_whose_sender_goes_while_it_is_being_stored_comes_with_its_message() {
    let Some(cluster) = Cluster::get() else { return };
    let (url, one, other) = two_pages(cluster, "");
    let (messi, henderson) = (one.login("messi"), one.login("henderson"));
    let photo = vec![7; 100_000];
    for (sent, key) in [(1, ""), (2, "&key=k1")] {
        while_no_message_is_stored(cluster, &url, || {
            let path = format!("POST /api/v1/conversations/henderson/files?name=foto.bin{key}");
            let mut stream = files::begin(&one, &path, &files::cookie(&messi), photo.len());
            stream.write_all(&photo).expect("it is taken");
            let waits = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            until(|| cluster.sql_at(&url, waits) != "0", "the message does not wait for the lock");
            drop(stream);
            // So long a server that removes the file needs at the most.
            thread::sleep(Duration::from_millis(500));
        });
        until(|| cluster.sql_at(&url, "SELECT count(*) FROM message") == sent.to_string(), "the message is not stored");
        let list = "GET /api/v1/conversations/messi/messages?limit=1";
        let list = other.browse(list, &henderson, &Value::Null).json();
        let file = list["messages"][0]["file"]["id"].as_i64().expect("the message brings it");
        assert_eq!(files::get(&other, &henderson, file, "").body, photo);
    }
    // A message that is refused for sure brings nothing.
    let refused = files::post(&one, "/api/v1/conversations/nobody/files?name=x", &messi, b"x");
    assert_eq!(refused.status, 404);
    until(|| cluster.sql_at(&url, "SELECT count(*) FROM file") == "2", "a file stays without its message");
}

#[test]
fn an_invite_works_once_at_all_nodes() {
    let Some(cluster) = Cluster::get() else { return };
    let (_, one, other) = two_pages(cluster, "[protocol]\nregister = \"invite\"");
    let code = invites::code(&one.folder, &["--for", "Budi"]);
    assert_eq!(invites::register(&other, &code, "messi").code(), (409, "name_taken".to_owned()));
    assert!(one.folder.done(&["user", "invites"], "").contains("Budi"));
    assert_eq!(invites::register(&other, &code, "budi").status, 200);
    assert_eq!(invites::register(&one, &code, "siti").code(), invites::refused());
    assert_eq!(one.folder.done(&["user", "invites"], ""), "");
    assert_eq!(invites::register(&one, &code.replace(char::is_alphanumeric, "0"), "siti").code(), invites::refused());
    let taken_back = invites::code(&one.folder, &[]);
    let listed = one.browse("GET /api/v1/me", &other.login("budi"), &Value::Null);
    assert_eq!(listed.json()["name"], "budi");
    let list: Value = serde_json::from_str(&one.folder.done(&["user", "invites", "--json"], "")).expect("a list");
    let number = list[0]["id"].as_i64().expect("a number").to_string();
    one.folder.done(&["user", "uninvite", &number], "");
    assert_eq!(invites::register(&other, &taken_back, "siti").code(), invites::refused());
}

#[test]
fn tokens_hooks_and_browsers_of_one_node_are_known_at_the_other() {
    let Some(cluster) = Cluster::get() else { return };
    let (url, one, other) = two_pages(cluster, "");
    let login = one.login("messi");
    let token = scripts::make(&one, &login, &json!({ "label": "cron", "scope": "send" }));
    let sent = other.raw("POST /to/henderson", &format!("Authorization: Bearer {token}\r\n"), "halo");
    assert_eq!(sent.status, 201, "{}", sent.text());
    let path = scripts::hook(&one, &login, "henderson");
    assert_eq!(scripts::post(&other, &path, "text/plain", "alarm").status, 200);
    assert_eq!(scripts::mail(&other, "henderson"), ["halo", "alarm"]);
    let browser = push::subscription("https://fcm.googleapis.com/x");
    assert_eq!(one.ask("POST /api/v1/push", &login, &browser).status, 204);
    assert_eq!(cluster.sql_at(&url, "SELECT count(*) FROM push"), "1");
    assert_eq!(other.browse("POST /api/v1/me", &login, &json!({ "display_name": "Leo" })).status, 200);
    let name = || one.browse("GET /api/v1/me", &login, &Value::Null).json()["display_name"].clone();
    until(|| name() == "Leo", "the other node does not hear of it");
    let new = json!({ "old": "surabaya", "new": "baru" });
    assert_eq!(other.browse("POST /api/v1/me/password", &login, &new).status, 204);
    assert_eq!(one.browse("POST /api/v1/logout", &login, &Value::Null).status, 204);
    assert_eq!(cluster.sql_at(&url, "SELECT count(*) FROM push"), "0", "it ends with its session");
}
