//! How much each account has stored: the messages that it sent, read or not, while the message log has them. The sender
//! is charged and not the recipient. So nobody can use up the share of another account.

use std::sync::{Mutex, MutexGuard};

use rustc_hash::FxHashMap;

use crate::model::UserId;

/// What a message takes beside its text, in the message log and its indexes: bytes, rounded up.
pub(crate) const PER_MESSAGE: u64 = 100;

/// Messages of one account and their texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoredAmount {
    pub messages: u64,
    /// Bytes of text.
    pub bytes: u64,
}

impl StoredAmount {
    pub(crate) fn one(bytes: u64) -> StoredAmount {
        StoredAmount { messages: 1, bytes }
    }

    /// What is charged for it, in bytes.
    pub(crate) fn charge(self) -> u64 {
        self.bytes + PER_MESSAGE * self.messages
    }
}

#[derive(Debug)]
pub(crate) struct StoredTotals {
    /// What one account may store, in bytes; 0 for any amount.
    most: u64,
    charges: Mutex<FxHashMap<UserId, u64>>,
}

impl StoredTotals {
    pub(crate) fn new(most: u64) -> StoredTotals {
        StoredTotals { most, charges: Mutex::default() }
    }

    /// What an account is charged for, in bytes.
    pub(crate) fn of(&self, user: UserId) -> u64 {
        self.charges().get(&user).copied().unwrap_or(0)
    }

    /// Replaces the amounts by those that were found at the start, or after another process has changed them.
    pub(crate) fn set(&self, user: UserId, charge: u64) {
        self.charges().insert(user, charge);
    }

    /// Adds what is stored already.
    pub(crate) fn add(&self, sender: UserId, amount: StoredAmount) {
        *self.charges().entry(sender).or_default() += amount.charge();
    }

    /// Takes off what is not stored any more.
    pub(crate) fn subtract(&self, sender: UserId, amount: StoredAmount) {
        subtract(&mut self.charges(), sender, amount);
    }

    /// To charge for many messages at once.
    pub(crate) fn charging(&self) -> Charging<'_> {
        Charging { most: self.most, charges: self.charges() }
    }

    fn charges(&self) -> MutexGuard<'_, FxHashMap<UserId, u64>> {
        self.charges.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

/// Charges for messages. Nobody else can change charges meanwhile.
pub(crate) struct Charging<'a> {
    most: u64,
    charges: MutexGuard<'a, FxHashMap<UserId, u64>>,
}

impl Charging<'_> {
    /// Charges a sender for one message. `false`: the account may not store as much.
    pub(crate) fn charge(&mut self, sender: UserId, bytes: u64) -> bool {
        let charged = self.charges.entry(sender).or_default();
        let new = charged.saturating_add(StoredAmount::one(bytes).charge());
        let may = self.most == 0 || new <= self.most;
        if may {
            *charged = new;
        }
        may
    }

    /// Takes back the charge for one message that was not written.
    pub(crate) fn give_back(&mut self, sender: UserId, bytes: u64) {
        subtract(&mut self.charges, sender, StoredAmount::one(bytes));
    }
}

fn subtract(charges: &mut FxHashMap<UserId, u64>, sender: UserId, amount: StoredAmount) {
    if let Some(charge) = charges.get_mut(&sender) {
        *charge = charge.saturating_sub(amount.charge());
        if *charge == 0 {
            charges.remove(&sender);
        }
    }
}
