//! Wakes those who follow the message log. All followers of an account are woken for each message that it sent or
//! received, and for each that was read. They then read the message log.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::model::{Timestamp, UserId};
use crate::repository::memory::mailboxes::UnreadMessage;

/// Everybody who has ever followed, since the start.
#[derive(Debug)]
pub(crate) struct Followers {
    users: Mutex<FxHashMap<UserId, Arc<FollowedAccount>>>,
    /// No number of an earlier process.
    first: u64,
}

#[derive(Debug)]
struct FollowedAccount {
    notify: Arc<Notify>,
    /// Grows when a message of the account is read, or is read by it.
    reads: AtomicU64,
}

/// Waits for events of one account. It is woken by each event after it was made.
pub struct Following {
    followed: Arc<FollowedAccount>,
    notified: Pin<Box<OwnedNotified>>,
}

impl Default for Followers {
    fn default() -> Followers {
        let first = u64::try_from(Timestamp::now().0).unwrap_or(0);
        Followers { users: Mutex::default(), first }
    }
}

impl Followers {
    /// Begins to follow.
    pub(crate) fn follow(&self, user: UserId) -> Following {
        let new = || Arc::new(FollowedAccount { notify: Arc::default(), reads: AtomicU64::new(self.first) });
        let followed = self.users().entry(user).or_insert_with(new).clone();
        let notified = Box::pin(followed.notify.clone().notified_owned());
        Following { followed, notified }
    }

    /// These accounts have another message, or are to look for another reason.
    pub(crate) fn tell(&self, users: impl IntoIterator<Item = UserId>) {
        self.each(users, |followed| followed.notify.notify_waiters());
    }

    /// These messages were read, each list by one account. The writer of a message to a group is not woken for each
    /// reader: there may be thousands.
    pub(crate) fn tell_of_reading(&self, read: &[(UserId, Vec<UnreadMessage>)]) {
        for (reader, messages) in read {
            let own = messages.iter().filter(|message| message.to == (*reader).into());
            let senders: FxHashSet<UserId> = own.map(|message| message.sender).collect();
            self.each(senders.into_iter().chain([*reader]), |followed| {
                followed.reads.fetch_add(1, Ordering::Relaxed);
                followed.notify.notify_waiters();
            });
        }
    }

    /// Something of these accounts' was read, or by them.
    pub(crate) fn tell_reads(&self, users: impl IntoIterator<Item = UserId>) {
        self.each(users, |followed| {
            followed.reads.fetch_add(1, Ordering::Relaxed);
            followed.notify.notify_waiters();
        });
    }

    /// Everybody looks again, because something may have been missed.
    pub(crate) fn tell_all(&self) {
        let users: Vec<UserId> = self.users().keys().copied().collect();
        self.tell_reads(users);
    }

    fn each(&self, accounts: impl IntoIterator<Item = UserId>, tell: impl Fn(&FollowedAccount)) {
        let users = self.users();
        if !users.is_empty() {
            accounts.into_iter().filter_map(|user| users.get(&user)).for_each(|followed| tell(followed));
        }
    }

    fn users(&self) -> MutexGuard<'_, FxHashMap<UserId, Arc<FollowedAccount>>> {
        self.users.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

impl Following {
    /// How often anything of the account was read: a number that is another after each time, and after each start.
    pub(crate) fn reads(&self) -> u64 {
        self.followed.reads.load(Ordering::Relaxed)
    }

    /// Ready when something has happened since this was made.
    pub async fn heard(&mut self) {
        self.notified.as_mut().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    async fn has_heard(following: &mut Following) -> bool {
        poll_fn(|context| Poll::Ready(following.notified.as_mut().poll(context).is_ready())).await
    }

    #[tokio::test]
    async fn all_of_an_account_hear_what_happens_after_they_began_and_nobody_else_does() {
        let followers = Followers::default();
        let (mut one, mut other, mut stranger) =
            (followers.follow(UserId(1)), followers.follow(UserId(1)), followers.follow(UserId(2)));
        followers.tell([UserId(1), UserId(7)]);
        let mut late = followers.follow(UserId(1));
        assert!(has_heard(&mut one).await && has_heard(&mut other).await);
        assert!(!has_heard(&mut stranger).await && !has_heard(&mut late).await);
        let (before, theirs) = (late.reads(), stranger.reads());
        followers.tell_of_reading(&[(UserId(1), Vec::new())]);
        assert!(has_heard(&mut late).await);
        assert_ne!(late.reads(), before);
        assert_eq!(stranger.reads(), theirs);
    }
}
