//! What the page asks beside the commands of the wire: who there is, which number a message got, and under which key it
//! was sent.

use super::{Caller, Peer, PerMessage, Service, unavailable};
use crate::model::{MessageId, SendKey, Timestamp, UserId};
use crate::protocol::{HistoryEntry, Person, Refusal, Send};

/// How many accounts one request looks at, and how many its reply has, at the most.
const LOOKED_AT: usize = 10_000;
const TOLD_OF: usize = 50;

impl Service {
    /// The accounts that have this in their name or display name, whatever the case, and whether they are connected;
    /// 50 at the most. Those first whose names begin with it: they are found among any number of accounts.
    pub(crate) async fn people(&self, caller: &Caller, part: &str) -> Result<Vec<Person>, Refusal> {
        self.must_be_open(caller)?;
        self.must_have_directory()?;
        let part = part.to_lowercase();
        let named = self.repository.accounts_named(&part, TOLD_OF).await.map_err(unavailable)?;
        let mut found: Vec<Person> = named.into_iter().map(|user| self.as_person(user)).collect();
        let (mut after, mut looked_at) = (UserId(0), 0);
        while looked_at < LOOKED_AT && found.len() < TOLD_OF {
            let page = self.repository.accounts(after).await.map_err(unavailable)?;
            let Some(last) = page.last() else { break };
            (after, looked_at) = (last.id, looked_at + page.len());
            let has_part = |name: &str| name.to_lowercase().contains(&part);
            for user in page {
                let is_meant = !user.disabled && (has_part(user.username.as_str()) || has_part(&user.display_name));
                if is_meant && !found.iter().any(|person| person.profile.username == user.username) {
                    found.push(self.as_person(user));
                }
            }
        }
        found.truncate(TOLD_OF);
        Ok(found)
    }

    /// Under which keys the caller sent those of these messages that are the caller's own.
    pub(crate) async fn keys_of(
        &self,
        caller: &Caller,
        messages: &[HistoryEntry],
    ) -> Result<Vec<(MessageId, SendKey)>, Refusal> {
        let me = &caller.user()?.session.user;
        let own = messages.iter().filter(|entry| entry.from.username == me.username).map(|entry| entry.message.id);
        let own: Vec<MessageId> = own.collect();
        if own.is_empty() {
            return Ok(Vec::new());
        }
        self.repository.keys_of(me.id, own).await.map_err(unavailable)
    }

    /// Carries out one `send`, under a key or without one; gives the number of the message, when the send was
    /// asked, and how many members of a group have no room for it.
    pub(crate) async fn send_one(
        &self,
        peer: &Peer,
        caller: &Caller,
        key: Option<SendKey>,
        send: Send,
    ) -> Result<(MessageId, Timestamp, u64), Refusal> {
        let message = self.accept(peer, caller, send).await;
        let message = message.inspect_err(|refusal| self.refused_sends.count(refusal.reason()))?;
        let asked_at = message.sent_at;
        let queued = match key {
            Some(key) => self.repository.send_once(message, key).await.ok(),
            None => {
                self.repository.send(PerMessage::from([message])).await.ok().and_then(|queued| queued.first().copied())
            }
        };
        let (id, not_delivered) = self.stored(queued.as_ref())?;
        Ok((id, asked_at, not_delivered))
    }
}
