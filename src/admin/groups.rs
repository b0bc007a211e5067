//! What an administrator asks of groups. No limit of `limits` holds for an administrator.

use super::protocol::{AdminReply, GroupQuestion, ListedGroup, ListedMember};
use super::{find, shown, store};
use crate::model::{GroupId, LookupName, Timestamp, UserId, Username};
use crate::repository::{Group, GroupLimits, GroupResult, NewGroup, Repository};

const NO_LIMITS: GroupLimits = GroupLimits { groups: usize::MAX, members: usize::MAX };

/// Answers a question. An error is a line for the administrator.
pub(super) async fn execute(repository: &dyn Repository, question: GroupQuestion) -> Result<AdminReply, String> {
    let (name, result) = match question {
        GroupQuestion::List { after } => return list(repository, GroupId(after)).await,
        GroupQuestion::Members { name, after } => return members(repository, &name, UserId(after)).await,
        GroupQuestion::Add { name, display_name, owner, password_hash } => {
            let username = Username::parse(&name).map_err(|error| format!("{name:?}: {error}"))?;
            if name.contains(',') {
                return Err(format!("{name:?}: a group's name has no comma"));
            }
            let (display_name, owner) = (shown(&display_name)?, find(repository, &owner).await?.id);
            let new = NewGroup { name: username, display_name, owner, password_hash };
            (name, repository.add_group(new, NO_LIMITS).await)
        }
        GroupQuestion::Join { name, user } => {
            let (group, user) = (group(repository, &name).await?.id, find(repository, &user).await?.id);
            (name, repository.join(group, user, NO_LIMITS).await)
        }
        GroupQuestion::Leave { name, user } => {
            let (group, user) = (group(repository, &name).await?.id, find(repository, &user).await?.id);
            (name, repository.leave(group, user).await)
        }
        GroupQuestion::Rename { name, display_name } => {
            let (group, display_name) = (group(repository, &name).await?.id, shown(&display_name)?);
            (name, repository.rename_group(group, display_name).await)
        }
        GroupQuestion::Remove { name } => {
            let group = group(repository, &name).await?.id;
            (name, repository.remove_group(group).await)
        }
    };
    let why = match result.map_err(store)? {
        GroupResult::Done => return Ok(AdminReply::Done { count: 1 }),
        GroupResult::NameTaken => "an account or a group has this name (names differ in more than case)",
        GroupResult::Gone => "there is no such group any more",
        GroupResult::NotAMember => "the account is not in the group",
        GroupResult::AlreadyAMember => "the account is in the group already",
        GroupResult::GroupFull | GroupResult::TooManyGroups => "there are too many",
    };
    Err(format!("{name}: {why}"))
}

/// The living group of exactly this name.
async fn group(repository: &dyn Repository, name: &str) -> Result<Group, String> {
    let none = || format!("{name:?}: there is no such group");
    let wanted = Username::stored(&LookupName::of(name));
    repository.group_on_disk(wanted).await.map_err(store)?.ok_or_else(none)
}

async fn list(repository: &dyn Repository, after: GroupId) -> Result<AdminReply, String> {
    let mut groups = Vec::new();
    for (group, members) in repository.groups(after).await.map_err(store)? {
        let Timestamp(created_at) = group.created_at;
        groups.push(ListedGroup {
            id: group.id.0,
            name: group.name.to_string(),
            display_name: group.display_name.into(),
            owner: group.owner.0,
            members,
            created_at,
        });
    }
    Ok(AdminReply::Groups { groups })
}

async fn members(repository: &dyn Repository, name: &str, after: UserId) -> Result<AdminReply, String> {
    let group = group(repository, name).await?;
    let members = repository.member_names(group.id, after).await.map_err(store)?;
    let listed = |(id, name): (UserId, Username)| ListedMember {
        id: id.0,
        username: name.to_string(),
        is_owner: id == group.owner,
    };
    Ok(AdminReply::Members { members: members.into_iter().map(listed).collect() })
}
