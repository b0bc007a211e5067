//! Browsers that are told with the page closed: who is, of what, and who is not asked whatever a browser says.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use base64ct::{Base64UrlUnpadded, Encoding};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey};
use ring::rand::SystemRandom;
use serde_json::{Value, json};

use super::Page;
use super::events::Stream;
use crate::browser::push_service::{Push, PushService};
use crate::browser::until;

/// So long a message waits before it rings.
const PAUSE: Duration = Duration::from_secs(5);

/// A server that asks this service.
fn page(service: &PushService) -> Page {
    Page::new(&format!("[web]\npush_hosts = [\"http://{}\"]", service.address))
}

pub fn subscription(address: &str) -> Value {
    let key = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).expect("it can be made");
    let key = key.compute_public_key().expect("it has one");
    json!({ "endpoint": address, "p256dh": Base64UrlUnpadded::encode_string(key.as_ref()),
        "auth": Base64UrlUnpadded::encode_string(&[1; 16]), "with_text": true })
}

fn subscribe(page: &Page, token: &str, service: &PushService, name: &str) {
    let wanted = subscription(&format!("http://{}/{name}", service.address));
    let answer = page.ask("POST /api/v1/push", token, &wanted);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn said(page: &Page, from: &str, text: &str) -> Value {
    let answer = page.ask("POST /api/v1/conversations/henderson/messages", from, &json!({ "text": text }));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["id"].clone()
}

fn at<'a>(pushes: &'a [Push], name: &str) -> Vec<&'a Push> {
    pushes.iter().filter(|push| push.head.starts_with(&format!("POST /{name} "))).collect()
}

fn told(service: &PushService, name: &str, times: usize) {
    until(|| at(&service.pushes(), name).len() >= times, &format!("{name} is not told {times} times"));
}

#[test]
fn who_has_no_stream_open_is_told_again_and_again_until_the_service_takes_it() {
    let service = PushService::start();
    let page = page(&service);
    let (messi, gone, open) = (page.login("messi"), page.login("henderson"), page.login("henderson"));
    subscribe(&page, &gone, &service, "gone");
    subscribe(&page, &open, &service, "open");
    let stream = Stream::open(&page, &open, "", "");
    service.refuse(Some("503 Service Unavailable"));
    said(&page, &messi, "halo");
    told(&service, "gone", 2);
    service.refuse(None);
    drop(stream);
    // The server finds out that the stream is gone when it says something.
    told(&service, "gone", 3);
    let mut times = 3;
    while at(&service.pushes(), "open").is_empty() {
        said(&page, &messi, "masih di sana?");
        times += 1;
        told(&service, "gone", times);
    }
    let pushes = service.pushes();
    let (first, last) = (at(&pushes, "gone")[0], at(&pushes, "open")[0]);
    assert_eq!(topic(first), topic(last), "of one conversation the last is enough");
}

fn topic(push: &Push) -> String {
    push.head.lines().find(|line| line.to_lowercase().starts_with("topic:")).expect("it has one").to_owned()
}

#[test]
fn what_is_read_at_once_does_not_ring() {
    let service = PushService::start();
    let page = page(&service);
    let (messi, lineker, henderson) = (page.login("messi"), page.login("lineker"), page.login("henderson"));
    subscribe(&page, &henderson, &service, "henderson");
    let begun = Instant::now();
    let id = said(&page, &messi, "dibaca");
    page.ask("POST /api/v1/conversations/messi/read", &henderson, &json!({ "upto": id }));
    let was_read_in_time = begun.elapsed() < PAUSE;
    said(&page, &lineker, "tidak dibaca");
    told(&service, "henderson", 1);
    said(&page, &lineker, "ini juga tidak");
    told(&service, "henderson", 2);
    let topics: Vec<String> = service.pushes().iter().map(topic).collect();
    let of_messi = topics.iter().filter(|topic| **topic != topics[topics.len() - 1]).count();
    assert!(of_messi == 0 || !was_read_in_time, "what was read has rung: {topics:?}");
}

/// Nobody says after a start that the subscription is there: it is known before anybody can send.
#[test]
fn what_comes_right_after_a_start_rings() {
    let service = PushService::start();
    let page = page(&service);
    let (messi, henderson) = (page.login("messi"), page.login("henderson"));
    subscribe(&page, &henderson, &service, "henderson");
    page.server.kill();
    let page = Page::start(page.folder);
    said(&page, &messi, "halo");
    told(&service, "henderson", 1);
}

/// Somebody has ten browsers at a service that takes connections and never answers, and is written to in many groups.
#[test]
fn a_service_that_never_answers_holds_up_no_other_account() {
    let (service, silent) = (PushService::start(), TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    let address = silent.local_addr().expect("it is bound");
    let page = Page::new(&format!("[web]\npush_hosts = [\"http://{}\", \"http://{address}\"]", service.address));
    let (messi, lineker, henderson) = (page.login("messi"), page.login("lineker"), page.login("henderson"));
    for number in 0..10 {
        let answer = page.ask("POST /api/v1/push", &lineker, &subscription(&format!("http://{address}/{number}")));
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    for number in 0..12 {
        let made = page.ask("POST /api/v1/groups", &messi, &json!({ "name": format!("team{number}") }));
        assert_eq!(made.status, 201, "{}", made.text());
        let members = format!("POST /api/v1/groups/team{number}/members");
        assert_eq!(page.ask(&members, &messi, &json!({ "name": "lineker" })).status, 204);
        let sent =
            page.ask(&format!("POST /api/v1/conversations/team{number}/messages"), &messi, &json!({ "text": "halo" }));
        assert_eq!(sent.status, 201, "{}", sent.text());
    }
    // All turns that one account may have are taken.
    silent.accept().expect("somebody comes");
    subscribe(&page, &henderson, &service, "henderson");
    said(&page, &messi, "halo");
    told(&service, "henderson", 1);
}

#[test]
fn a_browser_that_its_service_does_not_know_or_whose_session_has_ended_is_told_no_more() {
    let service = PushService::start();
    let page = page(&service);
    let (messi, henderson, other) = (page.login("messi"), page.login("henderson"), page.login("henderson"));
    subscribe(&page, &henderson, &service, "unknown");
    service.refuse(Some("410 Gone"));
    said(&page, &messi, "satu");
    told(&service, "unknown", 1);
    service.refuse(None);
    subscribe(&page, &other, &service, "ended");
    assert_eq!(page.ask("POST /api/v1/logout", &other, &Value::Null).status, 204);
    subscribe(&page, &henderson, &service, "known");
    said(&page, &messi, "dua");
    told(&service, "known", 1);
    said(&page, &messi, "tiga");
    told(&service, "known", 2);
    let pushes = service.pushes();
    assert_eq!((at(&pushes, "unknown").len(), at(&pushes, "ended").len()), (1, 0));
    let address = json!({ "endpoint": format!("http://{}/unknown", service.address) });
    assert_eq!(page.ask("DELETE /api/v1/push", &henderson, &address).code(), (404, "not_found".to_owned()));
    let address = json!({ "endpoint": format!("http://{}/known", service.address) });
    assert_eq!(page.ask("DELETE /api/v1/push", &messi, &address).code(), (404, "not_found".to_owned()));
    assert_eq!(page.ask("DELETE /api/v1/push", &henderson, &address).status, 204);
}

#[test]
fn who_knows_an_endpoint_takes_no_browser_away() {
    let service = PushService::start();
    let page = page(&service);
    let (messi, henderson, lineker) = (page.login("messi"), page.login("henderson"), page.login("lineker"));
    let own = subscription(&format!("http://{}/own", service.address));
    let ask = |token: &str, body: &Value| page.ask("POST /api/v1/push", token, body).status;
    assert_eq!(ask(&henderson, &own), 204);
    let mut stolen = subscription(own["endpoint"].as_str().expect("it has one"));
    assert_eq!(ask(&lineker, &stolen), 400, "another key");
    stolen["p256dh"] = own["p256dh"].clone();
    stolen["auth"] = json!(Base64UrlUnpadded::encode_string(&[2; 16]));
    assert_eq!(ask(&lineker, &stolen), 400, "another secret");
    said(&page, &messi, "satu");
    told(&service, "own", 1);
    // The account itself has new keys, and who is at the browser next takes it over.
    assert_eq!([ask(&henderson, &stolen), ask(&lineker, &stolen)], [204; 2]);
    let address = json!({ "endpoint": own["endpoint"] });
    assert_eq!(page.ask("DELETE /api/v1/push", &henderson, &address).status, 404);
}

#[test]
fn nobody_is_asked_but_push_services_and_no_key_is_taken_that_is_none() {
    let service = PushService::start();
    let page = page(&service);
    let henderson = page.login("henderson");
    for address in [
        "http://127.0.0.1:1/x",
        "http://localhost/x",
        "https://169.254.169.254/latest/meta-data",
        "https://evil.example/x",
        "https://fcm.googleapis.com.evil.example/x",
        "file:///etc/passwd",
    ] {
        let answer = page.ask("POST /api/v1/push", &henderson, &subscription(address));
        assert_eq!(answer.code(), (400, "malformed".to_owned()), "{address}");
        assert!(answer.text().contains("web.push_hosts"), "no remedy: {}", answer.text());
    }
    let good = format!("http://{}/x", service.address);
    for (field, bad) in [("p256dh", ""), ("p256dh", "BAAA"), ("auth", "AQ"), ("auth", "%")] {
        let mut wanted = subscription(&good);
        wanted[field] = bad.into();
        assert_eq!(page.ask("POST /api/v1/push", &henderson, &wanted).code(), (400, "malformed".to_owned()), "{field}");
    }
    let mut wanted = subscription(&good);
    wanted["p256dh"] = Base64UrlUnpadded::encode_string(&[4; 65]).into();
    assert_eq!(page.ask("POST /api/v1/push", &henderson, &wanted).code(), (400, "malformed".to_owned()), "no point");
    assert_eq!(page.ask("POST /api/v1/push", "", &subscription(&good)).status, 401);
    let key = |token: &str| page.ask("GET /api/v1/push", token, &Value::Null);
    assert_eq!(key("").status, 401);
    assert_eq!(key(&henderson).json(), key(&page.login("messi")).json(), "the key is the server's");
    assert!(service.pushes().is_empty());
}
