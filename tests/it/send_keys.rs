//! A message under a key of its sender's is stored once, however often and from where it is sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use chatd::internals::clock::{Clock, TimeSource};
use chatd::internals::repository::{NewMessage, SendResult, StoreOptions};
use chatd::model::{Address, MessageId, SendKey, Timestamp};
use serde_json::Value;

use crate::group_store::add_group;
use crate::repository::{ALL, OPTIONS, add_users, lease, message, open, quick_folder, texts};
use crate::stores::{Opened, Place, on_every_store};
use crate::support::{Folder, Server};

fn key(text: &str) -> SendKey {
    SendKey::parse(text).expect("it is one")
}

async fn send_once(repository: &impl Opened, message: NewMessage, text: &str) -> MessageId {
    match repository.store().send_once(message, key(text)).await.expect("the store works") {
        SendResult::Stored { id, .. } => id,
        other => panic!("{other:?}"),
    }
}

async fn many_who_send_at_once_under_one_key_store_one_message(place: Place) {
    let repository = Arc::new(place.open(&OPTIONS).await);
    let users = add_users(&repository, 3).await;
    let mut all = Vec::new();
    for i in 0..60 {
        let (repository, users) = (repository.clone(), users.clone());
        all.push(tokio::spawn(async move {
            let message = message(users[i % 2], users[2], &format!("{}", i % 2));
            (i % 6, send_once(&repository, message, &format!("key{}", i % 6 / 2)).await)
        }));
    }
    let mut ids = BTreeSet::new();
    for sent in all {
        ids.insert(sent.await.expect("no task panics"));
    }
    // Three keys of each of two: another's key is another key.
    assert_eq!(ids.iter().map(|(_, id)| id).collect::<BTreeSet<_>>().len(), 6);
    assert_eq!(ids.len(), 6, "{ids:?}");
    assert_eq!(texts(&lease(&repository, users[2], ALL).await).len(), 6);
}

async fn a_key_is_of_one_recipient(place: Place) {
    let repository = place.open(&OPTIONS).await;
    let users = add_users(&repository, 3).await;
    let group = add_group(&repository, "team", users[0]).await;
    let send = async |to: Address, key_text: &str| {
        let message = NewMessage { to, ..message(users[0], users[1], "x") };
        repository.store().send_once(message, key(key_text)).await.expect("the store works")
    };
    let under = async |to: Address, key_text: &str| {
        repository.store().sent_under(users[0], key(key_text), to).await.expect("the store works")
    };
    let all = [Address::User(users[1]), Address::User(users[2]), Address::Group(group)];
    for (place, to) in all.into_iter().enumerate() {
        let key_text = place.to_string();
        assert_eq!(under(to, &key_text).await, None);
        let first = send(to, &key_text).await;
        assert!(matches!(first, SendResult::Stored { .. }), "{first:?}");
        for other in all {
            let wanted = if other == to { first } else { SendResult::KeyUsed };
            assert_eq!(
                [send(other, &key_text).await, under(other, &key_text).await.expect("it was used")],
                [wanted; 2]
            );
        }
    }
    assert_eq!(texts(&lease(&repository, users[2], ALL).await).len(), 1);
}

async fn a_key_holds_over_a_restart_and_not_where_nothing_was_stored(place: Place) {
    let options = StoreOptions { inbox_messages: 1, ..OPTIONS };
    let mut repository = place.open(&options).await;
    let users = add_users(&repository, 2).await;
    let text = |text: &str| message(users[0], users[1], text);
    let first = send_once(&repository, text("one"), "a").await;
    repository = place.reopen(repository, &options).await;
    assert_eq!(send_once(&repository, text("other words"), "a").await, first);
    let full = repository.send_once(text("two"), key("b")).await.expect("the store works");
    assert_eq!(full, SendResult::InboxFull);
    let read = lease(&repository, users[1], ALL).await;
    assert_eq!(texts(&read), ["one"]);
    read.lease.expect("there was one").confirm();
    repository.confirmed().await.expect("the store works");
    // The message is read, and its key still known; the other was never stored.
    assert_eq!(send_once(&repository, text("one"), "a").await, first);
    assert_ne!(send_once(&repository, text("two"), "b").await, first);
    assert_eq!(texts(&lease(&repository, users[1], ALL).await), ["two"]);
}

/// A clock that the test sets, in milliseconds.
struct SetClock(AtomicI64);

impl TimeSource for SetClock {
    fn wall(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    fn running(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).unsigned_abs())
    }
}

#[tokio::test]
async fn a_key_is_forgotten_after_seven_days() {
    const DAY: i64 = 24 * 3600 * 1000;
    let folder = quick_folder();
    let time = Arc::new(SetClock(AtomicI64::new(Timestamp::now().0)));
    let options = StoreOptions { clock: Clock::of(time.clone()), ..OPTIONS };
    let repository = open(folder.path(), &options).await;
    let users = add_users(&repository, 2).await;
    let text = || NewMessage { sent_at: time.wall(), ..message(users[0], users[1], "x") };
    let first = send_once(&repository, text(), "a").await;
    time.0.fetch_add(6 * DAY, Ordering::Relaxed);
    assert_eq!(send_once(&repository, text(), "a").await, first);
    time.0.fetch_add(2 * DAY, Ordering::Relaxed);
    let second = send_once(&repository, text(), "a").await;
    assert!(second > first);
    assert_eq!(send_once(&repository, text(), "a").await, second);
}

/// A client that asks again after each kill until it has an answer: each of its messages is there once.
#[test]
fn who_sends_again_after_a_kill_has_sent_once() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let [(_, messis), (_, hendersons)] = ["messi", "henderson"].map(|name| server.login(name));
    assert_eq!(server.stop(), Some(0));
    let (mut numbers, mut asked_again) = (Vec::new(), 0);
    for round in 0..6 {
        let server = Server::start(&folder);
        let (mut client, mut server) = (server.connect(), Some(server));
        let mut killer = None;
        loop {
            let text = numbers.len();
            let request = format!("sendkey {messis} key-{text} henderson  {text} ");
            let Some(reply) = client.try_ask(&request) else { break };
            let reply: Value = serde_json::from_str(&reply).expect("replies are JSON");
            numbers.push(reply["id"].as_i64().unwrap_or_else(|| panic!("{reply}")));
            if let Some(server) = server.take() {
                killer = Some(thread::spawn(move || {
                    thread::sleep(Duration::from_millis(fastrand::u64(..150)));
                    server.kill();
                }));
            }
        }
        asked_again += 1;
        killer.expect("the first was answered").join().expect("it kills");
        assert!(numbers.len() > round, "{numbers:?}");
    }
    let server = Server::start(&folder);
    let mut henderson = server.connect();
    let (mut next, mut seen) = (0, Vec::new());
    loop {
        let reply = henderson.ask(&format!("follow {hendersons} {next}"));
        let told: Value = serde_json::from_str(&reply).expect("replies are JSON");
        let messages = told["follow"]["messages"].as_array().expect("a list");
        seen.extend(messages.iter().map(|m| (m["id"].as_i64(), m["msg"].as_str().expect("a text").trim().to_owned())));
        next = told["follow"]["next"].as_i64().expect("a number");
        if told["follow"]["more"] == false {
            break;
        }
    }
    // The last that was asked for may be stored without an answer.
    seen.truncate(numbers.len());
    let wanted: Vec<_> = numbers.iter().enumerate().map(|(text, id)| (Some(*id), text.to_string())).collect();
    assert_eq!(seen, wanted);
    println!("{} messages, {asked_again} of them asked for again", numbers.len());
}

on_every_store!(
    many_who_send_at_once_under_one_key_store_one_message,
    a_key_is_of_one_recipient,
    a_key_holds_over_a_restart_and_not_where_nothing_was_stored,
);
