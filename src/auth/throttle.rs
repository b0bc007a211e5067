//! How often somebody may try to log in. Attempts are counted by address, and by account and address, before the
//! password is checked. A right password gives its attempt back, so only wrong ones have to wait. Nobody is ever locked
//! out. Knows no account and no socket: a name is the text that was typed.
//!
//! These are plain buckets and not the `governor` crate. That crate cannot give an attempt back. It has one rate for
//! each limiter, and two are needed here. Its store grows with the number of keys. Here the tables never grow. When one
//! is full, the bucket that holds the least is forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::charge::network;

/// Wrong attempts that are allowed; 0 for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In any minute.
    pub per_minute: u32,
    /// In any hour.
    pub per_hour: u32,
}

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// From one address: an IPv4 address, or an IPv6 network of 64 bits.
    pub address: Rate,
    /// From one address to one account.
    pub account: Rate,
}

/// Counts attempts.
#[derive(Debug)]
pub struct Throttle {
    secret: RandomState,
    begun: Instant,
    book: Mutex<Book>,
}

/// An attempt that was let through and counted. Dropped, it stays counted.
#[derive(Debug)]
pub struct Attempt<'a> {
    throttle: &'a Throttle,
    counted: Vec<(RateKey, Rate)>,
    pair: RateKey,
    address: RateKey,
    /// The network around the address.
    wide: RateKey,
    known: bool,
    given_back: bool,
}

/// A keyed hash of what is counted; never 0.
type RateKey = u64;
/// Microseconds since the throttle was made.
type Micros = u64;

const MINUTE: Micros = 60_000_000;
const HOUR: Micros = 60 * MINUTE;

#[derive(Debug)]
struct Book {
    rates: Rates,
    spent: Table<Spent>,
    /// Pairs of account and address with a right login, and when it last was. Apart from `spent`, so that others
    /// cannot push them out.
    known: Table<Micros>,
    /// Attempts whose password is being checked.
    in_hand: HashMap<RateKey, InHand>,
}

/// When the attempts so far will be forgotten, by each of the two rates (the "theoretical arrival time" of GCRA).
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    minute: Micros,
    hour: Micros,
}

#[derive(Debug, Default)]
struct InHand {
    attempts: u64,
    /// For those who may pass when one of these turns out right.
    turn: Arc<Notify>,
}

#[derive(Debug, PartialEq, Eq)]
enum ThrottleVerdict {
    Pass,
    /// Other attempts are being checked and may be given back.
    Wait(RateKey),
    Refuse(Micros),
}

impl Throttle {
    /// `buckets` is how many addresses and pairs of account and address are remembered, 24 bytes each, and as many
    /// pairs that logged in, 16 bytes each.
    pub fn new(rates: Rates, buckets: usize) -> Throttle {
        let book = Book { rates, spent: Table::new(buckets), known: Table::new(buckets), in_hand: HashMap::default() };
        Throttle { secret: RandomState::new(), begun: Instant::now(), book: Mutex::new(book) }
    }

    /// Takes other rates; what was counted stays.
    pub fn set_rates(&self, rates: Rates) {
        self.book().rates = rates;
    }

    /// Counts an attempt, or says how long to wait before the next one is allowed. When all allowed attempts are being
    /// checked, waits until one of them is right. So any number of right logins pass.
    pub async fn attempt(&self, address: IpAddr, name: &str) -> Result<Attempt<'_>, Duration> {
        let wide = self.wide_key(address);
        let (address, pair) = self.keys(address, name);
        loop {
            let turn = {
                let mut book = self.book();
                let now = self.now();
                let mut counted = vec![(pair, book.rates.account)];
                // The owner's own address is not held up by what others there do to other accounts.
                let known = book.known.get(pair).is_some();
                if !known {
                    counted.push((address, book.rates.address));
                }
                match book.ask(&counted, now) {
                    ThrottleVerdict::Pass => {
                        return Ok(Attempt { throttle: self, counted, pair, address, wide, known, given_back: false });
                    }
                    ThrottleVerdict::Refuse(wait) => return Err(Duration::from_secs(wait.div_ceil(1_000_000))),
                    // Made under the lock, so that no turn is missed.
                    ThrottleVerdict::Wait(key) => book.in_hand.entry(key).or_default().turn.clone().notified_owned(),
                }
            };
            turn.await;
        }
    }

    /// Somebody has logged in to this account from this address before.
    pub fn remember(&self, address: IpAddr, name: &str) {
        let (_, pair) = self.keys(address, name);
        let now = self.now();
        self.book().know(pair, now);
    }

    /// Memory of the tables, in bytes.
    pub fn bytes(&self) -> usize {
        let book = self.book();
        book.spent.bytes() + book.known.bytes()
    }

    fn keys(&self, address: IpAddr, name: &str) -> (RateKey, RateKey) {
        let prefix = network(address);
        (self.secret.hash_one(prefix).max(1), self.secret.hash_one((prefix, name)).max(1))
    }

    fn wide_key(&self, address: IpAddr) -> RateKey {
        let wide = match network(address) {
            IpAddr::V4(address) => (24, u128::from(address.to_bits() >> 8)),
            IpAddr::V6(address) => (48, address.to_bits() >> 80),
        };
        self.secret.hash_one(wide)
    }

    fn now(&self) -> Micros {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

impl Attempt<'_> {
    /// Whether somebody has logged in to this account from this address before.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// With which attempts this one shares its turns. A known one shares with others of the same account and address.
    /// Others share with all of their network (24 bits of IPv4, 48 bits of IPv6), and within it with their address.
    pub fn share(&self) -> (u64, u64) {
        if self.known { (self.pair, self.address) } else { (self.wide, self.address) }
    }

    /// The password was right: gives the attempt back, and this address is known to the account from now on.
    pub fn succeeded(mut self) {
        let now = self.throttle.now();
        self.throttle.book().know(self.pair, now);
        self.given_back = true;
    }

    /// The password was not checked: gives the attempt back.
    pub fn unchecked(mut self) {
        self.given_back = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.throttle.book().done(&self.counted, self.given_back);
    }
}

impl Book {
    /// Whether all of these buckets allow one more attempt. If so, the attempt is counted.
    fn ask(&mut self, wanted: &[(RateKey, Rate)], now: Micros) -> ThrottleVerdict {
        let (mut wait, mut busy) = (0, None);
        for (key, rate) in wanted {
            let spent = self.spent.get(*key).copied().unwrap_or_default();
            let in_hand = self.in_hand.get(key).map_or(0, |in_hand| in_hand.attempts);
            let here = spent.wait(*rate, now);
            if here > 0 && in_hand > 0 && spent.less(*rate, in_hand).wait(*rate, now) == 0 {
                busy = Some(*key);
            } else {
                wait = wait.max(here);
            }
        }
        match (wait, busy) {
            (0, None) => {
                for (key, rate) in wanted {
                    let spent = self.spent.put(*key, |spent| spent.minute.max(spent.hour));
                    *spent = spent.more(*rate, now);
                    self.in_hand.entry(*key).or_default().attempts += 1;
                }
                ThrottleVerdict::Pass
            }
            (0, Some(key)) => ThrottleVerdict::Wait(key),
            (wait, _) => ThrottleVerdict::Refuse(wait),
        }
    }

    /// An attempt is over. Those who wait try again: one of them, if the attempt was given back; all, if it was not,
    /// because they may have to be refused.
    fn done(&mut self, counted: &[(RateKey, Rate)], given_back: bool) {
        for (key, rate) in counted {
            if let Some(spent) = self.spent.get_mut(*key).filter(|_| given_back) {
                *spent = spent.less(*rate, 1);
            }
            let Some(in_hand) = self.in_hand.get_mut(key) else { continue };
            in_hand.attempts -= 1;
            if in_hand.attempts == 0 {
                in_hand.turn.notify_waiters();
                self.in_hand.remove(key);
            } else if given_back {
                in_hand.turn.notify_one();
            } else {
                in_hand.turn.notify_waiters();
            }
        }
    }

    fn know(&mut self, pair: RateKey, now: Micros) {
        *self.known.put(pair, |last| *last) = now;
    }
}

impl Spent {
    fn each(self, rate: Rate, change: impl Fn(Micros, Micros, Micros) -> Micros) -> Spent {
        let change =
            |until, period, count| if count == 0 { 0 } else { change(until, period, period / u64::from(count)) };
        Spent { minute: change(self.minute, MINUTE, rate.per_minute), hour: change(self.hour, HOUR, rate.per_hour) }
    }

    fn more(self, rate: Rate, now: Micros) -> Spent {
        self.each(rate, |until, _, each| until.max(now) + each)
    }

    fn less(self, rate: Rate, attempts: u64) -> Spent {
        self.each(rate, |until, _, each| until.saturating_sub(each * attempts))
    }

    /// How long until one more passes.
    fn wait(self, rate: Rate, now: Micros) -> Micros {
        let waits = self.each(rate, |until, period, each| (until.max(now) + each).saturating_sub(now + period));
        waits.minute.max(waits.hour)
    }
}

/// A hash table of fixed size: a key has one set of a few places, and where all are taken, the lightest goes.
#[derive(Debug)]
struct Table<V> {
    /// Key 0 is an empty place.
    places: Vec<(RateKey, V)>,
}

const WAYS: usize = 8;

impl<V: Copy + Default> Table<V> {
    fn new(places: usize) -> Table<V> {
        Table { places: vec![(0, V::default()); places.max(1).next_multiple_of(WAYS)] }
    }

    fn set(&self, key: RateKey) -> std::ops::Range<usize> {
        let sets = self.places.len() as u64 / WAYS as u64;
        let first = usize::try_from(key % sets).expect("there are so many sets in memory") * WAYS;
        first..first + WAYS
    }

    fn get(&self, key: RateKey) -> Option<&V> {
        self.places[self.set(key)].iter().find(|(of, _)| *of == key).map(|(_, value)| value)
    }

    fn get_mut(&mut self, key: RateKey) -> Option<&mut V> {
        let set = self.set(key);
        self.places[set].iter_mut().find(|(of, _)| *of == key).map(|(_, value)| value)
    }

    /// The value of `key`, made where there is none.
    fn put(&mut self, key: RateKey, weight: impl Fn(&V) -> u64) -> &mut V {
        let set = self.set(key);
        let place = |(of, value): &(RateKey, V)| match *of {
            of if of == key => (0, 0),
            0 => (1, 0),
            _ => (2, weight(value)),
        };
        let best = self.places[set].iter_mut().min_by_key(|taken| place(taken)).expect("a set has places");
        if best.0 != key {
            *best = (key, V::default());
        }
        &mut best.1
    }

    fn bytes(&self) -> usize {
        self.places.len() * size_of::<(RateKey, V)>()
    }
}

#[cfg(test)]
mod tests;
