//! `follow`, `conversations` and `read`, for clients that keep their own place in the message log. Nothing is leased
//! here, so all sessions of an account see all its messages. What `read` names leaves the queue of all of them.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::{Authenticated, Caller, Need, Outcome, Peer, Rules, Service, unavailable};
use crate::model::{Address, MessageId, Username};
use crate::protocol::{
    ConversationEntry, ConversationKind, Conversations, FollowReply, HistoryEntry, Profile, ReadBy, Refusal, Reply,
};
use crate::repository::{
    ConversationQuery, ConversationSummary, FollowQuery, Following, HistoryQuery, StoredMessage, User,
};

/// How many messages `history` shows that was not told a number.
const HISTORY: usize = 20;

/// What a follower asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FollowRequest {
    /// Only messages after this one; `None`: after the newest that there is now.
    pub after: Option<MessageId>,
    /// How long to wait at the most.
    pub at_most: Duration,
    /// Not to wait where [`FollowReply::reads`] is not this.
    pub reads: Option<u64>,
}

impl Service {
    /// What the caller sent and received, as soon as there is something; nothing when the time is over or
    /// `interrupted` is ready.
    pub(crate) async fn follow<E>(
        &self,
        peer: &Peer,
        mut caller: Caller,
        mut asked: FollowRequest,
        interrupted: impl Future<Output = Result<(), E>>,
    ) -> Result<Outcome, E> {
        caller = caller.admit(Need::Read);
        let deadline = Instant::now() + asked.at_most.min(self.rules().wait_at_most);
        let mut interrupted = pin!(interrupted);
        loop {
            let (mut following, followed) = match self.look_for_more(peer, &caller, asked).await {
                Ok(looked) => looked,
                Err(refusal) => return Ok(caller.is_refused(refusal)),
            };
            let is_news = !followed.messages.is_empty() || followed.more;
            let was_read = asked.reads.is_some_and(|reads| reads != followed.reads);
            asked.after = Some(followed.next);
            let outcome = caller.hears(Reply::Follow(followed));
            if is_news || was_read {
                return Ok(outcome);
            }
            tokio::select! {
                biased;
                over = interrupted.as_mut() => return over.map(|()| outcome),
                () = following.heard() => {}
                () = sleep_until(deadline) => return Ok(outcome),
            }
            caller = self.authenticate(caller.user().ok().map(|user| user.token)).await.admit(Need::Read);
        }
    }

    /// First begins to listen for events, then looks at what is there, so that no message comes unnoticed in between.
    pub(crate) async fn look_for_more(
        &self,
        peer: &Peer,
        caller: &Caller,
        asked: FollowRequest,
    ) -> Result<(Following, FollowReply), Refusal> {
        let me = &caller.user()?.session.user;
        let following = self.repository.follow(me.id).await.map_err(unavailable)?;
        let reads = following.reads();
        let after = match asked.after {
            Some(after) => after,
            None => self.repository.last_message(me.id).await.map_err(unavailable)?,
        };
        let Rules { history_messages: messages, inbox_reply_bytes, .. } = self.rules();
        let page = FollowQuery { after, messages, bytes: inbox_reply_bytes.min(peer.reply_bytes) };
        let page = self.repository.messages_after(me.id, page).await.map_err(unavailable)?;
        self.must_be_open(caller)?;
        let mut messages = Vec::with_capacity(page.messages.len());
        for message in page.messages {
            messages.push(self.entry(me, message).await?);
        }
        debug!(address = %peer.address, user = me.username.as_str(), messages = messages.len(), "follow");
        Ok((following, FollowReply { messages, next: page.next, more: page.more, reads }))
    }

    pub(super) async fn conversations(
        &self,
        peer: &Peer,
        caller: &Caller,
        before: Option<MessageId>,
    ) -> Result<Outcome, Refusal> {
        let me = &caller.user()?.session.user;
        let Rules { history_messages: conversations, inbox_reply_bytes, .. } = self.rules();
        let page = ConversationQuery { before, conversations, bytes: inbox_reply_bytes.min(peer.reply_bytes) };
        Ok(caller.hears(Reply::Conversations(self.conversation_page(me, page).await?)))
    }

    /// A part of `me`'s conversations.
    pub(super) async fn conversation_page(&self, me: &User, page: ConversationQuery) -> Result<Conversations, Refusal> {
        let page = self.repository.conversations(me.id, page).await.map_err(unavailable)?;
        let mut list = Vec::with_capacity(page.conversations.len());
        for ConversationSummary { with, newest, unread, read_to, other_read_to } in page.conversations {
            let (with, newest) = (self.profile(me, with).await?, self.entry(me, newest).await?);
            list.push(ConversationEntry { with, kind: newest.kind, unread, read_to, other_read_to, newest });
        }
        Ok(Conversations { list, next: page.next })
    }

    pub(super) async fn history(
        &self,
        peer: &Peer,
        caller: &Caller,
        username: &str,
        before: Option<MessageId>,
        count: Option<u64>,
    ) -> Result<Outcome, Refusal> {
        let me = &caller.user()?.session.user;
        let other = self.repository.recipient(username).await.map_err(unavailable)?;
        let other = other.ok_or(Refusal::UnknownRecipient)?;
        let Rules { history_messages, inbox_reply_bytes, .. } = self.rules();
        let count = count.map_or(HISTORY, |count| usize::try_from(count).unwrap_or(usize::MAX));
        let page = HistoryQuery {
            before,
            messages: count.min(history_messages),
            bytes: inbox_reply_bytes.min(peer.reply_bytes),
        };
        let entries = self.repository.conversation(me.id, other, page).await.map_err(unavailable)?;
        let mut past = Vec::with_capacity(entries.len());
        for entry in entries {
            past.push(self.entry(me, entry).await?);
        }
        Ok(caller.hears(Reply::History(past)))
    }

    pub(super) async fn read(
        &self,
        peer: &Peer,
        caller: &Caller,
        username: &str,
        to: MessageId,
    ) -> Result<Outcome, Refusal> {
        let Authenticated { session, .. } = caller.user()?;
        let me = session.user.id;
        let living = self.repository.recipient(username).await.map_err(unavailable)?;
        let mut senders: Vec<Address> = living.into_iter().collect();
        // A removed account or group may have had the same name, and its messages may still wait.
        for sender in self.repository.unread_senders(me).await.map_err(unavailable)? {
            if living != Some(sender) && self.name_of(sender).await?.is_some_and(|name| name.as_str() == username) {
                senders.push(sender);
            }
        }
        if senders.is_empty() {
            return Err(Refusal::UnknownRecipient);
        }
        let messages = self.repository.read(me, senders, to).await.map_err(unavailable)?;
        debug!(address = %peer.address, user = session.user.username.as_str(), messages, "read");
        Ok(caller.hears(Reply::Read(messages as u64)))
    }

    /// A message of `me`, as a reply shows it.
    pub(super) async fn entry(&self, me: &User, stored: StoredMessage) -> Result<HistoryEntry, Refusal> {
        let StoredMessage { message, sender, to, read_at, readers } = stored;
        let (from, to_whom) = (self.profile(me, sender.into()).await?, self.profile(me, to).await?);
        let kind = match to {
            Address::User(_) => ConversationKind::Person,
            Address::Group(_) => ConversationKind::Group,
        };
        let readers = readers.map(|count| ReadBy { read_by: count.read, of: count.of });
        Ok(HistoryEntry { message, from, to: to_whom, kind, read_at, readers })
    }

    /// Who, or which group, that is. A damaged message may name nobody; it is then one's own.
    async fn profile(&self, me: &User, of: Address) -> Result<Profile, Refusal> {
        match of {
            Address::User(user) => {
                let user = self.repository.user(user).await.map_err(unavailable)?;
                let user = user.as_deref().unwrap_or(me);
                Ok(Profile { username: user.username.clone(), display_name: user.display_name.to_string() })
            }
            Address::Group(group) => {
                let group = self.repository.group(group).await.map_err(unavailable)?;
                let group = group.ok_or(Refusal::Unavailable)?;
                Ok(Profile { username: group.name.clone(), display_name: group.display_name.to_string() })
            }
        }
    }

    /// The name of an account or a group, be it gone.
    async fn name_of(&self, of: Address) -> Result<Option<Username>, Refusal> {
        Ok(match of {
            Address::User(user) => {
                self.repository.user(user).await.map_err(unavailable)?.map(|user| user.username.clone())
            }
            Address::Group(group) => {
                self.repository.group(group).await.map_err(unavailable)?.map(|group| group.name.clone())
            }
        })
    }
}
