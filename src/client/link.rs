//! A connection that is made anew when it was lost, as by a restart of the server. Tokens outlive connections, so
//! whoever has one goes on with it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Connection, Error, Server};
use crate::model::Token;
use crate::protocol::{Command, Reply, Request};

/// How long a server that was there once may be away.
const AWAY: Duration = Duration::from_secs(30);
/// How long to wait before the next attempt to connect: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection with a way back.
pub struct Link {
    server: Server,
    connection: Option<Connection>,
    /// A server was there once.
    was_up: bool,
}

impl Link {
    /// Not yet connected.
    pub fn new(server: Server) -> Link {
        Link { server, connection: None, was_up: false }
    }

    /// Asks, over a new connection where the old one is gone. A request is said a second time only where that does
    /// no harm; a message might arrive twice.
    pub async fn call(&mut self, request: &Request) -> Result<Reply, Error> {
        match self.call_once(request).await {
            Err(Error::Lost(_)) if !matches!(request.command, Command::Send(_)) => self.call_once(request).await,
            other => other,
        }
    }

    /// Waits for mail, as [`Connection::mail`] does.
    pub async fn mail(&mut self, token: Token, patience: Duration) -> Result<Reply, Error> {
        match self.mail_once(token, patience).await {
            Err(Error::Lost(_)) => self.mail_once(token, patience).await,
            other => other,
        }
    }

    /// The same, but a connection that is lost is an error, even where another could be made.
    pub async fn mail_once(&mut self, token: Token, patience: Duration) -> Result<Reply, Error> {
        let result = self.connection().await?.mail(token, patience).await;
        if let Err(Error::Lost(_)) = result {
            self.connection = None;
        }
        result
    }

    async fn call_once(&mut self, request: &Request) -> Result<Reply, Error> {
        let result = self.connection().await?.call(request).await;
        if let Err(Error::Lost(_)) = result {
            self.connection = None;
        }
        result
    }

    /// The connection, made where there is none. What it hands out is held until [`Link::close`] or the next request.
    pub async fn connection(&mut self) -> Result<&mut Connection, Error> {
        let living = match self.connection.take().filter(Connection::is_open) {
            Some(living) => living,
            None => self.connect().await?,
        };
        Ok(self.connection.insert(living))
    }

    async fn connect(&mut self) -> Result<Connection, Error> {
        let give_up = Instant::now() + if self.was_up { AWAY } else { Duration::ZERO };
        let mut pause = FIRST_PAUSE;
        loop {
            match Connection::open(&self.server).await {
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
