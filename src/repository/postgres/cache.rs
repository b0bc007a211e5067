//! Accounts and sessions that were asked for lately. What is here is believed only while the feed of changes was read a
//! moment ago, and nothing is ever believed not to be there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use super::FENCED;
use crate::model::{Address, SessionId, Timestamp, TokenHash, UserId};
use crate::repository::{EndedSession, Session, User};

/// For how long after a look at the feed what is here is believed.
const BELIEVED: Duration = Duration::from_millis(900);
/// How many accounts, and how many sessions, are remembered; when there are more, all are asked for again.
const MOST: usize = 200_000;

/// A change that the feed tells of.
pub(super) struct FeedRow {
    pub version: i64,
    pub kind: String,
    pub id: i64,
    pub account: UserId,
}

/// A session, and when it was last used, as far as this node and the database know.
#[derive(Clone)]
pub(super) struct CachedSession {
    pub session: Session,
    pub last_used_at: Timestamp,
}

/// What a node remembers.
pub(super) struct Cache {
    users: FxHashMap<UserId, Arc<User>>,
    names: FxHashMap<Box<str>, Address>,
    sessions: FxHashMap<TokenHash, CachedSession>,
    tokens: FxHashMap<SessionId, TokenHash>,
    /// Sessions that ended, the oldest first.
    ended: FxHashSet<SessionId>,
    ended_order: VecDeque<SessionId>,
    /// How far the feed was read.
    version: i64,
    looked: Option<Instant>,
    beat: Option<Instant>,
}

impl Cache {
    pub(super) fn from_version(version: i64) -> Cache {
        Cache {
            users: FxHashMap::default(),
            names: FxHashMap::default(),
            sessions: FxHashMap::default(),
            tokens: FxHashMap::default(),
            ended: FxHashSet::default(),
            ended_order: VecDeque::new(),
            version,
            looked: None,
            beat: None,
        }
    }

    pub(super) fn version(&self) -> i64 {
        self.version
    }

    /// The database has heard of this node, in a statement that began then.
    pub(super) fn note_beat(&mut self, begun: Instant) {
        self.beat = self.beat.max(Some(begun));
    }

    /// Whether the database has heard of this node lately.
    pub(super) fn is_alive(&self) -> bool {
        self.beat.is_some_and(|beat| beat.elapsed() < FENCED)
    }

    fn is_believed(&self) -> bool {
        self.looked.is_some_and(|looked| looked.elapsed() < BELIEVED)
    }

    pub(super) fn session(&self, token: &TokenHash) -> Option<CachedSession> {
        self.sessions.get(token).filter(|_| self.is_believed()).cloned()
    }

    pub(super) fn user(&self, id: UserId) -> Option<Arc<User>> {
        self.users.get(&id).filter(|_| self.is_believed()).cloned()
    }

    pub(super) fn named(&self, name: &str) -> Option<Address> {
        self.names.get(name).filter(|_| self.is_believed()).copied()
    }

    pub(super) fn has_ended(&self, session: SessionId) -> bool {
        self.ended.contains(&session)
    }

    /// Whether what was read when the feed was at `version` is not older than what is here.
    fn takes(&self, version: i64) -> bool {
        version >= self.version
    }

    pub(super) fn add_user(&mut self, user: &Arc<User>, version: i64) {
        if self.takes(version) {
            if self.users.len() >= MOST {
                self.users.clear();
                self.names.clear();
            }
            self.users.insert(user.id, user.clone());
            if !user.removed {
                self.names.insert(user.username.as_str().into(), user.id.into());
            }
        }
    }

    pub(super) fn add_name(&mut self, name: &str, address: Address, version: i64) {
        if self.takes(version) {
            self.names.insert(name.into(), address);
        }
    }

    pub(super) fn add_session(&mut self, token: TokenHash, session: CachedSession, version: i64) {
        if self.takes(version) {
            if self.sessions.len() >= MOST {
                self.sessions.clear();
                self.tokens.clear();
            }
            self.tokens.insert(session.session.id, token);
            self.sessions.insert(token, session);
        }
    }

    /// A session is in use.
    pub(super) fn touch(&mut self, token: &TokenHash, now: Timestamp) {
        if let Some(cached) = self.sessions.get_mut(token) {
            cached.last_used_at = cached.last_used_at.max(now);
        }
    }

    /// Takes over what the feed tells; `looked`: that was all, as of then. Gives the sessions that ended.
    pub(super) fn follow(&mut self, rows: &[FeedRow], looked: Option<Instant>) -> Vec<(EndedSession, UserId)> {
        let mut ended = Vec::new();
        let seen = self.version;
        for row in rows.iter().filter(|row| row.version > seen) {
            match row.ended() {
                Some(session) => {
                    self.end(session.id);
                    ended.push((session, row.account));
                }
                None => self.forget(UserId(row.id)),
            }
        }
        let last = rows.last().map_or(self.version, |row| row.version);
        if rows.first().is_some_and(|first| first.version > self.version + 1) {
            // Some of it was removed before this node read it.
            self.users.clear();
            self.names.clear();
            self.sessions.clear();
            self.tokens.clear();
        }
        self.version = self.version.max(last);
        self.looked = self.looked.max(looked);
        ended
    }

    fn end(&mut self, id: SessionId) {
        if let Some(token) = self.tokens.remove(&id) {
            self.sessions.remove(&token);
        }
        if self.ended.insert(id) {
            self.ended_order.push_back(id);
            if self.ended_order.len() > MOST
                && let Some(oldest) = self.ended_order.pop_front()
            {
                self.ended.remove(&oldest);
            }
        }
    }

    /// An account or a group has changed.
    fn forget(&mut self, id: UserId) {
        self.users.remove(&id);
        self.names.retain(|_, address| address.number() != id.0);
        let tokens = &mut self.tokens;
        self.sessions.retain(|_, cached| {
            let stays = cached.session.user.id != id;
            if !stays {
                tokens.remove(&cached.session.id);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupId;

    fn row(version: i64, kind: &str, id: i64) -> FeedRow {
        FeedRow { version, kind: kind.to_owned(), id, account: UserId(1) }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let mut cache = Cache::from_version(7);
        cache.follow(&[], Some(Instant::now()));
        cache.add_name("team", GroupId(3).into(), 7);
        assert_eq!(cache.named("team"), Some(GroupId(3).into()));
        cache.follow(&[row(8, "account", 3)], Some(Instant::now()));
        assert_eq!(cache.named("team"), None);
        cache.add_name("team", GroupId(3).into(), 7);
        assert_eq!(cache.named("team"), None, "it was read before the change");
        cache.add_name("team", GroupId(4).into(), 8);
        assert_eq!(cache.named("team"), Some(GroupId(4).into()));
        let ended = cache.follow(&[row(9, "session", 5), row(10, "logout", 6)], Some(Instant::now()));
        assert_eq!(ended.iter().map(|(ended, _)| ended.logged_out).collect::<Vec<_>>(), [false, true]);
        assert!(cache.has_ended(SessionId(5)) && cache.has_ended(SessionId(6)) && !cache.has_ended(SessionId(7)));
        cache.follow(&[row(20, "account", 99)], Some(Instant::now()));
        assert_eq!(cache.named("team"), None, "a part of the feed was missed");
    }

    #[test]
    fn nothing_is_believed_that_was_not_looked_after() {
        let mut cache = Cache::from_version(0);
        cache.add_name("team", GroupId(3).into(), 0);
        assert_eq!(cache.named("team"), None);
        assert!(!cache.is_alive());
        cache.note_beat(Instant::now());
        assert!(cache.is_alive());
    }
}
