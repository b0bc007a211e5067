//! Connects to a server. Tries every address of its name, as RFC 8305 says, before one deadline. The error says what
//! was tried. Knows nothing about requests.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, CertificateError};

/// How long all of it may take: the name, the connection and the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an address has before the next one is tried beside it (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Until when there must be a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    /// For a connection that is wanted now.
    pub(super) fn new() -> Deadline {
        Deadline::after(CONNECT)
    }

    fn after(limit: Duration) -> Deadline {
        Deadline { at: Instant::now() + limit, limit }
    }
}

/// Why there is no connection. Times are seconds.
#[derive(Debug, thiserror::Error)]
pub enum NoConnection {
    /// The name has no address.
    #[error("the name cannot be resolved: {0}")]
    Name(io::Error),
    /// The resolver did not answer.
    #[error("the name was not resolved within {0} s")]
    NameTimedOut(u64),
    /// None of the addresses let us in.
    #[error("{}", Tried(.0, .1))]
    Nobody(Vec<FailedAttempt>, u64),
    /// The name cannot stand in a certificate.
    #[error("TLS needs a host name or an IP address, and this is neither")]
    NameForTls,
    /// Somebody is there who did not finish the TLS handshake.
    #[error("the TLS handshake did not end within {0} s: does this port speak TLS?")]
    TlsTimedOut(u64),
    /// Somebody is there who speaks something else.
    #[error(
        "the server does not speak TLS on this port: connect without --tls and --tls-ca (CHATD_TLS, CHATD_TLS_CA), \
         or to its TLS port"
    )]
    NotTls,
    /// The certificate is of an authority that is not trusted here.
    #[error(
        "the certificate is of an authority that is not trusted here: if it is yours, name its file with --tls-ca \
         (CHATD_TLS_CA)"
    )]
    UnknownAuthority,
    /// The server shows the certificate of an authority, as `openssl req -x509` makes it.
    #[error(
        "the server shows the certificate of an authority (CA:TRUE) as its own: give the server one that the authority \
         has signed, or one made with `openssl req -x509 -addext basicConstraints=critical,CA:FALSE`, and name that \
         with --tls-ca (CHATD_TLS_CA)"
    )]
    AuthorityAsServer,
    /// The TLS handshake failed.
    #[error("no TLS: {0}")]
    Tls(io::Error),
}

/// An address, and why it did not let us in; `None`: it did not answer in time.
#[derive(Debug)]
pub struct FailedAttempt {
    address: SocketAddr,
    failure: Option<io::Error>,
}

/// Attempts as a person reads them, and how long they had.
struct Tried<'a>(&'a [FailedAttempt], &'a u64);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("the name has no address"),
            [FailedAttempt { failure: Some(failure), .. }] => failure.fmt(f),
            [FailedAttempt { failure: None, .. }] => write!(f, "timed out after {} s", self.1),
            several => {
                write!(f, "no connection within {} s, tried ", self.1)?;
                for (place, attempt) in several.iter().enumerate() {
                    let between = if place > 0 { ", " } else { "" };
                    write!(f, "{between}{} (", attempt.address.ip())?;
                    match &attempt.failure {
                        Some(failure) => write!(f, "{failure})")?,
                        None => write!(f, "timed out)")?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// Connects to the first address of the host that answers.
pub(super) async fn connect(host: &str, port: u16, deadline: Deadline) -> Result<TcpStream, NoConnection> {
    let found = timeout_at(deadline.at, lookup_host((host, port))).await;
    let found = found.map_err(|_| NoConnection::NameTimedOut(deadline.limit.as_secs()))?;
    race(found.map_err(NoConnection::Name)?.collect(), deadline).await
}

/// Shakes hands with the server at the other end of `stream`, which must show a certificate for `host`.
pub(super) async fn shake_hands(
    connector: &TlsConnector,
    host: &str,
    stream: TcpStream,
    deadline: Deadline,
) -> Result<TlsStream<TcpStream>, NoConnection> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| NoConnection::NameForTls)?;
    let shaken = timeout_at(deadline.at, connector.connect(name, stream)).await;
    shaken.map_err(|_| NoConnection::TlsTimedOut(deadline.limit.as_secs()))?.map_err(|error| {
        match error.get_ref().and_then(|source| source.downcast_ref()) {
            Some(rustls::Error::InvalidMessage(_)) => NoConnection::NotTls,
            // Another authority may have the same name as one that is trusted here. Then the signature is wrong.
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => NoConnection::UnknownAuthority,
            // rustls has no variant for it.
            Some(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
                if other.to_string() == "CaUsedAsEndEntity" =>
            {
                NoConnection::AuthorityAsServer
            }
            _ => NoConnection::Tls(error),
        }
    })
}

/// Tries the addresses one after the other, the next one as soon as the last has failed or has been silent for a while.
/// The first connection is taken, and the other attempts end.
async fn race(addresses: Vec<SocketAddr>, deadline: Deadline) -> Result<TcpStream, NoConnection> {
    let mut left = interleaved(addresses).into_iter();
    let mut tried: Vec<FailedAttempt> = Vec::new();
    let mut attempts = JoinSet::new();
    loop {
        if let Some(address) = left.next() {
            let place = tried.len();
            tried.push(FailedAttempt { address, failure: None });
            attempts.spawn(async move { (place, TcpStream::connect(address).await) });
        }
        let next_attempt = if left.len() > 0 { Instant::now() + ATTEMPT_DELAY } else { deadline.at }.min(deadline.at);
        tokio::select! {
            biased;
            done = attempts.join_next() => match done {
                Some(Ok((_, Ok(stream)))) => return Ok(stream),
                Some(Ok((place, Err(failure)))) => tried[place].failure = Some(failure),
                // An attempt that panicked was silent.
                Some(Err(_)) => {}
                None => return Err(NoConnection::Nobody(tried, deadline.limit.as_secs())),
            },
            () = sleep_until(next_attempt) => if next_attempt == deadline.at {
                return Err(NoConnection::Nobody(tried, deadline.limit.as_secs()));
            },
        }
    }
}

/// The addresses as the system prefers them, but with the two families taking turns (RFC 8305, section 4).
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().copied() else { return addresses };
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first.is_ipv6());
    let mut mixed = Vec::with_capacity(preferred.len() + other.len());
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    while preferred.len() + other.len() > 0 {
        mixed.extend(preferred.next());
        mixed.extend(other.next());
    }
    mixed
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A listener that answers no more: its queue is full, so the system drops what comes.
    struct Silent {
        listener: Socket,
        _queued: Vec<Socket>,
    }

    impl Silent {
        fn at(ip: Ipv4Addr) -> Silent {
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
            listener.bind(&SocketAddr::from((ip, 0)).into()).expect("the whole of 127/8 is this machine");
            listener.listen(0).expect("it is bound");
            let address = listener.local_addr().expect("it is bound");
            let queued = (0..8).map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
                socket.set_nonblocking(true).expect("it can be");
                let _ = socket.connect(&address);
                socket
            });
            Silent { _queued: queued.collect(), listener }
        }

        fn address(&self) -> SocketAddr {
            self.listener.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound")
        }
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("it is an address")).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let wanted = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(interleaved(found), wanted);
        let found = addresses(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]);
        assert_eq!(interleaved(found), addresses(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]));
        assert_eq!(interleaved(Vec::new()), []);
    }

    #[tokio::test]
    async fn a_silent_address_is_not_the_end() {
        let silent = [2, 3].map(|last| Silent::at(Ipv4Addr::new(127, 0, 0, last)));
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let good = listener.local_addr().expect("it is bound");
        let addresses = silent.iter().map(Silent::address).chain([good]).collect();
        let stream = race(addresses, Deadline::after(Duration::from_secs(60))).await.expect("the last one answers");
        assert_eq!(stream.peer_addr().expect("it is connected"), good);
    }

    #[tokio::test]
    async fn one_deadline_for_all_and_the_error_says_what_was_tried() {
        let silent = Silent::at(Ipv4Addr::new(127, 0, 0, 4));
        let closed = TcpListener::bind("127.0.0.5:0").expect("there is a free port");
        let refusing = closed.local_addr().expect("it is bound");
        drop(closed);
        let said = async |addresses| {
            let ended = race(addresses, Deadline::after(Duration::from_secs(2))).await;
            ended.expect_err("nobody answers").to_string()
        };
        let both = said(vec![silent.address(), refusing]).await;
        let wanted = "no connection within 2 s, tried 127.0.0.4 (timed out), 127.0.0.5 (Connection refused";
        assert!(both.starts_with(wanted), "{both}");
        assert_eq!(said(vec![silent.address()]).await, "timed out after 2 s");
        assert_eq!(said(Vec::new()).await, "the name has no address");
    }
}
