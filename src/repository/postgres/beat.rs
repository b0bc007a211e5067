//! The life of a node: four times a second it says that it is there, and reads the feed of changes. Who was away for
//! too long by the database's clock is another incarnation afterwards, and holds nothing of the former one.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::unistd::gethostname;
use sqlx::{PgConnection, PgExecutor};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::cache::FeedRow;
use super::servers::Primary;
use super::{PgShared, is_away, servers};
use crate::model::{SessionId, UserId};
use crate::repository::EndedSession;

/// How often a node says that it is there.
const EVERY: Duration = Duration::from_millis(250);
/// How long one beat may take before it is tried on another connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often what is of no use any more is removed.
const TIDY: Duration = Duration::from_secs(60);

const REGISTER: &str = "WITH new AS (INSERT INTO node (name, program) VALUES ($1, $2) RETURNING id),
        ours AS (INSERT INTO writer (id) SELECT id FROM new)
    SELECT id FROM new";
/// A beat that comes too late is refused: others may have taken over.
const BEAT: &str = "UPDATE node SET beat_at = clock_timestamp()
    WHERE id = $1 AND beat_at > clock_timestamp() - interval '5 seconds' RETURNING now_ms()";
const FEED: &str = "SELECT h.version, f.version, f.kind, f.id, f.account
    FROM feed_head h LEFT JOIN LATERAL
        (SELECT * FROM feed WHERE feed.version > $1 ORDER BY feed.version LIMIT 1000) f ON true
    ORDER BY f.version";
const OLD_FEED: &str = "DELETE FROM feed WHERE at < clock_timestamp() - interval '1 hour'";
const OLD_NODES: &str =
    "WITH gone AS (DELETE FROM node WHERE beat_at < clock_timestamp() - interval '1 day' RETURNING id)
    DELETE FROM writer WHERE id IN (SELECT id FROM gone)";

/// Takes a number for this process, or for its next incarnation.
pub(super) async fn register(shared: &PgShared, db: &mut PgConnection) -> sqlx::Result<()> {
    let name = gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let name = format!("{name} {}", std::process::id());
    let begun = Instant::now();
    let id: i64 = sqlx::query_scalar(REGISTER).bind(&name).bind(env!("CARGO_PKG_VERSION")).fetch_one(&mut *db).await?;
    shared.node.store(id, Ordering::Relaxed);
    shared.cache().note_beat(begun);
    info!(node = id, "this process is a node of the database");
    Ok(())
}

/// Beats for as long as the store is open.
pub(super) async fn run(shared: std::sync::Arc<PgShared>) {
    let mut connection: Option<(PgConnection, Primary)> = None;
    let mut tidied = Instant::now();
    loop {
        let (mut db, primary) = match connection.take() {
            // A former primary would hear this node, too, and others would not.
            Some((db, primary)) if primary == shared.servers.primary() => (db, primary),
            _ => match shared.servers.find().await {
                Ok((mut db, primary)) => {
                    // What a beat says is worth nothing later, so no disk has to have it.
                    let _ = sqlx::query("SET synchronous_commit = off").execute(&mut db).await;
                    (db, primary)
                }
                Err(error) => {
                    warn!(%error, "PostgreSQL is not there");
                    sleep(EVERY).await;
                    continue;
                }
            },
        };
        match timeout(PATIENCE, beat(&shared, &mut db)).await {
            Ok(Ok(())) => {
                if tidied.elapsed() > TIDY {
                    tidied = Instant::now();
                    tidy(&mut db).await;
                }
                connection = Some((db, primary));
            }
            Ok(Err(error)) => {
                warn!(%error, "PostgreSQL did not hear that this node is there");
                if !is_away(&error) {
                    servers::close(db).await;
                }
            }
            Err(_) => warn!("PostgreSQL does not answer"),
        }
        sleep(EVERY).await;
    }
}

async fn beat(shared: &PgShared, db: &mut PgConnection) -> sqlx::Result<()> {
    let begun = Instant::now();
    let now: Option<i64> = sqlx::query_scalar(BEAT).bind(shared.node()).fetch_optional(&mut *db).await?;
    match now {
        Some(now) => {
            shared.database_clock.set(now);
            shared.cache().note_beat(begun);
        }
        None => {
            warn!(node = shared.node(), "this node was away for too long: others have what it had handed out");
            register(shared, db).await?;
        }
    }
    follow(shared, db, Instant::now()).await
}

/// Reads what has changed since the last look, which begins at `looked`.
pub(super) async fn follow(shared: &PgShared, db: impl PgExecutor<'_>, looked: Instant) -> sqlx::Result<()> {
    let seen = shared.cache().version();
    type Row = (i64, Option<i64>, Option<String>, Option<i64>, Option<i64>);
    let rows: Vec<Row> = sqlx::query_as(FEED).bind(seen).fetch_all(db).await?;
    let head = rows.first().map_or(seen, |row| row.0);
    let rows: Vec<FeedRow> = rows
        .into_iter()
        .filter_map(|(_, version, kind, id, account)| {
            Some(FeedRow { version: version?, kind: kind?, id: id?, account: UserId(account?) })
        })
        .collect();
    let is_complete = rows.last().map_or(seen, |row| row.version) >= head;
    let ended = shared.cache().follow(&rows, is_complete.then_some(looked));
    if !ended.is_empty() {
        // A login that was ended by its user keeps what was handed out for as long as its connection lasts.
        shared.leases.end(ended.iter().filter(|(ended, _)| !ended.logged_out).map(|(ended, _)| ended.id));
        let users: Vec<UserId> = ended.iter().map(|(_, user)| *user).collect();
        shared.hints.ring(&users);
        for (ended, _) in ended {
            // Nobody may be listening.
            let _ = shared.ended_sessions.send(ended);
        }
    }
    Ok(())
}

impl FeedRow {
    /// The session that ended, if one did.
    pub(super) fn ended(&self) -> Option<EndedSession> {
        let logged_out = self.kind == "logout";
        (logged_out || self.kind == "session").then_some(EndedSession { id: SessionId(self.id), logged_out })
    }
}

async fn tidy(db: &mut PgConnection) {
    for sql in [OLD_FEED, OLD_NODES] {
        if let Err(error) = sqlx::query(sql).execute(&mut *db).await {
            warn!(%error, "what is of no use any more was not removed");
        }
    }
}
