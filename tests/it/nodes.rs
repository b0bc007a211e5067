//! Two servers on one PostgreSQL: they are one for whoever talks to them, and one that is gone or stood still does no
//! harm.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chatd::internals::clock::{Clock, TimeSource};
use chatd::internals::repository::sqlite::Role;
use chatd::internals::repository::{self, StoreOptions};
use chatd::model::Timestamp;
use nix::sys::signal::{Signal, kill};

use crate::cluster::{Cluster, on};
use crate::metrics::numbers;
use crate::repository::{ALL, OPTIONS, message};
use crate::stores::run;
use crate::support::{Client, EMPTY, Folder, NO_SESSION, PATIENCE, SENT, Server, address_in, texts};

/// Two servers on a database with the example accounts.
fn two_nodes(cluster: &Cluster) -> (String, Folder, Server, Server) {
    let url = cluster.database();
    let folder = Folder::new(&on(&url));
    folder.add_three();
    let (one, other) = (Server::start(&folder), Server::start(&folder));
    (url, folder, one, other)
}

/// A connection that waits for mail; the server has seen the wait begin.
fn waiting(server: &Server, token: &str) -> Client {
    let mut client = server.connect();
    client.send(format!("show {token}\r\nwait {token} 50\r\n"));
    assert!(client.receive().contains("\"OK\""));
    client
}

/// Asks until the answer is another one.
fn until_not(server: &Server, request: &str, answer: &str) -> String {
    let begun = Instant::now();
    loop {
        let got = server.connect().ask(request);
        if got != answer {
            return got;
        }
        assert!(begun.elapsed() < PATIENCE, "{request}: {answer}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_session_and_mail_of_one_node_are_the_others_too() {
    let Some(cluster) = Cluster::get() else { return };
    let (url, folder, one, other) = two_nodes(cluster);
    let (mut messi, messis) = one.login("messi");
    let (_, hendersons) = other.login("henderson");
    // At once, without a word between the two.
    assert_ne!(other.connect().ask(&format!("show {messis}")), NO_SESSION);
    for round in 0..3 {
        let mut henderson = waiting(&other, &hendersons);
        if round == 1 {
            let listening = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE query LIKE 'LISTEN%' AND datname = current_database()";
            assert!(cluster.sql_at(&url, listening).parse::<i64>().is_ok_and(|ended| ended > 0), "nobody listens");
        }
        assert_eq!(messi.ask(&format!("send {messis} henderson {round}")), SENT);
        assert_eq!(texts(&henderson.receive()), [round.to_string()]);
    }
    // One that looks at it all the time believes what it has seen; for less than a second.
    for node in [&one, &other] {
        assert_ne!(node.connect().ask(&format!("show {messis}")), NO_SESSION);
    }
    folder.done(&["session", "revoke", "messi"], "");
    for node in [&one, &other] {
        let begun = Instant::now();
        while node.connect().ask(&format!("show {messis}")) != NO_SESSION {
            assert!(begun.elapsed() < PATIENCE, "the session lives on");
        }
    }
    assert_eq!((one.stop(), other.stop()), (Some(0), Some(0)));
    assert_eq!(cluster.sql_at(&url, "SELECT count(*) FROM node"), "0", "who stops leaves");
}

#[test]
fn what_a_killed_node_had_handed_out_waits_again() {
    let Some(cluster) = Cluster::get() else { return };
    let (_url, _folder, one, other) = two_nodes(cluster);
    let (mut messi, messis) = other.login("messi");
    let (mut henderson, hendersons) = one.login("henderson");
    assert_eq!(messi.ask(&format!("send {messis} henderson text")), SENT);
    assert_eq!(texts(&henderson.ask(&format!("inbox {hendersons}"))), ["text"]);
    let inbox = format!("inbox {hendersons}");
    assert_eq!(other.connect().ask(&inbox), EMPTY, "the first has it in hand");
    one.kill();
    assert_eq!(texts(&until_not(&other, &inbox, EMPTY)), ["text"]);
}

#[test]
fn a_node_that_stood_still_confirms_nothing_that_is_anothers_now() {
    let Some(cluster) = Cluster::get() else { return };
    let (_url, _folder, one, other) = two_nodes(cluster);
    let (mut messi, messis) = other.login("messi");
    let (mut henderson, hendersons) = one.login("henderson");
    assert_eq!(messi.ask(&format!("send {messis} henderson text")), SENT);
    let inbox = format!("inbox {hendersons}");
    assert_eq!(texts(&henderson.ask(&inbox)), ["text"]);
    one.freeze();
    // The other takes over when the database's clock says that the first is dead.
    let begun = Instant::now();
    let holder = loop {
        let mut client = other.connect();
        let reply = client.ask(&inbox);
        if reply != EMPTY {
            assert_eq!(texts(&reply), ["text"]);
            break client;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody gets it");
        thread::sleep(Duration::from_millis(20));
    };
    kill(one.pid(), Signal::SIGCONT).expect("it is there");
    // The next request on its connection says that the reply came: too late, it is not this node's any more.
    assert!(henderson.ask(&format!("show {hendersons}")).contains("OK"));
    assert_eq!(henderson.ask(&inbox), EMPTY, "the other node's reader has it");
    // That one's reader has not said that it came.
    other.kill();
    assert_eq!(texts(&until_not(&one, &inbox, EMPTY)), ["text"]);
    drop(holder);
    // The node that stood still is one again: it takes and hands out.
    assert_eq!(one.connect().ask(&format!("send {messis} henderson again")), SENT);
}

/// A clock that is off by a day.
struct DayOff(i64);

impl TimeSource for DayOff {
    fn wall(&self) -> Timestamp {
        Timestamp(Timestamp::now().0 + self.0)
    }

    fn running(&self) -> Duration {
        Duration::from_millis(Timestamp::now().0.unsigned_abs())
    }
}

#[test]
fn a_node_whose_clock_is_wrong_by_a_day_goes_by_the_database() {
    const DAY: i64 = 24 * 3_600_000;
    let Some(cluster) = Cluster::get() else { return };
    run(async {
        let url = cluster.database();
        let mut users = Vec::new();
        for off in [DAY, -DAY] {
            let options = StoreOptions { clock: Clock::of(Arc::new(DayOff(off))), ..OPTIONS };
            let store = repository::open(&url, &options, Role::Server).await.expect("it opens").repository;
            if users.is_empty() {
                users = crate::repository::add_users(&Arc::new(Alone(store.clone())), 2).await;
            }
            let about = |time: Timestamp| (time.0 - Timestamp::now().0).abs() < DAY / 2;
            assert!(about(store.clock().now()) && about(store.clock().steady()), "{off}");
            store.send([message(users[0], users[1], "text")].into()).await.expect("the store works");
            let mail = store.lease(users[1], ALL).await.expect("the store works");
            assert!(about(mail.senders[0].1[0].message.sent_at), "{off}");
            mail.lease.expect("there is mail").confirm();
            store.confirmed().await.expect("the store works");
            store.close().await.expect("it closes");
        }
    });
}

#[test]
fn a_batch_whose_answer_is_lost_is_stored_once() {
    const SENDERS: usize = 8;
    const LOSSES: usize = 5;
    let Some(cluster) = Cluster::get() else { return };
    let (url, way) = (cluster.database(), cluster.lossy_way());
    let all: usize = run_with(async {
        let options = StoreOptions { busy_timeout: PATIENCE, ..OPTIONS };
        let store = repository::open(&way.url(&url), &options, Role::Server).await.expect("it opens").repository;
        let users = crate::repository::add_users(&Arc::new(Alone(store.clone())), SENDERS).await;
        let are_lost = Arc::new(AtomicBool::new(false));
        let mut senders = Vec::new();
        for sender in 0..SENDERS {
            let (store, users, are_lost) = (store.clone(), users.clone(), are_lost.clone());
            senders.push(tokio::spawn(async move {
                let mut number = 0;
                while !are_lost.load(Ordering::Relaxed) {
                    let text = format!("{sender} {number}");
                    let message = message(users[sender], users[(sender + 1) % SENDERS], &text);
                    let sent = store.send([message].into()).await.expect("it is asked for again");
                    assert!(matches!(sent[..], [repository::SendResult::Stored { .. }]), "{sent:?}");
                    number += 1;
                }
                number
            }));
        }
        for _ in 0..LOSSES {
            way.lose();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        are_lost.store(true, Ordering::Relaxed);
        let mut all = 0;
        for sender in senders {
            all += sender.await.expect("no task panics");
        }
        store.close().await.expect("it closes");
        all
    });
    let counts = cluster.sql_at(&url, "SELECT count(*), count(DISTINCT text), (SELECT last FROM head) FROM message");
    assert_eq!(counts, format!("{all}|{all}|{all}"));
    println!("{all} messages, on all connections the answers were lost {LOSSES} times");
}

pub fn run_with<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts").block_on(test)
}

/// One node.
pub struct Alone(pub Arc<dyn repository::Repository>);

impl crate::stores::Opened for Alone {
    fn store(&self) -> &dyn repository::Repository {
        &*self.0
    }
}

#[test]
fn commands_work_on_servers_and_say_what_is_not_theirs() {
    let Some(cluster) = Cluster::get() else { return };
    let url = cluster.database();
    // The first of several is not there, and the password is in a file.
    let settings = |url: &str| format!("{}[metrics]\nlisten = \"127.0.0.1:0\"", on(url));
    let folder = Folder::new(&settings(&url));
    let password = folder.path().join("password");
    fs::write(&password, "secret\n").expect("it can be written");
    let with_file = format!("{url}&password_file={}", password.display());
    folder.configure(&settings(&with_file));
    folder.add_three();
    folder.done(&["config", "check"], "");
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {token} messi text")), SENT);
    let listed: serde_json::Value =
        serde_json::from_str(&folder.done(&["user", "list", "--json"], "")).expect("it is JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(3));
    assert!(folder.done(&["session", "list"], "").contains("messi"));
    let health = folder.run(&["--set", &format!("server.listen={}", server.address), "health"], "");
    assert!(health.status.success(), "{}", folder.complaint(&health));
    let address = address_in(&server.log(), "listening for Prometheus").expect("it is logged");
    let shown = numbers(address);
    assert_eq!((shown["chatd_users"], shown["chatd_queue_messages"]), (3.0, 1.0));
    folder.done(&["db", "prune"], "");
    folder.done(&["db", "migrate"], "");
    let copy = folder.path().join("copy");
    let copy = copy.to_str().expect("it is UTF-8");
    for (arguments, remedy) in [
        (vec!["db", "backup", copy], "pg_basebackup"),
        (vec!["db", "restore", copy], "pg_basebackup"),
        (vec!["db", "verify"], "pg_amcheck"),
        (vec!["db", "prune", "--compact"], "vacuum"),
    ] {
        let refused = folder.run(&arguments, "");
        assert!(!refused.status.success(), "{arguments:?}");
        assert!(folder.complaint(&refused).contains(remedy), "{arguments:?}: {}", folder.complaint(&refused));
    }
    assert_eq!(server.stop(), Some(0));
    folder.configure(&on(&format!("{url}&password_file=/nowhere/at/all")));
    let refused = folder.run(&["serve"], "");
    assert_eq!(refused.status.code(), Some(78), "no retry mends that");
    // Somebody else's program has been there since.
    cluster.sql_at(&url, "INSERT INTO _sqlx_migrations SELECT 9999, 'later', now(), true, '', 0");
    folder.configure(&on(&url));
    let refused = folder.run(&["serve"], "");
    assert_eq!(refused.status.code(), Some(78));
    assert!(folder.complaint(&refused).contains("install a newer chatd"), "{}", folder.complaint(&refused));
}
