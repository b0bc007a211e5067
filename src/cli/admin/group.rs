//! `chatd group …`: groups. A server that runs on the database carries them out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::admin::protocol::{AdminCommand, AdminReply, GroupQuestion, ListedGroup, ListedMember};
use crate::auth::password;
use crate::cli::admin::administration::{Administration, unexpected};
use crate::cli::admin::user::{first_line, open_file};
use crate::cli::{cost, output};
use crate::config::Config;
use crate::model::{Label, Password};

#[derive(Debug, Subcommand)]
pub(crate) enum GroupAdministration {
    /// Makes a group, with its owner as the first member
    Add {
        /// The group's name; it follows the rules for user names and has no comma
        name: String,
        /// The user name of the owner
        #[arg(long, value_name = "USER")]
        owner: String,
        /// The name shown in messages [default: the group's name]
        #[arg(long = "name", value_name = "NAME")]
        display_name: Option<String>,
        #[command(flatten)]
        password: GroupPassword,
    },
    /// Lists the groups
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Lists who is in a group
    Members {
        /// The group's name
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Puts somebody into a group
    Invite {
        /// The group's name
        name: String,
        /// The user name
        user: String,
    },
    /// Takes somebody out of a group; who owned it is followed by the member of the longest standing
    Remove {
        /// The group's name
        name: String,
        /// The user name
        user: String,
    },
    /// Gives a group another name in messages
    Set {
        /// The group's name
        name: String,
        /// The name shown in messages
        #[arg(long = "name", value_name = "NAME")]
        display_name: String,
    },
    /// Removes a group; its members keep what they have
    Delete {
        /// The group's name
        name: String,
    },
}

/// Where the password of a new group comes from; without any of these everybody may join.
#[derive(Clone, Debug, Args)]
#[group(multiple = false)]
pub(crate) struct GroupPassword {
    /// Nobody joins without the password in the first line of standard input
    #[arg(long)]
    password_stdin: bool,
    /// Nobody joins without the password in the first line of a file
    #[arg(long, value_name = "FILE", value_parser = open_file)]
    password_file: Option<Arc<File>>,
}

impl GroupAdministration {
    pub(crate) async fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let mut administration = Administration::new(config)?;
        let result = self.act(config, &mut administration).await;
        administration.close().await?;
        result.map(|()| ExitCode::SUCCESS)
    }

    async fn act(&self, config: &Config, administration: &mut Administration<'_>) -> anyhow::Result<()> {
        let (question, done) = match self {
            GroupAdministration::List { json } => return list(administration, *json).await,
            GroupAdministration::Members { name, json } => return members(administration, name, *json).await,
            GroupAdministration::Add { name, owner, display_name, password } => {
                display_name.as_deref().map(Label::parse).transpose().context("--name")?;
                let (name, owner) = (name.clone(), owner.clone());
                let display_name = display_name.clone().unwrap_or_else(|| name.clone());
                let done = format!("{name} added");
                (GroupQuestion::Add { name, display_name, owner, password_hash: password.hash(config)? }, done)
            }
            GroupAdministration::Invite { name, user } => {
                let (name, user) = (name.clone(), user.clone());
                let done = format!("{user} is in {name}");
                (GroupQuestion::Join { name, user }, done)
            }
            GroupAdministration::Remove { name, user } => {
                let (name, user) = (name.clone(), user.clone());
                let done = format!("{user} is not in {name} any more");
                (GroupQuestion::Leave { name, user }, done)
            }
            GroupAdministration::Set { name, display_name } => {
                Label::parse(display_name).context("--name")?;
                let (name, display_name) = (name.clone(), display_name.clone());
                let done = format!("{name} changed");
                (GroupQuestion::Rename { name, display_name }, done)
            }
            GroupAdministration::Delete { name } => {
                (GroupQuestion::Remove { name: name.clone() }, format!("{name} removed"))
            }
        };
        administration.carry_out(AdminCommand::Group(question)).await?;
        output::done(done);
        Ok(())
    }
}

impl GroupPassword {
    /// A PHC string; empty where there is no password.
    fn hash(&self, config: &Config) -> anyhow::Result<String> {
        let text = match &self.password_file {
            Some(file) => first_line(&**file).context("--password-file")?,
            None if self.password_stdin => first_line(io::stdin()).context("--password-stdin")?,
            None => return Ok(String::new()),
        };
        Ok(password::hash(Password::parse(&text)?.reveal(), cost(config))?)
    }
}

async fn list(administration: &mut Administration<'_>, as_json: bool) -> anyhow::Result<()> {
    let mut groups: Vec<ListedGroup> = Vec::new();
    loop {
        let after = groups.last().map_or(0, |group| group.id);
        match administration.ask(AdminCommand::Group(GroupQuestion::List { after })).await? {
            AdminReply::Groups { groups: page } if page.is_empty() => break,
            AdminReply::Groups { groups: page } => groups.extend(page),
            other => return Err(unexpected(&other)),
        }
    }
    let accounts = if groups.is_empty() { Vec::new() } else { administration.accounts().await? };
    let names: BTreeMap<i64, &str> = accounts.iter().map(|account| (account.id, &*account.username)).collect();
    let owner = |group: &ListedGroup| names.get(&group.owner).copied().unwrap_or_default();
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    if as_json {
        let groups = groups.iter().map(|group| {
            json!({
                "name": group.name, "display_name": group.display_name, "owner": owner(group),
                "members": group.members, "created_at": group.created_at,
            })
        });
        return Ok(output::print(serde_json::to_string_pretty(&groups.collect::<Vec<_>>())?)?);
    }
    let line = |group: &ListedGroup| {
        let (name, members, owner) = (group.display_name.escape_debug(), group.members, owner(group));
        format!("{}: {name}, {members} members, owner {owner}\n", group.name)
    };
    Ok(output::print(groups.iter().map(line).collect::<String>())?)
}

async fn members(administration: &mut Administration<'_>, name: &str, as_json: bool) -> anyhow::Result<()> {
    let mut members: Vec<ListedMember> = Vec::new();
    loop {
        let after = members.last().map_or(0, |member| member.id);
        let question = GroupQuestion::Members { name: name.to_owned(), after };
        match administration.ask(AdminCommand::Group(question)).await? {
            AdminReply::Members { members: page } if page.is_empty() => break,
            AdminReply::Members { members: page } => members.extend(page),
            other => return Err(unexpected(&other)),
        }
    }
    if as_json {
        let members = members.iter().map(|member| json!({ "username": member.username, "owner": member.is_owner }));
        return Ok(output::print(serde_json::to_string_pretty(&members.collect::<Vec<_>>())?)?);
    }
    let line = |member: &ListedMember| {
        let mark = if member.is_owner { " (owner)" } else { "" };
        format!("{}{mark}\n", member.username)
    };
    Ok(output::print(members.iter().map(line).collect::<String>())?)
}
