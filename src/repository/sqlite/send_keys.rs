//! The keys of messages, and the files that they bring, as the writer notes them. They are committed with their
//! messages, so they are there exactly when those are.

use std::time::Duration;

use tokio::sync::oneshot;

use super::direct::{Failure, WalConnection};
use crate::model::{FileId, MessageId, SendKey, Timestamp};
use crate::repository::{Error, NewMessage, PerMessage, SendResult};

/// How long a key is kept.
pub(super) const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

const NOTE: &str = "INSERT OR REPLACE INTO send_key (id, sender, key, sent_at) VALUES (?1, ?2, ?3, ?4)";
/// Removes those of the oldest keys that have expired. More are removed than are added, so none stays for long.
const FORGET: &str = "DELETE FROM send_key WHERE sent_at < ?1 AND id IN (SELECT id FROM send_key ORDER BY id LIMIT ?2)";

/// What is stored of a message that brings a file.
const ATTACH: &str = "UPDATE message SET file = ?2, attached = ?3 WHERE id = ?1";

/// A file that messages bring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attached {
    pub file: FileId,
    pub bytes: u64,
}

/// Where to send the result of a send; the key of its first message, if it has one; and the file of its messages, if
/// they bring one.
pub(super) struct SendWaiter {
    pub key: Option<SendKey>,
    pub file: Option<Attached>,
    pub answer: oneshot::Sender<Result<PerMessage<SendResult>, Error>>,
}

impl SendWaiter {
    /// Says what became of the messages. Whoever asked may have gone.
    pub(super) fn send(self, queued: Result<PerMessage<SendResult>, Error>) {
        let _ = self.answer.send(queued);
    }
}

/// A key or a file to note, and the message that it belongs to.
pub(super) struct NewKey<'a> {
    key: Option<&'a SendKey>,
    file: Option<Attached>,
    message: &'a NewMessage,
    id: MessageId,
}

/// The keys and files of those messages that are stored.
pub(super) fn new_keys<'a>(
    sends: &'a [(PerMessage<NewMessage>, SendWaiter)],
    queued: &[PerMessage<SendResult>],
) -> Vec<NewKey<'a>> {
    let mut keys = Vec::new();
    for ((messages, waiter), queued) in sends.iter().zip(queued) {
        let SendWaiter { key, file, .. } = waiter;
        if key.is_none() && file.is_none() {
            continue;
        }
        for (message, result) in messages.iter().zip(queued) {
            if let SendResult::Stored { id, .. } = result {
                keys.push(NewKey { key: key.as_ref(), file: *file, message, id: *id });
            }
        }
    }
    keys
}

/// Notes keys and files in the transaction that is open, and forgets some that are over.
pub(super) async fn write(db: &mut WalConnection, keys: &[NewKey<'_>], now: Timestamp) -> Result<(), Failure> {
    for NewKey { key, file, message, id } in keys {
        if let Some(key) = key {
            db.execute(NOTE, (id.0, message.sender.0, key.as_str(), message.sent_at.0)).await?;
        }
        if let Some(Attached { file, bytes }) = file {
            db.execute(ATTACH, (id.0, file.0, i64::try_from(*bytes).unwrap_or(i64::MAX))).await?;
        }
    }
    if keys.iter().any(|new| new.key.is_some()) {
        let most = i64::try_from(2 * keys.len()).unwrap_or(i64::MAX);
        db.execute(FORGET, (now.before(KEPT).0, most)).await?;
    }
    Ok(())
}
