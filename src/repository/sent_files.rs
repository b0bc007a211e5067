//! Files in the store. A file is stored piece by piece. Then messages bring it to their recipients. A file that no
//! message brings is removed after a day.

use std::sync::Arc;

use super::{Answer, NewMessage, PerMessage, SendResult};
use crate::model::{Address, FileId, FileName, FileSpelling, MessageId, SendKey, UserId};

/// A file to be stored.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Who sends it.
    pub sender: UserId,
    /// What it is called.
    pub name: FileName,
    /// How the sender wrote its bytes.
    pub spelling: FileSpelling,
    /// How many there are, as far as that is known.
    pub bytes: u64,
    /// Their SHA-256, as far as that is known.
    pub sha256: [u8; 32],
}

/// A file that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentFile {
    /// Its number.
    pub id: FileId,
    /// What it is called.
    pub name: String,
    /// What kind it is, by its name.
    pub media_type: String,
    /// How the sender wrote its bytes.
    pub spelling: FileSpelling,
    /// How many there are.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: Vec<u8>,
}

/// A file, and the message that brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedFile {
    /// The message.
    pub message: MessageId,
    /// Who sent it.
    pub sender: UserId,
    /// The file.
    pub file: SentFile,
}

/// Which files are wanted of those that were sent to somebody.
#[derive(Clone, Debug, Default)]
pub struct FileQuery {
    /// This one.
    pub id: Option<FileId>,
    /// Those of this name.
    pub name: Option<String>,
    /// Those of this sender.
    pub sender: Option<UserId>,
    /// So many, at the most.
    pub most: usize,
}

/// The store, as far as files go.
pub trait FileRepository {
    /// Begins to store a file.
    fn add_file(&self, file: NewFile) -> Answer<'_, FileId>;
    /// Stores a piece of it; they are counted from 0.
    fn add_file_piece(&self, file: FileId, place: u32, data: Arc<[u8]>) -> Answer<'_, ()>;
    /// Says how many bytes a file came to have, and their SHA-256.
    fn finish_file(&self, file: FileId, bytes: u64, sha256: [u8; 32]) -> Answer<'_, ()>;
    /// Removes a file, unless a message brings it.
    fn remove_file(&self, file: FileId) -> Answer<'_, ()>;
    /// Queues messages that bring a file of so many bytes. For each message these bytes count as its text does.
    fn send_file(
        &self,
        messages: PerMessage<NewMessage>,
        file: FileId,
        bytes: u64,
    ) -> Answer<'_, PerMessage<SendResult>>;
    /// The same for one message under a key of its sender's. Where that sender has sent one under the same key in the
    /// last seven days, nothing is queued, and the answer is that message; or `KeyUsed`, where that was sent to
    /// somebody else.
    fn send_file_once(&self, message: NewMessage, key: SendKey, file: FileId, bytes: u64) -> Answer<'_, SendResult>;
    /// What `send_file_once` answers without a file: `None`, where `sender` has sent nothing under the key.
    fn sent_under(&self, sender: UserId, key: SendKey, to: Address) -> Answer<'_, Option<SendResult>>;
    /// A file that `reader` sent, or that was sent to `reader` or to a group while he was in it.
    fn file_seen_by(&self, reader: UserId, file: FileId) -> Answer<'_, Option<SentFile>>;
    /// The files that these messages bring. `reader` asks.
    fn files_of(&self, reader: UserId, messages: Vec<MessageId>) -> Answer<'_, Vec<ReceivedFile>>;
    /// Files that were sent to `reader`, or to a group while he was in it, newest first.
    fn files_sent_to(&self, reader: UserId, wanted: FileQuery) -> Answer<'_, Vec<ReceivedFile>>;
    /// A piece of a file; `None`: it has no more, or is gone.
    fn file_piece(&self, reader: UserId, file: FileId, place: u32) -> Answer<'_, Option<Vec<u8>>>;
}
