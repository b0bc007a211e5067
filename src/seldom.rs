//! Log lines that a stranger can cause as often as he likes: at most one a second of a kind, with the number left out.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// The least time between two lines.
const EVERY: Duration = Duration::from_secs(1);

/// One kind of line.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Whether a line may be written, and how many were left out since the last.
    pub fn due(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(|broken| broken.into_inner());
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < EVERY) {
            *left_out += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_few_lines_and_all_are_counted() {
        let seldom = Seldom::default();
        assert_eq!(seldom.due(), Some(0));
        let lines: Vec<u64> = (0..1000).filter_map(|_| seldom.due()).collect();
        assert!(lines.len() < 500, "{} lines", lines.len());
        seldom.0.lock().expect("nobody panicked").0 = None;
        assert_eq!(seldom.due(), Some(1000 - lines.len() as u64 - lines.iter().sum::<u64>()));
    }
}
