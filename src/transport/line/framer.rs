//! Bytes in, lines out: where a request begins and ends, and how long it may be. Knows no command, no
//! socket and no user; whoever reads the socket pushes in what came and takes out what is whole.

mod telnet;

use memchr::{memchr, memchr2};

use crate::transport::line::framer::telnet::TelnetState;

/// What ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// CR LF only: the JSON port, where LF and CR alone are text.
    CrLf,
    /// LF, with or without a CR before it: what people's terminals send. And CR NUL, which is Enter for a telnet in
    /// character mode (RFC 854), whose options are taken out of the stream.
    Lf,
}

/// How long a line may be, in bytes, its end not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineLimits {
    /// For a line that nobody vouches for.
    pub short: usize,
    /// For a line that was admitted.
    pub long: usize,
}

/// One thing that the peer said.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A line with its end. `at` is the place of its first byte in the stream.
    Line {
        /// The line and its line end.
        bytes: &'a [u8],
        /// How many bytes of the stream came before it.
        at: u64,
    },
    /// A run of empty lines that arrived with nothing else. Where LF ends a line, each empty one is a `Line`.
    Empty {
        /// How many bytes of the stream came before it.
        at: u64,
    },
    /// A line that has grown over the short limit. It goes no further before [`Lines::admit`] or [`Lines::discard`] is
    /// called.
    NeedsAdmission {
        /// Its first bytes, as many as the short limit allows.
        head: &'a [u8],
        /// How many bytes of the stream came before it.
        at: u64,
    },
    /// An admitted line over the long limit; the rest of it is discarded as it comes.
    TooLong {
        /// Its first bytes, as many as the short limit allows.
        head: &'a [u8],
        /// How many bytes of the stream came before it.
        at: u64,
    },
}

/// Cuts a stream into lines. Holds at most one line and what one read brought.
#[derive(Debug)]
pub struct Lines {
    ending: Ending,
    options: TelnetState,
    limits: LineLimits,
    buffer: Vec<u8>,
    /// Where the first line not yet given out begins in `buffer`.
    start: usize,
    /// How far `buffer` was searched for a line end.
    searched: usize,
    /// The place in the stream of `buffer[start]`.
    at: u64,
    state: Line,
    /// What the present burst of bytes held so far.
    burst: Burst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Not yet longer than the short limit.
    Short,
    /// Longer, and vouched for.
    Admitted,
    /// Over its limit: thrown away up to its end.
    Discarded,
}

/// Lines that arrive together are told apart from lines that arrive alone: as in the recorded dialogues
/// (`tests/transcripts/framing.jsonl`).
#[derive(Clone, Copy, Debug, Default)]
struct Burst {
    /// All bytes that were there to read have been read.
    over: bool,
    /// An empty line was seen.
    empty: bool,
    /// A line with something in it was seen.
    text: bool,
}

/// An idle connection keeps no more buffer than this.
const IDLE_CAPACITY: usize = 512;
/// One with half a line keeps no more than this beyond it.
const MOST_UNUSED: usize = 4096;

impl Lines {
    /// A stream at its beginning.
    pub fn new(ending: Ending, limits: LineLimits) -> Lines {
        Lines {
            ending,
            options: TelnetState::default(),
            limits,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            at: 0,
            state: Line::Short,
            burst: Burst::default(),
        }
    }

    /// Takes what a read brought. `over` says that nothing more lay there to be read.
    pub fn push(&mut self, bytes: &[u8], over: bool) {
        if self.burst.over {
            self.burst = Burst::default();
        }
        self.burst.over = over;
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        // By a half at a time, because doubling would take much more than is needed.
        if self.buffer.capacity() - self.buffer.len() < bytes.len() {
            self.buffer.reserve_exact(bytes.len().max(self.buffer.len() / 2));
        }
        match self.ending {
            Ending::CrLf => self.buffer.extend_from_slice(bytes),
            Ending::Lf => self.options.strip(bytes, &mut self.buffer),
        }
    }

    /// How many bytes of the stream were pushed so far, those that were taken out not counted.
    pub fn received(&self) -> u64 {
        self.at + (self.buffer.len() - self.start) as u64
    }

    /// The line that needs admission may be as long as the long limit allows.
    pub fn admit(&mut self) {
        self.state = Line::Admitted;
    }

    /// The line that needs admission, or is being collected, is thrown away, what is still to come of it too. Its
    /// memory is given back when the next frame is asked for.
    pub fn discard(&mut self) {
        self.burst.text = true;
        self.state = Line::Discarded;
    }

    /// The next frame, or `None` until more bytes are pushed.
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        loop {
            let end = self.find_end();
            // A CR at the very end may be half of the line's end.
            let text_end = end.map_or_else(
                || self.buffer.len() - usize::from(self.buffer[self.start..].last() == Some(&b'\r')),
                |(text_end, _)| text_end,
            );
            let length = text_end - self.start;
            if self.state == Line::Discarded {
                let Some((_, end)) = end else {
                    self.skip_to(text_end);
                    self.give_back_memory();
                    return None;
                };
                self.burst.text = true;
                self.skip_to(end);
                self.state = Line::Short;
                continue;
            }
            if self.state == Line::Short && length > self.limits.short {
                let head = &self.buffer[self.start..self.start + self.limits.short];
                return Some(Frame::NeedsAdmission { head, at: self.at });
            }
            if length > self.limits.long {
                self.discard();
                let head = &self.buffer[self.start..self.start + self.limits.short.min(length)];
                return Some(Frame::TooLong { head, at: self.at });
            }
            let (start, at) = (self.start, self.at);
            match end {
                // Empty lines are special on the JSON port only; a terminal's are lines like others.
                Some((_, end)) if length > 0 || self.ending == Ending::Lf => {
                    self.burst.text = true;
                    self.state = Line::Short;
                    self.skip_to(end);
                    return Some(Frame::Line { bytes: &self.buffer[start..end], at });
                }
                Some((_, end)) => {
                    self.burst.empty = true;
                    self.skip_to(end);
                }
                None => {
                    let alone =
                        self.burst.over && self.burst.empty && !self.burst.text && self.start == self.buffer.len();
                    self.burst.empty = false;
                    if self.state == Line::Short {
                        self.give_back_memory();
                    }
                    return alone.then_some(Frame::Empty { at });
                }
            }
        }
    }

    /// What was pushed and not given out yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// How many bytes were pushed and not given out yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// How much memory that takes.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Whether a line beyond the short limit is being collected.
    pub fn is_long(&self) -> bool {
        self.state == Line::Admitted
    }

    /// Where the first line's text and the line itself end in `buffer`.
    fn find_end(&mut self) -> Option<(usize, usize)> {
        let mut from = self.searched.max(self.start);
        while let Some(found) = match self.ending {
            Ending::CrLf => memchr(b'\n', &self.buffer[from..]),
            Ending::Lf => memchr2(b'\n', b'\0', &self.buffer[from..]),
        } {
            let last = from + found;
            let cr = last > self.start && self.buffer[last - 1] == b'\r';
            if cr || (self.ending == Ending::Lf && self.buffer[last] == b'\n') {
                self.searched = last;
                return Some((last - usize::from(cr), last + 1));
            }
            from = last + 1;
        }
        self.searched = self.buffer.len();
        None
    }

    /// Keeps no more memory than what was not given out needs, be it little more than nothing.
    fn give_back_memory(&mut self) {
        if self.start == self.buffer.len() || self.buffer.capacity() > self.buffer.len() - self.start + MOST_UNUSED {
            self.buffer.drain(..self.start);
            self.searched = self.searched.saturating_sub(self.start);
            self.start = 0;
            self.buffer.shrink_to(IDLE_CAPACITY);
        }
    }

    fn skip_to(&mut self, place: usize) {
        self.at += (place - self.start) as u64;
        self.start = place;
        self.searched = self.searched.max(place);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: LineLimits = LineLimits { short: 8, long: 16 };

    /// What the pushes give, each line as text; `!` and the head for one too long, `∅` for empty lines.
    fn frames(ending: Ending, pushes: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(ending, LIMITS);
        let mut out = Vec::new();
        for push in pushes {
            lines.push(push, true);
            while let Some(frame) = lines.next_frame() {
                out.push(match frame {
                    Frame::NeedsAdmission { head: [b'+', ..], .. } => {
                        lines.admit();
                        continue;
                    }
                    Frame::NeedsAdmission { head, .. } => {
                        let head = format!("!{}", String::from_utf8_lossy(head));
                        lines.discard();
                        head
                    }
                    Frame::Line { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
                    Frame::Empty { .. } => "∅".to_owned(),
                    Frame::TooLong { head, .. } => format!("!{}", String::from_utf8_lossy(head)),
                });
            }
        }
        out
    }

    #[test]
    fn only_cr_lf_ends_a_line() {
        assert_eq!(frames(Ending::CrLf, &[b"a\n", b"b\r", b"\nc\r\n"]), ["a\nb\r\n", "c\r\n"]);
        assert_eq!(frames(Ending::CrLf, &[b"a\r\r\n"]), ["a\r\r\n"]);
        assert_eq!(frames(Ending::CrLf, &[b"a\n\r"]), Vec::<String>::new());
        assert_eq!(frames(Ending::Lf, &[b"a\nb\r\n"]), ["a\n", "b\r\n"]);
    }

    #[test]
    fn enter_of_a_telnet_in_character_mode_ends_a_line() {
        assert_eq!(frames(Ending::Lf, &[b"a\r\0b\r", b"\0", b"\r\0"]), ["a\r\0", "b\r\0", "\r\0"]);
        assert_eq!(frames(Ending::Lf, &[b"a\0b\rc\n"]), ["a\0b\rc\n"]);
        assert_eq!(frames(Ending::CrLf, &[b"a\r\0b\r\n"]), ["a\r\0b\r\n"]);
    }

    #[test]
    fn options_of_telnet_are_no_part_of_a_line() {
        let said: &[&[u8]] = &[b"\xff\xfd\x03\xff", b"\xfb\x18ab\xff\xfa\x18\0x", b"terminal\n\xff\xf0c\n"];
        assert_eq!(frames(Ending::Lf, said), ["abc\n"]);
        let mut lines = Lines::new(Ending::Lf, LIMITS);
        lines.push(b"\xff\xfd\x03\xff\xf1a\xff\xff\n", true);
        assert_eq!(lines.next_frame(), Some(Frame::Line { bytes: b"a\xff\n", at: 0 }));
        assert_eq!(lines.received(), 3);
        // On the JSON port they are bytes like others.
        let mut lines = Lines::new(Ending::CrLf, LIMITS);
        lines.push(b"\xff\xfd\x03\r\n", true);
        assert_eq!(lines.next_frame(), Some(Frame::Line { bytes: b"\xff\xfd\x03\r\n", at: 0 }));
    }

    #[test]
    fn empty_lines_count_only_when_they_come_alone() {
        let none = Vec::<String>::new();
        assert_eq!(frames(Ending::CrLf, &[b"\r\n"]), ["∅"]);
        assert_eq!(frames(Ending::CrLf, &[b"\r\n\r\n", b"\r\n"]), ["∅", "∅"]);
        assert_eq!(frames(Ending::CrLf, &[b"\r\na\r\n\r\n"]), ["a\r\n"]);
        assert_eq!(frames(Ending::CrLf, &[b"\r\na"]), none);
        assert_eq!(frames(Ending::CrLf, &[b"a", b"\r\n"]), ["a\r\n"]);
        assert_eq!(frames(Ending::CrLf, &[b"\r", b"\n"]), ["∅"]);
        assert_eq!(frames(Ending::CrLf, &[b"\r\n\r", b"\n"]), ["∅"]);
        assert_eq!(frames(Ending::Lf, &[b"\n\r\na\n\r", b"\n"]), ["\n", "\r\n", "a\n", "\r\n"]);
    }

    #[test]
    fn a_burst_lasts_until_nothing_more_lies_there() {
        let mut lines = Lines::new(Ending::CrLf, LIMITS);
        lines.push(b"\r\n", false);
        assert_eq!(lines.next_frame(), None);
        lines.push(b"a\r\n", true);
        assert_eq!(lines.next_frame(), Some(Frame::Line { bytes: b"a\r\n", at: 2 }));
        assert_eq!(lines.next_frame(), None);
        assert_eq!(lines.received(), 5);
    }

    #[test]
    fn long_lines_are_told_once_and_discarded() {
        assert_eq!(frames(Ending::CrLf, &[b"123456789\r\nb\r\n"]), ["!12345678", "b\r\n"]);
        assert_eq!(frames(Ending::CrLf, &[b"12345678\r\nb\r\n"]), ["12345678\r\n", "b\r\n"]);
        assert_eq!(frames(Ending::CrLf, &[b"+23456789\r\nb\r\n"]), ["+23456789\r\n", "b\r\n"]);
        assert_eq!(frames(Ending::CrLf, &[b"+2345678901234567\r\nb\r\n"]), ["!+2345678", "b\r\n"]);
        assert_eq!(frames(Ending::CrLf, &[b"123456789", b"1\n", b"2\r", b"\n\r\nb\r\n"]), ["!12345678", "b\r\n"]);
    }

    #[test]
    fn a_line_that_needs_admission_waits_for_it() {
        let mut lines = Lines::new(Ending::CrLf, LIMITS);
        lines.push(b"123456789\r\n+\r\n", true);
        for _ in 0..2 {
            assert_eq!(lines.next_frame(), Some(Frame::NeedsAdmission { head: b"12345678", at: 0 }));
        }
        lines.admit();
        assert!(lines.is_long());
        assert_eq!(lines.next_frame(), Some(Frame::Line { bytes: b"123456789\r\n", at: 0 }));
        assert!(!lines.is_long());
        assert_eq!(lines.next_frame(), Some(Frame::Line { bytes: b"+\r\n", at: 11 }));
    }

    #[test]
    fn memory_is_given_back_with_the_line_that_took_it() {
        let long = LineLimits { short: 8, long: 1 << 20 };
        let mut lines = Lines::new(Ending::CrLf, long);
        let push = |lines: &mut Lines, bytes: &[u8]| {
            lines.push(bytes, true);
            while let Some(frame) = lines.next_frame() {
                if let Frame::NeedsAdmission { .. } = frame {
                    lines.admit();
                }
            }
        };
        (0..8).for_each(|_| push(&mut lines, &[b'x'; 65_536]));
        assert!(lines.is_long() && lines.capacity() >= 8 * 65_536);
        push(&mut lines, b"\r\nhalf");
        assert!(!lines.is_long() && lines.capacity() < 10_000, "{} bytes are kept", lines.capacity());
        push(&mut lines, &[b'x'; 65_536]);
        lines.discard();
        assert_eq!(lines.next_frame(), None);
        assert!(!lines.is_long() && lines.capacity() < 10_000, "{} bytes are kept", lines.capacity());
        (0..64).for_each(|_| push(&mut lines, &[b'x'; 65_536]));
        assert!(lines.capacity() < 10_000, "{} bytes are kept of what is thrown away", lines.capacity());
        lines.push(b"x\r\nshort\r\n", true);
        assert!(matches!(lines.next_frame(), Some(Frame::Line { bytes: b"short\r\n", .. })));
        assert_eq!(lines.received(), (8 + 1 + 64) * 65_536 + 16);
    }

    #[test]
    fn a_line_that_is_given_up_ends_where_it_ends() {
        for (begin, rest) in [(&b"123456789\r"[..], &b"\nb\r\n"[..]), (b"123456789", b"0\r\nb\r\n")] {
            let mut lines = Lines::new(Ending::CrLf, LIMITS);
            lines.push(begin, true);
            assert!(matches!(lines.next_frame(), Some(Frame::NeedsAdmission { .. })));
            lines.admit();
            assert_eq!(lines.next_frame(), None);
            lines.discard();
            lines.push(rest, true);
            let at = (begin.len() + rest.len() - 3) as u64;
            assert_eq!(lines.next_frame(), Some(Frame::Line { bytes: b"b\r\n", at }));
        }
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_lines(
            lines in prop::collection::vec("[a+ \n\r]{1,20}", 0..12),
            cuts in prop::collection::vec(0usize..200, 0..20),
        ) {
            // A leading CR or LF could make an empty line, and those depend on what arrives together.
            let whole: Vec<u8> = lines.iter().flat_map(|l| format!("x{l}x\r\n").into_bytes()).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &whole[w[0]..w[1]]).filter(|p| !p.is_empty()).collect();
            let without_empty = |v: Vec<String>| v.into_iter().filter(|f| f != "∅").collect::<Vec<_>>();
            prop_assert_eq!(without_empty(frames(Ending::CrLf, &pieces)), without_empty(frames(Ending::CrLf, &[&whole])));
        }
    }
}
