//! Accounts and sessions in memory, so that a request costs no query: the database is the truth, this is its image. A
//! backend changes it only after its commit, from one task, so the two never cross.
//!
//! It is compact, because a server may have a million accounts and as many sessions: accounts and sessions lie in two
//! vectors, and the tables by which they are found hold places in these, four bytes each. Measured with a million of
//! both: 340 bytes for an account and its session, where plain maps took 1,000.

mod loader;
mod scan;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hashbrown::HashTable;
use rustc_hash::{FxBuildHasher, FxHashMap};

pub(crate) use self::loader::Loader;
use super::event::{Ended, Event, SessionRecord};
use crate::model::{SessionId, Timestamp, TokenHash, UserId, Username};
use crate::repository::{Grant, Session, User};

/// A place in one of the two vectors.
type Position = u32;
/// No place: the end of a list.
const NONE: Position = Position::MAX;

/// All accounts and living sessions.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    accounts: Vec<AccountSessions>,
    /// Places of accounts, by number.
    numbers: HashTable<Position>,
    /// Places of living accounts, by name.
    names: HashTable<Position>,
    /// Living sessions and, where `free` says so, ended ones.
    sessions: Vec<LiveSession>,
    free: Vec<Position>,
    /// Places of sessions, by token.
    tokens: HashTable<Position>,
    /// Places of sessions, by number.
    logins: HashTable<Position>,
    /// What those sessions are good for that are no logins.
    grants: FxHashMap<SessionId, Grant>,
    /// Each user's oldest login, and the account's place: the order of `show`.
    oldest: BTreeMap<SessionId, Position>,
}

/// An account and the ends of the list of its sessions.
#[derive(Debug)]
struct AccountSessions {
    user: Arc<User>,
    oldest: Position,
    newest: Position,
}

#[derive(Debug)]
struct LiveSession {
    token: TokenHash,
    id: SessionId,
    /// When it was last used, as the database knows.
    stored_use: Timestamp,
    /// When it was last used, as this process knows, in milliseconds as [`Timestamp`] has them.
    last_use: AtomicI64,
    account: Position,
    /// The sessions of the same account before and after this one.
    older: Position,
    newer: Position,
    address: Option<IpAddr>,
}

impl LiveSession {
    fn last_use(&self) -> Timestamp {
        Timestamp(self.last_use.load(Ordering::Relaxed))
    }

    fn touch(&self, now: Timestamp) {
        self.last_use.fetch_max(now.0, Ordering::Relaxed);
    }
}

fn hash(key: impl Hash) -> u64 {
    FxBuildHasher.hash_one(key)
}

/// As a place in a vector.
fn index(place: Position) -> usize {
    place as usize
}

fn place(index: usize) -> Position {
    Position::try_from(index).expect("four billion accounts or sessions do not fit into memory")
}

impl Directory {
    /// An empty one with room for so many.
    fn with_capacity(users: usize, sessions: usize) -> Directory {
        Directory {
            accounts: Vec::with_capacity(users),
            numbers: HashTable::with_capacity(users),
            names: HashTable::with_capacity(users),
            sessions: Vec::with_capacity(sessions),
            tokens: HashTable::with_capacity(sessions),
            logins: HashTable::with_capacity(sessions),
            ..Directory::default()
        }
    }

    /// Changes the image to what was committed. Adds the sessions and accounts that this ended to `ended`.
    pub(crate) fn apply(&mut self, event: Event, ended: &mut Ended) {
        match event {
            Event::Nothing | Event::MessagesRemoved(_) | Event::GroupsChanged(_) | Event::Several(_) => {}
            Event::UserStored(user) => self.put_user(*user, ended),
            Event::PasswordSet(id) => self.end_all(id, ended),
            Event::AdministratorSet(id, is) => self.change_user(id, |user| user.administrator = is, ended),
            Event::DisabledSet(id, disabled) => {
                self.end_all(id, ended);
                self.change_user(id, |user| user.disabled = disabled, ended);
            }
            Event::ProfileSet { user, display_name, country } => {
                let change = |user: &mut User| {
                    display_name.into_iter().for_each(|name| user.display_name = String::from(name).into());
                    country.into_iter().for_each(|country| user.country = String::from(country).into());
                };
                self.change_user(user, change, ended);
            }
            Event::UserRemoved(id) => {
                self.end_all(id, ended);
                self.change_user(id, |user| user.removed = true, ended);
            }
            Event::SessionOpened(record, over) => {
                self.open(record);
                over.into_iter().for_each(|id| self.end(id, ended));
            }
            Event::LoggedOut(id) => self.end(id, ended),
            Event::SessionsEnded(ids) => ids.into_iter().for_each(|id| self.end(id, ended)),
            Event::UsesStored(uses) => uses.into_iter().for_each(|(id, at)| self.use_is_stored(id, at)),
        }
    }

    /// The living account of this name.
    pub(crate) fn user_named(&self, name: &str) -> Option<Arc<User>> {
        self.named(name).map(|place| self.accounts[index(place)].user.clone())
    }

    /// The number of the living account of this name.
    pub(crate) fn recipient(&self, name: &str) -> Option<UserId> {
        self.named(name).map(|place| self.accounts[index(place)].user.id)
    }

    /// An account by number, removed ones too.
    pub(crate) fn user(&self, id: UserId) -> Option<Arc<User>> {
        self.numbered(id).map(|place| self.accounts[index(place)].user.clone())
    }

    /// The session whose token hashes to this, unless it was not used since `unused_since`; it is in use `now`.
    pub(crate) fn session(&self, token: &TokenHash, now: Timestamp, unused_since: Timestamp) -> Option<Session> {
        let place = self.tokens.find(hash(token), |place| self.sessions[index(*place)].token == *token)?;
        let live = &self.sessions[index(*place)];
        let grant = self.grants.get(&live.id).copied();
        // A token for a program does not expire when it is not used.
        if grant.is_none() && live.last_use() < unused_since {
            return None;
        }
        live.touch(now);
        Some(Session { id: live.id, user: self.accounts[index(live.account)].user.clone(), grant })
    }

    pub(crate) fn is_open(&self, id: SessionId) -> bool {
        self.login(id).is_some()
    }

    /// The last uses of an account's sessions that the database does not have yet.
    pub(crate) fn unstored_uses(&self, user: UserId) -> Vec<(SessionId, Timestamp)> {
        let Some(account) = self.numbered(user) else { return Vec::new() };
        let sessions = self.sessions_of(account).map(|session| &self.sessions[index(session)]);
        let unstored = sessions.filter(|live| live.last_use() != live.stored_use);
        unstored.map(|live| (live.id, live.last_use())).collect()
    }

    /// From where an account's sessions were opened.
    pub(crate) fn addresses(&self, user: UserId) -> Vec<IpAddr> {
        let Some(account) = self.numbered(user) else { return Vec::new() };
        self.sessions_of(account).filter_map(|session| self.sessions[index(session)].address).collect()
    }

    /// Users with a session, in the order of their oldest, each with that: the first `most` of those after `after`.
    pub(crate) fn online(&self, after: SessionId, most: usize) -> Vec<(SessionId, UserId, Username)> {
        let next = self.oldest.range((Excluded(after), Unbounded)).take(most).map(|(id, at)| (id, index(*at)));
        next.map(|(id, at)| (*id, self.accounts[at].user.id, self.accounts[at].user.username.clone())).collect()
    }

    /// How many accounts live and how many logins.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.names.len(), self.tokens.len() - self.grants.len())
    }

    fn numbered(&self, id: UserId) -> Option<Position> {
        self.numbers.find(hash(id), |place| self.accounts[index(*place)].user.id == id).copied()
    }

    fn named(&self, name: &str) -> Option<Position> {
        self.names.find(hash(name), |place| self.accounts[index(*place)].user.username.as_str() == name).copied()
    }

    fn login(&self, id: SessionId) -> Option<Position> {
        self.logins.find(hash(id), |place| self.sessions[index(*place)].id == id).copied()
    }

    /// The places of an account's sessions, oldest first.
    fn sessions_of(&self, account: Position) -> impl Iterator<Item = Position> {
        let mut next = self.accounts[index(account)].oldest;
        std::iter::from_fn(move || {
            let place = (next != NONE).then_some(next)?;
            next = self.sessions[index(place)].newer;
            Some(place)
        })
    }

    /// Adds or replaces an account.
    fn put_user(&mut self, user: User, ended: &mut Ended) {
        let (id, removed) = (user.id, user.removed);
        let place = match self.numbered(id) {
            Some(at) => {
                let former = std::mem::replace(&mut self.accounts[index(at)].user, Arc::new(user));
                if !former.removed && (removed || former.username != self.accounts[index(at)].user.username) {
                    take_out(&mut self.names, hash(former.username.as_str()), at);
                }
                if removed {
                    if !former.removed {
                        ended.users.push(id);
                    }
                    return;
                }
                at
            }
            None => {
                let at = place(self.accounts.len());
                self.accounts.push(AccountSessions { user: Arc::new(user), oldest: NONE, newest: NONE });
                let accounts = &self.accounts;
                self.numbers.insert_unique(hash(id), at, |place| hash(accounts[index(*place)].user.id));
                at
            }
        };
        let accounts = &self.accounts;
        let user = &accounts[index(place)].user;
        if !removed && self.named(user.username.as_str()) != Some(place) {
            let by_name = |place: &Position| hash(accounts[index(*place)].user.username.as_str());
            self.names.insert_unique(hash(user.username.as_str()), place, by_name);
        }
    }

    fn change_user(&mut self, id: UserId, change: impl FnOnce(&mut User), ended: &mut Ended) {
        if let Some(user) = self.user(id) {
            let mut user = User::clone(&user);
            change(&mut user);
            self.put_user(user, ended);
        }
    }

    /// Adds a session. One that is there already keeps its last use. One without an account is left out.
    fn open(&mut self, record: SessionRecord) {
        let SessionRecord { id, user, token, last_used_at, address, grant } = record;
        if let Some(at) = self.login(id) {
            let live = &mut self.sessions[index(at)];
            live.stored_use = last_used_at;
            live.touch(last_used_at);
            if live.token == token && self.accounts[index(live.account)].user.id == user {
                live.address = address;
                return;
            }
            self.end(id, &mut Ended::default());
        }
        let Some(account) = self.numbered(user) else { return };
        // Logins come in the order of their numbers, so this looks no further than one place.
        let mut older = self.accounts[index(account)].newest;
        let mut newer = NONE;
        while older != NONE && self.sessions[index(older)].id > id {
            newer = older;
            older = self.sessions[index(older)].older;
        }
        let last_use = AtomicI64::new(last_used_at.0);
        let live = LiveSession { token, id, stored_use: last_used_at, last_use, account, older, newer, address };
        let at = match self.free.pop() {
            Some(at) => {
                self.sessions[index(at)] = live;
                at
            }
            None => {
                self.sessions.push(live);
                place(self.sessions.len() - 1)
            }
        };
        let former = self.oldest_of(account);
        grant.map(|grant| self.grants.insert(id, grant));
        self.link(older, newer, account, at, at);
        self.order(account, former);
        let sessions = &self.sessions;
        self.tokens.insert_unique(hash(token), at, |place| hash(sessions[index(*place)].token));
        self.logins.insert_unique(hash(id), at, |place| hash(sessions[index(*place)].id));
    }

    /// Ends a session, if there is one.
    fn end(&mut self, id: SessionId, ended: &mut Ended) {
        let Some(at) = self.login(id) else { return };
        let LiveSession { token, account, older, newer, .. } = self.sessions[index(at)];
        let former = self.oldest_of(account);
        self.link(older, newer, account, newer, older);
        self.order(account, former);
        self.grants.remove(&id);
        take_out(&mut self.tokens, hash(token), at);
        take_out(&mut self.logins, hash(id), at);
        self.sessions[index(at)].account = NONE;
        self.free.push(at);
        ended.sessions.push((id, self.accounts[index(account)].user.id));
    }

    fn end_all(&mut self, user: UserId, ended: &mut Ended) {
        let Some(account) = self.numbered(user) else { return };
        let ids: Vec<SessionId> = self.sessions_of(account).map(|place| self.sessions[index(place)].id).collect();
        ids.into_iter().for_each(|id| self.end(id, ended));
    }

    fn use_is_stored(&mut self, id: SessionId, at: Timestamp) {
        if let Some(place) = self.login(id) {
            self.sessions[index(place)].stored_use = at;
        }
    }

    /// Makes `after_older` follow `older`, and `before_newer` precede `newer`, in the list of an account's sessions.
    fn link(
        &mut self,
        older: Position,
        newer: Position,
        account: Position,
        after_older: Position,
        before_newer: Position,
    ) {
        match older {
            NONE => self.accounts[index(account)].oldest = after_older,
            older => self.sessions[index(older)].newer = after_older,
        }
        match newer {
            NONE => self.accounts[index(account)].newest = before_newer,
            newer => self.sessions[index(newer)].older = before_newer,
        }
    }

    fn oldest_of(&self, account: Position) -> Option<SessionId> {
        let mut ids = self.sessions_of(account).map(|place| self.sessions[index(place)].id);
        ids.find(|id| !self.grants.contains_key(id))
    }

    /// Keeps the order of `show`, after an account's oldest session was `former`.
    fn order(&mut self, account: Position, former: Option<SessionId>) {
        let now = self.oldest_of(account);
        if now != former {
            former.map(|former| self.oldest.remove(&former));
            now.map(|now| self.oldest.insert(now, account));
        }
    }
}

fn take_out(table: &mut HashTable<Position>, hash: u64, at: Position) {
    if let Ok(entry) = table.find_entry(hash, |place| *place == at) {
        entry.remove();
    }
}

#[cfg(test)]
mod tests;
