//! The first account by a link, and what an account that may administer does in a browser.

use std::time::Instant;

use serde_json::{Value, json};

use super::{Page, with_page};
use crate::support::{Folder, PATIENCE, Server};

fn refused(code: &str) -> (u16, String) {
    (403, code.to_owned())
}

/// A server that was started with an empty database, and the secret of its link.
struct FirstStart {
    page: Page,
    secret: String,
}

fn first_start(settings: &str) -> FirstStart {
    let page = Page::start(Folder::new(&with_page(settings)));
    let begun = Instant::now();
    let secret = loop {
        if let Some((_, rest)) = page.server.log().split_once("/#setup=") {
            break rest.split_whitespace().next().unwrap_or_default().to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "no link is printed");
        std::thread::yield_now();
    };
    FirstStart { page, secret }
}

fn make(page: &Page, secret: &str, name: &str) -> super::Answer {
    let body = json!({ "secret": secret, "name": name, "password": "surabaya", "label": "Firefox" });
    page.ask("POST /api/v1/setup", "", &body)
}

#[test]
fn the_first_account_is_made_by_the_link_once_and_may_administer() {
    let FirstStart { page, secret } = first_start("");
    for other in ["", "x", &secret[1..], &secret.to_uppercase(), "00000000-0000-4000-8000-000000000000"] {
        assert_eq!(make(&page, other, "mallory").code(), refused("setup_closed"), "{other}");
    }
    // What is wrong with the account does not use the link up.
    for bad in ["", "a b", &*secret] {
        assert_eq!(make(&page, &secret, bad).code(), (400, "malformed".to_owned()), "{bad}");
    }
    let made = make(&page, &secret, "messi");
    assert_eq!((made.status, &made.json()["administrator"]), (200, &json!(true)), "{}", made.text());
    let cookie = made.header("set-cookie").expect("who makes it is logged in");
    let token = cookie.split(['=', ';']).nth(1).expect("its value");
    assert_eq!(page.browse("GET /api/v1/admin/health", token, &Value::Null).json()["users"], 1);
    assert_eq!(make(&page, &secret, "mallory").code(), refused("setup_closed"), "it works once");
    assert_eq!(page.server.log().matches(&secret).count(), 1, "it is printed, and not logged");
    // Not even an empty database opens it again while the server runs.
    page.folder.done(&["user", "remove", "messi"], "");
    assert_eq!(make(&page, &secret, "mallory").code(), refused("setup_closed"));
}

#[test]
fn the_link_is_over_when_an_account_was_made_otherwise_and_none_is_printed_where_there_is_one() {
    let FirstStart { page, secret } = first_start("");
    page.folder.add_user("messi", "M", "");
    assert_eq!(make(&page, &secret, "mallory").code(), refused("setup_closed"));
    assert!(!page.folder.done(&["user", "list"], "").contains("mallory"));
    let Page { folder, server, .. } = page;
    assert_eq!(server.stop(), Some(0));
    let mut server = Server::start(&folder);
    nix::sys::signal::kill(server.pid(), nix::sys::signal::Signal::SIGTERM).expect("it runs");
    assert_eq!(server.wait(), Some(0));
    assert!(!server.log().contains("#setup="), "{}", server.log());
}

#[test]
fn the_link_does_nothing_for_a_client_that_comes_over_a_network_in_the_clear() {
    let FirstStart { page, secret } = first_start("[web]\ntrusted_proxies = [\"127.0.0.1\"]");
    let body = json!({ "secret": secret, "name": "mallory", "password": "surabaya" }).to_string();
    let from = |address: &str| {
        let headers = format!("Content-Type: application/json\r\nX-Forwarded-For: {address}\r\n");
        page.raw("POST /api/v1/setup", &headers, &body)
    };
    assert_eq!(from("192.0.2.7").code(), refused("insecure"));
    let cross = "Content-Type: application/json\r\nOrigin: https://evil.example\r\n";
    assert_eq!(page.raw("POST /api/v1/setup", cross, &body).code(), refused("cross_origin"));
    assert_eq!(page.raw("POST /api/v1/setup", "Content-Type: text/plain\r\n", &body).status, 415);
    assert_eq!(from("127.0.0.1").status, 200, "it is this machine");
}

/// A page with an administrator, whose login is given.
fn administered() -> (Page, String) {
    let page = Page::new("");
    page.folder.done(&["user", "set", "messi", "--admin", "yes"], "");
    let login = page.login("messi");
    (page, login)
}

const ROUTES: [&str; 15] = [
    "GET /api/v1/admin/health",
    "GET /api/v1/admin/users",
    "POST /api/v1/admin/users",
    "POST /api/v1/admin/users/lineker",
    "DELETE /api/v1/admin/users/lineker",
    "POST /api/v1/admin/users/lineker/password",
    "GET /api/v1/admin/sessions",
    "DELETE /api/v1/admin/sessions/1",
    "GET /api/v1/admin/groups",
    "GET /api/v1/admin/groups/team/members",
    "DELETE /api/v1/admin/groups/team",
    "DELETE /api/v1/admin/groups/team/members/lineker",
    "GET /api/v1/admin/invites",
    "POST /api/v1/admin/invites",
    "DELETE /api/v1/admin/invites/1",
];

#[test]
fn nobody_administers_who_was_not_given_the_right_and_no_program_does() {
    let (page, login) = administered();
    let other = page.login("henderson");
    let all = json!({ "label": "", "scope": "all" });
    let token =
        page.browse("POST /api/v1/tokens", &login, &all).json()["token"].as_str().expect("it is told").to_owned();
    for route in ROUTES {
        let body = if route == "POST /api/v1/admin/users" { json!({ "name": "mallory" }) } else { json!({}) };
        assert_eq!(page.browse(route, &other, &body).code(), refused("not_an_administrator"), "{route}");
        assert_eq!(page.ask(route, &token, &body).code(), refused("out_of_scope"), "{route}");
        assert_eq!(page.ask(route, "", &body).code(), (401, "unknown_token".to_owned()), "{route}");
    }
    assert_eq!(page.browse("GET /api/v1/me", &other, &Value::Null).status, 200);
    // Who loses the right has it no more with the next request, in the same session.
    assert_eq!(page.browse("GET /api/v1/admin/users", &login, &Value::Null).status, 200);
    page.folder.done(&["user", "set", "messi", "--admin", "no"], "");
    assert_eq!(page.browse("GET /api/v1/admin/users", &login, &Value::Null).code(), refused("not_an_administrator"));
    assert_eq!(page.folder.done(&["user", "list"], "").lines().count(), 3, "nothing was changed");
}

#[test]
fn an_administrator_sees_to_accounts_and_sessions() {
    let (page, login) = administered();
    let ask = |request: &str, body: Value| page.browse(request, &login, &body);
    let made = ask("POST /api/v1/admin/users", json!({ "name": "pele" }));
    assert_eq!((made.status, &made.json()["name"]), (201, &json!("pele")));
    let password = made.json()["password"].as_str().expect("it is made up").to_owned();
    let log_in = |password: &str| page.ask("POST /api/v1/login", "", &json!({ "name": "pele", "password": password }));
    assert_eq!(log_in(&password).status, 200);
    assert_eq!(ask("POST /api/v1/admin/users", json!({ "name": "PELE" })).code(), (409, "name_taken".to_owned()));
    for bad in [
        json!({ "name": "a b" }),
        json!({ "name": "x", "password": "" }),
        json!({ "name": "x", "display_name": "\u{202e}" }),
        json!({ "name": "x", "country": "\n" }),
        json!({}),
    ] {
        assert_eq!(ask("POST /api/v1/admin/users", bad.clone()).code(), (400, "malformed".to_owned()), "{bad}");
    }
    let change = json!({ "display_name": "O Rei", "country": "Brasil", "administrator": true });
    assert_eq!(ask("POST /api/v1/admin/users/pele", change).status, 204);
    assert_eq!(ask("POST /api/v1/admin/users/nobody", json!({})).code(), (404, "unknown_user".to_owned()));
    let listed = ask("GET /api/v1/admin/users", Value::Null).json();
    let pele = listed["users"].as_array().expect("a list").last().expect("the newest").clone();
    assert_eq!(
        (&pele["name"], &pele["display_name"], &pele["administrator"]),
        (&json!("pele"), &json!("O Rei"), &json!(true))
    );
    let rest = ask(&format!("GET /api/v1/admin/users?after={}", listed["next"]), Value::Null).json();
    assert_eq!(rest, json!({ "users": [], "next": null }));

    let sessions = ask("GET /api/v1/admin/sessions?user=pele", Value::Null).json();
    assert_eq!(sessions["sessions"].as_array().map(Vec::len), Some(1));
    let id = &sessions["sessions"][0]["id"];
    assert_eq!(ask(&format!("DELETE /api/v1/admin/sessions/{id}"), Value::Null).status, 204);
    assert_eq!(ask(&format!("DELETE /api/v1/admin/sessions/{id}"), Value::Null).status, 404);
    let set = ask("POST /api/v1/admin/users/pele/password", json!({ "password": "baru" }));
    assert_eq!((set.status, set.json()), (200, json!({ "password": null })));
    assert_eq!((log_in("baru").status, log_in(&password).status), (200, 401));
    assert_eq!(ask("POST /api/v1/admin/users/pele", json!({ "disabled": true })).status, 204);
    assert_eq!(log_in("baru").status, 401);
    assert_eq!(ask("POST /api/v1/admin/users/pele", json!({ "disabled": false })).status, 204);
    assert_eq!(ask("DELETE /api/v1/admin/users/pele", Value::Null).json(), json!({ "unread": 0 }));
    assert_eq!(ask("DELETE /api/v1/admin/users/pele", Value::Null).status, 404);
    let log = page.server.log();
    assert!(log.contains("an administrator in a browser") && !log.contains(&password), "{log}");
}

#[test]
fn an_administrator_sees_groups_and_how_the_store_is_doing() {
    let (page, login) = administered();
    let (mut henderson, token) = page.server.login("henderson");
    assert!(henderson.ask(&format!("group {token} create team")).contains("Done"));
    assert!(henderson.ask(&format!("send {token} lineker  x ")).contains("OK"));
    let ask = |request: &str| page.browse(request, &login, &Value::Null).json();
    let groups = ask("GET /api/v1/admin/groups");
    assert_eq!((&groups["groups"][0]["name"], &groups["groups"][0]["members"]), (&json!("team"), &json!(1)));
    assert_eq!(ask("GET /api/v1/admin/groups/team/members")["members"][0]["name"], "henderson");
    assert_eq!(page.browse("GET /api/v1/admin/groups/none/members", &login, &Value::Null).status, 404);
    let health = ask("GET /api/v1/admin/health");
    assert_eq!((&health["status"], &health["users"], &health["unread_messages"]), (&json!("ok"), &json!(3), &json!(1)));
}
