//! Conversations, messages, read marks and sessions, beside clients of the wire.

use serde_json::{Value, json};

use super::Page;
use crate::support::{EMPTY, SENT, Server, texts, unread_on_disk};

#[test]
fn a_message_goes_from_page_to_page_and_to_old_clients_and_back() {
    let page = Page::new("");
    let (messi, henderson) = (page.login("messi"), page.login("henderson"));
    let (mut old, token) = page.server.login("messi");
    let sent = page.browse(
        "POST /api/v1/conversations/henderson/messages",
        &messi,
        &json!({ "text": "halo, jadi latihan besok?", "key": "k1" }),
    );
    assert_eq!(sent.status, 201, "{}", sent.text());
    let (id, time) = (sent.json()["id"].clone(), sent.json()["time"].clone());
    assert!(id.as_i64().is_some_and(|id| id > 0) && time.as_i64().is_some_and(|time| time > 1_700_000_000_000));
    assert_eq!(old.ask(&format!("send {token} henderson  dari terminal ")), SENT);

    let list = page.browse("GET /api/v1/conversations", &henderson, &Value::Null).json();
    let conversation = &list["conversations"][0];
    assert_eq!(conversation["name"], "messi");
    assert_eq!(conversation["display_name"], "Lionel Messi");
    assert_eq!(conversation["unread"], 2);
    assert_eq!(conversation["newest"]["text"].as_str().map(str::trim), Some("dari terminal"));
    assert_eq!(conversation["newest"]["from"], "messi");
    let messages = page.browse("GET /api/v1/conversations/messi/messages?limit=50", &henderson, &Value::Null).json();
    assert_eq!(
        messages["messages"][0],
        json!({
            "id": id, "time": time, "conversation": "messi", "kind": "person",
            "from": "messi", "display_name": "Lionel Messi", "to": "henderson", "text": "halo, jadi latihan besok?", "read_at": null,
        })
    );
    let second = messages["messages"][1]["id"].clone();
    let range = |query: &str| {
        let path = format!("GET /api/v1/conversations/messi/messages?{query}");
        let messages = page.browse(&path, &henderson, &Value::Null).json()["messages"].clone();
        Value::from_iter(messages.as_array().expect("a list").iter().map(|message| message["id"].clone()))
    };
    assert_eq!(range(&format!("before={second}")), json!([id]));
    assert_eq!(range(&format!("after={id}")), json!([second]));
    assert_eq!(range(&format!("after={second}")), json!([]));
    assert_eq!(range("limit=1"), json!([second]));

    // What was read on the page is gone for an old client, on the disk, too.
    let read = page.browse("POST /api/v1/conversations/messi/read", &henderson, &json!({ "upto": second }));
    assert_eq!((read.status, read.json()), (200, json!({ "messages": 2 })));
    assert_eq!(unread_on_disk(&page.folder.database()), 0);
    let (mut old, token) = page.server.login("henderson");
    assert_eq!(old.ask(&format!("inbox {token}")), EMPTY);
    let list = page.browse("GET /api/v1/conversations", &henderson, &Value::Null).json();
    assert_eq!((&list["conversations"][0]["unread"], &list["conversations"][0]["read_upto"]), (&json!(0), &second));
    let list = page.browse("GET /api/v1/conversations", &messi, &Value::Null).json();
    assert_eq!(list["conversations"][0]["their_read_upto"], second, "the sender sees it");

    // And what an old client has read is not unread on the page.
    page.browse("POST /api/v1/conversations/henderson/messages", &messi, &json!({ "text": "lagi", "key": "k2" }));
    assert_eq!(texts(&old.ask(&format!("inbox {token}"))), ["lagi"]);
    assert!(old.ask(&format!("ack {token}")).contains("OK"));
    let list = page.browse("GET /api/v1/conversations", &henderson, &Value::Null).json();
    assert_eq!(list["conversations"][0]["unread"], 0, "{list}");
}

#[test]
fn a_send_that_is_tried_again_is_stored_once_also_after_a_restart() {
    let page = Page::new("");
    let token = page.login("messi");
    let body = json!({ "text": "sekali", "key": "k1" });
    let first = page.browse("POST /api/v1/conversations/henderson/messages", &token, &body);
    assert_eq!(first.status, 201);
    let Page { folder, server, .. } = page;
    server.kill();
    let page = Page::start(folder);
    let again = page.browse("POST /api/v1/conversations/henderson/messages", &token, &body);
    assert_eq!((again.status, again.json()), (200, first.json()));
    let script = format!("Authorization: Bearer {token}\r\nIdempotency-Key: k1\r\n");
    let by_script = page.raw("POST /to/henderson", &script, "sekali");
    assert_eq!((by_script.status, by_script.json()), (200, first.json()));
    let messages = page.browse("GET /api/v1/conversations/henderson/messages", &token, &Value::Null).json();
    assert_eq!(messages["messages"].as_array().map(Vec::len), Some(1), "{messages}");
    let other = json!({ "text": "sekali", "key": "k2" });
    assert_eq!(page.browse("POST /api/v1/conversations/henderson/messages", &token, &other).status, 201);
}

#[test]
fn an_acknowledged_message_survives_a_kill() {
    let page = Page::new("");
    let token = page.login("messi");
    let body = json!({ "text": "tahan", "key": "k" });
    assert_eq!(page.browse("POST /api/v1/conversations/henderson/messages", &token, &body).status, 201);
    let Page { folder, server, .. } = page;
    server.kill();
    let page = Page::start(folder);
    let messages = page.browse("GET /api/v1/conversations/henderson/messages", &token, &Value::Null).json();
    assert_eq!(messages["messages"][0]["text"], "tahan", "the login survives, too");
}

#[test]
fn what_cannot_be_sent_is_said_with_its_reason() {
    let page = Page::new("[limits]\ninbox_messages = 4");
    let token = page.login("messi");
    let send =
        |name: &str, body: Value| page.browse(&format!("POST /api/v1/conversations/{name}/messages"), &token, &body);
    assert_eq!(send("nobody", json!({ "text": "x" })).code(), (404, "unknown_user".to_owned()));
    assert_eq!(send("henderson", json!({ "text": "" })).code(), (400, "malformed".to_owned()));
    assert_eq!(send("henderson", json!({ "text": 7 })).code(), (400, "malformed".to_owned()));
    assert_eq!(send("henderson", json!({ "text": "x", "key": "" })).code(), (400, "malformed".to_owned()));
    assert_eq!(send("%FF", json!({ "text": "x" })).code(), (400, "malformed".to_owned()));
    let mut full = send("henderson", json!({ "text": "x" }));
    for _ in 0..4 {
        full = send("henderson", json!({ "text": "x" }));
    }
    assert_eq!(full.code(), (429, "inbox_full".to_owned()));
    assert!(full.header("retry-after").is_some());
    for bad in ["before=x", "before=1&after=1", "limit=-1", "other=1"] {
        let path = format!("GET /api/v1/conversations/henderson/messages?{bad}");
        assert_eq!(page.browse(&path, &token, &Value::Null).code(), (400, "malformed".to_owned()), "{bad}");
    }
    let nobody = page.browse("GET /api/v1/conversations/nobody/messages", &token, &Value::Null);
    assert_eq!(nobody.code(), (404, "unknown_user".to_owned()));
}

#[test]
fn thirty_messages_at_once_and_then_one_has_to_wait() {
    let page = Page::new("");
    let token = page.login("messi");
    let throttled = (0..200).find_map(|_| {
        let sent = page.browse("POST /api/v1/conversations/lineker/messages", &token, &json!({ "text": "x" }));
        (sent.status != 201).then_some(sent)
    });
    let throttled = throttled.expect("a script that sends without a pause is held up");
    assert_eq!(throttled.code(), (429, "throttled".to_owned()));
    assert!(throttled.header("retry-after").is_some());
}

#[test]
fn a_script_sends_its_body_as_it_is_and_never_with_the_cookie() {
    let page = Page::new("");
    let (_, token) = page.server.login("messi");
    for kind in ["application/x-www-form-urlencoded", "text/plain"] {
        let headers = format!("Authorization: Bearer {token}\r\nContent-Type: {kind}\r\n");
        assert_eq!(page.raw("POST /to/henderson", &headers, "halo=apa&kabar").status, 201, "{kind}");
    }
    let (mut henderson, own) = page.server.login("henderson");
    assert_eq!(texts(&henderson.ask(&format!("inbox {own}"))), ["halo=apa&kabar", "halo=apa&kabar"]);
    let with_cookie = format!("Sec-Fetch-Site: same-origin\r\nCookie: __Host-chatd={token}\r\n");
    assert_eq!(page.raw("POST /to/henderson", &with_cookie, "x").code(), (401, "unknown_token".to_owned()));
    assert_eq!(page.raw("POST /to/henderson", "", "x").code(), (401, "unknown_token".to_owned()));
}

#[test]
fn people_are_found_by_any_part_of_their_names_and_not_by_strangers() {
    let page = Page::new("");
    let token = page.login("messi");
    let find = |part: &str| {
        let found = page.browse(&format!("GET /api/v1/people?q={part}"), &token, &Value::Null).json()["people"].clone();
        found.as_array().expect("a list").clone()
    };
    assert_eq!(find("JORD"), [json!({ "name": "henderson", "display_name": "Jordan Henderson", "online": false })]);
    assert_eq!(find("messi")[0]["online"], true);
    assert_eq!(find("").len(), 3);
    assert_eq!(find("nobody").len(), 0);
    page.folder.done(&["user", "disable", "lineker"], "");
    assert_eq!(find("").len(), 2);
    assert_eq!(page.raw("GET /api/v1/people?q=", "", "").code(), (401, "unknown_token".to_owned()));
}

#[test]
fn my_sessions_are_listed_and_ended_and_those_of_others_are_not() {
    let page = Page::new("");
    let (here, there, other) = (page.login("messi"), page.login("messi"), page.login("henderson"));
    let sessions = |token: &str| {
        let list = page.browse("GET /api/v1/sessions", token, &Value::Null).json()["sessions"].clone();
        list.as_array().expect("a list").clone()
    };
    let mine = sessions(&here);
    assert_eq!(mine.len(), 2);
    assert_eq!((&mine[0]["current"], &mine[1]["current"]), (&json!(true), &json!(false)));
    assert_eq!(mine[0]["address"], "127.0.0.1");
    let foreign = sessions(&other)[0]["id"].clone();
    let end = |id: &Value| page.browse(&format!("DELETE /api/v1/sessions/{id}"), &here, &Value::Null).status;
    assert_eq!(end(&foreign), 404);
    assert_eq!(sessions(&other).len(), 1, "it lives");
    assert_eq!(end(&mine[1]["id"]), 204);
    assert_eq!(page.browse("GET /api/v1/me", &there, &Value::Null).status, 401);
    page.login("messi");
    page.login("messi");
    assert_eq!(page.browse("DELETE /api/v1/sessions", &here, &Value::Null).status, 204);
    assert_eq!(sessions(&here).len(), 1);
}

#[test]
fn a_session_is_called_as_the_login_said() {
    let page = Page::new("");
    let login = |label: &str| {
        let body = json!({ "name": "messi", "password": "surabaya", "label": label });
        page.ask("POST /api/v1/login", "", &body)
    };
    assert_eq!(login("Firefox, Linux").status, 200);
    for bad in ["a\u{202e}b", &"x".repeat(129)] {
        assert_eq!(login(bad).code(), (400, "malformed".to_owned()), "{bad}");
    }
    let token = page.login("messi");
    let listed = page.browse("GET /api/v1/sessions", &token, &Value::Null).json()["sessions"].clone();
    assert_eq!((&listed[0]["label"], &listed[1]["label"]), (&json!("Firefox, Linux"), &json!("")));
    assert!(page.folder.done(&["session", "list"], "").contains(", Firefox, Linux\n"));
}

#[test]
fn a_new_password_on_the_page_ends_the_other_logins_and_a_wrong_one_ends_nothing() {
    let page = Page::new("");
    let (here, there) = (page.login("messi"), page.login("messi"));
    let change =
        |old: &str, new: &str| page.browse("POST /api/v1/me/password", &here, &json!({ "old": old, "new": new }));
    // Not 401, which would tell the page that its login is over.
    assert_eq!(change("wrong", "baru").code(), (403, "wrong_password".to_owned()));
    assert_eq!(change("surabaya", "with a space").code(), (400, "malformed".to_owned()));
    assert_eq!(change("surabaya", "").code(), (400, "malformed".to_owned()));
    assert_eq!(page.browse("GET /api/v1/me", &there, &Value::Null).status, 200);
    assert_eq!(change("surabaya", "baru").status, 204);
    assert_eq!(page.browse("GET /api/v1/me", &here, &Value::Null).status, 200);
    assert_eq!(page.browse("GET /api/v1/me", &there, &Value::Null).status, 401);
    let old = page.ask("POST /api/v1/login", "", &json!({ "name": "messi", "password": "surabaya" }));
    assert_eq!(old.code(), (401, "wrong_login".to_owned()));
    let throttled = (0..100).map(|_| change("guess", "x")).find(|answer| answer.status != 403);
    assert_eq!(throttled.expect("guesses are held up").code(), (429, "throttled".to_owned()));
    let anonymous = page.raw("POST /api/v1/me/password", "Content-Type: application/json\r\n", "{}");
    assert_eq!(anonymous.status, 401);
}

#[test]
fn a_display_name_is_changed_on_the_page() {
    let page = Page::new("");
    let token = page.login("messi");
    let rename = |name: &str| page.browse("POST /api/v1/me", &token, &json!({ "display_name": name }));
    let me = json!({ "name": "messi", "display_name": "El Diez", "country": "Argentina", "administrator": false });
    let renamed = rename(" El Diez ");
    assert_eq!((renamed.status, renamed.json()), (200, me.clone()));
    assert_eq!(page.browse("GET /api/v1/me", &token, &Value::Null).json(), me);
    for bad in ["", " ", "a\nb", "a\u{202e}b", &"x".repeat(129)] {
        assert_eq!(rename(bad).code(), (400, "malformed".to_owned()), "{bad:?}");
    }
}

#[test]
fn who_there_is_can_be_kept_from_all() {
    let page = Page::new("[protocol]\ndirectory = false");
    let token = page.login("messi");
    let found = page.browse("GET /api/v1/people?q=hend", &token, &Value::Null);
    assert_eq!(found.code(), (403, "directory_off".to_owned()));
}

/// The store looks through what somebody sent and received, of which one conversation may be a small part.
#[test]
fn the_rest_of_a_conversation_is_found_behind_many_messages_of_others() {
    let page = Page::new("[delivery]\nhistory_messages = 2");
    let (mut lineker, other) = page.server.login("lineker");
    let (mut henderson, token) = page.server.login("henderson");
    for number in 0..120 {
        lineker.send(format!("send {other} messi {number}\r\n"));
    }
    for _ in 0..120 {
        assert_eq!(lineker.receive(), SENT);
    }
    for number in 0..3 {
        assert_eq!(henderson.ask(&format!("send {token} messi  akhir {number} ")), SENT);
    }
    let messi = page.login("messi");
    let (mut after, mut found, mut answers) = (json!(0), Vec::new(), 0);
    while !after.is_null() {
        let path = format!("GET /api/v1/conversations/henderson/messages?after={after}&limit=2");
        let answer = page.browse(&path, &messi, &Value::Null).json();
        let list = answer["messages"].as_array().expect("a list");
        found.extend(list.iter().map(|message| message["text"].as_str().expect("a text").trim().to_owned()));
        (after, answers) = (answer["next"].clone(), answers + 1);
        assert!(answers < 20, "it comes to an end");
    }
    assert_eq!(found, ["akhir 0", "akhir 1", "akhir 2"]);
    assert!(answers > 1, "one answer does not look through all");
}

/// The canary test of the wire has its like for the cookie: it is nowhere but with the browser.
#[test]
fn the_cookie_and_the_password_are_in_no_log() {
    let page = Page::new("[log]\nlevel = \"trace\"");
    let token = page.login("messi");
    let path = format!("GET /api/v1/conversations/{token}/messages");
    page.browse(&path, &token, &Value::Null);
    page.browse("GET /nothing", &token, &Value::Null);
    page.ask("POST /api/v1/login", "", &json!({ "name": "messi", "password": "kenari-7f3a91c2" }));
    page.browse("POST /api/v1/logout", &token, &Value::Null);
    let Page { folder: _folder, server, .. } = page;
    let log = log_at_end(server);
    assert!(log.contains("login") && !log.contains(&token) && !log.contains("kenari-7f3a91c2"), "{log}");
}

fn log_at_end(server: Server) -> String {
    nix::sys::signal::kill(server.pid(), nix::sys::signal::Signal::SIGTERM).expect("it runs");
    let mut server = server;
    assert_eq!(server.wait(), Some(0));
    server.log()
}
