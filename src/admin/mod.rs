//! How an administrator reaches a running server: a Unix socket beside the database, for its owner and root only. It
//! works also when the ports are crowded. The server itself carries out what is asked there, so no second process
//! writes to the database.
//!
//! A connection carries one question and one reply. Each is a line of JSON of bounded length, and names the version of
//! the protocol. [`execute`] answers a question from any store. So a command that finds no server gets the same answer.

pub(crate) mod client;
mod groups;
mod invites;
pub(crate) mod path;
pub(crate) mod protocol;
pub(crate) mod server;

use self::protocol::{AdminCommand, AdminReply, ListedAccount, ListedSession};
use crate::model::{Label, LookupName, SessionId, Timestamp, UserId, Username};
use crate::repository::{AddUserResult, Error, NewUser, Pace, Repository, RoomInside, User};

/// Answers a question. An error is a line for the administrator.
pub(crate) async fn execute(repository: &dyn Repository, command: AdminCommand) -> Result<AdminReply, String> {
    Ok(match command {
        AdminCommand::Health => {
            // Goes through the writer: while that hangs, the server is not well.
            repository.confirmed().await.map_err(store)?;
            if !repository.status().await.map_err(store)?.has_room {
                return Err("no space on the disk: every send is refused, and mail can be read".to_owned());
            }
            AdminReply::Done { count: 0 }
        }
        AdminCommand::Account { name } => {
            let found = repository.account(username(&name)?).await.map_err(store)?;
            let mut found = accounts(repository, found.into_iter().collect()).await.map_err(store)?;
            AdminReply::Account { account: found.pop() }
        }
        AdminCommand::Accounts { after } => {
            let page = repository.accounts(UserId(after)).await.map_err(store)?;
            AdminReply::Accounts { accounts: accounts(repository, page).await.map_err(store)? }
        }
        AdminCommand::AddAccount { name, display_name, country, password_hash, administrator } => {
            let (display_name, country) = (shown(&display_name)?, shown_or_none(&country)?);
            let new = NewUser { username: username(&name)?, display_name, country, password_hash, administrator };
            AdminReply::Added { is_new: repository.add_user(new).await.map_err(store)? == AddUserResult::Added }
        }
        AdminCommand::PasswordHash { name } => {
            let user = find(repository, &name).await?.id;
            AdminReply::PasswordHash { hash: repository.password_hash(user).await.map_err(store)? }
        }
        AdminCommand::SetPassword { name, password_hash } => {
            repository.set_password(find(repository, &name).await?.id, password_hash).await.map_err(store)?;
            AdminReply::Done { count: 1 }
        }
        AdminCommand::SetProfile { name, display_name, country, administrator } => {
            let display_name = display_name.as_deref().map(shown).transpose()?;
            let country = country.as_deref().map(shown_or_none).transpose()?;
            let user = find(repository, &name).await?.id;
            repository.set_profile(user, display_name, country).await.map_err(store)?;
            if let Some(administrator) = administrator {
                repository.set_administrator(user, administrator).await.map_err(store)?;
            }
            AdminReply::Done { count: 1 }
        }
        AdminCommand::SetDisabled { name, disabled } => {
            repository.set_disabled(find(repository, &name).await?.id, disabled).await.map_err(store)?;
            AdminReply::Done { count: 1 }
        }
        AdminCommand::RemoveAccount { name } => {
            let user = find(repository, &name).await?.id;
            AdminReply::Done { count: repository.remove_user(user).await.map_err(store)?.unread }
        }
        AdminCommand::Logins { after, of } => logins(repository, SessionId(after), of).await?,
        AdminCommand::EndSessions { ids } => {
            let ids = ids.into_iter().map(SessionId).collect();
            AdminReply::Done { count: repository.end_sessions(ids).await.map_err(store)? }
        }
        AdminCommand::Group(question) => groups::execute(repository, question).await?,
        AdminCommand::Invite(question) => invites::execute(repository, question).await?,
        AdminCommand::GiveBack => room(repository.give_back(Pace::Steady).await.map_err(store)?),
        AdminCommand::Snapshot { process } => {
            repository.snapshot(process).await.map_err(store)?;
            AdminReply::Done { count: 0 }
        }
    })
}

fn room(RoomInside { given_bytes, free_bytes, can_be_given }: RoomInside) -> AdminReply {
    AdminReply::Room { given_bytes, free_bytes, can_be_given }
}

fn store(error: Error) -> String {
    format!("the store has not done it: {error}")
}

fn shown(text: &str) -> Result<Label, String> {
    Label::parse(text).map_err(|error| format!("{text:?}: {error}"))
}

fn shown_or_none(text: &str) -> Result<Label, String> {
    Label::parse_or_none(text).map_err(|error| format!("{text:?}: {error}"))
}

fn username(name: &str) -> Result<Username, String> {
    Username::parse(name).map_err(|error| format!("{name:?}: {error}"))
}

/// The living account of exactly this name.
async fn find(repository: &dyn Repository, name: &str) -> Result<User, String> {
    let nobody = || format!("{name:?}: there is no such account");
    let wanted = Username::stored(&LookupName::of(name));
    let found = repository.account(wanted.clone()).await.map_err(|error| error.to_string())?;
    found.filter(|user| user.username == wanted).ok_or_else(nobody)
}

async fn accounts(repository: &dyn Repository, users: Vec<User>) -> Result<Vec<ListedAccount>, Error> {
    let stored = repository.stored(users.iter().map(|user| user.id).collect()).await?;
    Ok(users.into_iter().zip(stored).map(|(user, stored)| account(user, stored)).collect())
}

fn account(user: User, stored_bytes: u64) -> ListedAccount {
    let Timestamp(created_at) = user.created_at;
    ListedAccount {
        id: user.id.0,
        username: user.username.to_string(),
        display_name: user.display_name.into(),
        country: user.country.to_string(),
        disabled: user.disabled,
        created_at,
        stored_bytes,
        administrator: user.administrator,
    }
}

async fn logins(repository: &dyn Repository, after: SessionId, of: Option<String>) -> Result<AdminReply, String> {
    let of = match of {
        Some(name) => Some(find(repository, &name).await?.id),
        None => None,
    };
    let logins = repository.logins(after, of).await.map_err(store)?;
    Ok(AdminReply::Logins { logins: logins.into_iter().map(login).collect() })
}

fn login(login: crate::repository::StoredSession) -> ListedSession {
    ListedSession {
        id: login.id.0,
        username: login.username.to_string(),
        address: login.address,
        created_at: login.created_at.0,
        last_used_at: login.last_used_at.0,
        label: login.label,
        scope: login.scope.map(|scope| scope.as_str().to_owned()),
    }
}
