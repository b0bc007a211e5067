//! What a connection needs from its byte stream: bytes, and what TCP knows about the peer. Also takes over listeners
//! that were open before the process began. Has unsafe code for what no safe library offers.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A byte stream with a peer.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Bytes that came and were not read yet; an encrypted stream may say more than it will give.
    fn unread(&self) -> io::Result<u64>;
    /// Bytes written that the peer's TCP has not acknowledged.
    fn unacknowledged(&self) -> io::Result<u64>;
    /// What is known of the peer.
    fn peer_state(&self) -> io::Result<PeerState>;
}

/// How much of the connection is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Both directions.
    Open,
    /// The peer sends no more; it may still read.
    Ended,
    /// Reset, timed out or otherwise gone.
    Gone,
}

impl Stream for TcpStream {
    fn unread(&self) -> io::Result<u64> {
        ioctl_count(self.as_fd(), libc::FIONREAD)
    }

    fn unacknowledged(&self) -> io::Result<u64> {
        ioctl_count(self.as_fd(), libc::TIOCOUTQ)
    }

    fn peer_state(&self) -> io::Result<PeerState> {
        let mut polled = libc::pollfd { fd: self.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: one pollfd is passed and it outlives the call, which does not wait.
        if unsafe { libc::poll(&raw mut polled, 1, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(match polled.revents {
            events if events & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0 => PeerState::Gone,
            events if events & libc::POLLRDHUP != 0 => PeerState::Ended,
            _ => PeerState::Open,
        })
    }
}

fn ioctl_count(socket: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: both requests write one int to the address given, and `count` outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut count) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(count).unwrap_or(0))
}

/// A listener that the service manager passes on at `fd`, made ready for the runtime. Call it once for each.
pub(crate) fn inherited_listener(fd: RawFd) -> io::Result<std::net::TcpListener> {
    // SAFETY: the service manager gives the descriptor to this process, and nothing else here uses it.
    let listener = std::net::TcpListener::from(unsafe { OwnedFd::from_raw_fd(fd) });
    if !SockRef::from(&listener).is_listener()? {
        return Err(io::Error::other(format!("descriptor {fd} is no listening socket")));
    }
    listener.set_nonblocking(true)?;
    Ok(listener)
}
