//! Where log lines go and which of them: the journal under systemd, else stderr; the level can change while it runs.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{BadConfig, Log, LogFormat};
use crate::journal::Journal;

/// The log's level, to be changed while the program runs.
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

/// Logs as the settings say.
pub fn start(settings: &Log) -> Result<LogLevel, BadConfig> {
    let (filter, handle) = reload::Layer::new(filter(&settings.level)?);
    tracing_subscriber::registry().with(filter).with(lines(settings.format)).init();
    Ok(LogLevel(handle))
}

/// Logs as an administrator's command does: what is wrong and nothing else.
pub fn start_quietly() {
    let lines = fmt().with_env_filter(EnvFilter::new("warn")).with_writer(io::stderr);
    // Its own complaint that a line cannot be written would be a panic.
    lines.without_time().with_target(false).with_ansi(false).log_internal_errors(false).init();
}

impl LogLevel {
    /// Logs from now on what `level` lets through.
    pub fn set(&self, level: &str) -> Result<(), BadConfig> {
        let filter = filter(level)?;
        self.0.reload(filter).map_err(|e| BadConfig::new(format!("log.level: {e}")))
    }
}

/// At a level that is a single word the libraries say what is wrong, and nothing of every statement and buffer.
fn filter(level: &str) -> Result<EnvFilter, BadConfig> {
    let directives = match level {
        "info" | "debug" | "trace" => format!("warn,chatd={level}"),
        other => other.to_owned(),
    };
    EnvFilter::try_new(directives).map_err(|e| BadConfig::new(format!("log.level: {e}")))
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    if let Some(journal) = Journal::behind_stderr() {
        return Box::new(journal);
    }
    let lines = fmt::layer().with_writer(io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Text => Box::new(lines.with_ansi(io::stderr().is_terminal()).with_target(false)),
        LogFormat::Json => Box::new(lines.json()),
    }
}
