//! What an account that may administer does over HTTP: no more than the administrator's commands can.

use std::time::Duration;

use tracing::info;

use super::groups::refuse;
use super::{Caller, Peer, RegisterRule, Service, unavailable};
use crate::auth::password::Share;
use crate::model::{GroupId, InviteId, Label, LookupName, Password, SessionId, Token, UserId, Username};
use crate::protocol::Refusal;
use crate::repository::{
    AddUserResult, Group, GroupMember, NewInvite, NewUser, StoreStatus, StoredInvite, StoredSession, User,
};

/// An account to be made.
pub(crate) struct NewAccount {
    pub name: Username,
    pub display_name: Label,
    pub country: Label,
    pub password: Password,
    pub administrator: bool,
}

/// A change of an account.
#[derive(Default)]
pub(crate) struct AccountSettings {
    pub display_name: Option<Label>,
    pub country: Option<Label>,
    pub disabled: Option<bool>,
    pub administrator: Option<bool>,
}

impl Service {
    /// Whether the store takes messages and finds them.
    pub async fn is_healthy(&self) -> bool {
        self.repository.status().await.is_ok_and(|status| status.has_room)
    }

    /// Makes an account where there is none at all, which may administer. `false`: there is one.
    pub(crate) async fn add_first_account(&self, peer: &Peer, account: NewAccount) -> Result<bool, Refusal> {
        let user = self.with_hash(peer, account).await?;
        let name = user.username.clone();
        let added = self.repository.add_first_user(user).await.map_err(unavailable)?;
        if added == Some(AddUserResult::Added) {
            info!(address = %peer.address, user = name.as_str(), "first account made in a browser");
        }
        Ok(added == Some(AddUserResult::Added))
    }

    /// Whether there is no account at all.
    pub(crate) async fn is_empty(&self) -> Result<bool, Refusal> {
        Ok(self.repository.accounts(UserId(0)).await.map_err(unavailable)?.is_empty())
    }

    /// Hashes are made on the threads that check logins, and in the same queues.
    async fn with_hash(&self, peer: &Peer, account: NewAccount) -> Result<NewUser, Refusal> {
        let NewAccount { name, display_name, country, password, administrator } = account;
        let password_hash = self.hashed(peer, name.as_str(), &password).await?;
        Ok(NewUser { username: name, display_name, country, password_hash, administrator })
    }

    async fn hashed(&self, peer: &Peer, name: &str, password: &Password) -> Result<String, Refusal> {
        let attempt = self.attempt(peer, name, None).await?;
        let (network, address) = attempt.share();
        let share = Share { known: attempt.is_known(), network, address };
        let hash = self.passwords.hash(password.reveal().to_owned(), share).await;
        attempt.unchecked();
        hash.map_err(|_| Refusal::Busy)
    }

    /// Who administers is logged in, and may still.
    fn must_administer(&self, caller: &Caller) -> Result<(), Refusal> {
        self.must_be_open(caller)?;
        if caller.user()?.session.user.administrator { Ok(()) } else { Err(Refusal::NotAnAdministrator) }
    }

    /// For the log: everything that is changed in this way is written there.
    fn tell(&self, peer: &Peer, caller: &Caller, what: &'static str, whom: &str) {
        if let Ok(user) = caller.user() {
            let user = user.session.user.username.as_str();
            info!(address = %peer.address, user, whom, "an administrator in a browser: {what}");
        }
    }

    async fn account_named(&self, name: &str) -> Result<User, Refusal> {
        let user = self.repository.user_named(&LookupName::of(name)).await.map_err(unavailable)?;
        Ok(User::clone(&*user.ok_or(Refusal::UnknownRecipient)?))
    }

    /// The first accounts after this one, with what each has stored; none only at the end.
    pub(crate) async fn all_accounts(&self, caller: &Caller, after: UserId) -> Result<Vec<(User, u64)>, Refusal> {
        self.must_administer(caller)?;
        let users = self.repository.accounts(after).await.map_err(unavailable)?;
        let stored = self.repository.stored(users.iter().map(|user| user.id).collect()).await.map_err(unavailable)?;
        Ok(users.into_iter().zip(stored).collect())
    }

    /// Makes an account. `false`: the name is taken.
    pub(crate) async fn add_account(&self, peer: &Peer, caller: &Caller, account: NewAccount) -> Result<bool, Refusal> {
        self.must_administer(caller)?;
        let user = self.with_hash(peer, account).await?;
        let name = user.username.clone();
        let added = self.repository.add_user(user).await.map_err(unavailable)? == AddUserResult::Added;
        if added {
            self.tell(peer, caller, "account made", name.as_str());
        }
        Ok(added)
    }

    /// Changes an account. To shut one ends its sessions.
    pub(crate) async fn set_account(
        &self,
        peer: &Peer,
        caller: &Caller,
        name: &str,
        settings: AccountSettings,
    ) -> Result<(), Refusal> {
        self.must_administer(caller)?;
        let user = self.account_named(name).await?;
        let AccountSettings { display_name, country, disabled, administrator } = settings;
        if display_name.is_some() || country.is_some() {
            self.repository.set_profile(user.id, display_name, country).await.map_err(unavailable)?;
        }
        if let Some(administrator) = administrator.filter(|is| *is != user.administrator) {
            self.repository.set_administrator(user.id, administrator).await.map_err(unavailable)?;
        }
        if let Some(disabled) = disabled.filter(|is| *is != user.disabled) {
            self.repository.set_disabled(user.id, disabled).await.map_err(unavailable)?;
        }
        self.tell(peer, caller, "account changed", name);
        Ok(())
    }

    /// Gives an account another password, which ends its sessions, tokens and hooks.
    pub(crate) async fn set_account_password(
        &self,
        peer: &Peer,
        caller: &Caller,
        name: &str,
        password: &Password,
    ) -> Result<(), Refusal> {
        self.must_administer(caller)?;
        let user = self.account_named(name).await?;
        let hash = self.hashed(peer, name, password).await?;
        self.must_administer(caller)?;
        self.repository.set_password(user.id, hash).await.map_err(unavailable)?;
        self.tell(peer, caller, "password set", name);
        Ok(())
    }

    /// Removes an account; gives how many unread messages went with it.
    pub(crate) async fn remove_account(&self, peer: &Peer, caller: &Caller, name: &str) -> Result<u64, Refusal> {
        self.must_administer(caller)?;
        let user = self.account_named(name).await?;
        let removed = self.repository.remove_user(user.id).await.map_err(unavailable)?;
        self.tell(peer, caller, "account removed", name);
        Ok(removed.unread)
    }

    /// The first sessions, tokens and hooks after this one, of one account or of all; none only at the end.
    pub(crate) async fn all_sessions(
        &self,
        caller: &Caller,
        after: SessionId,
        of: Option<&str>,
    ) -> Result<Vec<StoredSession>, Refusal> {
        self.must_administer(caller)?;
        let of = match of {
            Some(name) => Some(self.account_named(name).await?.id),
            None => None,
        };
        self.repository.logins(after, of).await.map_err(unavailable)
    }

    /// Ends anybody's session, token or hook. `false`: there is no such one.
    pub(crate) async fn end_any_session(&self, peer: &Peer, caller: &Caller, id: SessionId) -> Result<bool, Refusal> {
        self.must_administer(caller)?;
        let is_there = self.repository.end_sessions(vec![id]).await.map_err(unavailable)? > 0;
        self.tell(peer, caller, "session ended", &id.to_string());
        Ok(is_there)
    }

    /// The first groups after this one, each with the number of its members; none only at the end.
    pub(crate) async fn all_groups(&self, caller: &Caller, after: GroupId) -> Result<Vec<(Group, u64)>, Refusal> {
        self.must_administer(caller)?;
        self.repository.groups(after).await.map_err(unavailable)
    }

    /// Who is in a group, and who owns it.
    pub(crate) async fn members_of(&self, caller: &Caller, name: &str) -> Result<Vec<GroupMember>, Refusal> {
        self.must_administer(caller)?;
        self.repository.members(self.any_group(name).await?).await.map_err(unavailable)
    }

    async fn any_group(&self, name: &str) -> Result<GroupId, Refusal> {
        let group = self.repository.group_named(&LookupName::of(name)).await.map_err(unavailable)?;
        Ok(group.ok_or(Refusal::UnknownGroup)?.id)
    }

    /// Removes a group, whoever owns it.
    pub(crate) async fn remove_any_group(&self, peer: &Peer, caller: &Caller, name: &str) -> Result<(), Refusal> {
        self.must_administer(caller)?;
        let group = self.any_group(name).await?;
        let _turn = self.group_turn(caller.user()?.session.user.id).await;
        refuse(self.repository.remove_group(group).await.map_err(unavailable)?)?;
        self.tell(peer, caller, "group removed", name);
        Ok(())
    }

    /// Takes an account out of a group, whoever owns it.
    pub(crate) async fn remove_any_member(
        &self,
        peer: &Peer,
        caller: &Caller,
        name: &str,
        member: &str,
    ) -> Result<(), Refusal> {
        self.must_administer(caller)?;
        let (group, user) = (self.any_group(name).await?, self.account_named(member).await?);
        let _turn = self.group_turn(caller.user()?.session.user.id).await;
        refuse(self.repository.leave(group, user.id).await.map_err(unavailable)?)?;
        self.tell(peer, caller, "taken out of a group", member);
        Ok(())
    }

    /// How the store is doing.
    pub(crate) async fn figures(&self, caller: &Caller) -> Result<StoreStatus, Refusal> {
        self.must_administer(caller)?;
        self.repository.status().await.map_err(unavailable)
    }

    /// Whether an invite is good for an account here.
    pub(crate) fn takes_invites(&self) -> bool {
        self.rules().register == RegisterRule::Invite
    }

    /// Makes a code, which nobody is told again.
    pub(crate) async fn add_invite(
        &self,
        peer: &Peer,
        caller: &Caller,
        label: Label,
        lasts: Duration,
    ) -> Result<Token, Refusal> {
        self.must_administer(caller)?;
        let code = Token::generate();
        let id =
            self.repository.add_invite(NewInvite { code: code.hash(), label, lasts }).await.map_err(unavailable)?;
        self.tell(peer, caller, "invite made", &id.to_string());
        Ok(code)
    }

    /// The first codes after this one that work; none only at the end.
    pub(crate) async fn all_invites(&self, caller: &Caller, after: InviteId) -> Result<Vec<StoredInvite>, Refusal> {
        self.must_administer(caller)?;
        self.repository.invites(after).await.map_err(unavailable)
    }

    /// Takes a code back. `false`: there is no such one.
    pub(crate) async fn remove_invite(&self, peer: &Peer, caller: &Caller, id: InviteId) -> Result<bool, Refusal> {
        self.must_administer(caller)?;
        let is_there = self.repository.remove_invite(id).await.map_err(unavailable)?;
        self.tell(peer, caller, "invite removed", &id.to_string());
        Ok(is_there)
    }
}
