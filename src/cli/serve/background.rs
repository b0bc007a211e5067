//! Regular tasks of a server: it ends idle sessions, removes old messages, and shows that it is alive.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tracing::info;

use crate::cli::serve::certificate;
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

/// Logs each day when the certificate expires soon or has expired. The start and each reload do this themselves.
pub(crate) async fn watch_certificate(tls: Arc<Tls>) {
    let day = Duration::from_secs(24 * 60 * 60);
    let mut daily = interval_at(Instant::now() + day, day);
    daily.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        daily.tick().await;
        certificate::tell(&tls.identity(), SystemTime::now());
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
