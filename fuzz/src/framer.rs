//! Lines come out of a stream as a plain reading of the rules has them, however the stream was cut.

use chatd::internals::transport::line::framer::{Ending, Frame, LineLimits, Lines};

const SHORT: usize = 8;
const LONG: usize = 24;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Line(u64, Vec<u8>),
    Empty,
    TooLong(u64, Vec<u8>),
}

/// The first byte chooses the lengths of the pieces, the rest is the stream.
pub fn check(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let bursts = pieces(stream, *cut);
    let seen = cut_into_lines(&bursts);
    assert_eq!(seen, model(&bursts));
    let but_empty = |seen: &[Seen]| seen.iter().filter(|seen| **seen != Seen::Empty).cloned().collect::<Vec<_>>();
    assert_eq!(but_empty(&seen), but_empty(&cut_into_lines(&[stream])), "the cutting makes no difference");
}

/// Pieces of 1 to 16 bytes, as the bits of a small generator have it.
fn pieces(mut stream: &[u8], cut: u8) -> Vec<&[u8]> {
    let (mut state, mut pieces) = (u32::from(cut), Vec::new());
    while !stream.is_empty() {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
        let most = 1 << (cut % 5);
        let (piece, rest) = stream.split_at((1 + (state >> 16) as usize % most).min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces
}

fn may_be_long(head: &[u8]) -> bool {
    head.starts_with(b"+")
}

fn cut_into_lines(bursts: &[&[u8]]) -> Vec<Seen> {
    let mut lines = Lines::new(Ending::CrLf, LineLimits { short: SHORT, long: LONG });
    let (mut seen, mut received) = (Vec::new(), 0);
    for burst in bursts {
        lines.push(burst, true);
        received += burst.len() as u64;
        assert_eq!(lines.received(), received);
        while let Some(frame) = lines.next_frame() {
            seen.push(match frame {
                Frame::NeedsAdmission { head, .. } if may_be_long(head) => {
                    lines.admit();
                    continue;
                }
                Frame::NeedsAdmission { head, at } => {
                    let head = head.to_vec();
                    lines.discard();
                    Seen::TooLong(at, head)
                }
                Frame::Line { bytes, at } => Seen::Line(at, bytes.to_vec()),
                Frame::Empty { .. } => Seen::Empty,
                Frame::TooLong { head, at } => Seen::TooLong(at, head.to_vec()),
            });
        }
    }
    seen
}

/// The rules as the specification tells them, with no thought of speed: a line ends at CR LF; one that is too long is
/// told of as soon as that is known; empty lines count once, where nothing else came with them.
fn model(bursts: &[&[u8]]) -> Vec<Seen> {
    let (mut seen, mut open, mut at, mut told) = (Vec::new(), Vec::new(), 0, false);
    for burst in bursts {
        open.extend_from_slice(burst);
        let (mut empty, mut others) = (false, false);
        loop {
            let end = open.windows(2).position(|two| two == b"\r\n");
            // Without an end, a CR in the last place may be half of one.
            let length = end.unwrap_or(open.len() - usize::from(open.ends_with(b"\r")));
            let limit = if may_be_long(&open) { LONG } else { SHORT };
            if length > limit && !told {
                seen.push(Seen::TooLong(at, open[..SHORT].to_vec()));
                told = true;
            }
            let Some(end) = end else { break };
            match end {
                0 if !told => empty = true,
                _ => others = true,
            }
            let line: Vec<u8> = open.drain(..end + 2).collect();
            if !told && end > 0 {
                seen.push(Seen::Line(at, line));
            }
            at += end as u64 + 2;
            told = false;
        }
        if empty && !others && open.is_empty() {
            seen.push(Seen::Empty);
        }
    }
    seen
}
