//! Takes bytes and gives lines: where a request begins and ends, and how long it may be. Knows no command, no socket
//! and no user. The connection pushes bytes in and takes whole lines out.

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
    /// How long the line may be that was admitted last.
    most: usize,
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
            most: limits.long,
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
        // Grows by a half each time, because doubling would take much more than is needed.
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
        self.admit_up_to(self.limits.long);
    }

    /// The line that needs admission may have so many bytes.
    pub fn admit_up_to(&mut self, most: usize) {
        self.state = Line::Admitted;
        self.most = most;
    }

    /// Throws away the line that needs admission or is being collected, also the rest that has not come yet. The next
    /// call for a frame gives its memory back.
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
            if length > self.most {
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

    /// Keeps little more memory than the bytes need that were not given out yet.
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
mod tests;
