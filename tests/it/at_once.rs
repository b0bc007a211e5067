//! What is read while the writer writes is of one moment.

use std::time::Duration;

use chatd::internals::repository::{ConversationQuery, InboxQuery, Lease};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::database::tamper;
use crate::group_store::{add_group, join, send_to};
use crate::repository::{ALL, OPTIONS, add_users, lease, send, settle, texts};
use crate::stores::{Opened, Place, run};

/// Messages that a member has missed. There are none of these numbers: to read of them only takes milliseconds, between
/// the read mark and what was read ahead of it.
const MISSED: &str = "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 5000)
    INSERT INTO missed (grp, member, first_id, last_id)
    SELECT grp, member, 1000000000 + 2 * n, 1000000000 + 2 * n FROM membership, number WHERE member = 1";

/// A message was read before an older one, on another connection. Then the older one is read, and the read mark passes
/// both. Whoever reads the disk meanwhile finds the mark before that or after that, and never what belongs to neither.
#[test]
fn what_was_read_ahead_does_not_come_again_while_the_read_mark_passes_it() {
    run(async {
        let place = Place::sqlite();
        let store = place.open(&OPTIONS).await;
        let users = add_users(&store, 2).await;
        let (reader, sender) = (users[0], users[1]);
        let group = add_group(&store, "group", sender).await;
        join(&store, group, reader).await;
        store.stop().await;
        let Place::Sqlite(folder) = &place else { unreachable!() };
        let database = folder.path().join("chat.db");
        spawn_blocking(move || tamper(&database, MISSED)).await.expect("it does not panic");

        let store = place.open(&OPTIONS).await;
        let send_some = async || {
            for text in 0..OPTIONS.tail_messages {
                send_to(&store, sender, group, &text.to_string()).await;
            }
            // Until the writer has written the index.
            sleep(Duration::from_millis(20)).await;
        };
        for round in 0..40 {
            send_some().await;
            let one = InboxQuery { messages: 1, ..ALL };
            let older = lease(&store, reader, one).await;
            let newer = lease(&store, reader, one).await;
            assert_eq!([texts(&older), texts(&newer)], [["0"], ["1"]]);
            newer.lease.into_iter().for_each(Lease::confirm);
            settle(&store).await;
            // These push what waits out of memory.
            send_some().await;
            let read_older = async {
                sleep(Duration::from_micros(100 * round)).await;
                older.lease.into_iter().for_each(Lease::confirm);
            };
            let (rest, ()) = tokio::join!(lease(&store, reader, ALL), read_older);
            assert_eq!(texts(&rest), ["2", "3", "4", "5", "0", "1", "2", "3", "4", "5"], "round {round}");
            rest.lease.into_iter().for_each(Lease::confirm);
            settle(&store).await;
        }
        store.stop().await;
        assert_eq!(place.verify(&OPTIONS).await, Some(0));
    });
}

/// The list of conversations is asked for while a first message arrives, which nobody reads.
#[test]
fn a_message_that_nobody_has_read_is_read_in_no_list() {
    run(async {
        let place = Place::sqlite();
        let store = place.open(&OPTIONS).await;
        let users = add_users(&store, 100).await;
        let (sender, readers) = (users[0], &users[1..]);
        let newest = async |user| {
            let page = ConversationQuery { before: None, conversations: 1, bytes: u64::MAX };
            store.store().conversations(user, page).await.expect("the store works").conversations.pop()
        };
        for reader in readers {
            let sees_own_side = async {
                loop {
                    let Some(seen) = newest(*reader).await else { continue };
                    break assert!(seen.unread == 1 && seen.read_to < seen.newest.message.id, "{seen:?}");
                }
            };
            let sees_other_side = async {
                loop {
                    let Some(seen) = newest(sender).await.filter(|seen| seen.with == (*reader).into()) else {
                        continue;
                    };
                    break assert!(seen.other_read_to < seen.newest.message.id, "{seen:?}");
                }
            };
            tokio::join!(send(&store, sender, *reader, "text"), sees_own_side, sees_other_side);
        }
        store.stop().await;
    });
}
