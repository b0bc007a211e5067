//! One's own account, and who else there is.

use tracing::{info, warn};

use super::{Authenticated, Caller, Outcome, Peer, Service, TokenState, unavailable};
use crate::auth::password::Share;
use crate::model::{Label, LookupName, Password, SessionId, UserId};
use crate::protocol::{AccountCommand, AccountReply, OwnSession, Person, Profile, Refusal, Reply};
use crate::repository::{PasswordChange, StoredSession};

/// How many times one change checks the password, when the account gets another hash meanwhile each time.
const LOOKS: usize = 3;
/// How many accounts one answer has at the most.
const TOLD_OF: usize = 100;

/// Says whether a connection has shown a token of this account's.
pub(super) type Presence = Box<dyn Fn(UserId) -> bool + Send + Sync>;

impl Service {
    /// Sets who says which accounts are connected. Before this, none is.
    pub(crate) fn set_presence(&self, is_connected: impl Fn(UserId) -> bool + Send + Sync + 'static) {
        // It is set once, when the program is put together.
        let _ = self.presence.set(Box::new(is_connected));
    }

    /// Whether a client of this account is connected.
    pub(crate) fn is_online(&self, user: UserId) -> bool {
        self.presence.get().is_some_and(|is_connected| is_connected(user))
    }

    /// The same by name. A name that nobody has is not connected.
    pub(crate) async fn is_online_named(&self, name: &str) -> bool {
        let user = self.repository.user_named(name).await.ok().flatten();
        user.is_some_and(|user| self.is_online(user.id))
    }

    pub(super) async fn account(
        &self,
        peer: &Peer,
        caller: &Caller,
        command: AccountCommand,
    ) -> Result<Outcome, Refusal> {
        let reply = match command {
            AccountCommand::ChangePassword { old, new } => {
                self.change_password(peer, caller, &old, &new).await?;
                AccountReply::PasswordChanged
            }
            AccountCommand::Sessions => AccountReply::Sessions(self.own_sessions(caller).await?),
            AccountCommand::EndSession(id) => {
                if !self.end_own_sessions(caller, Some(id)).await? {
                    return Err(Refusal::UnknownSession);
                }
                if caller.user()?.session.id == id {
                    let reply = Reply::Account(AccountReply::SessionEnded);
                    return Ok(Outcome { reply, token: TokenState::Dead, lease: None });
                }
                AccountReply::SessionEnded
            }
            AccountCommand::Rename(name) => {
                self.rename(peer, caller, name).await?;
                AccountReply::Renamed
            }
            AccountCommand::People(prefix) => AccountReply::People(self.people_named(caller, &prefix).await?),
        };
        self.must_be_open(caller)?;
        Ok(caller.hears(Reply::Account(reply)))
    }

    /// Gives the caller another password and ends the other sessions. Throttled like a login, so that a person with a
    /// stolen token cannot find out the password.
    async fn change_password(
        &self,
        peer: &Peer,
        caller: &Caller,
        old: &Password,
        new: &Password,
    ) -> Result<(), Refusal> {
        let Authenticated { session, .. } = caller.user()?;
        let user = &session.user;
        let new = Password::parse(new.reveal()).map_err(Refusal::BadNewPassword)?;
        let attempt = self.attempt(peer, user.username.as_str(), Some(user)).await?;
        let (network, address) = attempt.share();
        let share = Share { known: attempt.is_known(), network, address };
        for _ in 0..LOOKS {
            let step = async {
                let hash = self.repository.password_hash(user.id).await.map_err(unavailable)?;
                let hash = hash.ok_or(Refusal::UnknownToken)?;
                let changed = self.passwords.change(old.spellings(), hash.clone(), new.reveal().to_owned(), share);
                let new_hash = changed.await.map_err(|_| Refusal::Busy)?.ok_or(Refusal::WrongPassword)?;
                let change =
                    PasswordChange { user: user.id, session: session.id, checked: hash, password_hash: new_hash };
                self.repository.change_password(change).await.map_err(unavailable)
            };
            match step.await {
                Ok(true) => {
                    attempt.succeeded();
                    info!(address = %peer.address, user = user.username.as_str(), "password changed");
                    return Ok(());
                }
                // The account has got another hash since, or the session has ended.
                Ok(false) => self.must_be_open(caller)?,
                Err(refusal @ (Refusal::Unavailable | Refusal::Busy)) => {
                    attempt.unchecked();
                    return Err(refusal);
                }
                Err(refusal) => {
                    warn!(address = %peer.address, user = user.username.as_str(), "password not changed: wrong password");
                    return Err(refusal);
                }
            }
        }
        Err(Refusal::Busy)
    }

    async fn rename(&self, peer: &Peer, caller: &Caller, name: Label) -> Result<(), Refusal> {
        self.must_be_open(caller)?;
        let user = &caller.user()?.session.user;
        self.repository.set_profile(user.id, Some(name), None).await.map_err(unavailable)?;
        info!(address = %peer.address, user = user.username.as_str(), "display name changed");
        Ok(())
    }

    /// The caller's living sessions, oldest first.
    async fn own_sessions(&self, caller: &Caller) -> Result<Vec<OwnSession>, Refusal> {
        let found = self.stored_sessions(caller, |stored| stored.scope.is_none()).await?;
        let Authenticated { session, .. } = caller.user()?;
        let own = found.into_iter().map(|stored| OwnSession {
            id: stored.id,
            created_at: stored.created_at,
            last_used_at: stored.last_used_at,
            address: stored.address,
            label: stored.label,
            is_current: stored.id == session.id,
        });
        Ok(own.collect())
    }

    /// Those of the caller's logins, tokens and hooks that are meant, oldest first.
    pub(super) async fn stored_sessions(
        &self,
        caller: &Caller,
        is_meant: impl Fn(&StoredSession) -> bool,
    ) -> Result<Vec<StoredSession>, Refusal> {
        self.must_be_open(caller)?;
        let Authenticated { session, .. } = caller.user()?;
        let (mut found, mut after) = (Vec::new(), SessionId(0));
        loop {
            let page = self.repository.logins(after, Some(session.user.id)).await.map_err(unavailable)?;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.id;
            found.extend(page.into_iter().filter(&is_meant));
        }
    }

    /// Ends sessions of the caller's: one, or all others. `false`: there is no such one.
    pub(crate) async fn end_own_sessions(&self, caller: &Caller, one: Option<SessionId>) -> Result<bool, Refusal> {
        let own = self.own_sessions(caller).await?;
        let is_meant = |session: &OwnSession| one.map_or(!session.is_current, |one| session.id == one);
        let ended: Vec<SessionId> = own.iter().filter(|session| is_meant(session)).map(|session| session.id).collect();
        let is_there = !ended.is_empty();
        self.repository.end_sessions(ended).await.map_err(unavailable)?;
        Ok(is_there || one.is_none())
    }

    /// The accounts whose names begin with this, whatever the case.
    async fn people_named(&self, caller: &Caller, prefix: &LookupName) -> Result<Vec<Person>, Refusal> {
        self.must_be_open(caller)?;
        self.must_have_directory()?;
        let found = self.repository.accounts_named(&prefix.to_lowercase(), TOLD_OF).await.map_err(unavailable)?;
        Ok(found.into_iter().map(|user| self.as_person(user)).collect())
    }

    /// Whether people may be told who there is.
    pub(super) fn must_have_directory(&self) -> Result<(), Refusal> {
        if self.rules().directory { Ok(()) } else { Err(Refusal::DirectoryOff) }
    }

    /// An account as others see it.
    pub(super) fn as_person(&self, user: crate::repository::User) -> Person {
        let is_online = self.is_online(user.id);
        Person { profile: Profile { username: user.username, display_name: user.display_name.into() }, is_online }
    }
}
