//! `chatd user invite`: codes, each of which makes one account. A server that runs on the database carries it out.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use crate::admin::protocol::{AdminCommand, AdminReply, InviteQuestion, ListedInvite};
use crate::cli::admin::administration::{Administration, unexpected};
use crate::cli::output;
use crate::config::{Config, Listen, Registering};
use crate::model::{Label, Timestamp, Token};

/// A code to be made.
#[derive(Debug, Args)]
pub(crate) struct InviteArguments {
    /// For whom it is, as the list shows it
    #[arg(long = "for", value_name = "WHOM", default_value = "")]
    label: String,
    /// How long it works
    #[arg(long, value_name = "TIME", default_value = "7days", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl InviteArguments {
    pub(super) async fn make(&self, config: &Config, administration: &mut Administration<'_>) -> anyhow::Result<()> {
        let label = Label::parse_or_none(&self.label).context("--for")?;
        if self.expires.is_zero() {
            bail!("--expires: a code that works for no time is good for nothing");
        }
        let code = Token::generate();
        let add = AdminCommand::Invite(InviteQuestion::Add {
            code: code.hash().0,
            label: label.into(),
            milliseconds: u64::try_from(self.expires.as_millis()).unwrap_or(u64::MAX),
        });
        let link = page_of(config).map(|page| format!("{page}/#invite={}", code.reveal()));
        let rest = match self.json {
            true => {
                let rest = json!({ "code": code.reveal(), "link": link, "for": self.label }).to_string();
                rest.strip_prefix('{').unwrap_or_default().to_owned()
            }
            false => link.map_or_else(|| code.reveal(), |link| format!("{}\n{link}", code.reveal())),
        };
        let head = if self.json { "{" } else { "" };
        let made = async { administration.carry_out(add).await };
        let (id, printed) = output::print_around(head, made, &rest).await?;
        if let Err(why) = printed {
            let id = i64::try_from(id).unwrap_or(0);
            let undoing = administration.carry_out(AdminCommand::Invite(InviteQuestion::Remove { id })).await;
            undoing.with_context(|| format!("{why}: nobody has seen the code"))?;
            bail!("{why}: the code could not be printed, so it was removed again");
        }
        if config.protocol.register != Registering::Invite {
            output::note("chatd: it works where `protocol.register = \"invite\"` is set, which is not so here");
        }
        Ok(())
    }
}

/// Where the page is, as far as the settings tell.
fn page_of(config: &Config) -> Option<String> {
    let web = &config.web;
    match (web.hosts.0.first(), web.tls_listen, web.listen) {
        (Some(host), ..) => Some(format!("https://{host}")),
        (None, Listen(Some(address)), _) => Some(format!("https://{address}")),
        (None, _, Listen(Some(address))) => Some(format!("http://{address}")),
        _ => None,
    }
}

pub(super) async fn list(administration: &mut Administration<'_>, as_json: bool) -> anyhow::Result<()> {
    let mut all: Vec<ListedInvite> = Vec::new();
    loop {
        let after = all.last().map_or(0, |invite| invite.id);
        match administration.ask(AdminCommand::Invite(InviteQuestion::List { after })).await? {
            AdminReply::Invites { invites } if invites.is_empty() => break,
            AdminReply::Invites { invites } => all.extend(invites),
            other => return Err(unexpected(&other)),
        }
    }
    if as_json {
        let invites = all.iter().map(|invite| {
            json!({
                "id": invite.id, "for": invite.label,
                "created_at": invite.created_at, "expires_at": invite.expires_at,
            })
        });
        return Ok(output::print(serde_json::to_string_pretty(&invites.collect::<Vec<_>>())?)?);
    }
    let mut lines = String::new();
    for ListedInvite { id, label, created_at, expires_at } in &all {
        let label = if label.is_empty() { String::new() } else { format!("for {}, ", label.escape_debug()) };
        let (made, over) = (Timestamp(*created_at), Timestamp(*expires_at));
        lines.push_str(&format!("{id}: {label}made {made}, over {over}\n"));
    }
    Ok(output::print(lines)?)
}

pub(super) async fn remove(administration: &mut Administration<'_>, id: i64) -> anyhow::Result<()> {
    match administration.carry_out(AdminCommand::Invite(InviteQuestion::Remove { id })).await? {
        0 => bail!("{id}: there is no such invite; `chatd user invites` lists them"),
        _ => output::done(format_args!("invite {id} removed")),
    }
    Ok(())
}
