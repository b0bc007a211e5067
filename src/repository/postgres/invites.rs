//! Codes that make accounts.

use super::{PostgresRepository, unavailable};
use crate::model::{InviteId, Timestamp, TokenHash};
use crate::repository::{Error, NewInvite, StoredInvite};

const WORKS: &str = "SELECT EXISTS (SELECT 1 FROM invite WHERE code_hash = $1 AND expires_at > now_ms())";
const ADD: &str = "SELECT add_invite($1, $2, $3, $4)";
const LIST: &str = "SELECT id, label, created_at, expires_at FROM invite
    WHERE id > $1 AND expires_at > now_ms() ORDER BY id LIMIT 1000";
const REMOVE: &str = "DELETE FROM invite WHERE id = $1";

impl PostgresRepository {
    pub(super) async fn invite_works(&self, code: TokenHash) -> Result<bool, Error> {
        let code = code.0.to_vec();
        self.look(|| sqlx::query_scalar(WORKS).bind(&code).fetch_one(self.shared.servers.reads())).await
    }

    pub(super) async fn keep_invite(&self, new: NewInvite) -> Result<InviteId, Error> {
        let mut db = self.connection().await?;
        let lasts = i64::try_from(new.lasts.as_millis()).unwrap_or(i64::MAX);
        let id = sqlx::query_scalar(ADD)
            .bind(new.code.0.to_vec())
            .bind(new.label.as_str())
            .bind(lasts)
            .bind(Timestamp::LAST.0)
            .fetch_one(&mut *db)
            .await;
        id.map(InviteId).map_err(unavailable)
    }

    pub(super) async fn invites_after(&self, after: InviteId) -> Result<Vec<StoredInvite>, Error> {
        let rows: Vec<(i64, String, i64, i64)> =
            self.look(|| sqlx::query_as(LIST).bind(after.0).fetch_all(self.shared.servers.reads())).await?;
        let invite = |(id, label, created_at, expires_at)| StoredInvite {
            id: InviteId(id),
            label,
            created_at: Timestamp(created_at),
            expires_at: Timestamp(expires_at),
        };
        Ok(rows.into_iter().map(invite).collect())
    }

    pub(super) async fn forget_invite(&self, id: InviteId) -> Result<bool, Error> {
        let mut db = self.connection().await?;
        let removed = sqlx::query(REMOVE).bind(id.0).execute(&mut *db).await.map_err(unavailable)?;
        Ok(removed.rows_affected() > 0)
    }
}
