//! How much accounts have stored. A table has the sums up to the watermark; the tail is counted here.

use std::collections::HashSet;

use rustc_hash::FxHashMap;
use sqlx::SqlitePool;
use sqlx::types::Json;

use super::direct::{Failure, WalConnection};
use super::index::TailMessage;
use crate::model::UserId;
use crate::repository::memory::stored::{PER_MESSAGE, StoredAmount, StoredTotals};

const ALL: &str = "SELECT user, messages, bytes FROM stored WHERE messages > 0";
/// The count of some accounts, and what of the tail was removed and is therefore to be taken off again.
const SOME: &str = "SELECT value, coalesce(messages, 0), coalesce(stored.bytes, 0),
        (SELECT count(*) FROM removed WHERE sender = value),
        (SELECT coalesce(sum(removed.bytes), 0) FROM removed WHERE sender = value)
    FROM json_each(?1) LEFT JOIN stored ON user = value";
const ON_DISK: &str = "WITH tail AS (SELECT sender, sum(octet_length(text) + ifnull(attached, 0) + ?2) AS bytes
        FROM message
        WHERE id > (SELECT coalesce(max(last), 0) FROM run) GROUP BY sender)
    SELECT coalesce(stored.bytes + ?2 * messages, 0) + coalesce(tail.bytes, 0)
    FROM json_each(?1) LEFT JOIN stored ON user = value LEFT JOIN tail ON sender = value ORDER BY key";

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Counts everything at the start.
pub(super) async fn load(db: &mut WalConnection, stored: &StoredTotals, tail: &[TailMessage]) -> Result<(), Failure> {
    db.each(ALL, (), |row| {
        let amount = StoredAmount { messages: count(row.get(1)?), bytes: count(row.get(2)?) };
        stored.set(UserId(row.get(0)?), amount.charge());
        Ok(())
    })
    .await?;
    tail.iter().for_each(|message| stored.add(message.sender, StoredAmount::one(message.bytes)));
    Ok(())
}

/// Counts anew what these accounts have stored, after another process has removed some of it.
pub(super) async fn count_again(
    db: &mut WalConnection,
    stored: &StoredTotals,
    tail: &[TailMessage],
    users: &HashSet<UserId>,
) -> Result<(), Failure> {
    let mut in_tail: FxHashMap<UserId, u64> = FxHashMap::default();
    for message in tail.iter().filter(|message| users.contains(&message.sender)) {
        *in_tail.entry(message.sender).or_default() += StoredAmount::one(message.bytes).charge();
    }
    let ids: Vec<i64> = users.iter().map(|user| user.0).collect();
    let ids = serde_json::to_string(&ids).expect("numbers are JSON");
    db.each(SOME, (ids,), |row| {
        let user = UserId(row.get(0)?);
        let in_tail = in_tail.get(&user).copied().unwrap_or(0);
        let indexed = StoredAmount { messages: count(row.get(1)?), bytes: count(row.get(2)?) };
        let removed = StoredAmount { messages: count(row.get(3)?), bytes: count(row.get(4)?) };
        stored.set(user, (indexed.charge() + in_tail).saturating_sub(removed.charge()));
        Ok(())
    })
    .await
}

/// What these accounts have stored, where no server counts.
pub(super) async fn on_disk(reader: &SqlitePool, users: &[UserId]) -> sqlx::Result<Vec<u64>> {
    let ids: Vec<i64> = users.iter().map(|user| user.0).collect();
    let per_message = i64::try_from(PER_MESSAGE).unwrap_or(i64::MAX);
    let bytes: Vec<i64> = sqlx::query_scalar(ON_DISK).bind(Json(ids)).bind(per_message).fetch_all(reader).await?;
    Ok(bytes.into_iter().map(count).collect())
}
