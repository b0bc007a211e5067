//! What the disk has of groups: what waits for a member, what a member may look back on, and how many have read a
//! message. Writes nothing.

use std::sync::Arc;

use sqlx::SqliteConnection;
use sqlx::types::Json;

use super::index::{Indexed, unread_message};
use super::membership::{Exceptions, Membership};
use crate::model::{Address, GroupId, MessageId, UserId};
use crate::repository::ReadCount;
use crate::repository::memory::mailboxes::UnreadMessage;

type MembershipRow = (i64, i64, i64, Option<i64>, i64, Option<i64>);

// In one row of JSON each, because each row that sqlx hands over costs a few µs.

/// Somebody's memberships in which something may wait.
const MINE: &str = "SELECT json_group_array(json_array(grp, member, since, until, read_to, full_from))
    FROM membership WHERE member = ?1 AND (until IS NULL OR read_to < until)";
/// All memberships of a group.
const OF_GROUP: &str = "SELECT json_group_array(json_array(grp, member, since, until, read_to, full_from))
    FROM membership WHERE grp = ?1";
/// When somebody was in a group, the last time first.
const WHEN: &str = "SELECT since, until FROM membership WHERE grp = ?1 AND member = ?2 ORDER BY since DESC";
/// The groups that somebody is in, or was in after a message, and when.
const OWN: &str = "SELECT json_group_array(json_array(grp, since, until)) FROM membership
    WHERE member = ?1 AND (until IS NULL OR until > ?2)";
const MISSED: &str = "SELECT json_group_array(json_array(grp, member, first_id, last_id)) FROM missed
    WHERE grp IN (SELECT value FROM json_each(?1)) AND (?2 IS NULL OR member = ?2)";
const AHEAD: &str = "SELECT json_group_array(json_array(grp, member, id)) FROM read_ahead
    WHERE grp IN (SELECT value FROM json_each(?1)) AND (?2 IS NULL OR member = ?2)";

/// The part of a group in which something may wait for a member.
pub(crate) struct UnreadPart {
    pub group: GroupId,
    /// The first message that may wait.
    pub from: i64,
    membership: Membership,
    exceptions: Arc<Exceptions>,
}

impl UnreadPart {
    /// What of the group's messages waits.
    pub(crate) fn unread(&self, sent: Vec<Indexed>) -> impl Iterator<Item = UnreadMessage> {
        let unread = sent.into_iter().filter(|(sender, id, _)| {
            *id >= self.from
                && self.membership.gets(*id, *sender)
                && self.exceptions.is_unread(self.group.0, &self.membership, *id)
        });
        unread.map(|indexed| unread_message(indexed, self.group.into()))
    }
}

/// Where something may wait for somebody that is no older than `oldest`.
pub(crate) async fn unread_parts(
    db: &mut SqliteConnection,
    member: UserId,
    oldest: i64,
) -> sqlx::Result<Vec<UnreadPart>> {
    let Json(mine): Json<Vec<MembershipRow>> = sqlx::query_scalar(MINE).bind(member.0).fetch_one(&mut *db).await?;
    let groups: Vec<i64> = mine.iter().map(|(group, ..)| *group).collect();
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let exceptions = Arc::new(exceptions(db, &groups, Some(member)).await?);
    let part = |(group, member, since, until, read_to, full_from): MembershipRow| UnreadPart {
        group: GroupId(group),
        from: oldest.max(read_to + 1),
        membership: Membership::of((member, since, until, read_to, full_from)),
        exceptions: exceptions.clone(),
    };
    Ok(mine.into_iter().map(part).collect())
}

/// What members of groups, or one of them, did not get or have read out of its order.
async fn exceptions(db: &mut SqliteConnection, groups: &[i64], member: Option<UserId>) -> sqlx::Result<Exceptions> {
    let member = member.map(|member| member.0);
    let Json(missed) = sqlx::query_scalar(MISSED).bind(Json(groups)).bind(member).fetch_one(&mut *db).await?;
    let Json(ahead) = sqlx::query_scalar(AHEAD).bind(Json(groups)).bind(member).fetch_one(db).await?;
    Ok(Exceptions::of(missed, ahead))
}

/// After which message and up to which somebody was in a group, the last time first.
pub(crate) async fn when_in_group(
    db: &mut SqliteConnection,
    group: GroupId,
    member: UserId,
) -> sqlx::Result<Vec<(MessageId, MessageId)>> {
    let rows: Vec<(i64, Option<i64>)> = sqlx::query_as(WHEN).bind(group.0).bind(member.0).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(since, until)| (MessageId(since), MessageId(until.unwrap_or(i64::MAX)))).collect())
}

/// The groups from which an account has messages.
pub(crate) struct OwnGroups {
    /// From after a message up to another.
    times: Vec<(GroupId, i64, i64)>,
}

impl OwnGroups {
    /// Those from which it may have messages after this one.
    pub(crate) async fn of(db: &mut SqliteConnection, member: UserId, after: MessageId) -> sqlx::Result<OwnGroups> {
        let Json(times): Json<Vec<(i64, i64, Option<i64>)>> =
            sqlx::query_scalar(OWN).bind(member.0).bind(after.0).fetch_one(db).await?;
        let time = |(group, since, until): (i64, i64, Option<i64>)| (GroupId(group), since, until.unwrap_or(i64::MAX));
        Ok(OwnGroups { times: times.into_iter().map(time).collect() })
    }

    /// Whether a message with this target is one that was sent to a group of his while he was in it.
    pub(crate) fn have(&self, target: i64, id: i64) -> bool {
        self.times_in(target).any(|(since, until)| since < id && id <= until)
    }

    /// Whether he was in a group of this number before a message came.
    pub(crate) fn may_have_before(&self, target: i64, id: i64) -> bool {
        self.times_in(target).any(|(since, _)| since < id)
    }

    /// Whether this is the number of one of them.
    pub(crate) fn contain(&self, number: i64) -> bool {
        self.times_in(number).next().is_some()
    }

    /// The address that has this number, to somebody who has a message of it.
    pub(crate) fn address(&self, number: i64) -> Address {
        if self.contain(number) { GroupId(number).into() } else { UserId(number).into() }
    }

    /// The numbers of the groups, each at least once.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = i64> {
        self.times.iter().map(|(group, ..)| group.0)
    }

    fn times_in(&self, number: i64) -> impl Iterator<Item = (i64, i64)> {
        self.times.iter().filter(move |(group, ..)| group.0 == number).map(|(_, since, until)| (*since, *until))
    }
}

/// How many have read each of these messages of a group, given with their senders.
pub(crate) async fn read_counts(
    db: &mut SqliteConnection,
    group: GroupId,
    messages: &[(i64, i64)],
) -> sqlx::Result<Vec<ReadCount>> {
    let Json(rows): Json<Vec<MembershipRow>> = sqlx::query_scalar(OF_GROUP).bind(group.0).fetch_one(&mut *db).await?;
    let exceptions = exceptions(db, &[group.0], None).await?;
    let memberships = rows.into_iter().map(|(_, member, since, until, read_to, full_from)| {
        Membership::of((member, since, until, read_to, full_from))
    });
    let memberships: Vec<Membership> = memberships.collect();
    let count = |(id, sender): &(i64, i64)| {
        let got = memberships.iter().filter(|m| m.gets(*id, *sender) && !exceptions.has_missed(group.0, m.member, *id));
        got.fold(ReadCount::default(), |count, membership| ReadCount {
            read: count.read + u64::from(!exceptions.is_unread(group.0, membership, *id)),
            of: count.of + 1,
        })
    };
    Ok(messages.iter().map(count).collect())
}
