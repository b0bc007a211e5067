//! When the writer indexes: the tail is sorted beside it, written in slices with its commits, and forgotten at the end.

use std::io;
use std::thread::JoinHandle;

use rustix::process::setpriority_process;

use super::{Batch, Writer};
use crate::model::{GroupId, UserId};
use crate::ops::vital;
use crate::repository::sqlite::index::{Growth, IndexRun};

impl Writer {
    /// Begins to index the tail when it is long, and ends when every slice was written with a commit.
    pub(super) async fn index(&mut self) {
        if self.shared.has_failed() {
            self.run = None;
        } else if self.run.as_ref().is_some_and(IndexRun::is_written) {
            self.finish_run().await;
        } else if self.run.is_none() && self.tail_size.is_due(self.tail_now()) {
            // The thread that sorts has the lowest priority, and may not be run for long.
            let is_overdue = self.tail_size.is_overdue(self.tail_now());
            match self.sorting.take().or_else(|| self.sort()) {
                Some(sorting) if sorting.is_finished() || is_overdue => self.run = sorting.join().ok(),
                Some(sorting) => self.sorting = Some(sorting),
                None => self.run = Some(IndexRun::new(self.tail.clone(), self.tail_size)),
            }
        }
    }

    fn tail_now(&self) -> Growth {
        Growth { messages: self.tail.len() as u64, bytes: self.tail_bytes, copies: self.tail_copies }
    }

    /// At the end of the program: indexes all there is, so that the next start has nothing to read.
    pub(super) async fn index_all(&mut self) {
        while !self.tail.is_empty() && !self.shared.has_failed() {
            if self.run.is_none() {
                let sorted = self.sorting.take().and_then(|sorting| sorting.join().ok());
                self.run = Some(sorted.unwrap_or_else(|| IndexRun::new(self.tail.clone(), self.tail_size)));
            }
            while self.run.as_mut().is_some_and(|run| run.is_due(Growth::default())) {
                self.commit(Batch::default()).await;
            }
            if self.run.is_none() || !self.finish_run().await {
                return;
            }
        }
    }

    /// The groups of a run, each with all who may have got something of it.
    fn groups_of(&self, run: &IndexRun) -> Vec<(GroupId, Vec<UserId>)> {
        let groups = self.shared.groups();
        let of_run = run.recipients().iter().filter_map(|recipient| recipient.group());
        of_run.map(|group| (group, groups.readers(group).collect())).collect()
    }

    /// The tail as a run, soon; `None`: no thread can be had for it.
    fn sort(&self) -> Option<JoinHandle<IndexRun>> {
        let (tail, size) = (self.tail.clone(), self.tail_size);
        aside(move || IndexRun::new(tail, size)).ok()
    }

    /// Moves the watermark to the end of the run. `false`: that failed, and the run must be written again.
    async fn finish_run(&mut self) -> bool {
        let Some(run) = self.run.take() else { return false };
        let groups = self.groups_of(&run);
        let users = match run.finish(&mut self.db, &self.shared.mailboxes, &groups, self.may_be_ahead).await {
            Ok(users) => users,
            Err(failure) => {
                self.roll_back().await;
                self.note_failure(failure).await;
                return false;
            }
        };
        let to = run.to();
        let length = self.tail.partition_point(|message| message.id <= to);
        self.watermark = to;
        for message in self.tail.drain(..length) {
            self.tail_bytes -= message.bytes;
            self.tail_copies -= u64::from(message.copies);
        }
        let evicted = self.shared.mailboxes.evict(to, users.into_iter());
        self.shared.groups_mut().forget_former(to);
        let _ = aside(move || drop(evicted));
        true
    }
}

/// Work of some milliseconds, on another thread of the lowest priority, so that no commit waits for it.
fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    vital::spawn("index", move || {
        // On Linux this is for the calling thread alone. Where it is not allowed, the thread is only less considerate.
        let _ = setpriority_process(None, 19);
        work()
    })
}
