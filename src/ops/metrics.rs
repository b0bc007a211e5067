//! Numbers that are cheap enough to count for every request, and their text for Prometheus. Knows neither what is
//! counted nor who asks.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// `n` more.
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counters that differ in one word, such as the reason of a refusal.
#[derive(Debug)]
pub struct Tally(Vec<(&'static str, Counter)>);

impl Tally {
    /// Counts these words and no others. So each is shown from the start, as 0.
    pub fn of(words: &[&'static str]) -> Tally {
        Tally(words.iter().map(|word| (*word, Counter::default())).collect())
    }

    /// One more of `word`.
    pub fn count(&self, word: &str) {
        let counter = self.0.iter().find(|(of, _)| *of == word);
        debug_assert!(counter.is_some(), "{word} is not counted");
        if let Some((_, counter)) = counter {
            counter.add(1);
        }
    }

    /// How many of each so far.
    pub fn get(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(word, counter)| (*word, counter.get()))
    }
}

/// Upper bounds in microseconds: from a commit that nobody waits for to a disk that hangs.
const BOUNDS: [u64; 12] =
    [500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// How long something took, each time.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// The last is for what took longer than all bounds.
    counts: [Counter; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// A [`Histogram`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    counts: [u64; BOUNDS.len() + 1],
    total: Duration,
}

impl Histogram {
    /// It took this long once more.
    pub(crate) fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[BOUNDS.partition_point(|bound| *bound < micros)].add(1);
        self.micros.fetch_add(micros, Relaxed);
    }

    pub(crate) fn get(&self) -> Durations {
        let counts = std::array::from_fn(|i| self.counts[i].get());
        Durations { counts, total: Duration::from_micros(self.micros.load(Relaxed)) }
    }
}

/// A page of numbers, in Prometheus' text format, version 0.0.4.
#[derive(Debug, Default)]
pub(crate) struct MetricsPage(Vec<Family>);

/// All that has one name.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    value: MetricValue,
}

#[derive(Debug)]
enum MetricValue {
    Gauge(i64),
    Counter(u64),
    /// A label, and the counter of each of its values.
    Tally(&'static str, Vec<(&'static str, u64)>),
    Histogram(Durations),
}

impl MetricsPage {
    /// The type of that text.
    pub(crate) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

    /// A number that goes up and down.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &'static str, value: impl TryInto<i64>) {
        self.add(name, help, MetricValue::Gauge(value.try_into().unwrap_or(i64::MAX)));
    }

    /// A number that only grows. The name ends in `_total`.
    pub(crate) fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.add(name, help, MetricValue::Counter(value));
    }

    /// Counters that differ in the label `label`. The name ends in `_total`.
    pub(crate) fn tally(&mut self, name: &'static str, help: &'static str, label: &'static str, tally: &Tally) {
        self.add(name, help, MetricValue::Tally(label, tally.get().collect()));
    }

    /// How long something took, in seconds.
    pub(crate) fn histogram(&mut self, name: &'static str, help: &'static str, durations: &Durations) {
        self.add(name, help, MetricValue::Histogram(durations.clone()));
    }

    pub(crate) fn text(self) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register_collector(Box::new(self));
        prometheus_text::encode(&mut text, &registry).expect("memory takes what is written");
        text
    }

    fn add(&mut self, name: &'static str, help: &'static str, value: MetricValue) {
        self.0.push(Family { name, help, value });
    }
}

impl Collector for MetricsPage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { name, help, value } in &self.0 {
            // The encoder writes the end of a counter's name itself.
            let (name, kind) = match value {
                MetricValue::Gauge(_) => (*name, MetricType::Gauge),
                MetricValue::Counter(_) | MetricValue::Tally(..) => {
                    (name.trim_end_matches("_total"), MetricType::Counter)
                }
                MetricValue::Histogram(_) => (*name, MetricType::Histogram),
            };
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            match value {
                MetricValue::Gauge(value) => family.encode_gauge(value)?,
                MetricValue::Counter(value) => family.encode_counter::<NoLabelSet, _, u64>(value, None)?,
                MetricValue::Tally(label, counters) => {
                    for (word, value) in counters {
                        family.encode_family(&[(*label, *word)])?.encode_counter::<NoLabelSet, _, u64>(value, None)?;
                    }
                }
                MetricValue::Histogram(durations) => {
                    let bounds = BOUNDS.iter().map(|bound| Duration::from_micros(*bound).as_secs_f64());
                    let bounds = bounds.chain([f64::INFINITY]);
                    let buckets: Vec<(f64, u64)> = bounds.zip(durations.counts).collect();
                    let count = durations.counts.iter().sum();
                    family.encode_histogram::<NoLabelSet>(durations.total.as_secs_f64(), count, &buckets, None)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_took_no_longer_and_all_that_is_in_smaller_ones() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 1_000_000, 31_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut page = MetricsPage::default();
        page.histogram("x", "Helps.", &histogram.get());
        let text = page.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["# HELP x Helps.", "# TYPE x histogram", "x_bucket{le=\"0.0005\"} 2"]);
        for line in
            ["x_bucket{le=\"0.001\"} 3", "x_bucket{le=\"0.25\"} 3", "x_bucket{le=\"1\"} 4", "x_bucket{le=\"30\"} 4"]
        {
            assert!(lines.contains(&line), "{line} in {text}");
        }
        assert_eq!(lines[lines.len() - 3..], ["x_bucket{le=\"+Inf\"} 5", "x_sum 32.001001", "x_count 5"]);
    }

    #[test]
    fn a_tally_shows_every_word_from_the_start() {
        let tally = Tally::of(&["late", "wrong"]);
        tally.count("wrong");
        tally.count("wrong");
        let mut page = MetricsPage::default();
        page.tally("x_total", "Helps.", "reason", &tally);
        page.gauge("y", "Helps.", 7);
        let wanted = "# HELP x_total Helps.\n# TYPE x_total counter\nx_total{reason=\"late\"} 0\nx_total{reason=\"wrong\"} 2\n\
                      # HELP y Helps.\n# TYPE y gauge\ny 7\n";
        assert_eq!(page.text(), wanted);
    }
}
