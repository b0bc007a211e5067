//! Who makes room, when there is none for another connection that has shown no living token.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{AdmissionState, BUSY, Record};
use crate::charge::{Payer, PayerTotals};

impl AdmissionState {
    /// Who makes room for one more of `newcomer`'s network.
    pub(super) fn who_makes_room(&self, newcomer: Payer) -> Option<Arc<Record>> {
        let evicted = self.longest_silent_of_the_most(newcomer).or_else(|| self.newest_of_the_most(newcomer));
        let evicted = evicted.or_else(|| self.longest_silent_of_no_fewer(newcomer));
        evicted.or_else(|| self.newest_stranger(newcomer))
    }

    /// The one of these unauthenticated that was silent for the longest.
    pub(super) fn longest_silent(&self, may_go: impl Fn(&Record) -> bool) -> Option<Arc<Record>> {
        let heard = |record: &Record| record.heard.load(Ordering::Relaxed);
        let silent = self.can_go().filter(|record| may_go(record) && heard(record) != BUSY);
        silent.min_by_key(|record| (heard(record), record.number)).cloned()
    }

    /// The one that was silent for the longest, of the networks that have the most unauthenticated, be they one apart.
    /// So a network makes room for its own newcomers, and one with many for others.
    fn longest_silent_of_the_most(&self, newcomer: Payer) -> Option<Arc<Record>> {
        let mut counts = self.strangers();
        counts.add(newcomer, 1);
        let most = self.can_go().map(|record| counts.of(record.network)).max()?;
        self.longest_silent(|record| counts.of(record.network) + 1 >= most)
    }

    /// The one that was silent for the longest, of the networks that have as many as `newcomer` or more.
    fn longest_silent_of_no_fewer(&self, newcomer: Payer) -> Option<Arc<Record>> {
        let counts = self.strangers();
        self.longest_silent(|record| counts.of(record.network) >= counts.of(newcomer))
    }

    /// How many unauthenticated each network has.
    fn strangers(&self) -> PayerTotals {
        let mut counts = PayerTotals::default();
        self.unauthenticated.values().for_each(|record| counts.add(record.network, 1));
        counts
    }

    /// The newest unauthenticated of the network that has the most of them, if that is more than `newcomer` would have.
    fn newest_of_the_most(&self, newcomer: Payer) -> Option<Arc<Record>> {
        let counts = self.strangers();
        let newest = self.can_go().max_by_key(|record| (counts.of(record.network), record.number))?;
        (counts.of(newest.network) > counts.of(newcomer) + 1).then(|| newest.clone())
    }

    /// The newest unauthenticated of a network from which nobody has logged in, if somebody has from `newcomer`.
    fn newest_stranger(&self, newcomer: Payer) -> Option<Arc<Record>> {
        let strangers = self.can_go().filter(|record| !self.known.have(record.network));
        strangers.filter(|_| self.known.have(newcomer)).max_by_key(|record| record.number).cloned()
    }

    fn can_go(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.unauthenticated.values().filter(|record| record.task.get().is_some())
    }
}
