//! Programs: tokens with a scope, hooks, the inbox without a stream. Most of it tries what must not be possible.

use serde_json::{Value, json};

use super::{Answer, Page};
use crate::database::tamper;
use crate::support::{EMPTY, SENT, texts};

pub fn make(page: &Page, login: &str, body: &Value) -> String {
    let made = page.browse("POST /api/v1/tokens", login, body);
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["token"].as_str().expect("it is told").to_owned()
}

pub fn hook(page: &Page, login: &str, to: &str) -> String {
    let made = page.browse("POST /api/v1/hooks", login, &json!({ "label": "alerts", "to": to }));
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["path"].as_str().expect("it is told").to_owned()
}

pub fn post(page: &Page, path: &str, kind: &str, body: &str) -> Answer {
    page.raw(&format!("POST {path}"), &format!("Content-Type: {kind}\r\n"), body)
}

/// What waits for somebody, taken by a client of the wire.
pub fn mail(page: &Page, name: &str) -> Vec<String> {
    let (mut client, token) = page.server.login(name);
    let inbox = texts(&client.ask(&format!("inbox {token}")));
    client.ask(&format!("ack {token}"));
    inbox
}

fn refused(code: &str) -> (u16, String) {
    (403, code.to_owned())
}

#[test]
fn a_token_does_what_its_scope_says_and_nothing_else_over_http_and_on_the_wire() {
    let page = Page::new("[server]\ntext_listen = \"127.0.0.1:0\"");
    let login = page.login("messi");
    let [send, read, all] =
        ["send", "read", "all"].map(|scope| make(&page, &login, &json!({ "label": scope, "scope": scope })));
    let may_send =
        |token: &str| page.raw("POST /to/henderson", &format!("Authorization: Bearer {token}\r\n"), "x").status;
    assert_eq!([&send, &read, &all].map(|token| may_send(token)), [201, 403, 201]);
    for (request, body, wanted) in [
        ("GET /api/v1/me", Value::Null, [403, 200, 200]),
        ("GET /api/v1/conversations", Value::Null, [403, 200, 200]),
        ("GET /api/v1/conversations/henderson/messages", Value::Null, [403, 200, 200]),
        ("GET /api/v1/conversations/henderson/messages?after=0", Value::Null, [403, 200, 200]),
        ("POST /api/v1/conversations/henderson/messages", json!({ "text": "x" }), [201, 403, 201]),
        ("POST /api/v1/conversations/henderson/read", json!({ "upto": 1 }), [403, 200, 200]),
        ("GET /api/v1/inbox", Value::Null, [403, 200, 200]),
        ("POST /api/v1/inbox/ack", json!({ "delivery": "x" }), [403, 404, 404]),
        ("GET /api/v1/people?q=", Value::Null, [403, 403, 200]),
        // What sees to the account wants a login.
        ("POST /api/v1/logout", Value::Null, [403; 3]),
        ("POST /api/v1/me", json!({ "display_name": "x" }), [403; 3]),
        ("POST /api/v1/me/password", json!({ "old": "surabaya", "new": "x" }), [403; 3]),
        ("GET /api/v1/sessions", Value::Null, [403; 3]),
        ("DELETE /api/v1/sessions", Value::Null, [403; 3]),
        ("GET /api/v1/tokens", Value::Null, [403; 3]),
        ("POST /api/v1/tokens", json!({ "label": "", "scope": "all" }), [403; 3]),
        ("DELETE /api/v1/tokens/1", Value::Null, [403; 3]),
        ("GET /api/v1/hooks", Value::Null, [403; 3]),
        ("POST /api/v1/hooks", json!({ "label": "", "to": "messi" }), [403; 3]),
    ] {
        let asked = [&send, &read, &all].map(|token| page.ask(request, token, &body));
        assert_eq!(asked.each_ref().map(|answer| answer.status), wanted, "{request}");
        for answer in asked.iter().filter(|answer| answer.status == 403) {
            assert_eq!(answer.code(), refused("out_of_scope"), "{request}");
        }
    }
    assert_eq!(page.ask("GET /api/v1/events", &send, &Value::Null).code(), refused("out_of_scope"));

    let mut wire = page.server.connect();
    let no = "{\"status\": \"ERROR\", \"message\": \"this token is not good for that\"}";
    assert_eq!(wire.ask(&format!("send {send} henderson  x ")), SENT);
    assert_eq!(wire.ask(&format!("send {read} henderson  x ")), no);
    assert!(wire.ask(&format!("sendkey {send} k henderson  x ")).contains("OK"));
    assert_eq!(wire.ask(&format!("inbox {read}")), EMPTY);
    assert_eq!(wire.ask(&format!("wait {read} 0")), EMPTY);
    assert!(wire.ask(&format!("follow {read} 0")).contains("OK"));
    assert!(wire.ask(&format!("show {all}")).contains("OK"));
    for request in ["inbox", "wait", "ack", "history", "status", "follow", "conversations", "read", "show", "logout"] {
        assert_eq!(wire.ask(&format!("{request} {send} 0 0")), no, "{request}");
    }
    for request in ["logout", "sessions", "passwd", "profile", "endsession", "group"] {
        let words = if request == "group" { "create x" } else { "1 1" };
        let wanted = if request == "group" { "OK" } else { "this token is not good for that" };
        assert!(wire.ask(&format!("{request} {all} {words}")).contains(wanted), "{request}");
    }
    assert_eq!(page.browse("GET /api/v1/me", &login, &Value::Null).status, 200, "the login goes on");
}

#[test]
fn a_token_for_one_recipient_reaches_no_other() {
    let page = Page::new("");
    let login = page.login("messi");
    let token = make(&page, &login, &json!({ "label": "backup", "scope": "send", "to": "henderson" }));
    let send = |to: &str| {
        let headers = format!("Authorization: Bearer {token}\r\nIdempotency-Key: {to}\r\n");
        page.raw(&format!("POST /to/{to}"), &headers, "selesai")
    };
    assert_eq!(send("henderson").status, 201);
    assert_eq!(send("lineker").code(), refused("out_of_scope"));
    assert_eq!(send("nobody").code(), (404, "unknown_user".to_owned()));
    let (mut wire, _) = page.server.login("lineker");
    assert!(wire.ask(&format!("send {token} lineker  x ")).contains("this token is not good for that"));
    assert_eq!(mail(&page, "lineker"), Vec::<String>::new());
    assert_eq!(mail(&page, "henderson"), ["selesai"]);
    for bad in [
        json!({ "label": "", "scope": "hook", "to": "henderson" }),
        json!({ "label": "", "scope": "write" }),
        json!({ "label": "", "scope": "all", "to": "henderson" }),
        json!({ "label": "a\nb", "scope": "all" }),
        json!({ "scope": "all" }),
    ] {
        assert_eq!(page.browse("POST /api/v1/tokens", &login, &bad).code(), (400, "malformed".to_owned()), "{bad}");
    }
    let nobody = json!({ "label": "", "scope": "send", "to": "nobody" });
    assert_eq!(page.browse("POST /api/v1/tokens", &login, &nobody).code(), (404, "unknown_user".to_owned()));
}

#[test]
fn a_key_of_a_token_for_one_recipient_hides_no_message_to_another_and_tells_of_none() {
    let page = Page::new("");
    let login = page.login("messi");
    let token = make(&page, &login, &json!({ "label": "", "scope": "send", "to": "lineker" }));
    let with_token =
        |request: &str, more: &str| page.raw(request, &format!("Authorization: Bearer {token}\r\n{more}"), "isi");
    let used = (409, "key_used".to_owned());
    // The program's key stands in the way of no message that its owner takes for stored.
    assert_eq!(with_token("POST /to/lineker", "Idempotency-Key: k1\r\n").status, 201);
    let body = json!({ "text": "penting", "key": "k1" });
    let own = page.browse("POST /api/v1/conversations/henderson/messages", &login, &body);
    assert_eq!(own.code(), used, "{}", own.text());
    // Of a file to somebody else it hears neither the name nor the size.
    let to = |name: &str| format!("POST /api/v1/conversations/{name}/files?name=rahasia.txt&key=k2");
    let header = format!("Authorization: Bearer {login}\r\n");
    let sent = page.raw(&to("henderson"), &header, "isi");
    assert_eq!(sent.status, 201, "{}", sent.text());
    let asked = with_token("POST /api/v1/conversations/lineker/files?name=x&key=k2", "");
    assert_eq!(asked.code(), used);
    assert!(!asked.text().contains("rahasia"), "{}", asked.text());
    assert_eq!(with_token("POST /to/lineker", "Idempotency-Key: k2\r\n").code(), used);
    let mut wire = page.server.connect();
    let said = wire.ask(&format!("sendkey {token} k2 lineker  x "));
    assert!(said.contains("KEY was used for another recipient, take a new one"), "{said}");
    assert_eq!(mail(&page, "lineker"), ["isi"]);
}

#[test]
fn tokens_are_listed_used_with_curls_user_option_and_ended() {
    let page = Page::new("");
    let login = page.login("messi");
    let token = make(&page, &login, &json!({ "label": "cadangan", "scope": "send", "to": "henderson" }));
    let list = |kind: &str, login: &str| {
        page.browse(&format!("GET /api/v1/{kind}"), login, &Value::Null).json()[kind]
            .as_array()
            .expect("a list")
            .clone()
    };
    let listed = list("tokens", &login);
    assert_eq!(
        listed,
        [json!({ "id": listed[0]["id"], "label": "cadangan", "created": listed[0]["created"], "last_used": null,
            "scope": "send", "to": "henderson" })]
    );
    assert_eq!(list("hooks", &login), Vec::<Value>::new());
    let sessions = page.browse("GET /api/v1/sessions", &login, &Value::Null).json();
    assert_eq!(sessions["sessions"].as_array().map(Vec::len), Some(1), "a token is no login");
    let basic = base64(&format!(":{token}"));
    let with_basic = |basic: &str| page.raw("POST /to/henderson", &format!("Authorization: Basic {basic}\r\n"), "x");
    assert_eq!(with_basic(&basic).status, 201);
    assert_eq!(with_basic(&base64("messi:surabaya")).code(), (401, "unknown_token".to_owned()));
    assert_eq!(page.raw(&format!("POST /to/henderson?token={token}"), "", "x").status, 401);

    let other = page.login("henderson");
    let id = &listed[0]["id"];
    let end = |kind: &str, login: &str| page.browse(&format!("DELETE /api/v1/{kind}/{id}"), login, &Value::Null).status;
    assert_eq!([end("tokens", &other), end("hooks", &login), end("sessions", &login)], [404; 3], "it is not theirs");
    assert_eq!(with_basic(&basic).status, 201);
    assert_eq!(end("tokens", &login), 204);
    assert_eq!(with_basic(&basic).code(), (401, "unknown_token".to_owned()));
    assert_eq!(list("tokens", &login), Vec::<Value>::new());
}

fn base64(text: &str) -> String {
    use base64ct::Encoding;
    base64ct::Base64::encode_string(text.as_bytes())
}

/// What ends logins and what makes room for them leaves tokens alone, and the other way round.
#[test]
fn tokens_outlive_logins_restarts_and_a_new_password_and_end_with_the_account() {
    let page = Page::new("[session]\nper_user = 2");
    let login = page.login("messi");
    let token = make(&page, &login, &json!({ "label": "", "scope": "send" }));
    let secret = hook(&page, &login, "henderson");
    let changed = json!({ "old": "surabaya", "new": "surabaya" });
    assert_eq!(page.browse("POST /api/v1/me/password", &login, &changed).status, 204);
    for _ in 0..3 {
        page.login("messi");
    }
    assert_eq!(page.browse("GET /api/v1/me", &login, &Value::Null).status, 401, "two logins are allowed");
    let works = |page: &Page| {
        let sent = page.raw("POST /to/henderson", &format!("Authorization: Bearer {token}\r\n"), "x").status;
        (sent, post(page, &secret, "text/plain", "y").status)
    };
    assert_eq!(works(&page), (201, 200));
    let Page { folder, server, .. } = page;
    server.kill();
    let page = Page::start(folder);
    assert_eq!(works(&page), (201, 200));
    // Who has only tokens is not logged in.
    let (mut henderson, own) = page.server.login("henderson");
    page.folder.done(&["session", "revoke", "messi"], "");
    assert_eq!(works(&page), (401, 404), "the administrator ends all");
    let login = page.login("messi");
    let token = make(&page, &login, &json!({ "label": "", "scope": "send" }));
    page.browse("POST /api/v1/logout", &login, &Value::Null);
    assert!(!henderson.ask(&format!("show {own}")).contains("messi"));
    assert_eq!(page.raw("POST /to/henderson", &format!("Authorization: Bearer {token}\r\n"), "x").status, 201);
    page.folder.done(&["user", "disable", "messi"], "");
    assert_eq!(page.raw("POST /to/henderson", &format!("Authorization: Bearer {token}\r\n"), "x").status, 401);
}

/// A browser that was left alone makes no token that outlives it.
#[test]
fn a_login_that_is_not_fresh_wants_the_password_for_a_token_and_guesses_count() {
    let page = Page::new("");
    let login = page.login("messi");
    tamper(&page.folder.database(), "UPDATE session SET created_at = created_at - 301000");
    let ask = |password: Option<&str>| {
        let mut body = json!({ "label": "", "scope": "all" });
        password.into_iter().for_each(|password| body["password"] = password.into());
        page.browse("POST /api/v1/tokens", &login, &body)
    };
    assert_eq!(ask(None).code(), refused("password_wanted"));
    assert_eq!(ask(Some("surabaya")).status, 201);
    let hook = page.browse("POST /api/v1/hooks", &login, &json!({ "label": "", "to": "messi" }));
    assert_eq!(hook.code(), refused("password_wanted"));
    let throttled = (0..100).map(|_| ask(Some("guess"))).find(|answer| answer.status != 403);
    assert_eq!(throttled.expect("guesses are held up").code(), (429, "throttled".to_owned()));
    assert_eq!(page.browse("GET /api/v1/me", &login, &Value::Null).status, 200, "the login goes on");
}

#[test]
fn an_account_has_a_hundred_tokens_and_hooks() {
    let page = Page::new("");
    let login = page.login("messi");
    for _ in 0..99 {
        make(&page, &login, &json!({ "label": "", "scope": "send" }));
    }
    hook(&page, &login, "henderson");
    for (path, body) in [
        ("POST /api/v1/tokens", json!({ "label": "", "scope": "send" })),
        ("POST /api/v1/hooks", json!({ "label": "", "to": "henderson" })),
    ] {
        assert_eq!(page.browse(path, &login, &body).code(), (429, "too_many_tokens".to_owned()));
    }
    assert_eq!(page.browse("GET /api/v1/me", &page.login("messi"), &Value::Null).status, 200, "logins have their own");
}

/// Payloads as their makers document them; what is the alert's is the rest of the text.
#[test]
fn alertmanager_and_grafana_reach_a_person_by_a_hook() {
    let page = Page::new("");
    let login = page.login("messi");
    let path = hook(&page, &login, "henderson");
    for (file, wanted) in [
        (
            include_str!("payloads/alertmanager_slack.json"),
            "[FIRING:1] InstanceDown node (db-1:9100 critical)\nhttp://alertmanager.example/#/alerts?receiver=chat",
        ),
        (
            include_str!("payloads/alertmanager_webhook.json"),
            "[FIRING] InstanceDown db-1:9100: db-1 has been down for 5 minutes\n\
             [RESOLVED] DiskFull db-2:9100: / has less than 10 % free",
        ),
        (
            include_str!("payloads/grafana_webhook.json"),
            "[FIRING:1]  (High memory usage)\n**Firing**\n\nValue: B=22, C=1\nLabels:\n - alertname = High memory usage\n",
        ),
        (
            include_str!("payloads/grafana_slack.json"),
            "[FIRING:1] TestAlert Grafana\nhttp://grafana.example/alerting/list\n**Firing**\n\nLabels:\n - alertname = TestAlert",
        ),
    ] {
        let answer = post(&page, &path, "application/json", file);
        assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()), "{wanted}");
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
        let seen = mail(&page, "henderson");
        assert_eq!(seen, [wanted.trim()]);
    }
    let form = "payload=%7B%22text%22%3A%22halo%20%3Chttps%3A%2F%2Fx.example%7Csini%3E%22%7D";
    assert_eq!(post(&page, &path, "application/x-www-form-urlencoded", form).status, 200);
    assert_eq!(post(&page, &path, "text/plain; charset=utf-8", "apa adanya").status, 200);
    assert_eq!(mail(&page, "henderson"), ["halo sini (https://x.example)", "apa adanya"]);
}

#[test]
fn a_hook_can_do_nothing_else_and_its_secret_is_nowhere() {
    let page = Page::new("[log]\nlevel = \"trace\"");
    let login = page.login("messi");
    let path = hook(&page, &login, "henderson");
    let secret = path.strip_prefix("/hook/").expect("its place");
    assert_eq!(secret.len(), 32, "128 bits");
    for (headers, request) in [
        (format!("Authorization: Bearer {secret}\r\n"), "GET /api/v1/me"),
        (format!("Authorization: Bearer {secret}\r\n"), "POST /to/henderson"),
        (format!("Sec-Fetch-Site: same-origin\r\nCookie: __Host-chatd={secret}\r\n"), "GET /api/v1/me"),
    ] {
        assert_eq!(page.raw(request, &headers, "").code(), (401, "unknown_token".to_owned()), "{request}");
    }
    assert!(page.server.connect().ask(&format!("inbox {secret}")).contains("Informasi tidak ditemukan"));
    // No token of a login or of a program is a hook's secret.
    let token = make(&page, &login, &json!({ "label": "", "scope": "all" }));
    for other in [&*token, &login, &token.replace('-', ""), &"0".repeat(32), &secret.to_uppercase(), "x", "%FF"] {
        let answer = post(&page, &format!("/hook/{other}"), "text/plain", "x");
        assert!(matches!(answer.code(), (404, _) | (400, _)), "{other}: {}", answer.text());
    }
    for bad in ["", "{}", "{\"text\": \"\"}", "{\"text\""] {
        assert_eq!(post(&page, &path, "application/json", bad).code(), (400, "malformed".to_owned()), "{bad}");
    }
    let long = "x".repeat(70_000);
    assert_eq!(post(&page, &path, "text/plain", &long).code(), (413, "too_large".to_owned()));
    let throttled = (0..200).map(|_| post(&page, &path, "text/plain", "x")).find(|answer| answer.status != 200);
    assert_eq!(throttled.expect("it is held up").code(), (429, "throttled".to_owned()));
    // It is held up before its body is looked at.
    let counted = (0..200).map(|_| post(&page, &path, "application/json", "{")).find(|answer| answer.status != 400);
    assert_eq!(counted.expect("it is held up").code(), (429, "throttled".to_owned()));
    // What a hook takes is not its owner's share.
    let own = page.browse("POST /api/v1/conversations/henderson/messages", &login, &json!({ "text": "own" }));
    assert_eq!(own.status, 201, "{}", own.text());
    // One to a recipient who is gone says so.
    page.folder.done(&["user", "remove", "henderson"], "");
    let gone = loop {
        let answer = post(&page, &path, "text/plain", "x");
        if answer.status != 429 {
            break answer;
        }
        std::thread::yield_now();
    };
    assert_eq!(gone.code(), (404, "unknown_user".to_owned()));
    let database = std::fs::read(page.folder.database()).expect("it is there");
    let wal = std::fs::read(page.folder.path().join("chat.db-wal")).unwrap_or_default();
    for kept in [&database, &wal] {
        assert!(!kept.windows(32).any(|part| part == secret.as_bytes()), "the store has its hash alone");
        assert!(!kept.windows(36).any(|part| part == token.as_bytes()), "the store has its hash alone");
    }
    let Page { folder: _folder, mut server, .. } = page;
    nix::sys::signal::kill(server.pid(), nix::sys::signal::Signal::SIGTERM).expect("it runs");
    assert_eq!(server.wait(), Some(0));
    let log = server.log();
    assert!(log.contains("token made") && !log.contains(secret) && !log.contains(&token), "{log}");
}

#[test]
fn a_hook_writes_to_a_group_of_its_users() {
    let page = Page::new("");
    let login = page.login("messi");
    let (mut messi, token) = page.server.login("messi");
    assert!(messi.ask(&format!("group {token} create team")).contains("Done"));
    let (mut henderson, own) = page.server.login("henderson");
    assert!(henderson.ask(&format!("group {own} join team")).contains("Done"));
    let path = hook(&page, &login, "team");
    assert_eq!(post(&page, &path, "text/plain", "untuk semua").status, 200);
    assert_eq!(mail(&page, "henderson"), ["untuk semua"]);
    assert!(messi.ask(&format!("group {token} leave team")).contains("Done"));
    assert_ne!(post(&page, &path, "text/plain", "x").status, 200, "who is no member does not write to it");
    assert_eq!(mail(&page, "henderson"), Vec::<String>::new());
}

#[test]
fn a_script_without_a_stream_takes_its_mail_and_acknowledges_it() {
    let page = Page::new("");
    let (mut messi, token) = page.server.login("messi");
    let login = page.login("henderson");
    let reader = make(&page, &login, &json!({ "label": "", "scope": "read" }));
    let ask = |wait: u64| page.ask(&format!("GET /api/v1/inbox?wait={wait}"), &reader, &Value::Null).json();
    let ack = |delivery: &Value| page.ask("POST /api/v1/inbox/ack", &reader, &json!({ "delivery": delivery }));
    assert_eq!(ask(0), json!({ "delivery": null, "messages": [] }));
    let heard = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(60));
        assert_eq!(messi.ask(&format!("send {token} henderson satu")), SENT);
        waiting.join().expect("it hears")
    });
    assert_eq!((&heard["messages"][0]["text"], &heard["messages"][0]["from"]), (&json!(" satu\r\n"), &json!("messi")));
    assert_eq!(heard["messages"][0]["to_display_name"], "Jordan Henderson");
    // It is held, so nobody else gets it, and it is not read before the acknowledgement.
    let (mut old, own) = page.server.login("henderson");
    assert_eq!(old.ask(&format!("inbox {own}")), EMPTY);
    assert_eq!(crate::support::unread_on_disk(&page.folder.database()), 1);
    assert_eq!(ack(&heard["delivery"]).status, 204);
    assert_eq!(crate::support::unread_on_disk(&page.folder.database()), 0);
    assert_eq!(ack(&heard["delivery"]).code(), (404, "not_found".to_owned()));
    assert_eq!(ack(&json!("other")).code(), (404, "not_found".to_owned()));

    // What is not acknowledged comes again, when too much is held or the token ends.
    for number in 0..9 {
        assert_eq!(messi.ask(&format!("send {token} henderson {number}")), SENT);
        assert_eq!(ask(60)["messages"][0]["text"], format!(" {number}\r\n"));
    }
    assert_eq!(texts(&old.ask(&format!("inbox {own}"))), ["0"]);
    let id = page.browse("GET /api/v1/tokens", &login, &Value::Null).json()["tokens"][0]["id"].clone();
    assert_eq!(page.browse(&format!("DELETE /api/v1/tokens/{id}"), &login, &Value::Null).status, 204);
    let wanted: Vec<String> = (1..9).map(|number| number.to_string()).collect();
    let mut again = Vec::new();
    while again.len() < wanted.len() {
        again.extend(texts(&old.ask(&format!("wait {own} 60"))));
    }
    assert_eq!(again, wanted);
}
