//! What is written when messages were read. A message to one person gets a receipt. For a message to a group the
//! member's read mark moves up. A message that was read before an older one is noted until the mark has passed it.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::Writer;
use crate::model::{Address, GroupId, MessageId, Timestamp, UserId};
use crate::repository::memory::mailboxes::UnreadMessage;
use crate::repository::sqlite::direct::Failure;
use crate::repository::sqlite::read_marks::{move_read_marks, note_read_ahead};

/// Retention may have removed a message that was leased when its recipient's account went.
const RECEIPT: &str = "INSERT OR IGNORE INTO receipt (id, delivered_at) SELECT value, ?2 FROM json_each(?1)
    WHERE EXISTS (SELECT 1 FROM message WHERE message.id = value)";

const UNCOUNT: &str = "UPDATE mailbox SET messages = messages - (value ->> 1), bytes = bytes - (value ->> 2)
    FROM json_each(?1) WHERE user = value ->> 0";

impl Writer {
    /// Takes messages that were read off the queue. Messages that are not indexed yet are not counted on the disk
    /// either.
    pub(super) async fn write_confirmed(
        &mut self,
        confirmed: &[(UserId, Vec<UnreadMessage>)],
        now: Timestamp,
    ) -> Result<(), Failure> {
        if confirmed.is_empty() {
            return Ok(());
        }
        let all =
            || confirmed.iter().flat_map(|(user, messages)| messages.iter().map(move |message| (user.0, message)));

        let own = all().filter(|(user, message)| message.to == Address::User(UserId(*user)));
        let ids: Vec<i64> = own.map(|(_, message)| message.id.0).collect();
        if !ids.is_empty() {
            let ids = serde_json::to_string(&ids).unwrap_or_default();
            self.db.execute(RECEIPT, (ids, now.0)).await?;
        }
        if all().any(|(user, message)| message.to != Address::User(UserId(user))) {
            self.write_read_marks(confirmed).await?;
        }

        let mut totals = BTreeMap::new();
        for (user, message) in all().filter(|(_, m)| m.id <= self.watermark) {
            let (messages, bytes) = totals.entry(user).or_insert((0, 0));
            *messages += 1;
            *bytes += i64::try_from(message.bytes).unwrap_or(0);
        }
        if !totals.is_empty() {
            let rows: Vec<_> = totals.into_iter().map(|(user, (messages, bytes))| [user, messages, bytes]).collect();
            let rows = serde_json::to_string(&rows).unwrap_or_default();
            self.db.execute(UNCOUNT, (rows,)).await?;
        }
        Ok(())
    }

    async fn write_read_marks(&mut self, confirmed: &[(UserId, Vec<UnreadMessage>)]) -> Result<(), Failure> {
        let mut by_reader: FxHashMap<UserId, Vec<(MessageId, Address)>> = FxHashMap::default();
        for (user, messages) in confirmed {
            by_reader.entry(*user).or_default().extend(messages.iter().map(|message| (message.id, message.to)));
        }
        // What this commit brings is newer still.
        let last = MessageId(self.next_id - 1);
        let (mut marks, mut ahead) = (Vec::new(), Vec::new());
        for (user, mut read) in by_reader {
            read.sort_unstable();
            let ids: Vec<MessageId> = read.iter().map(|(id, _)| *id).collect();
            let oldest = self.shared.mailboxes.oldest_of_all(user, &ids);
            let mark = oldest.map_or(last, |oldest| MessageId(oldest.0 - 1));
            let mut groups: Vec<GroupId> = Vec::new();
            for (id, to) in read {
                let Address::Group(group) = to else { continue };
                if !groups.contains(&group) {
                    groups.push(group);
                    marks.push((group.0, user.0, mark.0));
                }
                if id > mark {
                    ahead.push((group.0, user.0, id.0));
                }
            }
        }
        move_read_marks(&mut self.db, &marks, self.may_be_ahead).await?;
        if !ahead.is_empty() {
            // This stays when the commit fails: to look for something that is not there does no harm.
            self.may_be_ahead = true;
            note_read_ahead(&mut self.db, &ahead).await?;
        }
        Ok(())
    }
}
