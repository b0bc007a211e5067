//! Reads from the disk who is and was in groups, and what each member has read. Writes nothing.

use std::collections::{HashMap, HashSet};

use rusqlite::Row;
use sqlx::SqlitePool;

use super::direct::{Failure, WalConnection, lossy};
use super::full_inboxes::FullInboxes;
use crate::model::{GroupId, MessageId, Timestamp, UserId, Username};
use crate::repository::Group;
use crate::repository::memory::groups::{CurrentMember, GroupEvent, Groups};
use crate::repository::memory::mailboxes::UnreadMessage;

const GROUPS: &str =
    "SELECT id, name, display_name, owner, removed_at IS NOT NULL, created_at FROM user WHERE owner IS NOT NULL";
const MEMBERSHIPS: &str =
    "SELECT grp, member, since, until, read_to, full_from FROM membership ORDER BY grp, member, since";

const PAGE_OF_GROUPS: &str = "SELECT id, name, display_name, owner, created_at,
        (SELECT count(*) FROM membership WHERE grp = id AND until IS NULL)
    FROM user WHERE id > ?1 AND owner IS NOT NULL AND removed_at IS NULL ORDER BY id LIMIT ?2";
/// How many groups an administrator's query reads at a time.
const PAGE: i64 = 1_000;

/// A member, from one message to another, and what he has read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membership {
    pub member: i64,
    /// He gets what comes after this.
    pub since: i64,
    /// And up to this; the last number there is while he is in the group.
    pub until: i64,
    /// Up to here he has read all.
    pub read_to: i64,
    /// From here on his inbox has no room; beyond the last number while it has.
    pub full_from: i64,
}

impl Membership {
    /// Of a row without its group.
    pub(crate) fn of(
        (member, since, until, read_to, full_from): (i64, i64, Option<i64>, i64, Option<i64>),
    ) -> Membership {
        let [until, full_from] = [until, full_from].map(|id| id.unwrap_or(i64::MAX));
        Membership { member, since, until, read_to, full_from }
    }

    /// Whether a message was for him while he was a member, and he had room then; what he has missed before is not
    /// known here.
    pub(crate) fn gets(&self, id: i64, sender: i64) -> bool {
        self.since < id && id <= self.until && id < self.full_from && sender != self.member
    }
}

/// What members did not get, and what they have read out of its order, by group and member.
#[derive(Debug, Default)]
pub(crate) struct Exceptions {
    missed: HashMap<(i64, i64), Vec<(i64, i64)>>,
    ahead: HashSet<(i64, i64, i64)>,
}

impl Exceptions {
    /// Of rows: group, member, first and last message; group, member, message.
    pub(crate) fn of(missed: Vec<(i64, i64, i64, i64)>, ahead: Vec<(i64, i64, i64)>) -> Exceptions {
        let mut all = Exceptions { missed: HashMap::new(), ahead: ahead.into_iter().collect() };
        for (group, member, first, last) in missed {
            all.missed.entry((group, member)).or_default().push((first, last));
        }
        all
    }

    /// Whether a member did not get a message.
    pub(crate) fn has_missed(&self, group: i64, member: i64, id: i64) -> bool {
        let missed = self.missed.get(&(group, member)).into_iter().flatten();
        missed.into_iter().any(|(first, last)| (*first..=*last).contains(&id))
    }

    /// Whether he has read one after the mark.
    pub(crate) fn has_read_ahead(&self, group: i64, member: i64, id: i64) -> bool {
        self.ahead.contains(&(group, member, id))
    }

    /// Whether a message that he got waits for him.
    pub(crate) fn is_unread(&self, group: i64, membership: &Membership, id: i64) -> bool {
        membership.read_to < id
            && !self.has_missed(group, membership.member, id)
            && !self.has_read_ahead(group, membership.member, id)
    }

    /// Whether anything was read out of its order.
    pub(crate) fn any_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }
}

/// All groups, and who gets what of the tail.
#[derive(Debug, Default)]
pub(crate) struct LoadedGroups {
    pub groups: Groups,
    /// Whose inboxes are full.
    pub full: FullInboxes,
    /// By group.
    pub memberships: HashMap<i64, Vec<Membership>>,
    /// Of the tail.
    pub exceptions: Exceptions,
}

impl LoadedGroups {
    /// For whom a message of the tail waits.
    pub(crate) fn unread_by(&self, group: GroupId, message: &UnreadMessage) -> impl Iterator<Item = UserId> {
        let (group, id, sender) = (group.0, message.id.0, message.sender.0);
        let memberships = self.memberships.get(&group).into_iter().flatten();
        let unread = memberships.filter(move |m| m.gets(id, sender) && self.exceptions.is_unread(group, m, id));
        unread.map(|membership| UserId(membership.member))
    }
}

/// Reads all groups; the tail begins after `watermark`.
pub(crate) async fn load(db: &mut WalConnection, watermark: MessageId) -> Result<LoadedGroups, Failure> {
    let mut loaded = LoadedGroups::default();
    let mut groups = Vec::new();
    db.each(GROUPS, (), |row| {
        groups.push(group(row)?);
        Ok(())
    })
    .await?;
    db.each(MEMBERSHIPS, (), |row| {
        let membership = Membership::of((row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?));
        loaded.memberships.entry(row.get(0)?).or_default().push(membership);
        Ok(())
    })
    .await?;
    for group in groups {
        let id = group.id;
        let memberships = loaded.memberships.entry(id.0).or_default();
        let now = memberships.iter().filter(|membership| membership.until == i64::MAX);
        let now = now.map(|m| CurrentMember { user: UserId(m.member), since: MessageId(m.since) });
        loaded.groups.apply(GroupEvent::Stored(group, now.collect(), watermark));
        memberships.retain(|membership| membership.until > watermark.0);
        for membership in memberships {
            let member = UserId(membership.member);
            match membership.until {
                i64::MAX if membership.full_from < i64::MAX => {
                    loaded.full.set(id, member, Some(MessageId(membership.full_from)));
                }
                i64::MAX => {}
                until => loaded.groups.note_former(id, member, MessageId(until)),
            }
        }
    }
    let (mut missed, mut ahead) = (Vec::new(), Vec::new());
    db.each("SELECT grp, member, first_id, last_id FROM missed WHERE last_id > ?1", (watermark.0,), |row| {
        missed.push((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        Ok(())
    })
    .await?;
    // Those before the watermark too: the writer has to know whether there are any.
    db.each("SELECT grp, member, id FROM read_ahead", (), |row| {
        ahead.push((row.get(0)?, row.get(1)?, row.get(2)?));
        Ok(())
    })
    .await?;
    loaded.exceptions = Exceptions::of(missed, ahead);
    Ok(loaded)
}

/// The groups among these numbers, as they are now; takes them out of `ids`.
pub(crate) async fn named(db: &mut WalConnection, ids: &mut HashSet<i64>) -> Result<Vec<GroupEvent>, Failure> {
    let json = serde_json::to_string(ids).expect("numbers are JSON");
    let mut groups = Vec::new();
    db.each(&format!("{GROUPS} AND id IN (SELECT value FROM json_each(?1))"), (&json,), |row| {
        groups.push(group(row)?);
        Ok(())
    })
    .await?;
    let mut events = Vec::with_capacity(groups.len());
    if groups.is_empty() {
        return Ok(events);
    }
    let last = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'message'), 0)";
    let last = MessageId(db.row(last, |row| row.get(0)).await?);
    for group in groups {
        ids.remove(&group.id.0);
        let mut members = Vec::new();
        let of_group = "SELECT member, since FROM membership WHERE grp = ?1 AND until IS NULL ORDER BY member";
        db.each(of_group, (group.id.0,), |row| {
            members.push(CurrentMember { user: UserId(row.get(0)?), since: MessageId(row.get(1)?) });
            Ok(())
        })
        .await?;
        events.push(GroupEvent::Stored(group, members, last));
    }
    Ok(events)
}

/// The PHC string of a living group; empty where anybody may join.
pub(crate) async fn password_hash(reader: &SqlitePool, group: GroupId) -> sqlx::Result<Option<String>> {
    let sql = "SELECT password_hash FROM user WHERE id = ?1 AND owner IS NOT NULL AND removed_at IS NULL";
    sqlx::query_scalar(sql).bind(group.0).fetch_optional(reader).await
}

/// The first living groups after this one, each with the number of its members.
pub(crate) async fn groups(reader: &SqlitePool, after: GroupId) -> sqlx::Result<Vec<(Group, u64)>> {
    let rows: Vec<GroupRow> = sqlx::query_as(PAGE_OF_GROUPS).bind(after.0).bind(PAGE).fetch_all(reader).await?;
    Ok(rows.into_iter().map(listed).collect())
}

type GroupRow = (i64, String, String, i64, i64, i64);

fn listed((id, name, display_name, owner, created_at, members): GroupRow) -> (Group, u64) {
    let (id, name, display_name) = (GroupId(id), Username::stored(&name), display_name.into());
    let (owner, created_at) = (UserId(owner), Timestamp(created_at));
    let group = Group { id, name, display_name, owner, removed: false, created_at };
    (group, u64::try_from(members).unwrap_or(0))
}

/// The living group of this name.
pub(crate) async fn group_named(reader: &SqlitePool, name: &Username) -> sqlx::Result<Option<Group>> {
    let sql = "SELECT id, name, display_name, owner, created_at, 0 FROM user
        WHERE folded = ?1 AND name = ?2 AND owner IS NOT NULL AND removed_at IS NULL";
    let row: Option<GroupRow> =
        sqlx::query_as(sql).bind(name.folded()).bind(name.as_str()).fetch_optional(reader).await?;
    Ok(row.map(|row| listed(row).0))
}

/// The names of the first members of a group after this one.
pub(crate) async fn member_names(
    reader: &SqlitePool,
    group: GroupId,
    after: UserId,
) -> sqlx::Result<Vec<(UserId, Username)>> {
    let sql = "SELECT member, name FROM membership JOIN user ON user.id = member
        WHERE grp = ?1 AND member > ?2 AND until IS NULL ORDER BY member LIMIT ?3";
    let rows: Vec<(i64, String)> = sqlx::query_as(sql).bind(group.0).bind(after.0).bind(PAGE).fetch_all(reader).await?;
    Ok(rows.into_iter().map(|(member, name)| (UserId(member), Username::stored(&name))).collect())
}

fn group(row: &Row<'_>) -> rusqlite::Result<Group> {
    Ok(Group {
        id: GroupId(row.get(0)?),
        name: Username::stored(&lossy(row, 1)?),
        display_name: lossy(row, 2)?.into(),
        owner: UserId(row.get(3)?),
        removed: row.get(4)?,
        created_at: Timestamp(row.get(5)?),
    })
}
