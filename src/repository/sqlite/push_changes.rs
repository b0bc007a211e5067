//! Changes of which browsers get notifications, each inside the writer's transaction.

use sqlx::SqliteConnection;

use crate::model::UserId;
use crate::repository::PushSubscription;

const NEW_KEY: &str = "INSERT INTO push_key (id, key) VALUES (1, ?1) ON CONFLICT DO NOTHING";
/// Only for a session that lives: it may have ended since it asked.
/// Another account's only with the keys of the browser.
const ADD: &str = "INSERT INTO push (session, address, key, secret, with_text)
    SELECT id, ?2, ?3, ?4, ?5 FROM session WHERE id = ?1
    ON CONFLICT (address) DO UPDATE SET session = excluded.session, key = excluded.key, secret = excluded.secret,
        with_text = excluded.with_text
    WHERE (push.key = excluded.key AND push.secret = excluded.secret)
        OR (SELECT user FROM session WHERE id = push.session) = (SELECT user FROM session WHERE id = excluded.session)";
const DROP_OLDEST: &str = "DELETE FROM push WHERE id IN (
    SELECT push.id FROM push JOIN session ON session.id = push.session
    WHERE user = (SELECT user FROM session WHERE id = ?1) ORDER BY push.id DESC LIMIT -1 OFFSET ?2)";
const REMOVE: &str = "DELETE FROM push WHERE address = ?2 AND session IN (SELECT id FROM session WHERE user = ?1)";

/// A change of which browsers get notifications.
#[derive(Clone)]
pub(super) enum PushChange {
    /// This key, where there is none.
    Key(Vec<u8>),
    Add(PushSubscription, usize),
    Remove(UserId, String),
}

impl PushChange {
    /// Runs the statements; gives how many rows there are more or less.
    pub(super) async fn run(self, db: &mut SqliteConnection) -> sqlx::Result<u64> {
        match self {
            PushChange::Key(key) => Ok(sqlx::query(NEW_KEY).bind(key).execute(db).await?.rows_affected()),
            PushChange::Add(new, most) => {
                let add = sqlx::query(ADD).bind(new.session.0).bind(&new.address).bind(&new.key[..]);
                let added = add.bind(&new.secret[..]).bind(new.with_text).execute(&mut *db).await?.rows_affected();
                let most = i64::try_from(most).unwrap_or(i64::MAX);
                sqlx::query(DROP_OLDEST).bind(new.session.0).bind(most).execute(db).await?;
                Ok(added)
            }
            PushChange::Remove(user, address) => {
                Ok(sqlx::query(REMOVE).bind(user.0).bind(address).execute(db).await?.rows_affected())
            }
        }
    }
}
