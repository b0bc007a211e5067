//! When the writer indexes: the tail is sorted beside it, written in slices with its commits, and forgotten at the end.

use std::thread::{self, JoinHandle};

use rustix::process::setpriority_process;

use super::{Batch, Writer};
use crate::repository::sqlite::index::Run;

impl Writer {
    /// Begins to index the tail when it is long, and ends when every slice was written with a commit.
    pub(super) async fn index(&mut self) {
        if self.shared.has_failed() {
            self.run = None;
        } else if self.run.as_ref().is_some_and(Run::is_written) {
            self.finish_run().await;
        } else if self.run.is_none() && self.tail_size.is_due(self.tail.len(), self.tail_bytes) {
            let sorting = self.sorting.take().unwrap_or_else(|| self.sort());
            match sorting.is_finished() {
                true => self.run = sorting.join().ok(),
                false => self.sorting = Some(sorting),
            }
        }
    }

    /// At the end of the program: indexes all there is, so that the next start has nothing to read.
    pub(super) async fn index_all(&mut self) {
        while !self.tail.is_empty() && !self.shared.has_failed() {
            if self.run.is_none() {
                let sorting = self.sorting.take().unwrap_or_else(|| self.sort());
                self.run = sorting.join().ok();
            }
            while self.run.as_mut().is_some_and(|run| run.is_due(0)) {
                self.commit(Batch::default()).await;
            }
            if self.run.is_none() || !self.finish_run().await {
                return;
            }
        }
    }

    /// The tail as a run.
    fn sort(&self) -> JoinHandle<Run> {
        let (tail, size) = (self.tail.clone(), self.tail_size);
        aside(move || Run::new(tail, size))
    }

    /// Moves the watermark to the end of the run. `false`: that failed, and the run is to be done again.
    async fn finish_run(&mut self) -> bool {
        let Some(run) = self.run.take() else { return false };
        if let Err(failure) = run.finish(&mut self.db, &self.shared.mailboxes).await {
            self.roll_back().await;
            self.note_failure(failure);
            return false;
        }
        let to = run.to();
        let length = self.tail.partition_point(|message| message.id <= to);
        self.watermark = to;
        let bytes: u64 = self.tail.drain(..length).map(|message| message.bytes).sum();
        self.tail_bytes -= bytes;
        let evicted = self.shared.mailboxes.evict(to, run.recipients().iter().copied());
        aside(move || drop(evicted));
        true
    }
}

/// Work of some milliseconds that no commit is to wait for, on a thread of its own that stands back behind all others.
fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(move || {
        // On Linux this is for the calling thread alone. Where it is not allowed, the thread is only less considerate.
        let _ = setpriority_process(None, 19);
        work()
    })
}
