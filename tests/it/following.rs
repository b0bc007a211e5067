//! Who keeps a place in the message log of his own: all sessions of an account see all its messages, no cursor passes a
//! message that comes later, and what is read by number leaves the queue for everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use chatd::internals::repository::{ConversationQuery, FollowQuery, Repository, StoreOptions};
use chatd::model::{Address, MessageId, UserId};
use proptest::prelude::*;
use serde_json::Value;

use crate::database::tamper;
use crate::repository::{ALL, OPTIONS, add_users, lease, open, quick_folder, reopen, send, settle, texts};
use crate::stores::{Opened, Place, on_every_store};
use crate::support::{self, Client, EMPTY, Folder, MALFORMED, NO_SESSION, SENT, Server, Talker};

/// All that a user sent and received, page by page.
pub async fn all_after(repository: &impl Opened, user: UserId, after: i64, messages: usize, bytes: u64) -> Vec<i64> {
    let (mut found, mut next) = (Vec::new(), MessageId(after));
    loop {
        let page = FollowQuery { after: next, messages, bytes };
        let page = repository.store().messages_after(user, page).await.expect("the store works");
        assert!(page.messages.len() <= messages);
        assert!(page.next >= next && page.messages.iter().all(|m| m.message.id > next && m.message.id <= page.next));
        assert!(page.more || page.next >= next);
        found.extend(page.messages.iter().map(|m| m.message.id.0));
        next = page.next;
        if !page.more {
            return found;
        }
    }
}

/// With whom, newest message, unread, read by me and read by the other, page by page.
pub async fn all_conversations(repository: &impl Opened, user: UserId, most: usize) -> Vec<(Address, [i64; 4])> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = ConversationQuery { before, conversations: most, bytes: u64::MAX };
        let page = repository.store().conversations(user, page).await.expect("the store works");
        assert!(page.conversations.len() <= most);
        found.extend(page.conversations.iter().map(|c| {
            let unread = i64::try_from(c.unread).expect("there are few");
            (c.with, [c.newest.message.id.0, unread, c.read_to.0, c.other_read_to.0])
        }));
        before = page.next;
        if before.is_none() {
            return found;
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    from: usize,
    to: usize,
    read: bool,
}

/// What the pages must say, by the notes of the test.
fn conversations_of(sent: &BTreeMap<i64, Sent>, users: &[UserId], me: usize) -> Vec<(Address, [i64; 4])> {
    let mut found = Vec::new();
    for (other, with) in users.iter().enumerate() {
        let between = |m: &Sent| (m.from, m.to) == (me, other) || (m.from, m.to) == (other, me);
        let Some(newest) = sent.iter().filter(|(_, m)| between(m)).map(|(id, _)| *id).max() else { continue };
        let unread = |from, to| sent.iter().filter(move |(_, m)| (m.from, m.to) == (from, to) && !m.read);
        let read_to = |from, to| unread(from, to).map(|(id, _)| *id - 1).next().unwrap_or(newest);
        let count = i64::try_from(unread(other, me).count()).expect("there are few");
        found.push(((*with).into(), [newest, count, read_to(other, me), read_to(me, other)]));
    }
    found.sort_by_key(|(_, [newest, ..])| -newest);
    found
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize, usize),
    /// Who reads whose messages, and how many of them stay unread.
    Read(usize, usize, usize),
    /// Whose inbox is leased, and whether the lease is confirmed.
    Lease(usize, bool),
    Stop,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..4usize, 0..4usize).prop_map(|(from, to)| Step::Send(from, to)),
        4 => (0..4usize, 0..4usize, 0..3usize).prop_map(|(of, from, left)| Step::Read(of, from, left)),
        2 => (0..4usize, any::<bool>()).prop_map(|(of, confirmed)| Step::Lease(of, confirmed)),
        1 => Just(Step::Stop),
        1 => Just(Step::Crash),
    ]
}

async fn walk(mut place: Place, steps: Vec<Step>, after: i64, messages: usize) {
    let mut repository = place.open(&OPTIONS).await;
    let users = add_users(&repository, 4).await;
    let mut sent: BTreeMap<i64, Sent> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Send(from, to) => {
                let id = send(&repository, users[from], users[to], &format!("{}", sent.len())).await;
                sent.insert(id.0, Sent { from, to, read: false });
            }
            Step::Read(of, from, left) => {
                let theirs: Vec<i64> =
                    sent.iter().filter(|(_, m)| (m.from, m.to) == (from, of)).map(|(id, _)| *id).collect();
                let Some(to) = theirs.len().checked_sub(left + 1).map(|last| theirs[last]) else { continue };
                let read = repository.read(users[of], vec![users[from].into()], MessageId(to)).await;
                let newly = theirs.iter().filter(|id| **id <= to && !sent[id].read).count();
                assert_eq!(read.expect("the store works"), newly);
                theirs.iter().filter(|id| **id <= to).for_each(|id| sent.get_mut(id).expect("it is there").read = true);
            }
            Step::Lease(of, confirmed) => {
                let delivery = lease(&repository, users[of], ALL).await;
                let wanted = sent.values().filter(|m| m.to == of && !m.read).count();
                assert_eq!(texts(&delivery).len(), wanted);
                if let Some(lease) = delivery.lease.filter(|_| confirmed) {
                    lease.confirm();
                    sent.values_mut().filter(|m| m.to == of).for_each(|m| m.read = true);
                }
            }
            Step::Stop => repository = place.reopen(repository, &OPTIONS).await,
            Step::Crash => {
                settle(&repository).await;
                repository = place.crash(repository, &OPTIONS).await;
            }
        }
    }
    settle(&repository).await;
    let after = sent.keys().next_back().map_or(0, |last| after.min(*last));
    for (me, user) in users.iter().enumerate() {
        let own = sent.iter().filter(|(id, m)| **id > after && (m.from == me || m.to == me));
        let own: Vec<i64> = own.map(|(id, _)| *id).collect();
        for bytes in [u64::MAX, 3] {
            assert_eq!(all_after(&repository, *user, after, messages, bytes).await, own, "of {me}");
        }
        let (mut told, mut wanted) =
            (all_conversations(&repository, *user, messages).await, conversations_of(&sent, &users, me));
        // Of what the other has read that counts which messages it are; the numbers between them are others'.
        for (other, [.., other_read_to]) in told.iter_mut().chain(&mut wanted) {
            let theirs = sent.iter().filter(|(_, m)| m.from == me && Address::User(users[m.to]) == *other);
            *other_read_to = theirs.filter(|(id, _)| **id <= *other_read_to).count() as i64;
        }
        assert_eq!(told, wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_follower_sees_all_that_is_his_and_nothing_else(
        steps in prop::collection::vec(step(), 1..60), after in 0..30i64, messages in 1..9usize
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(walk(Place::sqlite(), steps, after, messages));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 30, ..ProptestConfig::default() })]
    #[test]
    fn a_follower_sees_all_that_is_his_and_nothing_else_on_postgres(
        steps in prop::collection::vec(step(), 1..60), after in 0..30i64, messages in 1..9usize
    ) {
        crate::stores::run_on_postgres(|place| walk(place, steps.clone(), after, messages));
    }
}

/// Eight send at once while the index is written all the time, and one of them follows: each message once, in the order
/// of the numbers, and none that comes later has a number below one that was seen.
async fn no_cursor_passes_a_message_that_comes_later(place: Place) {
    const SENDERS: usize = 8;
    const EACH: usize = 120;
    const MINE: usize = SENDERS * EACH * 2 / 3;
    let repository = Arc::new(place.open(&OPTIONS).await);
    let users = add_users(&repository, SENDERS + 1).await;
    let me = users[0];
    let mut senders = Vec::new();
    for sender in 1..=SENDERS {
        let (repository, users) = (repository.clone(), users.clone());
        senders.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            for i in 0..EACH {
                let (from, to) = [(sender, 0), (0, sender), (sender, sender)][i % 3];
                let id = send(&repository, users[from], users[to], "x").await;
                if i % 3 < 2 {
                    mine.push(id.0);
                }
            }
            mine
        }));
    }
    let (mut seen, mut next) = (Vec::new(), MessageId(0));
    while seen.len() < MINE {
        let mut following = repository.follow(me).await.expect("the store works");
        let page = FollowQuery { after: next, messages: 7, bytes: u64::MAX };
        let page = repository.messages_after(me, page).await.expect("the store works");
        seen.extend(page.messages.iter().map(|m| m.message.id.0));
        next = page.next;
        if !page.more && seen.len() < MINE {
            // A message that is missed would be waited for in vain.
            tokio::time::timeout(Duration::from_secs(60), following.heard()).await.expect("it is heard of");
        }
    }
    let mut all = BTreeSet::new();
    for sender in senders {
        all.extend(sender.await.expect("no task panics"));
    }
    assert_eq!(seen, all.into_iter().collect::<Vec<_>>());
}

on_every_store!(no_cursor_passes_a_message_that_comes_later);

/// Runs of others cost a look each; whoever has nothing in a thousand of them still gets on.
#[tokio::test]
async fn a_page_is_bounded_however_many_runs_there_are() {
    let folder = quick_folder();
    let mut repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, 3).await;
    let first = send(&repository, users[0], users[1], "first").await;
    send(&repository, users[1], users[2], "x").await;
    repository = reopen(repository, folder.path(), &OPTIONS).await;
    repository.close().await.expect("it closes");
    drop(repository);
    // As if others had written for years: runs without anything of the first.
    let database = folder.path().join("chat.db");
    let more = "WITH RECURSIVE n (i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        INSERT INTO run (last) SELECT i FROM n";
    thread::spawn(move || tamper(&database, more)).join().expect("it is SQL");
    let repository = open(folder.path(), &OPTIONS).await;
    let last = send(&repository, users[1], users[0], "last").await;
    let (mut pages, mut next, mut seen) = (0, MessageId(0), Vec::new());
    loop {
        let page = FollowQuery { after: next, messages: 100, bytes: u64::MAX };
        let page = repository.messages_after(users[0], page).await.expect("the store works");
        seen.extend(page.messages.iter().map(|m| m.message.id));
        (pages, next) = (pages + 1, page.next);
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, [first, last]);
    assert!((4..10).contains(&pages), "{pages} pages over 5,000 runs");
}

/// Where the index is damaged, the message log is read in its place.
#[tokio::test]
async fn a_damaged_index_hides_no_message() {
    for damage in [
        "UPDATE sent SET messages = '[]'",
        "UPDATE sent SET messages = 'no JSON'",
        "UPDATE mail SET messages = replace(messages, '1', '2')",
    ] {
        let folder = quick_folder();
        let repository = open(folder.path(), &OPTIONS).await;
        let users = add_users(&repository, 2).await;
        for i in 0..20 {
            send(&repository, users[i % 2], users[(i + 1) % 2], "x").await;
        }
        let repository = reopen(repository, folder.path(), &OPTIONS).await;
        let whole = all_after(&repository, users[0], 0, 100, u64::MAX).await;
        assert_eq!(whole.len(), 20);
        let database = folder.path().join("chat.db");
        thread::spawn(move || tamper(&database, damage)).join().expect("it is SQL");
        assert_eq!(all_after(&repository, users[0], 0, 100, u64::MAX).await, whole, "{damage}");
    }
}

/// A message that one session holds is read by another: it does not come again when the first lets go of it, and the
/// first's proof afterwards changes nothing.
#[tokio::test]
async fn what_another_holds_is_read_once() {
    for proof in [true, false] {
        let folder = quick_folder();
        let options = StoreOptions { tail_messages: 1_000, ..OPTIONS };
        let repository = open(folder.path(), &options).await;
        let users = add_users(&repository, 3).await;
        let ids = [
            send(&repository, users[1], users[0], "one").await,
            send(&repository, users[1], users[0], "two").await,
            send(&repository, users[2], users[0], "of another").await,
        ];
        // The counts on the disk must be right as well, so some of it is indexed.
        let repository = reopen(repository, folder.path(), &options).await;
        send(&repository, users[1], users[0], "three").await;
        let held = lease(&repository, users[0], ALL).await.lease.expect("there is mail");
        assert_eq!(held.len(), 4);
        assert_eq!(repository.read(users[0], vec![users[1].into()], ids[1]).await.expect("the store works"), 2);
        assert_eq!(repository.read(users[0], vec![users[1].into()], ids[1]).await.expect("the store works"), 0);
        let status = repository.status().await.expect("the store works");
        assert_eq!((status.unread_messages, status.delivered), (2, 2));
        match proof {
            true => held.confirm(),
            false => drop(held),
        }
        settle(&repository).await;
        let left = lease(&repository, users[0], ALL).await;
        let wanted: &[&str] = if proof { &[] } else { &["three", "of another"] };
        assert_eq!(texts(&left), wanted);
        drop(left);
        let status = repository.status().await.expect("the store works");
        assert_eq!(status.delivered, if proof { 4 } else { 2 });
        repository.close().await.expect("it closes");
        let found =
            chatd::internals::repository::sqlite::verify::verify(&folder.path().join("chat.db"), &options).await;
        assert_eq!(found.expect("it is whole").unread, if proof { 0 } else { 2 });
    }
}

fn server() -> (Folder, Server) {
    let folder = Folder::new("[server]\ntext_listen = \"127.0.0.1:0\"");
    folder.add_three();
    let server = Server::start(&folder);
    (folder, server)
}

/// What stands under `key` of a reply that says OK.
fn told(reply: &str, key: &str) -> Value {
    let reply: Value = serde_json::from_str(reply).expect("replies are JSON");
    assert_eq!(reply["status"], "OK", "{reply}");
    reply[key].clone()
}

/// The texts of a reply to `follow`.
fn followed(reply: &str) -> Vec<String> {
    let told = told(reply, "follow");
    let messages = told["messages"].as_array().expect("a list").iter();
    messages.map(|message| message["msg"].as_str().expect("a text").trim().to_owned()).collect()
}

fn number(reply: &str, key: &str) -> i64 {
    told(reply, "follow")[key].as_i64().expect("a number")
}

/// A connection that follows; the reply to `show` is written before it begins to wait.
fn following(server: &Server, token: &str, rest: &str) -> Client {
    let mut client = server.connect();
    client.send(format!("show {token}\r\nfollow {token} {rest}\r\n"));
    assert!(client.receive().contains("\"OK\""));
    client
}

/// It may not listen yet when the first message is sent, so messages are sent until one is heard.
#[test]
fn who_follows_from_now_on_hears_what_comes_next_and_nothing_older() {
    let (_folder, server) = server();
    let (_messi, messis) = server.login("messi");
    let (mut henderson, hendersons) = server.login("henderson");
    assert_eq!(henderson.ask(&format!("send {hendersons} messi  lama ")), SENT);
    let mut client = following(&server, &messis, "now 300");
    let stop = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&stop);
    let sender = thread::spawn(move || {
        while !heard.load(Ordering::Relaxed) {
            assert_eq!(henderson.ask(&format!("send {hendersons} messi  baru ")), SENT);
            thread::sleep(Duration::from_millis(50));
        }
    });
    let texts = followed(&client.receive());
    stop.store(true, Ordering::Relaxed);
    sender.join().expect("all is sent");
    assert!(!texts.is_empty() && texts.iter().all(|text| text == "baru"), "{texts:?}");
}

#[test]
fn all_sessions_of_an_account_see_all_messages_also_those_that_it_sent() {
    let (_folder, server) = server();
    let (mut messi, first) = server.login("messi");
    let (mut henderson, hendersons) = server.login("henderson");
    let second = server.login("messi").1;
    let mut all: Vec<Client> = [&first, &second, &first].map(|token| following(&server, token, "0 300")).into();
    assert_eq!(henderson.ask(&format!("send {hendersons} messi  satu ")), SENT);
    for client in &mut all {
        assert_eq!(followed(&client.receive()), ["satu"]);
    }
    let mut all: Vec<Client> = [&first, &second].map(|token| following(&server, token, "1 300")).into();
    assert_eq!(messi.ask(&format!("send {first} henderson  dua ")), SENT);
    for client in &mut all {
        let reply = client.receive();
        assert_eq!((followed(&reply), number(&reply, "next")), (vec!["dua".to_owned()], 2));
    }
    assert_eq!(followed(&messi.ask(&format!("follow {second} 0"))), ["satu", "dua"]);
    // It is the inbox's still, for old clients.
    assert_eq!(support::texts(&messi.ask(&format!("inbox {first}"))), ["satu"]);
    let nothing = messi.ask(&format!("follow {first} now"));
    assert_eq!((followed(&nothing), number(&nothing, "next")), (vec![], 2));
    // A place that the message log has not reached is not waited for.
    assert_eq!(number(&messi.ask(&format!("follow {first} 99")), "next"), 2);
}

#[test]
fn what_is_read_by_number_leaves_the_queue_and_all_hear_of_it() {
    let (folder, server) = server();
    let (mut messi, messis) = server.login("messi");
    let (mut henderson, hendersons) = server.login("henderson");
    for text in ["satu", "dua", "tiga"] {
        assert_eq!(henderson.ask(&format!("send {hendersons} messi  {text} ")), SENT);
    }
    let reads = number(&henderson.ask(&format!("follow {hendersons} now")), "reads");
    let mut listening = following(&server, &hendersons, &format!("now 300 {reads}"));
    assert_eq!(messi.ask(&format!("read {messis} henderson 2")), r#"{"status": "OK", "read": 2}"#);
    let reply = listening.receive();
    assert_eq!(followed(&reply), [""; 0]);
    assert_ne!(number(&reply, "reads"), reads);
    // It is not waited where something was read before.
    assert_eq!(followed(&henderson.ask(&format!("follow {hendersons} now 300 {reads}"))), [""; 0]);
    server.kill();
    let server = Server::start(&folder);
    let mut messi = server.connect();
    let history = messi.ask(&format!("history {messis} henderson"));
    let read: Vec<bool> =
        told(&history, "history").as_array().expect("a list").iter().map(|m| m["read"].is_string()).collect();
    assert_eq!(read, [true, true, false]);
    let list = told(&messi.ask(&format!("conversations {messis}")), "conversations")["list"].clone();
    assert_eq!(list[0]["with"], "henderson");
    assert_eq!([&list[0]["unread"], &list[0]["read_to"], &list[0]["newest"]["id"]], [1, 2, 3]);
    assert_eq!(support::texts(&messi.ask(&format!("inbox {messis}"))), ["tiga"], "it was durable");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (_folder, server) = server();
    let (mut client, token) = server.login("messi");
    let error = |words: &str| format!("{{\"status\": \"ERROR\", \"message\": \"{words}\"}}");
    for (request, reply) in [
        (format!("follow {token}"), MALFORMED.to_owned()),
        (format!("follow {token} x"), error("AFTER-ID must be a whole number, or now")),
        (format!("follow {token} now soon"), error("SECONDS must be a whole number")),
        (format!("follow {token} now 0 x"), error("READS must be a whole number")),
        ("follow x now".to_owned(), NO_SESSION.to_owned()),
        ("conversations x".to_owned(), NO_SESSION.to_owned()),
        (format!("conversations {token} x"), error("BEFORE-ID must be a whole number")),
        (format!("read {token} henderson"), MALFORMED.to_owned()),
        (format!("read {token} henderson x"), error("UPTO-ID must be a whole number")),
        (format!("read {token} nobody 1"), error("User Tidak Ditemukan")),
        ("read x henderson 1".to_owned(), NO_SESSION.to_owned()),
    ] {
        assert_eq!(client.ask(&request), reply, "{request}");
    }
    let mut person = Talker::connect(&server);
    assert_eq!(person.ask("follow now"), "Error, not authorized");
    assert_eq!(person.ask("read henderson 1"), "Error, not authorized");
}

#[test]
fn a_follower_hears_at_once_that_its_session_has_ended() {
    let (_folder, server) = server();
    let (mut messi, token) = server.login("messi");
    let mut waiting = following(&server, &token, "now 300");
    assert!(messi.ask(&format!("logout {token}")).contains("OK"));
    assert_eq!(waiting.receive(), NO_SESSION);
}

#[test]
fn a_follower_that_breaks_off_loses_nothing_and_hides_nothing() {
    let (_folder, server) = server();
    let (mut messi, token) = server.login("messi");
    for _ in 0..3 {
        let client = following(&server, &token, "0 300").stream.into_inner();
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("the option is there");
        drop(client);
        assert_eq!(messi.ask(&format!("send {token} messi  x ")), SENT);
    }
    assert_eq!(followed(&messi.ask(&format!("follow {token} 0"))).len(), 3);
    assert_eq!(support::texts(&messi.ask(&format!("inbox {token}"))).len(), 3);
    assert_eq!(messi.ask(&format!("inbox {token}")), EMPTY);
}

/// What one follower has seen: text by number, in the order seen.
type Seen = Vec<(i64, String)>;

fn note(seen: &mut Seen, next: &mut i64, reply: &str) {
    let told = told(reply, "follow");
    for message in told["messages"].as_array().expect("a list") {
        let text = message["msg"].as_str().expect("a text").trim().to_owned();
        seen.push((message["id"].as_i64().expect("a number"), text));
    }
    *next = told["next"].as_i64().expect("a number");
}

/// Followers go on from their place after each kill: in the end each has seen each message once, in order.
#[test]
fn followers_of_a_killed_server_miss_nothing_and_see_nothing_twice() {
    let folder = Folder::new("");
    folder.add_three();
    let tokens = {
        let server = Server::start(&folder);
        ["messi", "henderson", "lineker"].map(|name| server.login(name).1)
    };
    let mut followers: [(Seen, i64); 2] = [(Vec::new(), 0), (Vec::new(), 0)];
    let mut acknowledged = BTreeSet::new();
    for round in 0..6 {
        folder.configure(&format!("[database]\ntail_messages = {}", [10, 200, 65_536][round % 3]));
        let server = Server::start(&folder);
        let enough = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut senders = Vec::new();
            for (number, sender) in [&tokens[1], &tokens[2], &tokens[0], &tokens[1]].into_iter().enumerate() {
                let (mut client, enough) = (server.connect(), &enough);
                senders.push(scope.spawn(move || {
                    let mut stored = Vec::new();
                    for i in 0.. {
                        let text = format!("{round}/{number}/{i}");
                        let is_sent =
                            client.try_ask(&format!("send {sender} messi  {text} ")).is_some_and(|r| r == SENT);
                        if !is_sent || enough.load(Ordering::Relaxed) {
                            return stored;
                        }
                        stored.push(text);
                    }
                    stored
                }));
            }
            for (seen, next) in &mut followers {
                let (mut client, token) = (server.connect(), &tokens[0]);
                scope.spawn(move || {
                    while let Some(reply) = client.try_ask(&format!("follow {token} {next} 300")) {
                        note(seen, next, &reply);
                    }
                });
            }
            thread::sleep(Duration::from_millis(fastrand::u64(50..400)));
            server.kill();
            enough.store(true, Ordering::Relaxed);
            for sender in senders {
                acknowledged.extend(sender.join().expect("no sender panics"));
            }
        });
    }
    let server = Server::start(&folder);
    let mut client = server.connect();
    let (mut all, mut end) = (Vec::new(), 0);
    for (seen, next) in followers.iter_mut().chain([&mut (Vec::new(), 0)]) {
        loop {
            let reply = client.ask(&format!("follow {} {next}", tokens[0]));
            note(seen, next, &reply);
            if !told(&reply, "follow")["more"].as_bool().expect("yes or no") {
                break;
            }
        }
        (all, end) = (seen.clone(), *next);
    }
    for (seen, next) in &followers {
        assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "each once, in order");
        assert_eq!((seen.len(), *next), (all.len(), end));
        assert_eq!(*seen, all);
    }
    let stored: BTreeSet<String> = all.into_iter().map(|(_, text)| text).collect();
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(acknowledged.len() > 100, "only {} were sent", acknowledged.len());
}
