//! The same for the statements that go to PostgreSQL: it tells itself which it has carried out, and with how many rows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use chatd::internals::repository::{
    ConversationQuery, DatabaseAddress, FollowQuery, HistoryQuery, InboxQuery, Lease, Pace, copy,
};
use chatd::model::{Address, GroupId, Label, MessageId, SendKey, SessionId, Timestamp, UserId, Username};
use serde_json::Value;
use tokio::time::sleep;

use super::{HOUR, OLD_FILES, browsers, files, is_of_copy, none_is_idle, own_account, sources, statements};
use crate::cluster::Cluster;
use crate::collected::{Collected, words};
use crate::copying::world::World;
use crate::group_store::{add_group, join, send_to};
use crate::leases::log_in;
use crate::repository::{ALL, OPTIONS, add_users, lease, message, send, settle};
use crate::stores::{Nodes, Place, run};
use crate::support::PATIENCE;

/// All plans of a database are logged, with the rows that came of them.
const LOG_PLANS: [(&str, &str); 4] = [
    ("session_preload_libraries", "auto_explain"),
    ("auto_explain.log_min_duration", "0"),
    ("auto_explain.log_analyze", "on"),
    ("auto_explain.log_format", "json"),
];

/// What the log says of statements and of the most rows of each.
fn carried_out(log: &str) -> BTreeMap<String, u64> {
    let mut carried = BTreeMap::new();
    for entry in log.split("plan:\n").skip(1) {
        let plan: Vec<&str> = entry.lines().map_while(|line| line.strip_prefix('\t')).collect();
        // The last may be in the midst of being written.
        let Ok(plan) = serde_json::from_str::<Value>(&plan.join("\n")) else { continue };
        let sql = words(plan["Query Text"].as_str().expect("it has one"));
        let most: &mut u64 = carried.entry(sql).or_default();
        *most = rows(&plan["Plan"]).max(*most);
    }
    carried
}

/// A change gives no rows itself; below it are those that it changes.
fn rows(plan: &Value) -> u64 {
    let of = |plan: &Value| plan["Actual Rows"].as_f64().unwrap_or(0.0).ceil() as u64;
    match plan["Node Type"] == "ModifyTable" {
        true => plan["Plans"].as_array().map_or(0, |plans| plans.iter().map(of).max().unwrap_or(0)),
        false => of(plan),
    }
}

async fn accounts_and_sessions(nodes: &Nodes, users: &[UserId]) {
    let (now, store) = (Timestamp::now().0, &**nodes);
    let (_, first) = log_in(nodes, users[0], 9).await;
    let (token, second) = log_in(nodes, users[0], 9).await;
    let later = Timestamp(now + 2 * HOUR);
    store.session(token.hash(), later, Timestamp(0)).await.expect("the store works").expect("it is open");
    store.tidy_sessions(Timestamp(0)).await.expect("the store works");
    assert!(!store.logins(SessionId(0), None).await.expect("the store works").is_empty());
    assert_eq!(store.logins(SessionId(0), Some(users[0])).await.expect("the store works").len(), 2);
    assert_eq!(store.addresses(users[0]).await.expect("the store works").len(), 2);
    assert_eq!(store.online().await.expect("the store works").len(), 1);
    store.account(Username::parse("user0").expect("it is a name")).await.expect("the store works").expect("it lives");
    store.user(users[0]).await.expect("the store works").expect("it lives");
    assert!(!store.accounts(UserId(0)).await.expect("the store works").is_empty());
    assert_eq!(store.stored(users.to_vec()).await.expect("the store works").len(), users.len());
    assert!(store.end_session(first).await.expect("the store works"));
    assert_eq!(store.end_sessions(vec![second]).await.expect("the store works"), 1);
    log_in(nodes, users[0], 9).await;
    assert_eq!(store.tidy_sessions(Timestamp(now + 3 * HOUR)).await.expect("the store works"), 1);
    log_in(nodes, users[0], 9).await;
    store.set_password(users[0], "hash".into()).await.expect("the store works");
    store.set_disabled(users[0], true).await.expect("the store works");
    store.set_disabled(users[0], false).await.expect("the store works");
    own_account(nodes, users[2]).await;
    browsers(nodes, users[2], users[1]).await;
    store.answers().await.expect("the store works");
    store.status().await.expect("the store works");
}

async fn mail(nodes: &Nodes, users: &[UserId]) {
    let store = &**nodes;
    for _ in 0..3 {
        send(nodes, users[0], users[1], "text").await;
        send(nodes, users[1], users[0], "text").await;
    }
    let senders = InboxQuery { messages: 1, drained_senders: true, ..ALL };
    lease(nodes, users[1], senders).await.lease.expect("it holds something").confirm();
    settle(nodes).await;
    assert_eq!(store.unread_senders(users[1]).await.expect("the store works").len(), 1);
    for key in ["old", "new", "new"] {
        let key = SendKey::parse(key).expect("it is one");
        store.send_once(message(users[2], users[1], "text"), key).await.expect("the store works");
    }
    let newest = store.last_message(users[2]).await.expect("the store works");
    assert_eq!(store.keys_of(users[2], vec![newest]).await.expect("the store works").len(), 1);
    let page = FollowQuery { after: MessageId(0), messages: 100, bytes: 1_000_000 };
    assert!(store.messages_after(users[1], page).await.expect("the store works").messages.len() > 3);
    let page = ConversationQuery { before: None, conversations: 9, bytes: 1_000_000 };
    assert_eq!(store.conversations(users[1], page).await.expect("the store works").conversations.len(), 2);
    let page = HistoryQuery { before: None, messages: 50, bytes: 1_000_000 };
    assert!(!store.conversation(users[0], users[1].into(), page).await.expect("the store works").is_empty());
    assert!(!store.receipts(users[0], users[1], 50).await.expect("the store works").is_empty());
    store.read(users[1], vec![users[0].into()], newest).await.expect("the store works");
}

async fn groups(nodes: &Nodes, users: &[UserId]) {
    let store = &**nodes;
    let group = add_group(nodes, "team", users[0]).await;
    assert_eq!(store.group_password(group).await.expect("the store works").as_deref(), Some(""));
    join(nodes, group, users[1]).await;
    join(nodes, group, users[2]).await;
    let name = Username::parse("team").expect("it is a name");
    assert!(store.group_on_disk(name).await.expect("the store works").is_some());
    assert_eq!(store.recipient("team").await.expect("the store works"), Some(Address::from(group)));
    assert!(!store.groups(GroupId(0)).await.expect("the store works").is_empty());
    assert!(store.group(group).await.expect("the store works").is_some());
    assert_eq!(store.groups_of(users[1]).await.expect("the store works").len(), 1);
    assert!(store.is_member(group, users[1]).await.expect("the store works"));
    assert_eq!(store.members(group).await.expect("the store works").len(), 3);
    assert_eq!(store.member_names(group, UserId(0)).await.expect("the store works").len(), 3);
    send_to(nodes, users[0], group, "text").await;
    lease(nodes, users[1], ALL).await.lease.into_iter().for_each(Lease::confirm);
    settle(nodes).await;
    assert_eq!(store.group_receipts(users[0], group, 9).await.expect("the store works").len(), 1);
    let page = HistoryQuery { before: None, messages: 5, bytes: 1_000 };
    assert_eq!(store.conversation(users[1], group.into(), page).await.expect("the store works").len(), 1);
    store.rename_group(group, Label::parse("The Team").expect("it is one")).await.expect("the store works");
    store.leave(group, users[2]).await.expect("the store works");
    store.remove_group(group).await.expect("the store works");
}

/// Somebody waits, and what he waits for is there: once a second a node looks whether a notification was lost.
async fn looked_for(nodes: &Nodes, user: UserId, cluster: &Cluster) {
    let arrival = nodes.arrival(user).await.expect("the store works");
    send(nodes, user, user, "text").await;
    let begun = Instant::now();
    let is_found = |(sql, rows): (String, u64)| sql.starts_with("SELECT b.account FROM mailbox b") && rows > 0;
    while !carried_out(&cluster.log()).into_iter().any(is_found) {
        assert!(begun.elapsed() < PATIENCE, "the node does not look");
        sleep(Duration::from_millis(50)).await;
    }
    drop(arrival);
}

/// A database that goes to PostgreSQL and back in this process, with rows in every table.
fn copied(cluster: &Cluster) {
    let collected = Collected::get();
    let (world, url) = (World::new(), cluster.database());
    for (setting, value) in LOG_PLANS {
        cluster.set(&url, setting, value);
    }
    let path = |name: &str| world.folder.path().join(name).display().to_string();
    let address = |text: &str| DatabaseAddress::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let [from, there, back] = [path("chat.db"), url, path("back.db")].map(|text| address(&text));
    run(async {
        let mut told = |_, _, _| {};
        let gone = copy(&from, &there, &OPTIONS, &mut told).await.unwrap_or_else(|error| panic!("{error}"));
        for (table, rows) in &gone {
            assert!(*rows > 0, "the world has no {}", table.name());
        }
        let come = copy(&there, &back, &OPTIONS, &mut told).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(gone, come);
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/repository/sqlite");
    let mut wanted = Vec::new();
    for entry in fs::read_dir(folder).expect("it is part of the project") {
        let path = entry.expect("it can be listed").path();
        if is_of_copy(&path) {
            wanted.extend(statements(&fs::read_to_string(path).expect("it can be read")));
        }
    }
    assert!(wanted.len() > 30, "only {} statements were found", wanted.len());
    none_is_idle(&wanted, &collected.statements());
}

#[test]
fn every_statement_for_postgresql_is_carried_out_with_a_row_that_it_finds_or_changes() {
    let Some(place) = Place::postgres(1) else { return };
    let Place::Postgres(cluster, url, _) = &place else { panic!("it is one") };
    for (setting, value) in LOG_PLANS {
        cluster.set(url, setting, value);
    }
    let mut wanted = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/repository/postgres"), &mut wanted);
    assert!(wanted.len() > 80, "only {} statements were found", wanted.len());
    run(async {
        let nodes = place.open(&OPTIONS).await;
        let users = add_users(&nodes, 3).await;
        accounts_and_sessions(&nodes, &users).await;
        mail(&nodes, &users).await;
        groups(&nodes, &users).await;
        looked_for(&nodes, users[0], cluster).await;
        // What a node has handed out goes back when it leaves.
        let held = lease(&nodes, users[0], ALL).await.lease.expect("it holds something");
        nodes.stop().await;
        drop(held);
        let nodes = place.open(&OPTIONS).await;
        cluster.sql_at(url, "UPDATE send_key SET sent_at = 0 WHERE key = 'old'");
        nodes.tidy_sessions(Timestamp(0)).await.expect("the store works");
        for user in &users {
            nodes.remove_user(*user).await.expect("the store works");
        }
        nodes.prune(Timestamp(Timestamp::now().0 + 31 * 24 * HOUR)).await.expect("the store works");
        nodes.give_back(Pace::Steady).await.expect("the store works");
        nodes.stop().await;
        let nodes = place.open(&OPTIONS).await;
        files(&nodes, || drop(cluster.sql_at(url, OLD_FILES))).await;
        nodes.stop().await;
    });
    copied(cluster);
    // A node does this once a minute.
    cluster.sql_at(url, "INSERT INTO node (name, program) VALUES ('', ''); UPDATE node SET beat_at = 'epoch'");
    cluster.sql_at(url, "INSERT INTO writer (id) SELECT id FROM node; UPDATE feed SET at = 'epoch'");
    for sql in
        wanted.iter().filter(|sql| sql.contains("FROM feed WHERE at <") || sql.contains("FROM node WHERE beat_at"))
    {
        cluster.sql_at(url, sql);
    }
    none_is_idle(&wanted, &carried_out(&cluster.log()));
}
