//! The memory that the answers of one connection take, in the name of the account that asks: set aside before an answer
//! is made, and given back when it is written. Where others need it more, the connection ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::spawn_blocking;

use super::error::{ErrorCode, WebError};
use crate::charge::{Charge, Cut, Memory, Payer, UNCHARGED};

/// How much text the longest answer has, in bytes, unless a single message is longer.
const REPLY_BYTES: usize = 1 << 20;
/// What a byte of text takes at the most while an answer is made: itself, its copy in the tree of JSON, and six bytes
/// of the answer in a buffer that has doubled.
const HELD: usize = 14;
/// How much text an answer may always have, in bytes.
pub(super) const LEAST_TEXT: usize = UNCHARGED / HELD;
/// An answer with no more text than this is made at once, in bytes.
const MADE_AT_ONCE: usize = 16 << 10;

/// What one connection's answers take. HTTP/1.1 has one answer at a time.
pub(crate) struct ReplyCharge {
    memory: Arc<Memory>,
    state: Mutex<ReplyState>,
    cut: Arc<Cut>,
}

#[derive(Default)]
struct ReplyState {
    charge: Option<Charge>,
    /// All of the answer, or of this piece of it, is on its way.
    is_made: bool,
}

impl ReplyCharge {
    /// Of nothing yet.
    pub(crate) fn of(memory: Arc<Memory>) -> ReplyCharge {
        ReplyCharge { memory, state: Mutex::default(), cut: Arc::default() }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Sets memory aside for an answer that may be long, as much as the account may have; gives how much text it may
    /// have, in bytes.
    pub(super) fn set_aside(&self, payer: Payer) -> u64 {
        let mut state = self.state();
        let mut charge = self.memory.replies.charge_with(payer, self.cut.clone());
        let room = charge.take_up_to(HELD * REPLY_BYTES);
        *state = ReplyState { charge: Some(charge), is_made: false };
        (room / HELD).max(LEAST_TEXT) as u64
    }

    /// Makes an answer out of so many bytes of text. A long one is made on another thread, so that those who serve go
    /// on with others; turns go round by account.
    pub(super) async fn make(
        &self,
        payer: Payer,
        text: usize,
        make: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) -> Result<Vec<u8>, WebError> {
        if text > LEAST_TEXT && !self.hold(payer, HELD * text) {
            return Err(ErrorCode::Busy.into());
        }
        if text <= MADE_AT_ONCE {
            return Ok(make());
        }
        let turn = self.memory.rendering.take(payer).await;
        let made = spawn_blocking(move || {
            let _turn = turn;
            let mut made = make();
            made.shrink_to_fit();
            made
        });
        let made = made.await.map_err(|_| WebError::from(ErrorCode::Unavailable))?;
        match self.hold(payer, made.len()) {
            true => Ok(made),
            false => Err(ErrorCode::Busy.into()),
        }
    }

    /// Changes what is charged, if there is room.
    pub(super) fn hold(&self, payer: Payer, bytes: usize) -> bool {
        let mut state = self.state();
        let charge = state.charge.get_or_insert_with(|| self.memory.replies.charge_with(payer, self.cut.clone()));
        charge.set(bytes)
    }

    /// What is set aside for an answer goes when that is written.
    pub(super) fn is_made(&self) {
        self.state().is_made = true;
    }

    /// All that was on its way is written.
    pub(super) fn give_back(&self) {
        let mut state = self.state();
        if state.is_made {
            *state = ReplyState::default();
        }
    }

    /// Gives back what is set aside.
    pub(super) fn release(&self) {
        *self.state() = ReplyState::default();
    }

    /// Ready when others needed the memory more.
    pub(super) async fn cut(&self) {
        self.cut.happens().await;
    }

    fn state(&self) -> MutexGuard<'_, ReplyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
