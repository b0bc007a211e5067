//! The text protocol on the client's side: takes a typed line, gives what to show. Keeps the session. Knows neither
//! terminal nor pipe.

use std::time::Duration;

use crate::client::link::Link;
use crate::client::{ClientError, RemoteServer};
use crate::model::{LookupName, Password, Token};
use crate::protocol::client::Unreadable;
use crate::protocol::text::{self, ReplyContext};
use crate::protocol::{Command, Refusal, Reply, Request};

/// A person's dealings with a server.
pub(super) struct Conversation {
    link: Link,
    token: Option<Token>,
    username: String,
    /// The sessions that were opened here and have not ended, with their users.
    opened: Vec<(String, Token)>,
}

/// What became of a line.
pub(super) struct Answered {
    pub echo: ReplyContext,
    /// What the server says, or this program where the line got no further.
    pub reply: Reply,
}

impl Answered {
    /// The line that the text protocol shows.
    pub(super) fn line(&self) -> String {
        text::render(&self.echo, &self.reply)
    }

    /// What was asked for was done.
    pub(super) fn worked(&self) -> bool {
        !matches!(self.reply, Reply::Refused(_))
    }
}

impl Conversation {
    /// One that has not begun.
    pub(super) fn new(server: RemoteServer) -> Conversation {
        Conversation { link: Link::new(server), token: None, username: String::new(), opened: Vec::new() }
    }

    /// Connects, so that a wrong address is told before anything is typed.
    pub(super) async fn connect(&mut self) -> Result<(), ClientError> {
        self.link.connection().await.map(drop)
    }

    /// The session, while there is one.
    pub(super) fn token(&self) -> Option<Token> {
        self.token
    }

    pub(super) fn username(&self) -> &str {
        &self.username
    }

    /// Carries out what was typed.
    pub(super) async fn say(&mut self, line: &[u8]) -> Result<Answered, ClientError> {
        let (echo, request) = text::parse(line, self.token);
        match request {
            Ok(request) => self.ask(echo, request).await,
            Err(refusal) => Ok(Answered { echo, reply: refusal.into() }),
        }
    }

    /// What waits, with numbers. A server that has no such command knows nothing of it.
    pub(super) async fn fetch(&mut self, token: Token) -> Result<Answered, ClientError> {
        self.ask(ReplyContext::Inbox, Command::Fetch { at_most: Duration::ZERO }.with(token)).await
    }

    /// Logs in with a password that was not typed in the line.
    pub(super) async fn log_in(&mut self, username: &str, password: Password) -> Result<Answered, ClientError> {
        let command = Command::Auth { username: LookupName::of(username), password };
        let request = Request { token: None, command };
        self.ask(ReplyContext::Auth(username.to_owned()), request).await
    }

    async fn ask(&mut self, echo: ReplyContext, request: Request) -> Result<Answered, ClientError> {
        let reply = self.link.call(&request).await?;
        match (&reply, request.token) {
            (Reply::LoggedIn { token }, _) => {
                self.token = Some(*token);
                if let ReplyContext::Auth(name) = &echo {
                    self.username.clone_from(name);
                }
                self.opened.push((self.username.clone(), *token));
            }
            (Reply::LoggedOut { .. } | Reply::Refused(Refusal::UnknownToken), Some(token)) => self.has_ended(token),
            _ => {}
        }
        Ok(Answered { echo, reply })
    }

    /// A session has ended, whoever ended it.
    pub(super) fn has_ended(&mut self, token: Token) {
        self.opened.retain(|(_, opened)| *opened != token);
        self.token = self.token.filter(|own| *own != token);
    }

    /// Whose sessions were opened here and have not ended, as far as is known.
    pub(super) fn opened(&self) -> impl Iterator<Item = &str> {
        self.opened.iter().map(|(username, _)| username.as_str())
    }

    /// Ends all sessions that were opened here; says why not where one could not be ended.
    pub(super) async fn end_sessions(&mut self) -> Result<(), String> {
        while let Some((_, token)) = self.opened.last() {
            let token = *token;
            match self.link.call(&Command::Logout.with(token)).await {
                Ok(Reply::LoggedOut { .. } | Reply::Refused(Refusal::UnknownToken)) => self.has_ended(token),
                Ok(other) => return Err(text::render(&ReplyContext::Logout, &other)),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Who is logged in; nobody where that cannot be learnt.
    pub(super) async fn online(&mut self) -> Vec<String> {
        let Some(token) = self.token else { return Vec::new() };
        match self.link.call(&Command::Show.with(token)).await {
            Ok(Reply::Online(names)) => names.iter().map(|name| name.to_string()).collect(),
            _ => Vec::new(),
        }
    }

    /// All that was said has been shown.
    pub(super) async fn end(self) {
        self.link.close().await;
    }
}

/// What is shown when no reply came.
pub(super) fn failure(error: &ClientError) -> String {
    match error {
        ClientError::Unreadable(Unreadable::Words(words)) => format!("Error, {words}"),
        ClientError::Lost(_) => format!("Error, {error}: it may have been carried out, or not"),
        other => format!("Error, {other}"),
    }
}

/// The name in a line that is a login but for the password.
pub(super) fn login_without_password(line: &[u8]) -> Option<&str> {
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("auth"), Some(name), None) => Some(name),
        _ => None,
    }
}
