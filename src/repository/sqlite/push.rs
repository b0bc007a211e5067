//! Browsers that want to be told: few, and asked for only when they are, so the disk has them and memory does not.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::change::{Change, Changed};
use super::push_changes::PushChange;
use super::{SqliteRepository, unread_accounts};
use crate::model::{SessionId, UserId};
use crate::repository::{Answer, PushRepository, PushSubscription};

const KEY: &str = "SELECT key FROM push_key";
const USERS: &str = "SELECT DISTINCT user FROM push JOIN session ON session.id = push.session ORDER BY user";
const OF_USER: &str = "SELECT session, push.address, key, secret, with_text
    FROM push JOIN session ON session.id = push.session WHERE user = ?1 ORDER BY push.id";

fn subscription(row: &SqliteRow) -> sqlx::Result<PushSubscription> {
    let bytes = |column: &str| row.try_get::<Vec<u8>, _>(column);
    let odd = |_| sqlx::Error::Decode("a key of another length".into());
    Ok(PushSubscription {
        session: SessionId(row.try_get("session")?),
        address: row.try_get("address")?,
        key: bytes("key")?.try_into().map_err(odd)?,
        secret: bytes("secret")?.try_into().map_err(odd)?,
        with_text: row.try_get("with_text")?,
    })
}

impl PushRepository for SqliteRepository {
    fn push_key(&self, new: Vec<u8>) -> Answer<'_, Vec<u8>> {
        Answer::pending(async move {
            let found = sqlx::query_scalar(KEY).fetch_optional(&self.logins).await.map_err(unread_accounts)?;
            if let Some(key) = found {
                return Ok(key);
            }
            self.change(Change::Push(PushChange::Key(new))).await?;
            sqlx::query_scalar(KEY).fetch_one(&self.logins).await.map_err(unread_accounts)
        })
    }

    fn push_users(&self) -> Answer<'_, Vec<UserId>> {
        Answer::pending(async move {
            let users = sqlx::query_scalar(USERS).fetch_all(&self.logins).await.map_err(unread_accounts)?;
            Ok(users.into_iter().map(UserId).collect())
        })
    }

    fn push_subscriptions(&self, user: UserId) -> Answer<'_, Vec<PushSubscription>> {
        Answer::pending(async move {
            let rows = sqlx::query(OF_USER).bind(user.0).fetch_all(&self.logins).await.map_err(unread_accounts)?;
            rows.iter().map(subscription).collect::<sqlx::Result<_>>().map_err(unread_accounts)
        })
    }

    fn add_push_subscription(&self, new: PushSubscription, most: usize) -> Answer<'_, bool> {
        Answer::pending(async move {
            let added = self.change(Change::Push(PushChange::Add(new, most))).await?;
            Ok(added != Changed::Rows(0))
        })
    }

    fn remove_push_subscription(&self, user: UserId, address: String) -> Answer<'_, bool> {
        Answer::pending(async move {
            let removed = self.change(Change::Push(PushChange::Remove(user, address))).await?;
            Ok(removed != Changed::Rows(0))
        })
    }
}
