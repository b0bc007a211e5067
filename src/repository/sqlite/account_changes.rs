//! What people change of their own accounts: each a few statements inside the writer's transaction.

use sqlx::SqliteConnection;

use crate::model::{Label, SessionId, UserId};
use crate::repository::memory::event::{Event, SessionRecord};
use crate::repository::{NewToken, PasswordChange};

/// A change of an account by its user, or of what others are shown of it.
#[derive(Clone)]
pub(super) enum AccountChange {
    Password(PasswordChange),
    Profile { user: UserId, display_name: Option<Label>, country: Option<Label> },
    Token(NewToken),
    Administrator(UserId, bool),
}

impl AccountChange {
    /// Runs the statements; gives how many rows they changed. The stored uses of sessions are by `ahead` milliseconds
    /// more than those in memory.
    pub(super) async fn run(self, db: &mut SqliteConnection, ahead: i64) -> sqlx::Result<(u64, Event)> {
        match self {
            AccountChange::Password(change) => change_password(db, change).await,
            AccountChange::Token(token) => add_token(db, token, ahead).await,
            AccountChange::Administrator(user, administrator) => {
                let sql = "UPDATE user SET administrator = ?2 WHERE id = ?1 AND removed_at IS NULL AND owner IS NULL";
                let changed = sqlx::query(sql).bind(user.0).bind(administrator).execute(db).await?;
                Ok((changed.rows_affected(), Event::AdministratorSet(user, administrator)))
            }
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
                Ok((rows, event))
            }
        }
    }
}

async fn change_password(db: &mut SqliteConnection, change: PasswordChange) -> sqlx::Result<(u64, Event)> {
    let PasswordChange { user, session, checked, password_hash } = change;
    // A session that ended while the hash was made changes nothing any more.
    let sql = "UPDATE user SET password_hash = ?2
               WHERE id = ?1 AND removed_at IS NULL AND disabled = 0 AND password_hash = ?3
                   AND EXISTS (SELECT 1 FROM session WHERE id = ?4 AND user = ?1)";
    let changed = sqlx::query(sql).bind(user.0).bind(&password_hash).bind(&checked).bind(session.0);
    if changed.execute(&mut *db).await?.rows_affected() == 0 {
        return Ok((0, Event::Nothing));
    }
    let sql = "DELETE FROM session WHERE user = ?1 AND id <> ?2 AND scope IS NULL RETURNING id";
    let ended: Vec<i64> = sqlx::query_scalar(sql).bind(user.0).bind(session.0).fetch_all(db).await?;
    Ok((1, Event::SessionsEnded(ended.into_iter().map(SessionId).collect())))
}

async fn add_token(db: &mut SqliteConnection, new: NewToken, ahead: i64) -> sqlx::Result<(u64, Event)> {
    let NewToken { user, session, token, grant, label, created_at, most } = new;
    let sql = "INSERT INTO session (user, token_hash, address, created_at, last_used_at, label, scope, target)
               SELECT user, ?3, address, ?4, ?4, ?5, ?6, ?7 FROM session
               WHERE id = ?2 AND user = ?1
                   AND (SELECT count(*) FROM session WHERE user = ?1 AND scope IS NOT NULL) < ?8";
    let added = sqlx::query(sql)
        .bind(user.0)
        .bind(session.0)
        .bind(&token.0[..])
        .bind(created_at.0 + ahead)
        .bind(label.as_str())
        .bind(grant.scope.as_str())
        .bind(grant.to)
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .execute(db)
        .await?;
    if added.rows_affected() == 0 {
        return Ok((0, Event::Nothing));
    }
    let id = SessionId(added.last_insert_rowid());
    // From where it was made says nothing of where it is used.
    let record = SessionRecord { id, user, token, last_used_at: created_at, address: None, grant: Some(grant) };
    Ok((1, Event::SessionOpened(record, Vec::new())))
}
