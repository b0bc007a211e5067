//! `chatd user …`: accounts. Works whether a server runs on the database or not; a running one notices within a second.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{cost, open, output};
use crate::config::Config;
use crate::model::{Password, Token, Username};
use crate::password;
use crate::repository::sqlite::{Role, SqliteRepository};
use crate::repository::{self, Added, NewUser, Repository};

#[derive(Debug, Subcommand)]
pub enum User {
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
    /// Removes an account, its sessions and its unread mail
    Remove {
        /// The user name
        name: String,
    },
}

/// Where a new password comes from; without any of these it is asked for twice.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct PasswordSource {
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

impl User {
    pub async fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let repository = open(config, Role::Admin).await?;
        let result = self.act(config, &repository).await;
        repository.close().await?;
        result
    }

    async fn act(&self, config: &Config, repository: &SqliteRepository) -> anyhow::Result<ExitCode> {
        match self {
            User::Add { name, display_name, country, if_not_exists, password } => {
                let username = Username::parse(name).with_context(|| format!("{name:?}"))?;
                if *if_not_exists && repository.user_named(username.as_str()).is_some() {
                    output::done(format_args!("{username} is there already"));
                    return Ok(ExitCode::SUCCESS);
                }
                if repository.users().iter().any(|user| user.username.folded() == username.folded()) {
                    return Err(name_taken(&username));
                }
                let password = password.get(&username)?;
                let new = NewUser {
                    display_name: display_name.clone().unwrap_or_else(|| username.to_string()),
                    country: country.clone(),
                    password_hash: password::hash(password.text.reveal(), cost(config))?,
                    username: username.clone(),
                };
                password.store(&username, add(repository, new), remove_again(repository, &username)).await?;
                output::done(format_args!("{username} added"));
            }
            User::List { json } => list(&repository.users(), *json)?,
            User::Passwd { name, password } => {
                let user = find(repository, name)?;
                let password = password.get(&user.username)?;
                let hash = password::hash(password.text.reveal(), cost(config))?;
                let change = async { Ok(repository.set_password(user.id, hash).await?) };
                let undo = async {
                    repository.set_password(user.id, user.password_hash.clone()).await?;
                    Ok("the former password is in force again; the sessions ended")
                };
                password.store(&user.username, change, undo).await?;
                output::done(format_args!("{name}: password changed, sessions ended"));
            }
            User::Disable { name } => {
                repository.set_disabled(find(repository, name)?.id, true).await?;
                output::done(format_args!("{name} disabled, sessions ended"));
            }
            User::Enable { name } => {
                repository.set_disabled(find(repository, name)?.id, false).await?;
                output::done(format_args!("{name} enabled"));
            }
            User::Remove { name } => {
                let removed = repository.remove_user(find(repository, name)?.id).await?;
                output::done(format_args!("{name} removed, {} unread messages discarded", removed.unread));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn add(repository: &SqliteRepository, new: NewUser) -> anyhow::Result<()> {
    let username = new.username.clone();
    match repository.add_user(new).await? {
        Added::Added => Ok(()),
        Added::NameTaken => Err(name_taken(&username)),
    }
}

fn name_taken(username: &Username) -> anyhow::Error {
    anyhow!("{username}: there is such an account already (names differ in more than case)")
}

async fn remove_again(repository: &SqliteRepository, username: &Username) -> anyhow::Result<&'static str> {
    repository.remove_user(find(repository, username.as_str())?.id).await?;
    Ok("the account was removed again")
}

fn find(repository: &SqliteRepository, name: &str) -> anyhow::Result<Arc<repository::User>> {
    repository.user_named(name).with_context(|| format!("{name:?}: there is no such account"))
}

fn list(users: &[Arc<repository::User>], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let users: Vec<_> = users
            .iter()
            .map(|user| {
                json!({
                    "username": user.username.as_str(), "name": user.display_name, "country": user.country,
                    "disabled": user.disabled, "created_at": user.created_at.0,
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
        lines.push_str(&format!("{}: {}{country}{disabled}\n", user.username, user.display_name.escape_debug()));
    }
    Ok(output::print(lines)?)
}

/// A password that is to be stored.
struct NewPassword {
    text: Password,
    /// Nobody knows it before it is printed.
    is_made_up: bool,
}

impl NewPassword {
    /// Stores it with `change`. One that was made up is printed once it is stored, and where it cannot be printed, it is
    /// not stored, or `undo` takes the change back.
    async fn store(
        &self,
        username: &Username,
        change: impl Future<Output = anyhow::Result<()>>,
        undo: impl Future<Output = anyhow::Result<&'static str>>,
    ) -> anyhow::Result<()> {
        if !self.is_made_up {
            return change.await;
        }
        let head = format!("password of {username}: ");
        let ((), printed) = output::print_around(&head, change, self.text.reveal()).await?;
        if let Err(why) = printed {
            let undone = undo.await.with_context(|| format!("{username}: {why}: nobody has seen the new password"))?;
            bail!("{username}: {why}: the new password could not be printed, so {undone}");
        }
        Ok(())
    }
}

impl PasswordSource {
    fn get(&self, username: &Username) -> anyhow::Result<NewPassword> {
        let text = if self.generate {
            // 122 bits from the operating system.
            Token::generate().reveal()
        } else if let Some(file) = &self.password_file {
            first_line(&**file)?
        } else if self.password_stdin {
            first_line(io::stdin())?
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

/// At once, while the command is still who started it: root may read what the owner of the database may not.
fn open_file(path: &str) -> io::Result<Arc<File>> {
    File::open(path).map(Arc::new)
}

/// The first line of a file or of standard input, without its end.
pub fn first_line(from: impl Read) -> anyhow::Result<String> {
    let mut line = String::new();
    io::BufReader::new(from.take(64 * 1024)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
