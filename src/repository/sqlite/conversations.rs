//! The conversations of an account, newest first, and how far each side has read. The index of conversations has them
//! by pair; messages to a group are under the group alone. The tail has those of the last messages. Changes nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use sqlx::SqliteConnection;
use sqlx::types::Json;

use super::change::Change;
use super::contents;
use super::following::{fitting, own};
use super::group_mail::OwnGroups;
use super::history::{self, ConversationScan};
use super::{Error, SqliteRepository, unread_log};
use crate::model::{Address, GroupId, MessageId, UserId};
use crate::repository::memory::mailboxes::OldestUnread;
use crate::repository::{ConversationPage, ConversationQuery, ConversationSummary, HistoryQuery, StoredMessage};

const TAIL: &str = "SELECT iif(target = ?1, sender, target) AS other, max(id) FROM message
    WHERE id > (SELECT coalesce(max(last), 0) FROM run) AND (sender = ?1 OR target = ?1
        OR target IN (SELECT grp FROM membership WHERE member = ?1) AND EXISTS (SELECT 1 FROM membership
            WHERE member = ?1 AND grp = target AND since < id AND id <= coalesce(until, id)))
    GROUP BY other";
/// The next ?3 others after ?2, each with the newest message that the index has of the two, if that has any.
const WITH_HIGHER: &str = "WITH next AS (SELECT low, high, high AS other, latest, former FROM pair
        WHERE low = ?1 AND high > ?2 ORDER BY high LIMIT ?3";
const WITH_LOWER: &str = "WITH next AS (SELECT low, high, low AS other, latest, former FROM pair
        WHERE high = ?1 AND low > ?2 AND low < ?1 ORDER BY low LIMIT ?3";
/// The groups ?1.
const OF_GROUPS: &str = "WITH next AS (SELECT low, high, low AS other, latest, former FROM pair
        WHERE low = high AND low IN (SELECT value FROM json_each(?1))";
const NEWEST: &str = ") SELECT other, (SELECT abs(iif(json_valid(messages), messages, '[]') ->> '$[#-1]')
        FROM conversation AS c WHERE c.low = next.low AND c.high = next.high
            AND run = iif(EXISTS (SELECT 1 FROM run WHERE last = latest), latest, former))
    FROM next ORDER BY other";

/// How many others one query looks at.
const OTHERS: i64 = 1_000;

/// The newest message of each conversation in the answer: so many, newest first.
struct Newest {
    before: i64,
    most: usize,
    /// The least of them first.
    found: BinaryHeap<Reverse<(i64, Address)>>,
}

impl Newest {
    fn add(&mut self, id: i64, other: Address) {
        if id < self.before {
            self.found.push(Reverse((id, other)));
            if self.found.len() > self.most {
                self.found.pop();
            }
        }
    }
}

impl SqliteRepository {
    /// A part of somebody's conversations.
    pub(super) async fn conversations_of(
        &self,
        user: UserId,
        page: ConversationQuery,
    ) -> Result<ConversationPage, Error> {
        // One more, to see whether there are more.
        let (newest, groups) = self.newest_of(user, page.before, page.conversations + 1).await.map_err(unread_log)?;
        // A message that was committed a moment ago is in its mailbox when the writer has answered.
        self.rows(Change::Nothing).await?;
        let unread = self.unread_by_sender(user).await?;
        let mut messages = Vec::new();
        for (id, other) in newest.iter().take(page.conversations) {
            messages.push(self.newest_message(user, &groups, *other, *id).await.map_err(unread_log)?);
        }
        let lengths: Vec<(i64, Option<i64>)> = messages
            .iter()
            .map(|message| (0, message.as_ref().and_then(|message| i64::try_from(message.message.text.len()).ok())))
            .collect();
        let fits = fitting(&lengths, page.bytes);
        let next = newest.get(fits).and_then(|_| newest.get(fits.checked_sub(1)?)).map(|(id, _)| MessageId(*id));
        let mut conversations = Vec::with_capacity(fits);
        for ((_, other), message) in newest.into_iter().zip(messages).take(fits) {
            // All of it may have been removed since.
            let Some(message) = message else { continue };
            let newest = message.message.id;
            let other_read_to = self.read_to(other, user, newest).await?;
            let (unread, read_to) = match unread.get(&other) {
                Some((count, oldest)) => (*count, MessageId(oldest.0 - 1)),
                None => (0, newest),
            };
            conversations.push(ConversationSummary { with: other, newest: message, unread, read_to, other_read_to });
        }
        Ok(ConversationPage { conversations, next })
    }

    /// The newest message with each other, newest first.
    async fn newest_of(
        &self,
        user: UserId,
        before: Option<MessageId>,
        most: usize,
    ) -> sqlx::Result<(Vec<(i64, Address)>, OwnGroups)> {
        let mut newest = Newest { before: before.map_or(i64::MAX, |id| id.0), most, found: BinaryHeap::new() };
        let mut reader = self.readers.turn(user).await?;
        let tail: BTreeMap<i64, i64> =
            sqlx::query_as(TAIL).bind(user.0).fetch_all(reader.db()).await?.into_iter().collect();
        let groups = OwnGroups::of(reader.db(), user, MessageId(0)).await?;
        drop(reader);
        tail.iter().for_each(|(other, id)| newest.add(*id, groups.address(*other)));
        for with in [WITH_HIGHER, WITH_LOWER] {
            let mut after = if with == WITH_HIGHER { user.0 - 1 } else { i64::MIN };
            loop {
                let mut reader = self.readers.turn(user).await?;
                let others = indexed(reader.db(), with, user, after).await?;
                let Some((last, _)) = others.last() else { break };
                after = *last;
                // What he sent to a group is a pair, too; the conversation is all that was sent there.
                let people =
                    others.into_iter().filter(|(other, _)| !tail.contains_key(other) && !groups.contain(*other));
                people
                    .filter_map(|(other, id)| Some((id?, other)))
                    .for_each(|(id, other)| newest.add(id, UserId(other).into()));
            }
        }
        let untold: Vec<i64> = groups.numbers().filter(|group| !tail.contains_key(group)).collect();
        let sql = format!("{OF_GROUPS} {NEWEST}");
        let mut reader = self.readers.turn(user).await?;
        let of_groups = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(Json(&untold));
        let of_groups: Vec<(i64, Option<i64>)> = of_groups.fetch_all(reader.db()).await?;
        drop(reader);
        for (group, id) in of_groups {
            let Some(id) = id else { continue };
            let own = match groups.have(group, id) {
                true => Some(id),
                // It came after he had left; he may have something from before.
                false if groups.may_have_before(group, id) => {
                    history::newest_of_group(&self.readers, user, GroupId(group)).await?
                }
                false => None,
            };
            own.into_iter().for_each(|id| newest.add(id, GroupId(group).into()));
        }
        Ok((newest.found.into_sorted_vec().into_iter().map(|Reverse(found)| found).collect(), groups))
    }

    /// The newest message of two that is still there; the index says that it is this one.
    async fn newest_message(
        &self,
        user: UserId,
        groups: &OwnGroups,
        other: Address,
        id: i64,
    ) -> sqlx::Result<Option<StoredMessage>> {
        let mut reader = self.readers.turn(user).await?;
        let row = contents::read(reader.db(), contents::entries, &[id]).await?.pop();
        drop(reader);
        let mut damaged = Vec::new();
        let message = row.and_then(|row| own(row, user, groups, &self.shared.damage, &mut damaged));
        self.shared.damage.tell_all(&damaged)?;
        if message.is_some() {
            return Ok(message);
        }
        let newest = HistoryQuery { before: None, messages: 1, bytes: 0 };
        Ok(history::conversation(&self.readers, &self.shared.damage, user, other, newest).await?.pop())
    }

    /// Up to which message `reader` has read all that `sender` wrote. `newest` is the newest message of the two. For a
    /// group this is 0: there each message has its own readers, which are looked up elsewhere.
    async fn read_to(&self, reader: Address, sender: UserId, newest: MessageId) -> Result<MessageId, Error> {
        let Address::User(reader) = reader else { return Ok(MessageId(0)) };
        match self.shared.mailboxes.oldest_unread(reader, sender) {
            OldestUnread::None => Ok(newest),
            OldestUnread::Message(id) => Ok(MessageId(id.0 - 1)),
            // To load another's mail for this is too much: what was read last is looked for in place of it.
            OldestUnread::OnDisk => {
                let read = ConversationScan::newest_read(&self.readers, sender, reader).await.map_err(unread_log)?;
                Ok(MessageId(read.unwrap_or(0)))
            }
        }
    }

    /// Who has unread messages for `recipient`, how many, and from which on.
    pub(super) async fn unread_by_sender(
        &self,
        recipient: UserId,
    ) -> Result<BTreeMap<Address, (u64, MessageId)>, Error> {
        loop {
            match self.shared.mailboxes.unread_by_sender(recipient) {
                Some(unread) => return Ok(unread),
                None => self.load(recipient).await.map_err(unread_log)?,
            }
        }
    }

    /// Those senders and groups.
    pub(super) async fn unread_senders(&self, recipient: UserId) -> Result<Vec<Address>, Error> {
        loop {
            match self.shared.mailboxes.unread_senders(recipient) {
                Some(senders) => return Ok(senders),
                None => self.load(recipient).await.map_err(unread_log)?,
            }
        }
    }

    /// Takes what these senders wrote up to a message off the queue.
    pub(super) async fn read_up_to(
        &self,
        recipient: UserId,
        senders: Vec<Address>,
        to: MessageId,
    ) -> Result<usize, Error> {
        let read = loop {
            match self.shared.mailboxes.confirm_up_to(recipient, &senders, to) {
                Some(read) => break read,
                None => self.load(recipient).await.map_err(unread_log)?,
            }
        };
        // What another connection confirmed just now may not be on disk yet.
        self.rows(Change::Nothing).await?;
        Ok(read)
    }
}

async fn indexed(
    db: &mut SqliteConnection,
    with: &'static str,
    user: UserId,
    after: i64,
) -> sqlx::Result<Vec<(i64, Option<i64>)>> {
    let sql = format!("{with} {NEWEST}");
    sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(user.0).bind(after).bind(OTHERS).fetch_all(db).await
}
