//! `inbox` and `ack`, and what `wait` and `fetch` say: what waits is handed out and held until it is confirmed.

use tracing::debug;

use super::{Authenticated, Caller, Need, Outcome, Peer, Rules, Service, unavailable};
use crate::model::{Message, UserId};
use crate::protocol::{FamilyReply, FetchedMessage, Refusal, Reply, SenderMessages};
use crate::repository::{AddressedMessage, InboxQuery, Lease, Session, StoredMessage};

/// How what was handed out is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handout {
    /// By sender.
    BySender,
    /// By sender; of a file without its bytes, which are fetched by themselves.
    WithoutBytes,
    /// With numbers and times.
    Numbered,
}

/// Messages by sender, as the store hands them out.
type HandedOut = Vec<(UserId, Vec<AddressedMessage>)>;

impl Service {
    pub(super) async fn hand_out(&self, peer: &Peer, caller: &Caller, told: Handout) -> Result<Outcome, Refusal> {
        let Authenticated { token, session, .. } = caller.user()?;
        let Rules { drained_senders, inbox_reply_bytes, inbox_reply_messages: messages, .. } = self.rules();
        let bytes = inbox_reply_bytes.min(peer.reply_bytes);
        let drained_senders = drained_senders && told == Handout::BySender;
        let want = InboxQuery { messages, bytes, drained_senders, session: Some(session.id) };
        let delivery = self.repository.lease(session.user.id, want).await.map_err(unavailable)?;
        // A session that ended meanwhile was handed nothing.
        self.authenticate(Some(*token)).await.admit(Need::Read).user()?;
        let messages = delivery.lease.as_ref().map_or(0, Lease::len);
        debug!(address = %peer.address, user = session.user.username.as_str(), messages, "inbox");
        let reply = match told {
            Handout::BySender | Handout::WithoutBytes => self.inbox_reply(session, delivery.senders, told).await?,
            Handout::Numbered => self.fetch_reply(session, delivery.senders).await?,
        };
        Ok(Outcome { lease: delivery.lease, ..caller.hears(reply) })
    }

    async fn inbox_reply(&self, reader: &Session, handed_out: HandedOut, told: Handout) -> Result<Reply, Refusal> {
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
        let messages = senders.iter().flat_map(|from| &from.messages);
        let files = self.files_brought(reader.user.id, messages, told).await?;
        match files.is_empty() {
            true => Ok(Reply::Inbox(senders)),
            false => Ok(Reply::Family(FamilyReply::Inbox(senders, files))),
        }
    }

    async fn fetch_reply(&self, reader: &Session, handed_out: HandedOut) -> Result<Reply, Refusal> {
        let mut fetched = Vec::with_capacity(handed_out.iter().map(|(_, messages)| messages.len()).sum());
        for (sender, messages) in handed_out {
            for AddressedMessage { message, to } in messages {
                let stored = StoredMessage { message, sender, to, read_at: None, readers: None };
                fetched.push(FetchedMessage { entry: self.entry(&reader.user, stored).await?, file: None });
            }
        }
        fetched.sort_unstable_by_key(|fetched| fetched.entry.message.id);
        let messages = fetched.iter().map(|fetched| &fetched.entry.message);
        for file in self.files_brought(reader.user.id, messages, Handout::Numbered).await? {
            if let Ok(place) = fetched.binary_search_by_key(&file.message, |fetched| fetched.entry.message.id) {
                fetched[place].file = Some(file);
            }
        }
        Ok(Reply::Fetched(fetched))
    }

    /// The connection has confirmed what it was handed; says so when that is durable.
    pub(super) async fn ack(&self, caller: &Caller) -> Result<Outcome, Refusal> {
        caller.user()?;
        self.repository.confirmed().await.map_err(unavailable)?;
        Ok(caller.hears(Reply::Acknowledged))
    }
}
