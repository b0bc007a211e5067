//! Files that were sent, piece by piece.

use std::sync::Arc;

use super::accounts::is_no_text;
use super::delivery::limit;
use super::{PostgresRepository, unavailable};
use crate::model::{Address, FileId, FileSpelling, MessageId, SendKey, UserId};
use crate::repository::{
    Answer, Error, FileQuery, FileRepository, NewFile, NewMessage, PerMessage, ReceivedFile, SendResult, SentFile,
};

const ADD: &str = "INSERT INTO file (sender, name, media_type, spelling, bytes, sha256, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, now_ms()) RETURNING id";
const ADD_PIECE: &str = "INSERT INTO file_piece (file, place, data) VALUES ($1, $2, $3)";
const FINISH: &str = "UPDATE file SET bytes = $2, sha256 = $3 WHERE id = $1";
/// One that no message brings.
const REMOVE: &str = "WITH gone AS (DELETE FROM file f
        WHERE f.id = $1 AND NOT EXISTS (SELECT 1 FROM message m WHERE m.file = f.id) RETURNING f.id)
    DELETE FROM file_piece WHERE file IN (SELECT id FROM gone)";
/// Some that no message has brought for a day, or of whose messages neither sender nor recipient lives.
const REMOVE_UNUSED: &str = "WITH gone AS (DELETE FROM file WHERE id IN (
        SELECT f.id FROM file f WHERE f.created_at < now_ms() - 86400000 AND NOT EXISTS (
            SELECT 1 FROM message m JOIN account a ON a.id IN (m.sender, m.target) AND a.removed_at IS NULL
            WHERE m.file = f.id) LIMIT 4) RETURNING id),
    pieces AS (DELETE FROM file_piece WHERE file IN (SELECT id FROM gone))
    SELECT count(*) FROM gone";
const OF_MESSAGES: &str = "SELECT m.id, m.sender, f.id, f.name, f.media_type, f.spelling, f.bytes, f.sha256
    FROM message m JOIN file f ON f.id = m.file WHERE m.id = ANY ($1) AND m.file IS NOT NULL ORDER BY m.id";
const SENT_TO: &str = "SELECT m.id, m.sender, f.id, f.name, f.media_type, f.spelling, f.bytes, f.sha256 FROM (
        SELECT id, sender, file FROM message WHERE target = $1 AND file IS NOT NULL
        UNION ALL
        SELECT g.id, g.sender, g.file FROM membership s JOIN message g ON g.target = s.grp AND g.file IS NOT NULL
            AND g.id > s.since AND g.id <= coalesce(s.until, g.id) WHERE s.member = $1 AND g.sender <> $1) AS m
    JOIN file f ON f.id = m.file
    WHERE ($2::bigint IS NULL OR f.id = $2) AND ($3::text IS NULL OR f.name = $3)
        AND ($4::bigint IS NULL OR m.sender = $4)
    ORDER BY m.id DESC LIMIT $5";
const UNDER_KEY: &str = "SELECT k.id, m.target FROM send_key k LEFT JOIN message m ON m.id = k.id
    WHERE k.sender = $1 AND k.key = $2 AND k.sent_at >= now_ms() - 7 * 86400000::bigint";
const SEEN_BY: &str = "SELECT m.id, m.sender, f.id, f.name, f.media_type, f.spelling, f.bytes, f.sha256
    FROM file f JOIN message m ON m.file = f.id WHERE f.id = $2 AND (m.sender = $1 OR m.target = $1 OR EXISTS (
        SELECT 1 FROM membership s WHERE s.member = $1 AND s.grp = m.target
            AND m.id > s.since AND m.id <= coalesce(s.until, m.id))) LIMIT 1";
const PIECE: &str = "SELECT data FROM file_piece WHERE file = $1 AND place = $2";

type ReceivedRow = (i64, i64, i64, String, String, i64, i64, Vec<u8>);

fn received((message, sender, id, name, media_type, spelling, bytes, sha256): ReceivedRow) -> ReceivedFile {
    let (spelling, bytes) = (FileSpelling::numbered(spelling), bytes.unsigned_abs());
    let file = SentFile { id: FileId(id), name, media_type, spelling, bytes, sha256 };
    ReceivedFile { message: MessageId(message), sender: UserId(sender), file }
}

impl PostgresRepository {
    /// Removes the files that nobody can read any more, a few at a time.
    pub(super) async fn remove_unused_files(&self) -> Result<(), Error> {
        loop {
            let mut db = self.connection().await?;
            let removed: i64 = sqlx::query_scalar(REMOVE_UNUSED).fetch_one(&mut *db).await.map_err(unavailable)?;
            if removed == 0 {
                return Ok(());
            }
        }
    }
}

impl FileRepository for PostgresRepository {
    fn add_file(&self, file: NewFile) -> Answer<'_, FileId> {
        self.within(async move {
            let mut db = self.connection().await?;
            let added = sqlx::query_scalar(ADD)
                .bind(file.sender.0)
                .bind(file.name.as_str())
                .bind(file.name.media_type())
                .bind(file.spelling.number())
                .bind(i64::try_from(file.bytes).unwrap_or(i64::MAX))
                .bind(&file.sha256[..]);
            Ok(FileId(added.fetch_one(&mut *db).await.map_err(unavailable)?))
        })
    }

    fn add_file_piece(&self, file: FileId, place: u32, data: Arc<[u8]>) -> Answer<'_, ()> {
        self.within(async move {
            let mut db = self.connection().await?;
            let added = sqlx::query(ADD_PIECE).bind(file.0).bind(i64::from(place)).bind(&data[..]);
            added.execute(&mut *db).await.map(drop).map_err(unavailable)
        })
    }

    fn finish_file(&self, file: FileId, bytes: u64, sha256: [u8; 32]) -> Answer<'_, ()> {
        self.within(async move {
            let mut db = self.connection().await?;
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            let finished = sqlx::query(FINISH).bind(file.0).bind(bytes).bind(&sha256[..]);
            finished.execute(&mut *db).await.map(drop).map_err(unavailable)
        })
    }

    fn remove_file(&self, file: FileId) -> Answer<'_, ()> {
        self.within(async move {
            let mut db = self.connection().await?;
            sqlx::query(REMOVE).bind(file.0).execute(&mut *db).await.map(drop).map_err(unavailable)
        })
    }

    fn send_file(
        &self,
        messages: PerMessage<NewMessage>,
        file: FileId,
        bytes: u64,
    ) -> Answer<'_, PerMessage<SendResult>> {
        Answer::pending(self.queue(messages, None, Some((file, bytes))))
    }

    fn send_file_once(&self, message: NewMessage, key: SendKey, file: FileId, bytes: u64) -> Answer<'_, SendResult> {
        Answer::pending(self.queue_once(message, key, Some((file, bytes))))
    }

    fn sent_under(&self, sender: UserId, key: SendKey, to: Address) -> Answer<'_, Option<SendResult>> {
        self.within(async move {
            let ask = || {
                sqlx::query_as(UNDER_KEY).bind(sender.0).bind(key.as_str()).fetch_optional(self.shared.servers.reads())
            };
            let found: Option<(i64, Option<i64>)> = self.look(ask).await?;
            Ok(found.map(|(id, target)| SendResult::under_key(MessageId(id), target, to)))
        })
    }

    fn file_seen_by(&self, reader: UserId, file: FileId) -> Answer<'_, Option<SentFile>> {
        self.within(async move {
            let ask =
                || sqlx::query_as(SEEN_BY).bind(reader.0).bind(file.0).fetch_optional(self.shared.servers.reads());
            Ok(self.look(ask).await?.map(|row| received(row).file))
        })
    }

    fn files_of(&self, _: UserId, messages: Vec<MessageId>) -> Answer<'_, Vec<ReceivedFile>> {
        self.within(async move {
            let ids: Vec<i64> = messages.iter().map(|id| id.0).collect();
            let rows =
                self.look(|| sqlx::query_as(OF_MESSAGES).bind(&ids).fetch_all(self.shared.servers.reads())).await?;
            Ok(rows.into_iter().map(received).collect())
        })
    }

    fn files_sent_to(&self, reader: UserId, wanted: FileQuery) -> Answer<'_, Vec<ReceivedFile>> {
        self.within(async move {
            let FileQuery { id, name, sender, most } = wanted;
            if name.as_deref().is_some_and(is_no_text) {
                return Ok(Vec::new());
            }
            let ask = || {
                sqlx::query_as(SENT_TO)
                    .bind(reader.0)
                    .bind(id.map(|id| id.0))
                    .bind(name.clone())
                    .bind(sender.map(|sender| sender.0))
                    .bind(limit(most))
                    .fetch_all(self.shared.servers.reads())
            };
            Ok(self.look(ask).await?.into_iter().map(received).collect())
        })
    }

    fn file_piece(&self, _: UserId, file: FileId, place: u32) -> Answer<'_, Option<Vec<u8>>> {
        self.within(async move {
            let ask = || {
                sqlx::query_scalar(PIECE)
                    .bind(file.0)
                    .bind(i64::from(place))
                    .fetch_optional(self.shared.servers.reads())
            };
            self.look(ask).await
        })
    }
}
