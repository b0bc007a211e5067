//! `chatd serve`: puts the parts together, and turns signals into a reload or a stop.

mod demo;
mod listen;
mod metrics;
mod parts;
mod reload;
mod upkeep;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::listen::Inherited;
use self::metrics::Shown;
use self::reload::Reload;
use super::log::{self, LogLevel};
use super::{cost, open, runtime, settings_file, warn_about};
use crate::admin::path::socket_of;
use crate::admin::server::AdminSocket;
use crate::config::{BadConfig, Config, Loaded};
use crate::repository::sqlite::{Role, database_path};
use crate::repository::{self, Repository};
use crate::server::{Dialect, Server};
use crate::systemd;
use crate::tls::Tls;

#[derive(Debug, Args)]
pub struct Serve {
    /// To try it: on loopback only, in chat-demo.db, with the accounts messi, henderson and lineker, password surabaya
    #[arg(long)]
    demo: bool,
}

/// How long the last connections may take to end.
const DRAIN: Duration = Duration::from_secs(10);

impl Serve {
    pub fn run(&self, load: impl Fn() -> Result<Loaded, BadConfig>) -> anyhow::Result<ExitCode> {
        let load = || {
            let mut loaded = load()?;
            if self.demo {
                demo::confine(&mut loaded.config);
            }
            Ok(loaded)
        };
        let loaded = load()?;
        let level = log::start(&loaded.config.log)?;
        warn_about(&loaded);
        runtime(loaded.config.server.threads)?.block_on(self.serve(loaded, level, load))
    }

    async fn serve(
        &self,
        loaded: Loaded,
        level: LogLevel,
        load: impl Fn() -> Result<Loaded, BadConfig>,
    ) -> anyhow::Result<ExitCode> {
        parts::allow_files(&loaded.config)?;
        // From here on no signal ends the process by itself.
        let mut signals = Signals::new()?;
        let settings_file = settings_file(&loaded);
        let config = loaded.config;
        let repository: Arc<dyn Repository> = Arc::new(open(&config, Role::Server).await?);
        info!(database = config.database.url, "{settings_file}");
        if self.demo {
            demo::add_accounts(&*repository, &config).await?;
        }
        let service = parts::service(repository.clone(), &config)?;
        let stop = CancellationToken::new();
        let settings = parts::settings(&config, parts::Room::new(&config));
        let server = Server::new(service.clone(), settings, parts::connection_limits(&config), stop.clone());

        let mut inherited = Inherited::get()?;
        let identity = parts::identity(&config)?;
        let tls = identity.map(|identity| Arc::new(Tls::new(identity, config.limits.handshake_timeout.0)));
        let tls_listener = inherited.tls(&config.server)?;
        let text_listener = inherited.text(&config.server)?;
        let listener = inherited.plaintext(&config.server)?;
        let metrics_listener = inherited.metrics(&config.metrics)?;
        inherited.warn_about_the_rest();
        let mut listening = Vec::new();
        if let Some(listener) = text_listener {
            let address = listener.local_addr()?;
            info!(%address, "listening for people");
            if self.demo {
                demo::print_invitation(address);
            }
            listening.push(listen(&server, listener, Dialect::text, None));
        }
        if let Some(listener) = tls_listener {
            info!(address = %listener.local_addr()?, "listening for TLS");
            listening.push(listen(&server, listener, Dialect::json, tls.clone()));
        }
        let mut upkeep = Vec::new();
        if let Some(listener) = metrics_listener {
            info!(address = %listener.local_addr()?, "listening for Prometheus");
            let shown = Shown { repository: repository.clone(), service: service.clone(), server: server.clone() };
            upkeep.push(tokio::spawn(shown.serve(listener)));
        }
        let address = listener.local_addr()?;
        info!(%address, "listening");
        let (current, watched) = watch::channel(Arc::new(config.clone()));
        upkeep.push(tokio::spawn(upkeep::tidy(service.clone(), repository.clone(), watched)));
        upkeep.push(tokio::spawn(upkeep::show_life(repository.clone())));
        upkeep.extend(open_admin_socket(&config, &repository));
        listening.push(listen(&server, listener, Dialect::json, None));
        systemd::ready(&format!("listening on {address}"));
        let started_with = config;
        let reload = Reload { load, started_with, config: current, level, service, server: server.clone(), tls };
        let failed = signals.wait(&*repository, || reload.run()).await;

        systemd::stopping();
        info!("stopping");
        stop.cancel();
        upkeep.iter().for_each(|task| task.abort());
        for listening in listening {
            let _ = listening.await;
        }
        if timeout(DRAIN, server.drained()).await.is_err() {
            warn!("some connections did not end in time");
        }
        let closed = repository.close().await;
        match failed.or(closed.err()) {
            None => Ok(ExitCode::SUCCESS),
            Some(why) => {
                error!(%why, "stopped");
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

/// The administrator's own way in. Without it commands go to the database themselves, so a server goes on without it.
fn open_admin_socket(config: &Config, repository: &Arc<dyn Repository>) -> Option<JoinHandle<()>> {
    let database = database_path(&config.database.url).ok()?;
    match AdminSocket::open(&database) {
        Ok(socket) => {
            info!(path = %socket.path().display(), "listening for administrators");
            Some(tokio::spawn(socket.serve(repository.clone())))
        }
        Err(error) => {
            let path = socket_of(&database);
            warn!(path = %path.display(), %error, "no socket for administrators: their commands write to the database themselves");
            None
        }
    }
}

fn listen(server: &Server, listener: TcpListener, dialect: fn() -> Dialect, tls: Option<Arc<Tls>>) -> JoinHandle<()> {
    let server = server.clone();
    tokio::spawn(async move { server.listen(listener, dialect, tls).await })
}

/// What the server waits for.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the end, with a reload for each SIGHUP; gives what is wrong when it is the store that ends it.
    async fn wait(&mut self, repository: &dyn Repository, reload: impl Fn()) -> Option<repository::Error> {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return None,
                _ = self.interrupt.recv() => return None,
                _ = self.hangup.recv() => reload(),
                failed = repository.failed() => return failed.ok(),
            }
        }
    }
}
