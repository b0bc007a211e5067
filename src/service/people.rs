//! What the page asks beside the commands of the wire: who there is, where I am logged in, and which number a message
//! got.

use super::{Authenticated, Caller, Peer, PerMessage, Service, unavailable};
use crate::model::{MessageId, SendKey, SessionId, Timestamp, UserId};
use crate::protocol::{Profile, Refusal, Send};
use crate::repository::StoredSession;

/// How many accounts one question looks at and how many it tells of, at the most.
const LOOKED_AT: usize = 10_000;
const TOLD_OF: usize = 50;

impl Service {
    /// The accounts that have this in their name or display name, whatever the case, and whether they are logged in;
    /// 50 at the most.
    pub(crate) async fn people(&self, caller: &Caller, part: &str) -> Result<Vec<(Profile, bool)>, Refusal> {
        self.must_be_open(caller)?;
        let part = part.to_lowercase();
        let online = self.repository.online().await.map_err(unavailable)?;
        let (mut found, mut after, mut looked_at) = (Vec::new(), UserId(0), 0);
        while looked_at < LOOKED_AT && found.len() < TOLD_OF {
            let page = self.repository.accounts(after).await.map_err(unavailable)?;
            let Some(last) = page.last() else { break };
            (after, looked_at) = (last.id, looked_at + page.len());
            let matching = page.into_iter().filter(|user| {
                let is_meant = |name: &str| name.to_lowercase().contains(&part);
                !user.disabled && (is_meant(user.username.as_str()) || is_meant(&user.display_name))
            });
            found.extend(matching.map(|user| {
                let is_online = online.contains(&user.username);
                (Profile { username: user.username, display_name: user.display_name.to_string() }, is_online)
            }));
        }
        found.truncate(TOLD_OF);
        Ok(found)
    }

    /// The caller's living sessions, oldest first, and which of them asks.
    pub(crate) async fn own_sessions(&self, caller: &Caller) -> Result<(Vec<StoredSession>, SessionId), Refusal> {
        self.must_be_open(caller)?;
        let Authenticated { session, .. } = caller.user()?;
        let (mut found, mut after) = (Vec::new(), SessionId(0));
        loop {
            let page = self.repository.logins(after, Some(session.user.id)).await.map_err(unavailable)?;
            let Some(last) = page.last() else { return Ok((found, session.id)) };
            after = last.id;
            found.extend(page);
        }
    }

    /// Ends sessions of the caller's: one, or all others. `false`: there is no such one.
    pub(crate) async fn end_own_sessions(&self, caller: &Caller, one: Option<SessionId>) -> Result<bool, Refusal> {
        let (own, current) = self.own_sessions(caller).await?;
        let meant = |id: &SessionId| one.map_or(*id != current, |one| *id == one);
        let ended: Vec<SessionId> = own.into_iter().map(|session| session.id).filter(meant).collect();
        let is_there = !ended.is_empty();
        self.repository.end_sessions(ended).await.map_err(unavailable)?;
        Ok(is_there || one.is_none())
    }

    /// Carries out one `send`, under a key or without one; gives the number of the message and when the send was asked.
    pub(crate) async fn send_one(
        &self,
        peer: &Peer,
        caller: &Caller,
        key: Option<SendKey>,
        send: Send,
    ) -> Result<(MessageId, Timestamp), Refusal> {
        let message = self.accept(peer, caller, send).await;
        let message = message.inspect_err(|refusal| self.refused_sends.count(refusal.reason()))?;
        let asked_at = message.sent_at;
        let queued = match key {
            Some(key) => self.repository.send_once(message, key).await.ok(),
            None => {
                self.repository.send(PerMessage::from([message])).await.ok().and_then(|queued| queued.first().copied())
            }
        };
        let (id, _) = self.stored(queued.as_ref())?;
        Ok((id, asked_at))
    }
}
