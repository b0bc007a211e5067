//! Where the database is: one server or several, of which one is the primary. A server that is in recovery is a standby
//! and is not asked anything.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::time::timeout;

use crate::repository::OpenError;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// The name of the systemd credential with the password.
const CREDENTIAL: &str = "postgres_password";
/// A parameter of ours in the URL.
const PASSWORD_FILE: &str = "password_file=";
/// Connections of a node for all that reads and for what is changed now and then.
const POOL: u32 = 8;

/// The servers of one database.
pub(super) struct Servers {
    all: Vec<PgConnectOptions>,
    /// The one that was the primary when it was asked last.
    current: AtomicUsize,
    /// For messages: the URL without a password.
    pub shown: String,
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
    pub(super) fn of(url: &str) -> Result<Servers, OpenError> {
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
        Ok(Servers { all, current: AtomicUsize::new(0), shown: shown(url) })
    }

    /// How the primary of the last look is reached.
    pub(super) fn current(&self) -> &PgConnectOptions {
        &self.all[self.current.load(Ordering::Relaxed) % self.all.len()]
    }

    /// A connection to the primary, wherever it is now.
    pub(super) async fn connect(&self) -> sqlx::Result<PgConnection> {
        let first = self.current.load(Ordering::Relaxed);
        let mut last_error = None;
        for step in 0..self.all.len() {
            let place = (first + step) % self.all.len();
            match reach(&self.all[place]).await {
                Ok(connection) => {
                    self.current.store(place, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.unwrap_or(sqlx::Error::PoolTimedOut))
    }

    /// Connections that are opened when they are needed.
    pub(super) fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(POOL)
            .acquire_timeout(CONNECT)
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(async move { refuse_standby(connection).await }))
            .connect_lazy_with(self.current().clone())
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

async fn reach(options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    let connecting = async {
        let mut connection = options.connect().await?;
        refuse_standby(&mut connection).await?;
        Ok(connection)
    };
    timeout(CONNECT, connecting).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

async fn refuse_standby(connection: &mut PgConnection) -> sqlx::Result<()> {
    match sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(connection).await? {
        true => Err(sqlx::Error::Protocol("this server is a standby".to_owned())),
        false => Ok(()),
    }
}

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

    #[test]
    fn a_url_names_several_servers_and_shows_no_password() {
        let url = "postgres://chat:secret@one:5433,two/chat?sslmode=require";
        let servers = Servers::of(url).unwrap_or_else(|error| panic!("{error}"));
        let places: Vec<_> = servers.all.iter().map(|it| (it.get_host().to_owned(), it.get_port())).collect();
        assert_eq!(places, [("one".to_owned(), 5433), ("two".to_owned(), 5432)]);
        assert!(servers.all.iter().all(|it| it.get_database() == Some("chat") && it.get_username() == "chat"));
        assert_eq!(servers.shown, "postgres://chat@one:5433,two/chat?sslmode=require");
        assert_eq!(shown("postgres:///chat?host=/run/postgresql"), "postgres:///chat?host=/run/postgresql");
        assert!(Servers::of("postgres://one/chat?password_file=/nowhere/at/all").is_err());
    }
}
