//! `chatd serve`: puts the parts together, binds, and turns signals into a stop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{cost, log, open, runtime, warn_about};
use crate::config::{Config, Loaded};
use crate::frame::LineLimits;
use crate::model::{Timestamp, Username};
use crate::password::{self, OWASP_MINIMUM, Passwords};
use crate::repository::sqlite::Role;
use crate::repository::{NewUser, Repository};
use crate::server::{ConnectionLimits, Server};
use crate::service::{Rules, Service};
use crate::session::Settings;
use crate::throttle::{Rate, Rates, Throttle};

#[derive(Debug, Args)]
pub struct Serve {
    /// To try it: on loopback only, in chat-demo.db, with the accounts messi, henderson and lineker, password surabaya
    #[arg(long)]
    demo: bool,
}

/// The document's accounts: user name, name, country.
const DEMO_ACCOUNTS: [(&str, &str, &str); 3] = [
    ("messi", "Lionel Messi", "Argentina"),
    ("henderson", "Jordan Henderson", "Inggris"),
    ("lineker", "Gary Lineker", "Inggris"),
];
const DEMO_PASSWORD: &str = "surabaya";

/// How long the last connections may take to end.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a connection may wait at a stop for the proof that its last replies arrived.
const LINGER: Duration = Duration::from_secs(2);
/// How often idle sessions and old messages are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(60);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

impl Serve {
    pub fn run(&self, mut loaded: Loaded) -> anyhow::Result<ExitCode> {
        if self.demo {
            loaded.config.server.listen.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
            loaded.config.database.url = "sqlite://chat-demo.db".to_owned();
        }
        log(&loaded.config)?;
        warn_about(&loaded);
        runtime(1)?.block_on(self.serve(&loaded.config))
    }

    async fn serve(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let repository: Arc<dyn Repository> = Arc::new(open(config, Role::Server).await?);
        if self.demo {
            add_demo_accounts(&*repository, config).await?;
        }
        let service = service(repository.clone(), config)?;
        let stop = CancellationToken::new();
        let limits =
            ConnectionLimits { total: config.limits.connections, per_address: config.limits.connections_per_address };
        let server = Server::new(service.clone(), settings(config), limits, stop.clone());

        let listener = bind(config.server.listen).await?;
        let address = listener.local_addr()?;
        info!(%address, "listening");
        if self.demo {
            print_invitation(address);
        }
        let tidy = tokio::spawn(tidy(service, repository.clone(), config.delivery.keep_delivered.0));
        let listening = tokio::spawn({
            let server = server.clone();
            async move { server.listen(listener).await }
        });
        let failed = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            failed = repository.failed() => failed.ok(),
        };
        info!("stopping");
        stop.cancel();
        tidy.abort();
        let _ = listening.await;
        if timeout(DRAIN, server.drained()).await.is_err() {
            warn!("some connections did not end in time");
        }
        repository.close().await?;
        match failed {
            None => Ok(ExitCode::SUCCESS),
            Some(why) => {
                error!(%why, "stopped");
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("server.listen: {address}"))
}

fn service(repository: Arc<dyn Repository>, config: &Config) -> anyhow::Result<Arc<Service>> {
    let cost = cost(config);
    if cost.memory_kib < OWASP_MINIMUM.memory_kib || cost.iterations < OWASP_MINIMUM.iterations {
        warn!(?cost, "password hashes are cheaper than OWASP's minimum: for tests only");
    }
    let passwords = Passwords::start(cost, config.password.threads, config.password.queue)?;
    let throttle = Throttle::new(rates(config), config.throttle.buckets);
    Ok(Arc::new(Service::new(repository, passwords, throttle, rules(config))))
}

fn rates(config: &Config) -> Rates {
    let throttle = &config.throttle;
    Rates {
        address: Rate { per_minute: throttle.address_per_minute, per_hour: throttle.address_per_hour },
        account: Rate { per_minute: throttle.account_per_minute, per_hour: throttle.account_per_hour },
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        idle_expiry: config.session.idle_expiry.0,
        sessions_per_user: config.session.per_user,
        drained_senders: config.protocol.drained_senders,
        inbox_reply_bytes: config.delivery.reply_bytes,
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        line: LineLimits { short: config.limits.line_bytes_without_token, long: config.limits.line_bytes },
        long_lines: Arc::new(Semaphore::new(config.limits.buffered_bytes)),
        write_timeout: config.limits.write_timeout.0,
        confirm_after: config.delivery.confirm_after.0,
        linger: LINGER,
    }
}

/// Ends idle sessions and removes old messages, by and by.
async fn tidy(service: Arc<Service>, repository: Arc<dyn Repository>, keep_delivered: Duration) {
    let mut tidy = interval(TIDY_EVERY);
    let mut prune = interval(PRUNE_EVERY);
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    prune.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tidy.tick() => service.tidy().await,
            _ = prune.tick() => match repository.prune(Timestamp::now().before(keep_delivered)).await {
                Ok(0) | Err(_) => {}
                Ok(messages) => info!(messages, "read messages older than delivery.keep_delivered were removed"),
            }
        }
    }
}

async fn add_demo_accounts(repository: &dyn Repository, config: &Config) -> anyhow::Result<()> {
    for (name, display_name, country) in DEMO_ACCOUNTS {
        if repository.user_named(name).is_none() {
            let new = NewUser {
                username: Username::parse(name)?,
                display_name: display_name.to_owned(),
                country: country.to_owned(),
                password_hash: password::hash(DEMO_PASSWORD, cost(config))?,
            };
            repository.add_user(new).await?;
        }
    }
    Ok(())
}

fn print_invitation(address: SocketAddr) {
    let (ip, port) = (address.ip(), address.port());
    println!(
        "chatd is running. In another terminal:\n\n    \
         nc -C {ip} {port}\n\n\
         and then, for example:\n\n    \
         auth messi {DEMO_PASSWORD}\n    \
         send TOKEN henderson halo apa kabar\n    \
         auth henderson {DEMO_PASSWORD}\n    \
         inbox TOKEN\n\n\
         with the TOKEN that auth gave. Ctrl-C stops it; what was sent is in chat-demo.db."
    );
}
