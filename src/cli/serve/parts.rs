//! From settings to the parts of the server.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::Semaphore;
use tracing::warn;

use super::cost;
use super::live::Live;
use crate::config::Config;
use crate::connections::ConnectionLimits;
use crate::password::{OWASP_MINIMUM, Passwords};
use crate::repository::Repository;
use crate::service::{Rules, Service};
use crate::session::Settings;
use crate::throttle::{Rate, Rates, Throttle};
use crate::vital;

/// How long a connection may wait at a stop for the proof that its last replies arrived.
pub const LINGER: Duration = Duration::from_secs(2);

/// Files that are open besides connections: the store, its readers, the log, the listeners.
const OTHER_FILES: u64 = 64;

/// Lets the process have as many files open as the system gives it, since each connection is one.
pub fn allow_files(config: &Config) -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let wanted = config.limits.connections as u64 + OTHER_FILES;
    if most < wanted {
        warn!(most, wanted, "the system gives this process fewer open files than limits.connections wants");
    }
    Ok(())
}

/// The service on a store.
pub fn service(repository: Arc<dyn Repository>, config: &Config) -> anyhow::Result<Arc<Service>> {
    let cost = cost(config);
    if cost.memory_kib < OWASP_MINIMUM.memory_kib || cost.iterations < OWASP_MINIMUM.iterations {
        warn!(?cost, "password hashes are cheaper than OWASP's minimum: for tests only");
    }
    let passwords = Passwords::start(cost, config.password.threads, config.password.queue)?;
    let throttle = Throttle::new(rates(config), config.throttle.buckets);
    Ok(Arc::new(Service::new(repository, passwords, throttle, rules(config))))
}

/// How often one may try to log in.
pub fn rates(config: &Config) -> Rates {
    let throttle = &config.throttle;
    Rates {
        address: Rate { per_minute: throttle.address_per_minute, per_hour: throttle.address_per_hour },
        account: Rate { per_minute: throttle.account_per_minute, per_hour: throttle.account_per_hour },
    }
}

/// What the service goes by.
pub fn rules(config: &Config) -> Rules {
    Rules {
        idle_expiry: config.session.idle_expiry.0,
        sessions_per_user: config.session.per_user,
        drained_senders: config.protocol.drained_senders,
        inbox_reply_bytes: config.delivery.reply_bytes,
        inbox_reply_messages: config.delivery.reply_messages,
        wait_at_most: config.delivery.wait_at_most.0,
        history_messages: config.delivery.history_messages,
    }
}

/// The room for long lines and the one for long replies, all connections together.
pub struct Room {
    lines: Arc<Semaphore>,
    replies: Arc<Semaphore>,
    replies_bytes: u32,
}

impl Room {
    /// Rooms that are empty.
    pub fn new(live: &Live) -> Room {
        Room {
            lines: Arc::new(Semaphore::new(live.line_room)),
            replies: Arc::new(Semaphore::new(live.reply_room)),
            replies_bytes: reply_bytes(live),
        }
    }

    /// The rooms that connections go by already.
    pub fn of(settings: &Settings) -> Room {
        Room {
            lines: settings.long_lines.clone(),
            replies: settings.long_replies.clone(),
            replies_bytes: settings.long_replies_bytes,
        }
    }

    /// The same rooms, with those who are in them, as large as `live` says.
    pub fn resized(self, former: &Live, live: &Live) -> Room {
        resize(&self.lines, former.line_room, live.line_room);
        resize(&self.replies, former.reply_room, live.reply_room);
        Room { replies_bytes: reply_bytes(live), ..self }
    }
}

fn reply_bytes(live: &Live) -> u32 {
    u32::try_from(live.reply_room).expect("the range of limits.buffered_reply_bytes ends there")
}

/// What is in use beyond the new size goes as it is given back.
fn resize(room: &Arc<Semaphore>, from: usize, to: usize) {
    room.add_permits(to.saturating_sub(from));
    let less = from.saturating_sub(to);
    let mut owed = less - room.forget_permits(less);
    if owed == 0 {
        return;
    }
    let room = room.clone();
    vital::spawn_task("resize", async move {
        while owed > 0 {
            let part = u32::try_from(owed).unwrap_or(u32::MAX);
            let Ok(given_back) = room.acquire_many(part).await else { return };
            given_back.forget();
            owed -= part as usize;
        }
    });
}

/// What each connection goes by.
pub fn settings(live: &Live, room: Room) -> Settings {
    Settings {
        line: live.line,
        long_lines: room.lines,
        long_replies: room.replies,
        long_replies_bytes: room.replies_bytes,
        write_timeout: live.write_timeout,
        peer_timeout: live.peer_timeout,
        confirm_after: live.confirm_after,
        linger: LINGER,
    }
}

/// How many connections there may be.
pub fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        total: config.limits.connections,
        per_address: config.limits.connections_per_address,
        strangers: config.limits.unauthenticated_connections,
    }
}
