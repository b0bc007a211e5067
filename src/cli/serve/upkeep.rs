//! What a server does by itself, by and by: ends idle sessions, removes old messages, and shows that it is alive.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

use crate::config::Config;
use crate::model::{SessionId, Timestamp};
use crate::repository::Repository;
use crate::service::Service;
use crate::systemd;

/// How often idle sessions and old messages are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(60);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// Ends idle sessions and removes old messages.
pub async fn tidy(service: Arc<Service>, repository: Arc<dyn Repository>, config: watch::Receiver<Arc<Config>>) {
    let mut tidy = interval(TIDY_EVERY);
    let mut prune = interval(PRUNE_EVERY);
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    prune.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tidy.tick() => service.tidy().await,
            _ = prune.tick() => {
                let keep_delivered = config.borrow().delivery.keep_delivered.0;
                match repository.prune(Timestamp::now().before(keep_delivered)).await {
                    Ok(0) | Err(_) => {}
                    Ok(messages) => info!(messages, "read messages older than delivery.keep_delivered were removed"),
                }
            }
        }
    }
}

/// Tells systemd's watchdog that the server is alive, each time the store has answered: while its writer hangs, nothing
/// is said, and systemd starts the service anew. An answer that says no is one too: a full disk is not cured by a start.
pub async fn show_life(repository: Arc<dyn Repository>) {
    let Some(every) = systemd::alive_every() else { return };
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // Goes through the writer and changes nothing: sessions are counted from 1.
        let _ = repository.end_session(SessionId(0)).await;
        systemd::alive();
    }
}
