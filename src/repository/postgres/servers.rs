//! Where the database is: one server or several, of which one is the primary. A server that is in recovery is a standby
//! and is not asked anything. A standby that is promoted begins a new timeline, with a higher number. So of two servers
//! that can write, the one with the higher timeline is the primary, and one with a lower timeline than was seen once is
//! a former primary, which is not asked anything either.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::time::{sleep, timeout};

use super::reads::ReadPool;
use crate::repository::OpenError;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How often it is looked for a newer primary, where there are several servers.
const WATCH: Duration = Duration::from_secs(2);
/// The name of the systemd credential with the password.
const CREDENTIAL: &str = "postgres_password";
/// A parameter of ours in the URL.
const PASSWORD_FILE: &str = "password_file=";
/// Connections of a node for all that reads, and for what is changed now and then. A change waits for the standbys, and
/// what reads must not wait with it.
const READS: u32 = 8;
const CHANGES: u32 = 4;

/// The servers of one database.
pub(super) struct Servers {
    all: Vec<PgConnectOptions>,
    /// The highest timeline that was seen.
    timeline: Arc<AtomicU32>,
    pools: RwLock<Pools>,
    /// How long an answer is waited for.
    patience: Duration,
    /// For messages: the URL without a password.
    pub shown: String,
}

/// Connections to the primary, opened when they are needed.
struct Pools {
    /// The primary when it was looked for last.
    primary: Primary,
    reads: PgPool,
    changes: PgPool,
}

/// Which server is the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Primary {
    place: usize,
    timeline: u32,
}

/// A URL without its password.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((user, hosts)) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{scheme}://{user}@{hosts}{}", &rest[end..])
        }
        None => url.to_owned(),
    }
}

impl Servers {
    /// The servers that `postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?OPTIONS` names.
    pub(super) fn of(url: &str, patience: Duration) -> Result<Servers, OpenError> {
        let refused = |why: String| OpenError::Refused { path: PathBuf::from(shown(url)), why };
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (user, hosts) = rest[..end].rsplit_once('@').map_or((None, &rest[..end]), |(u, hosts)| (Some(u), hosts));
        let (path, query) = rest[end..].split_once('?').unwrap_or((&rest[end..], ""));
        let (ours, theirs): (Vec<&str>, Vec<&str>) =
            query.split('&').filter(|part| !part.is_empty()).partition(|part| part.starts_with(PASSWORD_FILE));
        let password = match ours.first().and_then(|part| part.strip_prefix(PASSWORD_FILE)) {
            Some(file) => Some(read_password(&PathBuf::from(file)).map_err(refused)?),
            None => credential().map(|file| read_password(&file)).transpose().map_err(refused)?,
        };
        let user = user.map_or(String::new(), |user| format!("{user}@"));
        let query = if theirs.is_empty() { String::new() } else { format!("?{}", theirs.join("&")) };
        let mut all = Vec::new();
        for host in hosts.split(',') {
            let options = PgConnectOptions::from_str(&format!("postgres://{user}{host}{path}{query}"))
                .map_err(|error| refused(format!("this is no URL of a database: {error}")))?;
            all.push(prepared(options, password.as_deref()));
        }
        let timeline = Arc::default();
        let pools = RwLock::new(Pools::to(&all, Primary::default(), &timeline));
        Ok(Servers { all, timeline, pools, patience, shown: shown(url) })
    }

    /// A connection to the primary, wherever it is now.
    pub(super) async fn connect(&self) -> sqlx::Result<PgConnection> {
        self.find().await.map(|(connection, _)| connection)
    }

    /// The same, and which one the primary is. All servers are asked at once.
    pub(super) async fn find(&self) -> sqlx::Result<(PgConnection, Primary)> {
        let answers = join_all(self.all.iter().map(|options| reach(options, &self.timeline))).await;
        let (mut best, mut last_error): (Option<(PgConnection, Primary)>, _) = (None, sqlx::Error::PoolTimedOut);
        for (place, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok((connection, timeline)) if best.as_ref().is_none_or(|(_, best)| timeline > best.timeline) => {
                    best = Some((connection, Primary { place, timeline }));
                }
                Ok(_) => {}
                Err(error) => last_error = error,
            }
        }
        let found = best.ok_or(last_error)?;
        self.go_to(found.1);
        Ok(found)
    }

    /// Looks for a newer primary from time to time: a former one that nobody reaches but this node answers as before.
    pub(super) async fn watch(&self) {
        while self.all.len() > 1 {
            sleep(WATCH).await;
            if let Ok(connection) = self.connect().await {
                close(connection).await;
            }
        }
    }

    /// The primary when it was looked for last.
    pub(super) fn primary(&self) -> Primary {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).primary
    }

    /// What reads goes over these.
    pub(super) fn reads(&self) -> ReadPool {
        let pool = self.pools.read().unwrap_or_else(PoisonError::into_inner).reads.clone();
        ReadPool { pool, patience: self.patience }
    }

    /// What changes something now and then goes over these.
    pub(super) fn changes(&self) -> PgPool {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).changes.clone()
    }

    /// Closes all connections but those that others hold.
    pub(super) async fn close(&self) {
        self.reads().pool.close().await;
        self.changes().close().await;
    }

    /// Where the primary is another one, the connections to the former one are left: it may never answer.
    fn go_to(&self, primary: Primary) {
        if self.primary() != primary {
            let pools = Pools::to(&self.all, primary, &self.timeline);
            *self.pools.write().unwrap_or_else(PoisonError::into_inner) = pools;
        }
    }
}

impl Pools {
    fn to(all: &[PgConnectOptions], primary: Primary, timeline: &Arc<AtomicU32>) -> Pools {
        let primary_options = &all[primary.place];
        let pool = |most, options: PgConnectOptions| {
            let timeline = timeline.clone();
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(CONNECT)
                .test_before_acquire(false)
                .after_connect(move |connection, _| {
                    let timeline = timeline.clone();
                    Box::pin(async move { must_be_primary(connection, &timeline).await.map(drop) })
                })
                .connect_lazy_with(options)
        };
        // Mail is handed out over these, too. A hand-out that is lost with the primary was not confirmed, and its
        // messages come again. So it waits for no standby.
        let reads = primary_options.clone().options([("synchronous_commit", "off")]);
        Pools { primary, reads: pool(READS, reads), changes: pool(CHANGES, primary_options.clone()) }
    }
}

/// Tables are large and statistics may be old: the plans that the statements were written for are the right ones.
fn prepared(options: PgConnectOptions, password: Option<&str>) -> PgConnectOptions {
    let options = options.application_name("chatd").disable_statement_logging().options([
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("plan_cache_mode", "force_generic_plan"),
        ("jit", "off"),
        ("client_min_messages", "warning"),
    ]);
    password.map_or(options.clone(), |password| options.password(password))
}

/// A connection to a server that may be asked, and the server's timeline.
async fn reach(options: &PgConnectOptions, newest: &AtomicU32) -> sqlx::Result<(PgConnection, u32)> {
    let connecting = async {
        let mut connection = options.connect().await?;
        let timeline = must_be_primary(&mut connection, newest).await?;
        Ok((connection, timeline))
    };
    timeout(CONNECT, connecting).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Gives the timeline of a server that may be asked, and notes it.
async fn must_be_primary(connection: &mut PgConnection, newest: &AtomicU32) -> sqlx::Result<u32> {
    let asked: Option<String> = sqlx::query_scalar(TIMELINE).fetch_one(connection).await?;
    let asked = asked.ok_or_else(|| sqlx::Error::Protocol("this server is a standby".to_owned()))?;
    let timeline = u32::from_str_radix(&asked, 16).map_err(|error| sqlx::Error::Protocol(error.to_string()))?;
    let seen = newest.fetch_max(timeline, Ordering::Relaxed);
    if timeline < seen {
        let why = format!("this was the primary: its timeline is {timeline}, and another server has {seen}");
        return Err(sqlx::Error::Protocol(why));
    }
    Ok(timeline)
}

/// The timeline is the first part of the name of the file that the WAL goes into; a standby has none.
const TIMELINE: &str = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN
    substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END";

/// Says goodbye; whether the server hears it does not matter.
pub(super) async fn close(connection: PgConnection) {
    let _ = connection.close().await;
}

/// The password that systemd hands over, if it does.
fn credential() -> Option<PathBuf> {
    let file = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    file.exists().then_some(file)
}

fn read_password(file: &PathBuf) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("the password in {}: {error}", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_names_several_servers_and_shows_no_password() {
        let url = "postgres://chat:secret@one:5433,two/chat?sslmode=require";
        let servers = Servers::of(url, CONNECT).unwrap_or_else(|error| panic!("{error}"));
        let places: Vec<_> = servers.all.iter().map(|it| (it.get_host().to_owned(), it.get_port())).collect();
        assert_eq!(places, [("one".to_owned(), 5433), ("two".to_owned(), 5432)]);
        assert!(servers.all.iter().all(|it| it.get_database() == Some("chat") && it.get_username() == "chat"));
        assert_eq!(servers.shown, "postgres://chat@one:5433,two/chat?sslmode=require");
        assert_eq!(shown("postgres:///chat?host=/run/postgresql"), "postgres:///chat?host=/run/postgresql");
        assert!(Servers::of("postgres://one/chat?password_file=/nowhere/at/all", CONNECT).is_err());
    }
}
