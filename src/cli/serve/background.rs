//! Regular tasks of a server: it ends idle sessions, removes old messages, and shows that it is alive.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tracing::info;

use crate::cli::serve::certificate::{self, Renewal};
use crate::cli::serve::live::LiveSettings;
use crate::ops::systemd;
use crate::repository::{Pace, Repository, RoomInside};
use crate::service::Service;
use crate::transport::tls::Tls;

/// How often idle sessions and old messages are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(60);
const GIVE_BACK_EVERY: Duration = Duration::from_secs(60);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// Ends idle sessions and removes old messages.
pub(crate) async fn tidy(service: Arc<Service>, repository: Arc<dyn Repository>, live: watch::Receiver<LiveSettings>) {
    let mut tidy = interval(TIDY_EVERY);
    let mut prune = interval(PRUNE_EVERY);
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    prune.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tidy.tick() => service.tidy().await,
            _ = prune.tick() => {
                let keep_delivered = live.borrow().keep_delivered;
                match repository.prune(repository.clock().now().before(keep_delivered)).await {
                    Ok(0) | Err(_) => {}
                    Ok(messages) => info!(messages, "read messages older than delivery.keep_delivered were removed"),
                }
            }
        }
    }
}

/// Gives room that is free inside the database back to the disk, slowly.
pub(crate) async fn give_back(repository: Arc<dyn Repository>) {
    let mut look = interval(GIVE_BACK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        match repository.give_back(Pace::Slow).await {
            Ok(RoomInside { given_bytes: 0, .. }) | Err(_) => {}
            Ok(RoomInside { given_bytes, free_bytes, .. }) => {
                info!(given_bytes, free_bytes, "room inside the database was given back to the disk");
            }
        }
    }
}

/// Logs each day if the certificate is not valid yet, expires soon or has expired. The start and each reload do this
/// themselves.
pub(crate) async fn watch_certificate(tls: Arc<Tls>, renewal: Renewal) {
    tell_every(Duration::from_secs(24 * 60 * 60), &tls, renewal).await;
}

async fn tell_every(period: Duration, tls: &Tls, renewal: Renewal) {
    let mut tick = interval_at(Instant::now() + period, period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        certificate::tell(tls, renewal, SystemTime::now());
    }
}

/// Tells systemd's watchdog that the server is alive, each time the store has answered: while its writer hangs, nothing
/// is said, and systemd starts the service anew. An answer that says no is one too: a full disk is not cured by a
/// start.
pub(crate) async fn show_life(repository: Arc<dyn Repository>) {
    let Some(every) = systemd::alive_every() else { return };
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if repository.answers().await.is_ok() {
            systemd::alive();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use tokio::time::{sleep, timeout};

    use super::*;

    /// The lines that were logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn count(&self, words: &str) -> usize {
            let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&lines).matches(words).count()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_end_of_a_certificate_is_told_again_and_again() {
        let mut parameters =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("the name can be in a certificate");
        (parameters.not_before, parameters.not_after) =
            (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(2001, 1, 1));
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let folder = tempfile::tempdir().expect("a directory can be made");
        let files = (folder.path().join("certificate"), folder.path().join("key"));
        std::fs::write(&files.0, parameters.self_signed(&key).expect("it can be signed").pem())
            .expect("it can be written");
        std::fs::write(&files.1, key.serialize_pem()).expect("it can be written");
        let identity = certificate::load(&files).expect("it was just made");
        let tls = Tls::new(Some(identity), Duration::from_secs(60));
        let lines = Lines::default();
        let writer = lines.clone();
        let _logged = tracing::subscriber::set_default(
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish(),
        );
        let told_twice = async {
            while lines.count("ERROR") < 2 || lines.count("the certificate expired on 2001-01-01") < 2 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = tell_every(Duration::from_millis(1), &tls, Renewal::ByHand) => {}
            told = timeout(Duration::from_secs(60), told_twice) => told.expect("it is told twice"),
        }
    }
}
