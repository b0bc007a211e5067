//! The keys of messages as the writer notes them. A key is committed with its message, so it is there exactly when the
//! message is.

use std::time::Duration;

use tokio::sync::oneshot;

use super::direct::{Failure, WalConnection};
use crate::model::{MessageId, SendKey, Timestamp};
use crate::repository::{Error, NewMessage, PerMessage, SendResult};

/// How long a key is kept.
pub(super) const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

const NOTE: &str = "INSERT OR REPLACE INTO send_key (id, sender, key, sent_at) VALUES (?1, ?2, ?3, ?4)";
/// Of the oldest so many those that are over. More than are added, so that there are soon none.
const FORGET: &str = "DELETE FROM send_key WHERE sent_at < ?1 AND id IN (SELECT id FROM send_key ORDER BY id LIMIT ?2)";

/// Who waits for messages to be stored, and under which key the first of them is sent, if it is.
pub(super) struct SendWaiter {
    pub key: Option<SendKey>,
    pub answer: oneshot::Sender<Result<PerMessage<SendResult>, Error>>,
}

impl SendWaiter {
    /// Says what became of the messages. Whoever asked may have gone.
    pub(super) fn send(self, queued: Result<PerMessage<SendResult>, Error>) {
        let _ = self.answer.send(queued);
    }
}

/// A key to be noted, and the message that was sent under it.
pub(super) struct NewKey<'a> {
    key: &'a SendKey,
    message: &'a NewMessage,
    id: MessageId,
}

/// The keys of those messages that are stored.
pub(super) fn new_keys<'a>(
    sends: &'a [(PerMessage<NewMessage>, SendWaiter)],
    queued: &[PerMessage<SendResult>],
) -> Vec<NewKey<'a>> {
    let mut keys = Vec::new();
    for ((messages, waiter), queued) in sends.iter().zip(queued) {
        if let (Some(key), Some(message), Some(SendResult::Stored { id, .. })) =
            (&waiter.key, messages.first(), queued.first())
        {
            keys.push(NewKey { key, message, id: *id });
        }
    }
    keys
}

/// Notes keys in the transaction that is open, and forgets some that are over.
pub(super) async fn write(db: &mut WalConnection, keys: &[NewKey<'_>], now: Timestamp) -> Result<(), Failure> {
    for NewKey { key, message, id } in keys {
        db.execute(NOTE, (id.0, message.sender.0, key.as_str(), message.sent_at.0)).await?;
    }
    if !keys.is_empty() {
        let most = i64::try_from(2 * keys.len()).unwrap_or(i64::MAX);
        db.execute(FORGET, (now.before(KEPT).0, most)).await?;
    }
    Ok(())
}
