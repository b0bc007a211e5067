//! Groups as the store gives and takes them. A group has its name from the same set as accounts.

use std::sync::Arc;

use super::{Answer, User};
use crate::model::{GroupId, Label, MessageId, Timestamp, UserId, Username};

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub id: GroupId,
    /// Its name on the wire.
    pub name: Username,
    /// Its name in messages.
    pub display_name: Box<str>,
    /// Who may remove members, and the group.
    pub owner: UserId,
    /// Removed. Only readers of its old messages still see it.
    pub removed: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A group to be made. Its owner is its first member.
#[derive(Clone)]
pub struct NewGroup {
    /// Its name on the wire.
    pub name: Username,
    /// Its name in messages.
    pub display_name: Label,
    /// Who makes it.
    pub owner: UserId,
    /// A PHC string; empty where anybody may join.
    pub password_hash: String,
}

/// How large groups may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupLimits {
    /// Groups in which one account may be.
    pub groups: usize,
    /// Members of one group.
    pub members: usize,
}

impl GroupLimits {
    /// The limits for somebody whom others put into a group: half of the places are for groups of his own choice.
    pub(crate) fn by_others(self) -> GroupLimits {
        GroupLimits { groups: self.groups.div_ceil(2), ..self }
    }
}

/// What became of a change of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupResult {
    /// It is done.
    Done,
    /// A living account or group has this name, or one that differs only in case.
    NameTaken,
    /// There is no such group, or no such account any more.
    Gone,
    /// Who was to leave is not in it.
    NotAMember,
    /// Who was to join is in it.
    AlreadyAMember,
    /// The group has as many members as one may have.
    GroupFull,
    /// The account is in as many groups as one may be.
    TooManyGroups,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The account.
    pub user: Arc<User>,
    /// The last message before it joined.
    pub since: MessageId,
}

/// How many members have read a message of a group, of those who got it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCount {
    /// Who have read it.
    pub read: u64,
    /// Who got it.
    pub of: u64,
}

/// A message to a group: its number, when it was sent, and how many have read it.
pub(crate) type GroupReceipt = (MessageId, Timestamp, ReadCount);

/// The store, as far as groups go.
pub trait GroupRepository {
    /// The living group of this name, case and all.
    fn group_named<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Arc<Group>>>;
    /// A group by number, removed ones too.
    fn group(&self, id: GroupId) -> Answer<'_, Option<Arc<Group>>>;
    /// The groups that an account is in, in the order of their numbers.
    fn groups_of(&self, user: UserId) -> Answer<'_, Vec<Arc<Group>>>;
    /// Who is in a group, in the order of the accounts' numbers.
    fn members(&self, group: GroupId) -> Answer<'_, Vec<GroupMember>>;
    /// The names of the first members of a group after this one, in the order of their numbers, none only at the end.
    /// From disk.
    fn member_names(&self, group: GroupId, after: UserId) -> Answer<'_, Vec<(UserId, Username)>>;
    /// The living group of this name, case and all. From disk, so also where memory holds no groups.
    fn group_on_disk(&self, name: Username) -> Answer<'_, Option<Group>>;
    /// Whether an account is in a group.
    fn is_member(&self, group: GroupId, user: UserId) -> Answer<'_, bool>;
    /// The PHC string of a living group; empty where anybody may join. From disk: it is needed only to join.
    fn group_password(&self, group: GroupId) -> Answer<'_, Option<String>>;
    /// The first living groups after this one, each with the number of its members, in the order of their numbers, none
    /// only at the end. From disk.
    fn groups(&self, after: GroupId) -> Answer<'_, Vec<(Group, u64)>>;

    /// Makes a group.
    fn add_group(&self, group: NewGroup, limits: GroupLimits) -> Answer<'_, GroupResult>;
    /// An account joins a group; it gets what is sent to it from now on.
    fn join(&self, group: GroupId, user: UserId, limits: GroupLimits) -> Answer<'_, GroupResult>;
    /// An account leaves a group and keeps the messages that it has got. When the owner leaves, the member who has been
    /// in it for longest becomes the owner. When the last member leaves, the group is removed.
    fn leave(&self, group: GroupId, user: UserId) -> Answer<'_, GroupResult>;
    /// Gives a group another display name.
    fn rename_group(&self, group: GroupId, display_name: Label) -> Answer<'_, GroupResult>;
    /// Removes a group. Its members keep what they have got; the name is free.
    fn remove_group(&self, group: GroupId) -> Answer<'_, GroupResult>;

    /// What became of the newest messages of `sender` to a group, oldest first, at most so many.
    fn group_receipts(&self, sender: UserId, group: GroupId, messages: usize) -> Answer<'_, Vec<GroupReceipt>>;
}
