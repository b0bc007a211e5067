//! What people change of their own accounts, and how they find those of others.

use sqlx::SqlitePool;
use sqlx::types::Json;

use super::account_changes::AccountChange;
use super::accounts::{UserRow, living};
use super::change::{Change, Changed};
use super::invites::{self, InviteChange};
use super::{SqliteRepository, unread_accounts, unread_log};
use crate::model::{InviteId, Label, MessageId, SendKey, Timestamp, TokenHash, UserId};
use crate::repository::{
    AccountRepository, AddUserResult, Answer, Error, NewInvite, NewToken, NewUser, PasswordChange, Repository,
    StoredInvite, User,
};

const NAMED: &str = "SELECT id, name, display_name, country, disabled, created_at, administrator FROM user
    WHERE folded >= ?1 AND folded < ?2 AND owner IS NULL AND removed_at IS NULL AND disabled = 0
    ORDER BY folded LIMIT ?3";
const KEYS: &str = "SELECT id, key FROM send_key
    WHERE sender = ?1 AND id IN (SELECT value FROM json_each(?2))";

async fn keys(readers: &SqlitePool, sender: UserId, messages: &[MessageId]) -> sqlx::Result<Vec<(MessageId, SendKey)>> {
    let ids: Vec<i64> = messages.iter().map(|id| id.0).collect();
    let rows: Vec<(i64, String)> = sqlx::query_as(KEYS).bind(sender.0).bind(Json(ids)).fetch_all(readers).await?;
    Ok(rows.into_iter().filter_map(|(id, key)| Some((MessageId(id), SendKey::parse(&key)?))).collect())
}

async fn named(readers: &SqlitePool, prefix: &str, most: usize) -> sqlx::Result<Vec<User>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    // No character is greater, so that all names lie between that begin with the prefix.
    let beyond = format!("{prefix}{}", char::MAX);
    let rows: Vec<UserRow> = sqlx::query_as(NAMED).bind(prefix).bind(beyond).bind(most).fetch_all(readers).await?;
    Ok(rows.into_iter().map(living).collect())
}

impl SqliteRepository {
    /// What became of an account that is made only under a condition. `None`: that does not hold.
    async fn added_if(&self, change: Change) -> Result<Option<AddUserResult>, Error> {
        match self.change(change).await? {
            Changed::User(added) => Ok(Some(added)),
            Changed::Rows(_) | Changed::Group(_) => Ok(None),
        }
    }

    fn now(&self) -> Timestamp {
        self.clock().now()
    }
}

impl AccountRepository for SqliteRepository {
    fn change_password(&self, change: PasswordChange) -> Answer<'_, bool> {
        Answer::pending(async move { Ok(self.rows(Change::Account(AccountChange::Password(change))).await? > 0) })
    }

    fn add_token(&self, token: NewToken) -> Answer<'_, bool> {
        Answer::pending(async move { Ok(self.rows(Change::Account(AccountChange::Token(token))).await? > 0) })
    }

    fn add_first_user(&self, user: NewUser) -> Answer<'_, Option<AddUserResult>> {
        Answer::pending(self.added_if(Change::AddFirstUser(user)))
    }

    fn add_invited_user(&self, user: NewUser, code: TokenHash) -> Answer<'_, Option<AddUserResult>> {
        Answer::pending(self.added_if(Change::AddInvitedUser(user, code)))
    }

    fn is_invite(&self, code: TokenHash) -> Answer<'_, bool> {
        Answer::pending(
            async move { invites::works_on_disk(&self.logins, code, self.now()).await.map_err(unread_accounts) },
        )
    }

    fn add_invite(&self, invite: NewInvite) -> Answer<'_, InviteId> {
        Answer::pending(async move {
            let id = self.rows(Change::Invite(InviteChange::Add(invite))).await?;
            Ok(InviteId(i64::try_from(id).unwrap_or(0)))
        })
    }

    fn invites(&self, after: InviteId) -> Answer<'_, Vec<StoredInvite>> {
        Answer::pending(async move { invites::list(&self.logins, after, self.now()).await.map_err(unread_accounts) })
    }

    fn remove_invite(&self, invite: InviteId) -> Answer<'_, bool> {
        Answer::pending(async move { Ok(self.rows(Change::Invite(InviteChange::Remove(invite))).await? > 0) })
    }

    fn set_administrator(&self, user: UserId, administrator: bool) -> Answer<'_, ()> {
        let change = AccountChange::Administrator(user, administrator);
        Answer::pending(async move { self.rows(Change::Account(change)).await.map(drop) })
    }

    fn keys_of(&self, sender: UserId, messages: Vec<MessageId>) -> Answer<'_, Vec<(MessageId, SendKey)>> {
        Answer::pending(async move { keys(&self.logins, sender, &messages).await.map_err(unread_log) })
    }

    fn set_profile(&self, user: UserId, display_name: Option<Label>, country: Option<Label>) -> Answer<'_, ()> {
        let change = AccountChange::Profile { user, display_name, country };
        Answer::pending(async move { self.rows(Change::Account(change)).await.map(drop) })
    }

    fn accounts_named<'a>(&'a self, prefix: &'a str, most: usize) -> Answer<'a, Vec<User>> {
        Answer::pending(async move { named(&self.logins, prefix, most).await.map_err(unread_accounts) })
    }
}
