//! A connection to a server from the client's end: connect, `call` a request, hear its reply. Speaks the JSON dialect.
//! Knows no terminal and keeps nothing on disk; [`link`] makes a lost connection anew.
//!
//! ```no_run
//! use chatd::client::{ClientConnection, RemoteServer};
//! use chatd::model::{LookupName, Password};
//! use chatd::protocol::{Command, Reply, Request};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = RemoteServer { address: "127.0.0.1:8889".parse()?, tls: None };
//! let mut connection = ClientConnection::open(&server).await?;
//! let (username, password) = (LookupName::of("messi"), Password::parse("surabaya")?);
//! let login = Request { token: None, command: Command::Auth { username, password } };
//! if let Reply::LoggedIn { token } = connection.call(&login).await? {
//!     println!("{:?}", connection.call(&Command::Inbox.with(token)).await?);
//!     connection.call(&Command::Logout.with(token)).await?;
//! }
//! connection.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/echo.rs` is a whole program.

pub mod certificate;
mod connect;
mod file;
pub mod link;
pub mod tls;

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use self::connect::{Deadline, NoConnection};
use crate::model::Token;
use crate::protocol::client::{Unreadable, Unwritable, read, write};
use crate::protocol::{Command, Refusal, Reply, Request, SenderMessages};
use crate::transport::stream::{PeerState, Stream};

/// How long it may take for a reply: a login waits for its turn.
const REPLY: Duration = Duration::from_secs(60);
/// How much longer than it was asked to wait for mail a server may take.
const LATE: Duration = Duration::from_secs(10);
/// A request that may wait is given up no sooner. TCP has noticed by then that nobody is there, and says so.
const SILENT: Duration = Duration::from_secs(30);
/// After this time without bytes, TCP asks the other end whether it lives, and repeats this with the pause below.
const QUIET: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_secs(5);
const ASK_TIMES: u32 = 3;
/// How long the other end may take to acknowledge bytes.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// How long the logout may take after a login at a text port.
const GRACE: Duration = Duration::from_secs(5);
/// A longer reply is no reply of a chat server, in bytes.
const REPLY_BYTES: usize = 256 << 20;
/// How often to ask for the inbox when the server cannot wait for mail.
const POLL: Duration = Duration::from_secs(1);

/// Where a server listens.
///
/// ```
/// use chatd::client::ServerAddress;
///
/// assert!("[::1]:8889".parse::<ServerAddress>().is_ok());
/// assert!("chat.example.com".parse::<ServerAddress>().is_err(), "there is no port");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address is HOST:PORT, for example 127.0.0.1:8889 or [::1]:8889")]
pub struct BadAddress;

impl FromStr for ServerAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<ServerAddress, BadAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(BadAddress)?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        if host.is_empty() || (bracketed.is_none() && host.contains(':')) || host.contains(char::is_whitespace) {
            return Err(BadAddress);
        }
        Ok(ServerAddress { host: host.to_owned(), port: port.parse().map_err(|_| BadAddress)? })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection came about: nothing was asked.
    #[error("{address}: {why}")]
    Unreachable {
        /// The server.
        address: ServerAddress,
        /// What was tried, and what came of it.
        why: NoConnection,
    },
    /// The server speaks TLS, and this end does not: nothing was carried out.
    #[error("{0}: the server speaks TLS on this port: connect with --tls (CHATD_TLS=yes)")]
    Encrypted(ServerAddress),
    /// The connection broke: whether the request was carried out is not known.
    #[error("the connection was lost: {0}")]
    Lost(io::Error),
    /// The request was not sent.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    /// The file could not be read, so nothing was sent.
    #[error("the file was not sent: {0}")]
    File(io::Error),
    /// The reply was understood by nobody.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// The text has the cause, and the error has no source. So a program that prints all causes prints it once.
impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> ClientError {
        ClientError::Lost(error)
    }
}

/// A server, and how to speak with it.
#[derive(Clone)]
pub struct RemoteServer {
    /// Where it listens.
    pub address: ServerAddress,
    /// The trusted authorities, if the connection must be encrypted.
    pub tls: Option<TlsConnector>,
}

/// The stream of bytes, encrypted or not.
type Wire = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A connection. Dropped while it is [held](ClientConnection::hold) it ends with a reset.
pub struct ClientConnection {
    stream: Wire,
    address: ServerAddress,
    /// The best way to be handed mail of which the server has not said that it does not know it.
    way: MailWay,
}

/// How mail is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MailWay {
    /// With numbers and times.
    Fetch,
    Wait,
    /// Again and again.
    Inbox,
}

impl RemoteServer {
    async fn connect(&self) -> Result<Wire, NoConnection> {
        let deadline = Deadline::new();
        let ServerAddress { host, port } = &self.address;
        let stream = connect::connect(host, *port, deadline).await?;
        prepare(&stream);
        let Some(tls) = &self.tls else { return Ok(Either::Left(stream)) };
        Ok(Either::Right(Box::new(connect::shake_hands(tls, host, stream, deadline).await?)))
    }
}

/// Sends small requests at once. Makes TCP notice when the other end disappears without a packet, as after a change of
/// the network. A socket that refuses the options still works.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let alive = TcpKeepalive::new().with_time(QUIET).with_interval(ASK_AGAIN).with_retries(ASK_TIMES);
    let _ = socket.set_tcp_keepalive(&alive);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

impl ClientConnection {
    /// Connects to a server.
    pub async fn open(server: &RemoteServer) -> Result<ClientConnection, ClientError> {
        let address = server.address.clone();
        match server.connect().await {
            Ok(stream) => Ok(ClientConnection { stream, address, way: MailWay::Fetch }),
            Err(why) => Err(ClientError::Unreachable { address, why }),
        }
    }

    /// Asks, and waits for the reply. After [`ClientError::Lost`] the connection cannot be used any more.
    pub async fn call(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.call_within(request, REPLY).await
    }

    /// The same where the reply may take so long.
    pub async fn call_within(&mut self, request: &Request, limit: Duration) -> Result<Reply, ClientError> {
        let line = write(request)?;
        let reply = timeout(limit, self.exchange(&line)).await.unwrap_or_else(|_| Err(late(limit)));
        if matches!((&reply, &request.command), (Err(ClientError::Unreadable(Unreadable::Shape)), Command::Auth { .. }))
        {
            self.log_out_of_text_port().await;
        }
        self.understand(&reply?)
    }

    /// Waits for the reply to what was written.
    async fn hear(&mut self, limit: Duration) -> Result<Reply, ClientError> {
        let reply = timeout(limit, self.receive()).await.unwrap_or_else(|_| Err(late(limit)));
        self.understand(&reply?)
    }

    fn understand(&self, reply: &[u8]) -> Result<Reply, ClientError> {
        match read(reply)? {
            Reply::Refused(Refusal::WantsTls) => Err(ClientError::Encrypted(self.address.clone())),
            reply => Ok(reply),
        }
    }

    async fn exchange(&mut self, line: &[u8]) -> Result<Vec<u8>, ClientError> {
        self.stream.write_all(line).await?;
        self.stream.flush().await?;
        self.receive().await
    }

    /// Reads the whole reply, also its last byte. For a server, unread bytes mean an unread reply.
    async fn receive(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n\r\n") {
            let read = self.stream.read_buf(&mut reply).await;
            if begins_tls(&reply) {
                return Err(ClientError::Encrypted(self.address.clone()));
            }
            // The text port ends its lines otherwise, so the end that is waited for would never come.
            if reply.first().is_some_and(|first| *first != b'{') {
                return Err(Unreadable::Shape.into());
            }
            if read? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it").into());
            }
            if reply.len() > REPLY_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the reply does not end").into());
            }
        }
        Ok(reply)
    }

    /// The text port has opened a session for this connection, and nobody else would end it. A server of another kind
    /// ignores the line. The connection cannot be used any more.
    async fn log_out_of_text_port(&mut self) {
        let ended = async {
            self.stream.write_all(b"logout\r\n").await?;
            self.stream.shutdown().await?;
            // What is said to it, and the end.
            let mut said = [0; 4096];
            while self.stream.read(&mut said).await? > 0 {}
            Ok::<(), io::Error>(())
        };
        let _ = timeout(GRACE, ended).await;
    }

    /// The server has not ended the connection, as far as is known without asking.
    pub fn is_open(&self) -> bool {
        matches!(self.tcp().peer_state(), Ok(PeerState::Open))
    }

    /// Whether the last reply is still on its way to the person. While it is, any end of the connection, also the death
    /// of the process, is a reset, and the server keeps those messages.
    pub fn hold(&self, held: bool) -> io::Result<()> {
        SockRef::from(self.tcp()).set_linger(held.then_some(Duration::ZERO))
    }

    /// Ends the connection in good order: the last reply has reached the person.
    pub async fn close(mut self) {
        // A server that is gone has kept what it did not see confirmed.
        if self.hold(false).is_ok() {
            let _ = self.stream.shutdown().await;
        }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Either::Left(stream) => stream,
            Either::Right(stream) => stream.get_ref().0,
        }
    }
}

impl ClientConnection {
    /// Waits for mail for `patience` at the most. Gives the reply of [`Command::Fetch`], which is empty when no mail
    /// came. If the server is old and cannot wait, this asks it repeatedly. Numbers and times that it does not give are
    /// 0.
    pub async fn mail(&mut self, token: Token, patience: Duration) -> Result<Reply, ClientError> {
        let give_up = Instant::now() + patience;
        loop {
            let reply = self.ask_for_mail(token, give_up.saturating_duration_since(Instant::now())).await?;
            if !is_empty(&reply) || Instant::now() + POLL > give_up {
                return Ok(reply);
            }
            sleep(POLL).await;
        }
    }

    async fn ask_for_mail(&mut self, token: Token, at_most: Duration) -> Result<Reply, ClientError> {
        // The wire has whole seconds.
        let at_most = Duration::from_secs(at_most.as_secs());
        loop {
            let (command, limit, next) = match self.way {
                MailWay::Fetch => (Command::Fetch { at_most }, SILENT.max(at_most + LATE), MailWay::Wait),
                MailWay::Wait => (Command::Wait { at_most }, SILENT.max(at_most + LATE), MailWay::Inbox),
                MailWay::Inbox => (Command::Inbox, REPLY, MailWay::Inbox),
            };
            match self.call_within(&command.with(token), limit).await? {
                Reply::Refused(Refusal::UnknownCommand) if self.way != next => self.way = next,
                Reply::Inbox(senders) => {
                    return Ok(Reply::Fetched(senders.into_iter().flat_map(SenderMessages::into_fetched).collect()));
                }
                reply => return Ok(reply),
            }
        }
    }
}

fn late(limit: Duration) -> ClientError {
    ClientError::Lost(io::Error::other(format!("no reply within {} s", limit.as_secs())))
}

/// Whether a reply is the beginning of a TLS record: an alert, or a handshake (RFC 8446, section 5.1). No unencrypted
/// reply begins with a control character.
fn begins_tls(reply: &[u8]) -> bool {
    matches!(reply, [21 | 22, 3, ..])
}

/// Nothing was fetched.
pub fn is_empty(reply: &Reply) -> bool {
    matches!(reply, Reply::Fetched(messages) if messages.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port() {
        for good in ["127.0.0.1:8889", "[::1]:8889", "chat.example:1", "localhost:65535"] {
            assert_eq!(good.parse::<ServerAddress>().map(|address| address.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "8889", "host", "host:", ":8889", "::1:8889", "host:99999", "a b:1", "[]:1"] {
            assert_eq!(bad.parse::<ServerAddress>(), Err(BadAddress), "{bad:?}");
        }
    }
}
