//! TLS on the server's side: a certificate that can change while the server runs, and an encrypted stream for a
//! connection. Knows nothing about requests.

mod challenge;
mod handshake;
mod identity;

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::{Acceptor, ClientHello, ResolvesServerCertUsingSni};
use tracing::warn;

use crate::charge::Payer;
use crate::fair::Turns;
use crate::transport::stream::{PeerState, Stream};
pub(crate) use crate::transport::tls::challenge::PendingChallenge;
use crate::transport::tls::challenge::{BadChallenge, Challenges};
pub(crate) use crate::transport::tls::identity::{BadIdentity, TlsIdentity, Validity};

/// Makes TCP connections into TLS connections.
#[derive(Debug)]
pub(crate) struct Tls {
    /// `None`: ACME has brought none yet.
    identity: RwLock<Option<TlsIdentity>>,
    challenges: Challenges,
    /// Refuses every handshake.
    no_identity: Arc<ServerConfig>,
    /// The log has said that handshakes are refused.
    refusal_told: AtomicBool,
    handshake_timeout: Duration,
    turns: Arc<Turns<Payer>>,
}

impl Tls {
    /// As this identity; a handshake may take so long.
    pub(crate) fn new(identity: Option<TlsIdentity>, handshake_timeout: Duration) -> Tls {
        Tls {
            identity: RwLock::new(identity),
            challenges: Challenges::new(),
            no_identity: Arc::new(identity::resolved_by(Arc::new(ResolvesServerCertUsingSni::new()))),
            refusal_told: AtomicBool::new(false),
            handshake_timeout,
            turns: handshake::turns(),
        }
    }

    /// The identity that connections see, if there is one yet.
    pub(crate) fn identity(&self) -> Option<TlsIdentity> {
        self.identity.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections from now on see this identity.
    pub(crate) fn set_identity(&self, identity: TlsIdentity) {
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = Some(identity);
    }

    /// Answers an authority that asks for this name, until the result is dropped.
    pub(crate) fn answer_challenge(&self, name: &str, digest: [u8; 32]) -> Result<PendingChallenge, BadChallenge> {
        self.challenges.answer(name, digest)
    }

    /// Shakes hands with somebody at `address`, unless the peer does not speak TLS.
    pub(crate) async fn accept(self: &Arc<Tls>, tcp: TcpStream, address: IpAddr) -> io::Result<Accepted> {
        timeout(self.handshake_timeout, self.shake_hands(tcp, Payer::at(address))).await?
    }

    async fn shake_hands(self: &Arc<Tls>, tcp: TcpStream, payer: Payer) -> io::Result<Accepted> {
        let mut first = [0];
        if tcp.peek(&mut first).await? == 1 && is_text(first[0]) {
            return Ok(Accepted::Plain(tcp));
        }
        let records = Records { tcp, place: RecordCursor::default() };
        let tls = self.clone();
        let handshake = Box::pin(async move {
            let hello = LazyConfigAcceptor::new(Acceptor::default(), records).await?;
            let (config, for_challenge) = tls.config_for(&hello.client_hello());
            Ok::<_, io::Error>((hello.into_stream(config).await?, for_challenge))
        });
        let (mut inner, for_challenge) = handshake::in_turns(handshake, &self.turns, payer).await??;
        if for_challenge {
            // The handshake was the answer, and nothing follows it.
            let _ = inner.shutdown().await;
            return Ok(Accepted::Challenge);
        }
        Ok(Accepted::Tls(TlsStream { inner: Box::new(inner), more: false }))
    }

    /// What to shake hands with, and whether the peer is an authority that wants the answer to a challenge.
    fn config_for(&self, hello: &ClientHello<'_>) -> (Arc<ServerConfig>, bool) {
        if challenge::is_asked_for(hello) {
            return (self.challenges.config(), true);
        }
        let config = self.identity().map(|identity| identity.config()).unwrap_or_else(|| {
            if !self.refusal_told.swap(true, Ordering::Relaxed) {
                warn!("TLS handshakes are refused: there is no certificate yet");
            }
            self.no_identity.clone()
        });
        (config, false)
    }
}

/// How a peer at the TLS port began.
pub(crate) enum Accepted {
    /// With a handshake, which has succeeded.
    Tls(TlsStream),
    /// With text: a client that was not told to speak TLS. Nothing of it was read yet.
    Plain(TcpStream),
    /// As an authority that wanted the answer to a challenge, and has it.
    Challenge,
}

/// Whether a connection that begins so is one of text. A handshake begins with a control character.
fn is_text(first: u8) -> bool {
    first.is_ascii_graphic() || first.is_ascii_whitespace()
}

/// Whether the first bytes on a port without TLS are a TLS handshake (RFC 8446, section 5.1).
pub(crate) fn begins_handshake(bytes: &[u8]) -> bool {
    matches!(bytes, [22, 3, ..])
}

/// A TLS connection.
pub(crate) struct TlsStream {
    inner: Box<tokio_rustls::server::TlsStream<Records>>,
    /// The last read filled the buffer, so there may be more bytes that are decrypted already.
    more: bool,
}

/// More than that is never decrypted and not read.
const DECRYPTED: u64 = 64 * 1024;

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(context, buf));
        self.more = buf.remaining() == 0;
        Poll::Ready(match read {
            // Many clients end the connection without a word of TLS; what they sent was whole lines or is discarded.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            read => read,
        })
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl Stream for TlsStream {
    fn unread(&self) -> io::Result<u64> {
        let (records, _) = self.inner.get_ref();
        let decrypted = if self.more { DECRYPTED } else { 0 };
        Ok(records.tcp.unread()? + records.place.taken + decrypted)
    }

    fn unacknowledged(&self) -> io::Result<u64> {
        let (records, session) = self.inner.get_ref();
        Ok(records.tcp.unacknowledged()? + u64::from(session.wants_write()))
    }

    fn peer_state(&self) -> io::Result<PeerState> {
        self.inner.get_ref().0.tcp.peer_state()
    }
}

/// The TCP stream below. It notes where records end: half a record is read, but gives no bytes yet.
struct Records {
    tcp: TcpStream,
    place: RecordCursor,
}

/// Where in a record the stream is.
#[derive(Debug, Default, PartialEq, Eq)]
struct RecordCursor {
    /// The last two bytes of the header: how long the rest is.
    length: [u8; 2],
    /// Bytes of this record that have come.
    taken: u64,
}

/// The header of a record (RFC 8446, 5.1); its length stands at its end.
const HEADER: u64 = 5;

impl RecordCursor {
    fn advance(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.taken < HEADER {
                self.length = [self.length[1], *first];
                self.taken += 1;
                bytes = rest;
            }
            if self.taken >= HEADER {
                let missing = HEADER + u64::from(u16::from_be_bytes(self.length)) - self.taken;
                let here = bytes.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
                bytes = &bytes[here..];
                self.taken = if here as u64 == missing { 0 } else { self.taken + here as u64 };
            }
        }
    }
}

impl AsyncRead for Records {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.tcp).poll_read(context, buf));
        self.place.advance(&buf.filled()[before..]);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Records {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_record_is_counted_and_a_whole_one_is_not() {
        let record = |length: u16| [&[23, 3, 3][..], &length.to_be_bytes(), &vec![0; length.into()]].concat();
        let stream = [record(1), record(0), record(300)].concat();
        for cut in 0..=stream.len() {
            let (mut at_once, mut in_pieces) = (RecordCursor::default(), RecordCursor::default());
            at_once.advance(&stream[..cut]);
            stream[..cut].chunks(3).for_each(|piece| in_pieces.advance(piece));
            let begun = [0, 6, 11, 316].into_iter().rfind(|begin| *begin <= cut).expect("0 is one");
            assert_eq!(at_once.taken, (cut - begun) as u64);
            assert_eq!(in_pieces.taken, at_once.taken);
        }
    }
}
