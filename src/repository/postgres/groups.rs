//! Groups: asked of the database, and changed by its functions.

use std::sync::Arc;

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::QueryScalar;

use super::accounts::{PAGE, is_no_text};
use super::{PostgresRepository, unavailable};
use crate::model::{GroupId, Label, MessageId, Timestamp, UserId, Username};
use crate::repository::{
    Answer, Error, Group, GroupLimits, GroupMember, GroupReceipt, GroupRepository, GroupResult, NewGroup, ReadCount,
};

const NAMED: &str = "SELECT id, name, display_name, owner, removed_at IS NOT NULL, created_at, 0::bigint FROM account
    WHERE folded = $1 AND name = $2 AND owner IS NOT NULL AND removed_at IS NULL";
const NUMBERED: &str =
    "SELECT id, name, display_name, owner, removed_at IS NOT NULL, created_at, 0::bigint FROM account
    WHERE id = $1 AND owner IS NOT NULL";
const OF_MEMBER: &str =
    "SELECT a.id, a.name, a.display_name, a.owner, a.removed_at IS NOT NULL, a.created_at, 0::bigint
    FROM membership s JOIN account a ON a.id = s.grp WHERE s.member = $1 AND s.until IS NULL ORDER BY a.id";
const ALL: &str = "SELECT a.id, a.name, a.display_name, a.owner, false, a.created_at,
        (SELECT count(*) FROM membership s WHERE s.grp = a.id AND s.until IS NULL)
    FROM account a WHERE a.id > $1 AND a.owner IS NOT NULL AND a.removed_at IS NULL ORDER BY a.id LIMIT $2";
const MEMBERS: &str = "SELECT member, since FROM membership WHERE grp = $1 AND until IS NULL ORDER BY member";
const MEMBER_NAMES: &str = "SELECT s.member, a.name FROM membership s JOIN account a ON a.id = s.member
    WHERE s.grp = $1 AND s.member > $2 AND s.until IS NULL ORDER BY s.member LIMIT $3";
const IS_MEMBER: &str = "SELECT EXISTS (SELECT 1 FROM membership WHERE grp = $1 AND member = $2 AND until IS NULL)";
const PASSWORD: &str = "SELECT password_hash FROM account WHERE id = $1 AND owner IS NOT NULL AND removed_at IS NULL";
const RECEIPTS: &str = "SELECT m.id, m.sent_at, c.have_read, c.got FROM
        (SELECT id, sent_at, target, sender FROM message WHERE sender = $1 AND target = $2 ORDER BY id DESC LIMIT $3) m
    CROSS JOIN LATERAL read_count(m.target, m.id, m.sender) c ORDER BY m.id";

type NamedGroupRow = (i64, String, String, i64, bool, i64, i64);

fn group((id, name, display_name, owner, removed, created_at, _): NamedGroupRow) -> Group {
    Group {
        id: GroupId(id),
        name: Username::stored(&name),
        display_name: display_name.into(),
        owner: UserId(owner),
        removed,
        created_at: Timestamp(created_at),
    }
}

fn number(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl PostgresRepository {
    /// Has a function of the database change a group.
    async fn change_group(&self, change: QueryScalar<'_, Postgres, String, PgArguments>) -> Result<GroupResult, Error> {
        let mut db = self.connection().await?;
        let word: String = change.fetch_one(&mut *db).await.map_err(unavailable)?;
        self.follow_feed().await?;
        Ok(match word.as_str() {
            "done" => GroupResult::Done,
            "name taken" => GroupResult::NameTaken,
            "not a member" => GroupResult::NotAMember,
            "already a member" => GroupResult::AlreadyAMember,
            "group full" => GroupResult::GroupFull,
            "too many groups" => GroupResult::TooManyGroups,
            _ => GroupResult::Gone,
        })
    }

    async fn one_group(&self, name: &str) -> Result<Option<Group>, Error> {
        if is_no_text(name) {
            return Ok(None);
        }
        let folded = Username::stored(name).folded();
        let ask = || sqlx::query_as(NAMED).bind(&folded).bind(name).fetch_optional(self.shared.servers.reads());
        Ok(self.look(ask).await?.map(group))
    }

    async fn members_of(&self, id: GroupId) -> Result<Vec<GroupMember>, Error> {
        let rows: Vec<(i64, i64)> =
            self.look(|| sqlx::query_as(MEMBERS).bind(id.0).fetch_all(self.shared.servers.reads())).await?;
        let mut members = Vec::with_capacity(rows.len());
        for (user, since) in rows {
            if let Some(user) = self.find_user(UserId(user)).await? {
                members.push(GroupMember { user, since: MessageId(since) });
            }
        }
        Ok(members)
    }
}

impl GroupRepository for PostgresRepository {
    fn group_named<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Arc<Group>>> {
        self.within(async move { Ok(self.one_group(name).await?.map(Arc::new)) })
    }

    fn group(&self, id: GroupId) -> Answer<'_, Option<Arc<Group>>> {
        self.within(async move {
            let row =
                self.look(|| sqlx::query_as(NUMBERED).bind(id.0).fetch_optional(self.shared.servers.reads())).await?;
            Ok(row.map(|row| Arc::new(group(row))))
        })
    }

    fn groups_of(&self, user: UserId) -> Answer<'_, Vec<Arc<Group>>> {
        self.within(async move {
            let rows =
                self.look(|| sqlx::query_as(OF_MEMBER).bind(user.0).fetch_all(self.shared.servers.reads())).await?;
            Ok(rows.into_iter().map(|row| Arc::new(group(row))).collect())
        })
    }

    fn members(&self, group: GroupId) -> Answer<'_, Vec<GroupMember>> {
        self.within(self.members_of(group))
    }

    fn member_names(&self, group: GroupId, after: UserId) -> Answer<'_, Vec<(UserId, Username)>> {
        self.within(async move {
            let ask = || {
                sqlx::query_as(MEMBER_NAMES)
                    .bind(group.0)
                    .bind(after.0)
                    .bind(PAGE)
                    .fetch_all(self.shared.servers.reads())
            };
            let rows: Vec<(i64, String)> = self.look(ask).await?;
            Ok(rows.into_iter().map(|(member, name)| (UserId(member), Username::stored(&name))).collect())
        })
    }

    fn group_on_disk(&self, name: Username) -> Answer<'_, Option<Group>> {
        self.within(async move { self.one_group(name.as_str()).await })
    }

    fn is_member(&self, group: GroupId, user: UserId) -> Answer<'_, bool> {
        self.within(async move {
            self.look(|| {
                sqlx::query_scalar(IS_MEMBER).bind(group.0).bind(user.0).fetch_one(self.shared.servers.reads())
            })
            .await
        })
    }

    fn group_password(&self, group: GroupId) -> Answer<'_, Option<String>> {
        self.within(async move {
            self.look(|| sqlx::query_scalar(PASSWORD).bind(group.0).fetch_optional(self.shared.servers.reads())).await
        })
    }

    fn groups(&self, after: GroupId) -> Answer<'_, Vec<(Group, u64)>> {
        self.within(async move {
            let ask = || sqlx::query_as(ALL).bind(after.0).bind(PAGE).fetch_all(self.shared.servers.reads());
            let rows: Vec<NamedGroupRow> = self.look(ask).await?;
            let count = |row: &NamedGroupRow| u64::try_from(row.6).unwrap_or(0);
            Ok(rows.into_iter().map(|row| (count(&row), row)).map(|(members, row)| (group(row), members)).collect())
        })
    }

    fn add_group(&self, new: NewGroup, limits: GroupLimits) -> Answer<'_, GroupResult> {
        self.within(async move {
            let add = sqlx::query_scalar("SELECT add_group($1, $2, $3, $4, $5, $6)")
                .bind(new.name.as_str().to_owned())
                .bind(new.name.folded())
                .bind(new.display_name.as_str().to_owned())
                .bind(new.password_hash)
                .bind(new.owner.0)
                .bind(number(limits.groups));
            self.change_group(add).await
        })
    }

    fn join(&self, group: GroupId, user: UserId, limits: GroupLimits) -> Answer<'_, GroupResult> {
        self.within(async move {
            let join = sqlx::query_scalar("SELECT join_group($1, $2, $3, $4)").bind(group.0).bind(user.0);
            self.change_group(join.bind(number(limits.groups)).bind(number(limits.members))).await
        })
    }

    fn leave(&self, group: GroupId, user: UserId) -> Answer<'_, GroupResult> {
        self.within(async move {
            self.change_group(sqlx::query_scalar("SELECT leave_group($1, $2)").bind(group.0).bind(user.0)).await
        })
    }

    fn rename_group(&self, group: GroupId, display_name: Label) -> Answer<'_, GroupResult> {
        self.within(async move {
            let shown = display_name.as_str().to_owned();
            self.change_group(sqlx::query_scalar("SELECT rename_group($1, $2)").bind(group.0).bind(shown)).await
        })
    }

    fn remove_group(&self, group: GroupId) -> Answer<'_, GroupResult> {
        Answer::pending(
            async move { self.change_group(sqlx::query_scalar("SELECT remove_group($1)").bind(group.0)).await },
        )
    }

    fn group_receipts(&self, sender: UserId, group: GroupId, messages: usize) -> Answer<'_, Vec<GroupReceipt>> {
        self.within(async move {
            let ask = || {
                sqlx::query_as(RECEIPTS)
                    .bind(sender.0)
                    .bind(group.0)
                    .bind(number(messages))
                    .fetch_all(self.shared.servers.reads())
            };
            let rows: Vec<(i64, i64, i64, i64)> = self.look(ask).await?;
            Ok(rows
                .into_iter()
                .map(|(id, at, read, of)| (MessageId(id), Timestamp(at), read_count(read, of)))
                .collect())
        })
    }
}

/// Two counts of the database.
pub(super) fn read_count(read: i64, of: i64) -> ReadCount {
    ReadCount { read: u64::try_from(read).unwrap_or(0), of: u64::try_from(of).unwrap_or(0) }
}
