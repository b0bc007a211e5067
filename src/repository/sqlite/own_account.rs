//! What people change of their own accounts, and how they find those of others.

use sqlx::SqlitePool;

use super::account_changes::AccountChange;
use super::accounts::{UserRow, living};
use super::change::Change;
use super::{SqliteRepository, unread_accounts};
use crate::model::{Label, UserId};
use crate::repository::{AccountRepository, Answer, PasswordChange, User};

const NAMED: &str = "SELECT id, name, display_name, country, disabled, created_at FROM user
    WHERE folded >= ?1 AND folded < ?2 AND owner IS NULL AND removed_at IS NULL AND disabled = 0
    ORDER BY folded LIMIT ?3";

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
