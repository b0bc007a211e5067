//! Counts connections: all, those from each address, those of each account, and those that have not shown a living
//! token ("unauthenticated"). When there is no room, the unauthenticated connection that was silent for longest is
//! evicted. Where all wait for an answer, who comes from a network from which somebody has logged in gets the place of
//! one who does not. Authenticated ones are never evicted, because the clients in use do not connect again by
//! themselves. Knows no socket and no protocol.

mod eviction;
mod known;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::known::KnownNetworks;
use crate::charge::{Holder, Payer, PayerTotals};
use crate::model::{SessionId, UserId};

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub total: usize,
    /// From one IPv4 address, or from one IPv6 network of 64 bits.
    pub per_address: usize,
    /// That have shown a token of one account; one token has three quarters of them at the most, so whoever has got one
    /// does not shut the account's other logins out.
    pub per_account: usize,
    /// Connections that have not shown a living token.
    pub unauthenticated: usize,
}

/// Who is connected.
#[derive(Debug)]
pub struct Connections {
    begun: Instant,
    state: Mutex<AdmissionState>,
}

#[derive(Debug)]
struct AdmissionState {
    limits: ConnectionLimits,
    total: usize,
    /// By network. Those that are authenticated are counted by account, too.
    counts: PayerTotals,
    unauthenticated: FxHashMap<u64, Arc<Record>>,
    authenticated: FxHashMap<u64, (Arc<Record>, Holder)>,
    by_session: FxHashMap<SessionId, Vec<u64>>,
    known: KnownNetworks,
    /// The number of the next connection.
    next: u64,
}

/// What is known of one connection from outside.
#[derive(Debug)]
struct Record {
    number: u64,
    network: Payer,
    /// When the peer last said something, in milliseconds since the start; [`BUSY`] while it waits for us.
    heard: AtomicU64,
    /// The state of the token that was shown: one of the four below.
    login: AtomicU8,
    ended: Notify,
    task: OnceLock<AbortHandle>,
}

impl Record {
    async fn session_ended(&self) {
        loop {
            let ended = self.ended.notified();
            if matches!(self.login.load(Ordering::Acquire), LOGGED_OUT | REVOKED) {
                return;
            }
            ended.await;
        }
    }

    async fn revoked(&self) {
        loop {
            let ended = self.ended.notified();
            if self.login.load(Ordering::Acquire) == REVOKED {
                return;
            }
            ended.await;
        }
    }
}

/// A peer that waits for an answer is not silent.
const BUSY: u64 = u64::MAX;

const NONE: u8 = 0;
const LIVING: u8 = 1;
const LOGGED_OUT: u8 = 2;
const REVOKED: u8 = 3;

/// A connection's place in the counts; given up when dropped.
#[derive(Debug)]
pub struct Slot {
    connections: Arc<Connections>,
    record: Arc<Record>,
    /// Whose the living token is that was shown last.
    shown: Option<Holder>,
}

/// By which a connection can be closed to make room.
#[derive(Debug)]
pub struct Eviction(Arc<Record>);

/// Signals the end of the session whose token a connection has shown.
#[derive(Debug)]
pub(crate) struct LoginWatch(Arc<Record>);

impl LoginWatch {
    /// Ready when that is so.
    pub(crate) async fn session_ended(&self) {
        self.0.session_ended().await;
    }

    /// Ready when it was ended otherwise than by a logout.
    pub(crate) async fn revoked(&self) {
        self.0.revoked().await;
    }
}

/// The account has as many connections as one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Connections {
    /// Nobody yet.
    pub fn new(limits: ConnectionLimits) -> Arc<Connections> {
        let state = AdmissionState {
            limits,
            total: 0,
            counts: PayerTotals::default(),
            unauthenticated: FxHashMap::default(),
            authenticated: FxHashMap::default(),
            by_session: FxHashMap::default(),
            known: KnownNetworks::default(),
            next: 0,
        };
        Arc::new(Connections { begun: Instant::now(), state: Mutex::new(state) })
    }

    /// Takes other limits. Who is there stays.
    pub fn set_limits(&self, limits: ConnectionLimits) {
        self.state().limits = limits;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.state().total
    }

    /// Gives a slot to a connection from `address`, if need be that of an unauthenticated one: of the same address
    /// where that has as many as it may.
    pub fn enter(self: &Arc<Connections>, address: IpAddr) -> Option<Slot> {
        let per_address = self.state().limits.per_address;
        self.admit(address, per_address)
    }

    /// The same for a proxy, which may have as many connections as there may be in all.
    pub fn enter_proxy(self: &Arc<Connections>, address: IpAddr) -> Option<Slot> {
        self.admit(address, usize::MAX)
    }

    fn admit(self: &Arc<Connections>, address: IpAddr, per_address: usize) -> Option<Slot> {
        let network = Payer::at(address);
        let mut state = self.state();
        if state.counts.of(network) >= per_address {
            let silent = state.longest_silent(|record| record.network == network)?;
            state.evict(&silent);
        }
        if state.total >= state.limits.total || state.unauthenticated.len() >= state.limits.unauthenticated {
            let evicted = state.who_makes_room(network)?;
            state.evict(&evicted);
        }
        state.total += 1;
        state.counts.add(network, 1);
        let number = state.next;
        state.next += 1;
        let record = Arc::new(Record {
            number,
            network,
            heard: self.now().into(),
            login: NONE.into(),
            ended: Notify::new(),
            task: OnceLock::new(),
        });
        state.unauthenticated.insert(number, record.clone());
        drop(state);
        Some(Slot { connections: self.clone(), record, shown: None })
    }

    /// A session has ended: its connections are unauthenticated from now on. `revoked`: nobody asked for it on the
    /// wire.
    pub fn session_ended(&self, session: SessionId, revoked: bool) {
        let mut state = self.state();
        for number in state.by_session.remove(&session).unwrap_or_default() {
            let Some((record, holder)) = state.authenticated.remove(&number) else { continue };
            state.counts.subtract(Payer::Account(holder.user), 1);
            state.put_out(record, self.now(), if revoked { REVOKED } else { LOGGED_OUT });
        }
    }

    /// Whether any has shown a living token of this account's.
    pub fn has_any_of(&self, user: UserId) -> bool {
        self.state().counts.of(Payer::Account(user)) > 0
    }

    /// The sessions whose tokens were shown.
    pub fn sessions(&self) -> Vec<SessionId> {
        self.state().by_session.keys().copied().collect()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }

    fn state(&self) -> MutexGuard<'_, AdmissionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AdmissionState {
    /// Ends a connection, and takes it off the counts at once.
    fn evict(&mut self, record: &Record) {
        record.task.get().inspect(|task| task.abort());
        self.unauthenticated.remove(&record.number);
        self.leave(record);
    }

    fn leave(&mut self, record: &Record) {
        self.total -= 1;
        self.counts.subtract(record.network, 1);
    }

    /// Takes an authenticated connection off the count of its account.
    fn detach(&mut self, number: u64) -> Option<Arc<Record>> {
        let (record, holder) = self.authenticated.remove(&number)?;
        self.counts.subtract(Payer::Account(holder.user), 1);
        if let Some(numbers) = self.by_session.get_mut(&holder.session) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_session.remove(&holder.session);
            }
        }
        Some(record)
    }

    fn put_out(&mut self, record: Arc<Record>, now: u64, login: u8) {
        record.heard.store(now, Ordering::Relaxed);
        record.login.store(login, Ordering::Release);
        record.ended.notify_waiters();
        self.unauthenticated.insert(record.number, record);
    }
}

impl Slot {
    /// How to evict the connection, as soon as it is known which task has the slot.
    pub fn eviction(&self) -> Eviction {
        Eviction(self.record.clone())
    }

    /// Whether a living token was shown last.
    pub fn is_authenticated(&self) -> bool {
        self.record.login.load(Ordering::Acquire) == LIVING
    }

    pub fn holder(&self) -> Option<Holder> {
        self.shown.filter(|_| self.is_authenticated())
    }

    /// Whether a token of this login was shown last, which has not ended.
    pub fn belongs_to(&self, holder: &Holder) -> bool {
        self.shown.as_ref() == Some(holder) && self.is_authenticated()
    }

    /// The peer has sent something, maybe half a line, or has taken something.
    pub fn touch(&self) {
        if !self.is_authenticated() {
            self.record.heard.store(self.connections.now(), Ordering::Relaxed);
        }
    }

    /// The peer waits for an answer.
    pub fn mark_busy(&self) {
        if !self.is_authenticated() {
            self.record.heard.store(BUSY, Ordering::Relaxed);
        }
    }

    /// A living token was shown: the connection is its account's from now on, if that may have one more.
    pub fn authenticate(&mut self, holder: Holder) -> Result<(), TooMany> {
        let mut state = self.connections.state();
        let number = self.record.number;
        let account = Payer::Account(holder.user);
        let is_its_already = state.authenticated.get(&number).is_some_and(|(_, former)| former.user == holder.user);
        let of_session = state.by_session.get(&holder.session).map_or(0, Vec::len);
        let (most, most_of_session) = (state.limits.per_account, (state.limits.per_account * 3).div_ceil(4));
        if !is_its_already && (state.counts.of(account) >= most || of_session >= most_of_session) {
            return Err(TooMany);
        }
        // Who is in neither was evicted, and this task ends.
        let Some(record) = state.detach(number).or_else(|| state.unauthenticated.remove(&number)) else {
            return Ok(());
        };
        state.counts.add(account, 1);
        state.known.add(record.network);
        record.login.store(LIVING, Ordering::Release);
        state.by_session.entry(holder.session).or_default().push(number);
        state.authenticated.insert(number, (record, holder));
        self.shown = Some(holder);
        Ok(())
    }

    /// A token that is none was shown, or the session was ended here.
    pub fn forget_token(&mut self) {
        if self.shown.take().is_some() {
            self.record.login.store(NONE, Ordering::Release);
            let mut state = self.connections.state();
            if let Some(record) = state.detach(self.record.number) {
                state.put_out(record, self.connections.now(), NONE);
            }
        }
    }

    /// Ready when the session of the token that was shown last has ended.
    pub(crate) async fn session_ended(&self) {
        self.record.session_ended().await;
    }

    /// For tasks that must know when the session ends, and do not have the slot.
    pub(crate) fn watch_login(&self) -> LoginWatch {
        LoginWatch(self.record.clone())
    }

    /// Ready when it was ended otherwise than by a logout.
    pub async fn revoked(&self) {
        self.record.revoked().await;
    }
}

impl Eviction {
    /// The connection ends when this is aborted.
    pub fn attach_task(self, task: AbortHandle) {
        // This is made once for each slot, so nothing is there yet.
        let _ = self.0.task.set(task);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        let number = self.record.number;
        // Who is in neither was evicted, and is off the counts.
        if let Some(record) = state.detach(number).or_else(|| state.unauthenticated.remove(&number)) {
            state.leave(&record);
        }
    }
}

#[cfg(test)]
mod tests;
