//! What an account may have stored: nobody fills the disk alone, with mail that is read as little as with mail that is
//! not; and it is counted right after each way of starting and whoever removes messages.

use std::path::Path;

use chatd::internals::repository::sqlite::{self, Role};
use chatd::internals::repository::{Repository, SendResult, StoreOptions};
use chatd::model::{Timestamp, UserId};
use tokio::time::timeout;

use crate::repository::{ALL, OPTIONS, add_users, crash, lease, message, open, quick_folder, reopen, send, settle};
use crate::stores::{Opened, Place, on_every_store};
use crate::support::{Folder, PATIENCE, SENT, Server, texts};

const FULL: &str = "{\"status\": \"ERROR\", \"message\": \
                    \"you have stored as much as you may, try again when old messages are removed\"}";

async fn stored(repository: &impl Opened, users: &[UserId]) -> Vec<u64> {
    repository.store().stored(users.to_vec()).await.expect("the store works")
}

async fn try_send(repository: &impl Opened, from: UserId, to: UserId) -> SendResult {
    repository.store().send([message(from, to, &"x".repeat(100))].into()).await.expect("the store works")[0]
}

/// Reads and confirms all that waits.
async fn read(repository: &impl Opened, user: UserId) {
    if let Some(lease) = lease(repository, user, ALL).await.lease {
        lease.confirm();
    }
    settle(repository).await;
}

fn later() -> Timestamp {
    Timestamp(Timestamp::now().0 + 60_000)
}

async fn verify(folder: &Path) {
    sqlite::verify::verify(&folder.join("chat.db"), &OPTIONS).await.expect("it is whole");
}

async fn one_user_does_not_fill_the_disk_with_mail_that_was_read(place: Place) {
    let options = StoreOptions { stored_bytes: 2_000, ..OPTIONS };
    let repository = place.open(&options).await;
    let users = add_users(&repository, 2).await;
    for _ in 0..10 {
        assert!(matches!(try_send(&repository, users[0], users[0]).await, SendResult::Stored { .. }));
        read(&repository, users[0]).await;
    }
    assert_eq!(stored(&repository, &users).await, [2_000, 0]);
    assert_eq!(try_send(&repository, users[0], users[0]).await, SendResult::StoredFull);
    assert_eq!(try_send(&repository, users[0], users[1]).await, SendResult::StoredFull);
    // Whoever is written to is not charged, and another is not refused.
    assert!(matches!(try_send(&repository, users[1], users[0]).await, SendResult::Stored { .. }));
    assert_eq!(
        repository.status().await.expect("the store works").unread_messages,
        1,
        "what was refused takes no room in an inbox"
    );

    let repository = place.reopen(repository, &options).await;
    assert_eq!(try_send(&repository, users[0], users[0]).await, SendResult::StoredFull);
    assert_eq!(repository.prune(later()).await.expect("the store works"), 10);
    assert_eq!(stored(&repository, &users).await, [0, 200]);
    assert!(matches!(try_send(&repository, users[0], users[0]).await, SendResult::Stored { .. }));
    repository.stop().await;
    place.verify(&options).await;
}

on_every_store!(one_user_does_not_fill_the_disk_with_mail_that_was_read);

#[tokio::test]
async fn what_is_stored_is_counted_right_after_a_stop_and_after_a_crash() {
    let folder = quick_folder();
    let mut repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, 3).await;
    let mut expected = [0; 3];
    for round in 0..60_usize {
        let (from, text) = (round % 3, "x".repeat(round));
        send(&repository, users[from], users[(round / 2) % 3], &text).await;
        expected[from] += 100 + round as u64;
        assert_eq!(stored(&repository, &users).await, expected, "round {round}");
        match round % 10 {
            3 => read(&repository, users[1]).await,
            // In the tail as well as in what is indexed.
            5 => {
                repository.prune(later()).await.expect("the store works");
                expected = stored(&repository, &users).await.try_into().expect("they are three");
                verify(folder.path()).await;
            }
            7 => repository = reopen(repository, folder.path(), &OPTIONS).await,
            9 => {
                let copy = crash(folder.path());
                let after = open(copy.path(), &OPTIONS).await;
                assert_eq!(stored(&after, &users).await, expected, "after a crash in round {round}");
                after.close().await.expect("it closes");
                verify(copy.path()).await;
            }
            _ => {}
        }
        assert_eq!(stored(&repository, &users).await, expected, "round {round}");
    }
    let total: u64 = expected.iter().sum();
    assert!(total > 0 && total < (0..60).map(|i| 100 + i).sum(), "some was removed, some was not: {total}");
    repository.close().await.expect("it closes");
    verify(folder.path()).await;
}

#[tokio::test]
async fn what_another_process_removes_is_not_charged_any_more() {
    let folder = quick_folder();
    let repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, 2).await;
    for _ in 0..16 {
        send(&repository, users[0], users[1], "text").await;
    }
    read(&repository, users[1]).await;
    send(&repository, users[1], users[0], "text").await;
    let url = format!("sqlite://{}", folder.path().join("chat.db").display());
    let admin = sqlite::open(&url, &OPTIONS, Role::Admin).await.expect("it opens");
    assert_eq!(stored(&admin, &users).await, [16 * 104, 104], "from disk, with the tail");
    assert_eq!(admin.prune(later()).await.expect("the store works"), 16);
    assert_eq!(stored(&admin, &users).await, [0, 104]);
    admin.close().await.expect("it closes");
    // The server follows it by and by.
    let followed = async {
        while stored(&repository, &users).await != [0, 104] {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, followed).await.expect("it is followed");
    let repository = reopen(repository, folder.path(), &OPTIONS).await;
    assert_eq!(stored(&repository, &users).await, [0, 104]);
    repository.close().await.expect("it closes");
    verify(folder.path()).await;
}

/// What henderson, messi and lineker have stored.
fn stored_by(folder: &Folder) -> [u64; 3] {
    let list: serde_json::Value =
        serde_json::from_str(&folder.done(&["user", "list", "--json"], "")).expect("it is JSON");
    ["henderson", "messi", "lineker"].map(|name| {
        let found = list.as_array().expect("it is a list").iter().find(|user| user["username"] == name);
        found.and_then(|user| user["stored_bytes"].as_u64()).expect("it is told")
    })
}

#[test]
fn who_has_stored_too_much_hears_it_and_the_administrator_sees_how_much_it_is() {
    let folder = Folder::new("[limits]\nstored_bytes = 1000");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    let (mut lineker, other) = server.login("lineker");
    let text = "x".repeat(140);
    for _ in 0..4 {
        assert_eq!(messi.ask(&format!("send {token} messi {text}")), SENT);
        assert_eq!(texts(&messi.ask(&format!("inbox {token}"))), [&*text]);
    }
    assert_eq!(messi.ask(&format!("send {token} messi {text}")), FULL);
    assert_eq!(lineker.ask(&format!("send {other} messi {text}")), SENT);
    let [_, before, _] = stored_by(&folder);
    assert!((960..1000).contains(&before), "{before}");
    drop((messi, lineker));
    assert_eq!(server.stop(), Some(0));
    assert_eq!(stored_by(&folder), [0, before, before / 4]);
}
