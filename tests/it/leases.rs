//! What is handed out in the name of a session, and what becomes of it when the session ends; which session goes when
//! there are too many.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use chatd::internals::repository::{InboxQuery, NewSession, Repository};
use chatd::model::{Label, SessionId, Timestamp, Token, UserId};

use crate::repository::{ALL, OPTIONS, add_users, lease, open, quick_folder, send, settle, texts};
use crate::stores::{Opened, Place, on_every_store};
use crate::support::{Folder, NO_SESSION, SENT, Server, texts as texts_of};

const HOUR: i64 = 3_600_000;

/// Opens a session; gives its token and its number.
pub async fn log_in(repository: &impl Opened, user: UserId, most: usize) -> (Token, SessionId) {
    let token = Token::generate();
    let now = Timestamp::now();
    let address = Arc::from("192.0.2.1");
    let checked = repository.store().password_hash(user).await.expect("the store works").expect("it has one");
    let rehashed = Some("hash".into());
    let label = Label::default();
    let new = NewSession { user, token: token.hash(), address, label, created_at: now, most, checked, rehashed };
    assert!(repository.store().open_session(new).await.expect("the store works"));
    let session = repository
        .store()
        .session(token.hash(), now, Timestamp(0))
        .await
        .expect("the store works")
        .expect("it is open");
    (token, session.id)
}

async fn a_lease_ends_with_its_session_whatever_ends_that(place: Place) {
    let repository = place.open(&OPTIONS).await;
    for cause in ["expiry", "password", "disable", "too many"] {
        let users = add_users(&repository, 2).await;
        let (_, session) = log_in(&repository, users[1], 2).await;
        send(&repository, users[0], users[1], "text").await;
        let held = lease(&repository, users[1], InboxQuery { session: Some(session), ..ALL }).await;
        assert!(lease(&repository, users[1], ALL).await.lease.is_none(), "it is held");
        match cause {
            "expiry" => {
                let later = Timestamp(Timestamp::now().0 + HOUR);
                repository.tidy_sessions(later).await.expect("the store works");
            }
            "password" => repository.set_password(users[1], "new".into()).await.expect("the store works"),
            "disable" => repository.set_disabled(users[1], true).await.expect("the store works"),
            _ => {
                for _ in 0..2 {
                    log_in(&repository, users[1], 2).await;
                }
            }
        }
        let again = lease(&repository, users[1], ALL).await;
        assert_eq!(texts(&again), ["text"], "{cause}");
        drop(again);
        held.lease.expect("it holds something").confirm();
        settle(&repository).await;
        assert_eq!(
            repository.status().await.expect("the store works").unread_messages,
            1,
            "{cause}: a lease that is over confirms nothing"
        );
        let late = lease(&repository, users[1], InboxQuery { session: Some(session), ..ALL }).await;
        assert!(late.lease.is_none(), "{cause}: nothing is handed to a session that has ended");
        for user in users {
            repository.remove_user(user).await.expect("the store works");
        }
    }
}

async fn a_removed_account_that_confirms_after_a_prune_leaves_a_whole_database(place: Place) {
    let repository = place.open(&OPTIONS).await;
    let users = add_users(&repository, 2).await;
    for i in 0..10 {
        send(&repository, users[0], users[1], &i.to_string()).await;
    }
    let held = lease(&repository, users[1], ALL).await.lease.expect("it holds something");
    repository.remove_user(users[1]).await.expect("the store works");
    let later = Timestamp(Timestamp::now().0 + HOUR);
    assert_eq!(repository.prune(later).await.expect("the store works"), 10);
    held.confirm();
    settle(&repository).await;
    repository.stop().await;
    place.verify(&OPTIONS).await;
}

async fn the_session_that_was_not_used_for_longest_goes_first(place: Place) {
    let repository = place.open(&OPTIONS).await;
    let users = add_users(&repository, 1).await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(log_in(&repository, users[0], 3).await.0);
    }
    let used = async |token: &Token, at: i64| {
        repository.session(token.hash(), Timestamp(at), Timestamp(0)).await.expect("the store works").is_some()
    };
    let now = Timestamp::now().0;
    assert!(used(&tokens[0], now + 3 * HOUR).await && used(&tokens[2], now + 2 * HOUR).await);
    tokens.push(log_in(&repository, users[0], 3).await.0);
    let mut living = Vec::new();
    for token in &tokens {
        living.push(used(token, now).await);
    }
    assert_eq!(living, [true, false, true, true], "the second was used last when it was opened");
}

async fn the_use_of_a_session_is_stored_after_an_hour(place: Place) {
    let repository = place.open(&OPTIONS).await;
    let users = add_users(&repository, 2).await;
    let (token, session) = log_in(&repository, users[0], 3).await;
    let (_, other) = log_in(&repository, users[0], 3).await;
    let then = Timestamp(Timestamp::now().0 + HOUR + 1_000);
    repository.session(token.hash(), then, Timestamp(0)).await.expect("the store works").expect("it lives");
    repository.tidy_sessions(Timestamp(0)).await.expect("the store works");
    let logins = repository.logins(SessionId(0), None).await.expect("the store works");
    let stored = |id| logins.iter().find(|login| login.id == id).expect("it is there").last_used_at;
    assert_eq!(stored(session), then);
    assert!(stored(other) < then, "the other was not used");
}

#[test]
fn a_refused_request_proves_nothing() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    for text in ["one", "two"] {
        assert_eq!(messi.ask(&format!("send {token} messi {text}")), SENT);
    }
    assert_eq!(texts_of(&messi.ask(&format!("inbox {token}"))).len(), 2);
    folder.done(&["session", "revoke", "messi"], "");
    while server.connect().ask(&format!("show {token}")) != NO_SESSION {}
    for request in ["inbox", "show", "ack", "what"] {
        messi.ask(&format!("{request} {token}"));
    }
    drop(messi);
    let (mut messi, token) = server.login("messi");
    assert_eq!(texts_of(&messi.ask(&format!("inbox {token}"))), ["one", "two"]);
    assert!(!server.log().contains("too many sessions"));
}

#[test]
fn a_session_that_ends_for_another_is_logged() {
    let folder = Folder::new("[session]\nper_user = 2");
    folder.add_three();
    let server = Server::start(&folder);
    for _ in 0..3 {
        server.login("messi");
    }
    let log = server.log();
    assert!(log.contains("too many sessions of one account") && log.contains("messi"), "{log}");
}

async fn a_login_whose_password_was_checked_before_it_was_changed_opens_nothing_and_changes_nothing(place: Place) {
    let repository = place.open(&OPTIONS).await;
    let user = add_users(&repository, 1).await[0];
    let checked = repository.password_hash(user).await.expect("the store works").expect("it has one");
    repository.set_password(user, "new".into()).await.expect("the store works");
    for rehashed in [None, Some("of the old password".to_owned())] {
        let (token, now) = (Token::generate(), Timestamp::now());
        let (address, checked) = (Arc::from("192.0.2.1"), checked.clone());
        let label = Label::default();
        let new = NewSession { user, token: token.hash(), address, label, created_at: now, most: 9, checked, rehashed };
        assert!(!repository.open_session(new).await.expect("the store works"), "the password is another");
        assert!(repository.session(token.hash(), now, Timestamp(0)).await.expect("the store works").is_none());
        let hash = repository.password_hash(user).await.expect("the store works");
        assert_eq!(hash.as_deref(), Some("new"), "the new password stays");
    }
}

on_every_store!(
    a_lease_ends_with_its_session_whatever_ends_that,
    a_removed_account_that_confirms_after_a_prune_leaves_a_whole_database,
    the_session_that_was_not_used_for_longest_goes_first,
    the_use_of_a_session_is_stored_after_an_hour,
    a_login_whose_password_was_checked_before_it_was_changed_opens_nothing_and_changes_nothing,
);

/// The list is made in pieces of a thousand, with others in between.
#[tokio::test]
async fn whose_oldest_session_ends_while_a_list_is_made_is_named_once() {
    let folder = quick_folder();
    let repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, 1_001).await;
    let mut first = None;
    for user in &users {
        let (_, session) = log_in(&repository, *user, 2).await;
        first.get_or_insert(session);
    }
    log_in(&repository, users[0], 2).await;
    let mut listing = Box::pin(repository.online());
    let is_over = poll_fn(|context| Poll::Ready(listing.as_mut().poll(context).is_ready())).await;
    assert!(!is_over, "all came in one piece");
    // The first account has been listed, and has the last session of all from now on.
    assert!(repository.end_session(first.expect("all logged in")).await.expect("the store works"));
    let online = listing.await.expect("the store works");
    let (first, last) = (online.first().map(ToString::to_string), online.last().map(ToString::to_string));
    assert_eq!((online.len(), first.as_deref(), last.as_deref()), (1_001, Some("user0"), Some("user1000")));
}
