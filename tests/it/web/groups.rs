//! Groups on the API: who is in them, and their mail on the page and on the wire.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::events::Stream;
use super::shares::with_little_room;
use super::{Page, with_page};
use crate::support::{EMPTY, SENT};

fn created(page: &Page, token: &str, name: &str) {
    let made = page.browse("POST /api/v1/groups", token, &json!({ "name": name }));
    assert_eq!(made.status, 201, "{}", made.text());
}

#[test]
fn a_group_is_made_joined_shown_and_left() {
    let page = Page::new("");
    let [messi, henderson, lineker] = ["messi", "henderson", "lineker"].map(|name| page.login(name));
    let ask = |request: &str, token: &str, body: &Value| page.browse(request, token, body);
    let nothing = &Value::Null;
    created(&page, &messi, "team");
    assert_eq!(ask("POST /api/v1/groups", &henderson, &json!({ "name": "Team" })).code(), (409, "group_exists".into()));
    assert_eq!(ask("POST /api/v1/groups", &henderson, &json!({ "name": "a,b" })).code(), (400, "malformed".into()));
    let join = "POST /api/v1/groups/team/join";
    assert_eq!(ask(join, &henderson, nothing).status, 204);
    assert_eq!(ask(join, &henderson, nothing).code(), (409, "already_a_member".into()));
    assert_eq!(ask("POST /api/v1/groups/none/join", &henderson, nothing).code(), (404, "unknown_group".into()));
    let members = "/api/v1/groups/team/members";
    assert_eq!(ask(&format!("GET {members}"), &lineker, nothing).code(), (403, "not_a_member".into()));
    let invite = format!("POST {members}");
    assert_eq!(ask(&invite, &henderson, &json!({ "name": "lineker" })).status, 204);
    assert_eq!(ask(&invite, &henderson, &json!({ "name": "nobody" })).code(), (404, "unknown_user".into()));
    let own = |token: &str| ask("GET /api/v1/groups", token, nothing).json()["groups"].clone();
    let team = json!({ "name": "team", "display_name": "team", "owner": "messi", "mine": false, "members": 3 });
    assert_eq!(own(&lineker), json!([team]));
    assert_eq!(own(&messi)[0]["mine"], true);
    let first = json!({ "name": "messi", "display_name": "Lionel Messi", "owner": true, "online": true });
    let listed = ask(&format!("GET {members}"), &lineker, nothing).json();
    assert_eq!((&listed["members"][0], listed["members"].as_array().map(Vec::len)), (&first, Some(3)));
    let remove = format!("DELETE {members}/lineker");
    assert_eq!(ask(&remove, &henderson, nothing).code(), (403, "not_the_owner".into()));
    assert_eq!(ask(&remove, &messi, nothing).status, 204);
    assert_eq!(own(&lineker), json!([]));
    assert_eq!(ask("POST /api/v1/groups/team/leave", &henderson, nothing).status, 204);
    assert_eq!(ask("DELETE /api/v1/groups/team", &henderson, nothing).code(), (403, "not_a_member".into()));
    assert_eq!(ask("DELETE /api/v1/groups/team", &messi, nothing).status, 204);
    assert_eq!(own(&messi), json!([]));
}

#[test]
fn a_long_list_of_members_has_room_of_its_asker() {
    let page = Page::new("");
    let messi = page.login("messi");
    created(&page, &messi, "team");
    let Page { folder, server, .. } = page;
    assert_eq!(server.stop(), Some(0));
    let database = rusqlite::Connection::open(folder.database()).expect("it is a database");
    let sql = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 9000)
        INSERT INTO user (name, folded, display_name, country, password_hash, created_at)
        SELECT 'crowd' || n, 'crowd' || n, replace(hex(zeroblob(64)), '0', char(128512)), '', 'x', 0 FROM n;
        INSERT INTO membership (grp, member, since, read_to)
        SELECT (SELECT id FROM user WHERE name = 'team'), id, 0, 0 FROM user WHERE name LIKE 'crowd%'";
    database.execute_batch(sql).expect("it takes them");
    drop(database);
    let page = Page::start(folder);
    let members = "GET /api/v1/groups/team/members";
    let all = page.ask(members, &messi, &Value::Null);
    assert_eq!(all.json()["members"].as_array().map(Vec::len), Some(9001), "{:.300}", all.text());
    let Page { folder, server, .. } = page;
    assert_eq!(server.stop(), Some(0));
    folder.configure(&with_page("[limits]\nbuffered_reply_bytes = 65536"));
    let page = Page::start(folder);
    let askers: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = with_little_room(&page);
            let head = format!("Host: localhost\r\nAuthorization: Bearer {messi}\r\n");
            write!(stream, "{members} HTTP/1.1\r\n{head}\r\n").expect("it is taken");
            stream
        })
        .collect();
    // What nobody reads has taken the room, so there is none for the next, or it takes that of one before.
    let is_made = |stream: &TcpStream| {
        let mut status = [0; 12];
        stream.peek(&mut status).is_ok_and(|read| read == 12 && status[9..] == *b"200")
    };
    let made = askers.iter().filter(|stream| is_made(stream)).count();
    assert!((1..8).contains(&made), "{made} of 8");
}

#[test]
fn mail_of_a_group_is_on_the_page_and_in_the_inbox_of_old_clients() {
    let page = Page::new("");
    let [messi, henderson] = ["messi", "henderson"].map(|name| page.login(name));
    created(&page, &messi, "team");
    assert_eq!(page.browse("POST /api/v1/groups/team/join", &henderson, &Value::Null).status, 204);
    let mut windows = [&messi, &henderson].map(|token| Stream::open(&page, token, "", ""));
    for window in &mut windows {
        window.expect("hello");
    }
    let to_team = "POST /api/v1/conversations/team/messages";
    let body = json!({ "text": "halo semua", "key": "k1" });
    let sent = page.browse(to_team, &messi, &body);
    let (status, first) = (sent.status, sent.json());
    assert_eq!((status, &first["not_delivered"]), (201, &Value::Null));
    let again = page.browse(to_team, &messi, &body);
    assert_eq!((again.status, again.json()), (200, first.clone()), "the same key stores nothing");
    let message = json!({
        "id": first["id"], "time": first["time"], "conversation": "team", "kind": "group", "from": "messi",
        "display_name": "Lionel Messi", "to": "team", "text": "halo semua", "read_at": null,
    });
    let mut own = message.clone();
    own["key"] = json!("k1");
    for (window, message) in windows.iter_mut().zip([&own, &message]) {
        assert_eq!(window.expect("message").data, *message);
    }

    let list = page.browse("GET /api/v1/conversations", &henderson, &Value::Null).json();
    assert_eq!(
        list["conversations"],
        json!([{
            "name": "team", "display_name": "team", "kind": "group", "newest": message, "unread": 1,
            "read_upto": first["id"].as_i64().map(|id| id - 1), "their_read_upto": 0,
        }])
    );
    let range = |token: &str, query: &str| {
        let path = format!("GET /api/v1/conversations/team/messages?{query}");
        page.browse(&path, token, &Value::Null).json()["messages"].clone()
    };
    let mut counted = message.clone();
    (counted["read_by"], counted["of"]) = (json!(0), json!(1));
    assert_eq!(range(&henderson, "limit=5"), json!([counted]));
    assert_eq!(range(&henderson, "after=0"), json!([message]));
    let read = page.browse("POST /api/v1/conversations/team/read", &henderson, &json!({ "upto": first["id"] }));
    assert_eq!((read.status, read.json()), (200, json!({ "messages": 1 })));
    assert_eq!(
        windows[1].expect("read").data,
        json!({ "conversation": "team", "by": "henderson", "upto": first["id"] })
    );
    assert_eq!(range(&messi, "limit=5")[0]["read_by"], 1);

    // The old clients have it neither twice nor not at all.
    let (mut old, token) = page.server.login("henderson");
    assert_eq!(old.ask(&format!("inbox {token}")), EMPTY);
    assert_eq!(old.ask(&format!("send {token} team  dari terminal ")), SENT);
    assert_eq!(windows[0].expect("message").data["conversation"], "team");
    let (mut old, token) = page.server.login("messi");
    assert!(old.ask(&format!("inbox {token}")).contains("\"msg_to\": \"team\""));
    assert_eq!(page.browse(to_team, &page.login("lineker"), &body).code(), (403, "not_a_member".into()));
}

#[test]
fn the_sender_hears_how_many_have_no_room() {
    let page = Page::new("[limits]\ninbox_messages = 1");
    let [messi, henderson, lineker] = ["messi", "henderson", "lineker"].map(|name| page.login(name));
    created(&page, &messi, "team");
    for token in [&henderson, &lineker] {
        assert_eq!(page.browse("POST /api/v1/groups/team/join", token, &Value::Null).status, 204);
    }
    let send = |to: &str| {
        let path = format!("POST /api/v1/conversations/{to}/messages");
        page.browse(&path, &messi, &json!({ "text": "x" }))
    };
    assert_eq!(send("lineker").status, 201);
    let sent = send("team");
    assert_eq!((sent.status, &sent.json()["not_delivered"]), (201, &json!(1)));
    assert_eq!(send("team").code(), (429, "inbox_full".into()));
}

#[test]
fn a_password_and_a_display_name_on_the_page() {
    let page = Page::new("");
    let [messi, henderson] = ["messi", "henderson"].map(|name| page.login(name));
    let made = page.browse("POST /api/v1/groups", &messi, &json!({ "name": "team", "password": "rahasia" }));
    assert_eq!(made.status, 201, "{}", made.text());
    let bad = page.browse("POST /api/v1/groups", &messi, &json!({ "name": "other", "password": "two words" }));
    assert_eq!(bad.code(), (400, "malformed".into()));
    let join = |body: &Value| page.browse("POST /api/v1/groups/team/join", &henderson, body);
    assert_eq!(join(&Value::Null).code(), (403, "wrong_password".into()));
    assert_eq!(join(&json!({ "password": "salah" })).code(), (403, "wrong_password".into()));
    assert_eq!(join(&json!({ "password": "rahasia" })).status, 204);
    let rename = "POST /api/v1/groups/team/name";
    let name = json!({ "display_name": "The Team" });
    assert_eq!(page.browse(rename, &henderson, &name).code(), (403, "not_the_owner".into()));
    assert_eq!(page.browse(rename, &messi, &json!({ "display_name": "" })).code(), (400, "malformed".into()));
    assert_eq!(page.browse(rename, &messi, &name).status, 204);
    let own = page.browse("GET /api/v1/groups", &henderson, &Value::Null).json();
    assert_eq!(own["groups"][0]["display_name"], "The Team");
}
