//! Which browsers get a notification, and about what. A browser asks for notifications in a session. They end with this
//! session.

use super::{Caller, Following, Service, unavailable};
use crate::model::{MessageId, UserId};
use crate::protocol::{ConversationEntry, Refusal};
use crate::repository::{self, ConversationQuery, PushSubscription};

/// Browsers of one account that are told; of more the oldest is forgotten.
const BROWSERS: usize = 10;
/// Conversations that are looked through for what waits.
const CONVERSATIONS: usize = 50;
/// How much text of those is read, in bytes.
const TEXT_BYTES: u64 = 256 << 10;

impl Service {
    /// The key that signs what is pushed; `new`, where there was none.
    pub(crate) async fn push_key(&self, new: Vec<u8>) -> Result<Vec<u8>, repository::Error> {
        self.repository.push_key(new).await
    }

    /// A browser of the caller's wants to be told. `false`: it is not the one that has this address.
    pub(crate) async fn add_push_subscription(&self, caller: &Caller, new: PushSubscription) -> Result<bool, Refusal> {
        self.must_be_open(caller)?;
        self.repository.add_push_subscription(new, BROWSERS).await.map_err(unavailable)
    }

    /// An account's browser is not told any more. `false`: it was not.
    pub(crate) async fn remove_push_subscription(&self, user: UserId, address: String) -> Result<bool, Refusal> {
        self.repository.remove_push_subscription(user, address).await.map_err(unavailable)
    }

    /// The accounts that have a browser with notifications.
    pub(crate) async fn push_users(&self) -> Result<Vec<UserId>, repository::Error> {
        self.repository.push_users().await
    }

    /// An account's browsers that want to be told.
    pub(crate) async fn push_subscriptions(&self, user: UserId) -> Result<Vec<PushSubscription>, repository::Error> {
        self.repository.push_subscriptions(user).await
    }

    /// Begins to listen for events of an account.
    pub(crate) async fn listen_for(&self, user: UserId) -> Result<Following, repository::Error> {
        self.repository.follow(user).await
    }

    /// The last message that there is, of anybody; this account asks.
    pub(crate) async fn last_message(&self, user: UserId) -> Result<MessageId, repository::Error> {
        self.repository.last_message(user).await
    }

    /// The conversations of an account whose newest message is from somebody else and unread, newest first.
    pub(crate) async fn waiting(&self, user: UserId) -> Result<Vec<ConversationEntry>, Refusal> {
        let Some(me) = self.repository.user(user).await.map_err(unavailable)? else { return Ok(Vec::new()) };
        let page = ConversationQuery { before: None, conversations: CONVERSATIONS, bytes: TEXT_BYTES };
        let page = self.conversation_page(&me, page).await?;
        Ok(page
            .list
            .into_iter()
            .filter(|entry| entry.unread > 0 && entry.newest.from.username != me.username)
            .collect())
    }
}
