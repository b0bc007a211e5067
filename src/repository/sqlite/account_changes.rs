//! What people change of their own accounts: each a few statements inside the writer's transaction.

use sqlx::SqliteConnection;

use crate::model::{Label, SessionId, UserId};
use crate::repository::PasswordChange;
use crate::repository::memory::event::Event;

/// A change of an account by its user, or of what others are shown of it.
#[derive(Clone)]
pub(super) enum AccountChange {
    Password(PasswordChange),
    Profile { user: UserId, display_name: Option<Label>, country: Option<Label> },
}

impl AccountChange {
    /// Runs the statements; gives how many rows they changed.
    pub(super) async fn run(self, db: &mut SqliteConnection) -> sqlx::Result<(u64, Event)> {
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
                Ok((rows, event))
            }
        }
    }
}

async fn change_password(db: &mut SqliteConnection, change: PasswordChange) -> sqlx::Result<(u64, Event)> {
    let PasswordChange { user, session, checked, password_hash } = change;
    // Who was thrown out while the hash was made changes nothing any more.
    let sql = "UPDATE user SET password_hash = ?2
               WHERE id = ?1 AND removed_at IS NULL AND disabled = 0 AND password_hash = ?3
                   AND EXISTS (SELECT 1 FROM session WHERE id = ?4 AND user = ?1)";
    let changed = sqlx::query(sql).bind(user.0).bind(&password_hash).bind(&checked).bind(session.0);
    if changed.execute(&mut *db).await?.rows_affected() == 0 {
        return Ok((0, Event::Nothing));
    }
    let sql = "DELETE FROM session WHERE user = ?1 AND id <> ?2 RETURNING id";
    let ended: Vec<i64> = sqlx::query_scalar(sql).bind(user.0).bind(session.0).fetch_all(db).await?;
    Ok((1, Event::SessionsEnded(ended.into_iter().map(SessionId).collect())))
}
