//! `chatd session …`: who is logged in. Works whether a server runs on the database or not; a running one notices within
//! a second.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::{open, output};
use crate::config::Config;
use crate::model::SessionId;
use crate::repository::sqlite::{Role, SqliteRepository};
use crate::repository::{self, Repository};

#[derive(Debug, Subcommand)]
pub enum Session {
    /// Lists the sessions, oldest first; when each was last used may be an hour old
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Ends sessions: their tokens are good for nothing any more
    Revoke(Which),
}

/// Whose sessions end.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// All sessions of this user
    name: Option<String>,
    /// One session, by its number in `session list`
    #[arg(long, value_name = "NUMBER")]
    id: Option<i64>,
    /// Everybody's
    #[arg(long)]
    all: bool,
}

impl Session {
    pub async fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let repository = open(config, Role::Admin).await?;
        let result = match self {
            Session::List { json } => list(&repository.sessions(), *json),
            Session::Revoke(which) => which.revoke(&repository).await,
        };
        repository.close().await?;
        result.map(|()| ExitCode::SUCCESS)
    }
}

impl Which {
    async fn revoke(&self, repository: &SqliteRepository) -> anyhow::Result<()> {
        if let Some(name) = &self.name {
            repository.user_named(name).with_context(|| format!("{name:?}: there is no such account"))?;
        }
        let (mut ended, mut found) = (0, false);
        for session in repository.sessions() {
            let is_meant = self.all
                || self.name.as_deref() == Some(session.user.username.as_str())
                || self.id.map(SessionId) == Some(session.id);
            if is_meant {
                found = true;
                ended += u64::from(repository.end_session(session.id).await?);
            }
        }
        if let (Some(id), false) = (self.id, found) {
            anyhow::bail!("{id}: there is no such session");
        }
        output::done(format_args!("{ended} sessions ended"));
        Ok(())
    }
}

fn list(sessions: &[repository::Session], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let sessions: Vec<_> = sessions
            .iter()
            .map(|session| {
                json!({
                    "id": session.id.0, "username": session.user.username.as_str(), "address": &*session.address,
                    "created_at": session.created_at.0, "last_used_at": session.last_used_at.0,
                })
            })
            .collect();
        return Ok(output::print(serde_json::to_string_pretty(&sessions)?)?);
    }
    let mut lines = String::new();
    for session in sessions {
        let (id, user, address) = (session.id, &session.user.username, &session.address);
        let (since, used) = (time(session.created_at), time(session.last_used_at));
        lines.push_str(&format!("{id}: {user} from {address}, since {since}, used {used}\n"));
    }
    Ok(output::print(lines)?)
}

/// To the second, in UTC.
fn time(at: crate::model::Timestamp) -> String {
    let seconds = Timestamp::from_second(at.0.div_euclid(1000)).map(|at| at.to_string());
    seconds.unwrap_or_else(|_| format!("{} ms", at.0))
}
