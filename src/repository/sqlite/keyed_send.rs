//! Messages that are sent with a key. Requests with the same key are carried out one after the other; the next finds
//! the message of the first.

use std::sync::{Arc, Mutex, MutexGuard};

use rustc_hash::FxHashMap;
use sqlx::SqlitePool;
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use super::send_keys::{Attached, KEPT, SendWaiter};
use super::writer::Job;
use super::{SqliteRepository, stopped, unread_log};
use crate::model::{Address, MessageId, SendKey, Timestamp, UserId};
use crate::repository::group_commit::JobQueue;
use crate::repository::{Error, NewMessage, SendResult};

const FIND: &str = "SELECT k.id, m.target FROM send_key k LEFT JOIN message m ON m.id = k.id
    WHERE k.sender = ?1 AND k.key = ?2 AND k.sent_at >= ?3";

/// The keys under which something is being sent.
#[derive(Clone, Default)]
pub(super) struct KeysInHand(Arc<Mutex<Locks>>);

type Locks = FxHashMap<(UserId, SendKey), Arc<AsyncMutex<()>>>;

impl KeysInHand {
    fn locks(&self) -> MutexGuard<'_, Locks> {
        self.0.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

/// A message on its way.
struct KeyedSend {
    message: NewMessage,
    key: SendKey,
    file: Option<Attached>,
    now: Timestamp,
    reader: SqlitePool,
    jobs: JobQueue<Job>,
}

impl SqliteRepository {
    /// What a message to this address under a key comes to; `None`: nothing was sent under it.
    pub(super) async fn under_key(
        &self,
        sender: UserId,
        key: &SendKey,
        to: Address,
    ) -> sqlx::Result<Option<SendResult>> {
        find(&self.logins, (sender, key), to, self.shared.time.now()).await
    }

    /// Queues a message, or gives the one that was sent under the same key.
    pub(super) async fn send_under_key(
        &self,
        message: NewMessage,
        key: SendKey,
        file: Option<Attached>,
    ) -> Result<SendResult, Error> {
        let _turn = self.heavy_turn(std::slice::from_ref(&message)).await;
        let (in_hand, place) = (self.keys_in_hand.clone(), (message.sender, key.clone()));
        let now = self.shared.time.now();
        let work = KeyedSend { message, key, file, now, reader: self.logins.clone(), jobs: self.jobs.clone() };
        // The client may go away and ask again on another connection. So the key stays noted until the writer has
        // answered.
        let sent = tokio::spawn(async move {
            let lock = in_hand.locks().entry(place.clone()).or_default().clone();
            let held = lock.lock().await;
            let sent = work.carry_out().await;
            drop(held);
            let mut locks = in_hand.locks();
            // Ours and that of the table: nobody else waits.
            if Arc::strong_count(&lock) <= 2 {
                locks.remove(&place);
            }
            sent
        });
        sent.await.map_err(|_| stopped())?
    }
}

/// What was sent under a key and is not too old, for who wants to send to this address.
async fn find(
    reader: &SqlitePool,
    (sender, key): (UserId, &SendKey),
    to: Address,
    now: Timestamp,
) -> sqlx::Result<Option<SendResult>> {
    let found = sqlx::query_as(FIND).bind(sender.0).bind(key.as_str()).bind(now.before(KEPT).0);
    let found: Option<(i64, Option<i64>)> = found.fetch_optional(reader).await?;
    Ok(found.map(|(id, target)| SendResult::under_key(MessageId(id), target, to)))
}

impl KeyedSend {
    async fn carry_out(self) -> Result<SendResult, Error> {
        let NewMessage { sender, to, .. } = self.message;
        let found = find(&self.reader, (sender, &self.key), to, self.now).await;
        if let Some(found) = found.map_err(unread_log)? {
            return Ok(found);
        }
        let (answer, queued) = oneshot::channel();
        let waiter = SendWaiter { key: Some(self.key), file: self.file, answer };
        self.jobs.push(Job::Send([self.message].into(), waiter)).await.map_err(|_| stopped())?;
        let queued = queued.await.map_err(|_| stopped())??;
        queued.first().copied().ok_or_else(stopped)
    }
}
