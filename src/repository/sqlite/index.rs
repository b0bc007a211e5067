//! The index that is written later: when the tail of the message log has grown long, it is sorted by recipient once and
//! written, in slices with the commits of messages, to the tables that find messages by recipient. Measured with 1,000
//! recipients: a run of 32,768 messages writes 1,000 rows, 20 bytes a message, whatever is stored already, where an
//! index kept up at each commit dirties a 4 KiB page for nearly every message.

use std::collections::{BTreeMap, HashSet};
use std::vec::IntoIter;

use super::checksum::{self, BYTES};
use super::direct::{Failure, WalConnection};
pub(super) use super::growth::{Growth, Tail, TailMessage};
use super::packed::{JsonbRows, USER, Unfit, WIDE};
use super::read_marks::{ReadMark, move_read_marks};
use crate::model::{Address, GroupId, MessageId, UserId};
use crate::repository::memory::mailboxes::{Mailboxes, UnreadMessage};
use crate::repository::memory::stored::StoredAmount;

/// So many, as a message of the tail counts them.
pub(crate) fn copies(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What the index has of a message: sender, number, bytes of text.
pub(crate) type Indexed = (i64, i64, u64);

/// A message that only the disk has.
pub(crate) fn unread_message((sender, id, bytes): Indexed, to: Address) -> UnreadMessage {
    UnreadMessage { id: MessageId(id), sender: UserId(sender), to, bytes, content: None }
}

/// A run in progress over a part of the tail. What fails half-way is begun anew.
#[derive(Debug)]
pub(super) struct IndexRun {
    to: MessageId,
    recipients: Vec<Address>,
    /// What each sender has stored by it.
    stored: Vec<(UserId, StoredAmount)>,
    /// Recipients and their messages, as JSON.
    mail: IntoIter<(i64, String)>,
    /// Senders and their messages, as JSON.
    sent: IntoIter<(i64, String)>,
    /// The first message of each sender to each account.
    correspondents: IntoIter<Correspondent>,
    /// Conversations and their messages, as JSON.
    conversations: IntoIter<(ConversationKey, String)>,
    size: Tail,
    /// The bytes of all rows.
    total: usize,
    /// The bytes of the rows that are not written yet.
    left: usize,
    /// Bytes that should have been written by now.
    owed: usize,
}

/// Recipient, sender, and the first message of the one to the other.
type Correspondent = (UserId, UserId, MessageId);
/// Two people, or one person and a group, the lower number first; for all of a group twice its number.
type ConversationKey = (i64, i64);

/// A slice waits until this many bytes are due, because each slice costs a statement.
const SLICE: usize = 8 << 10;
/// What is written at once when nothing else is committed, in bytes.
const LONG_SLICE: usize = 32 << 10;
/// What a row has beside its text in its statement, at the most.
const HEADER: usize = 5;
/// The bytes of a row of `correspondent`, all numbers, in its statement.
const NUMBERS: usize = 2 * USER + WIDE;

const MAIL: &str = "INSERT OR REPLACE INTO mail (run, recipient, checksum, messages)
    SELECT ?2, CAST(substr(v, 1, 10) AS INTEGER), substr(v, 11, 4), CAST(substr(v, 15) AS TEXT)
    FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1))";
const SENT: &str = "INSERT OR REPLACE INTO sent (run, sender, checksum, messages)
    SELECT ?2, CAST(substr(v, 1, 10) AS INTEGER), substr(v, 11, 4), CAST(substr(v, 15) AS TEXT)
    FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1))";
const CORRESPONDENT: &str = "INSERT OR IGNORE INTO correspondent (recipient, sender, first_id)
    SELECT CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11, 10) AS INTEGER), CAST(substr(v, 21, 14) AS INTEGER)
    FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1))";
const CONVERSATION: &str = "INSERT OR REPLACE INTO conversation (run, low, high, messages, earlier)
    SELECT ?2, w.low, w.high, messages, iif(EXISTS (SELECT 1 FROM run WHERE last = latest), latest, former)
    FROM (SELECT CAST(substr(v, 1, 10) AS INTEGER) AS low, CAST(substr(v, 11, 10) AS INTEGER) AS high,
            CAST(substr(v, 21) AS TEXT) AS messages
        FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1))) AS w
    LEFT JOIN pair ON pair.low = w.low AND pair.high = w.high";
const PAIR: &str = "INSERT INTO pair (low, high, latest)
    SELECT CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11, 10) AS INTEGER), ?2
    FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1)) WHERE true
    ON CONFLICT (low, high) DO UPDATE SET
        former = iif(EXISTS (SELECT 1 FROM run WHERE last = latest), latest, former), latest = excluded.latest";
const MAILBOX: &str = "INSERT INTO mailbox (user, messages, bytes, oldest)
    SELECT CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11, 14) AS INTEGER), CAST(substr(v, 25, 14) AS INTEGER),
        CAST(substr(v, 39, 14) AS INTEGER)
    FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1)) WHERE true
    ON CONFLICT (user) DO UPDATE SET messages = messages + excluded.messages, bytes = bytes + excluded.bytes,
        oldest = CASE messages WHEN 0 THEN excluded.oldest ELSE oldest END";

const STORED: &str = "INSERT INTO stored (user, messages, bytes)
    SELECT CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11, 14) AS INTEGER), CAST(substr(v, 25, 14) AS INTEGER)
    FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1)) WHERE true
    ON CONFLICT (user) DO UPDATE SET messages = messages + excluded.messages, bytes = bytes + excluded.bytes";
const RUN: &str = "INSERT INTO run (last) VALUES (?1)";
const REMOVED: &str = "UPDATE stored SET messages = stored.messages - gone.messages, bytes = stored.bytes - gone.bytes
    FROM (SELECT sender, count(*) AS messages, sum(bytes) AS bytes FROM removed WHERE id <= ?1 GROUP BY sender) AS gone
    WHERE user = gone.sender";

impl IndexRun {
    /// Sorts the tail, which takes milliseconds.
    pub(super) fn new(mut tail: Vec<TailMessage>, size: Tail) -> IndexRun {
        let to = tail.last().map_or(MessageId(0), |last| last.id);
        tail.sort_unstable_by_key(|m| (m.to, m.id));
        let by_recipient = tail.chunk_by(|a, b| a.to == b.to);
        let (mut mail, mut recipients, mut correspondents) = (Vec::new(), Vec::new(), Vec::new());
        for messages in by_recipient {
            let rows: Vec<_> = messages.iter().map(|m| (m.sender.0, m.id.0, m.bytes)).collect();
            let json = serde_json::to_string(&rows).expect("numbers are JSON");
            mail.push((messages[0].to.number(), json));
            recipients.push(messages[0].to);
            if let Address::User(recipient) = messages[0].to {
                let mut senders = HashSet::new();
                let first = messages.iter().filter(|m| senders.insert(m.sender));
                correspondents.extend(first.map(|m| (recipient, m.sender, m.id)));
            }
        }
        correspondents.sort_unstable();
        let stored = stored(&tail);
        let conversations = conversations(&tail);
        let sent = sent(&mut tail);
        let total = mail.iter().chain(&sent).map(|(_, json)| HEADER + USER + BYTES + json.len()).sum::<usize>()
            + correspondents.len() * (HEADER + NUMBERS)
            + conversations.iter().map(|(_, json)| HEADER + 2 * USER + json.len()).sum::<usize>();
        IndexRun {
            to,
            recipients,
            stored,
            mail: mail.into_iter(),
            sent: sent.into_iter(),
            correspondents: correspondents.into_iter(),
            conversations: conversations.into_iter(),
            size,
            total,
            left: total,
            owed: 0,
        }
    }

    /// The last message of the run.
    pub(super) fn to(&self) -> MessageId {
        self.to
    }

    /// Whose mail it is, each once.
    pub(super) fn recipients(&self) -> &[Address] {
        &self.recipients
    }

    /// Whether nothing is left to write but the end.
    pub(super) fn is_written(&self) -> bool {
        let [mail, sent] = [&self.mail, &self.sent].map(ExactSizeIterator::len);
        mail == 0 && sent == 0 && self.correspondents.len() == 0 && self.conversations.len() == 0
    }

    /// Whether to write a slice with a commit that adds so much to the tail. With no messages, a long slice is due.
    pub(super) fn is_due(&mut self, grown: Growth) -> bool {
        self.owed = match grown.messages {
            0 => LONG_SLICE,
            _ => self.owed.saturating_add(self.size.due_of(self.total, grown)),
        };
        self.owed >= SLICE.min(self.left) && !self.is_written()
    }

    /// Writes what is due, in the transaction that is open, if there is one.
    pub(super) async fn slice(&mut self, db: &mut WalConnection) -> Result<(), Failure> {
        let mut owed = std::mem::take(&mut self.owed);
        while owed > 0 && !self.is_written() {
            let written = self.rows(db, owed).await?;
            owed = owed.saturating_sub(written);
            self.left = self.left.saturating_sub(written);
        }
        Ok(())
    }

    /// Writes rows of one table, of about so many bytes; gives how many it was.
    async fn rows(&mut self, db: &mut WalConnection, owed: usize) -> Result<usize, Failure> {
        let rows = if self.mail.len() > 0 {
            let rows = by_number(&mut self.mail, self.to, owed)?;
            db.execute(MAIL, (&rows, self.to.0)).await?;
            rows
        } else if self.sent.len() > 0 {
            let rows = by_number(&mut self.sent, self.to, owed)?;
            db.execute(SENT, (&rows, self.to.0)).await?;
            rows
        } else if self.correspondents.len() > 0 {
            let count = owed.div_ceil(NUMBERS);
            let mut rows = JsonbRows::with_capacity(count.min(self.correspondents.len()), NUMBERS);
            for (recipient, sender, first) in self.correspondents.by_ref().take(count) {
                rows.row(&[(recipient.0, USER), (sender.0, USER), (first.0, WIDE)], "")?;
            }
            let rows = rows.finish();
            db.execute(CORRESPONDENT, (&rows,)).await?;
            rows
        } else {
            let mut rows = JsonbRows::with_capacity(1, owed.min(self.left));
            for ((low, high), json) in self.conversations.by_ref() {
                rows.row(&[(low, USER), (high, USER)], &json)?;
                if rows.len() >= owed {
                    break;
                }
            }
            let rows = rows.finish();
            // First what is earlier, then that it is.
            db.execute(CONVERSATION, (&rows, self.to.0)).await?;
            db.execute(PAIR, (&rows, self.to.0)).await?;
            rows
        };
        Ok(rows.len())
    }

    /// Moves the watermark to the end of the run and counts its unread messages. All of the run is written. `groups`
    /// are the groups of the run, with everybody who may have got a message. Gives the accounts that may have mail in
    /// the run.
    pub(crate) async fn finish(
        &self,
        db: &mut WalConnection,
        mailboxes: &Mailboxes,
        groups: &[(GroupId, Vec<UserId>)],
        may_be_ahead: bool,
    ) -> Result<Vec<UserId>, Failure> {
        let stored = self.stored_rows()?;
        let of_groups = groups.iter().flat_map(|(_, users)| users).copied();
        let mut users: Vec<UserId> =
            self.recipients.iter().filter_map(|recipient| recipient.user()).chain(of_groups).collect();
        users.sort_unstable();
        users.dedup();
        let marks = self.read_marks(mailboxes, groups);
        let mut rows = JsonbRows::with_capacity(users.len(), USER + 3 * WIDE);
        for (user, unread) in mailboxes.unread_up_to(self.to, &users) {
            let [messages, bytes] = [unread.messages, unread.bytes].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
            rows.row(&[(user.0, USER), (messages, WIDE), (bytes, WIDE), (unread.oldest.0, WIDE)], "")?;
        }
        db.execute("BEGIN IMMEDIATE", ()).await?;
        if rows.rows() > 0 {
            db.execute(MAILBOX, (rows.finish(),)).await?;
        }
        if stored.rows() > 0 {
            db.execute(STORED, (stored.finish(),)).await?;
        }
        db.execute(REMOVED, (self.to.0,)).await?;
        db.execute("DELETE FROM removed WHERE id <= ?1", (self.to.0,)).await?;
        move_read_marks(db, &marks, may_be_ahead).await?;
        db.execute(RUN, (self.to.0,)).await?;
        db.execute("COMMIT", ()).await?;
        Ok(users)
    }

    /// The same where nobody has a mailbox yet: in a copy that is being made, in the transaction that is open.
    pub(super) async fn finish_without_mail(&self, db: &mut WalConnection) -> Result<(), Failure> {
        db.execute(STORED, (self.stored_rows()?.finish(),)).await?;
        db.execute(RUN, (self.to.0,)).await.map(drop)
    }

    /// What each sender has stored by it.
    fn stored_rows(&self) -> Result<JsonbRows, Unfit> {
        let mut stored = JsonbRows::with_capacity(self.stored.len(), USER + 2 * WIDE);
        for (user, amount) in &self.stored {
            let [messages, bytes] = [amount.messages, amount.bytes].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
            stored.row(&[(user.0, USER), (messages, WIDE), (bytes, WIDE)], "")?;
        }
        Ok(stored)
    }

    /// The read marks of members, also of those who got no message: no mark is older than one run.
    fn read_marks(&self, mailboxes: &Mailboxes, groups: &[(GroupId, Vec<UserId>)]) -> Vec<ReadMark> {
        let marks = groups.iter().flat_map(|(group, users)| users.iter().map(|user| (*group, *user)));
        let marks = marks.map(|(group, user)| {
            let oldest = mailboxes.oldest_of_all(user, &[]).map_or(i64::MAX, |oldest| oldest.0);
            (group.0, user.0, self.to.0.min(oldest - 1))
        });
        marks.collect()
    }
}

/// Rows of so many bytes, each with its checksum.
fn by_number(numbered: &mut IntoIter<(i64, String)>, run: MessageId, bytes: usize) -> Result<Vec<u8>, Unfit> {
    let mut rows = JsonbRows::with_capacity(1, bytes);
    for (number, json) in numbered {
        let checksum = checksum::of_mail(run.0, number, json.as_bytes());
        rows.row_with(&[(number, USER)], &checksum, &json)?;
        if rows.len() >= bytes {
            break;
        }
    }
    Ok(rows.finish())
}

/// The messages by sender, in their order.
fn sent(tail: &mut [TailMessage]) -> Vec<(i64, String)> {
    tail.sort_unstable_by_key(|m| (m.sender, m.id));
    let by_sender = tail.chunk_by(|a, b| a.sender == b.sender).map(|messages| {
        let ids: Vec<i64> = messages.iter().map(|m| m.id.0).collect();
        (messages[0].sender.0, serde_json::to_string(&ids).expect("numbers are JSON"))
    });
    by_sender.collect()
}

/// The messages by sender, counted.
fn stored(tail: &[TailMessage]) -> Vec<(UserId, StoredAmount)> {
    let mut stored: BTreeMap<UserId, StoredAmount> = BTreeMap::new();
    for message in tail {
        let amount = stored.entry(message.sender).or_default();
        amount.messages += 1;
        amount.bytes += message.bytes;
    }
    stored.into_iter().collect()
}

/// The messages by conversation, in their order, below 0 where the one with the higher number wrote. A message to a
/// group is in that of the whole group and in that of its sender with the group.
fn conversations(tail: &[TailMessage]) -> Vec<(ConversationKey, String)> {
    let mut all = Vec::with_capacity(tail.len());
    for TailMessage { id, sender: UserId(sender), to, .. } in tail {
        let target = to.number();
        let signed = if *sender <= target { id.0 } else { -id.0 };
        all.push(((target.min(*sender), target.max(*sender)), signed));
        if let Address::Group(_) = to {
            all.push(((target, target), id.0));
        }
    }
    all.sort_unstable_by_key(|(conversation, signed)| (*conversation, signed.abs()));
    let by_conversation = all.chunk_by(|(a, _), (b, _)| a == b).map(|messages| {
        let ids: Vec<i64> = messages.iter().map(|(_, signed)| *signed).collect();
        (messages[0].0, serde_json::to_string(&ids).expect("numbers are JSON"))
    });
    by_conversation.collect()
}

#[cfg(test)]
mod tests;
