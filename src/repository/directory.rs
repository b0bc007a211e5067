//! Accounts and sessions in memory, so that a request costs no query: the database is the truth, this is its image. A
//! backend changes it only after its commit, from one task, so the two never cross.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustc_hash::FxHashMap;

use super::{Session, User};
use crate::model::{SessionId, Timestamp, TokenHash, UserId, Username};

/// A session as the database has it.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// Its place in the order of logins.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// SHA-256 of its token.
    pub token: TokenHash,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, as far as the database knows.
    pub last_used_at: Timestamp,
    /// From where it was opened.
    pub address: Arc<str>,
}

/// All accounts and living sessions.
#[derive(Debug, Default)]
pub struct Directory {
    users: FxHashMap<UserId, Arc<User>>,
    /// Living accounts only.
    names: FxHashMap<Username, UserId>,
    sessions: FxHashMap<TokenHash, Live>,
    tokens: BTreeMap<SessionId, TokenHash>,
    by_user: FxHashMap<UserId, BTreeSet<SessionId>>,
    /// Each user's oldest session: the order of `show`.
    oldest: BTreeMap<SessionId, UserId>,
}

#[derive(Debug)]
struct Live {
    record: SessionRecord,
    /// When it was last used, as this process knows, in milliseconds as [`Timestamp`] has them.
    last_used_at: AtomicI64,
}

impl Live {
    fn last_used_at(&self) -> Timestamp {
        Timestamp(self.last_used_at.load(Ordering::Relaxed))
    }

    fn touch(&self, now: Timestamp) {
        self.last_used_at.fetch_max(now.0, Ordering::Relaxed);
    }
}

impl Directory {
    /// What the database holds.
    pub fn new(users: Vec<User>, sessions: Vec<SessionRecord>) -> Directory {
        let mut directory = Directory::default();
        users.into_iter().for_each(|user| directory.put_user(user));
        sessions.into_iter().for_each(|session| directory.open(session));
        directory
    }

    /// Takes over when sessions were last used from the image that this one replaces.
    pub fn keep_uses(&mut self, former: &Directory) {
        for (token, live) in &self.sessions {
            if let Some(before) = former.sessions.get(token) {
                live.touch(before.last_used_at());
            }
        }
    }

    /// Adds or replaces an account.
    pub fn put_user(&mut self, user: User) {
        if user.removed {
            if self.names.get(&user.username) == Some(&user.id) {
                self.names.remove(&user.username);
            }
        } else {
            self.names.insert(user.username.clone(), user.id);
        }
        self.users.insert(user.id, Arc::new(user));
    }

    /// Changes an account, if there is one.
    pub fn change_user(&mut self, id: UserId, change: impl FnOnce(&mut User)) {
        if let Some(user) = self.users.get(&id) {
            let mut user = User::clone(user);
            change(&mut user);
            self.put_user(user);
        }
    }

    /// Accounts that lived in `former` and do so no more.
    pub fn removed_since(&self, former: &Directory) -> Vec<UserId> {
        former.names.values().filter(|id| self.users.get(id).is_none_or(|user| user.removed)).copied().collect()
    }

    /// The living account of this name.
    pub fn user_named(&self, name: &str) -> Option<Arc<User>> {
        self.user(self.recipient(name)?)
    }

    /// The number of the living account of this name, without touching the account.
    pub fn recipient(&self, name: &str) -> Option<UserId> {
        self.names.get(name).copied()
    }

    /// An account by number, removed ones too.
    pub fn user(&self, id: UserId) -> Option<Arc<User>> {
        self.users.get(&id).cloned()
    }

    /// Living accounts, by name.
    pub fn users(&self) -> Vec<Arc<User>> {
        let mut users: Vec<_> = self.users.values().filter(|user| !user.removed).cloned().collect();
        users.sort_by(|a, b| a.username.cmp(&b.username));
        users
    }

    /// Adds a session.
    pub fn open(&mut self, record: SessionRecord) {
        let (id, user) = (record.id, record.user);
        let of_user = self.by_user.entry(user).or_default();
        if let Some(oldest) = of_user.first() {
            self.oldest.remove(oldest);
        }
        of_user.insert(id);
        self.oldest.extend(of_user.first().map(|first| (*first, user)));
        self.tokens.insert(id, record.token);
        self.sessions.insert(record.token, Live { last_used_at: record.last_used_at.0.into(), record });
    }

    /// Ends a session. `false`: there is none.
    pub fn end(&mut self, id: SessionId) -> bool {
        let Some(live) = self.tokens.remove(&id).and_then(|token| self.sessions.remove(&token)) else {
            return false;
        };
        let user = live.record.user;
        if let Some(of_user) = self.by_user.get_mut(&user) {
            of_user.remove(&id);
            self.oldest.remove(&id);
            match of_user.first() {
                Some(first) => self.oldest.insert(*first, user),
                None => self.by_user.remove(&user).and(None),
            };
        }
        true
    }

    /// Ends all sessions of an account.
    pub fn end_all(&mut self, user: UserId) {
        for id in self.by_user.get(&user).cloned().unwrap_or_default() {
            self.end(id);
        }
    }

    /// The session whose token hashes to this, unless it was not used since `unused_since`; it is in use `now`.
    pub fn session(&self, token: &TokenHash, now: Timestamp, unused_since: Timestamp) -> Option<Session> {
        let live = self.sessions.get(token)?;
        if live.last_used_at() < unused_since {
            return None;
        }
        live.touch(now);
        Some(self.show(live))
    }

    /// All sessions, oldest first.
    pub fn sessions(&self) -> Vec<Session> {
        self.tokens.values().filter_map(|token| self.sessions.get(token)).map(|live| self.show(live)).collect()
    }

    /// Users with a session, in the order of their oldest.
    pub fn online(&self) -> Vec<Username> {
        self.oldest.values().map(|user| self.users[user].username.clone()).collect()
    }

    /// Sessions not used since `unused_since`.
    pub fn idle(&self, unused_since: Timestamp) -> Vec<SessionId> {
        let idle = self.sessions.values().filter(|live| live.last_used_at() < unused_since);
        idle.map(|live| live.record.id).collect()
    }

    /// Sessions that were used at least `millis` after the database last heard of it, and when.
    pub fn used(&self, millis: i64) -> Vec<(SessionId, Timestamp)> {
        let used = self.sessions.values().filter(|live| live.last_used_at().0 - live.record.last_used_at.0 >= millis);
        used.map(|live| (live.record.id, live.last_used_at())).collect()
    }

    /// The database has now heard of these uses.
    pub fn used_is_stored(&mut self, used: &[(SessionId, Timestamp)]) {
        for (id, at) in used {
            if let Some(live) = self.tokens.get(id).and_then(|token| self.sessions.get_mut(token)) {
                live.record.last_used_at = *at;
            }
        }
    }

    /// How many accounts live and how many sessions.
    pub fn counts(&self) -> (usize, usize) {
        (self.names.len(), self.sessions.len())
    }

    fn show(&self, live: &Live) -> Session {
        Session {
            id: live.record.id,
            user: self.users[&live.record.user].clone(),
            created_at: live.record.created_at,
            last_used_at: live.last_used_at(),
            address: live.record.address.clone(),
        }
    }
}
