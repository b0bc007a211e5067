//! Limits long texts on their way to the writer. All messages of a commit wait until the whole commit is written, so a
//! hundred long texts together would hold up all short ones. So a commit has one long text at a time, and the senders
//! take turns.

use std::sync::Arc;

use crate::fair::{Turn, Turns};
use crate::model::UserId;
use crate::repository::NewMessage;

/// Messages that are sent together with more text than this wait for a turn, in bytes. Many short messages, as one
/// connection sends them together, have less.
const LONG: usize = 64 * 1024;

/// The turns of long texts.
pub(super) struct LongSends {
    turns: Arc<Turns<UserId>>,
}

impl LongSends {
    pub(super) fn new() -> LongSends {
        LongSends { turns: Turns::new(1) }
    }

    /// Waits, where these messages are long, until it is their turn. It is over when what is given is dropped.
    pub(super) async fn turn(&self, messages: &[NewMessage]) -> Option<Turn<UserId>> {
        let bytes: usize = messages.iter().map(|message| message.text.len()).sum();
        let sender = messages.first()?.sender;
        if bytes > LONG { Some(self.turns.take(sender).await) } else { None }
    }
}
