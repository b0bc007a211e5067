//! The command's end of the administrator's socket.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::path::{SocketPath, socket_of};
use super::protocol::{AdminCommand, AdminReply, AdminResponse, Question, REPLY_BYTES, VERSION};
use crate::release::Release;

/// Why a question has no answer: a line for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// No server runs on the database, or one without such a socket.
    #[error("{0}: no server listens")]
    NoServer(PathBuf),
    /// The socket is not that of the database's owner.
    #[error("{0}: it belongs to user {1}, and is asked nothing")]
    Foreign(PathBuf, u32),
    #[error("{0}")]
    Refused(String),
    /// The server took too long.
    #[error("{0}: the server does not answer within {1:?}")]
    Late(PathBuf, Duration),
    #[error("{0}: {1}")]
    Failed(PathBuf, io::Error),
}

/// Asks the server of a database one thing, which it may take `limit` to begin to answer.
pub(crate) fn ask(database: &Path, command: AdminCommand, limit: Duration) -> Result<AdminReply, NoAnswer> {
    response(database, command, limit)?.result.map_err(NoAnswer::Refused)
}

/// Whether the server is well, and which program it is, if it says so.
pub(crate) fn health(database: &Path, limit: Duration) -> Result<Option<Release>, NoAnswer> {
    let AdminResponse { server, result, .. } = response(database, AdminCommand::Health, limit)?;
    result.map(|_| server).map_err(NoAnswer::Refused)
}

fn response(database: &Path, command: AdminCommand, limit: Duration) -> Result<AdminResponse, NoAnswer> {
    let path = socket_of(database);
    let socket = connect(&path, limit).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => NoAnswer::NoServer(path.clone()),
        _ => failed(&path, limit, error),
    })?;
    let failed = |error| failed(&path, limit, error);
    let peer = getsockopt(&socket, PeerCredentials).map_err(|error| failed(error.into()))?.uid();
    if peer != 0 && peer != geteuid().as_raw() && !is_owner_for_root(peer, database) {
        return Err(NoAnswer::Foreign(path, peer));
    }
    let mut question = serde_json::to_vec(&Question { version: VERSION, command }).map_err(|e| failed(e.into()))?;
    question.push(b'\n');
    (&socket).write_all(&question).map_err(failed)?;
    let mut line = Vec::new();
    BufReader::new(&socket).take(REPLY_BYTES as u64).read_until(b'\n', &mut line).map_err(failed)?;
    serde_json::from_slice(&line).map_err(|error| failed(error.into()))
}

/// Root reads the database itself where nobody answers, so who owns it may answer in its place.
fn is_owner_for_root(peer: u32, database: &Path) -> bool {
    geteuid().is_root() && fs::metadata(database).is_ok_and(|file| file.uid() == peer)
}

fn connect(path: &Path, limit: Duration) -> io::Result<Socket> {
    let address = SocketPath::of(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))?;
    socket.connect(&SockAddr::unix(address.path())?)?;
    Ok(socket)
}

fn failed(path: &Path, limit: Duration, error: io::Error) -> NoAnswer {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => NoAnswer::Late(path.to_owned(), limit),
        _ => NoAnswer::Failed(path.to_owned(), error),
    }
}
