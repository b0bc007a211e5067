//! Leases of messages that were handed out. Nobody else gets these messages until the lease is confirmed or ends. It
//! ends with its connection. It also ends with its session, but not by a logout.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use rustc_hash::FxHashMap;

use crate::model::{SessionId, UserId};

/// A hold on messages that were handed to one connection. Dropped, it puts them back into the queue.
pub struct Lease {
    held: Arc<HeldMessages>,
    /// What ends it besides its own end.
    session: Option<(SessionId, u64, Arc<Leases>)>,
}

struct HeldMessages {
    recipient: UserId,
    count: usize,
    /// `None` once the lease is over.
    hold: Mutex<Option<Box<dyn Hold>>>,
}

/// Messages that were handed out, as the store that did it knows them.
pub(crate) trait Hold: Send {
    /// The messages were read. This becomes durable with a later commit. Until then nobody else gets them.
    fn confirm(self: Box<Self>);
    /// They may not have been read.
    fn release(self: Box<Self>);
}

impl HeldMessages {
    fn take(&self) -> Option<Box<dyn Hold>> {
        self.hold.lock().unwrap_or_else(|broken| broken.into_inner()).take()
    }

    fn release(&self) {
        if let Some(hold) = self.take() {
            hold.release();
        }
    }
}

impl Lease {
    pub(crate) fn new(recipient: UserId, count: usize, hold: Box<dyn Hold>) -> Lease {
        let hold = Mutex::new((count > 0).then_some(hold));
        Lease { held: Arc::new(HeldMessages { recipient, count, hold }), session: None }
    }

    /// The lease also ends when this session ends.
    pub(crate) fn end_with(&mut self, session: SessionId, leases: &Arc<Leases>) {
        let number = leases.note(session, Arc::downgrade(&self.held));
        self.session = Some((session, number, leases.clone()));
    }

    /// The reader has the messages: they leave the queue. Returns at once. After a crash before this is durable, the
    /// reader gets them again. Does nothing where the session has ended: then the messages wait again already.
    pub fn confirm(self) {
        if let Some(hold) = self.held.take() {
            hold.confirm();
        }
    }

    /// How many messages were handed out.
    pub fn len(&self) -> usize {
        self.held.count
    }

    /// Never true of a lease from [`super::Repository::lease`].
    pub fn is_empty(&self) -> bool {
        self.held.count == 0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((session, number, leases)) = self.session.take() {
            leases.forget(session, number);
        }
        self.held.release();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} messages of user {})", self.held.count, self.held.recipient)
    }
}

/// Each with a number, so that one of very many is found.
type BySession = FxHashMap<SessionId, FxHashMap<u64, Weak<HeldMessages>>>;

/// All leases that end with a session.
#[derive(Default)]
pub(crate) struct Leases {
    by_session: Mutex<BySession>,
    /// The number of the next.
    next: AtomicU64,
}

impl Leases {
    fn all(&self) -> MutexGuard<'_, BySession> {
        self.by_session.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// These sessions have ended: the messages of their leases wait again.
    pub(crate) fn end(&self, sessions: impl Iterator<Item = SessionId>) {
        for session in sessions {
            // Not under the lock: to release wakes others.
            let ended = self.all().remove(&session);
            ended.into_iter().flatten().filter_map(|(_, held)| held.upgrade()).for_each(|held| held.release());
        }
    }

    fn note(&self, session: SessionId, held: Weak<HeldMessages>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.all().entry(session).or_default().insert(number, held);
        number
    }

    fn forget(&self, session: SessionId, number: u64) {
        let mut all = self.all();
        if let Some(leases) = all.get_mut(&session) {
            leases.remove(&number);
            if leases.is_empty() {
                all.remove(&session);
            }
        }
    }
}
