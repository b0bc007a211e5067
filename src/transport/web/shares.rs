//! How much of the API one session and one account may have at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::{ErrorCode, WebError};
use crate::charge::Holder;
use crate::model::{SessionId, UserId};

/// Streams of one session, and of one account.
const SESSION_STREAMS: usize = 8;
const USER_STREAMS: usize = 32;
/// Sends of one account: one each so often, and so many ahead of that.
const SEND_EVERY: Duration = Duration::from_millis(100);
const SEND_BURST: u32 = 30;
/// Files of one account that may be on their way in at once.
const USER_UPLOADS: usize = 4;

/// Streams, counted.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<StreamCounts>);

#[derive(Debug, Default)]
struct StreamCounts {
    by_session: HashMap<SessionId, usize>,
    by_user: HashMap<UserId, usize>,
}

/// A stream's place in the counts; given up when dropped.
#[derive(Debug)]
pub(super) struct StreamPermit {
    streams: Arc<Streams>,
    holder: Holder,
}

impl Streams {
    /// One more stream, if there may be one.
    pub(super) fn enter(self: &Arc<Streams>, holder: Holder) -> Result<StreamPermit, WebError> {
        let mut counts = self.counts();
        let of_session = counts.by_session.get(&holder.session).copied().unwrap_or(0);
        let of_user = counts.by_user.get(&holder.user).copied().unwrap_or(0);
        if of_session >= SESSION_STREAMS || of_user >= USER_STREAMS {
            return Err(ErrorCode::TooManyConnections.into());
        }
        counts.by_session.insert(holder.session, of_session + 1);
        counts.by_user.insert(holder.user, of_user + 1);
        Ok(StreamPermit { streams: self.clone(), holder })
    }

    /// Whether a session has a stream.
    pub(super) fn has(&self, session: SessionId) -> bool {
        self.counts().by_session.contains_key(&session)
    }

    fn counts(&self) -> MutexGuard<'_, StreamCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subtract<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut counts = self.streams.counts();
        subtract(&mut counts.by_session, self.holder.session);
        subtract(&mut counts.by_user, self.holder.user);
    }
}

/// Who sends. What programs send with an account's tokens and hooks is counted by itself: whoever has got one of them
/// leaves its person a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WebSender {
    pub user: UserId,
    pub is_program: bool,
}

/// Files on their way in, counted.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<HashMap<WebSender, usize>>);

/// A file's place in the counts; given up when dropped.
#[derive(Debug)]
pub(super) struct UploadPermit {
    uploads: Arc<Uploads>,
    sender: WebSender,
}

impl Uploads {
    /// One more file, if there may be one.
    pub(super) fn enter(self: &Arc<Uploads>, sender: WebSender) -> Result<UploadPermit, WebError> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(sender).or_default();
        if *count >= USER_UPLOADS {
            return Err(ErrorCode::Throttled.because("too many files of yours are on their way, wait for one"));
        }
        *count += 1;
        Ok(UploadPermit { uploads: self.clone(), sender })
    }
}

impl Drop for UploadPermit {
    fn drop(&mut self) {
        subtract(&mut self.uploads.0.lock().unwrap_or_else(PoisonError::into_inner), self.sender);
    }
}

/// When each account's sends so far will be forgotten (the "theoretical arrival time" of GCRA).
#[derive(Debug, Default)]
pub(super) struct SendRates(Mutex<SendTimes>);

#[derive(Debug, Default)]
struct SendTimes {
    by_sender: HashMap<WebSender, Instant>,
    /// With so many entries, those that are over are removed.
    prune_at: usize,
}

impl SendRates {
    /// Counts a send, unless there are too many.
    pub(super) fn allow(&self, sender: WebSender) -> Result<(), WebError> {
        self.allow_at(sender, Instant::now())
    }

    fn allow_at(&self, sender: WebSender, now: Instant) -> Result<(), WebError> {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.by_sender.len() >= times.prune_at {
            times.by_sender.retain(|_, over| *over > now);
            times.prune_at = 1024.max(2 * times.by_sender.len());
        }
        let over = times.by_sender.get(&sender).copied().unwrap_or(now).max(now) + SEND_EVERY;
        if over > now + SEND_EVERY * SEND_BURST {
            return Err(ErrorCode::Throttled.because("too many messages at once, try again in a moment"));
        }
        times.by_sender.insert(sender, over);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two people, and a program of the first.
    const SENDERS: [WebSender; 3] = [
        WebSender { user: UserId(1), is_program: false },
        WebSender { user: UserId(2), is_program: false },
        WebSender { user: UserId(1), is_program: true },
    ];

    #[test]
    fn a_session_has_eight_streams_and_an_account_thirty_two() {
        let streams = Arc::new(Streams::default());
        let holder = |session: i64| Holder { session: SessionId(session), user: UserId(1) };
        let mut held = Vec::new();
        for session in 0..4 {
            held.extend((0..8).map(|_| streams.enter(holder(session)).expect("there is room")));
            assert!(streams.enter(holder(session)).is_err(), "eight are all");
        }
        assert!(streams.enter(holder(9)).is_err(), "thirty-two are all");
        assert!(streams.enter(Holder { session: SessionId(10), user: UserId(2) }).is_ok(), "others have their own");
        held.pop();
        assert!(streams.enter(holder(9)).is_ok());
        held.clear();
        assert!(streams.counts().by_session.is_empty() && streams.counts().by_user.is_empty());
    }

    #[test]
    fn four_files_of_an_account_are_on_their_way_at_once() {
        let uploads = Arc::new(Uploads::default());
        let [one, other, program] = SENDERS;
        let mut held: Vec<UploadPermit> = (0..4).map(|_| uploads.enter(one).expect("there is room")).collect();
        assert!(uploads.enter(one).is_err(), "four are all");
        assert!(uploads.enter(other).is_ok(), "others have their own");
        assert!(uploads.enter(program).is_ok(), "and so have programs");
        held.pop();
        assert!(uploads.enter(one).is_ok());
        held.clear();
        assert!(uploads.0.lock().expect("nobody panics with it").is_empty());
    }

    #[test]
    fn thirty_sends_at_once_and_ten_a_second_after_that() {
        let (rates, begun) = (SendRates::default(), Instant::now());
        let [one, other, program] = SENDERS;
        let sent_at = |milliseconds| rates.allow_at(one, begun + Duration::from_millis(milliseconds)).is_ok();
        assert_eq!((0..40).filter(|_| sent_at(0)).count(), 30);
        assert!(!sent_at(99) && sent_at(100) && !sent_at(100) && sent_at(200));
        assert!(rates.allow_at(other, begun).is_ok(), "others have their own");
        assert!(rates.allow_at(program, begun).is_ok(), "and so have programs");
        assert_eq!((0..40).filter(|_| sent_at(60_000)).count(), 30);
    }
}
