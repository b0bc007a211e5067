//! Groups: who may do what with them. A message to one is a `send`, whose recipients the store knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::{info, warn};

use super::{Authenticated, Caller, Outcome, Peer, Service, unavailable};
use crate::auth::password::{Share, Verdict};
use crate::auth::throttle::Attempt;
use crate::fair::{Turn, Turns};
use crate::model::{Address, GroupId, Label, LookupName, Password, UserId, Username};
use crate::protocol::{self, GroupCommand, Profile, Receipt, Refusal, Reply};
use crate::repository::{AddressedMessage, Group, GroupResult, NewGroup, User};

/// A group as its members see it.
#[derive(Debug)]
pub(crate) struct GroupProfile {
    /// Its names.
    pub profile: Profile,
    /// Who owns it.
    pub owner: Username,
    /// How many are in it.
    pub members: usize,
}

/// A member as the others see him.
#[derive(Debug)]
pub(crate) struct MemberProfile {
    /// His names.
    pub profile: Profile,
    /// Whether the group is his.
    pub is_owner: bool,
    /// Whether he is logged in.
    pub is_online: bool,
}

/// Changes of groups that the store has at once. Each account has one of them, because each costs as much as many
/// messages do.
const CHANGES_AT_ONCE: usize = 8;

/// The turns of those who change groups.
pub(super) fn turns() -> Arc<Turns<UserId>> {
    Turns::with(CHANGES_AT_ONCE, 1)
}

impl Service {
    /// Waits until an account may change a group. Its turn is over when what is given is dropped.
    pub(super) async fn group_turn(&self, user: UserId) -> Turn<UserId> {
        self.group_changes.take(user).await
    }

    pub(super) async fn group(&self, peer: &Peer, caller: &Caller, command: GroupCommand) -> Result<Outcome, Refusal> {
        let Authenticated { session, .. } = caller.user()?;
        let me = session.user.id;
        let limits = self.rules().groups;
        let result = match &command {
            GroupCommand::Create(name, password) => {
                let name = group_name(name).ok_or(Refusal::BadGroupName)?;
                let password_hash = match password {
                    Some(password) => self.hash_for_group(peer, &session.user, password).await?,
                    None => String::new(),
                };
                let display_name = Label::from(&name);
                let new = NewGroup { name, display_name, owner: me, password_hash };
                let _turn = self.group_turn(me).await;
                self.repository.add_group(new, limits).await
            }
            GroupCommand::Join(name, password) => {
                let group = self.group_named(name).await?;
                if !self.repository.is_member(group.id, me).await.map_err(unavailable)? {
                    self.check_group_password(peer, &group, password.as_ref()).await?;
                }
                let _turn = self.group_turn(me).await;
                self.repository.join(group.id, me, limits).await
            }
            GroupCommand::Rename(name, display_name) => {
                let _turn = self.group_turn(me).await;
                let group = self.group_owned_by(name, me).await?;
                self.repository.rename_group(group.id, display_name.clone()).await
            }
            GroupCommand::Leave(name) => {
                let _turn = self.group_turn(me).await;
                self.repository.leave(self.group_named(name).await?.id, me).await
            }
            GroupCommand::Invite(name, user) => {
                let _turn = self.group_turn(me).await;
                let group = self.group_of(name, me).await?;
                self.repository.join(group.id, self.user_named(user).await?, limits.by_others()).await
            }
            GroupCommand::Remove(name, user) => {
                let _turn = self.group_turn(me).await;
                let group = self.group_owned_by(name, me).await?;
                self.repository.leave(group.id, self.user_named(user).await?).await
            }
            GroupCommand::Delete(name) => {
                let _turn = self.group_turn(me).await;
                self.repository.remove_group(self.group_owned_by(name, me).await?.id).await
            }
            GroupCommand::List => {
                let groups = self.repository.groups_of(me).await.map_err(unavailable)?;
                let names = groups.iter().map(|group| group.name.clone()).collect();
                return Ok(caller.hears(Reply::Groups(names)));
            }
            GroupCommand::Members(name) => {
                let group = self.group_of(name, me).await?;
                let members = self.repository.members(group.id).await.map_err(unavailable)?;
                let names = members.iter().map(|member| member.user.username.clone()).collect();
                return Ok(caller.hears(Reply::Members(names)));
            }
        };
        refuse(result.map_err(unavailable)?)?;
        info!(address = %peer.address, user = session.user.username.as_str(), ?command, "a group was changed");
        Ok(caller.hears(Reply::GroupChanged))
    }

    /// The groups that the caller is in, in the order in which they were made.
    pub(crate) async fn own_groups(&self, caller: &Caller) -> Result<Vec<GroupProfile>, Refusal> {
        self.must_be_open(caller)?;
        let me = &caller.user()?.session.user;
        let groups = self.repository.groups_of(me.id).await.map_err(unavailable)?;
        let mut own = Vec::with_capacity(groups.len());
        for group in groups {
            let owner = self.repository.user(group.owner).await.map_err(unavailable)?;
            own.push(GroupProfile {
                owner: owner.as_ref().unwrap_or(me).username.clone(),
                members: self.repository.members(group.id).await.map_err(unavailable)?.len(),
                profile: Profile { username: group.name.clone(), display_name: group.display_name.to_string() },
            });
        }
        Ok(own)
    }

    /// Who is in a group of the caller's, in the order of the accounts.
    pub(crate) async fn group_members(
        &self,
        caller: &Caller,
        name: &LookupName,
    ) -> Result<Vec<MemberProfile>, Refusal> {
        self.must_be_open(caller)?;
        let group = self.group_of(name, caller.user()?.session.user.id).await?;
        let online: BTreeSet<Username> = self.repository.online().await.map_err(unavailable)?.into_iter().collect();
        let members = self.repository.members(group.id).await.map_err(unavailable)?;
        let profile = |user: &User| MemberProfile {
            profile: Profile { username: user.username.clone(), display_name: user.display_name.to_string() },
            is_owner: user.id == group.owner,
            is_online: online.contains(&user.username),
        };
        Ok(members.iter().map(|member| profile(&member.user)).collect())
    }

    /// A PHC string for the password of a new group. It counts as a login attempt of the caller, because it costs as
    /// much. It counts as a right one, because the caller learns nothing.
    async fn hash_for_group(&self, peer: &Peer, asker: &User, password: &Password) -> Result<String, Refusal> {
        let new = Password::parse(password.reveal()).map_err(Refusal::BadNewPassword)?;
        let attempt = self.attempt(peer, asker.username.as_str(), Some(asker)).await?;
        let hash = self.passwords.hash(new.reveal().to_owned(), share(&attempt)).await;
        attempt.unchecked();
        hash.map_err(|_| Refusal::Busy)
    }

    /// Lets somebody in who has the password of a group, or where there is none. Counted and held up as logins are.
    async fn check_group_password(
        &self,
        peer: &Peer,
        group: &Group,
        password: Option<&Password>,
    ) -> Result<(), Refusal> {
        let hash = self.repository.group_password(group.id).await.map_err(unavailable)?;
        let hash = hash.ok_or(Refusal::UnknownGroup)?;
        if hash.is_empty() {
            return Ok(());
        }
        let password = password.ok_or(Refusal::WrongPassword)?;
        let attempt = self.attempt(peer, group.name.as_str(), None).await?;
        match self.passwords.verify(password.spellings(), Some(hash), share(&attempt)).await {
            Ok(Verdict::Right | Verdict::RightWith { .. }) => {
                attempt.succeeded();
                Ok(())
            }
            Ok(Verdict::Wrong) => {
                warn!(address = %peer.address, group = group.name.as_str(), "a group was not joined: wrong password");
                Err(Refusal::WrongPassword)
            }
            Err(_) => {
                attempt.unchecked();
                Err(Refusal::Busy)
            }
        }
    }

    pub(super) async fn user_named(&self, name: &LookupName) -> Result<UserId, Refusal> {
        let user = self.repository.user_named(name).await.map_err(unavailable)?;
        Ok(user.ok_or(Refusal::UnknownRecipient)?.id)
    }

    pub(super) async fn group_named(&self, name: &LookupName) -> Result<Arc<Group>, Refusal> {
        self.repository.group_named(name).await.map_err(unavailable)?.ok_or(Refusal::UnknownGroup)
    }

    /// A group that somebody is in.
    pub(super) async fn group_of(&self, name: &LookupName, member: UserId) -> Result<Arc<Group>, Refusal> {
        let group = self.group_named(name).await?;
        match self.repository.is_member(group.id, member).await.map_err(unavailable)? {
            true => Ok(group),
            false => Err(Refusal::NotAMember),
        }
    }

    async fn group_owned_by(&self, name: &LookupName, owner: UserId) -> Result<Arc<Group>, Refusal> {
        let group = self.group_of(name, owner).await?;
        if group.owner == owner { Ok(group) } else { Err(Refusal::NotTheOwner) }
    }

    /// What became of what the caller sent to somebody or to a group.
    pub(super) async fn status(&self, caller: &Caller, username: &str) -> Result<Outcome, Refusal> {
        let me = &caller.user()?.session.user;
        let other = match self.repository.recipient(username).await.map_err(unavailable)? {
            Some(Address::User(other)) => other,
            Some(Address::Group(group)) => return self.group_status(caller, group).await,
            None => return Err(Refusal::UnknownRecipient),
        };
        let most = self.rules().history_messages;
        let receipts = self.repository.receipts(me.id, other, most).await.map_err(unavailable)?;
        let receipts = receipts.into_iter().map(|(id, sent_at, read_at)| Receipt { id, sent_at, read_at });
        Ok(caller.hears(Reply::Status(receipts.collect())))
    }

    /// How many have read what the caller sent to a group.
    async fn group_status(&self, caller: &Caller, group: GroupId) -> Result<Outcome, Refusal> {
        let me = &caller.user()?.session.user;
        let most = self.rules().history_messages;
        let receipts = self.repository.group_receipts(me.id, group, most).await.map_err(unavailable)?;
        let receipts = receipts.into_iter().map(|(id, sent_at, count)| protocol::GroupReadCount {
            id,
            sent_at,
            read_by: count.read,
            of: count.of,
        });
        Ok(caller.hears(Reply::GroupStatus(receipts.collect())))
    }

    /// Which of these messages were sent to a group: their places, and the display names of the groups.
    pub(super) async fn groups_written_to(
        &self,
        messages: &[AddressedMessage],
    ) -> Result<Vec<(usize, Arc<str>)>, Refusal> {
        let mut names: BTreeMap<GroupId, Arc<str>> = BTreeMap::new();
        let mut written_to = Vec::new();
        for (place, AddressedMessage { to, .. }) in messages.iter().enumerate() {
            let Some(group) = to.group() else { continue };
            let name = match names.get(&group) {
                Some(name) => name.clone(),
                None => {
                    let group = self.repository.group(group).await.map_err(unavailable)?;
                    let Some(group) = group else { continue };
                    let name: Arc<str> = (*group.display_name).into();
                    names.insert(group.id, name.clone());
                    name
                }
            };
            written_to.push((place, name));
        }
        Ok(written_to)
    }
}

/// The name that a group may have.
pub(crate) fn group_name(name: &str) -> Option<Username> {
    Username::parse(name).ok().filter(|name| !name.as_str().contains(','))
}

fn share(attempt: &Attempt<'_>) -> Share {
    let (network, address) = attempt.share();
    Share { known: attempt.is_known(), network, address }
}

pub(super) fn refuse(result: GroupResult) -> Result<(), Refusal> {
    match result {
        GroupResult::Done => Ok(()),
        GroupResult::NameTaken => Err(Refusal::GroupExists),
        GroupResult::Gone => Err(Refusal::UnknownGroup),
        GroupResult::NotAMember => Err(Refusal::NotAMember),
        GroupResult::AlreadyAMember => Err(Refusal::AlreadyAMember),
        GroupResult::GroupFull => Err(Refusal::GroupFull),
        GroupResult::TooManyGroups => Err(Refusal::TooManyGroups),
    }
}
