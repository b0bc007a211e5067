//! What only the words of the family ask.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::yield_now;

use super::groups::refuse;
use super::{Caller, Outcome, Peer, PerMessage, Rules, Service, unavailable};
use crate::model::{Address, GroupId, Label, LookupName, Password, UserId, Username};
use crate::protocol::family::OnlinePerson;
use crate::protocol::{FamilyCommand, FamilyReply, GroupCommand, HistoryEntry, Refusal, Reply, Send, SenderMessages};
use crate::repository::{HistoryQuery, NewMessage, SendResult};

/// How many names of a list are looked up before others have their turn, and how many messages go to the store at once,
/// at the most.
pub(super) const AT_ONCE: usize = 256;
/// How much text goes to the store at once, in bytes, unless a single message is longer.
const BYTES_AT_ONCE: usize = 8 << 20;
/// How many accounts a list looks at, at the most.
const ACCOUNTS: usize = 10_000;

impl Service {
    pub(super) async fn family(
        &self,
        peer: &Peer,
        caller: &Caller,
        command: FamilyCommand,
    ) -> Result<Outcome, Refusal> {
        match command {
            FamilyCommand::OnlinePeople => self.while_open(caller, self.online_people(caller)).await,
            FamilyCommand::Accounts => self.while_open(caller, self.account_names(caller)).await,
            FamilyCommand::Register(registration) => self.register(peer, registration, Label::default()).await,
            FamilyCommand::CreateGroup { group, third } => {
                self.while_open(caller, self.create_group(peer, caller, group, third)).await
            }
            FamilyCommand::SendToAll { whom, text } => self.send_to_all(peer, caller, &whom, text).await,
            FamilyCommand::SendFile { whom, name, data } => self.send_file(peer, caller, whom, name, data).await,
            FamilyCommand::Download { id, sender, name } => {
                self.while_open(caller, self.download(caller, id, sender, name)).await
            }
            FamilyCommand::Files => self.while_open(caller, self.file_names(caller)).await,
            FamilyCommand::GroupLog(group) => self.while_open(caller, self.group_log(peer, caller, &group)).await,
        }
    }

    async fn online_people(&self, caller: &Caller) -> Result<Outcome, Refusal> {
        caller.user()?;
        let online = self.repository.online().await.map_err(unavailable)?;
        let mut people = Vec::with_capacity(online.len());
        for username in online {
            // Who was removed meanwhile is not there.
            if let Some(user) = self.repository.user_named(username.as_str()).await.map_err(unavailable)? {
                let (display_name, country) = (user.display_name.clone(), user.country.clone());
                people.push(OnlinePerson { username, display_name, country });
            }
        }
        Ok(caller.hears(Reply::Family(FamilyReply::OnlinePeople(people))))
    }

    /// Sends to a group, or to each of a list of people. Names of the list that nobody has are left out.
    async fn send_to_all(&self, peer: &Peer, caller: &Caller, whom: &str, text: Arc<str>) -> Result<Outcome, Refusal> {
        let messages = self.addressed(peer, caller, whom, &text).await;
        let messages = messages.inspect_err(|refusal| self.refused_sends.count(refusal.reason()))?;
        let mut tally = SendTally::default();
        for some in messages.chunks((BYTES_AT_ONCE / text.len().max(1)).clamp(1, AT_ONCE)) {
            self.must_be_open(caller)?;
            let queued = self.repository.send(PerMessage::from(some)).await.map_err(unavailable)?;
            tally.add(self, &queued);
        }
        tally.reply().map(|reply| caller.hears(reply))
    }

    /// The messages for a group, or for each of a list of people.
    pub(super) async fn addressed(
        &self,
        peer: &Peer,
        caller: &Caller,
        whom: &str,
        text: &Arc<str>,
    ) -> Result<Vec<NewMessage>, Refusal> {
        let send = |name| Send { recipient: LookupName::of(name), text: text.clone() };
        if !whom.contains(',') {
            return Ok(vec![self.accept(peer, caller, send(whom)).await?]);
        }
        let (mut messages, mut known) = (Vec::new(), HashSet::new());
        for (place, name) in whom.split(',').enumerate() {
            if place % AT_ONCE == AT_ONCE - 1 {
                yield_now().await;
            }
            match self.accept(peer, caller, send(name)).await {
                Ok(message) if message.to.user().is_some_and(|user| known.insert(user)) => messages.push(message),
                Ok(_) | Err(Refusal::UnknownRecipient) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        if messages.is_empty() { Err(Refusal::UnknownRecipient) } else { Ok(messages) }
    }

    /// The newest messages of a group, by sender.
    async fn group_log(&self, peer: &Peer, caller: &Caller, group: &LookupName) -> Result<Outcome, Refusal> {
        let me = &caller.user()?.session.user;
        let group = self.group_of(group, me.id).await?;
        let Rules { history_messages: messages, inbox_reply_bytes, .. } = self.rules();
        let page = HistoryQuery { before: None, messages, bytes: inbox_reply_bytes.min(peer.reply_bytes) };
        let log = self.repository.conversation(me.id, Address::Group(group.id), page).await.map_err(unavailable)?;
        let mut senders: Vec<SenderMessages> = Vec::new();
        for stored in log {
            let HistoryEntry { message, from, to, .. } = self.entry(me, stored).await?;
            match senders.iter_mut().find(|sender| sender.username == from.username) {
                Some(sender) => sender.messages.push(message),
                None => senders.push(SenderMessages {
                    username: from.username,
                    sender: from.display_name,
                    recipient: to.display_name,
                    messages: vec![message],
                    to_groups: Vec::new(),
                }),
            }
        }
        Ok(caller.hears(Reply::Family(FamilyReply::GroupLog(senders))))
    }

    /// Makes a group. The third word is a password, or where it has commas and names accounts alone its first members.
    async fn create_group(
        &self,
        peer: &Peer,
        caller: &Caller,
        name: LookupName,
        third: Option<String>,
    ) -> Result<Outcome, Refusal> {
        let me = caller.user()?.session.user.id;
        let members = match &third {
            Some(third) => self.members_named(third).await?,
            None => None,
        };
        let password = third.filter(|_| members.is_none()).map(|word| Password::attempt(&word));
        let outcome = self.group(peer, caller, GroupCommand::Create(name.clone(), password)).await?;
        if let Some(members) = members {
            let group = self.group_named(&name).await?.id;
            let put_in = self.put_in(me, group, members.into_iter().filter(|member| *member != me)).await;
            if let Err(refusal) = put_in {
                // All of the group or none.
                let _ = self.repository.remove_group(group).await;
                return Err(refusal);
            }
        }
        Ok(outcome)
    }

    async fn put_in(&self, me: UserId, group: GroupId, members: impl Iterator<Item = UserId>) -> Result<(), Refusal> {
        let limits = self.rules().groups.by_others();
        for member in members {
            let _turn = self.group_turn(me).await;
            refuse(self.repository.join(group, member, limits).await.map_err(unavailable)?)?;
        }
        Ok(())
    }

    /// The accounts that a list names; `None`: it is no list, or has a name that nobody has.
    async fn members_named(&self, list: &str) -> Result<Option<HashSet<UserId>>, Refusal> {
        if !list.contains(',') {
            return Ok(None);
        }
        let mut members = HashSet::new();
        for name in list.split(',').filter(|name| !name.is_empty()) {
            match self.repository.user_named(name).await.map_err(unavailable)? {
                Some(user) => members.insert(user.id),
                None => return Ok(None),
            };
            if members.len() > self.rules().groups.members {
                return Err(Refusal::GroupFull);
            }
        }
        Ok(Some(members))
    }

    /// The names of the accounts that are not disabled, in the order of the alphabet.
    async fn account_names(&self, caller: &Caller) -> Result<Outcome, Refusal> {
        caller.user()?;
        self.must_have_directory()?;
        let (mut names, mut after, mut looked_at): (Vec<Username>, _, _) = (Vec::new(), UserId(0), 0);
        while looked_at < ACCOUNTS {
            let page = self.repository.accounts(after).await.map_err(unavailable)?;
            let Some(last) = page.last() else { break };
            (after, looked_at) = (last.id, looked_at + page.len());
            names.extend(page.into_iter().filter(|user| !user.disabled).map(|user| user.username));
        }
        names.sort_unstable();
        Ok(caller.hears(Reply::Family(FamilyReply::Accounts(names))))
    }
}

/// What became of several messages of one request.
#[derive(Default)]
pub(super) struct SendTally {
    sent: bool,
    not_delivered: u64,
    /// Why the first of those that were not stored was not.
    refused: Option<Refusal>,
}

impl SendTally {
    pub(super) fn add(&mut self, service: &Service, queued: &[SendResult]) {
        for result in queued {
            match service.stored(Some(result)) {
                Ok((_, members)) => {
                    self.sent = true;
                    self.not_delivered += members;
                }
                Err(refusal) => {
                    self.refused.get_or_insert(refusal);
                    self.not_delivered += 1;
                }
            }
        }
    }

    /// An error where nothing was stored.
    pub(super) fn reply(self) -> Result<Reply, Refusal> {
        match self.refused {
            Some(refusal) if !self.sent => Err(refusal),
            _ if self.not_delivered > 0 => Ok(Reply::SentToSome { not_delivered: self.not_delivered }),
            _ => Ok(Reply::Sent),
        }
    }
}
