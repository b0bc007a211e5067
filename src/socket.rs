//! What a connection's session needs of the byte stream beneath it: bytes, and what TCP knows of the peer. The only
//! module with unsafe code: three system calls that no safe library here offers.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

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
