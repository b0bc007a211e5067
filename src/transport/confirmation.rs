//! The leases that one connection has handed out, and what proves that they arrived. A TCP acknowledgement proves only
//! that the peer's kernel has the bytes. But a peer that closes with unread bytes sends a reset, and one that has read
//! all sends an end. Knows no bytes and no clock. `tests/it/repository.rs` tests the table in `docs/PROTOCOL.md`, with
//! a store, because a store makes the leases.

use std::time::Duration;

use tokio::time::Instant;

use crate::service::Lease;

/// A reply whose sender had ended the stream already proves itself by staying whole for this long.
pub const QUIET_AFTER_END: Duration = Duration::from_secs(1);

/// The leases of one connection, in the order of their replies.
#[derive(Debug, Default)]
pub struct Unconfirmed {
    replies: Vec<PendingReply>,
}

#[derive(Debug)]
struct PendingReply {
    lease: Lease,
    /// A request that begins here in the stream, or later, came after the reply.
    evidence_from: u64,
    /// The peer had ended the stream before the reply was made.
    peer_had_closed: bool,
    /// The request came with the promise of another proof than silence.
    promised: bool,
    written_at: Option<Instant>,
}

impl PendingReply {
    /// After the end of the stream nothing but silence can come.
    fn silence_counts(&self) -> bool {
        self.peer_had_closed || !self.promised
    }
}

impl Unconfirmed {
    /// Nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// A reply was made when `received` bytes of the stream had come; `peer_had_closed`: and they were the last.
    pub fn add(&mut self, lease: Lease, received: u64, peer_had_closed: bool) {
        self.replies.push(PendingReply {
            lease,
            evidence_from: received,
            peer_had_closed,
            promised: false,
            written_at: None,
        });
    }

    /// The client of the last reply asks again, sends `ack` or ends the stream when it has read the reply. Its silence
    /// proves nothing.
    pub fn require_explicit_ack(&mut self) {
        if let Some(last) = self.replies.last_mut() {
            last.promised = true;
        }
    }

    /// All replies made so far were written in full.
    pub fn written(&mut self, now: Instant) {
        // They are written in their order, and there may be thousands that are not proven yet.
        for reply in self.replies.iter_mut().rev().take_while(|reply| reply.written_at.is_none()) {
            reply.written_at = Some(now);
        }
    }

    /// A request came that begins at `at`: so the peer has read what was written before.
    pub fn request(&mut self, at: u64) {
        self.confirm(|reply| reply.written_at.is_some() && reply.evidence_from <= at);
    }

    /// The peer says so itself.
    pub fn acknowledged(&mut self) {
        self.confirm(|reply| reply.written_at.is_some());
    }

    /// The peer's TCP has acknowledged everything, and the connection lives: confirms what was written `quiet` ago.
    /// A reply that needs an explicit proof stays.
    pub fn confirm_by_silence(&mut self, now: Instant, quiet: Duration) {
        self.confirm(|reply| {
            reply.silence_counts() && reply.written_at.is_some_and(|at| now.duration_since(at) >= quiet)
        });
    }

    /// The stream has ended cleanly and everything is acknowledged. What is left needs [`QUIET_AFTER_END`].
    pub fn ended(&mut self) {
        self.confirm(|reply| reply.written_at.is_some() && !reply.peer_had_closed);
    }

    /// When the oldest reply will have been quiet for `quiet`.
    pub fn next_quiet(&self, quiet: Duration) -> Option<Instant> {
        let replies = self.replies.iter().filter(|reply| reply.silence_counts());
        replies.filter_map(|reply| reply.written_at).min().map(|at| at + quiet)
    }

    fn confirm(&mut self, proven: impl Fn(&PendingReply) -> bool) {
        if self.replies.iter().any(&proven) {
            for reply in self.replies.extract_if(.., |reply| proven(reply)) {
                reply.lease.confirm();
            }
        }
    }
}
