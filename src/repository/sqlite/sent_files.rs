//! Files that were sent: handed to the writer piece by piece, and read by the connections that read old mail.

use std::sync::Arc;

use sqlx::types::Json;
use tokio::sync::oneshot;

use super::change::Change;
use super::file_changes::FileChange;
use super::send_keys::{Attached, SendWaiter};
use super::writer::Job;
use super::{SqliteRepository, stopped, unread_log};
use crate::model::{Address, FileId, FileSpelling, MessageId, SendKey, UserId};
use crate::repository::{
    Answer, Error, FileQuery, FileRepository, NewFile, NewMessage, PerMessage, ReceivedFile, SendResult, SentFile,
};

const OF_MESSAGES: &str = "SELECT m.id, m.sender, f.id, f.name, f.media_type, f.spelling, f.bytes, f.sha256
    FROM message m JOIN file f ON f.id = m.file WHERE m.id IN (SELECT value FROM json_each(?1)) ORDER BY m.id";
const SENT_TO: &str = "SELECT m.id, m.sender, f.id, f.name, f.media_type, f.spelling, f.bytes, f.sha256 FROM (
        SELECT id, sender, file FROM message WHERE target = ?1 AND file IS NOT NULL
        UNION ALL
        SELECT g.id, g.sender, g.file FROM membership s JOIN message g ON g.target = s.grp AND g.file IS NOT NULL
            AND g.id > s.since AND g.id <= coalesce(s.until, g.id) WHERE s.member = ?1 AND g.sender <> ?1) AS m
    JOIN file f ON f.id = m.file
    WHERE (?2 IS NULL OR f.id = ?2) AND (?3 IS NULL OR f.name = ?3) AND (?4 IS NULL OR m.sender = ?4)
    ORDER BY m.id DESC LIMIT ?5";
const SEEN_BY: &str = "SELECT m.id, m.sender, f.id, f.name, f.media_type, f.spelling, f.bytes, f.sha256
    FROM file f JOIN message m ON m.file = f.id WHERE f.id = ?2 AND (m.sender = ?1 OR m.target = ?1 OR EXISTS (
        SELECT 1 FROM membership s WHERE s.member = ?1 AND s.grp = m.target
            AND m.id > s.since AND m.id <= coalesce(s.until, m.id))) LIMIT 1";
const PIECE: &str = "SELECT data FROM file_piece WHERE file = ?1 AND place = ?2";

type FileRow = (i64, i64, i64, String, String, i64, i64, Vec<u8>);

fn received((message, sender, id, name, media_type, spelling, bytes, sha256): FileRow) -> ReceivedFile {
    let (spelling, bytes) = (FileSpelling::numbered(spelling), bytes.unsigned_abs());
    let file = SentFile { id: FileId(id), name, media_type, spelling, bytes, sha256 };
    ReceivedFile { message: MessageId(message), sender: UserId(sender), file }
}

impl SqliteRepository {
    /// Removes the files that nobody can read any more, a few at a time.
    pub(super) async fn remove_unused_files(&self) -> Result<(), Error> {
        while self.rows(Change::File(FileChange::RemoveUnused)).await? > 0 {}
        Ok(())
    }

    async fn of_messages(&self, reader: UserId, messages: Vec<MessageId>) -> sqlx::Result<Vec<ReceivedFile>> {
        let ids: Vec<i64> = messages.into_iter().map(|id| id.0).collect();
        let mut db = self.readers.turn(reader).await?;
        let rows: Vec<FileRow> = sqlx::query_as(OF_MESSAGES).bind(Json(ids)).fetch_all(db.db()).await?;
        Ok(rows.into_iter().map(received).collect())
    }

    async fn sent_to(&self, reader: UserId, wanted: FileQuery) -> sqlx::Result<Vec<ReceivedFile>> {
        let FileQuery { id, name, sender, most } = wanted;
        let rows = sqlx::query_as(SENT_TO)
            .bind(reader.0)
            .bind(id.map(|id| id.0))
            .bind(name)
            .bind(sender.map(|sender| sender.0))
            .bind(i64::try_from(most).unwrap_or(i64::MAX));
        let mut db = self.readers.turn(reader).await?;
        let rows: Vec<FileRow> = rows.fetch_all(db.db()).await?;
        Ok(rows.into_iter().map(received).collect())
    }

    async fn seen_by(&self, reader: UserId, file: FileId) -> sqlx::Result<Option<SentFile>> {
        let mut db = self.readers.turn(reader).await?;
        let row: Option<FileRow> = sqlx::query_as(SEEN_BY).bind(reader.0).bind(file.0).fetch_optional(db.db()).await?;
        Ok(row.map(|row| received(row).file))
    }

    async fn piece_of(&self, reader: UserId, file: FileId, place: u32) -> sqlx::Result<Option<Vec<u8>>> {
        let mut db = self.readers.turn(reader).await?;
        sqlx::query_scalar(PIECE).bind(file.0).bind(i64::from(place)).fetch_optional(db.db()).await
    }
}

impl FileRepository for SqliteRepository {
    fn add_file(&self, file: NewFile) -> Answer<'_, FileId> {
        Answer::pending(async move {
            let number = self.rows(Change::File(FileChange::Add(file))).await?;
            Ok(FileId(i64::try_from(number).unwrap_or(i64::MAX)))
        })
    }

    fn add_file_piece(&self, file: FileId, place: u32, data: Arc<[u8]>) -> Answer<'_, ()> {
        Answer::pending(async move { self.rows(Change::File(FileChange::AddPiece(file, place, data))).await.map(drop) })
    }

    fn finish_file(&self, file: FileId, bytes: u64, sha256: [u8; 32]) -> Answer<'_, ()> {
        let change = Change::File(FileChange::Finish(file, bytes, sha256));
        Answer::pending(async move { self.rows(change).await.map(drop) })
    }

    fn remove_file(&self, file: FileId) -> Answer<'_, ()> {
        Answer::pending(async move { self.rows(Change::File(FileChange::Remove(file))).await.map(drop) })
    }

    fn send_file(
        &self,
        messages: PerMessage<NewMessage>,
        file: FileId,
        bytes: u64,
    ) -> Answer<'_, PerMessage<SendResult>> {
        Answer::pending(async move {
            let _turn = self.heavy_turn(&messages).await;
            let (answer, queued) = oneshot::channel();
            let waiter = SendWaiter { key: None, file: Some(Attached { file, bytes }), answer };
            self.jobs.push(Job::Send(messages, waiter)).await.map_err(|_| stopped())?;
            queued.await.map_err(|_| stopped())?
        })
    }

    fn send_file_once(&self, message: NewMessage, key: SendKey, file: FileId, bytes: u64) -> Answer<'_, SendResult> {
        Answer::pending(self.send_under_key(message, key, Some(Attached { file, bytes })))
    }

    fn sent_under(&self, sender: UserId, key: SendKey, to: Address) -> Answer<'_, Option<SendResult>> {
        Answer::pending(async move { self.under_key(sender, &key, to).await.map_err(unread_log) })
    }

    fn file_seen_by(&self, reader: UserId, file: FileId) -> Answer<'_, Option<SentFile>> {
        Answer::pending(async move { self.seen_by(reader, file).await.map_err(unread_log) })
    }

    fn files_of(&self, reader: UserId, messages: Vec<MessageId>) -> Answer<'_, Vec<ReceivedFile>> {
        Answer::pending(async move { self.of_messages(reader, messages).await.map_err(unread_log) })
    }

    fn files_sent_to(&self, reader: UserId, wanted: FileQuery) -> Answer<'_, Vec<ReceivedFile>> {
        Answer::pending(async move { self.sent_to(reader, wanted).await.map_err(unread_log) })
    }

    fn file_piece(&self, reader: UserId, file: FileId, place: u32) -> Answer<'_, Option<Vec<u8>>> {
        Answer::pending(async move { self.piece_of(reader, file, place).await.map_err(unread_log) })
    }
}
