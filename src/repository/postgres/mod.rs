//! The store in PostgreSQL, for one node of several: all that they share is rows. What must be in one order takes a
//! lock inside one function of the database, so that every request is one statement that commits by itself; what is
//! cached is believed only while the feed of changes was read a moment ago.

mod accounts;
mod beat;
mod cache;
mod clock;
mod copied_source;
mod copied_tables;
mod copied_target;
mod delivery;
mod files;
mod following;
mod groups;
mod hints;
mod history;
mod invites;
mod methods;
mod opening;
mod own_account;
mod push;
mod reads;
mod schema;
mod sends;
mod servers;
mod settle;
mod sums;
mod writer;

pub(crate) use self::copied_source::PostgresSource;
pub(crate) use self::copied_target::PostgresTarget;
pub(crate) use self::servers::shown;

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::Postgres;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use self::cache::Cache;
use self::hints::Hints;
use self::sends::PgSend;
use self::servers::Servers;
use self::settle::SettleJob;
use self::sums::Sums;
use super::{Answer, EndedSession, Error, StoreOptions};
use crate::clock::Steady;
use crate::model::{UserId, Username};
use crate::ops::metrics::{Counter, Histogram};
use crate::repository::lease::Leases;
use crate::repository::memory::followers::Followers;

pub(super) use self::opening::{open, reach};

/// How often it is tried again what the server did not answer.
const AGAIN: Duration = Duration::from_millis(50);
/// Who has not beaten for so long hands out nothing; after 5 seconds others take over.
const FENCED: Duration = Duration::from_secs(3);

/// A store in PostgreSQL.
pub(crate) struct PostgresRepository {
    shared: Arc<PgShared>,
    /// Where a node is.
    sends: Mutex<Option<mpsc::Sender<PgSend>>>,
    /// It ends when nobody can bring it anything.
    writer: TaskTracker,
    settling: Option<mpsc::UnboundedSender<SettleJob>>,
    tasks: TaskTracker,
    /// Ends those tasks that only follow.
    stop: CancellationToken,
    sums: Sums,
    online: Mutex<Option<(Instant, Duration, Vec<Username>)>>,
    is_closed: AtomicBool,
}

/// What the tasks of a node have in common.
struct PgShared {
    servers: Servers,
    options: StoreOptions,
    cache: Mutex<Cache>,
    hints: Hints,
    followers: Followers,
    leases: Arc<Leases>,
    ended_sessions: broadcast::Sender<EndedSession>,
    time: Steady,
    /// What the database's clock says, measured with each beat.
    database_clock: Arc<clock::DatabaseClock>,
    /// This incarnation; 0: none.
    node: AtomicI64,
    /// The number of the next lease, of this process's own range.
    next_lease: AtomicI64,
    accepted: Counter,
    delivered: Counter,
    commits: Histogram,
}

impl PgShared {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self) -> i64 {
        self.node.load(Ordering::Relaxed)
    }

    /// The commands that an account's waiters and followers are woken for.
    fn tell_of_mail(&self, users: &[UserId]) {
        self.hints.ring(users);
        self.followers.tell(users.iter().copied());
        self.hints.pass_on(hints::Hint::Mail, users);
    }

    /// Messages were read: their reader and their senders look again.
    fn tell_of_reading(&self, users: &[UserId]) {
        self.followers.tell_reads(users.iter().copied());
        self.hints.pass_on(hints::Hint::Reads, users);
    }
}

/// Whether an error says that the server is not there, and nothing about the statement.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        // It stops, starts, or is a standby now.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("57P") || code.starts_with("08") || code == "25006" || code == "40001" || code == "40P01"
        }),
        _ => false,
    }
}

/// The answer of a server, if it comes in time: one that stands still never says that it is gone.
async fn in_time<T>(asked: impl Future<Output = sqlx::Result<T>>, patience: Duration) -> sqlx::Result<T> {
    timeout(patience, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// An error of the store, logged.
fn unavailable(error: sqlx::Error) -> Error {
    error!(%error, "PostgreSQL did not do what it was asked");
    Error::new(error)
}

fn closed() -> Error {
    Error::new("the store is closed")
}

impl PostgresRepository {
    /// The answer to a request, or the error that there is none: it is unknown then what was done.
    fn within<'a, T: Send + 'a>(&self, work: impl Future<Output = Result<T, Error>> + Send + 'a) -> Answer<'a, T> {
        // What changes something may have to find the primary first.
        let patience = 2 * self.shared.options.busy_timeout;
        Answer::pending(async move {
            timeout(patience, work).await.unwrap_or_else(|_| Err(unavailable(sqlx::Error::PoolTimedOut)))
        })
    }

    /// Asks something that changes nothing, again and again until the server answers or its time is over.
    async fn look<T, F: Future<Output = sqlx::Result<T>>>(&self, mut ask: impl FnMut() -> F) -> Result<T, Error> {
        let begun = Instant::now();
        loop {
            match ask().await {
                Err(error) if is_away(&error) && begun.elapsed() < self.shared.options.busy_timeout => {
                    self.find_primary().await;
                    sleep(AGAIN).await;
                }
                answer => return answer.map_err(unavailable),
            }
        }
    }

    /// A connection for one statement that changes something. It is waited for; the statement is asked once.
    async fn connection(&self) -> Result<PoolConnection<Postgres>, Error> {
        let begun = Instant::now();
        loop {
            match self.shared.servers.changes().acquire().await {
                Err(error) if is_away(&error) && begun.elapsed() < self.shared.options.busy_timeout => {
                    self.find_primary().await;
                    sleep(AGAIN).await;
                }
                answer => return answer.map_err(unavailable),
            }
        }
    }

    /// Looks where the primary is now.
    async fn find_primary(&self) {
        if let Ok(connection) = self.shared.servers.connect().await {
            servers::close(connection).await;
        }
    }

    /// After a change by this process: what it ended is known here at once.
    async fn follow_feed(&self) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            let looked = Instant::now();
            match beat::follow(&self.shared, self.shared.servers.reads(), looked).await {
                Err(error) if is_away(&error) && begun.elapsed() < self.shared.options.busy_timeout => {
                    sleep(AGAIN).await;
                }
                answer => return answer.map_err(unavailable),
            }
        }
    }
}
