//! What an account sent and received after a message, in the order of the message log. For its groups, this is what was
//! sent while it was a member. The writer gives the numbers in the order of its commits. So a client that has seen a
//! number has seen all below it. Reads the runs that have something for the account, and then the tail. Changes
//! nothing.

use sqlx::SqliteConnection;
use sqlx::types::Json;
use tracing::error;

use super::checksum::{self, Damage, NOTICE};
use super::contents::{self, StoredRow};
use super::group_mail::OwnGroups;
use super::readers::Readers;
use crate::model::{Message, MessageId, Timestamp, UserId};
use crate::repository::{FollowPage, FollowQuery, StoredMessage};

/// The watermark, and the last message of all. In one view, so that nothing comes between the two.
const ENDS: &str = "SELECT coalesce((SELECT max(last) FROM run), 0),
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'message'), 0)";
/// The first of the ?4 runs after ?2 and up to ?3 that has something of ?1 or for the recipients ?5, and the last of
/// these runs.
const NEXT_RUN: &str = "WITH next AS (SELECT last FROM run WHERE last > ?2 AND last <= ?3 ORDER BY last LIMIT ?4)
    SELECT (SELECT last FROM next WHERE EXISTS (SELECT 1 FROM mail WHERE run = last
                AND recipient IN (SELECT value FROM json_each(?5)))
            OR EXISTS (SELECT 1 FROM sent WHERE run = last AND sender = ?1) ORDER BY last LIMIT 1),
        (SELECT max(last) FROM next)";
/// What run ?2 has for the recipients ?3, and without a recipient what ?1 sent.
const RUN: &str = "SELECT recipient, CAST(messages AS BLOB), CAST(checksum AS BLOB) FROM mail
    WHERE run = ?2 AND recipient IN (SELECT value FROM json_each(?3))
    UNION ALL SELECT NULL, CAST(messages AS BLOB), CAST(checksum AS BLOB) FROM sent WHERE run = ?2 AND sender = ?1";
/// The same from the message log itself. It has no index by person, so it is read for a damaged run only, and for the
/// tail, which is short.
const MESSAGES: &str = "SELECT id FROM message WHERE id > ?2 AND id <= ?3 AND (sender = ?1 OR target = ?1
        OR target IN (SELECT grp FROM membership WHERE member = ?1) AND EXISTS (SELECT 1 FROM membership
            WHERE member = ?1 AND grp = target AND since < id AND id <= coalesce(until, id)))
    ORDER BY id LIMIT ?4";
const RUN_BEFORE: &str = "SELECT coalesce(max(last), 0) FROM run WHERE last < ?1";

/// How many runs one query looks at, and how many such queries one page takes, at the most.
const RUNS: i64 = 64;
const TURNS: usize = 16;

/// The last message of the message log, of any account.
pub(super) async fn last_message(readers: &Readers, account: UserId) -> sqlx::Result<MessageId> {
    let mut reader = readers.turn(account).await?;
    let (_, end): (i64, i64) = sqlx::query_as(ENDS).fetch_one(reader.db()).await?;
    Ok(MessageId(end))
}

/// A part of what `user` sent and received.
pub(super) async fn messages_after(
    readers: &Readers,
    damage: &Damage,
    user: UserId,
    page: FollowQuery,
) -> sqlx::Result<FollowPage> {
    let Numbers { mut ids, mut looked_to, end, groups } = numbers(readers, damage, user, page).await?;
    let mut reader = readers.turn(user).await?;
    let mut lengths = contents::read(reader.db(), contents::lengths, &ids).await?;
    lengths.sort_unstable();
    let fitting = fitting(&lengths, page.bytes);
    if fitting < lengths.len() {
        looked_to = lengths[fitting - 1].0;
    }
    ids = lengths.into_iter().take(fitting).map(|(id, _)| id).collect();
    let mut rows = contents::read(reader.db(), contents::entries, &ids).await?;
    rows.sort_unstable_by_key(|row| row.id);
    let mut damaged = Vec::new();
    let messages = rows.into_iter().filter_map(|row| own(row, user, &groups, damage, &mut damaged)).collect();
    damage.tell_all(&damaged)?;
    Ok(FollowPage { messages, next: MessageId(looked_to), more: looked_to < end })
}

/// How many of these texts have no more than so many bytes together; one at least.
pub(super) fn fitting(lengths: &[(i64, Option<i64>)], bytes: u64) -> usize {
    let mut room = bytes;
    let fits = lengths.iter().enumerate().take_while(|(place, (_, length))| {
        let length = length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
        let fits = *place == 0 || length <= room;
        room = room.saturating_sub(length);
        fits
    });
    fits.count()
}

/// A message as its sender or its reader sees it; `None`: the index says so, but it is one of others.
pub(super) fn own(
    row: StoredRow,
    user: UserId,
    groups: &OwnGroups,
    damage: &Damage,
    damaged: &mut Vec<(UserId, MessageId)>,
) -> Option<StoredMessage> {
    let content = row.content();
    let (id, mut sender, mut target) = (MessageId(row.id), UserId(content.sender), UserId(content.target));
    let is_own = sender == user || target == user || groups.have(target.0, id.0);
    let text = match row.text(damage.unchecked) {
        Some(_) if !is_own => {
            error!(id = id.0, "the index names a message of others; `chatd db verify` says more");
            return None;
        }
        Some(text) => text.into(),
        None => {
            damaged.push((target, id));
            if !is_own {
                (sender, target) = (user, user);
            }
            NOTICE.into()
        }
    };
    let message = Message { id, sent_at: Timestamp(content.sent_at), text };
    Some(StoredMessage {
        message,
        sender,
        to: groups.address(target.0),
        read_at: row.read_at.map(Timestamp),
        readers: None,
    })
}

/// Which messages come next.
struct Numbers {
    /// In order; some may be gone from the message log.
    ids: Vec<i64>,
    /// All up to here are among them, or are of others.
    looked_to: i64,
    /// The last message of all.
    end: i64,
    groups: OwnGroups,
}

async fn numbers(readers: &Readers, damage: &Damage, user: UserId, page: FollowQuery) -> sqlx::Result<Numbers> {
    let mut reader = readers.turn(user).await?;
    // If the watermark moves on meanwhile, what it passes is still in the message log and is found there.
    let (watermark, end): (i64, i64) = sqlx::query_as(ENDS).fetch_one(reader.db()).await?;
    // After that, so that whoever joins meanwhile gets nothing up to this end.
    let groups = OwnGroups::of(reader.db(), user, page.after).await?;
    let recipients: Vec<i64> = [user.0].into_iter().chain(groups.numbers()).collect();
    // The place may be after the end of this message log, when the database is an older copy.
    let mut found = Numbers { ids: Vec::new(), looked_to: page.after.0.clamp(0, end), end, groups };
    for _ in 0..TURNS {
        if found.looked_to >= watermark {
            found.looked_to = found.looked_to.max(watermark);
            break;
        }
        let next = sqlx::query_as(NEXT_RUN).bind(user.0).bind(found.looked_to).bind(watermark).bind(RUNS);
        let next = next.bind(Json(&recipients));
        let (next, last): (Option<i64>, Option<i64>) = next.fetch_one(reader.db()).await?;
        let Some(run) = next else {
            found.looked_to = last.unwrap_or(watermark);
            continue;
        };
        let after = found.looked_to;
        found.looked_to = run;
        let ids = run_of(reader.db(), damage, (user, &recipients, &found.groups), run).await?;
        if found.add(ids.into_iter().filter(|id| *id > after), page.messages) {
            return Ok(found);
        }
        drop(reader);
        reader = readers.turn(user).await?;
    }
    if found.looked_to < watermark {
        return Ok(found);
    }
    let most = i64::try_from(page.messages - found.ids.len()).unwrap_or(i64::MAX);
    let tail = sqlx::query_scalar(MESSAGES).bind(user.0).bind(found.looked_to).bind(end).bind(most.saturating_add(1));
    let tail: Vec<i64> = tail.fetch_all(reader.db()).await?;
    found.looked_to = end;
    found.add(tail.into_iter(), page.messages);
    Ok(found)
}

impl Numbers {
    /// Adds the next numbers; `true`: there are as many as are wanted, and some are left.
    fn add(&mut self, ids: impl Iterator<Item = i64>, most: usize) -> bool {
        self.ids.extend(ids);
        let is_full = self.ids.len() > most;
        if is_full {
            self.ids.truncate(most);
            self.looked_to = self.ids.last().copied().unwrap_or(self.looked_to);
        }
        is_full
    }
}

/// The messages of a user in one run, in order: what he sent, and what was sent to him and to his groups.
async fn run_of(
    db: &mut SqliteConnection,
    damage: &Damage,
    (user, recipients, groups): (UserId, &[i64], &OwnGroups),
    run: i64,
) -> sqlx::Result<Vec<i64>> {
    type RunRow = (Option<i64>, Vec<u8>, Option<Vec<u8>>);
    let rows = sqlx::query_as(RUN).bind(user.0).bind(run).bind(Json(recipients));
    let rows: Vec<RunRow> = rows.fetch_all(&mut *db).await?;
    let mut ids = Vec::new();
    for (recipient, messages, checksum) in rows {
        let found = match recipient {
            Some(recipient) => {
                let checksum = checksum.as_deref().unwrap_or_default();
                let mail = damage.unchecked.mail(run, recipient, &messages, checksum);
                let mail = mail.and_then(|mail| serde_json::from_slice::<Vec<(i64, i64, u64)>>(mail).ok());
                let shown = |id: &i64| recipient == user.0 || groups.have(recipient, *id);
                mail.map(|mail| mail.into_iter().map(|(_, id, _)| id).filter(shown).collect())
            }
            None => {
                // The migration that made the table gave it no checksums.
                let is_whole = checksum.is_none_or(|sum| sum == checksum::of_mail(run, user.0, &messages));
                is_whole.then(|| serde_json::from_slice::<Vec<i64>>(&messages).ok()).flatten()
            }
        };
        let Some(found) = found else {
            error!(
                user = user.0,
                run, "the index of an account's messages is damaged: the message log is read instead"
            );
            let before: i64 = sqlx::query_scalar(RUN_BEFORE).bind(run).fetch_one(&mut *db).await?;
            return sqlx::query_scalar(MESSAGES).bind(user.0).bind(before).bind(run).bind(-1).fetch_all(db).await;
        };
        ids.extend(found);
    }
    ids.sort_unstable();
    // Who writes to himself, or to a group, has both sent and received it.
    ids.dedup();
    Ok(ids)
}
