//! What people change of their own accounts: each a few statements inside the writer's transaction. And how they find
//! those of others.

use sqlx::{SqliteConnection, SqlitePool};

use super::accounts::{UserRow, living};
use super::change::{Change, Changed};
use super::{SqliteRepository, unread_accounts};
use crate::model::{Label, SessionId, UserId};
use crate::repository::memory::event::Event;
use crate::repository::{AccountRepository, Answer, PasswordChange, User};

const NAMED: &str = "SELECT id, name, display_name, country, disabled, created_at FROM user
    WHERE folded >= ?1 AND folded < ?2 AND owner IS NULL AND removed_at IS NULL AND disabled = 0
    ORDER BY folded LIMIT ?3";

/// A change of an account by its user, or of what others are shown of it.
#[derive(Clone)]
pub(super) enum AccountChange {
    Password(PasswordChange),
    Profile { user: UserId, display_name: Option<Label>, country: Option<Label> },
}

impl AccountChange {
    pub(super) async fn run(self, db: &mut SqliteConnection) -> sqlx::Result<(Changed, Event)> {
        match self {
            AccountChange::Password(change) => change_password(db, change).await,
            AccountChange::Profile { user, display_name, country } => {
                let sql = "UPDATE user SET display_name = coalesce(?2, display_name), country = coalesce(?3, country)
                           WHERE id = ?1 AND removed_at IS NULL AND owner IS NULL";
                let rows = sqlx::query(sql)
                    .bind(user.0)
                    .bind(display_name.as_ref().map(Label::as_str))
                    .bind(country.as_ref().map(Label::as_str))
                    .execute(db)
                    .await?
                    .rows_affected();
                let event = if rows == 0 { Event::Nothing } else { Event::ProfileSet { user, display_name, country } };
                Ok((Changed::Rows(rows), event))
            }
        }
    }
}

async fn change_password(db: &mut SqliteConnection, change: PasswordChange) -> sqlx::Result<(Changed, Event)> {
    let PasswordChange { user, session, checked, password_hash } = change;
    // Who was thrown out while the hash was made changes nothing any more.
    let sql = "UPDATE user SET password_hash = ?2
               WHERE id = ?1 AND removed_at IS NULL AND disabled = 0 AND password_hash = ?3
                   AND EXISTS (SELECT 1 FROM session WHERE id = ?4 AND user = ?1)";
    let changed = sqlx::query(sql).bind(user.0).bind(&password_hash).bind(&checked).bind(session.0);
    if changed.execute(&mut *db).await?.rows_affected() == 0 {
        return Ok((Changed::Rows(0), Event::Nothing));
    }
    let sql = "DELETE FROM session WHERE user = ?1 AND id <> ?2 RETURNING id";
    let ended: Vec<i64> = sqlx::query_scalar(sql).bind(user.0).bind(session.0).fetch_all(db).await?;
    Ok((Changed::Rows(1), Event::SessionsEnded(ended.into_iter().map(SessionId).collect())))
}

async fn named(readers: &SqlitePool, prefix: &str, most: usize) -> sqlx::Result<Vec<User>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    // No character is greater, so that all names lie between that begin with the prefix.
    let beyond = format!("{prefix}{}", char::MAX);
    let rows: Vec<UserRow> = sqlx::query_as(NAMED).bind(prefix).bind(beyond).bind(most).fetch_all(readers).await?;
    Ok(rows.into_iter().map(living).collect())
}

impl AccountRepository for SqliteRepository {
    fn change_password(&self, change: PasswordChange) -> Answer<'_, bool> {
        Answer::pending(async move { Ok(self.rows(Change::Account(AccountChange::Password(change))).await? > 0) })
    }

    fn set_profile(&self, user: UserId, display_name: Option<Label>, country: Option<Label>) -> Answer<'_, ()> {
        let change = AccountChange::Profile { user, display_name, country };
        Answer::pending(async move { self.rows(Change::Account(change)).await.map(drop) })
    }

    fn accounts_named<'a>(&'a self, prefix: &'a str, most: usize) -> Answer<'a, Vec<User>> {
        Answer::pending(async move { named(&self.logins, prefix, most).await.map_err(unread_accounts) })
    }
}
