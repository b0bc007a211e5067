//! Gives free room inside the database back to the disk, a little at a time. The database needs SQLite's pointer map
//! for this (`auto_vacuum`). A database of an older chatd has no such map until it is rebuilt once.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::time::sleep;

use super::change::Change;
use super::lock::Lock;
use super::paths::failed;
use super::{SqliteRepository, StoreOptions, schema, unread_log};
use crate::repository::{Error, OpenError, Pace, RoomInside};

/// How long others have the database between two pieces.
const PAUSE: Duration = Duration::from_millis(5);
const LONG_PAUSE: Duration = Duration::from_millis(250);
/// How long an administrator waits for one turn of pieces.
const TURN: Duration = Duration::from_secs(2);
/// So much stays in the database of a server for new messages, and as a share of the whole.
const KEPT_BYTES: u64 = 16 << 20;
const KEPT_SHARE: u64 = 10;

const ROOM: &str = "SELECT freelist_count, page_count, page_size, auto_vacuum = 2
    FROM pragma_freelist_count, pragma_page_count, pragma_page_size, pragma_auto_vacuum";

/// Free pages, all pages, bytes of a page, whether they can be given back.
async fn look(pool: &SqlitePool) -> sqlx::Result<(u64, u64, u64, bool)> {
    let (free, all, size, can): (i64, i64, i64, bool) = sqlx::query_as(ROOM).fetch_one(pool).await?;
    let [free, all, size] = [free, all, size].map(|number| u64::try_from(number).unwrap_or(0));
    Ok((free, all, size, can))
}

impl SqliteRepository {
    /// Gives back what is free, in pieces.
    pub(super) async fn give_back_in_pieces(&self, pace: Pace) -> Result<RoomInside, Error> {
        let (begun, mut given) = (Instant::now(), 0);
        loop {
            let (free, all, size, can) = look(self.readers.pool()).await.map_err(unread_log)?;
            let (kept, pause) = match pace {
                Pace::None => (u64::MAX, PAUSE),
                Pace::Steady => (0, PAUSE),
                Pace::Slow => ((KEPT_BYTES / size.max(1)).max(all / KEPT_SHARE), LONG_PAUSE),
            };
            let room = RoomInside { given_bytes: given * size, free_bytes: free * size, can_be_given: can };
            let is_long = pace == Pace::Steady && begun.elapsed() >= TURN;
            if !can || free <= kept || is_long {
                return Ok(room);
            }
            match self.rows(Change::GiveBack { pages: free - kept }).await? {
                0 => return Ok(room),
                pages => given += pages,
            }
            sleep(pause).await;
        }
    }
}

/// Lets a database that is still to be made give back room later.
pub(crate) async fn prepare(database: &Path, options: &StoreOptions) -> Result<(), OpenError> {
    let connect = schema::connect_options(database, options).create_if_missing(true);
    let failed = |error: sqlx::Error| failed(database, error);
    let mut db = SqliteConnection::connect_with(&connect).await.map_err(failed)?;
    sqlx::query(INCREMENTAL).execute(&mut db).await.map_err(failed)?;
    db.close().await.map_err(failed)
}

const INCREMENTAL: &str = "PRAGMA auto_vacuum = INCREMENTAL";

/// Makes the database anew, without free pages, while no server runs. Afterwards it can give back room beside one.
pub(crate) async fn make_anew(database: &Path, options: &StoreOptions) -> Result<(), OpenError> {
    let mut lock = Lock::take(database)?;
    lock.hold(database)?;
    lock.sign_for_now().map_err(|e| failed(database, e))?;
    let failed = |error: sqlx::Error| failed(database, error);
    let mut db = schema::writer(database, options).await?;
    for sql in [INCREMENTAL, "VACUUM"] {
        sqlx::query(sql).execute(&mut db).await.map_err(failed)?;
    }
    db.close().await.map_err(failed)
}
