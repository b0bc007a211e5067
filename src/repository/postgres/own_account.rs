//! What people change of their own accounts, and how they find those of others.

use super::accounts::{AccountRow, is_no_text};
use super::delivery::limit;
use super::{PostgresRepository, unavailable};
use crate::model::{InviteId, Label, MessageId, SendKey, TokenHash, UserId};
use crate::repository::{
    AccountRepository, AddUserResult, Answer, Error, NewInvite, NewToken, NewUser, PasswordChange, StoredInvite, User,
};

const CHANGE_PASSWORD: &str = "SELECT change_password($1, $2, $3, $4)";
const ADD_TOKEN: &str = "SELECT add_token($1, $2, $3, $4, $5, $6, $7, $8)";
pub(super) const ADD: &str = "SELECT add_account($1, $2, $3, $4, $5, $6)";
const ADD_FIRST: &str = "SELECT add_first_account($1, $2, $3, $4, $5, $6)";
const ADD_INVITED: &str = "SELECT add_invited_account($7, $1, $2, $3, $4, $5, $6)";
const ADMINISTRATOR: &str =
    "UPDATE account SET administrator = $2 WHERE id = $1 AND removed_at IS NULL AND owner IS NULL";
const PROFILE: &str = "UPDATE account SET display_name = coalesce($2, display_name), country = coalesce($3, country)
    WHERE id = $1 AND removed_at IS NULL AND owner IS NULL";
const KEYS: &str = "SELECT id, key FROM send_key WHERE sender = $1 AND id = ANY ($2)";
const NAMED: &str = "SELECT 0::bigint AS version, a.* FROM account a
    WHERE a.folded >= $1 AND a.folded < $2 AND a.removed_at IS NULL AND a.owner IS NULL AND NOT a.disabled
    ORDER BY a.folded LIMIT $3";

impl PostgresRepository {
    /// Makes an account with one of these statements; `None`: it makes none.
    pub(super) async fn add(
        &self,
        statement: &'static str,
        new: NewUser,
        code: Option<TokenHash>,
    ) -> Result<Option<AddUserResult>, Error> {
        let mut db = self.connection().await?;
        let add = sqlx::query_scalar(statement)
            .bind(new.username.as_str())
            .bind(new.username.folded())
            .bind(new.display_name.as_str())
            .bind(new.country.as_str())
            .bind(&new.password_hash)
            .bind(new.administrator);
        let add = match code {
            Some(code) => add.bind(code.0.to_vec()),
            None => add,
        };
        let added: sqlx::Result<Option<i64>> = add.fetch_one(&mut *db).await;
        match added {
            Ok(id) => Ok(id.map(|_| AddUserResult::Added)),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(Some(AddUserResult::NameTaken)),
            Err(error) => Err(unavailable(error)),
        }
    }
}

impl AccountRepository for PostgresRepository {
    fn change_password(&self, change: PasswordChange) -> Answer<'_, bool> {
        self.within(async move {
            let mut db = self.connection().await?;
            let changed = sqlx::query_scalar(CHANGE_PASSWORD)
                .bind(change.user.0)
                .bind(change.session.0)
                .bind(&change.checked)
                .bind(&change.password_hash)
                .fetch_one(&mut *db)
                .await
                .map_err(unavailable)?;
            self.follow_feed().await?;
            Ok(changed)
        })
    }

    fn add_token(&self, token: NewToken) -> Answer<'_, bool> {
        self.within(async move {
            let mut db = self.connection().await?;
            sqlx::query_scalar(ADD_TOKEN)
                .bind(token.user.0)
                .bind(token.session.0)
                .bind(token.token.0.to_vec())
                .bind(token.created_at.0)
                .bind(token.label.as_str())
                .bind(token.grant.scope.as_str())
                .bind(token.grant.to)
                .bind(limit(token.most))
                .fetch_one(&mut *db)
                .await
                .map_err(unavailable)
        })
    }

    fn add_first_user(&self, user: NewUser) -> Answer<'_, Option<AddUserResult>> {
        self.within(self.add(ADD_FIRST, user, None))
    }

    fn add_invited_user(&self, user: NewUser, code: TokenHash) -> Answer<'_, Option<AddUserResult>> {
        self.within(self.add(ADD_INVITED, user, Some(code)))
    }

    fn is_invite(&self, code: TokenHash) -> Answer<'_, bool> {
        self.within(self.invite_works(code))
    }

    fn add_invite(&self, invite: NewInvite) -> Answer<'_, InviteId> {
        self.within(self.keep_invite(invite))
    }

    fn invites(&self, after: InviteId) -> Answer<'_, Vec<StoredInvite>> {
        self.within(self.invites_after(after))
    }

    fn remove_invite(&self, invite: InviteId) -> Answer<'_, bool> {
        self.within(self.forget_invite(invite))
    }

    fn set_administrator(&self, user: UserId, administrator: bool) -> Answer<'_, ()> {
        self.within(async move {
            let mut db = self.connection().await?;
            let set = sqlx::query(ADMINISTRATOR).bind(user.0).bind(administrator).execute(&mut *db).await;
            set.map_err(unavailable)?;
            self.follow_feed().await
        })
    }

    fn keys_of(&self, sender: UserId, messages: Vec<MessageId>) -> Answer<'_, Vec<(MessageId, SendKey)>> {
        self.within(async move {
            let ids: Vec<i64> = messages.iter().map(|id| id.0).collect();
            let rows: Vec<(i64, String)> = self
                .look(|| sqlx::query_as(KEYS).bind(sender.0).bind(&ids).fetch_all(self.shared.servers.reads()))
                .await?;
            Ok(rows.into_iter().filter_map(|(id, key)| Some((MessageId(id), SendKey::parse(&key)?))).collect())
        })
    }

    fn set_profile(&self, user: UserId, display_name: Option<Label>, country: Option<Label>) -> Answer<'_, ()> {
        self.within(async move {
            let mut db = self.connection().await?;
            sqlx::query(PROFILE)
                .bind(user.0)
                .bind(display_name.as_ref().map(Label::as_str))
                .bind(country.as_ref().map(Label::as_str))
                .execute(&mut *db)
                .await
                .map_err(unavailable)?;
            self.follow_feed().await
        })
    }

    fn accounts_named<'a>(&'a self, prefix: &'a str, most: usize) -> Answer<'a, Vec<User>> {
        self.within(async move {
            if is_no_text(prefix) {
                return Ok(Vec::new());
            }
            // No character is greater, so that all names lie between that begin with the prefix.
            let beyond = format!("{prefix}{}", char::MAX);
            let ask = || {
                sqlx::query_as(NAMED)
                    .bind(prefix)
                    .bind(&beyond)
                    .bind(limit(most))
                    .fetch_all(self.shared.servers.reads())
            };
            let rows: Vec<AccountRow> = self.look(ask).await?;
            Ok(rows.into_iter().map(|row| row.user).collect())
        })
    }
}
