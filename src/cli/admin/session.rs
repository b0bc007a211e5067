//! `chatd session …`: who is logged in. A server that runs on the database carries it out.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use crate::admin::protocol::{AdminCommand, ListedSession};
use crate::cli::admin::administration::Administration;
use crate::cli::output;
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
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
pub(crate) struct Which {
    /// All sessions of this user
    name: Option<String>,
    /// One session, by its number in `session list`
    #[arg(long, value_name = "NUMBER")]
    id: Option<i64>,
    /// Everybody's
    #[arg(long)]
    all: bool,
}

impl SessionCommand {
    pub(crate) async fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let mut administration = Administration::new(config)?;
        let result = match self {
            SessionCommand::List { json } => list(&mut administration, *json).await,
            SessionCommand::Revoke(which) => which.revoke(&mut administration).await,
        };
        administration.close().await?;
        result.map(|()| ExitCode::SUCCESS)
    }
}

impl Which {
    async fn revoke(&self, administration: &mut Administration<'_>) -> anyhow::Result<()> {
        let ended = match self.id {
            Some(id) => match administration.carry_out(AdminCommand::EndSessions { ids: vec![id] }).await? {
                0 => anyhow::bail!("{id}: there is no such session"),
                ended => ended,
            },
            None => {
                let (mut ended, mut after) = (0, 0);
                loop {
                    let logins = administration.logins(after, self.name.as_deref()).await?;
                    let Some(last) = logins.last() else { break ended };
                    after = last.id;
                    let ids = logins.iter().map(|login| login.id).collect();
                    ended += administration.carry_out(AdminCommand::EndSessions { ids }).await?;
                }
            }
        };
        output::done(format_args!("{ended} sessions ended"));
        Ok(())
    }
}

async fn list(administration: &mut Administration<'_>, as_json: bool) -> anyhow::Result<()> {
    let mut all: Vec<ListedSession> = Vec::new();
    loop {
        let logins = administration.logins(all.last().map_or(0, |login| login.id), None).await?;
        if logins.is_empty() {
            break;
        }
        all.extend(logins);
    }
    if as_json {
        let sessions: Vec<_> = all
            .iter()
            .map(|login| {
                json!({
                    "id": login.id, "username": login.username, "address": login.address,
                    "created_at": login.created_at, "last_used_at": login.last_used_at,
                    "label": login.label, "scope": login.scope,
                })
            })
            .collect();
        return Ok(output::print(serde_json::to_string_pretty(&sessions)?)?);
    }
    let mut lines = String::new();
    for ListedSession { id, username, address, created_at, last_used_at, label, scope } in &all {
        let (since, used) = (time(*created_at), time(*last_used_at));
        let what = scope.as_ref().map(|scope| format!(" (token: {scope})")).unwrap_or_default();
        let label = if label.is_empty() { String::new() } else { format!(", {}", label.escape_debug()) };
        lines.push_str(&format!("{id}: {username} from {address}, since {since}, used {used}{label}{what}\n"));
    }
    Ok(output::print(lines)?)
}

/// To the second, in UTC.
fn time(at: i64) -> String {
    let seconds = Timestamp::from_second(at.div_euclid(1000)).map(|at| at.to_string());
    seconds.unwrap_or_else(|_| format!("{at} ms"))
}
