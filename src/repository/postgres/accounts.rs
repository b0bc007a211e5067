//! Accounts and sessions: looked up in the cache, or else in the database.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use sqlx::FromRow;
use sqlx::postgres::PgRow;

use super::cache::CachedSession;
use super::{PostgresRepository, sums};
use crate::model::{Address, GroupId, Scope, SessionId, Timestamp, TokenHash, UserId, Username};
use crate::repository::{Error, Grant, Session, StoredSession, User};

/// How many rows an administrator's query reads at a time.
pub(super) const PAGE: i64 = 1_000;

const NAMED: &str = "SELECT (SELECT version FROM feed_head) AS version, a.* FROM account a
    WHERE a.folded = $1 AND a.name = $2 AND a.removed_at IS NULL";
const NUMBERED: &str =
    "SELECT (SELECT version FROM feed_head) AS version, a.* FROM account a WHERE a.id = $1 AND a.owner IS NULL";
const SESSION: &str =
    "SELECT (SELECT version FROM feed_head) AS version, a.*, s.id AS session, s.last_used_at, s.scope,
        s.target
    FROM session s JOIN account a ON a.id = s.account WHERE s.token_hash = $1";
const USED: &str = "UPDATE session SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2";
const ACCOUNTS: &str = "SELECT 0::bigint AS version, a.* FROM account a
    WHERE a.id > $1 AND a.owner IS NULL AND a.removed_at IS NULL ORDER BY a.id LIMIT $2";
const LOGINS: &str = "SELECT s.id, u.name, s.created_at, s.last_used_at, s.address, s.label, s.scope, t.name
    FROM session s JOIN account u ON u.id = s.account LEFT JOIN account t ON t.id = s.target
    WHERE s.id > $1 ORDER BY s.id LIMIT $2";
const LOGINS_OF: &str = "SELECT s.id, u.name, s.created_at, s.last_used_at, s.address, s.label, s.scope, t.name
    FROM session s JOIN account u ON u.id = s.account LEFT JOIN account t ON t.id = s.target
    WHERE s.account = $3 AND s.id > $1 ORDER BY s.id LIMIT $2";
const ONLINE: &str = "SELECT a.name FROM account a JOIN
        (SELECT account, min(id) AS first FROM session WHERE scope IS NULL GROUP BY account) s ON s.account = a.id
    ORDER BY s.first";
const ADDRESSES: &str = "SELECT address FROM session WHERE account = $1";

/// An account, and how far the feed had come when it was read.
pub(super) struct AccountRow {
    pub version: i64,
    pub user: User,
    /// It is a group.
    pub is_group: bool,
}

impl<'r> FromRow<'r, PgRow> for AccountRow {
    fn from_row(row: &'r PgRow) -> sqlx::Result<AccountRow> {
        use sqlx::Row;
        let removed_at: Option<i64> = row.try_get("removed_at")?;
        let owner: Option<i64> = row.try_get("owner")?;
        let country: String = row.try_get("country")?;
        Ok(AccountRow {
            version: row.try_get("version")?,
            is_group: owner.is_some(),
            user: User {
                id: UserId(row.try_get("id")?),
                username: Username::stored(row.try_get("name")?),
                display_name: row.try_get::<String, _>("display_name")?.into(),
                country: country.into(),
                disabled: row.try_get("disabled")?,
                administrator: row.try_get("administrator")?,
                removed: removed_at.is_some(),
                created_at: Timestamp(row.try_get("created_at")?),
            },
        })
    }
}

/// A session with its account.
struct LoginRow {
    account: AccountRow,
    id: i64,
    last_used_at: i64,
    grant: Option<Grant>,
}

impl<'r> FromRow<'r, PgRow> for LoginRow {
    fn from_row(row: &'r PgRow) -> sqlx::Result<LoginRow> {
        use sqlx::Row;
        let scope: Option<String> = row.try_get("scope")?;
        let to = row.try_get("target")?;
        let unknown = || sqlx::Error::Decode("a scope that is none".into());
        let scope = scope.map(|scope| Scope::parse(&scope).ok_or_else(unknown)).transpose()?;
        Ok(LoginRow {
            account: AccountRow::from_row(row)?,
            id: row.try_get("session")?,
            last_used_at: row.try_get("last_used_at")?,
            grant: scope.map(|scope| Grant { scope, to }),
        })
    }
}

/// Whether PostgreSQL has no such text: then nothing can be called so.
pub(super) fn is_no_text(name: &str) -> bool {
    name.contains('\0')
}

/// By how much the last use that the database knows may be older than the last use: an hour, or less where sessions end
/// soon.
pub(super) fn slack(now: Timestamp, unused_since: Timestamp) -> i64 {
    (now.0.saturating_sub(unused_since.0) / 24).clamp(0, 3_600_000)
}

impl PostgresRepository {
    /// A living account or group of this name, case and all.
    async fn row_named(&self, name: &str) -> Result<Option<AccountRow>, Error> {
        if is_no_text(name) {
            return Ok(None);
        }
        let folded = Username::stored(name).folded();
        self.look(|| sqlx::query_as(NAMED).bind(&folded).bind(name).fetch_optional(self.shared.servers.reads())).await
    }

    pub(super) async fn find_address(&self, name: &str) -> Result<Option<Address>, Error> {
        let known = self.shared.cache().named(name);
        if known.is_some() {
            return Ok(known);
        }
        let Some(AccountRow { version, user, is_group }) = self.row_named(name).await? else { return Ok(None) };
        let mut cache = self.shared.cache();
        if is_group {
            let group: Address = GroupId(user.id.0).into();
            cache.add_name(name, group, version);
            return Ok(Some(group));
        }
        let user = Arc::new(user);
        cache.add_user(&user, version);
        Ok(Some(user.id.into()))
    }

    pub(super) async fn find_user_named(&self, name: &str) -> Result<Option<Arc<User>>, Error> {
        match self.find_address(name).await? {
            Some(Address::User(id)) => Ok(self.find_user(id).await?.filter(|user| !user.removed)),
            Some(Address::Group(_)) | None => Ok(None),
        }
    }

    /// The living account of this name, as it is now.
    pub(super) async fn find_account(&self, name: &Username) -> Result<Option<User>, Error> {
        Ok(self.row_named(name.as_str()).await?.filter(|row| !row.is_group).map(|row| row.user))
    }

    pub(super) async fn find_user(&self, id: UserId) -> Result<Option<Arc<User>>, Error> {
        let known = self.shared.cache().user(id);
        if known.is_some() {
            return Ok(known);
        }
        let row: Option<AccountRow> =
            self.look(|| sqlx::query_as(NUMBERED).bind(id.0).fetch_optional(self.shared.servers.reads())).await?;
        Ok(row.map(|row| {
            let user = Arc::new(row.user);
            self.shared.cache().add_user(&user, row.version);
            user
        }))
    }

    pub(super) async fn find_session(
        &self,
        token: TokenHash,
        now: Timestamp,
        unused_since: Timestamp,
    ) -> Result<Option<Session>, Error> {
        let slack = slack(now, unused_since);
        let known = self.shared.cache().session(&token);
        let is_fresh = |it: &CachedSession| it.session.grant.is_some() || it.last_used_at.0 + slack >= unused_since.0;
        let found = match known.filter(|it| is_fresh(it) && now.0 - it.last_used_at.0 <= slack) {
            Some(known) => return Ok(Some(known.session)),
            None => self.session_now(token).await?,
        };
        let Some((version, mut found)) = found.filter(|(_, it)| is_fresh(it)) else { return Ok(None) };
        if now.0 - found.last_used_at.0 > slack {
            let mut db = self.connection().await?;
            let noted = sqlx::query(USED).bind(found.session.id.0).bind(now.0).execute(&mut *db).await;
            noted.map_err(super::unavailable)?;
            found.last_used_at = now;
        }
        let session = found.session.clone();
        let mut cache = self.shared.cache();
        cache.add_session(token, found, version);
        cache.touch(&token, now);
        Ok(Some(session))
    }

    /// A session as the database has it.
    async fn session_now(&self, token: TokenHash) -> Result<Option<(i64, CachedSession)>, Error> {
        let row: Option<LoginRow> = self
            .look(|| sqlx::query_as(SESSION).bind(token.0.to_vec()).fetch_optional(self.shared.servers.reads()))
            .await?;
        Ok(row.map(|row| {
            let user = Arc::new(row.account.user);
            self.shared.cache().add_user(&user, row.account.version);
            let session = Session { id: SessionId(row.id), user, grant: row.grant };
            (row.account.version, CachedSession { session, last_used_at: Timestamp(row.last_used_at) })
        }))
    }

    pub(super) async fn accounts_after(&self, after: UserId) -> Result<Vec<User>, Error> {
        let rows: Vec<AccountRow> = self
            .look(|| sqlx::query_as(ACCOUNTS).bind(after.0).bind(PAGE).fetch_all(self.shared.servers.reads()))
            .await?;
        Ok(rows.into_iter().map(|row| row.user).collect())
    }

    pub(super) async fn logins_after(&self, after: SessionId, of: Option<UserId>) -> Result<Vec<StoredSession>, Error> {
        type Row = (i64, String, i64, i64, String, String, Option<String>, Option<String>);
        let rows: Vec<Row> = match of {
            None => {
                self.look(|| sqlx::query_as(LOGINS).bind(after.0).bind(PAGE).fetch_all(self.shared.servers.reads()))
                    .await?
            }
            Some(user) => {
                let ask = || {
                    sqlx::query_as(LOGINS_OF)
                        .bind(after.0)
                        .bind(PAGE)
                        .bind(user.0)
                        .fetch_all(self.shared.servers.reads())
                };
                self.look(ask).await?
            }
        };
        let login = |(id, name, created_at, last_used_at, address, label, scope, to): Row| StoredSession {
            id: SessionId(id),
            username: Username::stored(&name),
            created_at: Timestamp(created_at),
            last_used_at: Timestamp(last_used_at),
            address,
            label,
            scope: scope.as_deref().and_then(Scope::parse),
            to,
        };
        Ok(rows.into_iter().map(login).collect())
    }

    pub(super) async fn addresses_of(&self, user: UserId) -> Result<Vec<IpAddr>, Error> {
        let all: Vec<String> =
            self.look(|| sqlx::query_scalar(ADDRESSES).bind(user.0).fetch_all(self.shared.servers.reads())).await?;
        Ok(all.iter().filter_map(|address| address.parse().ok()).collect())
    }

    /// Who is logged in; where that takes long to find out, as it was a moment ago.
    pub(super) async fn find_online(&self) -> Result<Vec<Username>, Error> {
        let known = self.online.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, _, names)) = known.filter(|(made, took, _)| sums::is_good(*made, *took)) {
            return Ok(names);
        }
        let begun = Instant::now();
        let names: Vec<String> =
            self.look(|| sqlx::query_scalar(ONLINE).fetch_all(self.shared.servers.reads())).await?;
        let names: Vec<Username> = names.iter().map(|name| Username::stored(name)).collect();
        let took: Duration = begun.elapsed();
        if took > sums::CHEAP {
            let made = Some((Instant::now(), took, names.clone()));
            *self.online.lock().unwrap_or_else(PoisonError::into_inner) = made;
        }
        Ok(names)
    }
}
