//! Bytes that payers share, and how one of them makes room for another.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Payer, PayerTotals};

/// Bytes that payers share. A payer may have as many as then stay free, and always its fair part of the whole. If that
/// part is not free, the oldest charge of the payer with the most is cut. A payer that is alone may have more, but only
/// once.
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

/// Whether a charge was cut, and the tasks that wait for this.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    is_cut: AtomicBool,
    told: Notify,
}

impl Cut {
    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }

    /// Ready when that is so.
    pub(crate) async fn happens(&self) {
        let told = self.told.notified();
        if !self.is_cut() {
            told.await;
        }
    }
}

impl Pool {
    pub(super) fn new(size: usize) -> Arc<Pool> {
        let state = ChargeState { size, taken: 0, by_payer: PayerTotals::default(), charges: BTreeMap::new(), next: 0 };
        Arc::new(Pool { state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, ChargeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes another size. A charge that is larger stays.
    pub(super) fn resize(&self, size: usize) {
        self.state().size = size;
    }

    /// A charge of nothing yet.
    pub fn charge(self: &Arc<Pool>, payer: Payer) -> Charge {
        self.charge_with(payer, Arc::default())
    }

    /// The same. `cut` says whether the charge has been cut.
    pub(crate) fn charge_with(self: &Arc<Pool>, payer: Payer, cut: Arc<Cut>) -> Charge {
        Charge { pool: self.clone(), payer, number: None, cut }
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
        self.cut.is_cut()
    }

    /// Ready when that is so.
    pub async fn cut(&self) {
        self.cut.happens().await;
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
    use crate::model::UserId;

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
}
