//! How a store in PostgreSQL is opened: its servers are found, its tables are brought up to date, and a server becomes
//! a node.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::PgConnection;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::Cache;
use super::clock::DatabaseClock;
use super::hints::Hints;
use super::servers::{self, Servers};
use super::sums::Sums;
use super::{PgShared, PostgresRepository, beat, hints, schema, settle, writer};
use crate::clock::{Clock, Steady};
use crate::ops::metrics::{Counter, Histogram};
use crate::ops::vital;
use crate::repository::memory::followers::Followers;
use crate::repository::sqlite::Role;
use crate::repository::{OpenError, StoreOptions};

/// How many ended sessions may be untold.
const ENDED: usize = 4096;
/// How long a command waits for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How many sends wait for the writer.
const SENDS: usize = 4096;

/// Opens the database at `url` for `role`; says whether it was made for that.
pub(crate) async fn open(
    url: &str,
    options: &StoreOptions,
    role: Role,
) -> Result<(PostgresRepository, bool), OpenError> {
    let servers = Servers::of(url, options.busy_timeout)?;
    let failed = |shown: &str, error: sqlx::Error| OpenError::Failed {
        path: PathBuf::from(shown),
        why: format!("PostgreSQL: {error}"),
    };
    let mut db = servers.connect().await.map_err(|error| failed(&servers.shown, error))?;
    let is_new = schema::is_new(&mut db).await.map_err(|error| failed(&servers.shown, error))?;
    schema::migrate(&mut db, &servers.shown).await?;
    let shown = servers.shown.clone();
    let shared = shared(servers, options, &mut db).await.map_err(|error| failed(&shown, error))?;
    let mut repository = PostgresRepository {
        shared: Arc::new(shared),
        sends: Mutex::default(),
        writer: TaskTracker::new(),
        settling: None,
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
        sums: Sums::default(),
        online: Mutex::default(),
        is_closed: AtomicBool::new(false),
    };
    if role == Role::Server {
        begin_node(&mut repository, &mut db).await.map_err(|error| failed(&shown, error))?;
    }
    servers::close(db).await;
    Ok((repository, is_new))
}

/// Whether the primary can be reached; changes nothing.
pub(crate) async fn reach(url: &str) -> Result<(), OpenError> {
    let servers = Servers::of(url, PATIENCE)?;
    let failed = |error| OpenError::Failed { path: PathBuf::from(&servers.shown), why: format!("PostgreSQL: {error}") };
    servers::close(servers.connect().await.map_err(failed)?).await;
    Ok(())
}

async fn shared(servers: Servers, options: &StoreOptions, db: &mut PgConnection) -> sqlx::Result<PgShared> {
    let database_clock = Arc::new(DatabaseClock::new(options.clock.clone()));
    let now: i64 = sqlx::query_scalar("SELECT now_ms()").fetch_one(&mut *db).await?;
    database_clock.set(now);
    let version: i64 = sqlx::query_scalar("SELECT version FROM feed_head").fetch_one(&mut *db).await?;
    Ok(PgShared {
        servers,
        options: options.clone(),
        cache: Mutex::new(Cache::from_version(version)),
        hints: Hints::default(),
        followers: Followers::default(),
        leases: Arc::default(),
        ended_sessions: broadcast::Sender::new(ENDED),
        time: Steady::new(Clock::of(database_clock.clone())),
        database_clock,
        node: AtomicI64::new(0),
        next_lease: AtomicI64::new(0),
        accepted: Counter::default(),
        delivered: Counter::default(),
        commits: Histogram::default(),
    })
}

/// Becomes a node: takes a number, and starts what a node does all the time.
async fn begin_node(repository: &mut PostgresRepository, db: &mut PgConnection) -> sqlx::Result<()> {
    let shared = &repository.shared;
    beat::register(shared, db).await?;
    // A range of numbers that no other process has; each lease takes one of it.
    let range: i64 = sqlx::query_scalar("SELECT nextval('flight_lease')").fetch_one(db).await?;
    shared.next_lease.store(range << 32, Ordering::Relaxed);
    let (sends, waiting) = mpsc::channel(SENDS);
    let (settling, leases) = mpsc::unbounded_channel();
    let (tasks, stop) = (&repository.tasks, &repository.stop);
    let work = shared.clone();
    repository.writer.spawn(vital::task("writer", writer::run(work.clone(), waiting)));
    repository.writer.close();
    tasks.spawn(vital::task("leases", settle::run(work.clone(), leases)));
    tasks.spawn(vital::task("beat", stop.clone().run_until_cancelled_owned(beat::run(work.clone()))));
    let watched = work.clone();
    let watching = stop.clone().run_until_cancelled_owned(async move { watched.servers.watch().await });
    // It ends at once where there is one server.
    tasks.spawn(watching);
    let listening = hints::listen(work.clone());
    tasks.spawn(vital::task("listening", stop.clone().run_until_cancelled_owned(listening)));
    tasks.spawn(vital::task("hints", stop.clone().run_until_cancelled_owned(hints::run(work))));
    tasks.close();
    repository.sends = Mutex::new(Some(sends));
    repository.settling = Some(settling);
    Ok(())
}
