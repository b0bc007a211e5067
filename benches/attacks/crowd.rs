//! Many connections with the same habits, all on one thread, so that they cost the machine little. Who is shown out
//! comes again after a while.

use super::world::{World, connect};
use anyhow::Result;
use memchr::memmem;
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// How long who was shown out stays away.
const AWAY: Duration = Duration::from_secs(1);

/// Between two sips of who reads slowly.
const SIP_EVERY: Duration = Duration::from_millis(100);

/// What who reads slowly takes at once: more than a kibibyte a second.
const SIP: usize = 1024;

/// What is read at once, and from one connection before the next one's turn.
const GULP: usize = 65536;

/// The end of a reply.
const END: &[u8] = b"\r\n\r\n";

/// How much is read.
#[derive(Clone, Copy, PartialEq)]
pub enum Reads {
    Nothing,
    Sips,
    All,
}

/// What is done after the reply.
#[derive(Clone, Copy, PartialEq)]
pub enum Then {
    Stay,
    AskAgain,
    /// Reset the connection, and ask on a new one.
    Reset,
}

/// What one of the crowd does.
pub struct Peer {
    pub from: IpAddr,
    pub request: Arc<[u8]>,
    /// How many replies the request has.
    pub replies: usize,
    pub reads: Reads,
    pub then: Then,
}

/// A connection as it stands.
struct Place {
    peer: Peer,
    stream: Option<TcpStream>,
    written: usize,
    /// Replies that have come since the request was written.
    replies: usize,
    /// The last bytes that were read: where the end of a reply may have begun.
    tail: Vec<u8>,
    /// When it is to connect, or to sip.
    due: Instant,
}

/// Lets the crowd do what it does until the world is over. It is in place when each was connected once.
pub fn gather(world: &World, peers: Vec<Peer>) -> Result<()> {
    let now = Instant::now();
    let place = |peer| Place { peer, stream: None, written: 0, replies: 0, tail: Vec::new(), due: now };
    let mut places: Vec<Place> = peers.into_iter().map(place).collect();
    let mut room = vec![0; GULP];
    while !world.is_over() {
        let mut has_moved = false;
        for place in &mut places {
            if world.is_over() {
                break;
            }
            has_moved |= place.turn(world, &mut room);
        }
        world.in_place.store(true, Ordering::Relaxed);
        if !has_moved {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

impl Place {
    /// Does what can be done at once; says whether anything could be.
    fn turn(&mut self, world: &World, room: &mut [u8]) -> bool {
        let now = Instant::now();
        if self.stream.is_none() && now >= self.due {
            self.stream = connect(self.peer.from, world.address).ok().filter(|s| s.set_nonblocking(true).is_ok());
            self.due = now + AWAY;
            (self.written, self.replies) = (0, 0);
            self.tail.clear();
            world.count(1);
        }
        let wrote = self.write();
        let read = self.read(world, room, now);
        match wrote.and_then(|wrote| read.map(|read| wrote || read)) {
            Ok(has_moved) => has_moved,
            Err(_) => {
                self.leave(now + AWAY);
                true
            }
        }
    }

    /// Ends the connection with a reset, and connects again when that is due.
    fn leave(&mut self, due: Instant) {
        if let Some(stream) = self.stream.take() {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        self.due = due;
    }

    fn write(&mut self) -> std::io::Result<bool> {
        let rest = &self.peer.request[self.written..];
        let Some(stream) = self.stream.as_mut().filter(|_| !rest.is_empty()) else { return Ok(false) };
        match stream.write(rest) {
            Ok(written) => {
                self.written += written;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self, world: &World, room: &mut [u8], now: Instant) -> std::io::Result<bool> {
        let Some(stream) = self.stream.as_mut() else { return Ok(false) };
        let room = match self.peer.reads {
            // Not one byte is taken, but the end is seen.
            Reads::Nothing => return is_ended(stream).map(|()| false),
            Reads::Sips if now < self.due => return Ok(false),
            Reads::Sips => {
                self.due = now + SIP_EVERY;
                &mut room[..SIP]
            }
            Reads::All => room,
        };
        let read = match stream.read(room) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        self.tail.extend_from_slice(&room[..read]);
        let ends = memmem::find_iter(&self.tail, END).count();
        self.replies += ends;
        let keep = if self.tail.ends_with(END) { 0 } else { self.tail.len().min(END.len() - 1) };
        self.tail.drain(..self.tail.len() - keep);
        if self.replies >= self.peer.replies && self.written == self.peer.request.len() {
            match self.peer.then {
                Then::Stay => {}
                Then::AskAgain => {
                    (self.written, self.replies) = (0, 0);
                    world.count(1);
                }
                Then::Reset => self.leave(now),
            }
        }
        Ok(true)
    }
}

/// Fails when the server has ended the connection.
fn is_ended(stream: &TcpStream) -> std::io::Result<()> {
    match stream.peek(&mut [0]) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}
