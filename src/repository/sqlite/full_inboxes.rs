//! Members of groups whose inboxes are full, and from which message on each gets nothing. The disk has only the
//! beginning and the end of such a time, so it costs the same for any number of messages.

use rustc_hash::FxHashMap;

use super::direct::{Failure, WalConnection};
use crate::model::{GroupId, MessageId, UserId};

/// A group and one of its members.
type MemberKey = (GroupId, UserId);

const FULL: &str = "UPDATE membership SET full_from = value ->> 2 FROM json_each(?1)
    WHERE grp = value ->> 0 AND member = value ->> 1 AND until IS NULL";
const MISSED: &str = "INSERT OR REPLACE INTO missed (grp, member, first_id, last_id)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1)";

/// Whose inboxes are full, each with the first message that it had no room for.
#[derive(Debug, Default)]
pub(crate) struct FullInboxes {
    from: FxHashMap<MemberKey, MessageId>,
}

/// What the messages of a commit change of that.
#[derive(Debug, Default)]
pub(crate) struct FullChanges {
    /// `None`: there is room again.
    from: FxHashMap<MemberKey, Option<MessageId>>,
    /// What a member did not get, from one message to another.
    missed: Vec<(MemberKey, MessageId, MessageId)>,
}

impl FullInboxes {
    /// Notes one.
    pub(crate) fn set(&mut self, group: GroupId, member: UserId, from: Option<MessageId>) {
        match from {
            Some(from) => _ = self.from.insert((group, member), from),
            None => _ = self.from.remove(&(group, member)),
        }
    }

    /// A group is gone.
    pub(crate) fn forget(&mut self, group: GroupId) {
        self.from.retain(|(of, _), _| *of != group);
    }

    /// What was written is so now.
    pub(crate) fn apply(&mut self, changes: FullChanges) {
        changes.from.into_iter().for_each(|((group, member), from)| self.set(group, member, from));
    }
}

impl FullChanges {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    /// A member had no room for a message.
    pub(crate) fn had_no_room(&mut self, known: &FullInboxes, place: MemberKey, id: MessageId) {
        if self.now(known, place).is_none() {
            self.from.insert(place, Some(id));
        }
    }

    /// A member got a message.
    pub(crate) fn had_room(&mut self, known: &FullInboxes, place: MemberKey, id: MessageId) {
        if known.from.is_empty() && self.from.is_empty() {
            return;
        }
        if let Some(from) = self.now(known, place) {
            self.missed.push((place, from, MessageId(id.0 - 1)));
            self.from.insert(place, None);
        }
    }

    fn now(&self, known: &FullInboxes, place: MemberKey) -> Option<MessageId> {
        self.from.get(&place).copied().unwrap_or_else(|| known.from.get(&place).copied())
    }

    /// Writes them, in the transaction that is open.
    pub(crate) async fn write(&self, db: &mut WalConnection) -> Result<(), Failure> {
        let json = |rows: Vec<Vec<Option<i64>>>| serde_json::to_string(&rows).expect("numbers are JSON");
        let full =
            self.from.iter().map(|((group, member), from)| vec![Some(group.0), Some(member.0), from.map(|id| id.0)]);
        db.execute(FULL, (json(full.collect()),)).await?;
        if !self.missed.is_empty() {
            let missed = self
                .missed
                .iter()
                .map(|((group, member), first, last)| vec![Some(group.0), Some(member.0), Some(first.0), Some(last.0)]);
            db.execute(MISSED, (json(missed.collect()),)).await?;
        }
        Ok(())
    }
}
