//! Reads and checks the certificate of the server. Warns early enough that somebody can renew it.

use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;
use tracing::{error, warn};

use crate::config::{BadConfig, Config, Listen};
use crate::transport::tls::{Tls, TlsIdentity, Validity};

/// How many days before the end the warnings begin. A certificate of 90 days is normally renewed 30 days before.
const EARLY_DAYS: i64 = 21;
const DAY: i64 = 24 * 60 * 60;

pub(crate) fn load((certificate, key): &(PathBuf, PathBuf)) -> Result<TlsIdentity, BadConfig> {
    let all = |wrong: Vec<crate::transport::tls::BadIdentity>| wrong.iter().map(ToString::to_string).collect();
    TlsIdentity::load(certificate, key).map_err(|wrong| match BadConfig::all(all(wrong)) {
        Err(bad) => bad,
        Ok(()) => BadConfig::new("server.tls_certificate: it cannot be used"),
    })
}

/// The certificate that the settings name, where TLS is wanted: at an address of theirs, or at a listener of systemd's.
/// ACME gets its own.
pub(crate) fn configured(config: &Config, inherited: bool) -> Result<Option<TlsIdentity>, BadConfig> {
    let server = &config.server;
    let is_named = !server.tls_certificate.as_os_str().is_empty() && !server.tls_key.as_os_str().is_empty();
    match (server.tls_listen, config.web.tls_listen) {
        _ if config.acme.is_on() => Ok(None),
        (Listen(None), Listen(None)) if !inherited || !is_named => Ok(None),
        _ => load(&(server.tls_certificate.clone(), server.tls_key.clone())).map(Some),
    }
}

/// An error or a warning about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Error(String),
    Warning(String),
}

/// Who sees to it that there is a new certificate in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    ByHand,
    /// It has failed for a while if less than a quarter of the certificate's life is left.
    ByAcme,
}

impl Renewal {
    /// As the settings want it.
    pub(crate) fn of(config: &Config) -> Renewal {
        if config.acme.is_on() { Renewal::ByAcme } else { Renewal::ByHand }
    }

    /// How many seconds before the end the warnings begin.
    fn early(self, validity: Validity) -> i64 {
        let life = validity.seconds_left(validity.begin);
        if self == Renewal::ByAcme { (life / 4).min(EARLY_DAYS * DAY) } else { EARLY_DAYS * DAY }
    }

    fn remedy(self) -> &'static str {
        match self {
            Renewal::ByHand => "renew it and reload",
            Renewal::ByAcme => "the log says why ACME has brought no other",
        }
    }
}

/// What to log about the certificate at this moment. `None`: nothing is wrong.
pub(crate) fn notice(validity: Validity, renewal: Renewal, now: SystemTime) -> Option<Notice> {
    let remedy = renewal.remedy();
    let left = validity.seconds_left(now);
    if now < validity.begin {
        let begin = date(validity.begin);
        return Some(Notice::Error(format!(
            "the certificate is good only from {begin} on: clients refuse it until then"
        )));
    }
    let end = date(validity.end);
    if left < 0 {
        Some(Notice::Error(format!("the certificate expired on {end}: clients refuse it; {remedy}")))
    } else if left <= renewal.early(validity) {
        let days = left / DAY;
        Some(Notice::Warning(format!("the certificate expires in {days} days, on {end}: {remedy}")))
    } else {
        None
    }
}

/// Logs the notice of this moment, if there is one.
pub(crate) fn tell(tls: &Tls, renewal: Renewal, now: SystemTime) {
    match tls.identity().and_then(|identity| notice(identity.validity(), renewal, now)) {
        Some(Notice::Error(text)) => error!("{text}"),
        Some(Notice::Warning(text)) => warn!("{text}"),
        None => {}
    }
}

/// The certificate for a reload to take over. `None`: TLS is not served, or the settings name no certificate. An
/// expired certificate does not replace one that is still good.
pub(crate) fn successor(
    files: &(PathBuf, PathBuf),
    tls: Option<&Tls>,
    now: SystemTime,
) -> Result<Option<TlsIdentity>, BadConfig> {
    let Some(tls) = tls.filter(|_| !files.0.as_os_str().is_empty() && !files.1.as_os_str().is_empty()) else {
        return Ok(None);
    };
    let (new, in_force) = (load(files)?, tls.identity());
    let is_over = |identity: &TlsIdentity| identity.validity().seconds_left(now) < 0;
    if let Some(in_force) = in_force.filter(|in_force| is_over(&new) && !is_over(in_force)) {
        let (over, good) = (date(new.validity().end), date(in_force.validity().end));
        return Err(BadConfig::new(format!(
            "server.tls_certificate: the certificate expired on {over}, and the one in force is good until {good}"
        )));
    }
    Ok(Some(new))
}

/// To the day, in UTC.
pub(crate) fn date(at: SystemTime) -> String {
    Timestamp::try_from(at)
        .map_or_else(|_| "a day out of reckoning".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_told_from_21_days_before_it() {
        let day = |days: u64| UNIX_EPOCH + Duration::from_secs(days * 24 * 60 * 60);
        let validity = Validity { begin: day(100), end: day(200) };
        let at = |days: u64| notice(validity, Renewal::ByHand, day(days));
        assert!(matches!(at(99), Some(Notice::Error(text)) if text.contains("from 1970-04-11 on")));
        assert_eq!((at(100), at(178)), (None, None));
        assert!(matches!(at(179), Some(Notice::Warning(text)) if text.contains("expires in 21 days, on 1970-07-20")));
        assert!(matches!(at(200), Some(Notice::Warning(text)) if text.contains("expires in 0 days")));
        assert!(matches!(at(201), Some(Notice::Error(text)) if text.contains("expired on 1970-07-20")));
    }

    #[test]
    fn a_certificate_of_acme_that_is_due_is_no_news_and_one_that_was_not_renewed_is() {
        let day = |days: u64| UNIX_EPOCH + Duration::from_secs(days * 24 * 60 * 60);
        let of = |end: u64, days: u64| notice(Validity { begin: day(0), end: day(end) }, Renewal::ByAcme, day(days));
        assert_eq!((of(8, 5), of(90, 68)), (None, None));
        for told in [of(8, 7), of(90, 69), of(8, 9)] {
            let Some(Notice::Error(text) | Notice::Warning(text)) = told else { panic!("nothing is told") };
            assert!(text.contains("the log says why ACME"), "{text}");
        }
    }
}
