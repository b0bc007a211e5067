//! Every statement of the store is carried out here, with a row that it finds or changes, also those that a server
//! comes to only after an hour, a day or a month. The statements are collected from the sources, so a new one must be
//! tried too.

mod postgres;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use chatd::internals::repository::sqlite::{self, Role, SqliteRepository};
use chatd::internals::repository::{
    AccountRepository, ConversationQuery, FileQuery, FollowQuery, Grant, GroupRepository, GroupResult, HistoryQuery,
    InboxQuery, Lease, NewFile, NewInvite, NewMessage, NewToken, NewUser, Pace, PasswordChange, PushSubscription,
    Repository, SendResult, StoreOptions,
};
use chatd::model::{
    Address, FileName, FileSpelling, GroupId, InviteId, Label, MessageId, Scope, SendKey, SessionId, Timestamp, Token,
    UserId, Username,
};

use crate::collected::{Collected, words};
use crate::database::tamper;
use crate::group_store::{LIMITS, add_group, join, send_to};
use crate::leases::log_in;
use crate::repository::{ALL, OPTIONS, add_users, crash, lease, message, open, quick_folder, reopen, send, settle};
use crate::stores::Opened;

const HOUR: i64 = 3_600_000;

/// What `db verify` asks, in verify.rs and here, is not logged. All of it is asked in one go, and each of it has a case
/// of damage in [`database`](crate::database).
const OF_VERIFY: &str = "FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'";

/// What copies to and from another kind of store is carried out with PostgreSQL, in [`postgres`].
fn is_of_copy(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("copied_") && path.parent().is_some_and(|folder| folder.ends_with("sqlite"))
}

/// The string literals of a source that are statements, up to its own tests.
fn statements(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let literals = code.split('"').skip(1).step_by(2).map(words);
    let verbs = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "];
    literals.filter(|literal| verbs.iter().any(|verb| literal.starts_with(verb))).collect()
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("it is part of the project") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            sources(&path, found);
        } else if !path.ends_with("verify.rs") && !is_of_copy(&path) {
            found.extend(statements(&fs::read_to_string(path).expect("it can be read")));
        }
    }
    found.retain(|sql| !sql.contains(OF_VERIFY));
}

async fn admin(folder: &Path) -> SqliteRepository {
    let url = format!("sqlite://{}", folder.join("chat.db").display());
    sqlite::open(&url, &OPTIONS, Role::Admin).await.expect("it opens")
}

/// Accounts and sessions, changed by the server and beside it, and what is written an hour and a month later.
async fn accounts_and_sessions(repository: &SqliteRepository, folder: &Path, users: &[UserId]) {
    let now = Timestamp::now().0;
    let (token, _) = log_in(repository, users[0], 1).await;
    let (second, session) = log_in(repository, users[0], 1).await;
    assert!(
        repository.session(token.hash(), Timestamp(now), Timestamp(0)).await.expect("the store works").is_none(),
        "one is allowed"
    );
    let used =
        repository.session(second.hash(), Timestamp(now + 2 * HOUR), Timestamp(0)).await.expect("the store works");
    assert_eq!(used.map(|session| session.id), Some(session));
    repository.tidy_sessions(Timestamp(0)).await.expect("the store works");
    let all = repository.logins(SessionId(0), None).await.expect("the store works");
    let own = repository.logins(SessionId(0), Some(users[0])).await.expect("the store works");
    assert_eq!((all.len(), own.len()), (1, 1));
    repository.tidy_sessions(Timestamp(now + 3 * HOUR)).await.expect("the store works");
    repository.password_hash(users[0]).await.expect("the store works").expect("it has one");
    repository
        .account(Username::parse("user0").expect("it is a name"))
        .await
        .expect("the store works")
        .expect("it lives");
    assert!(!repository.accounts(UserId(0)).await.expect("the store works").is_empty());

    let (third, _) = log_in(repository, users[1], 1).await;
    let beside = admin(folder).await;
    let other = Username::parse("other").expect("it is a name");
    let new = NewUser {
        username: other.clone(),
        display_name: Label::from(&other),
        country: Label::default(),
        password_hash: String::new(),
        administrator: false,
    };
    beside.add_user(new).await.expect("the store works");
    log_in_beside(&beside, users[1]).await;
    while repository.user_named("other").await.expect("the store works").is_none()
        || repository.addresses(users[1]).await.expect("the store works").len() < 2
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(beside.stored(users.to_vec()).await.expect("the store works"), [0; 3]);
    beside.close().await.expect("it closes");
    // The next change of the server's own takes what was followed out of the feed.
    let (_, fourth) = log_in(repository, users[0], 3).await;
    repository.end_session(fourth).await.expect("the store works");
    repository.set_password(users[1], "hash".into()).await.expect("the store works");
    assert!(repository.session(third.hash(), Timestamp(now), Timestamp(0)).await.expect("the store works").is_none());
    repository.set_disabled(users[1], true).await.expect("the store works");
    repository.set_disabled(users[1], false).await.expect("the store works");
    own_account(repository, users[2]).await;
    browsers(repository, users[2], users[1]).await;
}

/// Browsers that want to be told.
async fn browsers(opened: &impl Opened, user: UserId, other: UserId) {
    let repository = opened.store();
    let key = repository.push_key(vec![1]).await.expect("the store works");
    assert_eq!(repository.push_key(vec![2]).await.expect("the store works"), key, "it is made once");
    let (_, session) = log_in(opened, user, 9).await;
    for address in ["first", "second", "third", "third"] {
        let address = address.to_owned();
        let new = PushSubscription { session, address, key: [4; 65], secret: [5; 16], with_text: true };
        assert!(repository.add_push_subscription(new, 2).await.expect("the store works"));
    }
    assert!(repository.push_users().await.expect("the store works").contains(&user));
    let found = repository.push_subscriptions(user).await.expect("the store works");
    let addresses: Vec<&str> = found.iter().map(|found| found.address.as_str()).collect();
    assert_eq!(addresses, ["second", "third"]);
    // Another account shows the keys of a browser that it takes over.
    let (_, others) = log_in(opened, other, 9).await;
    for (secret, is_taken) in [([6; 16], false), ([5; 16], true)] {
        let address = "third".to_owned();
        let new = PushSubscription { session: others, address, key: [4; 65], secret, with_text: true };
        assert_eq!(repository.add_push_subscription(new, 2).await.expect("the store works"), is_taken);
    }
    assert_eq!(repository.push_subscriptions(other).await.expect("the store works").len(), 1);
    assert!(repository.remove_push_subscription(user, "second".to_owned()).await.expect("the store works"));
    assert!(!repository.remove_push_subscription(user, "second".to_owned()).await.expect("the store works"));
    assert!(repository.end_session(session).await.expect("the store works"));
    assert!(repository.push_subscriptions(user).await.expect("the store works").is_empty(), "its session has ended");
}

/// Codes that make accounts: kept, listed, over, used up, taken back.
async fn invites(repository: &dyn Repository) {
    let code = || Token::generate().hash();
    let add = async |code, lasts| {
        let new = NewInvite { code, label: Label::default(), lasts };
        repository.add_invite(new).await.expect("the store works")
    };
    let [over, used, left] = [code(), code(), code()];
    add(over, Duration::ZERO).await;
    add(used, Duration::from_secs(3600)).await;
    let id = add(left, Duration::from_secs(3600)).await;
    for (code, works) in [(over, false), (used, true), (left, true), (code(), false)] {
        assert_eq!(repository.is_invite(code).await.expect("the store works"), works);
    }
    assert_eq!(repository.invites(InviteId(0)).await.expect("the store works").len(), 2);
    let named = |name: &str| {
        let username = Username::parse(name).expect("it is a name");
        let (display_name, country) = (Label::from(&username), Label::default());
        NewUser { username, display_name, country, password_hash: String::new(), administrator: false }
    };
    let made = async |name: &str, code| {
        format!("{:?}", repository.add_invited_user(named(name), code).await.expect("the store works"))
    };
    assert_eq!(made("invited", over).await, "None", "it is over");
    assert_eq!(made("invited", used).await, "Some(Added)");
    assert_eq!(made("another", used).await, "None", "it is used up");
    assert_eq!(made("INVITED", left).await, "Some(NameTaken)");
    assert!(repository.is_invite(left).await.expect("the store works"), "no account was made by it");
    assert!(repository.remove_invite(id).await.expect("the store works"));
    assert!(!repository.remove_invite(id).await.expect("the store works"), "it is gone");
}

/// What somebody changes of the own account, and what a stranger finds of it.
async fn own_account(opened: &impl Opened, user: UserId) {
    let repository = opened.store();
    let (_, session) = log_in(opened, user, 2).await;
    log_in(opened, user, 2).await;
    let checked = repository.password_hash(user).await.expect("the store works").expect("it has one");
    let change = PasswordChange { user, session, checked, password_hash: "other".to_owned() };
    assert!(repository.change_password(change.clone()).await.expect("the store works"));
    assert!(!repository.change_password(change).await.expect("the store works"), "it has another hash by now");
    assert_eq!(repository.logins(SessionId(0), Some(user)).await.expect("the store works").len(), 1);
    let grant = Grant { scope: Scope::Send, to: Some(user.0) };
    let (token, label) = (Token::generate().hash(), Label::default());
    let created_at = Timestamp::now();
    let new = NewToken { user, session, token, grant, label, created_at, most: 1 };
    assert!(repository.add_token(new.clone()).await.expect("the store works"));
    assert!(!repository.add_token(new).await.expect("the store works"), "one is allowed");
    let found = repository.session(token, created_at, Timestamp(i64::MAX)).await.expect("the store works");
    assert_eq!(found.and_then(|session| session.grant), Some(grant), "it may rest for as long as it likes");
    repository.set_administrator(user, true).await.expect("the store works");
    let other = Username::parse("first").expect("it is a name");
    let (display_name, country) = (Label::from(&other), Label::default());
    let first = NewUser { username: other, display_name, country, password_hash: String::new(), administrator: true };
    assert_eq!(repository.add_first_user(first).await.expect("the store works"), None, "there are others");
    invites(repository).await;
    repository.set_profile(user, Label::parse("Other").ok(), None).await.expect("the store works");
    let found = repository.accounts_named("user2", 9).await.expect("the store works");
    assert_eq!(found.iter().map(|user| &*user.display_name).collect::<Vec<_>>(), ["Other"]);
}

async fn log_in_beside(beside: &SqliteRepository, user: UserId) {
    let token = chatd::model::Token::generate();
    let address = Arc::from("192.0.2.2");
    let created_at = Timestamp::now();
    let checked = beside.password_hash(user).await.expect("the store works").expect("it has one");
    let rehashed = None;
    let new = chatd::internals::repository::NewSession {
        user,
        token: token.hash(),
        address,
        label: Label::default(),
        created_at,
        most: 9,
        checked,
        rehashed,
    };
    assert!(beside.open_session(new).await.expect("the store works"));
}

/// Mail in the index and in the tail, looked at, read and removed.
async fn mail(mut repository: SqliteRepository, folder: &Path, users: &[UserId]) -> SqliteRepository {
    let few = InboxQuery { messages: usize::MAX, bytes: 3, drained_senders: true, session: None };
    for i in 0..20 {
        send(&repository, users[i % 2], users[1], "text").await;
        send(&repository, users[1], users[0], "text").await;
    }
    lease(&repository, users[1], few).await.lease.expect("it holds something").confirm();
    settle(&repository).await;
    // Only what is read of an inbox that lies on the disk in part is asked for again.
    repository = reopen(repository, folder, &OPTIONS).await;
    lease(&repository, users[1], few).await.lease.expect("it holds something").confirm();
    settle(&repository).await;
    repository.close().await.expect("it closes");
    drop(repository);
    // As a server leaves it that was killed while it indexed; a damaged index; and a clock that jumped.
    let path = folder.join("chat.db");
    let unfinished = "INSERT INTO mail (run, recipient, messages) VALUES (1000000, 1, '[]');
        INSERT INTO sent (run, sender, messages) VALUES (1000000, 1, '[]');
        INSERT INTO conversation (run, low, high, messages, earlier) VALUES (1000000, 1, 2, '[]', 0);
        UPDATE mail SET checksum = x'00000000' WHERE recipient = 1;
        UPDATE receipt SET delivered_at = 4070908800000 WHERE id = (SELECT min(id) FROM receipt);
        INSERT INTO session (user, token_hash, address, created_at, last_used_at) VALUES (3, zeroblob(32), '', 0, 1);
        INSERT INTO clock_jump (since, until) VALUES (0, 4070908800000);
        UPDATE clock SET seen_at = seen_at - 8 * 24 * 3600000";
    thread::spawn(move || tamper(&path, unfinished)).join().expect("it is SQL");
    repository = open(folder, &OPTIONS).await;
    drop(lease(&repository, users[1], few).await);
    let page = HistoryQuery { before: Some(MessageId(30)), messages: 5, bytes: 1_000 };
    assert_eq!(repository.conversation(users[0], users[1].into(), page).await.expect("the store works").len(), 5);
    send(&repository, users[0], users[1], "in the tail").await;
    assert!(!repository.receipts(users[0], users[1], 50).await.expect("the store works").is_empty());
    let page = HistoryQuery { before: None, messages: 50, bytes: 1_000_000 };
    assert!(!repository.conversation(users[0], users[1].into(), page).await.expect("the store works").is_empty());
    following(&repository, users).await;
    repository
}

/// Messages under keys, an old one among them, and what their readers follow.
async fn following(repository: &SqliteRepository, users: &[UserId]) {
    for (key, age) in [("old", 8), ("new", 0), ("new", 0)] {
        let sent_at = Timestamp(Timestamp::now().0 - age * 24 * HOUR);
        let message = NewMessage { sent_at, ..message(users[2], users[1], "text") };
        let key = SendKey::parse(key).expect("it is one");
        repository.send_once(message, key).await.expect("the store works");
    }
    let newest = repository.last_message(users[2]).await.expect("the store works");
    let keys = repository.keys_of(users[2], vec![newest]).await.expect("the store works");
    assert_eq!(keys.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>(), ["new"]);
    assert!(repository.last_message(users[0]).await.expect("the store works") > MessageId(40));
    // The index of the first is damaged.
    for user in &users[..2] {
        let page = FollowQuery { after: MessageId(0), messages: 100, bytes: 1_000_000 };
        let page = repository.messages_after(*user, page).await.expect("the store works");
        assert!(page.messages.len() > 20, "{}", page.messages.len());
    }
    let page = ConversationQuery { before: None, conversations: 9, bytes: 1_000_000 };
    let found = repository.conversations(users[1], page).await.expect("the store works");
    assert_eq!(found.conversations.len(), 3);
}

/// A month later all is read, and goes.
async fn retention(repository: &SqliteRepository, folder: &Path, users: &[UserId]) {
    for user in users {
        while let Some(lease) = lease(repository, *user, ALL).await.lease {
            lease.confirm();
        }
    }
    settle(repository).await;
    let later = Timestamp(Timestamp::now().0 + 31 * 24 * HOUR);
    send(repository, users[1], users[0], "unread").await;
    assert!(repository.prune(later).await.expect("the store works") > 0);
    send(repository, users[2], users[2], "read and removed before it is indexed").await;
    lease(repository, users[2], ALL).await.lease.expect("it holds something").confirm();
    settle(repository).await;
    assert_eq!(repository.prune(later).await.expect("the store works"), 1);
    let killed = crash(folder);
    open(killed.path(), &OPTIONS).await.close().await.expect("it closes");
    // Enough for some pages.
    for _ in 0..4 {
        send(repository, users[2], users[2], &"read".repeat(10_000)).await;
    }
    lease(repository, users[2], ALL).await.lease.expect("it holds something").confirm();
    settle(repository).await;
    assert_eq!(repository.prune(later).await.expect("the store works"), 4);
    for i in 0..OPTIONS.tail_messages {
        send(repository, users[i % 2], users[0], "unread").await;
    }
    repository.prune(later).await.expect("the store works");
    repository.remove_user(users[0]).await.expect("the store works");
    assert!(repository.prune(later).await.expect("the store works") > 0);
    let room = repository.give_back(Pace::Steady).await.expect("the store works");
    assert!(room.given_bytes > 0, "{room:?}");
}

/// Files that are sent, and such that nobody can read.
async fn files(opened: &impl Opened, make_old: impl FnOnce()) {
    let repository = opened.store();
    let users = add_users(opened, 2).await;
    let name = FileName::parse("a.txt").expect("it is a name");
    let new = NewFile { sender: users[0], name, spelling: FileSpelling::Plain, bytes: 1, sha256: [0; 32] };
    let mut added = Vec::new();
    for _ in 0..3 {
        let file = repository.add_file(new.clone()).await.expect("the store works");
        repository.add_file_piece(file, 0, b"x"[..].into()).await.expect("the store works");
        added.push(file);
    }
    let messages = [message(users[0], users[1], "")].into();
    let sent = repository.send_file(messages, added[0], 1).await.expect("the store works");
    assert!(matches!(sent[0], SendResult::Stored { .. }));
    let all = FileQuery { most: 9, ..FileQuery::default() };
    let found = repository.files_sent_to(users[1], all.clone()).await.expect("the store works");
    assert_eq!(found.iter().map(|received| received.file.id).collect::<Vec<_>>(), [added[0]]);
    assert_eq!(repository.files_of(users[1], vec![found[0].message]).await.expect("the store works"), found);
    assert_eq!(repository.files_sent_to(users[0], all).await.expect("the store works"), []);
    let piece = repository.file_piece(users[1], added[0], 0).await.expect("the store works");
    assert_eq!(piece.as_deref(), Some(&b"x"[..]));
    let to = Address::User(users[1]);
    let (key, sent) = (SendKey::parse("key").expect("it is one"), found[0].message);
    assert_eq!(repository.sent_under(users[0], key.clone(), to).await.expect("the store works"), None);
    let again = message(users[0], users[1], "");
    let once = repository.send_file_once(again.clone(), key.clone(), added[0], 1).await.expect("the store works");
    let SendResult::Stored { id, .. } = once else { panic!("{once:?}") };
    assert_eq!(repository.send_file_once(again, key.clone(), added[1], 1).await.expect("the store works"), once);
    assert_eq!(repository.sent_under(users[0], key, to).await.expect("the store works"), Some(once));
    assert!(id > sent, "another message brings it, too");
    repository.finish_file(added[0], 1, [7; 32]).await.expect("the store works");
    for user in &users {
        let seen = repository.file_seen_by(*user, added[0]).await.expect("the store works").expect("it was sent");
        assert_eq!(seen.sha256, [7; 32]);
    }
    assert_eq!(repository.file_seen_by(UserId(999), added[0]).await.expect("the store works"), None);
    assert_eq!(repository.file_seen_by(users[0], added[1]).await.expect("the store works"), None);
    // One that a message brings stays.
    repository.remove_file(added[0]).await.expect("the store works");
    repository.remove_file(added[1]).await.expect("the store works");
    make_old();
    repository.prune(Timestamp(0)).await.expect("the store works");
    for (file, is_there) in added.iter().zip([true, false, false]) {
        assert_eq!(repository.file_piece(users[1], *file, 0).await.expect("the store works").is_some(), is_there);
    }
    for user in &users {
        repository.remove_user(*user).await.expect("the store works");
    }
    repository.prune(Timestamp(0)).await.expect("the store works");
    assert_eq!(repository.file_piece(users[1], added[0], 0).await.expect("the store works"), None);
}

/// They are as old as if nobody had sent them for a day.
const OLD_FILES: &str = "UPDATE file SET created_at = 0";

async fn files_on_sqlite() {
    let folder = quick_folder();
    let repository = open(folder.path(), &OPTIONS).await;
    let database = folder.path().join("chat.db");
    let make_old = || thread::spawn(move || tamper(&database, OLD_FILES)).join().expect("it is done");
    files(&repository, make_old).await;
    repository.close().await.expect("it closes");
}

/// Groups with a full inbox, with messages that are read before older ones, and with members who come and go.
async fn groups() {
    let folder = quick_folder();
    let options = StoreOptions { inbox_messages: 5, tail_messages: 1_000, ..OPTIONS };
    let repository = open(folder.path(), &options).await;
    let users = add_users(&repository, 4).await;
    let group = add_group(&repository, "team", users[0]).await;
    assert_eq!(repository.group_password(group).await.expect("the store works").as_deref(), Some(""));
    join(&repository, group, users[1]).await;
    join(&repository, group, users[2]).await;
    let beside = admin(folder.path()).await;
    beside.join(group, users[3], LIMITS).await.expect("the store works");
    assert_eq!(beside.groups(GroupId(0)).await.expect("the store works")[0].1, 4);
    beside.close().await.expect("it closes");
    while repository.members(group).await.expect("the store works").len() < 4 {
        tokio::task::yield_now().await;
    }
    let one = InboxQuery { messages: 1, ..ALL };
    for round in 0..5 {
        let text = NewMessage { sender: users[0], to: group.into(), sent_at: Timestamp::now(), text: "text".into() };
        repository.send([text].into()).await.expect("the store works");
        // One reads nothing until the last is to come, one all, one all but the first.
        let older = lease(&repository, users[2], one).await;
        lease(&repository, users[2], ALL).await.lease.into_iter().for_each(Lease::confirm);
        drop(older);
        if round != 3 {
            continue;
        }
        for user in [1, 3] {
            lease(&repository, users[user], ALL).await.lease.into_iter().for_each(Lease::confirm);
        }
        settle(&repository).await;
    }
    let page = HistoryQuery { before: None, messages: 5, bytes: 1_000 };
    assert_eq!(repository.conversation(users[3], group.into(), page).await.expect("the store works").len(), 5);
    let older = lease(&repository, users[2], one).await;
    send_to(&repository, users[0], group, "newer").await;
    lease(&repository, users[2], ALL).await.lease.expect("it holds something").confirm();
    settle(&repository).await;
    let killed = crash(folder.path());
    open(killed.path(), &options).await.close().await.expect("it closes");
    older.lease.expect("it holds something").confirm();
    settle(&repository).await;
    let _older = lease(&repository, users[1], one).await;
    lease(&repository, users[1], ALL).await.lease.expect("it holds something").confirm();
    repository.remove_user(users[1]).await.expect("the store works");
    lease(&repository, users[3], ALL).await.lease.expect("it holds something").confirm();
    repository.leave(group, users[0]).await.expect("the store works");
    let name = Username::parse("team").expect("it is a name");
    assert!(repository.group_on_disk(name).await.expect("the store works").is_some());
    assert_eq!(repository.member_names(group, UserId(0)).await.expect("the store works").len(), 2);
    let renamed = repository.rename_group(group, Label::parse("The Team").expect("it is one")).await;
    assert_eq!(renamed.expect("the store works"), GroupResult::Done);
    repository.remove_group(group).await.expect("the store works");
    let repository = reopen(repository, folder.path(), &options).await;
    let page = ConversationQuery { before: None, conversations: 5, bytes: 1_000 };
    let told = repository.conversations(users[3], page).await.expect("the store works");
    assert_eq!(told.conversations[0].with, group.into());
    let later = Timestamp(Timestamp::now().0 + HOUR);
    assert_eq!(repository.prune(later).await.expect("the store works"), 6);
    send(&repository, users[2], users[2], "read").await;
    lease(&repository, users[2], ALL).await.lease.expect("it holds something").confirm();
    send(&repository, users[2], users[2], "last").await;
    assert_eq!(repository.prune(later).await.expect("the store works"), 1);
    repository.close().await.expect("it closes");
}

#[test]
fn every_statement_is_carried_out_with_a_row_that_it_finds_or_changes() {
    let collected = Collected::get();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let folder = quick_folder();
        let options: &StoreOptions = &OPTIONS;
        let repository = open(folder.path(), options).await;
        let users = add_users(&repository, 3).await;
        accounts_and_sessions(&repository, folder.path(), &users).await;
        let repository = mail(repository, folder.path(), &users).await;
        // What is not indexed is read at the start after a crash.
        let killed = crash(folder.path());
        open(killed.path(), options).await.close().await.expect("it closes");
        retention(&repository, folder.path(), &users).await;
        groups().await;
        files_on_sqlite().await;
        repository.close().await.expect("it closes");
    });
    let mut wanted = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/repository/sqlite"), &mut wanted);
    assert!(wanted.len() > 40, "only {} statements were found", wanted.len());
    let carried = collected.statements();
    none_is_idle(&wanted, &carried);
}

/// Each statement was carried out, with a row.
fn none_is_idle(wanted: &[String], carried: &BTreeMap<String, u64>) {
    let rows = |wanted: &str| carried.iter().filter(|(sql, _)| sql.starts_with(wanted)).map(|(_, rows)| *rows).max();
    let idle: Vec<String> = wanted
        .iter()
        .filter_map(|sql| match rows(sql) {
            None => Some(format!("never carried out: {sql}")),
            Some(0) => Some(format!("found or changed no row: {sql}")),
            Some(_) => None,
        })
        .collect();
    assert!(idle.is_empty(), "\n{}", idle.join("\n"));
}
