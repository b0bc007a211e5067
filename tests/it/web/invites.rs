//! Accounts that are made by a code, on the wire and in a browser.

use std::thread;

use serde_json::{Value, json};

use super::{Answer, Page};
use crate::support::{Folder, Server};

/// How the page spells what is said on the wire.
const PROTOCOL: &str = include_str!("../../../docs/PROTOCOL.md");
const INVITE: &str = "[protocol]\nregister = \"invite\"";

pub fn code(folder: &Folder, more: &[&str]) -> String {
    let made: Value = serde_json::from_str(&folder.done(&[&["user", "invite", "--json"], more].concat(), ""))
        .expect("it is one object");
    made["code"].as_str().expect("it is told").to_owned()
}

pub fn register(page: &Page, code: &str, name: &str) -> Answer {
    let body = json!({ "invite": code, "name": name, "password": "surabaya", "label": "Firefox" });
    page.ask("POST /api/v1/register", "", &body)
}

pub fn refused() -> (u16, String) {
    (403, "bad_invite".to_owned())
}

#[test]
fn the_example_of_an_invite_is_what_a_server_says() {
    let folder = Folder::new(INVITE);
    folder.add_three();
    let server = Server::start(&folder);
    let code = code(&folder, &[]);
    let (_, example) = PROTOCOL.split_once("```json-port-invite\n").expect("it is there");
    let example = example.split("```").next().expect("it ends");
    let mut client = server.connect();
    let mut reply = String::new();
    for line in example.lines() {
        match (line.strip_prefix("gary> "), line.strip_prefix("gary< ")) {
            (Some(asked), _) => reply = client.ask(&asked.replace("CODE", &code)),
            (_, Some(wanted)) => {
                let (before, after) = wanted.split_once("TOKEN").unwrap_or((wanted, ""));
                assert!(reply.starts_with(before) && reply.ends_with(after), "{line}: {reply}");
            }
            _ => panic!("{line} is no line of an example"),
        }
    }
    assert!(folder.done(&["user", "list"], "").contains("budi: Budi Santoso, Indonesia\n"));
}

#[test]
fn a_code_is_found_wherever_a_client_can_put_it() {
    for (order, lines) in [
        ("username_first", ["register a x CODE", "register b x Budi CODE", "register c x Budi Indonesia CODE more"]),
        ("name_first", ["register Budi Indonesia a x CODE", "auth_register b x CODE", "register Budi I c x more CODE"]),
    ] {
        let folder = Folder::new(&format!("{INVITE}\nregister_order = \"{order}\""));
        folder.add_three();
        let server = Server::start(&folder);
        for line in lines {
            let reply = server.connect().ask(&line.replace("CODE", &code(&folder, &[])));
            assert!(reply.contains("\"status\": \"OK\""), "{line}: {reply}");
        }
        assert_eq!(folder.done(&["user", "list"], "").lines().count(), 6);
        assert!(!folder.done(&["user", "list"], "").contains('-'), "no code is taken for a country");
    }
}

#[test]
fn one_code_makes_one_account_however_many_ask_at_once() {
    let page = Page::new(&format!("{INVITE}\n[throttle]\naddress_per_minute = 0\naddress_per_hour = 0"));
    let code = code(&page.folder, &[]);
    let (page, code) = (&page, &*code);
    let made: Vec<u16> = thread::scope(|scope| {
        let asks: Vec<_> =
            (0..8).map(|n| scope.spawn(move || register(page, code, &format!("name{n}")).status)).collect();
        asks.into_iter().map(|ask| ask.join().expect("it ends")).collect()
    });
    assert_eq!(made.iter().filter(|status| **status == 200).count(), 1, "{made:?}");
    assert_eq!(page.folder.done(&["user", "list"], "").matches("name").count(), 2, "one, and its display name");
}

#[test]
fn an_account_is_made_in_the_browser_by_a_code_that_works() {
    let page = Page::new(INVITE);
    let code = code(&page.folder, &["--for", "Budi"]);
    for bad in ["", "x", &code[1..], "00000000-0000-4000-8000-000000000000"] {
        assert_eq!(register(&page, bad, "mallory").code(), refused(), "{bad}");
    }
    assert_eq!(register(&page, &code, "MESSI").code(), (409, "name_taken".to_owned()));
    assert_eq!(register(&page, &code, "a b").code(), (400, "malformed".to_owned()));
    let made = register(&page, &code, "budi");
    assert_eq!((made.status, &made.json()["administrator"]), (200, &json!(false)), "{}", made.text());
    let token =
        made.header("set-cookie").expect("who makes it is logged in").split(['=', ';']).nth(1).expect("a value");
    let sessions = page.browse("GET /api/v1/sessions", token, &Value::Null).json();
    assert_eq!(sessions["sessions"][0]["label"], "Firefox");
    assert_eq!(register(&page, &code, "mallory").code(), refused(), "it works once");
    let cross = "Content-Type: application/json\r\nOrigin: https://evil.example\r\n";
    assert_eq!(page.raw("POST /api/v1/register", cross, "{}").code(), (403, "cross_origin".to_owned()));
    assert!(!page.server.log().contains(&code), "it is in no log");
}

#[test]
fn a_code_is_over_when_its_time_is_or_it_was_taken_back_and_is_stored_as_a_hash() {
    let page = Page::new(INVITE);
    let folder = &page.folder;
    let over = code(folder, &["--expires", "1ms"]);
    assert_eq!(register(&page, &over, "mallory").code(), refused());
    let kept = code(folder, &["--for", "Budi"]);
    let list: Value = serde_json::from_str(&folder.done(&["user", "invites", "--json"], "")).expect("it is JSON");
    assert_eq!((&list[0]["for"], list[1].is_null()), (&json!("Budi"), true), "{list}");
    let (made, ends) =
        (list[0]["created_at"].as_i64().expect("a time"), list[0]["expires_at"].as_i64().expect("a time"));
    assert_eq!(ends - made, 7 * 24 * 60 * 60 * 1000);
    let id = list[0]["id"].to_string();
    assert!(folder.done(&["user", "invites"], "").starts_with(&format!("{id}: for Budi, made ")));
    for name in ["chat.db", "chat.db-wal"] {
        let bytes = std::fs::read(folder.path().join(name)).expect("it is there");
        assert!(!bytes.windows(kept.len()).any(|part| part == kept.as_bytes()), "{name} has the code");
    }
    folder.done(&["user", "uninvite", &id], "");
    assert_eq!(folder.done(&["user", "invites"], ""), "");
    assert_eq!(register(&page, &kept, "mallory").code(), refused());
    assert_eq!(folder.run(&["user", "uninvite", &id], "").status.code(), Some(1), "it is gone");
}

/// What goes in the clear from another machine makes no account; a proxy that is trusted says that it did not.
#[test]
fn behind_a_proxy_an_invite_works_where_the_proxy_says_https() {
    for (said, wanted) in [("X-Forwarded-Proto: https\r\n", 200), ("X-Forwarded-Proto: http\r\n", 403), ("", 403)] {
        let page = Page::new(&format!("{INVITE}\n[web]\ntrusted_proxies = [\"127.0.0.1\"]"));
        let body = json!({ "invite": code(&page.folder, &[]), "name": "budi", "password": "surabaya", "label": "" });
        let headers = format!("Content-Type: application/json\r\nX-Forwarded-For: 203.0.113.50\r\n{said}");
        let answer = page.raw("POST /api/v1/register", &headers, &body.to_string());
        assert_eq!(answer.status, wanted, "{said}: {}", answer.text());
    }
}

#[test]
fn who_guesses_codes_waits_as_who_guesses_passwords() {
    let page = Page::new(&format!("{INVITE}\n[throttle]\naddress_per_minute = 0\naddress_per_hour = 5"));
    let good = code(&page.folder, &[]);
    assert_eq!(register(&page, &good, "budi").status, 200, "what works is no guess");
    for n in 0..5 {
        assert_eq!(register(&page, "x", &format!("n{n}")).code(), refused());
    }
    let good = code(&page.folder, &[]);
    assert_eq!(register(&page, &good, "ani").code(), (429, "throttled".to_owned()));
}

#[test]
fn no_code_makes_an_account_where_the_settings_do_not_say_so() {
    let page = Page::new("");
    let code = code(&page.folder, &[]);
    assert_eq!(register(&page, &code, "mallory").code(), refused());
    let reply = page.server.connect().ask(&format!("register mallory rahasia {code}"));
    assert!(reply.contains("**Protocol Tidak Benar"), "{reply}");
}

#[test]
fn an_administrator_makes_lists_and_takes_back_invites_in_a_browser() {
    let page = Page::new(INVITE);
    page.folder.done(&["user", "set", "messi", "--admin", "yes"], "");
    let login = page.login("messi");
    let ask = |request: &str, body: Value| page.browse(request, &login, &body);
    let made = ask("POST /api/v1/admin/invites", json!({ "for": "Budi", "days": 1 }));
    assert_eq!(made.status, 201, "{}", made.text());
    let code = made.json()["code"].as_str().expect("it is told").to_owned();
    assert_eq!(made.json()["path"], format!("/#invite={code}"));
    ask("POST /api/v1/admin/invites", json!({}));
    assert_eq!(ask("POST /api/v1/admin/invites", json!({ "days": 0 })).code(), (400, "malformed".to_owned()));
    let listed = ask("GET /api/v1/admin/invites", Value::Null).json();
    assert_eq!((&listed["invites"][0]["for"], &listed["open"]), (&json!("Budi"), &json!(true)));
    let days = |n: usize| {
        let time = |key: &str| listed["invites"][n][key].as_i64().expect("a time");
        (time("expires") - time("created")) / (24 * 60 * 60 * 1000)
    };
    assert_eq!((days(0), days(1)), (1, 7));
    assert_eq!(ask(&format!("DELETE /api/v1/admin/invites/{}", listed["next"]), Value::Null).status, 204);
    assert_eq!(ask(&format!("DELETE /api/v1/admin/invites/{}", listed["next"]), Value::Null).status, 404);
    assert_eq!(register(&page, &code, "budi").status, 200);
    let listed = ask("GET /api/v1/admin/invites", Value::Null).json();
    assert_eq!(listed, json!({ "invites": [], "next": null, "open": true }));
    assert!(!page.server.log().contains(&code), "it is in no log");
}
