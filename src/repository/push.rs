//! Browsers that want to be told when something waits.

use super::Answer;
use crate::model::{SessionId, UserId};

/// A browser with notifications. They end with its session.
#[derive(Clone, PartialEq, Eq)]
pub struct PushSubscription {
    /// Of the session that asked for it.
    pub session: SessionId,
    /// The address at its push service. Whoever knows it can send a notification.
    pub address: String,
    /// The browser's public key, a point of P-256.
    pub key: [u8; 65],
    /// What it shares with whoever tells it.
    pub secret: [u8; 16],
    /// It wants to be told the text, too.
    pub with_text: bool,
}

/// The store, as far as telling browsers goes.
pub trait PushRepository {
    /// The key that signs what is pushed; `new`, where there is none yet.
    fn push_key(&self, new: Vec<u8>) -> Answer<'_, Vec<u8>>;
    /// The accounts that have a browser with notifications.
    fn push_users(&self) -> Answer<'_, Vec<UserId>>;
    /// An account's browsers that want to be told, the oldest first. From disk.
    fn push_subscriptions(&self, user: UserId) -> Answer<'_, Vec<PushSubscription>>;
    /// Adds a browser, or changes it where its address is known. Of an account's more than `most` the oldest go.
    /// `false`: another account has the address with other keys, or the session has ended.
    fn add_push_subscription(&self, new: PushSubscription, most: usize) -> Answer<'_, bool>;
    /// Forgets an address. `false`: the account has none such.
    fn remove_push_subscription(&self, user: UserId, address: String) -> Answer<'_, bool>;
}
