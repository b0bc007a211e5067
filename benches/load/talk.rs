//! One connection to chatd that asks and waits for the answer, for what need not be quick at a thousand connections:
//! logins, inboxes, the filling of a database. Knows nothing of clocks.

use crate::wire::Requests;
use anyhow::{Context, Result, ensure};
use memchr::memmem;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long chatd may take for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends in one packet. So few that the replies to all of them fit into the socket, because nobody reads them before
/// the packet is written.
const PACKET: usize = 250;

/// How much room a reply has at first, in bytes: little, because there may be ten thousand connections.
const ROOM: usize = 1024;

/// The end of a reply; no reply has it in its middle.
const END: &[u8] = b"\r\n\r\n";

/// What each message in the reply to `inbox` has once; nothing that the generator writes in a text looks like it.
const MESSAGE: &[u8] = b"\"msg\": ";

/// How many bytes of an unexpected reply an error message quotes.
const QUOTED_BYTES: usize = 200;

/// A connection, with the last reply.
pub struct Talk {
    stream: TcpStream,
    /// Room for a reply. It only grows, so that a long one is not slowed by new memory more than once.
    room: Vec<u8>,
}

impl Talk {
    /// Connects to the chatd at `address`.
    pub fn to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("no chatd at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, room: vec![0; ROOM] })
    }

    /// Sends `request`, a line with its end, and waits for the reply, which must be OK.
    pub fn ask(&mut self, request: &str) -> Result<&[u8]> {
        self.stream.write_all(request.as_bytes()).context("chatd did not take a request")?;
        let mut length = 0;
        while !self.room[..length].ends_with(END) {
            length += self.read(length)?;
        }
        let reply = &self.room[..length];
        ensure!(
            reply.starts_with(b"{\"status\": \"OK\""),
            "chatd refused `{}`: {}",
            request.split(' ').next().unwrap_or_default(),
            reply[..length.min(QUOTED_BYTES)].escape_ascii()
        );
        Ok(reply)
    }

    /// Reads the mail of the token's user, as far as one reply goes: how many messages came. The next request on this
    /// connection says that they have arrived.
    pub fn inbox(&mut self, token: &str) -> Result<usize> {
        Ok(messages_in(self.ask(&format!("inbox {token}\r\n"))?))
    }

    /// Carries out `count` of `requests` from number `first` on, and from the first again after the last.
    pub fn post(&mut self, requests: &Requests, first: usize, count: usize) -> Result<()> {
        let (mut next, mut left) = (first, count);
        while left > 0 {
            let packet = left.min(PACKET).min(requests.count() - next);
            let bytes = requests.bytes(requests.range(next, packet));
            self.stream.write_all(bytes).context("chatd did not take a packet of sends")?;
            self.await_replies(requests, packet)?;
            left -= packet;
            next = (next + packet) % requests.count();
        }
        Ok(())
    }

    fn await_replies(&mut self, requests: &Requests, mut awaited: usize) -> Result<()> {
        let mut length = 0;
        while awaited > 0 {
            length += self.read(length)?;
            let (replies, taken) = requests.wire().accepted(&self.room[..length])?;
            self.room.copy_within(taken..length, 0);
            length -= taken;
            awaited = awaited.checked_sub(replies).context("there came more replies than were asked for")?;
        }
        Ok(())
    }

    /// Reads what has come into the room behind `length` bytes, and makes more room when it is full.
    fn read(&mut self, length: usize) -> Result<usize> {
        if length == self.room.len() {
            self.room.resize(2 * length, 0);
        }
        loop {
            match self.stream.read(&mut self.room[length..]) {
                Ok(0) => return Err(anyhow::anyhow!("chatd closed a connection that waited for a reply")),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read.context("chatd did not answer"),
            }
        }
    }
}

/// How many messages there are in a reply to `inbox`.
pub fn messages_in(reply: &[u8]) -> usize {
    memmem::find_iter(reply, MESSAGE).count()
}
