//! Group commit: one writer takes all jobs that wait, commits them together, and answers each. There is no timer. So a
//! single request does not wait, and many requests share one commit. Knows neither what is written nor where.
//!
//! With fewer commits each message costs less. So the writer gives up the processor to tasks that are about to bring a
//! job. It does so as long as this brings more jobs and the batch is not long. Measured on two cores, which also ran
//! the load generator, with 256 connections: a tenth more sends than without this. The rule about long batches (64 jobs
//! then) brought some 5 percent more, and a tenth with 1,000 connections.

use std::thread;

use tokio::sync::mpsc;
use tokio::task::yield_now;

/// Puts jobs into the writer's queue. When the queue is full the caller waits, and so does its client.
pub(crate) struct JobQueue<J> {
    jobs: mpsc::Sender<J>,
}

impl<J> Clone for JobQueue<J> {
    fn clone(&self) -> JobQueue<J> {
        JobQueue { jobs: self.jobs.clone() }
    }
}

/// The writer has stopped; the job was not begun.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

impl<J> JobQueue<J> {
    /// A queue of at most `length` jobs, and the end that the writer holds.
    pub(crate) fn new(length: usize) -> (JobQueue<J>, Jobs<J>) {
        let (sender, receiver) = mpsc::channel(length);
        (JobQueue { jobs: sender }, Jobs { jobs: receiver })
    }

    /// Hands a job over, waiting for room.
    pub(crate) async fn push(&self, job: J) -> Result<(), Stopped> {
        self.jobs.send(job).await.map_err(|_| Stopped)
    }

    /// Hands a job over if there is room.
    pub(crate) fn try_push(&self, job: J) -> Result<(), J> {
        self.jobs.try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job) => job,
        })
    }
}

/// How often an idle writer looks before it sleeps: for some 50 µs, in which a single client sends again. To wake the
/// writer would cost this client 20 of its 160 µs.
const SPINS: usize = 300;
/// How often the processor is given up before a batch that has not grown counts as all there is.
const YIELDS: usize = 4;
/// When so many jobs wait, the writer yields once more and then commits. A longer batch saves hardly anything for each
/// message, and the disk is idle meanwhile. Measured with 64 connections: 89,000 sends/s with 32 and 48, 81,000 with
/// 64; single runs scatter by 15 %.
const BATCH_TARGET: usize = 48;

/// The writer's end of a [`JobQueue`].
pub(crate) struct Jobs<J> {
    jobs: mpsc::Receiver<J>,
}

impl<J> Jobs<J> {
    /// Waits for a first job. Then lets other tasks run that are ready to bring one. Then moves all jobs that wait, up
    /// to `most`, into `batch`. Gives `false` when every [`JobQueue`] is gone and no job is left. Use it on a thread
    /// that does nothing else: it looks several times before it sleeps.
    pub(crate) async fn take(&mut self, batch: &mut Vec<J>, most: usize) -> bool {
        let before = batch.len();
        for _ in 0..SPINS {
            if !self.jobs.is_empty() {
                break;
            }
            thread::yield_now();
        }
        if self.jobs.is_empty() {
            let Some(first) = self.jobs.recv().await else { return false };
            batch.push(first);
        }
        yield_now().await;
        loop {
            let waiting = self.jobs.len();
            (0..YIELDS).for_each(|_| thread::yield_now());
            if self.jobs.len() == waiting || waiting >= BATCH_TARGET {
                break;
            }
        }
        if !self.jobs.is_empty() {
            self.jobs.recv_many(batch, most - (batch.len() - before)).await;
        }
        batch.len() > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn takes_what_waits_and_no_more() {
        let (queue, mut jobs) = JobQueue::new(8);
        for job in 0..5 {
            queue.push(job).await.expect("the writer lives");
        }
        let mut batch = Vec::new();
        assert!(jobs.take(&mut batch, 3).await);
        assert_eq!(batch, [0, 1, 2]);
        batch.clear();
        assert!(jobs.take(&mut batch, 3).await);
        assert_eq!(batch, [3, 4]);
    }

    #[tokio::test]
    async fn a_full_queue_holds_its_callers_back() {
        let (queue, mut jobs) = JobQueue::new(1);
        queue.push('a').await.expect("the writer lives");
        assert_eq!(queue.try_push('b'), Err('b'));
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.push('b').await }
        });
        let mut batch = Vec::new();
        assert!(jobs.take(&mut batch, 1).await);
        assert_eq!(waiting.await.expect("it does not panic"), Ok(()));
        assert!(jobs.take(&mut batch, 1).await);
        assert_eq!(batch, ['a', 'b']);
    }

    #[tokio::test]
    async fn what_was_queued_before_the_end_is_still_taken() {
        let (queue, mut jobs) = JobQueue::new(2);
        queue.push(1).await.expect("the writer lives");
        drop(queue);
        let mut batch = Vec::new();
        assert!(jobs.take(&mut batch, 9).await);
        assert!(!jobs.take(&mut batch, 9).await);
        assert_eq!(batch, [1]);
    }
}
