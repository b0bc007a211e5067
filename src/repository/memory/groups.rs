//! Groups and their members in memory, so that a message to a group costs no query: the database is the truth, this is
//! its image. A backend changes it only after its commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::{GroupId, Label, MessageId, UserId, Username};
use crate::repository::Group;

/// What a commit changed of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupEvent {
    /// A group is new, or is like this, with these members in their order, after a message.
    Stored(Group, Vec<CurrentMember>, MessageId),
    /// Somebody is in a group, after a message.
    Joined(GroupId, CurrentMember),
    /// Somebody is not in a group any more, after a message.
    Left(GroupId, UserId, MessageId),
    /// A group has another owner.
    Owned(GroupId, UserId),
    /// A group has another display name.
    Renamed(GroupId, Label),
    /// A group is gone, after a message.
    Removed(GroupId, MessageId),
}

/// Somebody in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CurrentMember {
    /// The account.
    pub user: UserId,
    /// The last message before it joined.
    pub since: MessageId,
}

/// All groups, removed ones too.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: FxHashMap<GroupId, Members>,
    /// Living groups.
    names: FxHashMap<Username, GroupId>,
    /// Who is in which.
    of: FxHashMap<UserId, BTreeSet<GroupId>>,
}

#[derive(Debug)]
struct Members {
    group: Arc<Group>,
    /// In the order of their numbers.
    now: Vec<CurrentMember>,
    /// Who left, after which message, while some of what was sent before is in the tail.
    former: Vec<(UserId, MessageId)>,
}

impl Members {
    fn place(&self, user: UserId) -> Result<usize, usize> {
        self.now.binary_search_by_key(&user, |member| member.user)
    }
}

impl Groups {
    /// A group by number, removed ones too.
    pub(crate) fn group(&self, id: GroupId) -> Option<Arc<Group>> {
        self.groups.get(&id).map(|members| members.group.clone())
    }

    /// The living group of this name.
    pub(crate) fn named(&self, name: &str) -> Option<GroupId> {
        self.names.get(name).copied()
    }

    /// Who is in a group, in the order of their numbers.
    pub(crate) fn members(&self, id: GroupId) -> &[CurrentMember] {
        self.groups.get(&id).map_or(&[], |members| &members.now)
    }

    /// Whether somebody is in a group.
    pub(crate) fn is_member(&self, id: GroupId, user: UserId) -> bool {
        self.groups.get(&id).is_some_and(|members| members.place(user).is_ok())
    }

    /// The groups that somebody is in, in the order of their numbers.
    pub(crate) fn of(&self, user: UserId) -> Vec<Arc<Group>> {
        self.of.get(&user).into_iter().flatten().filter_map(|id| self.group(*id)).collect()
    }

    /// Who may have got messages of a group that are in the tail.
    pub(crate) fn readers(&self, id: GroupId) -> impl Iterator<Item = UserId> {
        let members = self.groups.get(&id).into_iter();
        members.flat_map(|members| {
            members.now.iter().map(|member| member.user).chain(members.former.iter().map(|(user, _)| *user))
        })
    }

    /// The tail begins after this message now.
    pub(crate) fn forget_former(&mut self, watermark: MessageId) {
        self.groups.values_mut().for_each(|members| members.former.retain(|(_, until)| *until > watermark));
    }

    /// Brings the image to what was committed.
    pub(crate) fn apply(&mut self, event: GroupEvent) {
        match event {
            GroupEvent::Stored(group, members, at) => self.put(group, members, at),
            GroupEvent::Joined(id, member) => {
                if let Some(members) = self.groups.get_mut(&id) {
                    match members.place(member.user) {
                        Ok(place) => members.now[place] = member,
                        Err(place) => members.now.insert(place, member),
                    }
                    self.of.entry(member.user).or_default().insert(id);
                }
            }
            GroupEvent::Left(id, user, until) => self.take_out(id, user, until),
            GroupEvent::Owned(id, owner) => {
                if let Some(members) = self.groups.get_mut(&id) {
                    members.group = Arc::new(Group { owner, ..Group::clone(&members.group) });
                }
            }
            GroupEvent::Renamed(id, display_name) => {
                if let Some(members) = self.groups.get_mut(&id) {
                    let display_name = display_name.as_str().into();
                    members.group = Arc::new(Group { display_name, ..Group::clone(&members.group) });
                }
            }
            GroupEvent::Removed(id, until) => {
                let users: Vec<UserId> = self.members(id).iter().map(|member| member.user).collect();
                users.into_iter().for_each(|user| self.take_out(id, user, until));
                if let Some(members) = self.groups.get_mut(&id) {
                    members.group = Arc::new(Group { removed: true, ..Group::clone(&members.group) });
                    self.names.remove(&members.group.name);
                }
            }
        }
    }

    /// Adds or replaces a group. Who is not among the members any more left before the message `at`.
    fn put(&mut self, group: Group, members: Vec<CurrentMember>, at: MessageId) {
        let id = group.id;
        let stays = |user: &UserId| members.binary_search_by_key(user, |member| member.user).is_ok();
        let left = self.members(id).iter().map(|member| member.user).filter(|user| !stays(user));
        let left: Vec<UserId> = left.collect();
        left.into_iter().for_each(|user| self.take_out(id, user, at));
        let former = self.groups.remove(&id).map_or_else(Vec::new, |former| {
            if self.names.get(&former.group.name) == Some(&id) {
                self.names.remove(&former.group.name);
            }
            former.former
        });
        if !group.removed {
            self.names.insert(group.name.clone(), id);
        }
        members.iter().for_each(|member| _ = self.of.entry(member.user).or_default().insert(id));
        self.groups.insert(id, Members { group: Arc::new(group), now: members, former });
    }

    /// Notes somebody who left before this process began.
    pub(crate) fn note_former(&mut self, id: GroupId, user: UserId, until: MessageId) {
        if let Some(members) = self.groups.get_mut(&id) {
            members.former.push((user, until));
        }
    }

    fn take_out(&mut self, id: GroupId, user: UserId, until: MessageId) {
        let Some(members) = self.groups.get_mut(&id) else { return };
        let Ok(place) = members.place(user) else { return };
        members.now.remove(place);
        members.former.push((user, until));
        if let Some(groups) = self.of.get_mut(&user) {
            groups.remove(&id);
            if groups.is_empty() {
                self.of.remove(&user);
            }
        }
    }
}
