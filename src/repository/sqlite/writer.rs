//! The one task that writes, on its own thread. It takes all jobs that wait, commits them together, changes the image
//! in memory, and then answers each. Nobody can drop this task: to drop a future does not cancel a write.
//!
//! It owns its connection. It never uses `sqlx::Transaction`: after one failed commit that counts its depth wrongly and
//! then always fails. Plain `BEGIN IMMEDIATE`, `COMMIT` and `ROLLBACK` recover.

mod clock;
mod feed;
pub(crate) mod in_groups;
mod indexing;
mod packing;
pub(crate) mod receipts;
mod snapshots;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::error;

use self::feed::Feed;
use self::packing::{INSERT_MESSAGES, PackedSends};
use self::snapshots::Snapshots;
use super::acknowledged::AcknowledgedNote;
use super::change::{Change, Changed, Moment};
use super::direct::{Failure, WalConnection};
use super::full_inboxes::{FullChanges, FullInboxes};
use super::index::{Growth, IndexRun, Tail, TailMessage};
use super::packed::JsonbRows;
use super::schema;
use super::send_keys::{self, NewKey, SendWaiter};
use super::shared::Shared;
use crate::model::{MessageId, UserId};
use crate::repository::group_commit::Jobs;
use crate::repository::memory::event::Event;
use crate::repository::memory::mailboxes::UnreadMessage;
use crate::repository::memory::stored::StoredAmount;
use crate::repository::{Error, NewMessage, PerMessage, SendResult};

/// Who waits for a piece of work.
type ReplySender<T> = oneshot::Sender<Result<T, Error>>;

/// A piece of work and who waits for it.
pub(super) enum Job {
    Send(PerMessage<NewMessage>, SendWaiter),
    Change(Change, ReplySender<Changed>),
    /// A copy of the database, in a file that this process has made.
    Snapshot(u32, ReplySender<()>),
    /// Leases were confirmed; the mailboxes know which.
    Confirm,
    /// Finish the present jobs and close the database.
    Close,
}

/// How many jobs are committed together at the most.
const BATCH_MAX: usize = 4096;
/// How often to look for changes by other processes and for room on the disk.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The writer's state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    db: WalConnection,
    jobs: Jobs<Job>,
    next_id: i64,
    watermark: MessageId,
    /// The message log after the watermark.
    tail: Vec<TailMessage>,
    tail_bytes: u64,
    tail_copies: u64,
    tail_size: Tail,
    run: Option<IndexRun>,
    /// The next run, while another thread sorts it.
    sorting: Option<JoinHandle<IndexRun>>,
    /// Members of groups whose inboxes are full.
    full: FullInboxes,
    /// Something of a group may have been read before an older message.
    may_be_ahead: bool,
    /// The change feed, for changes of other processes. An admin command does not follow it.
    feed: Option<Feed>,
    /// Where it is noted what was acknowledged; a server's only.
    note: Option<AcknowledgedNote>,
    /// Copies that are wanted.
    snapshots: Snapshots,
    /// When the disk was last asked for its room.
    looked_at: Instant,
    /// When the wall clock was last noted for the next server.
    clock_noted_at: Instant,
    /// When changes by other processes were last looked for.
    looked_around_at: Instant,
}

#[derive(Default)]
struct Batch {
    sends: Vec<(PerMessage<NewMessage>, SendWaiter)>,
    changes: Vec<(Change, ReplySender<Changed>)>,
}

/// What a batch did, to be told once it is committed.
struct Done {
    stored: Vec<TailMessage>,
    copies: Vec<(UserId, UnreadMessage)>,
    /// Members whose inboxes have no room for a message of a group. They see it in the history.
    missed: Vec<UserId>,
    queued: Vec<PerMessage<SendResult>>,
    full: FullChanges,
    changed: Vec<(Changed, Event)>,
}

impl Writer {
    /// A writer on an open connection. Its tail is `tail`; the image in memory has the change feed up to `seen`.
    pub(super) async fn new(
        shared: Arc<Shared>,
        mut db: WalConnection,
        jobs: Jobs<Job>,
        progress: schema::Progress,
        (tail, tail_size): (Vec<TailMessage>, Tail),
        (full, may_be_ahead): (FullInboxes, bool),
        (seen, note): (Option<i64>, Option<AcknowledgedNote>),
    ) -> Result<Writer, Failure> {
        let feed = match seen {
            Some(seen) => Some(Feed::after(seen, &mut db).await?),
            None => None,
        };
        let tail_bytes = tail.iter().map(|message| message.bytes).sum();
        let tail_copies = tail.iter().map(|message| u64::from(message.copies)).sum();
        Ok(Writer {
            shared,
            db,
            jobs,
            next_id: progress.next_id.0,
            watermark: progress.watermark,
            tail,
            tail_bytes,
            tail_copies,
            tail_size,
            run: None,
            sorting: None,
            full,
            may_be_ahead,
            feed,
            note,
            snapshots: Snapshots::default(),
            looked_at: Instant::now(),
            clock_noted_at: Instant::now(),
            looked_around_at: Instant::now(),
        })
    }

    /// Works until it is told to close or every queue is gone.
    pub(super) async fn work(mut self) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taken = Vec::new();
        let mut closing = false;
        while !closing {
            let more = tokio::select! {
                biased;
                // First, because a runtime that is at its end has no clock.
                more = self.jobs.take(&mut taken, BATCH_MAX) => more,
                // Work that has begun goes on also when no job waits.
                () = yield_now(), if self.run.is_some() || self.is_behind() || self.snapshots.is_wanted() => true,
                _ = look.tick() => true,
            };
            if self.looked_around_at.elapsed() >= LOOK_EVERY / 2 {
                self.looked_around_at = Instant::now();
                self.look_for_room(true).await;
                self.shared.is_sound();
                self.look_at_clock().await;
                self.look_for_others().await;
            }
            let mut jobs = taken.drain(..).peekable();
            loop {
                let batch = self.batch(&mut jobs, &mut closing);
                self.commit(batch).await;
                if jobs.peek().is_none() {
                    break;
                }
            }
            drop(jobs);
            self.follow().await;
            self.index().await;
            self.copy_piece().await;
            if self.shared.log.wants_the_rest(self.db.log_pages())
                && self.shared.is_sound()
                && let Err(failure) = self.shared.log.finish(&mut self.db).await
            {
                self.shared.note_checkpoint_failure(&failure);
            }
            if !more {
                break;
            }
        }
        self.index_all().await;
        self.note_clock().await;
        if self.shared.is_sound()
            && let Err(failure) = self.shared.log.finish(&mut self.db).await
        {
            self.shared.note_checkpoint_failure(&failure);
        }
        self.shared.close(self.db, "writer").await;
    }

    async fn commit(&mut self, mut batch: Batch) {
        let nothing = batch.sends.is_empty() && batch.changes.is_empty() && !self.shared.mailboxes.has_confirmed();
        if nothing && self.run.is_none() {
            return;
        }
        if self.shared.has_failed() {
            // Or an index of everything, which is waited for at the end, would never be written.
            self.run = None;
            return refuse(batch, &Error::new("the store has failed"));
        }
        self.look_for_room(false).await;
        let confirmed = self.shared.mailboxes.take_confirmed();
        // An end of a run is noted with the next commit of anything else.
        let _ = self.db.take_committed();
        let begun = Instant::now();
        match self.try_commit(&batch, &confirmed).await {
            // What went into a file that is no longer there is not acknowledged.
            Ok(_) if !self.shared.is_sound() => refuse(batch, &Error::new("the store has failed")),
            Ok(done) => {
                self.shared.commits.observe(begun.elapsed());
                self.shared.mailboxes.read(&confirmed);
                self.shared.followers.tell_of_reading(&confirmed);
                self.shared.accepted.add(done.stored.len());
                self.shared.delivered.add(confirmed.iter().map(|(_, messages)| messages.len()).sum());
                self.publish(batch, done);
            }
            Err(error) => {
                self.roll_back().await;
                // What it would have written is consumed.
                self.run = None;
                let error = self.note_failure(error).await;
                self.shared.mailboxes.put_back_confirmed(confirmed);
                let alone = batch.sends.len() + batch.changes.len() <= 1;
                if alone || self.shared.has_failed() || error.1 {
                    return refuse(batch, &error.0);
                }
                // Something in the batch is at fault, not the disk: each on its own, so that it spoils no other.
                for send in batch.sends.drain(..) {
                    Box::pin(self.commit(Batch { sends: vec![send], changes: Vec::new() })).await;
                }
                for change in batch.changes.drain(..) {
                    Box::pin(self.commit(Batch { sends: Vec::new(), changes: vec![change] })).await;
                }
            }
        }
    }

    async fn try_commit(&mut self, batch: &Batch, confirmed: &[(UserId, Vec<UnreadMessage>)]) -> Result<Done, Failure> {
        let PackedSends { rows, stored, copies, missed, queued, full } = self.pack(&batch.sends);
        let keys = send_keys::new_keys(&batch.sends, &queued);
        let result = self.write((rows, Growth::of(&stored)), &full, &keys, confirmed, &batch.changes).await;
        if result.is_err() {
            for (recipient, message) in &copies {
                self.shared.mailboxes.give_back_room(*recipient, message.sender, message.to, message.bytes);
            }
            for message in &stored {
                self.shared.stored.subtract(message.sender, StoredAmount::one(message.bytes));
            }
        }
        Ok(Done { stored, copies, missed, queued, full, changed: result? })
    }

    async fn write(
        &mut self,
        (packed, growth): (JsonbRows, Growth),
        full: &FullChanges,
        keys: &[NewKey<'_>],
        confirmed: &[(UserId, Vec<UnreadMessage>)],
        changes: &[(Change, impl Sized)],
    ) -> Result<Vec<(Changed, Event)>, Failure> {
        let slice_is_due = self.run.as_mut().is_some_and(|run| run.is_due(growth));
        let alone = confirmed.is_empty() && changes.is_empty() && full.is_empty() && keys.is_empty() && !slice_is_due;
        if alone && packed.rows() == 0 {
            return Ok(Vec::new());
        }
        if !alone {
            self.db.execute("BEGIN IMMEDIATE", ()).await?;
        }
        if packed.rows() > 0 {
            self.shared.log.wrote(packed.len());
            // A single statement is a transaction by itself.
            self.db.execute(INSERT_MESSAGES, (packed.finish(), self.next_id)).await?;
        }
        if alone {
            return Ok(Vec::new());
        }
        if !full.is_empty() {
            full.write(&mut self.db).await?;
        }
        let now = self.shared.time.now();
        let moment = Moment { now, ahead: self.shared.ahead.load(Ordering::Relaxed) };
        send_keys::write(&mut self.db, keys, now).await?;
        self.write_confirmed(confirmed, now).await?;
        let fed = changes.iter().any(|(change, _)| change.is_fed());
        let begin = if fed { self.begin_of_own().await? } else { None };
        let mut changed = Vec::with_capacity(changes.len());
        for (change, _) in changes {
            let done = change.clone().run(self.db.sqlx(), moment).await;
            let done = done.map_err(|error| self.db.explained(error.into()))?;
            if let (Change::GiveBack { .. }, Changed::Rows(pages)) = (change, &done.0) {
                // The file becomes shorter with the next checkpoint.
                self.shared.log.wrote(usize::try_from(*pages).unwrap_or(0) * 4_096);
            }
            changed.push(done);
        }
        self.leave_out_own(begin).await?;
        // With the messages, because one wait for the disk is then enough.
        if let Some(run) = self.run.as_mut().filter(|_| slice_is_due) {
            run.slice(&mut self.db).await?;
        }
        self.db.execute("COMMIT", ()).await?;
        Ok(changed)
    }

    /// After a commit: first the image in memory, then the answers.
    fn publish(&mut self, batch: Batch, done: Done) {
        self.next_id += done.stored.len() as i64;
        if let (Some(note), Some(pages)) = (&mut self.note, self.db.take_committed()) {
            note.write(MessageId(self.next_id - 1), pages);
        }
        self.tail_bytes += done.stored.iter().map(|message| message.bytes).sum::<u64>();
        self.tail_copies += done.copies.len() as u64;
        self.full.apply(done.full);
        let senders = done.stored.iter().map(|message| message.sender);
        let told = senders.chain(done.copies.iter().map(|(recipient, _)| *recipient)).chain(done.missed);
        self.shared.followers.tell(told);
        self.tail.extend(done.stored);
        self.shared.mailboxes.put(done.copies.into_iter());
        let (changed, events): (Vec<_>, Vec<_>) = done.changed.into_iter().unzip();
        if !events.is_empty() {
            self.note_who_left(&events);
            self.shared.apply(events);
        }
        // The caller may have gone. The commit stays.
        for ((_, answer), queued) in batch.sends.into_iter().zip(done.queued) {
            answer.send(Ok(queued));
        }
        for ((_, answer), changed) in batch.changes.into_iter().zip(changed) {
            let _ = answer.send(Ok(changed));
        }
    }

    /// A failed statement may have left a transaction open or not; either way there is none after this.
    async fn roll_back(&mut self) {
        let _ = self.db.execute("ROLLBACK", ()).await;
    }

    /// Logs a failure once. `true`: it is the disk or another process, so it does not help to try the jobs one by one.
    async fn note_failure(&mut self, error: Failure) -> (Error, bool) {
        if self.shared.gives_up_after(&error) {
            return (Error::new(error), true);
        }
        let primary = error.code().map(|code| code & 0xFF);
        let outside = primary.is_none_or(|primary| [FULL, BUSY, LOCKED, IOERR, READONLY, CANTOPEN].contains(&primary));
        if primary == Some(FULL) {
            self.shared.reserve.spend();
            self.look_for_room(true).await;
        }
        error!(%error, "a commit failed");
        (Error::new(error), outside)
    }

    async fn look_for_room(&mut self, at_once: bool) {
        if at_once || self.looked_at.elapsed() >= LOOK_EVERY / 4 {
            self.looked_at = Instant::now();
            self.shared.look_for_room(&mut self.db).await;
        }
    }
}

/// SQLite's result codes, <https://sqlite.org/rescode.html>: the low byte says what kind.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;

fn refuse(batch: Batch, error: &Error) {
    for (_, answer) in batch.sends {
        answer.send(Err(error.clone()));
    }
    for (_, answer) in batch.changes {
        let _ = answer.send(Err(error.clone()));
    }
}
