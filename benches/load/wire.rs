//! The two languages the generator speaks: what a send looks like on the wire of chatd and of Redis, and which bytes
//! mean that it was accepted. Knows nothing of sockets.
//!
//! All requests are written out before the first is sent, so that a send costs the generator a slice and a reply costs
//! it a comparison, in both languages alike.

use anyhow::{Result, bail};
use std::ops::Range;

/// What chatd says to a send that it has stored.
pub const SENT: &[u8] = b"{\"status\": \"OK\", \"message\": \"Message Sent\"}\r\n\r\n";

/// How many bytes of an unexpected reply an error message quotes.
const QUOTED_BYTES: usize = 200;

/// The language of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// `send TOKEN USER  text \r\n`, answered by a JSON text and an empty line.
    Chatd,
    /// `RPUSH inbox:N text` in RESP, answered by `:LENGTH\r\n`.
    Redis,
}

impl Wire {
    /// Counts the complete replies at the front of `bytes`: their number, and the bytes they take up.
    ///
    /// Fails, quoting what came, on any reply that is not an acceptance.
    pub fn accepted(self, bytes: &[u8]) -> Result<(usize, usize)> {
        let (mut replies, mut taken) = (0, 0);
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            let length = match self {
                Wire::Chatd if rest.starts_with(SENT) => SENT.len(),
                Wire::Chatd if SENT.starts_with(rest) => break,
                Wire::Redis if rest[0] == b':' => match rest.iter().position(|&byte| byte == b'\n') {
                    Some(at) => at + 1,
                    None => break,
                },
                Wire::Chatd | Wire::Redis => {
                    bail!("a send was refused: {}", rest[..rest.len().min(QUOTED_BYTES)].escape_ascii())
                }
            };
            replies += 1;
            taken += length;
        }
        Ok((replies, taken))
    }
}

/// The recipient's account name in chatd; of the same length for each number below 10,000,000.
pub fn recipient_name(number: usize) -> String {
    format!("recipient{number:07}")
}

/// `count` recipients below `recipients`, each chosen at random.
pub fn at_random(count: usize, recipients: usize, seed: u64) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| random.usize(..recipients)).collect()
}

/// All of the numbers below `recipients`, `turns` times, each time in another order.
pub fn in_turn(turns: usize, recipients: usize, seed: u64) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(seed);
    let turn = |_| {
        let mut turn: Vec<usize> = (0..recipients).collect();
        random.shuffle(&mut turn);
        turn
    };
    (0..turns).flat_map(turn).collect()
}

/// Sends written out one after the other, all of the same length.
///
/// They are used in this order, from the start again after the last, so a run of neighbours is what one packet holds
/// when sends are pipelined.
pub struct Requests {
    wire: Wire,
    bytes: Vec<u8>,
    /// Bytes in one request.
    length: usize,
}

impl Requests {
    /// Writes a send for chatd to each of `recipients`, the `tokens` taking turns.
    pub fn chatd(tokens: &[String], recipients: &[usize], text_bytes: usize, seed: u64) -> Self {
        let names: Vec<String> = recipients.iter().map(|recipient| recipient_name(*recipient)).collect();
        Self::chatd_to(tokens, &names, text_bytes, seed)
    }

    /// The same to people or groups of these names, which are of one length.
    pub fn chatd_to(tokens: &[String], names: &[String], text_bytes: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let sends = names
            .iter()
            .zip(tokens.iter().cycle())
            .map(|(name, token)| format!("send {token} {name}  {} \r\n", text(&mut random, text_bytes)));
        Self::join(Wire::Chatd, sends)
    }

    /// Writes a send for Redis to each of `recipients`, with the texts that chatd gets from the same seed.
    pub fn redis(recipients: &[usize], text_bytes: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let sends = recipients.iter().map(|recipient| {
            let key = format!("inbox:{recipient:07}");
            let text = text(&mut random, text_bytes);
            format!("*3\r\n$5\r\nRPUSH\r\n${}\r\n{key}\r\n${text_bytes}\r\n{text}\r\n", key.len())
        });
        Self::join(Wire::Redis, sends)
    }

    fn join(wire: Wire, requests: impl Iterator<Item = String>) -> Self {
        let (mut bytes, mut length) = (Vec::new(), 0);
        for request in requests {
            assert!(length == 0 || length == request.len(), "requests of one length");
            length = request.len();
            bytes.extend_from_slice(request.as_bytes());
        }
        Self { wire, bytes, length }
    }

    /// The language they are in.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// How many requests there are.
    pub fn count(&self) -> usize {
        self.bytes.len() / self.length
    }

    /// Where `depth` requests from number `first` on stand; the caller keeps `first + depth` within `count()`.
    pub fn range(&self, first: usize, depth: usize) -> Range<usize> {
        first * self.length..(first + depth) * self.length
    }

    /// The bytes that a range from [`Requests::range`], or its unsent end, stands for.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }
}

/// Lower-case words of seven letters, `bytes` long in all, that neither begin nor end with a space.
fn text(random: &mut fastrand::Rng, bytes: usize) -> String {
    (1..=bytes).map(|at| if at % 8 == 0 && at != bytes { ' ' } else { random.lowercase() }).collect()
}
