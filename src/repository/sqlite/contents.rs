//! Reads messages from the disk by their numbers. Many come in one row of JSON, because each row of sqlx costs a few µs
//! for two wake-ups of threads. Texts come as bytes, because a damaged text may be no UTF-8. When SQLite cannot read
//! one of several messages, each is read by itself. Writes nothing.

use std::pin::Pin;

use serde::Deserialize;
use serde_bytes::ByteBuf;
use sqlx::SqliteConnection;
use sqlx::types::Json;

use super::checksum::{Content, Unchecked};

/// Whatever stands in a damaged row is made a number or a text, or left out.
const CONTENTS: &str = "SELECT CAST(json_group_array(json_array(id, CAST(sender AS INTEGER),
        CAST(target AS INTEGER), CAST(sent_at AS INTEGER), CAST(checksum AS TEXT), CAST(text AS TEXT))) AS BLOB)
    FROM message WHERE id IN (SELECT value FROM json_each(?1))";
/// The same in rows, for fewer messages and longer texts, and when they were read.
const ENTRIES: &str = "SELECT m.id, CAST(sender AS INTEGER), CAST(target AS INTEGER), CAST(sent_at AS INTEGER),
        CAST(checksum AS BLOB), CAST(text AS BLOB), CAST(delivered_at AS INTEGER)
    FROM message m LEFT JOIN receipt r ON r.id = m.id WHERE m.id IN (SELECT value FROM json_each(?1))";
const LENGTHS: &str = "SELECT id, octet_length(text) FROM message WHERE id IN (SELECT value FROM json_each(?1))";

/// SQLite's result code for a database whose form is damaged.
const CORRUPT: i32 = 11;

/// A message as it was found.
#[derive(Debug, Deserialize)]
pub(super) struct StoredRow {
    pub id: i64,
    sender: Option<i64>,
    target: Option<i64>,
    sent_at: Option<i64>,
    checksum: Option<ByteBuf>,
    text: Option<ByteBuf>,
    /// When it was read, where that was asked for.
    #[serde(default)]
    pub read_at: Option<i64>,
}

impl StoredRow {
    /// Who sent it, to whom, and when, as it is written there.
    pub(super) fn content(&self) -> Content<'_> {
        Content {
            id: self.id,
            // chatd never writes -1 here, so no checksum fits.
            sender: self.sender.unwrap_or(-1),
            target: self.target.unwrap_or(-1),
            sent_at: self.sent_at.unwrap_or(-1),
            text: self.text.as_deref().map_or(&[], |text| text),
        }
    }

    /// Its text; `None`: it is damaged.
    pub(super) fn text(&self, unchecked: Unchecked) -> Option<&str> {
        let text = self.text.as_ref()?;
        unchecked.text(&Content { text, ..self.content() }, self.checksum.as_deref().map_or(&[], |checksum| checksum))
    }
}

type Rows<'a, T> = Pin<Box<dyn Future<Output = sqlx::Result<Vec<T>>> + Send + 'a>>;

/// A query on some messages.
pub(super) type Query<T> = for<'a> fn(&'a mut SqliteConnection, &'a [i64]) -> Rows<'a, T>;

/// What a query gives of these messages, without those that cannot be read.
pub(super) async fn read<T>(db: &mut SqliteConnection, query: Query<T>, ids: &[i64]) -> sqlx::Result<Vec<T>> {
    match query(db, ids).await {
        Err(error) if is_corrupt(&error) => {}
        done => return done,
    }
    let mut readable = Vec::new();
    for id in ids {
        match query(db, &[*id]).await {
            Ok(row) => readable.extend(row),
            Err(error) if is_corrupt(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(readable)
}

/// Many messages with short texts.
pub(super) fn contents<'a>(db: &'a mut SqliteConnection, ids: &'a [i64]) -> Rows<'a, StoredRow> {
    Box::pin(async move {
        let rows: Vec<u8> = sqlx::query_scalar(CONTENTS).bind(Json(ids)).fetch_one(db).await?;
        serde_json::from_slice(&rows).map_err(|error| sqlx::Error::Decode(Box::new(error)))
    })
}

/// Messages and when they were read.
pub(super) fn entries<'a>(db: &'a mut SqliteConnection, ids: &'a [i64]) -> Rows<'a, StoredRow> {
    Box::pin(async move {
        type MessageRow = (i64, Option<i64>, Option<i64>, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>);
        let rows: Vec<MessageRow> = sqlx::query_as(ENTRIES).bind(Json(ids)).fetch_all(db).await?;
        let stored = |(id, sender, target, sent_at, checksum, text, read_at): MessageRow| StoredRow {
            id,
            sender,
            target,
            sent_at,
            checksum: checksum.map(ByteBuf::from),
            text: text.map(ByteBuf::from),
            read_at,
        };
        Ok(rows.into_iter().map(stored).collect())
    })
}

/// Numbers and lengths of texts.
pub(super) fn lengths<'a>(db: &'a mut SqliteConnection, ids: &'a [i64]) -> Rows<'a, (i64, Option<i64>)> {
    Box::pin(async move { sqlx::query_as(LENGTHS).bind(Json(ids)).fetch_all(db).await })
}

/// Whether it is the form of the database that is damaged.
pub(super) fn is_corrupt(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xFF == CORRUPT)
}
