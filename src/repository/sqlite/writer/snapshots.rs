//! Copies of the database for commands that read all of it. Makes one copy at a time: some pages after each commit, and
//! more while no job waits.

use std::collections::VecDeque;

use super::{ReplySender, Writer};
use crate::repository::Error;
use crate::repository::sqlite::snapshot;

/// Pages of one piece: a commit that waits for it does not wait long.
const PIECE: i32 = 64;

/// Who waits for a copy.
#[derive(Default)]
pub(super) struct Snapshots {
    /// The process that has made the file.
    waiting: VecDeque<(u32, ReplySender<()>)>,
    under_way: Option<ReplySender<()>>,
}

impl Snapshots {
    pub(super) fn push(&mut self, process: u32, answer: ReplySender<()>) {
        self.waiting.push_back((process, answer));
    }

    /// Whether there is something to do.
    pub(super) fn is_wanted(&self) -> bool {
        self.under_way.is_some() || !self.waiting.is_empty()
    }
}

impl Writer {
    /// Copies one piece for whoever came first.
    pub(super) async fn copy_piece(&mut self) {
        if self.snapshots.under_way.is_none() {
            let Some((process, answer)) = self.snapshots.waiting.pop_front() else { return };
            let begun = match snapshot::made_by(process, self.shared.database()) {
                Ok(path) => self.db.begin_copy(&path).await.map_err(Error::new),
                Err(error) => Err(Error::new(error)),
            };
            match begun {
                Ok(()) => self.snapshots.under_way = Some(answer),
                Err(error) => return drop(answer.send(Err(error))),
            }
        }
        let Some(answer) = self.snapshots.under_way.take() else { return };
        // Nobody copies for somebody who has gone.
        if answer.is_closed() || self.shared.has_failed() {
            return self.db.end_copy();
        }
        match self.db.copy_pages(PIECE).await {
            Ok(false) => self.snapshots.under_way = Some(answer),
            Ok(true) => drop(answer.send(Ok(()))),
            Err(failure) => drop(answer.send(Err(Error::new(failure)))),
        }
    }
}
