//! When a certificate is renewed, and when what failed is tried again. Pure.

use std::time::{Duration, SystemTime};

use super::AcmeFailure;
use crate::transport::tls::Validity;

/// The longest wait after a failure, unless the authority asks for more.
const LONGEST: Duration = Duration::from_secs(3600);
/// A failure that stays is logged again after this time.
const TOLD_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// When a third of its life is left.
pub(super) fn renewal(validity: Validity) -> SystemTime {
    let life = validity.end.duration_since(validity.begin).unwrap_or_default();
    validity.begin + life * 2 / 3
}

/// What failed so far, one after the other.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failures: u32,
    /// What was logged, and when.
    told: Option<(String, SystemTime)>,
}

/// What follows a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NextAttempt {
    pub wait: Duration,
    /// The log has not said this yet, or long ago.
    pub is_told: bool,
}

impl Attempts {
    pub(super) fn is_empty(&self) -> bool {
        self.failures == 0
    }

    pub(super) fn failed(&mut self, failure: &AcmeFailure, now: SystemTime) -> NextAttempt {
        let doubled = failure.first_wait().saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST);
        self.failures += 1;
        let wait = failure.retry_after().unwrap_or_default().max(doubled);
        let text = failure.to_string();
        let is_recent = |at: SystemTime| now.duration_since(at).is_ok_and(|passed| passed < TOLD_EVERY);
        let was_told = self.told.as_ref().is_some_and(|(told, at)| *told == text && is_recent(*at));
        if !was_told {
            self.told = Some((text, now));
        }
        NextAttempt { wait, is_told: !was_told }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// With what the directory says of it.
    fn after(seconds: Option<u64>) -> AcmeFailure {
        let (host, why) = ("acme.example.org".to_owned(), "no route".to_owned());
        AcmeFailure::Unreachable { host, why, remedy: "", retry_after: seconds.map(Duration::from_secs) }
    }

    fn unreachable() -> AcmeFailure {
        after(None)
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
        let day = |days: u64| UNIX_EPOCH + Duration::from_secs(days * 24 * 60 * 60);
        assert_eq!(renewal(Validity { begin: day(100), end: day(190) }), day(160));
        assert_eq!(renewal(Validity { begin: day(190), end: day(100) }), day(190), "at once");
    }

    #[test]
    fn waits_grow_to_an_hour_and_no_more() {
        let mut attempts = Attempts::default();
        let waits: Vec<u64> = (0..100).map(|_| attempts.failed(&unreachable(), UNIX_EPOCH).wait.as_secs()).collect();
        assert_eq!(waits[..4], [5, 10, 20, 40]);
        assert!(waits.iter().skip(10).all(|wait| *wait == 3600), "{waits:?}");
        assert_eq!(Attempts::default().failed(&AcmeFailure::Late, UNIX_EPOCH).wait.as_secs(), 60);
    }

    #[test]
    fn the_authority_may_ask_for_a_longer_wait_and_for_no_shorter_one() {
        for (said, kept) in [(7, 7), (10_000, 10_000), (0, 5)] {
            assert_eq!(Attempts::default().failed(&after(Some(said)), UNIX_EPOCH).wait.as_secs(), kept);
        }
    }

    #[test]
    fn a_failure_is_told_once_a_day_and_another_at_once() {
        let mut attempts = Attempts::default();
        let at = |hours: u64| UNIX_EPOCH + Duration::from_secs(hours * 3600);
        let mut is_told = |failure: &AcmeFailure, hours| attempts.failed(failure, at(hours)).is_told;
        assert_eq!([0, 1, 23, 24, 25].map(|hours| is_told(&unreachable(), hours)), [true, false, false, true, false]);
        assert!(is_told(&AcmeFailure::Late, 25) && is_told(&unreachable(), 25));
    }
}
