//! Leases in PostgreSQL: what is handed out to nobody waits again, and what was confirmed does not come again.

use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chatd::internals::repository::sqlite::Role;
use chatd::internals::repository::{self, Delivery, InboxQuery, StoreOptions};
use chatd::model::{MessageId, UserId};

use crate::cluster::Cluster;
use crate::nodes::{Alone, run_with};
use crate::repository::{ALL, OPTIONS, add_users, send, texts};
use crate::support::PATIENCE;

const HOLDS_HANDS: &str = "BEGIN; SELECT 1 FROM hand FOR UPDATE; SELECT pg_sleep(5); COMMIT";
const SLEEPS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
const WAITS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
/// No receipt can be stored.
const REFUSE_RECEIPTS: &str = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END$$;
    CREATE TRIGGER refuse BEFORE INSERT ON receipt FOR EACH ROW EXECUTE FUNCTION refuse()";

/// A database with two accounts, and a node on it.
struct Node {
    cluster: &'static Cluster,
    url: String,
    store: Alone,
    sender: UserId,
    reader: UserId,
}

impl Node {
    async fn start(cluster: &'static Cluster, url: &str, way: &str, busy_timeout: Duration) -> Node {
        let options = StoreOptions { busy_timeout, ..OPTIONS };
        let store = repository::open(way, &options, Role::Server).await.expect("it opens").repository;
        let store = Alone(store);
        let users = add_users(&store, 2).await;
        Node { cluster, url: url.to_owned(), store, sender: users[0], reader: users[1] }
    }

    fn sql(&self, sql: &str) -> String {
        self.cluster.sql_at(&self.url, sql)
    }

    async fn send(&self, text: &str) -> MessageId {
        send(&self.store, self.sender, self.reader, text).await
    }

    async fn inbox(&self) -> Delivery {
        self.inbox_of(ALL).await
    }

    async fn inbox_of(&self, want: InboxQuery) -> Delivery {
        self.store.0.lease(self.reader, want).await.expect("the store works")
    }

    /// Asks until something comes.
    async fn mail(&self) -> Delivery {
        let begun = Instant::now();
        loop {
            let mail = self.inbox().await;
            if mail.lease.is_some() {
                return mail;
            }
            assert!(begun.elapsed() < PATIENCE, "it is stuck");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until(&self, sql: &'static str, answer: &str) {
        let begun = Instant::now();
        while self.sql(sql) != answer {
            assert!(begun.elapsed() < PATIENCE, "{sql} is never {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Holds what each hand-out needs for five seconds.
    async fn hold(&self) -> JoinHandle<String> {
        let (cluster, url) = (self.cluster, self.url.clone());
        let held = thread::spawn(move || cluster.sql_at(&url, HOLDS_HANDS));
        self.until(SLEEPS, "1").await;
        held
    }
}

/// Gives whether the store said that it is done.
async fn confirm(node: &Node, mail: Delivery) -> bool {
    mail.lease.expect("there is mail").confirm();
    node.store.0.confirmed().await.is_ok()
}

#[test]
fn what_is_handed_out_when_its_reader_has_gone_waits_again() {
    let Some(cluster) = Cluster::get() else { return };
    run_with(async {
        let url = cluster.database();
        let node = Node::start(cluster, &url, &url, OPTIONS.busy_timeout).await;
        node.send("text").await;
        let held = node.hold().await;
        {
            let mut asked = pin!(node.inbox());
            assert!(tokio::time::timeout(Duration::from_millis(500), &mut asked).await.is_err(), "it did not wait");
            node.until(WAITS, "1").await;
        }
        held.join().expect("psql ends");
        assert_eq!(texts(&node.mail().await), ["text"]);
    });
}

#[test]
fn a_hand_out_whose_answer_is_lost_is_asked_for_again() {
    let Some(cluster) = Cluster::get() else { return };
    run_with(async {
        let (url, way) = (cluster.database(), cluster.lossy_way());
        let node = Node::start(cluster, &url, &way.url(&url), PATIENCE).await;
        for round in 0..20 {
            let text = round.to_string();
            node.send(&text).await;
            way.lose();
            let mail = node.inbox().await;
            assert_eq!(texts(&mail), [text], "an empty inbox is no answer");
            assert!(confirm(&node, mail).await);
        }
        assert_eq!(node.sql("SELECT count(*) FROM flight"), "0");
    });
}

#[test]
fn what_was_confirmed_after_an_outage_does_not_come_again() {
    let Some(cluster) = Cluster::get() else { return };
    run_with(async {
        let url = cluster.database();
        let node = Node::start(cluster, &url, &url, OPTIONS.busy_timeout).await;
        let id = node.send("text").await;
        let mail = node.inbox().await;
        assert_eq!(texts(&mail), ["text"]);
        // As after an hour without a beat: the node is another incarnation afterwards.
        node.sql("UPDATE node SET beat_at = beat_at - interval '1 hour'");
        node.until("SELECT count(*) FROM node", "2").await;
        assert!(confirm(&node, mail).await);
        assert!(node.inbox().await.lease.is_none(), "it comes again");
        assert_eq!(node.sql("SELECT id FROM receipt"), id.0.to_string());
    });
}

#[test]
fn what_cannot_be_confirmed_for_a_while_is_confirmed_later_and_what_cannot_at_all_is_not_called_done() {
    let Some(cluster) = Cluster::get() else { return };
    run_with(async {
        let url = cluster.database();
        let node = Arc::new(Node::start(cluster, &url, &url, Duration::from_secs(10)).await);
        node.send("text").await;
        let mail = node.inbox().await;
        node.sql(REFUSE_RECEIPTS);
        let confirming = tokio::spawn({
            let node = node.clone();
            async move { confirm(&node, mail).await }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!confirming.is_finished(), "nothing of it is stored");
        node.sql("DROP TRIGGER refuse ON receipt");
        assert!(confirming.await.expect("no panic"));
        assert_eq!(node.sql("SELECT count(*) FROM receipt"), "1");

        node.send("again").await;
        let mail = node.inbox().await;
        node.sql(&REFUSE_RECEIPTS.replacen("CREATE", "CREATE OR REPLACE", 1));
        assert!(!confirm(&node, mail).await, "it is called done");
        node.sql("DROP TRIGGER refuse ON receipt");
        // What comes after is not in doubt.
        node.store.0.confirmed().await.expect("the store works");
    });
}

#[test]
fn a_logout_beside_an_inbox_doubles_nothing() {
    let Some(cluster) = Cluster::get() else { return };
    run_with(async {
        let url = cluster.database();
        let node = Node::start(cluster, &url, &url, OPTIONS.busy_timeout).await;
        node.send("text").await;
        let session = node.sql(&format!(
            "SELECT open_session(id, sha256('token'), '', 0, '', 10, password_hash, NULL) FROM account WHERE id = {}",
            node.reader
        ));
        let session = chatd::model::SessionId(session.parse().expect("a session was opened"));
        let held = node.hold().await;
        let mail = {
            let mut asked = pin!(node.inbox_of(InboxQuery { session: Some(session), ..ALL }));
            assert!(tokio::time::timeout(Duration::from_millis(200), &mut asked).await.is_err(), "it did not wait");
            node.until(WAITS, "1").await;
            let (cluster, url) = (node.cluster, node.url.clone());
            let logout = format!("SELECT log_out({})", session.0);
            let logged_out = thread::spawn(move || cluster.sql_at(&url, &logout));
            let mail = asked.await;
            assert_eq!(logged_out.join().expect("psql ends"), "t");
            mail
        };
        held.join().expect("psql ends");
        // Either its reader has it or somebody else gets it.
        assert_eq!((texts(&mail).len(), node.inbox().await.lease.is_some()), (1, false));
        drop(mail);
        assert_eq!(texts(&node.mail().await), ["text"]);
    });
}
