//! The changes that are not messages: accounts, sessions, retention. Each is a few statements inside the writer's
//! transaction, and an event for the time after the commit. Only the first statement can be refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::SqliteConnection;
use sqlx::types::Json;

use super::account_changes::AccountChange;
use super::file_changes::FileChange;
use super::group_changes::{self, GroupChange};
use super::invites::{self, InviteChange};
use super::push_changes::PushChange;

use crate::model::{SessionId, Timestamp, TokenHash, UserId};
use crate::repository::memory::event::{Event, SessionRecord};
use crate::repository::memory::stored::StoredAmount;
use crate::repository::{AddUserResult, GroupResult, NewSession, NewUser, User};

/// `json_each` has columns of its own, `id` among them, so those of the table are named with it.
const NOTE_USES: &str = "UPDATE session SET last_used_at = used.value ->> 1
    FROM json_each(?1) AS used WHERE session.id = used.value ->> 0";

/// How much text one change removes at the most, unless a single message is longer.
const PRUNED_BYTES: i64 = 8 << 20;

/// How long one commit gives back pages: others wait for it.
const PIECE: Duration = Duration::from_millis(2);

/// A change to be made.
#[derive(Clone)]
pub(super) enum Change {
    /// Nothing: comes true when all that was confirmed before it is on disk.
    Nothing,
    AddUser(NewUser),
    /// The same, where there is no account at all.
    AddFirstUser(NewUser),
    /// The same, where this code works, which is used up.
    AddInvitedUser(NewUser, TokenHash),
    /// A code comes or goes.
    Invite(InviteChange),
    /// A new password, which ends the sessions.
    SetPassword(UserId, String),
    /// Shut or open, which ends the sessions.
    SetDisabled(UserId, bool),
    RemoveUser(UserId),
    /// An account is changed by its user, or what others are shown of it.
    Account(AccountChange),
    /// A group changes, or who is in it.
    Group(GroupChange),
    /// Which browsers are told.
    Push(PushChange),
    /// A file comes or goes.
    File(FileChange),
    /// A login, and those last uses of the account's other sessions that the database does not have yet.
    OpenSession(NewSession, Vec<(SessionId, Timestamp)>),
    EndSessions(Vec<SessionId>),
    /// Ends a session because its user asks for it.
    LogOut(SessionId),
    /// When sessions were last used.
    NoteUses(Vec<(SessionId, Timestamp)>),
    /// What was read before this time goes, looking at some of the message log after a place.
    Prune {
        read_before: Timestamp,
        after: i64,
        /// How many messages to look at.
        look_at: i64,
        /// Groups, each with the last message that all have read, as JSON.
        read_by_all: Arc<str>,
    },
    /// Some of what is free in the database goes back to the disk.
    GiveBack {
        /// Pages, at the most.
        pages: u64,
    },
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Done, or refused for its name.
    User(AddUserResult),
    /// Done, or refused.
    Group(GroupResult),
    /// This many rows, or a new one of this number.
    Rows(u64),
}

/// The time of a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// On the wall clock.
    pub now: Timestamp,
    /// By how many milliseconds the stored uses of sessions are more than those in memory.
    pub ahead: i64,
}

impl Change {
    /// Whether the change feed may get rows from it.
    pub(super) fn is_fed(&self) -> bool {
        !matches!(
            self,
            Change::Nothing
                | Change::NoteUses(_)
                | Change::GiveBack { .. }
                | Change::Push(_)
                | Change::File(_)
                | Change::Invite(_)
        )
    }

    pub(super) async fn run(
        self,
        db: &mut SqliteConnection,
        Moment { now, ahead }: Moment,
    ) -> sqlx::Result<(Changed, Event)> {
        match self {
            Change::Nothing => Ok((Changed::Rows(0), Event::Nothing)),
            Change::AddUser(user) => add_user(db, user, now).await,
            Change::AddFirstUser(user) => {
                let sql = "SELECT count(*) FROM user WHERE owner IS NULL AND removed_at IS NULL";
                match sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut *db).await? {
                    0 => add_user(db, user, now).await,
                    _ => Ok((Changed::Rows(0), Event::Nothing)),
                }
            }
            Change::AddInvitedUser(user, code) => add_invited(db, user, code, now).await,
            Change::Invite(change) => Ok((Changed::Rows(change.run(db, now).await?), Event::Nothing)),
            Change::SetPassword(id, hash) => {
                let sql = "UPDATE user SET password_hash = ?2 WHERE id = ?1 AND removed_at IS NULL";
                let rows = sqlx::query(sql).bind(id.0).bind(&hash).execute(&mut *db).await?.rows_affected();
                end_all(db, id).await?;
                Ok((Changed::Rows(rows), Event::PasswordSet(id)))
            }
            Change::SetDisabled(id, disabled) => {
                let sql = "UPDATE user SET disabled = ?2 WHERE id = ?1 AND removed_at IS NULL";
                let rows = sqlx::query(sql).bind(id.0).bind(disabled).execute(&mut *db).await?.rows_affected();
                end_all(db, id).await?;
                Ok((Changed::Rows(rows), Event::DisabledSet(id, disabled)))
            }
            Change::RemoveUser(id) => remove_user(db, id, now).await,
            Change::Account(change) => {
                let (rows, event) = change.run(db, ahead).await?;
                Ok((Changed::Rows(rows), event))
            }
            Change::Group(change) => {
                let (result, event) = change.run(db, now).await?;
                Ok((Changed::Group(result), event))
            }
            Change::Push(change) => Ok((Changed::Rows(change.run(db).await?), Event::Nothing)),
            Change::File(change) => Ok((Changed::Rows(change.run(db, now).await?), Event::Nothing)),
            Change::OpenSession(session, uses) => open_session(db, session, uses, ahead).await,
            Change::EndSessions(ids) => Ok((end_sessions(db, &ids).await?, Event::SessionsEnded(ids))),
            Change::LogOut(id) => Ok((end_sessions(db, &[id]).await?, Event::LoggedOut(id))),
            Change::NoteUses(uses) => {
                let rows = note_uses(db, &uses, ahead).await?;
                Ok((Changed::Rows(rows), Event::UsesStored(uses)))
            }
            Change::Prune { read_before, after, look_at, read_by_all } => {
                prune(db, now, read_before, (after, look_at), &read_by_all).await
            }
            Change::GiveBack { pages } => Ok((Changed::Rows(give_back(db, pages).await?), Event::Nothing)),
        }
    }
}

async fn note_uses(db: &mut SqliteConnection, uses: &[(SessionId, Timestamp)], ahead: i64) -> sqlx::Result<u64> {
    let pairs: Vec<(i64, i64)> = uses.iter().map(|(id, at)| (id.0, at.0 + ahead)).collect();
    Ok(sqlx::query(NOTE_USES).bind(Json(pairs)).execute(db).await?.rows_affected())
}

async fn end_all(db: &mut SqliteConnection, id: UserId) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM session WHERE user = ?1").bind(id.0).execute(db).await.map(|_| ())
}

async fn add_user(db: &mut SqliteConnection, new: NewUser, now: Timestamp) -> sqlx::Result<(Changed, Event)> {
    let sql = "INSERT INTO user (name, folded, display_name, country, password_hash, created_at, administrator)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let added = sqlx::query(sql)
        .bind(new.username.as_str())
        .bind(new.username.folded())
        .bind(new.display_name.as_str())
        .bind(new.country.as_str())
        .bind(&new.password_hash)
        .bind(now.0)
        .bind(new.administrator)
        .execute(db)
        .await;
    match added {
        Ok(done) => {
            let user = User {
                id: UserId(done.last_insert_rowid()),
                username: new.username,
                display_name: new.display_name.as_str().into(),
                country: new.country.as_str().into(),
                disabled: false,
                administrator: new.administrator,
                removed: false,
                created_at: now,
            };
            Ok((Changed::User(AddUserResult::Added), Event::UserStored(Box::new(user))))
        }
        Err(sqlx::Error::Database(e)) if e.is_unique_violation() => {
            Ok((Changed::User(AddUserResult::NameTaken), Event::Nothing))
        }
        Err(e) => Err(e),
    }
}

async fn add_invited(
    db: &mut SqliteConnection,
    user: NewUser,
    code: TokenHash,
    now: Timestamp,
) -> sqlx::Result<(Changed, Event)> {
    if !invites::works(db, code, now).await? {
        return Ok((Changed::Rows(0), Event::Nothing));
    }
    let added = add_user(db, user, now).await?;
    // Whose name was taken may choose another one.
    if added.0 == Changed::User(AddUserResult::Added) {
        invites::use_up(db, code).await?;
    }
    Ok(added)
}

/// The account's unread mail counts as read by nobody: it leaves the queue and goes with retention.
async fn remove_user(db: &mut SqliteConnection, id: UserId, now: Timestamp) -> sqlx::Result<(Changed, Event)> {
    let sql = "UPDATE user SET removed_at = ?2, password_hash = '', disabled = 1 WHERE id = ?1 AND removed_at IS NULL";
    sqlx::query(sql).bind(id.0).bind(now.0).execute(&mut *db).await?;
    end_all(db, id).await?;
    let unread = sqlx::query(
        "INSERT OR IGNORE INTO receipt (id, delivered_at)
         SELECT value ->> 1, ?2
         FROM run CROSS JOIN mail ON mail.run = run.last AND recipient = ?1 CROSS JOIN json_each(messages)
         WHERE run.last >= (SELECT oldest FROM mailbox WHERE user = ?1 AND messages > 0)
           AND EXISTS (SELECT 1 FROM message WHERE message.id = value ->> 1)
         UNION ALL
         SELECT id, ?2 FROM message WHERE target = ?1 AND id > (SELECT coalesce(max(last), 0) FROM run)",
    )
    .bind(id.0)
    .bind(now.0)
    .execute(&mut *db)
    .await?
    .rows_affected();

    sqlx::query("DELETE FROM mailbox WHERE user = ?1").bind(id.0).execute(&mut *db).await?;
    let groups = group_changes::leave_all(db, id, now).await?;
    Ok((Changed::Rows(unread), Event::Several(vec![Event::GroupsChanged(groups), Event::UserRemoved(id)])))
}

async fn open_session(
    db: &mut SqliteConnection,
    new: NewSession,
    uses: Vec<(SessionId, Timestamp)>,
    ahead: i64,
) -> sqlx::Result<(Changed, Event)> {
    // The account may have been shut, removed or given another password since this one was checked.
    let sql = "INSERT INTO session (user, token_hash, address, created_at, last_used_at, label)
               SELECT id, ?2, ?3, ?4, ?4, ?6 FROM user
               WHERE id = ?1 AND removed_at IS NULL AND disabled = 0 AND password_hash = ?5";
    let done = sqlx::query(sql)
        .bind(new.user.0)
        .bind(&new.token.0[..])
        .bind(&*new.address)
        .bind(new.created_at.0 + ahead)
        .bind(&new.checked)
        .bind(new.label.as_str())
        .execute(&mut *db)
        .await?;
    if done.rows_affected() == 0 {
        return Ok((Changed::Rows(0), Event::Nothing));
    }
    let id = done.last_insert_rowid();
    let over = end_those_over(db, &new, id, &uses, ahead).await?;
    if let Some(hash) = &new.rehashed {
        sqlx::query("UPDATE user SET password_hash = ?2 WHERE id = ?1").bind(new.user.0).bind(hash).execute(db).await?;
    }
    let record = SessionRecord {
        id: SessionId(id),
        user: new.user,
        token: new.token,
        last_used_at: new.created_at,
        address: new.address.parse().ok(),
        grant: None,
    };
    Ok((Changed::Rows(1), Event::SessionOpened(record, over)))
}

/// Ends the least recently used sessions of an account that has more than it may; the new one is not among them.
async fn end_those_over(
    db: &mut SqliteConnection,
    new: &NewSession,
    id: i64,
    uses: &[(SessionId, Timestamp)],
    ahead: i64,
) -> sqlx::Result<Vec<SessionId>> {
    let most = i64::try_from(new.most.max(1)).unwrap_or(i64::MAX);
    let count = "SELECT count(*) FROM session WHERE user = ?1 AND scope IS NULL";
    let count: i64 = sqlx::query_scalar(count).bind(new.user.0).fetch_one(&mut *db).await?;
    if count <= most {
        return Ok(Vec::new());
    }
    note_uses(db, uses, ahead).await?;
    let sql = "DELETE FROM session WHERE user = ?1 AND scope IS NULL AND id NOT IN
               (SELECT id FROM session WHERE user = ?1 AND scope IS NULL ORDER BY id = ?3 DESC, last_used_at DESC, id DESC LIMIT ?2)
               RETURNING id";
    let over: Vec<i64> = sqlx::query_scalar(sql).bind(new.user.0).bind(most).bind(id).fetch_all(db).await?;
    Ok(over.into_iter().map(SessionId).collect())
}

async fn prune(
    db: &mut SqliteConnection,
    now: Timestamp,
    read_before: Timestamp,
    (after, look_at): (i64, i64),
    read_by_all: &str,
) -> sqlx::Result<(Changed, Event)> {
    // A message that was read while the clock was ahead counts as read now.
    let ahead = "UPDATE receipt SET delivered_at = ?3 WHERE id > ?1 AND id <= ?1 + ?2 AND delivered_at > ?3 + 3600000";
    sqlx::query(ahead).bind(after).bind(look_at).bind(now.0).execute(&mut *db).await?;
    // To remove much text takes long, and nobody can send meanwhile. For messages of groups, the time of reading is not
    // known, so the time of sending counts.
    let old = "SELECT id FROM (
                   SELECT m.id, sum(octet_length(m.text)) OVER (ORDER BY m.id) - octet_length(m.text) AS before
                   FROM message m LEFT JOIN receipt r ON r.id = m.id
                       LEFT JOIN json_each(?5) AS g ON g.value ->> 0 = m.target
                   WHERE m.id > ?1 AND m.id <= ?1 + ?2
                       AND (r.delivered_at < ?3 OR m.sent_at < ?3 AND m.id <= g.value ->> 1))
               WHERE before < ?4";
    let old = sqlx::query_scalar(old).bind(after).bind(look_at).bind(read_before.0).bind(PRUNED_BYTES);
    let ids: Vec<i64> = old.bind(read_by_all).fetch_all(&mut *db).await?;
    if ids.is_empty() {
        return Ok((Changed::Rows(0), Event::Nothing));
    }
    let amounts = "SELECT sender, count(*), sum(octet_length(text) + ifnull(attached, 0)) FROM message
                   WHERE id IN (SELECT value FROM json_each(?1)) GROUP BY sender";
    let amounts: Vec<(i64, i64, i64)> = sqlx::query_as(amounts).bind(Json(&ids)).fetch_all(&mut *db).await?;
    // Entries of the index for these messages do no harm. They go when nothing of their run is left. The senders of
    // messages that are not in the index yet are noted here, because after a crash they would not be known.
    for sql in [
        "UPDATE stored SET messages = stored.messages - gone.messages, bytes = stored.bytes - gone.bytes
         FROM (SELECT sender, count(*) AS messages, sum(octet_length(text) + ifnull(attached, 0)) AS bytes FROM message
             WHERE id IN (SELECT value FROM json_each(?1)) AND id <= (SELECT coalesce(max(last), 0) FROM run)
             GROUP BY sender) AS gone
         WHERE user = gone.sender",
        "INSERT OR IGNORE INTO removed (id, sender, bytes)
         SELECT id, sender, octet_length(text) + ifnull(attached, 0) FROM message
         WHERE id IN (SELECT value FROM json_each(?1)) AND id > (SELECT coalesce(max(last), 0) FROM run)",
        "INSERT INTO change (kind, id)
         SELECT DISTINCT 'user', sender FROM message WHERE id IN (SELECT value FROM json_each(?1))",
        "INSERT OR IGNORE INTO correspondent (recipient, sender, first_id)
         SELECT target, sender, min(message.id) FROM message JOIN user ON user.id = target AND owner IS NULL
         WHERE message.id IN (SELECT value FROM json_each(?1)) AND message.id > (SELECT coalesce(max(last), 0) FROM run)
         GROUP BY target, sender",
        "DELETE FROM message WHERE id IN (SELECT value FROM json_each(?1))",
        "DELETE FROM receipt WHERE id IN (SELECT value FROM json_each(?1))",
        "DELETE FROM missed WHERE last_id < (SELECT min(id) FROM message)",
        "DELETE FROM mail WHERE run < (SELECT min(id) FROM message)",
        "DELETE FROM sent WHERE run < (SELECT min(id) FROM message)",
        "DELETE FROM conversation WHERE run < (SELECT min(id) FROM message)",
        "DELETE FROM run WHERE last < (SELECT min(id) FROM message) AND last < (SELECT max(last) FROM run)",
    ] {
        sqlx::query(sql).bind(Json(&ids)).execute(&mut *db).await?;
    }
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    let amount =
        |(sender, messages, bytes)| (UserId(sender), StoredAmount { messages: count(messages), bytes: count(bytes) });
    let removed = amounts.into_iter().map(amount).collect();
    Ok((Changed::Rows(ids.len() as u64), Event::MessagesRemoved(removed)))
}

/// Gives back about so many pages at the most in the transaction that is open; gives how many it was.
async fn give_back(db: &mut SqliteConnection, pages: u64) -> sqlx::Result<u64> {
    let before = pages_of(db).await?;
    let (begun, mut now) = (Instant::now(), before);
    while before - now < pages {
        // A few, and then it is looked whether that was enough.
        sqlx::query("PRAGMA incremental_vacuum(8)").execute(&mut *db).await?;
        let left = pages_of(db).await?;
        let is_end = left >= now || begun.elapsed() >= PIECE;
        now = left.min(now);
        if is_end {
            break;
        }
    }
    Ok(before - now)
}

async fn pages_of(db: &mut SqliteConnection) -> sqlx::Result<u64> {
    let pages: i64 = sqlx::query_scalar("SELECT page_count FROM pragma_page_count").fetch_one(db).await?;
    Ok(u64::try_from(pages).unwrap_or(0))
}

async fn end_sessions(db: &mut SqliteConnection, ids: &[SessionId]) -> sqlx::Result<Changed> {
    let numbers: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let sql = "DELETE FROM session WHERE id IN (SELECT value FROM json_each(?1))";
    Ok(Changed::Rows(sqlx::query(sql).bind(Json(numbers)).execute(db).await?.rows_affected()))
}
