//! What the program logs in the process of the tests: the statements of sqlx, and what is wrong. A process has one
//! collector, so all tests have it together.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::{Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

#[derive(Default)]
pub struct Collected {
    /// How many rows each statement found or changed at the most.
    statements: Mutex<BTreeMap<String, u64>>,
    lines: Mutex<Vec<String>>,
}

impl Collected {
    /// From the first call on, for all threads: sqlx carries statements out on threads of its own.
    pub fn get() -> &'static Collected {
        static COLLECTED: OnceLock<Collected> = OnceLock::new();
        static BEGUN: OnceLock<()> = OnceLock::new();
        let collected = COLLECTED.get_or_init(Collected::default);
        BEGUN.get_or_init(|| {
            let subscriber = tracing_subscriber::registry().with(Collector(collected));
            tracing::subscriber::set_global_default(subscriber).expect("nobody else collects what is logged");
        });
        collected
    }

    /// A copy, because other tests go on.
    pub fn statements(&self) -> BTreeMap<String, u64> {
        self.statements.lock().expect("nobody panics with it").clone()
    }

    /// The warnings and errors so far that begin with these words.
    pub fn lines(&self, words: &str) -> Vec<String> {
        let lines = self.lines.lock().expect("nobody panics with it");
        lines.iter().filter(|line| line.starts_with(words)).cloned().collect()
    }
}

struct Collector(&'static Collected);

impl<S: Subscriber> Layer<S> for Collector {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == STATEMENTS || metadata.target().starts_with("chatd") && *metadata.level() <= Level::WARN
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == STATEMENTS {
            let mut statement = Statement::default();
            event.record(&mut statement);
            let sql = if statement.sql.is_empty() { &statement.summary } else { &statement.sql };
            let mut statements = self.0.statements.lock().expect("nobody panics with it");
            let most = statements.entry(words(sql)).or_default();
            *most = statement.rows.max(*most);
        } else {
            let mut line = Line::default();
            event.record(&mut line);
            self.0.lines.lock().expect("nobody panics with it").push(line.message + &line.fields);
        }
    }
}

/// Under which sqlx logs them.
const STATEMENTS: &str = "sqlx::query";

#[derive(Default)]
struct Statement {
    sql: String,
    summary: String,
    rows: u64,
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "db.statement" | "statement" => self.sql = value.to_owned(),
            "summary" => self.summary = value.to_owned(),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name().starts_with("rows_") {
            self.rows = self.rows.max(value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record_u64(field, value.unsigned_abs());
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// A message, and its fields as `key=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        written.expect("it is in memory");
    }
}

/// With one blank between words, however it was broken into lines.
pub fn words(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}
