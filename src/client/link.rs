//! A connection that connects again when it was lost, for example by a restart of the server. A token outlives the
//! connection, so it can still be used.

use std::io::Read;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{ClientConnection, ClientError, REPLY, RemoteServer};
use crate::model::{FileName, LookupName, Token};
use crate::protocol::{Command, Reply, Request};

/// How long a server that was there once may be away.
const AWAY: Duration = Duration::from_secs(30);
/// How long to wait before the next attempt to connect: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection with a way back.
pub struct Link {
    server: RemoteServer,
    connection: Option<ClientConnection>,
    /// A server was there once.
    was_up: bool,
}

impl Link {
    /// Not yet connected.
    pub fn new(server: RemoteServer) -> Link {
        Link { server, connection: None, was_up: false }
    }

    /// Asks. If the old connection is gone, makes a new one. Repeats a request only if this does no harm; a message
    /// might arrive twice.
    pub async fn call(&mut self, request: &Request) -> Result<Reply, ClientError> {
        match self.call_once(request, REPLY).await {
            Err(ClientError::Lost(_)) if !matches!(request.command, Command::Send(_)) => {
                self.call_once(request, REPLY).await
            }
            other => other,
        }
    }

    /// Waits for mail, as [`ClientConnection::mail`] does.
    pub async fn mail(&mut self, token: Token, patience: Duration) -> Result<Reply, ClientError> {
        match self.mail_once(token, patience).await {
            Err(ClientError::Lost(_)) => self.mail_once(token, patience).await,
            other => other,
        }
    }

    /// The same, but a connection that is lost is an error, even where another could be made.
    pub async fn mail_once(&mut self, token: Token, patience: Duration) -> Result<Reply, ClientError> {
        let mut connection = self.take().await?;
        let result = connection.mail(token, patience).await;
        self.keep(connection, result)
    }

    /// The same, but a connection that is lost is an error, even where another could be made; the reply may take so
    /// long.
    pub async fn call_once(&mut self, request: &Request, limit: Duration) -> Result<Reply, ClientError> {
        let mut connection = self.take().await?;
        let result = connection.call_within(request, limit).await;
        self.keep(connection, result)
    }

    /// Sends a file to a person or a group, once. A connection that is lost is an error, even where another could be
    /// made; whether the file was sent is not known then.
    pub async fn send_file(
        &mut self,
        token: Token,
        recipient: &LookupName,
        name: &FileName,
        data: impl Read + Send + 'static,
    ) -> Result<Reply, ClientError> {
        let mut connection = self.take().await?;
        let result = connection.send_file(token, recipient, name, data).await;
        self.keep(connection, result)
    }

    fn keep(&mut self, connection: ClientConnection, result: Result<Reply, ClientError>) -> Result<Reply, ClientError> {
        // In the middle of a file there is no way to say anything else.
        if !matches!(result, Err(ClientError::Lost(_) | ClientError::File(_))) {
            self.connection = Some(connection);
        }
        result
    }

    /// The connection, made where there is none. What it hands out is held until [`Link::close`] or the next request.
    pub async fn connection(&mut self) -> Result<&mut ClientConnection, ClientError> {
        let connection = self.take().await?;
        Ok(self.connection.insert(connection))
    }

    /// The connection, for one request. A caller that stops waiting for the reply drops the connection, because the
    /// next request would get this reply.
    async fn take(&mut self) -> Result<ClientConnection, ClientError> {
        match self.connection.take().filter(ClientConnection::is_open) {
            Some(living) => Ok(living),
            None => self.connect().await,
        }
    }

    async fn connect(&mut self) -> Result<ClientConnection, ClientError> {
        let give_up = Instant::now() + if self.was_up { AWAY } else { Duration::ZERO };
        let mut pause = FIRST_PAUSE;
        loop {
            match ClientConnection::open(&self.server).await {
                Ok(connection) => {
                    connection.hold(true)?;
                    self.was_up = true;
                    return Ok(connection);
                }
                Err(error) if Instant::now() + pause > give_up => return Err(error),
                Err(_) => sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Ends the connection: what it handed out has been read.
    pub async fn close(self) {
        if let Some(connection) = self.connection {
            connection.close().await;
        }
    }
}
