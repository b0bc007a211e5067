//! `chatd user …`: accounts. A server that runs on the database carries them out.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::admin::protocol::{AdminCommand, AdminReply, ListedAccount};
use crate::auth::password;
use crate::cli::admin::administration::{Administration, unexpected};
use crate::cli::admin::invite::{self, InviteArguments};
use crate::cli::{cost, output};
use crate::config::Config;
use crate::model::{Label, Password, Token, Username};

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Adds an account
    Add {
        /// The user name, as it is typed at login
        name: String,
        /// The name shown in messages [default: the user name]
        #[arg(long = "name", value_name = "NAME")]
        display_name: Option<String>,
        /// Where the person is from
        #[arg(long, default_value = "")]
        country: String,
        /// Nothing is changed and nothing is wrong when the account is there
        #[arg(long)]
        if_not_exists: bool,
        /// The account may administer in the browser
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Lists the accounts
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Gives an account another password and ends its sessions
    Passwd {
        /// The user name
        name: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Changes what others are shown of an account
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args(["display_name", "country", "admin"]))]
    Set {
        /// The user name
        name: String,
        /// The name shown in messages
        #[arg(long = "name", value_name = "NAME")]
        display_name: Option<String>,
        /// Where the person is from; empty for nowhere
        #[arg(long)]
        country: Option<String>,
        /// Whether the account may administer in the browser
        #[arg(long, value_name = "YES|NO", value_parser = yes_or_no)]
        admin: Option<bool>,
    },
    /// Shuts an account: its sessions end and it cannot log in; its mail waits
    Disable {
        /// The user name
        name: String,
    },
    /// Opens an account again
    Enable {
        /// The user name
        name: String,
    },
    /// Makes a code that makes one account, and prints it with the link for a browser (protocol.register = "invite")
    Invite(InviteArguments),
    /// Lists the codes that work
    Invites {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Takes a code back
    Uninvite {
        /// Its number in `user invites`
        id: i64,
    },
    /// Removes an account, its sessions and its unread mail
    Remove {
        /// The user name
        name: String,
    },
}

/// Where a new password comes from; without any of these it is asked for twice.
#[derive(Clone, Debug, Args)]
#[group(multiple = false)]
pub(crate) struct PasswordSource {
    /// Reads the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,
    /// Reads the password from the first line of a file
    #[arg(long, value_name = "FILE", value_parser = open_file)]
    password_file: Option<Arc<File>>,
    /// Makes up a password and prints it
    #[arg(long)]
    generate: bool,
}

impl UserCommand {
    pub(crate) async fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let mut administration = match self {
            UserCommand::Add { .. } => Administration::of_first_account(config)?,
            _ => Administration::new(config)?,
        };
        let result = self.act(config, &mut administration).await;
        administration.close().await?;
        result.map(|()| ExitCode::SUCCESS)
    }

    async fn act(&self, config: &Config, administration: &mut Administration<'_>) -> anyhow::Result<()> {
        match self {
            UserCommand::Add { .. } => self.add(config, administration).await?,
            UserCommand::List { json } => list(administration.accounts().await?, *json)?,
            UserCommand::Passwd { name, password } => {
                let hash = AdminCommand::PasswordHash { name: name.clone() };
                let former = match administration.ask(hash).await? {
                    AdminReply::PasswordHash { hash } => hash.with_context(|| no_account(name))?,
                    other => return Err(unexpected(&other)),
                };
                let password = password.get(name)?;
                let hash = password::hash(password.text.reveal(), cost(config))?;
                let set = |password_hash| AdminCommand::SetPassword { name: name.clone(), password_hash };
                let undone = "the former password is in force again; the sessions ended";
                password.store(name, administration, set(hash), set(former), undone).await?;
                output::done(format_args!("{name}: password changed, sessions ended"));
            }
            UserCommand::Set { name, display_name, country, admin } => {
                display_name.as_deref().map(Label::parse).transpose().context("--name")?;
                country.as_deref().map(Label::parse_or_none).transpose().context("--country")?;
                let (name, display_name, country) = (name.clone(), display_name.clone(), country.clone());
                let done = format!("{name} changed");
                let change = AdminCommand::SetProfile { name, display_name, country, administrator: *admin };
                administration.carry_out(change).await?;
                output::done(done);
            }
            UserCommand::Disable { name } => {
                administration.carry_out(AdminCommand::SetDisabled { name: name.clone(), disabled: true }).await?;
                output::done(format_args!("{name} disabled, sessions ended"));
            }
            UserCommand::Enable { name } => {
                administration.carry_out(AdminCommand::SetDisabled { name: name.clone(), disabled: false }).await?;
                output::done(format_args!("{name} enabled"));
            }
            UserCommand::Invite(arguments) => arguments.make(config, administration).await?,
            UserCommand::Invites { json } => invite::list(administration, *json).await?,
            UserCommand::Uninvite { id } => invite::remove(administration, *id).await?,
            UserCommand::Remove { name } => {
                let unread = administration.carry_out(AdminCommand::RemoveAccount { name: name.clone() }).await?;
                output::done(format_args!("{name} removed, {unread} unread messages discarded"));
            }
        }
        Ok(())
    }

    async fn add(&self, config: &Config, administration: &mut Administration<'_>) -> anyhow::Result<()> {
        let UserCommand::Add { name, display_name, country, if_not_exists, admin, password } = self else {
            return Ok(());
        };
        let username = Username::parse(name).with_context(|| format!("{name:?}"))?;
        let display_name = display_name.as_ref().map_or_else(|| Ok((&username).into()), |name| Label::parse(name));
        let display_name = display_name.context("--name")?;
        let country = Label::parse_or_none(country).context("--country")?;
        match administration.account(username.as_str()).await? {
            Some(same) if *if_not_exists && same.username == username.as_str() => {
                output::done(format_args!("{username} is there already"));
                return Ok(());
            }
            Some(_) => return Err(name_taken(username.as_str())),
            None => {}
        }
        let password = password.get(username.as_str())?;
        let name = username.to_string();
        let add = AdminCommand::AddAccount {
            name: name.clone(),
            display_name: display_name.into(),
            country: country.into(),
            password_hash: password::hash(password.text.reveal(), cost(config))?,
            administrator: *admin,
        };
        let remove = AdminCommand::RemoveAccount { name: name.clone() };
        password.store(&name, administration, add, remove, "the account was removed again").await?;
        output::done(format_args!("{username} added"));
        Ok(())
    }
}

fn no_account(name: &str) -> String {
    format!("{name:?}: there is no such account")
}

fn name_taken(name: &str) -> anyhow::Error {
    anyhow!("{name}: there is such an account already (names differ in more than case)")
}

fn list(mut users: Vec<ListedAccount>, as_json: bool) -> anyhow::Result<()> {
    users.sort_by(|one, other| one.username.cmp(&other.username));
    if as_json {
        let users: Vec<_> = users
            .iter()
            .map(|user| {
                json!({
                    "username": user.username, "name": user.display_name, "country": user.country,
                    "disabled": user.disabled, "admin": user.administrator, "created_at": user.created_at, "stored_bytes": user.stored_bytes,
                })
            })
            .collect();
        return Ok(output::print(serde_json::to_string_pretty(&users)?)?);
    }
    let mut lines = String::new();
    for user in users {
        let country =
            if user.country.is_empty() { String::new() } else { format!(", {}", user.country.escape_debug()) };
        let disabled = if user.disabled { " (disabled)" } else { "" };
        let admin = if user.administrator { " (administrator)" } else { "" };
        lines.push_str(&format!("{}: {}{country}{disabled}{admin}\n", user.username, user.display_name.escape_debug()));
    }
    Ok(output::print(lines)?)
}

/// A password that will be stored.
struct NewPassword {
    text: Password,
    /// Nobody knows it before it is printed.
    is_made_up: bool,
}

impl NewPassword {
    /// Stores it with `change`. One that was made up is printed once it is stored, and where it cannot be printed, it
    /// is not stored, or `undo` takes the change back.
    async fn store(
        &self,
        name: &str,
        administration: &mut Administration<'_>,
        change: AdminCommand,
        undo: AdminCommand,
        undone: &str,
    ) -> anyhow::Result<()> {
        let change = async {
            match administration.ask(change).await? {
                AdminReply::Added { is_new: false } => Err(name_taken(name)),
                _ => Ok(()),
            }
        };
        if !self.is_made_up {
            return change.await;
        }
        let head = format!("password of {name}: ");
        let ((), printed) = output::print_around(&head, change, self.text.reveal()).await?;
        if let Err(why) = printed {
            let undoing = administration.carry_out(undo).await;
            undoing.with_context(|| format!("{name}: {why}: nobody has seen the new password"))?;
            bail!("{name}: {why}: the new password could not be printed, so {undone}");
        }
        Ok(())
    }
}

impl PasswordSource {
    fn get(&self, username: &str) -> anyhow::Result<NewPassword> {
        let text = if self.generate {
            // 122 bits from the operating system.
            Token::generate().reveal()
        } else if let Some(file) = &self.password_file {
            first_line(&**file).context("--password-file")?
        } else if self.password_stdin {
            first_line(io::stdin()).context("--password-stdin")?
        } else {
            let first = rpassword::prompt_password(format!("Password of {username}: "))
                .context("no terminal to ask for the password (see --password-stdin)")?;
            if rpassword::prompt_password("Again: ")? != first {
                bail!("the two passwords differ");
            }
            first
        };
        Ok(NewPassword { text: Password::parse(&text)?, is_made_up: self.generate })
    }
}

fn yes_or_no(word: &str) -> Result<bool, String> {
    match word {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("it is yes or no".to_owned()),
    }
}

/// Opens it at once, before root becomes another user: root can read files that the owner of the database cannot.
pub(super) fn open_file(path: &str) -> io::Result<Arc<File>> {
    File::open(path).map(Arc::new)
}

/// The first line of a file or of standard input, without its end. A byte order mark would be an invisible part of the
/// password, so it is refused.
pub(crate) fn first_line(from: impl Read) -> anyhow::Result<String> {
    let mut line = Vec::new();
    io::BufReader::new(from.take(64 * 1024)).read_until(b'\n', &mut line)?;
    if [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| line.starts_with(mark)) {
        bail!("it begins with a byte order mark, which is no part of a password: write it as UTF-8 without a BOM");
    }
    let line = String::from_utf8(line).map_err(|_| anyhow!("it is not UTF-8"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
