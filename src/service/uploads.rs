//! Files that come and go piece by piece: no more of one is in memory than a piece.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tracing::{debug, error};

use super::{Caller, Peer, PerMessage, Service, unavailable};
use crate::model::{FileId, FileName, FileSpelling, LookupName, MessageId, SendKey, Timestamp, UserId};
use crate::protocol::{HistoryEntry, Refusal, Send};
use crate::repository::{NewFile, NewMessage, Repository, SentFile};

/// What somebody wants to send.
pub(crate) struct FileSend {
    pub recipient: LookupName,
    pub name: FileName,
    /// The same for each attempt to send it.
    pub key: Option<SendKey>,
}

/// What an attempt to send a file begins with.
pub(crate) enum UploadBegin {
    /// Its bytes are to come.
    New(Box<Upload>),
    /// An attempt before this one has sent it.
    SentBefore(MessageId),
}

/// A file on its way in.
pub(crate) struct Upload {
    file: UnsentFile,
    message: NewMessage,
    key: Option<SendKey>,
    places: u32,
    bytes: u64,
    sum: Sha256,
}

/// A file that no message brings. When this is dropped, the file is removed, unless the store may be about to store a
/// message that brings it: the store goes on when whoever asked it is gone.
pub(super) struct UnsentFile {
    repository: Arc<dyn Repository>,
    pub id: FileId,
    may_be_sent: bool,
}

impl UnsentFile {
    /// The store is asked to store a message that brings it.
    pub(super) fn hand_over(&mut self) {
        self.may_be_sent = true;
    }

    /// The store has answered, so it stores no such message later. One that it has stored keeps the file.
    pub(super) fn take_back(&mut self) {
        self.may_be_sent = false;
    }
}

impl Drop for UnsentFile {
    fn drop(&mut self) {
        let (repository, file) = (self.repository.clone(), self.id);
        if let Some(runtime) = Handle::try_current().ok().filter(|_| !self.may_be_sent) {
            // Where the store does not answer, it goes after a day.
            runtime.spawn(async move { drop(repository.remove_file(file).await) });
        }
    }
}

impl Service {
    /// How many bytes a file may have.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.rules().file_bytes
    }

    /// Begins to take a file in. What can be refused before its bytes come is refused here.
    pub(crate) async fn begin_upload(
        &self,
        peer: &Peer,
        caller: &Caller,
        send: FileSend,
    ) -> Result<UploadBegin, Refusal> {
        let FileSend { recipient, name, key } = send;
        let message = self.accept(peer, caller, Send { recipient, text: "".into() }).await;
        let message = message.inspect_err(|refusal| self.refused_sends.count(refusal.reason()))?;
        if let Some(key) = key.clone()
            && let Some(sent) =
                self.repository.sent_under(message.sender, key, message.to).await.map_err(unavailable)?
        {
            return self.stored(Some(&sent)).map(|(id, _)| UploadBegin::SentBefore(id));
        }
        if let Some(group) = message.to.group()
            && !self.repository.is_member(group, message.sender).await.map_err(unavailable)?
        {
            return Err(Refusal::NotAMember);
        }
        if !self.is_healthy().await {
            return Err(Refusal::Unavailable);
        }
        // Most clients of the wire know no other spelling.
        let spelling = FileSpelling::PythonBase64;
        let new = NewFile { sender: message.sender, name, spelling, bytes: 0, sha256: [0; 32] };
        let file = self.add_file(new).await?;
        let sum = Sha256::new();
        Ok(UploadBegin::New(Box::new(Upload { file, message, key, places: 0, bytes: 0, sum })))
    }

    /// Makes a file, of which there are no bytes yet.
    pub(super) async fn add_file(&self, new: NewFile) -> Result<UnsentFile, Refusal> {
        let id = self.repository.add_file(new).await.map_err(unavailable)?;
        Ok(UnsentFile { repository: self.repository.clone(), id, may_be_sent: false })
    }

    /// Stores the next piece of a file.
    pub(crate) async fn take_piece(&self, caller: &Caller, upload: &mut Upload, piece: &[u8]) -> Result<(), Refusal> {
        self.must_be_open(caller)?;
        upload.bytes += piece.len() as u64;
        let most = self.file_bytes();
        if upload.bytes > most {
            return Err(Refusal::FileTooLarge { most });
        }
        if !self.is_healthy().await {
            return Err(Refusal::Unavailable);
        }
        upload.sum.update(piece);
        self.repository.add_file_piece(upload.file.id, upload.places, piece.into()).await.map_err(unavailable)?;
        upload.places += 1;
        Ok(())
    }

    /// Sends a file that is there as a whole; gives the number of its message, when it was asked, and how many members
    /// of a group have no room for it.
    pub(crate) async fn send_upload(
        &self,
        caller: &Caller,
        mut upload: Box<Upload>,
    ) -> Result<(MessageId, Timestamp, u64), Refusal> {
        self.must_be_open(caller)?;
        let (message, key, file, bytes) = (upload.message.clone(), upload.key.take(), upload.file.id, upload.bytes);
        let sha256 = std::mem::take(&mut upload.sum).finalize().into();
        self.repository.finish_file(file, bytes, sha256).await.map_err(unavailable)?;
        let (asked_at, has_key) = (message.sent_at, key.is_some());
        upload.file.hand_over();
        let queued = match key {
            Some(key) => self.repository.send_file_once(message, key, file, bytes).await.ok(),
            None => {
                let queued = self.repository.send_file(PerMessage::from([message]), file, bytes).await.ok();
                queued.and_then(|queued| queued.first().copied())
            }
        };
        let stored = self.stored(queued.as_ref());
        // Where another attempt under the key was the first, no message brings this one.
        if queued.is_some() && (stored.is_err() || has_key) {
            upload.file.take_back();
        }
        let (id, not_delivered) = stored?;
        debug!(bytes, "a file was sent");
        Ok((id, asked_at, not_delivered))
    }

    /// A file that the caller sent or received.
    pub(crate) async fn sent_file(&self, caller: &Caller, id: FileId) -> Result<SentFile, Refusal> {
        self.must_be_open(caller)?;
        let reader = caller.user()?.session.user.id;
        self.repository.file_seen_by(reader, id).await.map_err(unavailable)?.ok_or(Refusal::NoSuchFile)
    }

    /// Compares a file with its sum; gives its first piece.
    pub(crate) async fn checked_file(&self, reader: UserId, file: &SentFile) -> Result<Vec<u8>, Refusal> {
        let (mut first, mut places, mut sum) = (Vec::new(), 0, Sha256::new());
        while let Some(piece) = self.file_piece(reader, file.id, places).await? {
            sum.update(&piece);
            if places == 0 {
                first = piece;
            }
            places += 1;
        }
        if sum.finalize()[..] != file.sha256[..] {
            error!(file = file.id.0, "a file is damaged; a backup may have it");
            return Err(Refusal::NoSuchFile);
        }
        Ok(first)
    }

    /// A piece of a file; `None`: it has no more.
    pub(crate) async fn file_piece(
        &self,
        reader: UserId,
        file: FileId,
        place: u32,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        self.repository.file_piece(reader, file, place).await.map_err(unavailable)
    }

    /// The file that a message of `reader`'s brings.
    pub(crate) async fn sent_file_of(&self, reader: UserId, message: MessageId) -> Result<Option<SentFile>, Refusal> {
        let found = self.repository.files_of(reader, vec![message]).await.map_err(unavailable)?;
        Ok(found.into_iter().next().map(|received| received.file))
    }

    /// The files that these messages of `reader`'s bring. Only a message without a text can bring one.
    pub(crate) async fn sent_files_of<'a>(
        &self,
        reader: UserId,
        messages: impl Iterator<Item = &'a HistoryEntry>,
    ) -> Result<BTreeMap<MessageId, SentFile>, Refusal> {
        let ids = messages.filter(|entry| entry.message.text.is_empty()).map(|entry| entry.message.id);
        let ids: Vec<MessageId> = ids.collect();
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = self.repository.files_of(reader, ids).await.map_err(unavailable)?;
        Ok(found.into_iter().map(|received| (received.message, received.file)).collect())
    }
}
