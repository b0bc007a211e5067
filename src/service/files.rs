//! Files: sent with messages, stored once in pieces, and read by their recipients. They are no files on the server's
//! disk: the name of a file is only a text.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tracing::{debug, error};

use super::family::{AT_ONCE, SendTally};
use super::uploads::UnsentFile;
use super::{Caller, Handout, Outcome, Peer, PerMessage, Service, unavailable};
use crate::model::{FileId, FileName, FileWord, LookupName, Message, MessageId, UserId, Username};
use crate::protocol::family::FileRecipients;
use crate::protocol::{FamilyReply, InboxFile, Refusal, Reply, Send};
use crate::repository::{FileQuery, NewFile, NewMessage, SentFile};

/// How many files one reply has at the most.
const LISTED: usize = 1_000;

impl Service {
    /// Sends a file to whoever has a name, to a group, or to each of a list of people.
    pub(super) async fn send_file(
        &self,
        peer: &Peer,
        caller: &Caller,
        whom: FileRecipients,
        name: FileName,
        data: Arc<str>,
    ) -> Result<Outcome, Refusal> {
        let text: Arc<str> = "".into();
        let messages = match whom {
            FileRecipients::One(recipient) => {
                self.accept(peer, caller, Send { recipient, text }).await.map(|message| vec![message])
            }
            FileRecipients::Several(whom) => self.addressed(peer, caller, &whom, &text).await,
        };
        let messages = messages.inspect_err(|refusal| self.refused_sends.count(refusal.reason()))?;
        let sender = caller.user()?.session.user.id;
        // Megabytes are read several times; the threads that serve are for others.
        let summed = data.clone();
        let summed = spawn_blocking(move || {
            let word = FileWord::parse(&summed);
            (word.spelling, word.sum())
        });
        let (spelling, (bytes, sha256)) = summed.await.map_err(|_| Refusal::Unavailable)?;
        let word = FileWord::written(&data, spelling);
        let most = self.rules().file_bytes;
        if bytes > most {
            return Err(Refusal::FileTooLarge { most });
        }
        let new = NewFile { sender, name, spelling, bytes, sha256 };
        let file = self.add_file(new).await?;
        let reply = self.send_pieces(caller, word, file, bytes, messages).await?;
        debug!(address = %peer.address, bytes, "a file was sent");
        Ok(caller.hears(reply))
    }

    async fn send_pieces(
        &self,
        caller: &Caller,
        word: FileWord<'_>,
        mut file: UnsentFile,
        bytes: u64,
        messages: Vec<NewMessage>,
    ) -> Result<Reply, Refusal> {
        for (place, piece) in (0..).zip(word.pieces()) {
            self.must_be_open(caller)?;
            self.repository.add_file_piece(file.id, place, piece.into()).await.map_err(unavailable)?;
        }
        let mut tally = SendTally::default();
        file.hand_over();
        for some in messages.chunks(AT_ONCE) {
            let queued =
                self.repository.send_file(PerMessage::from(some), file.id, bytes).await.map_err(unavailable)?;
            tally.add(self, &queued);
        }
        let reply = tally.reply();
        if reply.is_err() {
            file.take_back();
        }
        reply
    }

    /// The word that a file is; `None`: it is gone or damaged.
    async fn file_word(&self, reader: UserId, file: &SentFile) -> Result<Option<Arc<str>>, Refusal> {
        let (mut pieces, mut sum) = (Vec::new(), Sha256::new());
        while let Some(piece) =
            self.repository.file_piece(reader, file.id, place(pieces.len())).await.map_err(unavailable)?
        {
            sum.update(&piece);
            pieces.push(piece);
        }
        if sum.finalize()[..] != file.sha256[..] {
            error!(file = file.id.0, "a file is damaged; a backup may have it");
            return Ok(None);
        }
        Ok(Some(file.spelling.word(pieces.iter().map(Vec::as_slice)).into()))
    }

    /// The files that these messages bring, in the order of the messages. Only one without a text can bring one.
    pub(super) async fn files_brought<'a>(
        &self,
        reader: UserId,
        messages: impl Iterator<Item = &'a Message>,
        told: Handout,
    ) -> Result<Vec<InboxFile>, Refusal> {
        let ids: Vec<MessageId> =
            messages.filter(|message| message.text.is_empty()).map(|message| message.id).collect();
        let mut files = Vec::new();
        if ids.is_empty() {
            return Ok(files);
        }
        for received in self.repository.files_of(reader, ids).await.map_err(unavailable)? {
            let data = match told {
                Handout::WithoutBytes => Some("".into()),
                Handout::BySender | Handout::Numbered => self.file_word(reader, &received.file).await?,
            };
            if let Some(data) = data {
                let SentFile { id, name, .. } = received.file;
                files.push(InboxFile { message: received.message, id, name, data });
            }
        }
        Ok(files)
    }

    /// A file that was sent to the caller.
    pub(super) async fn download(
        &self,
        caller: &Caller,
        id: Option<FileId>,
        sender: Option<LookupName>,
        name: String,
    ) -> Result<Outcome, Refusal> {
        let me = caller.user()?.session.user.id;
        let sender = match sender {
            Some(sender) => Some(self.user_named(&sender).await.map_err(|_| Refusal::NoSuchFile)?),
            None => None,
        };
        // Only the part after the last slash counts, because a name cannot open another folder.
        let name = FileName::parse(&name).ok_or(Refusal::NoSuchFile)?.as_str().to_owned();
        let wanted = FileQuery { id, name: Some(name), sender, most: 1 };
        let found = self.repository.files_sent_to(me, wanted).await.map_err(unavailable)?;
        let file = found.into_iter().next().ok_or(Refusal::NoSuchFile)?.file;
        let data = self.file_word(me, &file).await?.ok_or(Refusal::NoSuchFile)?;
        Ok(caller.hears(Reply::Family(FamilyReply::File { name: file.name, data })))
    }

    /// The names of the files that were sent to the caller, by sender, oldest first.
    pub(super) async fn file_names(&self, caller: &Caller) -> Result<Outcome, Refusal> {
        let me = caller.user()?.session.user.id;
        let wanted = FileQuery { most: LISTED, ..FileQuery::default() };
        let found = self.repository.files_sent_to(me, wanted).await.map_err(unavailable)?;
        let mut files: Vec<(Username, Vec<String>)> = Vec::new();
        for received in found.into_iter().rev() {
            let Some(sender) = self.repository.user(received.sender).await.map_err(unavailable)? else { continue };
            match files.iter_mut().find(|(username, _)| *username == sender.username) {
                Some((_, names)) => names.push(received.file.name),
                None => files.push((sender.username.clone(), vec![received.file.name])),
            }
        }
        Ok(caller.hears(Reply::Family(FamilyReply::Files(files))))
    }
}

fn place(pieces: usize) -> u32 {
    u32::try_from(pieces).unwrap_or(u32::MAX)
}
