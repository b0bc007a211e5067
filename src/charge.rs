//! Who is charged for what. Whatever one connection, one account or one address can make the server hold has a share, a
//! deadline, and is given back when its cause ends. All of it is here:
//!
//! - A connection: its address ([`network`]) is charged, up to `limits.connections_per_address`. The deadline is
//!   `limits.peer_timeout`, and it makes room for another one while it shows no living token. It is given back when the
//!   connection ends.
//! - An authenticated connection: the account of the token that it showed last is charged, up to
//!   `limits.connections_per_account`. The deadline is the same. It is given back when the connection ends or shows
//!   another token, or the session ends.
//! - A request line beyond the short limit: the account is charged, up to as much of `limits.buffered_bytes` as stays
//!   free beside it. The deadline is `limits.write_timeout` and what `limits.min_bytes_per_second` allows. It is given
//!   back when the line was carried out or refused, or the session ends.
//! - Replies beyond [`UNCHARGED`] that were not written: the account is charged for the texts in them and for the piece
//!   that is bytes already, up to as much of `limits.buffered_reply_bytes` as stays free beside it. The deadline is the
//!   same. They are given back when they are written; when the session is revoked, the connection ends.
//! - Requests that were not taken: the connection has one read of them, without a deadline, as they cost no more. They
//!   are taken when the replies before them are written.
//! - A password hash and its place in the queue: the address is charged, or the account where it is known there; see
//!   [`crate::auth::password`] and [`crate::auth::throttle`]. The queue is bounded. It is given back when the peer is
//!   gone.
//! - A turn to read on, after a read that brought no request: the account is charged, or the address where there is
//!   none. Each turn is one read. It is given back when others had theirs.
//! - A turn to have a step of a TLS handshake computed: the address is charged. Each turn is bounded, and the handshake
//!   has `limits.handshake_timeout`. It is given back when the step is done, or the peer is gone.
//! - A turn to have a piece of a long reply made: the account is charged ([`crate::fair`]). Each turn is bounded. It is
//!   given back when the piece is made, or the peer or its session is gone.
//! - A turn to have the list of those who are logged in made: the account is charged. It is given back when the list is
//!   made, or the peer is gone.
//! - A turn at the readers: the account is charged ([`crate::fair`]). Each turn is bounded. It is given back when the
//!   peer is gone.
//!
//! The connections are counted in [`crate::transport::admission`]; the bytes are counted here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::fair::Turns;
use crate::model::{SessionId, UserId};

/// What is read of a connection at once, at the most, in bytes.
pub const READ: usize = 64 << 10;
/// The same of one that has shown no living token.
pub const READ_UNAUTHENTICATED: usize = 4 << 10;
/// No further request is taken while more than this is unwritten, in bytes.
pub const UNREAD: usize = 8 << 10;
/// Bytes of replies that a connection may have unwritten at nobody's charge.
pub const UNCHARGED: usize = 32 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub session: SessionId,
    pub user: UserId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payer {
    Account(UserId),
    /// What counts as one address: a [`network`].
    Network(IpAddr),
}

impl Payer {
    /// Whoever is at this address.
    pub fn at(address: IpAddr) -> Payer {
        Payer::Network(network(address))
    }
}

/// What counts as one address: an IPv4 address, or an IPv6 network of 64 bits.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// How much each payer has of something.
#[derive(Debug, Default)]
pub(crate) struct PayerTotals {
    by_payer: HashMap<Payer, usize>,
}

impl PayerTotals {
    /// What `payer` has.
    pub(crate) fn of(&self, payer: Payer) -> usize {
        self.by_payer.get(&payer).copied().unwrap_or(0)
    }

    /// Charges `payer`.
    pub(crate) fn add(&mut self, payer: Payer, amount: usize) {
        *self.by_payer.entry(payer).or_default() += amount;
    }

    /// Gives back to `payer`.
    pub(crate) fn subtract(&mut self, payer: Payer, amount: usize) {
        if let Some(has) = self.by_payer.get_mut(&payer) {
            *has = has.saturating_sub(amount);
            if *has == 0 {
                self.by_payer.remove(&payer);
            }
        }
    }

    pub(crate) fn payers(&self) -> usize {
        self.by_payer.len()
    }
}

/// The memory that long lines and long replies may take. One for the whole server.
#[derive(Debug)]
pub struct Memory {
    /// For request lines beyond the short limit.
    pub lines: Arc<Pool>,
    /// For replies beyond [`UNCHARGED`] that were not written.
    pub replies: Arc<Pool>,
    /// For the turns of reads that bring no request.
    pub reading: Arc<Turns<Payer>>,
    /// For the turns of pieces of long replies to become bytes, each on a thread that serves nobody.
    pub rendering: Arc<Turns<Payer>>,
    /// For the turns of lists of those who are logged in to be made, each as long as there are accounts.
    pub lists: Arc<Turns<Payer>>,
}

/// How many go on at once who read what holds no request.
const READ_AT_ONCE: usize = 1;
/// How many pieces of long replies become bytes at once. One, so that most processors are left to those who serve.
const RENDERED_AT_ONCE: usize = 1;
/// How many lists of those who are logged in are made at once.
const LISTED_AT_ONCE: usize = 1;

impl Memory {
    /// So many bytes for each.
    pub fn new(lines: usize, replies: usize) -> Memory {
        let [reading, rendering, online] = [READ_AT_ONCE, RENDERED_AT_ONCE, LISTED_AT_ONCE].map(Turns::new);
        Memory { lines: Pool::new(lines), replies: Pool::new(replies), reading, rendering, lists: online }
    }

    /// Takes other sizes. Who has more than there is keeps it.
    pub fn resize(&self, lines: usize, replies: usize) {
        self.lines.state().size = lines;
        self.replies.state().size = replies;
    }
}

/// Bytes that payers share. Each may have as many as then stay free, and its fair part of the whole in any case: where
/// that is not free, the oldest charge of whoever has the most is cut. Only who is alone may have more, and that once.
#[derive(Debug)]
pub struct Pool {
    state: Mutex<ChargeState>,
}

#[derive(Debug)]
struct ChargeState {
    size: usize,
    taken: usize,
    by_payer: PayerTotals,
    /// Those that are not empty, in the order in which they began.
    charges: BTreeMap<u64, ChargeEntry>,
    /// The number of the next.
    next: u64,
}

#[derive(Debug)]
struct ChargeEntry {
    payer: Payer,
    bytes: usize,
    cut: Arc<Cut>,
}

/// Whether a charge was cut, and who wants to know.
#[derive(Debug, Default)]
struct Cut {
    is_cut: AtomicBool,
    told: Notify,
}

impl Pool {
    fn new(size: usize) -> Arc<Pool> {
        let state = ChargeState { size, taken: 0, by_payer: PayerTotals::default(), charges: BTreeMap::new(), next: 0 };
        Arc::new(Pool { state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, ChargeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A charge of nothing yet.
    pub fn charge(self: &Arc<Pool>, payer: Payer) -> Charge {
        Charge { pool: self.clone(), payer, number: None, cut: Arc::default() }
    }

    /// How many bytes are taken.
    pub fn taken(&self) -> usize {
        self.state().taken
    }
}

impl ChargeState {
    fn free(&self) -> usize {
        self.size.saturating_sub(self.taken)
    }

    /// How much more `payer` may have; `holds`: some of what it has is the same charge's.
    fn room(&self, payer: Payer, holds: bool) -> usize {
        let mine = self.by_payer.of(payer);
        if self.charges.len() == usize::from(holds) {
            return self.free();
        }
        // One part stays for whoever comes next.
        let payers = self.by_payer.payers() + usize::from(mine == 0);
        let fair = self.size / (payers + 1);
        (self.free().saturating_sub(mine) / 2).max(fair.saturating_sub(mine))
    }

    /// Makes `wanted` bytes free that are not `payer`'s.
    fn make_room(&mut self, payer: Payer, wanted: usize) {
        while self.free() < wanted {
            let others = self.charges.iter().filter(|(_, entry)| entry.payer != payer);
            let of_the_most = others.map(|(number, entry)| (self.by_payer.of(entry.payer), Reverse(*number))).max();
            let Some((_, Reverse(number))) = of_the_most else { return };
            if let Some(entry) = self.remove(number) {
                entry.cut.is_cut.store(true, Ordering::Release);
                entry.cut.told.notify_waiters();
            }
        }
    }

    fn remove(&mut self, number: u64) -> Option<ChargeEntry> {
        let entry = self.charges.remove(&number)?;
        self.taken -= entry.bytes;
        self.by_payer.subtract(entry.payer, entry.bytes);
        Some(entry)
    }
}

/// Bytes of a pool that are charged to somebody; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    pool: Arc<Pool>,
    payer: Payer,
    /// Under which the pool knows it, once it is not empty.
    number: Option<u64>,
    cut: Arc<Cut>,
}

impl Charge {
    /// Changes the charge to `bytes`, or leaves it as it is where there is no room for so many.
    pub fn set(&mut self, bytes: usize) -> bool {
        let mut state = self.pool.state();
        let former = self.number.and_then(|number| state.charges.get(&number)).map_or(0, |entry| entry.bytes);
        // Nobody can have more than there is.
        let bytes = bytes.min(state.size.max(former));
        if bytes > former {
            let more = bytes - former;
            if self.is_cut() || more > state.room(self.payer, former > 0) {
                return false;
            }
            state.make_room(self.payer, more);
        }
        if bytes == former {
            return true;
        }
        let next = state.next;
        let number = *self.number.get_or_insert(next);
        state.next = next.max(number + 1);
        state.remove(number);
        if bytes > 0 {
            state.taken += bytes;
            state.by_payer.add(self.payer, bytes);
            state.charges.insert(number, ChargeEntry { payer: self.payer, bytes, cut: self.cut.clone() });
        }
        true
    }

    /// Takes up to `bytes`, as many as there is room for; gives how many.
    pub fn take_up_to(&mut self, bytes: usize) -> usize {
        let bytes = bytes.min(self.pool.state().room(self.payer, false));
        // Others may have come in between.
        if self.set(bytes) { bytes } else { 0 }
    }

    /// Whether somebody else needed the room more.
    pub fn is_cut(&self) -> bool {
        self.cut.is_cut.load(Ordering::Acquire)
    }

    /// Ready when that is so.
    pub async fn cut(&self) {
        let told = self.cut.told.notified();
        if !self.is_cut() {
            told.await;
        }
    }

    pub fn payer(&self) -> Payer {
        self.payer
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.pool.state().remove(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: i64) -> Payer {
        Payer::Account(UserId(number))
    }

    /// As many charges as an account can get.
    fn all_that_one_gets(pool: &Arc<Pool>, number: i64) -> Vec<Charge> {
        let mut charges: Vec<Charge> = (0..10).map(|_| pool.charge(account(number))).collect();
        charges.iter_mut().for_each(|charge| _ = charge.take_up_to(10_000));
        charges
    }

    #[test]
    fn however_many_accounts_take_all_they_can_each_other_one_gets_its_part() {
        const SIZE: usize = 100_000;
        let pool = Pool::new(SIZE);
        let mut held = Vec::new();
        for number in 1..=20_u8 {
            held.push(all_that_one_gets(&pool, number.into()));
            let mine = pool.state().by_payer.of(account(number.into()));
            assert!(mine >= SIZE / usize::from(number) / 2, "account {number} has {mine}");
            assert!(pool.taken() <= SIZE);
        }
        let mut another = pool.charge(account(99));
        assert!(another.set(SIZE / 22), "{} are taken", pool.taken());
        let cut = held.iter().flatten().filter(|charge| charge.is_cut()).count();
        assert!(cut > 0 && !another.is_cut() && pool.taken() <= SIZE);
        held.clear();
        drop(another);
        assert_eq!(pool.taken(), 0);
        assert!(pool.state().by_payer.payers() == 0 && pool.state().charges.is_empty());
    }

    #[tokio::test]
    async fn who_is_alone_may_have_all_of_it_once_and_until_another_comes() {
        let pool = Pool::new(1000);
        let mut first = pool.charge(account(1));
        assert!(first.set(5000), "nobody can have more than there is");
        assert_eq!(pool.taken(), 1000);
        assert!(!pool.charge(account(1)).set(1), "not twice");
        let mut other = pool.charge(account(2));
        assert!(!other.set(334), "a third is fair, because a third one may come");
        assert!(other.set(333));
        first.cut().await;
        assert!(!first.set(1001) && first.set(0), "it is over");
        assert_eq!(pool.taken(), 333);
        let mut again = pool.charge(account(1));
        assert!(!again.set(334) && again.set(333) && !other.is_cut());
    }

    #[test]
    fn one_account_leaves_as_much_as_it_has() {
        let pool = Pool::new(1000);
        let [mut first, mut second, mut third] = [(); 3].map(|()| pool.charge(account(1)));
        assert!(first.set(400));
        assert!(!second.set(101) && second.set(100));
        assert!(!third.set(1), "the account has its share");
        assert!(first.set(300) && third.set(100));
    }

    #[test]
    fn one_address_is_an_ipv4_address_or_an_ipv6_network() {
        let payer = |text: &str| Payer::at(text.parse().expect("an address"));
        assert_eq!(payer("2001:db8::1"), payer("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(payer("2001:db8::1"), payer("2001:db8:0:1::1"));
        assert_eq!(payer("192.0.2.1"), payer("::ffff:192.0.2.1"));
        assert_ne!(payer("192.0.2.1"), payer("192.0.2.2"));
    }
}
