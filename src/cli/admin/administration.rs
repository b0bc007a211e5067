//! Carries out `chatd user` and `chatd session`. If a server runs, the server does it. If not, the command works on the
//! database itself and reads only what it needs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};

use crate::admin::client::{self, NoAnswer};
use crate::admin::execute;
use crate::admin::protocol::{AdminCommand, AdminReply, ListedAccount, ListedSession};
use crate::cli::{open, output};
use crate::config::Config;
use crate::repository::sqlite::Role;
use crate::repository::{Repository, RoomInside, Store, file_of, shown};

/// How long a server may take for one reply.
const LIMIT: Duration = Duration::from_secs(60);

/// The way to accounts and sessions.
pub(crate) struct Administration<'a> {
    config: &'a Config,
    /// `None`: it is on servers, and no command asks a node.
    database: Option<PathBuf>,
    role: Role,
    /// Opened where no server runs.
    offline: Option<Arc<dyn Repository>>,
}

impl<'a> Administration<'a> {
    pub(crate) fn new(config: &'a Config) -> anyhow::Result<Administration<'a>> {
        let database = file_of(&config.database.url)?;
        Ok(Administration { config, database, role: Role::Admin, offline: None })
    }

    /// For a command that may be the first: if there is no database, it makes one and says where.
    pub(crate) fn of_first_account(config: &'a Config) -> anyhow::Result<Administration<'a>> {
        Ok(Administration { role: Role::Founder, ..Administration::new(config)? })
    }

    /// Asks one question and gives the reply.
    pub(crate) async fn ask(&mut self, command: AdminCommand) -> anyhow::Result<AdminReply> {
        if self.offline.is_none() {
            match self.database.as_deref().map(|file| client::ask(file, command.clone(), LIMIT)) {
                None | Some(Err(NoAnswer::NoServer(_))) => {
                    let Store { repository, is_new } = open(self.config, self.role).await?;
                    if is_new {
                        let url = || shown(&self.config.database.url);
                        let made = self.database.as_ref().map_or_else(url, |file| file.display().to_string());
                        output::note(format_args!("chatd: made a new database, {made}"));
                    }
                    self.offline = Some(repository);
                }
                Some(answer) => return Ok(answer?),
            }
        }
        match &self.offline {
            Some(repository) => execute(&**repository, command).await.map_err(|why| anyhow!(why)),
            None => bail!("the database is not open"),
        }
    }

    /// Carries out one command. Gives the count of the reply, whose meaning depends on the command.
    pub(crate) async fn carry_out(&mut self, command: AdminCommand) -> anyhow::Result<u64> {
        match self.ask(command).await? {
            AdminReply::Done { count } => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    /// The living account whose name differs from this in no more than case.
    pub(crate) async fn account(&mut self, name: &str) -> anyhow::Result<Option<ListedAccount>> {
        // A question alone makes no database: the next step may be refused.
        if self.role == Role::Founder && self.offline.is_none() && self.database.as_ref().is_some_and(|it| !it.exists())
        {
            return Ok(None);
        }
        match self.ask(AdminCommand::Account { name: name.to_owned() }).await? {
            AdminReply::Account { account } => Ok(account),
            other => Err(unexpected(&other)),
        }
    }

    /// All living accounts.
    pub(crate) async fn accounts(&mut self) -> anyhow::Result<Vec<ListedAccount>> {
        let mut all: Vec<ListedAccount> = Vec::new();
        loop {
            let after = all.last().map_or(0, |account| account.id);
            match self.ask(AdminCommand::Accounts { after }).await? {
                AdminReply::Accounts { accounts } if accounts.is_empty() => return Ok(all),
                AdminReply::Accounts { accounts } => all.extend(accounts),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// A page of living sessions after this one, of one account or of all; none at the end.
    pub(crate) async fn logins(&mut self, after: i64, of: Option<&str>) -> anyhow::Result<Vec<ListedSession>> {
        match self.ask(AdminCommand::Logins { after, of: of.map(str::to_owned) }).await? {
            AdminReply::Logins { logins } => Ok(logins),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives all free room inside the database back to the disk, as far as this is possible while a server runs.
    pub(crate) async fn give_back(&mut self) -> anyhow::Result<RoomInside> {
        let mut sum = 0;
        loop {
            let (given_bytes, free_bytes, can_be_given) = match self.ask(AdminCommand::GiveBack).await? {
                AdminReply::Room { given_bytes, free_bytes, can_be_given } => (given_bytes, free_bytes, can_be_given),
                other => return Err(unexpected(&other)),
            };
            sum += given_bytes;
            if given_bytes == 0 || free_bytes == 0 {
                return Ok(RoomInside { given_bytes: sum, free_bytes, can_be_given });
            }
        }
    }

    /// Call it at the end.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        match self.offline {
            Some(repository) => Ok(repository.close().await?),
            None => Ok(()),
        }
    }
}

/// What no server of this version answers.
pub(crate) fn unexpected(reply: &AdminReply) -> anyhow::Error {
    anyhow!("the server answers something else than was asked: {reply:?}")
}
