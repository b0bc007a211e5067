//! Reads accounts and sessions from the disk: all of them once when a server starts, those that the change feed names,
//! and a page of them for an administrator. Writes nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use rusqlite::Row;
use rusqlite::types::FromSqlError;
use rustc_hash::FxHashSet;
use sqlx::SqlitePool;

use super::direct::{Failure, WalConnection, lossy};
use super::membership;
use crate::model::{Scope, SessionId, Timestamp, TokenHash, UserId, Username};
use crate::ops::vital;
use crate::repository::memory::directory::{Directory, Loader};
use crate::repository::memory::event::{Event, SessionRecord};
use crate::repository::{Grant, StoredSession, User};

/// How many rows an administrator's query reads at a time.
const PAGE: i64 = 1_000;
/// How many changes of the feed are followed at a time, so that commits need not wait for long.
const CHANGES: i64 = 500;

const USERS: &str = "SELECT id, name, display_name, country, disabled, removed_at IS NOT NULL, created_at,
        administrator FROM user
    WHERE owner IS NULL";
const SESSIONS: &str = "SELECT id, user, token_hash, last_used_at, address, scope, target FROM session WHERE true";
const LAST_CHANGE: &str = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'change'), 0)";
const PASSWORD_HASH: &str = "SELECT password_hash FROM user WHERE id = ?1 AND owner IS NULL AND removed_at IS NULL";
const ACCOUNT: &str = "SELECT id, name, display_name, country, disabled, created_at, administrator FROM user
    WHERE folded = ?1 AND name = ?2 AND owner IS NULL AND removed_at IS NULL";
const ACCOUNTS: &str = "SELECT id, name, display_name, country, disabled, created_at, administrator FROM user
    WHERE id > ?1 AND owner IS NULL AND removed_at IS NULL ORDER BY id LIMIT ?2";
const LOGINS: &str = "SELECT s.id, u.name, s.created_at, s.last_used_at, s.address, s.label, s.scope, t.name
    FROM session s JOIN user u ON u.id = s.user LEFT JOIN user t ON t.id = s.target
    WHERE s.id > ?1 ORDER BY s.id LIMIT ?2";
const LOGINS_OF: &str = "SELECT s.id, u.name, s.created_at, s.last_used_at, s.address, s.label, s.scope, t.name
    FROM session s JOIN user u ON u.id = s.user LEFT JOIN user t ON t.id = s.target
    WHERE s.id > ?1 AND s.user = ?3 ORDER BY s.id LIMIT ?2";

/// All accounts and sessions, and the last change of the feed that is certainly among them.
pub(super) async fn load(db: &mut WalConnection) -> Result<(Directory, i64), Failure> {
    let seen = last_change(db).await?;
    let count = |row: &Row<'_>| row.get::<_, i64>(0).map(|count| usize::try_from(count).unwrap_or(0));
    let users = db.row("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'user'), 0)", count).await?;
    let sessions = db.row("SELECT count(*) FROM session", count).await?;
    let mut loader = Loader::with_capacity(users.min(MOST_FORESEEN), sessions);
    // To read the rows takes as long as to put them in their places, so another thread does that meanwhile.
    let (rows, taken) = sync_channel::<Vec<LoadedRow>>(BATCHES);
    let filling = vital::spawn("directory", move || {
        taken.into_iter().flatten().for_each(|row| match row {
            LoadedRow::User(user) => loader.user(user),
            LoadedRow::Session(session) => loader.session(session),
        });
        loader.finish()
    });
    let filling = filling.map_err(|error| Failure::from(sqlx::Error::Io(error)))?;
    let read = read_all(db, rows).await;
    let directory = filling.join().map_err(|_| Failure::from(sqlx::Error::WorkerCrashed))?;
    read.map(|()| (directory, seen))
}

/// A row of one of the two tables.
enum LoadedRow {
    User(User),
    Session(SessionRecord),
}

/// How many rows go to the other thread together, and how many times that may lie between the two.
const BATCH: usize = 1_000;
const BATCHES: usize = 16;

async fn read_all(db: &mut WalConnection, rows: SyncSender<Vec<LoadedRow>>) -> Result<(), Failure> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut add = |row: LoadedRow| {
        batch.push(row);
        if batch.len() == BATCH {
            // The other thread ends only after this one.
            let _ = rows.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
        }
    };
    let mut countries = FxHashSet::default();
    db.each(&format!("{USERS} ORDER BY id"), (), |row| {
        add(LoadedRow::User(user(row, &mut countries)?));
        Ok(())
    })
    .await?;
    db.each(&format!("{SESSIONS} ORDER BY id"), (), |row| {
        session(row)?.into_iter().for_each(|session| add(LoadedRow::Session(session)));
        Ok(())
    })
    .await?;
    let _ = rows.send(batch);
    Ok(())
}

/// Room is made at the start for no more accounts than this: another program may have chosen the last number.
const MOST_FORESEEN: usize = 1 << 24;

/// The last change of the feed.
pub(super) async fn last_change(db: &mut WalConnection) -> Result<i64, Failure> {
    db.row(LAST_CHANGE, |row| row.get(0)).await
}

/// What the feed has after the change `seen`.
pub(super) struct Followed {
    /// What was changed, as it is now.
    pub events: Vec<Event>,
    /// The last change among them.
    pub seen: i64,
    pub more: bool,
}

/// Reads a part of the feed after the change `seen`, and what it names as that is now.
pub(super) async fn follow(db: &mut WalConnection, seen: i64) -> Result<Followed, Failure> {
    let mut changed = Vec::new();
    db.each(
        "SELECT number, kind = 'user', id FROM change WHERE number > ?1 ORDER BY number LIMIT ?2",
        (seen, CHANGES),
        {
            |row| {
                changed.push((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?, row.get::<_, i64>(2)?));
                Ok(())
            }
        },
    )
    .await?;
    let more = changed.len() as i64 == CHANGES;
    let seen = changed.last().map_or(seen, |(number, ..)| *number);
    let (users, sessions): (Vec<_>, Vec<_>) = changed.into_iter().partition(|(_, is_user, _)| *is_user);
    let ids = |named: Vec<(i64, bool, i64)>| named.into_iter().map(|(.., id)| id).collect::<HashSet<i64>>();
    let (mut users, mut sessions) = (ids(users), ids(sessions));

    let mut events = Vec::with_capacity(users.len() + sessions.len() + 1);
    events.push(Event::GroupsChanged(membership::named(db, &mut users).await?));
    let mut countries = FxHashSet::default();
    named(db, USERS, &mut users, |row, gone| {
        let user = user(row, &mut countries)?;
        gone.remove(&user.id.0);
        events.push(Event::UserStored(Box::new(user)));
        Ok(())
    })
    .await?;
    // chatd never deletes the row of an account. When the row is gone, the account is gone.
    events.extend(users.into_iter().map(|id| Event::UserRemoved(UserId(id))));
    named(db, SESSIONS, &mut sessions, |row, gone| {
        if let Some(record) = session(row)? {
            gone.remove(&record.id.0);
            events.push(Event::SessionOpened(record, Vec::new()));
        }
        Ok(())
    })
    .await?;
    events.push(Event::SessionsEnded(sessions.into_iter().map(SessionId).collect()));
    Ok(Followed { events, seen, more })
}

/// Reads the rows with these numbers, and has `take` strike out those that are there.
async fn named(
    db: &mut WalConnection,
    select: &str,
    ids: &mut HashSet<i64>,
    mut take: impl FnMut(&Row<'_>, &mut HashSet<i64>) -> rusqlite::Result<()>,
) -> Result<(), Failure> {
    if ids.is_empty() {
        return Ok(());
    }
    let sql = format!("{select} AND id IN (SELECT value FROM json_each(?1)) ORDER BY id");
    db.each(&sql, (json(ids),), |row| take(row, ids)).await
}

fn json(ids: &HashSet<i64>) -> String {
    serde_json::to_string(ids).expect("numbers are JSON")
}

fn user(row: &Row<'_>, countries: &mut FxHashSet<Arc<str>>) -> rusqlite::Result<User> {
    let text = |column| lossy(row, column);
    let country = text(3)?;
    let country = match countries.get(&*country) {
        Some(country) => country.clone(),
        None => {
            let country: Arc<str> = country.into();
            countries.insert(country.clone());
            country
        }
    };
    Ok(User {
        id: UserId(row.get(0)?),
        username: Username::stored(&text(1)?),
        display_name: text(2)?.into(),
        country,
        disabled: row.get(4)?,
        removed: row.get(5)?,
        created_at: Timestamp(row.get(6)?),
        administrator: row.get(7)?,
    })
}

/// `None`: what should be the hash of a token is none, so nobody can have it.
fn session(row: &Row<'_>) -> rusqlite::Result<Option<SessionRecord>> {
    let token = match row.get_ref(2)?.as_blob() {
        Ok(token) => <[u8; 32]>::try_from(token).ok(),
        Err(FromSqlError::InvalidType) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(token) = token else { return Ok(None) };
    let grant = match row.get_ref(5)?.as_str_or_null()? {
        None => None,
        // What is damaged is no login.
        Some(scope) => match Scope::parse(scope) {
            Some(scope) => Some(Grant { scope, to: row.get(6)? }),
            None => return Ok(None),
        },
    };
    Ok(Some(SessionRecord {
        id: SessionId(row.get(0)?),
        user: UserId(row.get(1)?),
        token: TokenHash(token),
        last_used_at: Timestamp(row.get(3)?),
        address: row.get_ref(4)?.as_str().ok().and_then(|address| address.parse().ok()),
        grant,
    }))
}

/// The PHC string of a living account.
pub(super) async fn password_hash(reader: &SqlitePool, user: UserId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(PASSWORD_HASH).bind(user.0).fetch_optional(reader).await
}

pub(super) type UserRow = (i64, String, String, String, bool, i64, bool);

pub(super) fn living((id, name, display_name, country, disabled, created_at, administrator): UserRow) -> User {
    User {
        id: UserId(id),
        username: Username::stored(&name),
        display_name: display_name.into(),
        country: country.into(),
        disabled,
        administrator,
        removed: false,
        created_at: Timestamp(created_at),
    }
}

/// The living account of this name.
pub(super) async fn account(readers: &SqlitePool, name: &Username) -> sqlx::Result<Option<User>> {
    let found = sqlx::query_as(ACCOUNT).bind(name.folded()).bind(name.as_str()).fetch_optional(readers).await?;
    Ok(found.map(living))
}

/// The first living accounts after this one.
pub(super) async fn accounts(readers: &SqlitePool, after: UserId) -> sqlx::Result<Vec<User>> {
    let rows: Vec<UserRow> = sqlx::query_as(ACCOUNTS).bind(after.0).bind(PAGE).fetch_all(readers).await?;
    Ok(rows.into_iter().map(living).collect())
}

/// The first living sessions after this one, of one account or of all.
pub(super) async fn logins(
    readers: &SqlitePool,
    after: SessionId,
    of: Option<UserId>,
) -> sqlx::Result<Vec<StoredSession>> {
    type SessionRow = (i64, String, i64, i64, String, String, Option<String>, Option<String>);
    let rows: Vec<SessionRow> = match of {
        None => sqlx::query_as(LOGINS).bind(after.0).bind(PAGE).fetch_all(readers).await?,
        Some(user) => sqlx::query_as(LOGINS_OF).bind(after.0).bind(PAGE).bind(user.0).fetch_all(readers).await?,
    };
    let login = |(id, name, created_at, last_used_at, address, label, scope, to): SessionRow| StoredSession {
        id: SessionId(id),
        username: Username::stored(&name),
        created_at: Timestamp(created_at),
        last_used_at: Timestamp(last_used_at),
        address,
        label,
        scope: scope.as_deref().and_then(Scope::parse),
        to,
    };
    Ok(rows.into_iter().map(login).collect())
}
