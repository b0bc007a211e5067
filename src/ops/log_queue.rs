//! A bounded queue for lines of the log, and a thread that writes them. A thread that logs never waits for the reader
//! of the log. When the queue is full, lines are dropped and counted, and the count is logged. Knows no format.
//!
//! tracing-appender's non-blocking writer does nearly this. But it prints to standard output when it cannot end in
//! time, and it does not report the lines that it dropped.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::ops::metrics::Counter;
use crate::ops::vital;

/// The queue holds so many bytes, and the thread as many while it writes them.
const BYTES: usize = 1 << 20;
/// What a line costs beside its bytes.
const LINE: usize = 64;
/// How often the thread looks up when there is nothing to write.
const EVERY: Duration = Duration::from_secs(1);
/// The name of the thread.
pub(crate) const THREAD: &str = "log";

thread_local! {
    /// Whether this thread writes the log. Its own lines say how many are missing, and always have room.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

/// Writes one line, for as long as that takes.
pub(crate) trait Sink: Send {
    /// An error loses the line, and nothing else.
    fn write(&mut self, line: &[u8]) -> io::Result<()>;
}

impl Sink for Box<dyn Sink> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        (**self).write(line)
    }
}

/// Lines that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct LogQueue {
    state: Mutex<LogQueueState>,
    /// There is something to do.
    wake: Condvar,
    rests: Condvar,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct LogQueueState {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread has taken lines and not written all of them.
    writing: bool,
    /// Lines that were dropped, or could not be written, since that was last said.
    untold: u64,
}

impl LogQueue {
    /// Starts the thread. `every_second` is called on it, while lines are written too.
    pub(crate) fn start(
        mut sink: impl Sink + 'static,
        every_second: impl Fn() + Send + 'static,
    ) -> io::Result<Arc<LogQueue>> {
        let queue = Arc::new(LogQueue::default());
        let thread = queue.clone();
        vital::spawn(THREAD, move || thread.work(&mut sink, &every_second))?;
        Ok(queue)
    }

    /// Takes a line, or drops it when the queue is full. Never waits.
    pub(crate) fn push(&self, line: Vec<u8>) {
        let mut state = self.state();
        let bytes = state.bytes + line.len() + LINE;
        if bytes > BYTES && !WRITES.get() {
            state.untold += 1;
            drop(state);
            self.dropped.add(1);
            return;
        }
        state.bytes = bytes;
        state.lines.push_back(line);
        drop(state);
        self.wake.notify_one();
    }

    /// How many lines were dropped, or could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// Waits until all is written, but no longer than `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let busy = |state: &mut LogQueueState| state.writing || !state.lines.is_empty();
        drop(self.rests.wait_timeout_while(self.state(), patience, busy));
    }

    fn work(&self, sink: &mut impl Sink, every_second: &impl Fn()) {
        WRITES.set(true);
        let mut looked_up = Instant::now();
        loop {
            let lines = self.take();
            let mut written = 0;
            for line in &lines {
                match sink.write(line) {
                    Ok(()) => written += 1,
                    Err(_) => {
                        self.dropped.add(1);
                        self.state().untold += 1;
                    }
                }
            }
            // Said only where lines are read again, or the line that says it would be the next that is dropped.
            let untold = if written > 0 { std::mem::take(&mut self.state().untold) } else { 0 };
            if untold > 0 {
                warn!(lines = untold, "lines of the log were dropped, because nobody took them");
            }
            if looked_up.elapsed() >= EVERY {
                looked_up = Instant::now();
                every_second();
            }
        }
    }

    /// Waits for lines, for a second at the most, and takes them all.
    fn take(&self) -> VecDeque<Vec<u8>> {
        let mut state = self.state();
        state.writing = false;
        if state.lines.is_empty() {
            self.rests.notify_all();
            let idle = |state: &mut LogQueueState| state.lines.is_empty();
            let waited = self.wake.wait_timeout_while(state, EVERY, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.writing = !state.lines.is_empty();
        state.bytes = 0;
        std::mem::take(&mut state.lines)
    }

    fn state(&self) -> MutexGuard<'_, LogQueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Writes a line when it is told to.
    struct Reader {
        may_read: Receiver<io::Result<()>>,
        read: Sender<Vec<u8>>,
    }

    impl Sink for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<()> {
            let may_read = self.may_read.recv().unwrap_or(Ok(()));
            may_read.inspect(|()| _ = self.read.send(line.to_vec()))
        }
    }

    fn queue() -> (Arc<LogQueue>, Sender<io::Result<()>>, Receiver<Vec<u8>>) {
        let ((read, may_read), (written, lines)) = (channel(), channel());
        let queue = LogQueue::start(Reader { may_read, read: written }, || ()).expect("a thread can be had");
        (queue, read, lines)
    }

    #[test]
    fn who_logs_does_not_wait_for_a_reader_that_has_stopped() {
        let (queue, read, lines) = queue();
        let most = BYTES / (1000 + LINE);
        // The thread takes what is there when it begins, and then stands still; the rest finds its end in the queue.
        for _ in 0..3 * most {
            queue.push(vec![b'x'; 1000]);
        }
        let dropped = queue.dropped() as usize;
        assert!((most..=2 * most).contains(&dropped), "{dropped} of {}", 3 * most);
        let begun = Instant::now();
        queue.flush(Duration::from_millis(10));
        assert!(begun.elapsed() < PATIENCE, "a flush waits no longer than it is told to");
        // The reader goes on, and has all that was not dropped.
        drop(read);
        queue.flush(PATIENCE);
        assert_eq!(lines.try_iter().count(), 3 * most - dropped);
        assert_eq!(queue.state().untold, 0, "it was said how many were dropped");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_the_next_one_is_written() {
        let (queue, read, lines) = queue();
        queue.push(b"one".to_vec());
        read.send(Err(io::ErrorKind::BrokenPipe.into())).expect("it is read");
        queue.flush(PATIENCE);
        assert_eq!(queue.state().untold, 1, "it is to be said as soon as a line is read");
        queue.push(b"two".to_vec());
        read.send(Ok(())).expect("it is read");
        assert_eq!(lines.recv_timeout(PATIENCE), Ok(b"two".to_vec()));
        assert_eq!(queue.dropped(), 1);
    }
}
