//! Browsers that want to be told. They go with their sessions, by the database itself.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::delivery::limit;
use super::{PostgresRepository, unavailable};
use crate::model::{SessionId, UserId};
use crate::repository::{Answer, PushRepository, PushSubscription};

const NEW_KEY: &str = "INSERT INTO push_key (one, key) VALUES (true, $1) ON CONFLICT DO NOTHING";
const KEY: &str = "SELECT key FROM push_key";
const USERS: &str = "SELECT DISTINCT s.account FROM push p JOIN session s ON s.id = p.session ORDER BY s.account";
const OF_USER: &str = "SELECT p.session, p.address, p.key, p.secret, p.with_text
    FROM push p JOIN session s ON s.id = p.session WHERE s.account = $1 ORDER BY p.id";
/// Of a session that lives: it may have ended since it asked.
/// Another account's only with the keys of the browser.
const ADD: &str = "INSERT INTO push (session, address, key, secret, with_text)
    SELECT id, $2, $3, $4, $5 FROM session WHERE id = $1
    ON CONFLICT (address) DO UPDATE SET session = excluded.session, key = excluded.key, secret = excluded.secret,
        with_text = excluded.with_text
    WHERE (push.key = excluded.key AND push.secret = excluded.secret)
        OR (SELECT account FROM session WHERE id = push.session) = (SELECT account FROM session WHERE id = excluded.session)";
const DROP_OLDEST: &str = "DELETE FROM push WHERE id IN (
    SELECT p.id FROM push p JOIN session s ON s.id = p.session
    WHERE s.account = (SELECT account FROM session WHERE id = $1) ORDER BY p.id DESC OFFSET $2)";
const REMOVE: &str = "DELETE FROM push WHERE address = $2 AND session IN (SELECT id FROM session WHERE account = $1)";

fn subscription(row: &PgRow) -> sqlx::Result<PushSubscription> {
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

impl PushRepository for PostgresRepository {
    fn push_key(&self, new: Vec<u8>) -> Answer<'_, Vec<u8>> {
        self.within(async move {
            let mut db = self.connection().await?;
            sqlx::query(NEW_KEY).bind(new).execute(&mut *db).await.map_err(unavailable)?;
            sqlx::query_scalar(KEY).fetch_one(&mut *db).await.map_err(unavailable)
        })
    }

    fn push_users(&self) -> Answer<'_, Vec<UserId>> {
        self.within(async move {
            let users: Vec<i64> =
                self.look(|| sqlx::query_scalar(USERS).fetch_all(self.shared.servers.reads())).await?;
            Ok(users.into_iter().map(UserId).collect())
        })
    }

    fn push_subscriptions(&self, user: UserId) -> Answer<'_, Vec<PushSubscription>> {
        self.within(async move {
            let rows = self.look(|| sqlx::query(OF_USER).bind(user.0).fetch_all(self.shared.servers.reads())).await?;
            rows.iter().map(subscription).collect::<sqlx::Result<_>>().map_err(unavailable)
        })
    }

    fn add_push_subscription(&self, new: PushSubscription, most: usize) -> Answer<'_, bool> {
        self.within(async move {
            let mut db = self.connection().await?;
            let add = sqlx::query(ADD).bind(new.session.0).bind(&new.address).bind(&new.key[..]);
            let add = add.bind(&new.secret[..]).bind(new.with_text);
            let added = add.execute(&mut *db).await.map_err(unavailable)?.rows_affected() > 0;
            let drop_oldest = sqlx::query(DROP_OLDEST).bind(new.session.0).bind(limit(most));
            drop_oldest.execute(&mut *db).await.map_err(unavailable)?;
            Ok(added)
        })
    }

    fn remove_push_subscription(&self, user: UserId, address: String) -> Answer<'_, bool> {
        self.within(async move {
            let mut db = self.connection().await?;
            let removed = sqlx::query(REMOVE).bind(user.0).bind(address).execute(&mut *db).await;
            Ok(removed.map_err(unavailable)?.rows_affected() > 0)
        })
    }
}
