//! `inbox` and `ack`: what waits is handed out and held until it is confirmed.

use tracing::debug;

use super::{Authenticated, Caller, Need, Outcome, Peer, Rules, Service, unavailable};
use crate::model::{Message, UserId};
use crate::protocol::{Refusal, Reply, SenderMessages};
use crate::repository::{AddressedMessage, InboxQuery, Lease, Session};

impl Service {
    pub(super) async fn inbox(&self, peer: &Peer, caller: &Caller) -> Result<Outcome, Refusal> {
        let Authenticated { token, session, .. } = caller.user()?;
        let Rules { drained_senders, inbox_reply_bytes, inbox_reply_messages: messages, .. } = self.rules();
        let bytes = inbox_reply_bytes.min(peer.reply_bytes);
        let want = InboxQuery { messages, bytes, drained_senders, session: Some(session.id) };
        let delivery = self.repository.lease(session.user.id, want).await.map_err(unavailable)?;
        // A session that ended meanwhile was handed nothing.
        self.authenticate(Some(*token)).await.admit(Need::Read).user()?;
        let messages = delivery.lease.as_ref().map_or(0, Lease::len);
        debug!(address = %peer.address, user = session.user.username.as_str(), messages, "inbox");
        let reply = self.inbox_reply(session, delivery.senders).await?;
        let reply = self.with_files(session.user.id, reply).await?;
        Ok(Outcome { lease: delivery.lease, ..caller.hears(reply) })
    }

    async fn inbox_reply(
        &self,
        reader: &Session,
        handed_out: Vec<(UserId, Vec<AddressedMessage>)>,
    ) -> Result<Reply, Refusal> {
        let mut senders: Vec<SenderMessages> = Vec::with_capacity(handed_out.len());
        for (sender, messages) in handed_out {
            let mut to_groups = self.groups_written_to(&messages).await?;
            let mut messages: Vec<Message> = messages.into_iter().map(|received| received.message).collect();
            let Some(sender) = self.repository.user(sender).await.map_err(unavailable)? else { continue };
            // A removed account and a later one of the same name share a key, as a JSON object wants it. The later one
            // has the newer messages.
            if let Some(same) = senders.iter_mut().find(|from| from.username == sender.username) {
                if messages.first().map(|message| message.id) < same.messages.first().map(|message| message.id) {
                    std::mem::swap(&mut same.messages, &mut messages);
                    std::mem::swap(&mut same.to_groups, &mut to_groups);
                }
                let before = same.messages.len();
                same.messages.extend(messages);
                same.to_groups.extend(to_groups.into_iter().map(|(place, group)| (before + place, group)));
                continue;
            }
            senders.push(SenderMessages {
                username: sender.username.clone(),
                sender: sender.display_name.to_string(),
                recipient: reader.user.display_name.to_string(),
                messages,
                to_groups,
            });
        }
        Ok(Reply::Inbox(senders))
    }

    /// The connection has confirmed what it was handed; says so when that is durable.
    pub(super) async fn ack(&self, caller: &Caller) -> Result<Outcome, Refusal> {
        caller.user()?;
        self.repository.confirmed().await.map_err(unavailable)?;
        Ok(caller.hears(Reply::Acknowledged))
    }
}
