//! A file goes to the server piece by piece, so that it is in memory neither as bytes nor as the word of the wire.

use std::io::{self, Read};

use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{ClientConnection, ClientError, REPLY};
use crate::model::{FILE_PIECE, FileName, FileSpelling, LookupName, Token};
use crate::protocol::Reply;
use crate::protocol::client::write_file;

/// No server takes a larger file, in bytes.
const FILE_BYTES: usize = 64 << 20;

impl ClientConnection {
    /// Sends a file to a person or a group. What goes wrong with the file itself is [`ClientError::File`]: then nothing
    /// is sent, and the connection is of no use any more.
    pub async fn send_file(
        &mut self,
        token: Token,
        recipient: &LookupName,
        name: &FileName,
        mut data: impl Read + Send + 'static,
    ) -> Result<Reply, ClientError> {
        self.write_in_time(&write_file(token, recipient, name)?).await?;
        let (mut piece, mut sent) = (vec![0; FILE_PIECE], 0);
        loop {
            let length;
            // On a thread of its own, because a disk may take its time.
            (length, data, piece) = next_piece(data, piece).await.map_err(ClientError::File)?;
            sent += length;
            if sent > FILE_BYTES {
                let why = format!("it has more than {FILE_BYTES} bytes, and no server takes that");
                return Err(ClientError::File(io::Error::other(why)));
            }
            if length == 0 {
                break;
            }
            self.write_in_time(FileSpelling::Base64.word([&piece[..length]]).as_bytes()).await?;
        }
        self.write_in_time(b"\r\n").await?;
        self.hear(REPLY).await
    }

    /// A server that takes nothing for so long is as good as gone.
    async fn write_in_time(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        let late = |_| Err(io::Error::other("the server takes no more"));
        Ok(timeout(REPLY, written).await.unwrap_or_else(late)?)
    }
}

/// Reads as many bytes as there is room for, or all that there are.
async fn next_piece<R: Read + Send + 'static>(mut data: R, mut piece: Vec<u8>) -> io::Result<(usize, R, Vec<u8>)> {
    let read = spawn_blocking(move || {
        let mut length = 0;
        while length < piece.len() {
            match data.read(&mut piece[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((length, data, piece))
    });
    read.await.map_err(io::Error::other)?
}
