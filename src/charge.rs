//! Who is charged for what. Everything that one connection, account or address can make the server hold has a share and
//! a deadline. It is given back when its cause ends. This is the whole list:
//!
//! - A connection: its address ([`network`]) is charged, up to `limits.connections_per_address`. The deadline is
//!   `limits.peer_timeout`, and it makes room for another one while it shows no living token. It is given back when the
//!   connection ends.
//! - An authenticated connection: the account of the token that it showed last is charged, up to
//!   `limits.connections_per_account`. The deadline is the same. It is given back when the connection ends or shows
//!   another token, or the session ends.
//! - A request line beyond the short limit: the account is charged, up to as much of `limits.buffered_bytes` as stays
//!   free beside it. The deadline is `limits.write_timeout` and what `limits.min_bytes_per_second` allows. It is given
//!   back when the line was carried out or refused, or the session ends.
//! - Replies beyond [`UNCHARGED`] that were not written: the account is charged for the texts in them and for the piece
//!   that is bytes already, up to as much of `limits.buffered_reply_bytes` as stays free beside it. The deadline is the
//!   same. They are given back when they are written; when the session is revoked, the connection ends.
//! - A body of a request of HTTP beyond [`HTTP_SHORT_BODY`]: as a long request line; the deadline is 30 seconds.
//! - A file that comes as a body of HTTP: the account is charged for three pieces of it, as for a long request line. It
//!   is to come as fast as replies are to be taken.
//! - A file on its way out: as an answer with more text than fits into [`UNCHARGED`], for two pieces of it.
//! - An answer of the HTTP API with more text than fits into [`UNCHARGED`]: as long replies, for all that it takes
//!   while it is made and written. Long ones are made in turns, as pieces of long replies are.
//! - Requests that were not taken: the connection has one read of them, without a deadline, as they cost no more. They
//!   are taken when the replies before them are written.
//! - A password hash and its place in the queue: the address is charged, or the account where it is known there; see
//!   [`crate::auth::password`] and [`crate::auth::throttle`]. The queue is bounded. It is given back when the peer is
//!   gone.
//! - A turn to go on, after eight requests that came together or after a read that brought none: the account is
//!   charged, or the address where there is none. Each turn is eight requests or one read. It is given back when others
//!   had theirs.
//! - A turn to have a step of a TLS handshake computed: the address is charged. Each turn is bounded, and the handshake
//!   has `limits.handshake_timeout`. It is given back when the step is done, or the peer is gone.
//! - A turn to have a piece of a long reply made: the account is charged ([`crate::fair`]). Each turn is bounded. It is
//!   given back when the piece is made, or the peer or its session is gone.
//! - A turn to have a list made, of those who are logged in, of accounts with a name or of one's own sessions: the
//!   account is charged. It is given back when the list is made, or the peer is gone.
//! - A turn at the readers: the account is charged ([`crate::fair`]). Each turn is bounded. It is given back when the
//!   peer is gone.
//!
//! The connections are counted in [`crate::transport::admission`]; the bytes are counted here.

mod pool;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

pub(crate) use self::pool::{Charge, Cut, Pool};
use crate::fair::Turns;
use crate::model::{SessionId, UserId};

/// What is read of a connection at once, at the most, in bytes.
pub const READ: usize = 64 << 10;
/// The same of one that has shown no living token.
pub const READ_UNAUTHENTICATED: usize = 4 << 10;
/// No further request is taken while more than this is unwritten, in bytes.
pub const UNREAD: usize = 8 << 10;
/// Bytes of unwritten replies that a connection may have without a charge.
pub const UNCHARGED: usize = 32 << 10;
/// How long the head of a request of HTTP may be, in bytes; as much of an answer is written in one go.
pub const HTTP_HEAD: usize = 16 << 10;
/// How many bytes of a body are not charged. A stranger's body may not be longer.
pub const HTTP_SHORT_BODY: usize = 4 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub session: SessionId,
    pub user: UserId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payer {
    Account(UserId),
    /// What counts as one address: a [`network`].
    Network(IpAddr),
}

impl Payer {
    /// Whoever is at this address.
    pub fn at(address: IpAddr) -> Payer {
        Payer::Network(network(address))
    }
}

/// What counts as one address: an IPv4 address, or an IPv6 network of 64 bits.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// How much each payer has of something.
#[derive(Debug, Default)]
pub(crate) struct PayerTotals {
    by_payer: HashMap<Payer, usize>,
}

impl PayerTotals {
    /// Bytes that `payer` has taken.
    pub(crate) fn of(&self, payer: Payer) -> usize {
        self.by_payer.get(&payer).copied().unwrap_or(0)
    }

    /// Charges `payer`.
    pub(crate) fn add(&mut self, payer: Payer, amount: usize) {
        *self.by_payer.entry(payer).or_default() += amount;
    }

    /// Gives back to `payer`.
    pub(crate) fn subtract(&mut self, payer: Payer, amount: usize) {
        if let Some(has) = self.by_payer.get_mut(&payer) {
            *has = has.saturating_sub(amount);
            if *has == 0 {
                self.by_payer.remove(&payer);
            }
        }
    }

    pub(crate) fn payers(&self) -> usize {
        self.by_payer.len()
    }
}

/// The memory that long lines and long replies may take. One for the whole server.
#[derive(Debug)]
pub struct Memory {
    /// For request lines beyond the short limit.
    pub lines: Arc<Pool>,
    /// For replies beyond [`UNCHARGED`] that were not written.
    pub replies: Arc<Pool>,
    /// The turns of connections with many requests at once, or with bytes that hold no request.
    pub reading: Arc<Turns<Payer>>,
    /// The turns in which pieces of long replies are rendered, on threads that serve no connections.
    pub rendering: Arc<Turns<Payer>>,
    /// The turns of requests that look at many accounts, or read a whole list from the disk.
    pub lists: Arc<Turns<Payer>>,
}

/// How many go on at once of those.
const READ_AT_ONCE: usize = 1;
/// How many pieces of long replies are rendered at once. One, so that most processors stay free for the threads that
/// serve.
const RENDERED_AT_ONCE: usize = 1;
/// How many lists are made at once.
const LISTED_AT_ONCE: usize = 1;

impl Memory {
    /// So many bytes for each.
    pub fn new(lines: usize, replies: usize) -> Memory {
        let [reading, rendering, online] = [READ_AT_ONCE, RENDERED_AT_ONCE, LISTED_AT_ONCE].map(Turns::new);
        Memory { lines: Pool::new(lines), replies: Pool::new(replies), reading, rendering, lists: online }
    }

    /// Takes other sizes. A charge that is larger stays.
    pub fn resize(&self, lines: usize, replies: usize) {
        self.lines.resize(lines);
        self.replies.resize(replies);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_an_ipv4_address_or_an_ipv6_network() {
        let payer = |text: &str| Payer::at(text.parse().expect("an address"));
        assert_eq!(payer("2001:db8::1"), payer("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(payer("2001:db8::1"), payer("2001:db8:0:1::1"));
        assert_eq!(payer("192.0.2.1"), payer("::ffff:192.0.2.1"));
        assert_ne!(payer("192.0.2.1"), payer("192.0.2.2"));
    }
}
