//! Sends log lines to the journal under systemd, and otherwise to standard error. The level can change while the
//! program runs. In a server another thread writes the lines.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use std::{panic, thread};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::error;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{BadConfig, LogConfig, LogFormat};
use crate::ops::journal::{Journal, JournalLayer};
use crate::ops::log_limit::{Limited, LogLimit};
use crate::ops::log_queue;
use crate::ops::log_queue::{LogQueue, Sink};

/// How long the end of the program waits for its last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The log's level. It can change while the program runs.
pub(super) struct LogLevel(reload::Handle<EnvFilter, Registry>);

/// Keep this until the end of the program. When it is dropped, it waits until the last lines are written.
pub(super) struct LogWriter(Arc<LogQueue>);

/// Logs as the settings say.
pub(super) fn start(settings: &LogConfig) -> anyhow::Result<(LogLevel, LogWriter)> {
    let (filter, handle) = reload::Layer::new(filter(&settings.level)?);
    let limit = Arc::new(LogLimit::default());
    let stderr = Stderr(File::from(io::stderr().as_fd().try_clone_to_owned()?));
    let (sink, is_journal): (Box<dyn Sink>, bool) = match Journal::behind_stderr(stderr) {
        Ok(journal) => (Box::new(journal), true),
        Err(stderr) => (Box::new(stderr), false),
    };
    let told = limit.clone();
    let queue = LogQueue::start(sink, move || told.tell())?;
    let subscriber = tracing_subscriber::registry().with(filter).with(Limited(limit));
    match is_journal {
        true => subscriber.with(JournalLayer(queue.clone())).init(),
        false => subscriber.with(lines(settings.format, queue.clone())).init(),
    }
    log_panics();
    Ok((LogLevel(handle), LogWriter(queue)))
}

/// Logs for an administrator's command: only what is wrong.
pub(super) fn start_quietly() {
    // A migration of many messages is slow, and its SQL tells nobody anything.
    let lines = fmt().with_env_filter(EnvFilter::new("warn,sqlx::query=error")).with_writer(io::stderr);
    // Its own complaint that a line cannot be written would be a panic.
    lines.without_time().with_target(false).with_ansi(false).log_internal_errors(false).init();
}

impl LogLevel {
    /// Logs from now on what `level` lets through.
    pub(super) fn set(&self, level: &str) -> Result<(), BadConfig> {
        let filter = filter(level)?;
        self.0.reload(filter).map_err(|e| BadConfig::new(format!("log.level: {e}")))
    }
}

#[cfg(test)]
impl LogLevel {
    /// That of a log to which nobody writes.
    pub(super) fn of_no_log() -> LogLevel {
        LogLevel(reload::Layer::new(EnvFilter::default()).1)
    }
}

impl LogWriter {
    /// For those who count what was dropped.
    pub(super) fn queue(&self) -> Arc<LogQueue> {
        self.0.clone()
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.0.flush(LAST_LINES);
    }
}

/// A panic is a line of the log like others, and its thread does not wait for the reader of the log. A panic of the
/// thread that writes the log goes directly to standard error.
fn log_panics() {
    let to_stderr = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let thread = thread::current().name().unwrap_or_default().to_owned();
        if thread == log_queue::THREAD {
            return to_stderr(panic);
        }
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(thread, place, "panicked: {}", panic.payload_as_str().unwrap_or_default());
    }));
}

/// When the level is a single word, libraries log only what is wrong, and not each statement and buffer.
fn filter(level: &str) -> Result<EnvFilter, BadConfig> {
    let directives = match level {
        "info" | "debug" | "trace" => format!("warn,chatd={level}"),
        other => other.to_owned(),
    };
    EnvFilter::try_new(directives).map_err(|e| BadConfig::new(format!("log.level: {e}")))
}

fn lines<S>(format: LogFormat, queue: Arc<LogQueue>) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let lines = fmt::layer().with_writer(move || QueueWriter(queue.clone())).log_internal_errors(false);
    match format {
        LogFormat::Text => Box::new(lines.with_ansi(io::stderr().is_terminal()).with_target(false)),
        LogFormat::Json => Box::new(lines.json()),
    }
}

/// Takes each line as one write, and puts it into the queue.
struct QueueWriter(Arc<LogQueue>);

impl Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error, with its own descriptor. A thread that waits for it holds no lock that others need.
struct Stderr(File);

impl Sink for Stderr {
    fn write(&mut self, mut line: &[u8]) -> io::Result<()> {
        while !line.is_empty() {
            match self.0.write(line) {
                Ok(written) => line = &line[written..],
                // Another process that shares the terminal or the pipe has made it so.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
