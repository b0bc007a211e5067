//! When the wall clock jumps: what is stored moves with it, at once, so that the next server finds it in place.

use std::sync::atomic::Ordering;

use tracing::warn;

use super::Writer;
use crate::repository::sqlite::jumps;

impl Writer {
    /// Looks whether the wall clock has jumped, and notes it now and then for the next server.
    pub(super) async fn look_at_clock(&mut self) {
        let is_due = self.clock_noted_at.elapsed() >= jumps::NOTE_EVERY;
        self.follow_clock(is_due).await;
    }

    /// At the end: the next server sees how long none ran.
    pub(super) async fn note_clock(&mut self) {
        self.follow_clock(true).await;
    }

    async fn follow_clock(&mut self, is_due: bool) {
        if self.feed.is_none() || self.shared.has_failed() {
            return;
        }
        let (now, ahead) = (self.shared.time.now(), self.shared.time.ahead());
        let jump = ahead - self.shared.ahead.load(Ordering::Relaxed);
        let is_jump = jump.abs() >= jumps::NOTICED;
        if !is_jump && !is_due {
            return;
        }
        let followed = match is_jump {
            true => jumps::follow(&mut self.db, jump, now).await,
            false => jumps::note(&mut self.db, now).await,
        };
        match followed {
            Ok(()) if is_jump => {
                self.shared.ahead.store(ahead, Ordering::Relaxed);
                let seconds = jump / 1_000;
                warn!(seconds, %now, "the clock was set: nothing ends for that");
            }
            Ok(()) => {}
            Err(failure) => {
                self.roll_back().await;
                // A jump is tried again at the next look.
                self.note_failure(failure).await;
            }
        }
        self.clock_noted_at = tokio::time::Instant::now();
    }
}
