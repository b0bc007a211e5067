//! Changes of groups and of their members, each inside the writer's transaction.

use sqlx::SqliteConnection;

use crate::model::{GroupId, Label, MessageId, Timestamp, UserId};
use crate::repository::memory::event::Event;
use crate::repository::memory::groups::{CurrentMember, GroupEvent};
use crate::repository::{Group, GroupLimits, GroupResult, NewGroup};

/// A change of a group to be made.
#[derive(Clone)]
pub(crate) enum GroupChange {
    Add(NewGroup, GroupLimits),
    /// Somebody joins.
    Join(GroupId, UserId, GroupLimits),
    /// Somebody leaves.
    Leave(GroupId, UserId),
    /// A group gets another display name.
    Rename(GroupId, Label),
    /// A group goes.
    Remove(GroupId),
}

impl GroupChange {
    /// Runs the statements.
    pub(crate) async fn run(self, db: &mut SqliteConnection, now: Timestamp) -> sqlx::Result<(GroupResult, Event)> {
        let done = match self {
            GroupChange::Add(new, limits) => add(db, new, limits, now).await?,
            GroupChange::Join(group, user, limits) => join(db, group, user, limits).await?,
            GroupChange::Leave(group, user) => leave(db, group, user, now).await?,
            GroupChange::Rename(group, display_name) => rename(db, group, display_name).await?,
            GroupChange::Remove(group) => remove(db, group, now).await?,
        };
        let (result, events) = match done {
            Ok(events) => (GroupResult::Done, events),
            Err(refused) => (refused, Vec::new()),
        };
        Ok((result, Event::GroupsChanged(events)))
    }
}

/// What changed, or why nothing did.
type GroupOutcome = sqlx::Result<Result<Vec<GroupEvent>, GroupResult>>;

/// The last message that is in the log, with those of this commit.
async fn last_message(db: &mut SqliteConnection) -> sqlx::Result<MessageId> {
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'message'), 0)";
    Ok(MessageId(sqlx::query_scalar(sql).fetch_one(db).await?))
}

/// Whether it is beyond the limit that there is one more.
fn is_over(count: i64, most: usize) -> bool {
    usize::try_from(count).is_ok_and(|count| count >= most)
}

async fn may_join(
    db: &mut SqliteConnection,
    user: UserId,
    limits: GroupLimits,
) -> sqlx::Result<Result<(), GroupResult>> {
    let sql = "SELECT count(*) FROM user WHERE id = ?1 AND owner IS NULL AND removed_at IS NULL";
    if sqlx::query_scalar::<_, i64>(sql).bind(user.0).fetch_one(&mut *db).await? == 0 {
        return Ok(Err(GroupResult::Gone));
    }
    let sql = "SELECT count(*) FROM membership INDEXED BY membership_of_member_now WHERE member = ?1 AND until IS NULL";
    let groups: i64 = sqlx::query_scalar(sql).bind(user.0).fetch_one(db).await?;
    Ok(if is_over(groups, limits.groups) { Err(GroupResult::TooManyGroups) } else { Ok(()) })
}

async fn add(db: &mut SqliteConnection, new: NewGroup, limits: GroupLimits, now: Timestamp) -> GroupOutcome {
    if let Err(refused) = may_join(db, new.owner, limits).await? {
        return Ok(Err(refused));
    }
    let sql = "INSERT INTO user (name, folded, display_name, country, password_hash, created_at, owner)
               VALUES (?1, ?2, ?3, '', ?4, ?5, ?6)";
    let added = sqlx::query(sql)
        .bind(new.name.as_str())
        .bind(new.name.folded())
        .bind(new.display_name.as_str())
        .bind(&new.password_hash)
        .bind(now.0)
        .bind(new.owner.0)
        .execute(&mut *db)
        .await;
    let id = match added {
        Ok(done) => GroupId(done.last_insert_rowid()),
        Err(sqlx::Error::Database(e)) if e.is_unique_violation() => return Ok(Err(GroupResult::NameTaken)),
        Err(e) => return Err(e),
    };
    let member = put_in(db, id, new.owner).await?;
    let display_name = new.display_name.as_str().into();
    let group = Group { id, name: new.name, display_name, owner: new.owner, removed: false, created_at: now };
    Ok(Ok(vec![GroupEvent::Stored(group, vec![member], member.since)]))
}

async fn join(db: &mut SqliteConnection, id: GroupId, user: UserId, limits: GroupLimits) -> GroupOutcome {
    if !lives(db, id).await? {
        return Ok(Err(GroupResult::Gone));
    }
    if is_in(db, id, user).await? {
        return Ok(Err(GroupResult::AlreadyAMember));
    }
    if let Err(refused) = may_join(db, user, limits).await? {
        return Ok(Err(refused));
    }
    let sql = "SELECT count(*) FROM membership INDEXED BY membership_of_group_now WHERE grp = ?1 AND until IS NULL";
    if is_over(sqlx::query_scalar(sql).bind(id.0).fetch_one(&mut *db).await?, limits.members) {
        return Ok(Err(GroupResult::GroupFull));
    }
    let member = put_in(db, id, user).await?;
    Ok(Ok(vec![GroupEvent::Joined(id, member)]))
}

async fn leave(db: &mut SqliteConnection, id: GroupId, user: UserId, now: Timestamp) -> GroupOutcome {
    if !is_in(db, id, user).await? {
        return Ok(Err(GroupResult::NotAMember));
    }
    take_out(db, id, user, now).await.map(Ok)
}

async fn rename(db: &mut SqliteConnection, id: GroupId, display_name: Label) -> GroupOutcome {
    let sql = "UPDATE user SET display_name = ?2 WHERE id = ?1 AND owner IS NOT NULL AND removed_at IS NULL";
    let renamed = sqlx::query(sql).bind(id.0).bind(display_name.as_str()).execute(db).await?.rows_affected();
    Ok(if renamed > 0 { Ok(vec![GroupEvent::Renamed(id, display_name)]) } else { Err(GroupResult::Gone) })
}

async fn remove(db: &mut SqliteConnection, id: GroupId, now: Timestamp) -> GroupOutcome {
    if !lives(db, id).await? {
        return Ok(Err(GroupResult::Gone));
    }
    let last = last_message(db).await?;
    let sql = "UPDATE membership INDEXED BY membership_of_group_now SET until = ?2 WHERE grp = ?1 AND until IS NULL";
    sqlx::query(sql).bind(id.0).bind(last.0).execute(&mut *db).await?;
    end(db, id, now).await?;
    Ok(Ok(vec![GroupEvent::Removed(id, last)]))
}

/// An account that goes leaves its groups, and nothing of them waits for it any more.
pub(crate) async fn leave_all(
    db: &mut SqliteConnection,
    user: UserId,
    now: Timestamp,
) -> sqlx::Result<Vec<GroupEvent>> {
    let sql = "SELECT grp FROM membership INDEXED BY membership_of_member_now WHERE member = ?1 AND until IS NULL";
    let groups: Vec<i64> = sqlx::query_scalar(sql).bind(user.0).fetch_all(&mut *db).await?;
    let mut events = Vec::new();
    for group in groups {
        events.extend(take_out(db, GroupId(group), user, now).await?);
    }
    let sql = "UPDATE membership SET read_to = max(read_to, until) WHERE member = ?1";
    sqlx::query(sql).bind(user.0).execute(&mut *db).await?;
    let sql = "DELETE FROM read_ahead WHERE (grp, member) IN (SELECT grp, member FROM membership WHERE member = ?1)";
    sqlx::query(sql).bind(user.0).execute(db).await?;
    Ok(events)
}

async fn lives(db: &mut SqliteConnection, id: GroupId) -> sqlx::Result<bool> {
    let sql = "SELECT count(*) FROM user WHERE id = ?1 AND owner IS NOT NULL AND removed_at IS NULL";
    Ok(sqlx::query_scalar::<_, i64>(sql).bind(id.0).fetch_one(db).await? > 0)
}

async fn is_in(db: &mut SqliteConnection, id: GroupId, user: UserId) -> sqlx::Result<bool> {
    let sql = "SELECT count(*) FROM membership INDEXED BY membership_of_member_now
               WHERE grp = ?1 AND member = ?2 AND until IS NULL";
    Ok(sqlx::query_scalar::<_, i64>(sql).bind(id.0).bind(user.0).fetch_one(db).await? > 0)
}

async fn put_in(db: &mut SqliteConnection, id: GroupId, user: UserId) -> sqlx::Result<CurrentMember> {
    let since = last_message(db).await?;
    // An account that comes back before a message was sent continues its old membership.
    let sql = "INSERT INTO membership (grp, member, since, read_to) VALUES (?1, ?2, ?3, ?3)
               ON CONFLICT DO UPDATE SET until = NULL, full_from = NULL";
    sqlx::query(sql).bind(id.0).bind(user.0).bind(since.0).execute(db).await?;
    Ok(CurrentMember { user, since })
}

async fn take_out(
    db: &mut SqliteConnection,
    id: GroupId,
    user: UserId,
    now: Timestamp,
) -> sqlx::Result<Vec<GroupEvent>> {
    let last = last_message(db).await?;
    let sql = "UPDATE membership INDEXED BY membership_of_member_now SET until = ?3
               WHERE grp = ?1 AND member = ?2 AND until IS NULL";
    sqlx::query(sql).bind(id.0).bind(user.0).bind(last.0).execute(&mut *db).await?;
    let mut events = vec![GroupEvent::Left(id, user, last)];
    let next = "SELECT member FROM membership INDEXED BY membership_of_group_now
                WHERE grp = ?1 AND until IS NULL ORDER BY since, member LIMIT 1";
    let Some(next) = sqlx::query_scalar::<_, i64>(next).bind(id.0).fetch_optional(&mut *db).await? else {
        end(db, id, now).await?;
        events.push(GroupEvent::Removed(id, last));
        return Ok(events);
    };
    let sql = "UPDATE user SET owner = ?2 WHERE id = ?1 AND owner = ?3";
    let passed_on = sqlx::query(sql).bind(id.0).bind(next).bind(user.0).execute(db).await?.rows_affected();
    if passed_on > 0 {
        events.push(GroupEvent::Owned(id, UserId(next)));
    }
    Ok(events)
}

async fn end(db: &mut SqliteConnection, id: GroupId, now: Timestamp) -> sqlx::Result<()> {
    let sql = "UPDATE user SET removed_at = ?2, password_hash = '', disabled = 1 WHERE id = ?1 AND removed_at IS NULL";
    sqlx::query(sql).bind(id.0).bind(now.0).execute(db).await.map(|_| ())
}
