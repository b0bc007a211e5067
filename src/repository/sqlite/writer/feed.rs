//! How the writer follows the commits of other processes: by the numbered changes in the feed. So the cost depends on
//! the changes, and not on the number of accounts and sessions.

use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{Batch, Writer};
use crate::model::UserId;
use crate::repository::memory::event::Event;
use crate::repository::sqlite::accounts::{self, Followed};
use crate::repository::sqlite::change::Change;
use crate::repository::sqlite::direct::{Failure, WalConnection};
use crate::repository::sqlite::stored;

/// How many changes that were followed a commit removes from the feed at the most.
const REMOVED_TOGETHER: i64 = 1_000;

/// How far the feed was followed.
#[derive(Debug)]
pub(super) struct Feed {
    /// The last change that is in memory.
    pub seen: i64,
    /// There are more changes to follow.
    pub behind: bool,
    /// SQLite's mark of other processes' commits.
    pub data_version: i64,
}

impl Feed {
    /// One that was followed up to the change `seen`. Others may have committed since.
    pub(super) async fn after(seen: i64, db: &mut WalConnection) -> Result<Feed, Failure> {
        Ok(Feed { seen, behind: true, data_version: data_version(db).await? })
    }
}

async fn data_version(db: &mut WalConnection) -> Result<i64, Failure> {
    db.row("PRAGMA data_version", |row| row.get(0)).await
}

impl Writer {
    /// Looks whether other processes have committed, and begins to follow what they changed.
    pub(super) async fn look_for_others(&mut self) {
        let Some(feed) = &mut self.feed else { return };
        match data_version(&mut self.db).await {
            Ok(version) => {
                feed.behind |= version != feed.data_version;
                feed.data_version = version;
            }
            Err(error) => warn!(%error, "the database does not answer"),
        }
    }

    /// Whether there are changes to follow.
    pub(super) fn is_behind(&self) -> bool {
        self.feed.as_ref().is_some_and(|feed| feed.behind)
    }

    /// Takes some of the commits of other processes over into the image in memory, so that our own commits come in
    /// between.
    pub(super) async fn follow(&mut self) {
        let Some(feed) = self.feed.as_mut().filter(|feed| feed.behind) else { return };
        feed.behind = false;
        match accounts::follow(&mut self.db, feed.seen).await {
            Ok(Followed { seen, .. }) if seen == feed.seen => {}
            Ok(Followed { mut events, seen, more }) => {
                let ahead = self.shared.ahead.load(Ordering::Relaxed);
                events.iter_mut().for_each(|event| event.move_uses(-ahead));
                info!("accounts or sessions were changed by another process");
                (feed.seen, feed.behind) = (seen, more);
                self.count_stored_again(&events).await;
                let removed = self.shared.apply(events);
                self.remove_again(removed).await;
            }
            Err(error) => {
                warn!(%error, "accounts could not be read again; trying again");
                // Another version than any: so that the next look tries again.
                feed.data_version = -1;
            }
        }
    }

    /// Where another process has removed messages, the feed names their senders.
    async fn count_stored_again(&mut self, events: &[Event]) {
        let named = events.iter().filter_map(|event| match event {
            Event::UserStored(user) => Some(user.id),
            _ => None,
        });
        let users = named.collect();
        if let Err(error) = stored::count_again(&mut self.db, &self.shared.stored, &self.tail, &users).await {
            warn!(%error, "what accounts have stored could not be counted again");
        }
    }

    /// Before changes of our own: the last change of the feed, all that come after it until the commit being ours.
    pub(super) async fn begin_of_own(&mut self) -> Result<Option<i64>, Failure> {
        match self.feed {
            Some(_) => accounts::last_change(&mut self.db).await.map(Some),
            None => Ok(None),
        }
    }

    /// Takes our own changes out of the feed, and some of those that were followed.
    pub(super) async fn leave_out_own(&mut self, begin: Option<i64>) -> Result<(), Failure> {
        let (Some(feed), Some(begin)) = (&self.feed, begin) else { return Ok(()) };
        let sql = "DELETE FROM change WHERE number > ?1
            OR number IN (SELECT number FROM change WHERE number <= ?2 ORDER BY number LIMIT ?3)";
        self.db.execute(sql, (begin, feed.seen, REMOVED_TOGETHER)).await.map(|_| ())
    }

    /// Mail may have come for an account, and been indexed, since another process removed it.
    async fn remove_again(&mut self, removed: Vec<UserId>) {
        if removed.is_empty() {
            return;
        }
        let changes = removed.into_iter().map(|user| (Change::RemoveUser(user), oneshot::channel().0));
        self.commit(Batch { sends: Vec::new(), changes: changes.collect() }).await;
    }
}
