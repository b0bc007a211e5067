//! Messages that are sent with a key. Requests with the same key are carried out one after the other; the next finds
//! the message of the first.

use std::sync::{Arc, Mutex, MutexGuard};

use rustc_hash::FxHashMap;
use sqlx::SqlitePool;
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use super::send_keys::{KEPT, SendWaiter};
use super::writer::Job;
use super::{SqliteRepository, stopped, unread_log};
use crate::model::{MessageId, SendKey, Timestamp, UserId};
use crate::repository::group_commit::JobQueue;
use crate::repository::{Error, NewMessage, SendResult};

const FIND: &str = "SELECT id FROM send_key WHERE sender = ?1 AND key = ?2 AND sent_at >= ?3";

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
    now: Timestamp,
    reader: SqlitePool,
    jobs: JobQueue<Job>,
}

impl SqliteRepository {
    /// Queues a message, or gives the one that was sent under the same key.
    pub(super) async fn send_under_key(&self, message: NewMessage, key: SendKey) -> Result<SendResult, Error> {
        let _turn = self.long_sends.turn(std::slice::from_ref(&message)).await;
        let (in_hand, place) = (self.keys_in_hand.clone(), (message.sender, key.clone()));
        let now = self.shared.time.now();
        let work = KeyedSend { message, key, now, reader: self.logins.clone(), jobs: self.jobs.clone() };
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

impl KeyedSend {
    async fn carry_out(self) -> Result<SendResult, Error> {
        let since = self.now.before(KEPT);
        let found = sqlx::query_scalar(FIND).bind(self.message.sender.0).bind(self.key.as_str()).bind(since.0);
        if let Some(id) = found.fetch_optional(&self.reader).await.map_err(unread_log)? {
            return Ok(SendResult::Stored { id: MessageId(id), not_delivered: 0 });
        }
        let (answer, queued) = oneshot::channel();
        let waiter = SendWaiter { key: Some(self.key), file: None, answer };
        self.jobs.push(Job::Send([self.message].into(), waiter)).await.map_err(|_| stopped())?;
        let queued = queued.await.map_err(|_| stopped())??;
        queued.first().copied().ok_or_else(stopped)
    }
}
