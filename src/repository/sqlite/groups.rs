//! Groups: answered from memory, changed by the writer. And messages to groups, each of which may be put into thousands
//! of mailboxes.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::change::{Change, Changed};
use super::group_changes::GroupChange;
use super::long_sends::HeavyTurn;
use super::send_keys::SendWaiter;
use super::writer::Job;
use super::writer::in_groups::COPIES_TOGETHER;
use super::{SqliteRepository, history, membership, stopped, unread_accounts, unread_log};
use crate::model::{GroupId, Label, UserId, Username};
use crate::repository::{
    Answer, Error, Group, GroupLimits, GroupMember, GroupReceipt, GroupRepository, GroupResult, NewGroup, NewMessage,
    PerMessage, SendResult,
};

impl SqliteRepository {
    async fn change_group(&self, change: GroupChange) -> Result<GroupResult, Error> {
        match self.change(Change::Group(change)).await? {
            Changed::Group(result) => Ok(result),
            Changed::User(_) | Changed::Rows(_) => Ok(GroupResult::Done),
        }
    }

    /// Waits, where these messages are heavy, until it is their turn.
    pub(super) async fn heavy_turn(&self, messages: &[NewMessage]) -> Option<HeavyTurn> {
        self.long_sends.turn(messages, |message| self.shared.copies_of(message.to)).await
    }

    /// Sends messages with one job.
    pub(super) async fn send_together(
        &self,
        messages: PerMessage<NewMessage>,
    ) -> Result<PerMessage<SendResult>, Error> {
        let (answer, queued) = oneshot::channel();
        self.jobs
            .push(Job::Send(messages, SendWaiter { key: None, file: None, answer }))
            .await
            .map_err(|_| stopped())?;
        queued.await.map_err(|_| stopped())?
    }

    /// Sends messages one job after the other, so that no job has too many copies.
    pub(super) async fn send_in_parts(
        &self,
        messages: PerMessage<NewMessage>,
    ) -> Result<PerMessage<SendResult>, Error> {
        let mut results = PerMessage::with_capacity(messages.len());
        let (mut part, mut copies) = (PerMessage::new(), 0);
        for message in messages {
            let more = self.shared.copies_of(message.to);
            if !part.is_empty() && copies + more > COPIES_TOGETHER {
                results.extend(self.send_together(std::mem::take(&mut part)).await?);
                copies = 0;
            }
            copies += more;
            part.push(message);
        }
        results.extend(self.send_together(part).await?);
        Ok(results)
    }
}

impl GroupRepository for SqliteRepository {
    fn group_named<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Arc<Group>>> {
        let groups = self.shared.groups();
        Answer::ready(groups.named(name).and_then(|id| groups.group(id)))
    }

    fn group(&self, id: GroupId) -> Answer<'_, Option<Arc<Group>>> {
        Answer::ready(self.shared.groups().group(id))
    }

    fn groups_of(&self, user: UserId) -> Answer<'_, Vec<Arc<Group>>> {
        Answer::ready(self.shared.groups().of(user))
    }

    fn members(&self, group: GroupId) -> Answer<'_, Vec<GroupMember>> {
        let members = self.shared.groups().members(group).to_vec();
        let directory = self.shared.directory();
        let members = members
            .into_iter()
            .filter_map(|member| directory.user(member.user).map(|user| GroupMember { user, since: member.since }));
        Answer::ready(members.collect())
    }

    fn member_names(&self, group: GroupId, after: UserId) -> Answer<'_, Vec<(UserId, Username)>> {
        Answer::pending(
            async move { membership::member_names(&self.logins, group, after).await.map_err(unread_accounts) },
        )
    }

    fn group_on_disk(&self, name: Username) -> Answer<'_, Option<Group>> {
        Answer::pending(async move { membership::group_named(&self.logins, &name).await.map_err(unread_accounts) })
    }

    fn is_member(&self, group: GroupId, user: UserId) -> Answer<'_, bool> {
        Answer::ready(self.shared.groups().is_member(group, user))
    }

    fn group_password(&self, group: GroupId) -> Answer<'_, Option<String>> {
        Answer::pending(async move { membership::password_hash(&self.logins, group).await.map_err(unread_accounts) })
    }

    fn groups(&self, after: GroupId) -> Answer<'_, Vec<(Group, u64)>> {
        Answer::pending(async move { membership::groups(&self.logins, after).await.map_err(unread_accounts) })
    }

    fn add_group(&self, group: NewGroup, limits: GroupLimits) -> Answer<'_, GroupResult> {
        Answer::pending(self.change_group(GroupChange::Add(group, limits)))
    }

    fn join(&self, group: GroupId, user: UserId, limits: GroupLimits) -> Answer<'_, GroupResult> {
        Answer::pending(self.change_group(GroupChange::Join(group, user, limits)))
    }

    fn leave(&self, group: GroupId, user: UserId) -> Answer<'_, GroupResult> {
        Answer::pending(self.change_group(GroupChange::Leave(group, user)))
    }

    fn rename_group(&self, group: GroupId, display_name: Label) -> Answer<'_, GroupResult> {
        Answer::pending(self.change_group(GroupChange::Rename(group, display_name)))
    }

    fn remove_group(&self, group: GroupId) -> Answer<'_, GroupResult> {
        Answer::pending(self.change_group(GroupChange::Remove(group)))
    }

    fn group_receipts(&self, sender: UserId, group: GroupId, messages: usize) -> Answer<'_, Vec<GroupReceipt>> {
        Answer::pending(async move {
            history::group_receipts(&self.readers, sender, group, messages).await.map_err(unread_log)
        })
    }
}
