//! How many lines of one kind the log takes. A kind is a place in the code that logs. The rule is here alone, and it
//! holds for every line, so that nothing that a client does can flood the log. Knows no line and no place where lines
//! go.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// So many lines of one kind are written at once, and after them one each [`PERIOD`]. The others are counted, and the
/// count is logged.
const AT_ONCE: u32 = 15;
const PERIOD: Duration = Duration::from_millis(200);

/// The target of lines that no client can cause. All of them are written: they say who changed what.
pub(crate) const NOT_LIMITED: &str = "chatd::administrator";

#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    kinds: Mutex<HashMap<Identifier, Kind>>,
}

/// What was logged of one kind.
#[derive(Debug)]
struct Kind {
    /// When all lines so far would have come, one each period.
    due: Instant,
    left_out: u64,
    /// The words of the first line that was left out.
    words: String,
}

/// The limit as a part of a subscriber.
#[derive(Debug)]
pub(crate) struct Limited(pub Arc<LogLimit>);

impl<S: Subscriber> Layer<S> for Limited {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        !is_limited(event.metadata()) || self.0.lets_through(event, Instant::now())
    }
}

/// The level debug asks for every line. The line that counts the lines left out is never left out itself.
fn is_limited(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO && ![module_path!(), NOT_LIMITED].contains(&metadata.target())
}

impl LogLimit {
    fn lets_through(&self, event: &Event<'_>, now: Instant) -> bool {
        let mut kinds = self.kinds();
        let kind = kinds.entry(event.metadata().callsite()).or_insert_with(|| Kind {
            due: now,
            left_out: 0,
            words: String::new(),
        });
        let due = kind.due.max(now) + PERIOD;
        if due <= now + PERIOD * AT_ONCE {
            kind.due = due;
            return true;
        }
        kind.left_out += 1;
        if kind.words.is_empty() {
            event.record(&mut MessageVisitor(&mut kind.words));
        }
        false
    }

    /// Logs how many lines were left out since the last call, by kind. Call it about once a second.
    pub(crate) fn tell(&self) {
        for (words, lines) in self.take_left_out() {
            warn!(like = words, lines, "lines of the log were left out");
        }
    }

    fn take_left_out(&self) -> Vec<(String, u64)> {
        let mut kinds = self.kinds();
        let told = kinds.values_mut().filter(|kind| kind.left_out > 0);
        told.map(|kind| (std::mem::take(&mut kind.words), std::mem::take(&mut kind.left_out))).collect()
    }

    fn kinds(&self) -> MutexGuard<'_, HashMap<Identifier, Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the message of an event, and not its fields.
struct MessageVisitor<'a>(&'a mut String);

impl Visit for MessageVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::{debug, error, info};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    struct Counting(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Counting {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many of the lines that `log` makes are written, and what was left out.
    fn written(log: impl FnOnce()) -> (usize, Vec<(String, u64)>) {
        let (limit, count) = (Arc::new(LogLimit::default()), Arc::new(AtomicUsize::new(0)));
        let subscriber = tracing_subscriber::registry().with(Limited(limit.clone())).with(Counting(count.clone()));
        tracing::subscriber::with_default(subscriber, log);
        (count.load(Ordering::Relaxed), limit.take_left_out())
    }

    #[test]
    fn a_flood_of_one_kind_makes_few_lines_and_all_are_counted() {
        // However slow this is, it takes less than a minute.
        let (lines, left_out) = written(|| (0..1000).for_each(|number| error!(number, "a commit failed")));
        assert!(lines < 500, "{lines} lines");
        assert_eq!(left_out, [("a commit failed".to_owned(), 1000 - lines as u64)]);
    }

    #[test]
    fn a_flood_of_one_kind_leaves_room_for_others() {
        let (lines, _) = written(|| {
            (0..1000).for_each(|_| error!("one"));
            info!("another");
        });
        assert!((AT_ONCE as usize + 1..500).contains(&lines), "{lines} lines");
    }

    #[test]
    fn at_the_level_debug_every_line_is_written() {
        assert_eq!(written(|| (0..1000).for_each(|_| debug!("send"))), (1000, Vec::new()));
    }
}
