//! The closed loop: N connections, each waiting for the answer to one packet before it sends the next. Knows what a
//! reply is only through [`Wire`], and nothing of how the server was started.
//!
//! The generator shares the machine with the server that it measures, so it is one thread on bare mio: for each
//! packet one `write`, one `read`, one look at the clock and, when many are ready, a share of one `epoll_wait`. Under
//! 256 connections 96 % of what it costs is the kernel's TCP, whoever the server is.

use crate::interrupt::Interrupt;
use crate::wire::{Requests, Wire};
use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the server may leave every connection without a word before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections made in one go, and the pause after them in which the server accepts them. A listener of tokio's has
/// room for 128; one that comes when it is full is tried again only after a second.
const CONNECTED_AT_ONCE: usize = 64;
const ACCEPTING: Duration = Duration::from_millis(2);

/// Bytes read from a socket at once: more than the replies to 64 pipelined sends.
const READ_BYTES: usize = 8192;

/// Readiness events taken from the kernel at once.
const EVENTS: usize = 1024;

/// One run: whom to load, with what, how hard and for how long.
pub struct Load<'a> {
    /// What errors call the server.
    pub name: &'static str,
    pub address: SocketAddr,
    pub requests: &'a Requests,
    pub connections: usize,
    /// Sends in one packet; the next packet waits for the replies to all of them.
    pub depth: usize,
    /// Time before the measurement, under the same load.
    pub warm_up: Duration,
    pub measured: Duration,
}

/// What came of a run.
pub struct Outcome {
    pub sends_per_second: f64,
    /// Sends that were accepted, those before and after the measurement too.
    pub accepted: usize,
    /// Median time from a packet to its last reply, in milliseconds.
    pub median_ms: f64,
    /// The time that 99 of 100 packets did not exceed, in milliseconds.
    pub p99_ms: f64,
    /// The share of one core that the generator itself took.
    pub generator_cpu: f64,
}

impl Load<'_> {
    /// Runs the load to its end and until each send has its answer.
    ///
    /// Fails at the first send that is refused, a lost connection, a server that has gone mute, or an interrupt.
    pub fn run(&self, interrupt: &Interrupt) -> Result<Outcome> {
        let wire = self.requests.wire();
        let mut poll = Poll::new().context("cannot create an epoll instance")?;
        let mut connections = self.connect(&poll, interrupt)?;
        let mut order = Order { requests: self.requests, depth: self.depth, next: 0 };
        let mut latencies = Vec::with_capacity(1 << 20);
        let (mut replies, mut replies_in_time) = (0, 0);

        let begun = Instant::now();
        let cpu_before = cpu_time()?;
        let from = begun + self.warm_up;
        let until = from + self.measured;
        for connection in &mut connections {
            connection.send(&mut order, begun)?;
        }
        let mut waiting = connections.len();
        let mut events = Events::with_capacity(EVENTS);
        let mut scratch = [0; READ_BYTES];
        while waiting > 0 {
            interrupt.check()?;
            match poll.poll(&mut events, Some(PATIENCE)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled.context("epoll failed")?,
            }
            ensure!(!events.is_empty(), "{} did not answer for {PATIENCE:?}", self.name);
            for event in &events {
                let connection = &mut connections[event.token().0];
                connection.flush(self.requests)?;
                if !connection.receive(wire, &mut scratch).context(self.name)? {
                    continue;
                }
                let now = Instant::now();
                replies += self.depth;
                if now >= from {
                    // A reply that comes too late to be counted still tells how long it took: leaving it out would hide
                    // a stall at the end of the run.
                    latencies.push(now - connection.sent_at);
                    replies_in_time += if now < until { self.depth } else { 0 };
                }
                if now < until {
                    connection.send(&mut order, now)?;
                } else {
                    waiting -= 1;
                }
            }
        }
        let generator_cpu = (cpu_time()? - cpu_before).as_secs_f64() / begun.elapsed().as_secs_f64();
        ensure!(!latencies.is_empty(), "no reply from {} in the time measured", self.name);
        Ok(Outcome {
            sends_per_second: replies_in_time as f64 / self.measured.as_secs_f64(),
            accepted: replies,
            median_ms: quantile_ms(&mut latencies, 0.5),
            p99_ms: quantile_ms(&mut latencies, 0.99),
            generator_cpu,
        })
    }

    fn connect(&self, poll: &Poll, interrupt: &Interrupt) -> Result<Vec<Connection>> {
        (0..self.connections)
            .map(|number| {
                if number % CONNECTED_AT_ONCE == 0 {
                    interrupt.check()?;
                    sleep(ACCEPTING);
                }
                let stream = std::net::TcpStream::connect(self.address)
                    .with_context(|| format!("connection {number} to {} at {}", self.name, self.address))?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let mut stream = TcpStream::from_std(stream);
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(number), interest)?;
                Ok(Connection { stream, sent_at: Instant::now(), unsent: 0..0, awaited: 0, partial: Vec::new() })
            })
            .collect()
    }
}

/// Hands the prepared requests out, packet by packet, round and round.
struct Order<'a> {
    requests: &'a Requests,
    depth: usize,
    next: usize,
}

impl Order<'_> {
    fn packet(&mut self) -> Range<usize> {
        if self.next + self.depth > self.requests.count() {
            self.next = 0;
        }
        let packet = self.requests.range(self.next, self.depth);
        self.next += self.depth;
        packet
    }
}

/// One connection and the packet that it has under way.
struct Connection {
    stream: TcpStream,
    sent_at: Instant,
    /// The end of the packet that the socket has not taken yet; nearly always empty.
    unsent: Range<usize>,
    /// Replies still to come.
    awaited: usize,
    /// The beginning of a reply whose end has not come yet; nearly always empty.
    partial: Vec<u8>,
}

impl Connection {
    /// Sends the next packet; every reply to the one before must have come.
    fn send(&mut self, order: &mut Order, now: Instant) -> Result<()> {
        self.sent_at = now;
        self.awaited = order.depth;
        self.unsent = order.packet();
        self.flush(order.requests)
    }

    /// Gives the socket what it takes of the packet. What is left waits for the next event of this connection.
    fn flush(&mut self, requests: &Requests) -> Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(requests.bytes(self.unsent.clone())) {
                Ok(written) => self.unsent.start += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("a send failed"),
            }
        }
        Ok(())
    }

    /// Reads what has come: true if it completes the replies to the packet.
    fn receive(&mut self, wire: Wire, scratch: &mut [u8]) -> Result<bool> {
        if self.awaited == 0 {
            return Ok(false);
        }
        loop {
            let length = match self.stream.read(scratch) {
                Ok(0) => bail!("a connection that waited for a reply was closed"),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("a read failed"),
            };
            self.take(wire, &scratch[..length])?;
            if self.awaited == 0 {
                return Ok(true);
            }
            // A short read has emptied the socket (epoll(7)): the rest will come with an event of its own.
            if length < scratch.len() {
                return Ok(false);
            }
        }
    }

    /// Checks and counts the replies in `read`, together with what was left of the read before.
    fn take(&mut self, wire: Wire, read: &[u8]) -> Result<()> {
        let mut joined = std::mem::take(&mut self.partial);
        let arrived = if joined.is_empty() {
            read
        } else {
            joined.extend_from_slice(read);
            &joined
        };
        let (replies, taken) = wire.accepted(arrived)?;
        let rest = &arrived[taken..];
        ensure!(
            replies < self.awaited || (replies == self.awaited && rest.is_empty()),
            "there came more than was asked for"
        );
        self.awaited -= replies;
        if !rest.is_empty() {
            self.partial = rest.to_vec();
        }
        Ok(())
    }
}

/// The processor time that this process has used so far.
fn cpu_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(microseconds.unsigned_abs()))
}

/// The latency that the given share of `latencies`, which must not be empty, does not exceed.
fn quantile_ms(latencies: &mut [Duration], share: f64) -> f64 {
    let rank = ((latencies.len() as f64 * share).ceil() as usize).clamp(1, latencies.len());
    let (_, latency, _) = latencies.select_nth_unstable(rank - 1);
    latency.as_secs_f64() * 1000.0
}
