//! `chatd serve`: puts the parts together, and turns signals into a reload or a stop.

mod acme;
pub(super) mod assemble;
pub(super) mod background;
pub(super) mod certificate;
pub(super) mod check;
mod demo;
mod listen;
mod live;
mod metrics;
mod reload;
mod setup;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::assemble::json_port;
use self::certificate::Renewal;
use self::listen::{Endpoint, Inherited, Served};
use self::live::LiveSettings;
use self::metrics::MetricsSources;
use self::reload::Reload;
use super::log::{self, LogLevel};
use super::{cost, open, runtime, settings_file, storage, warn_about};
use crate::acme::Acme;
use crate::admin::path::socket_of;
use crate::admin::server::AdminSocket;
use crate::charge::Memory;
use crate::config::{BadConfig, Config, LoadedConfig};
use crate::ops::log_queue::LogQueue;
use crate::ops::systemd;
use crate::ops::vital;
use crate::repository::sqlite::Role;
use crate::repository::{self, OpenError, Repository};
use crate::server::{Dialect, Server, Spoken};
use crate::transport::tls::Tls;
use crate::transport::web::Web;

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// To try it: on loopback only, in chat-demo.db, with the accounts messi, henderson and lineker, password surabaya
    #[arg(long)]
    demo: bool,
}

/// How long the last connections may take to end: the longest wait of one, and the time to handle all of them. A
/// connection that has not ended then is cut off, for example when its peer does not read. Its messages wait for the
/// next start.
const DRAIN: Duration = assemble::LINGER.saturating_add(Duration::from_secs(1));

impl Serve {
    pub(super) fn run(&self, load: impl Fn() -> Result<LoadedConfig, BadConfig>) -> anyhow::Result<ExitCode> {
        let load = || {
            let mut loaded = load()?;
            if self.demo {
                demo::confine(&mut loaded);
            }
            Ok(loaded)
        };
        let loaded = load()?;
        let (level, log) = log::start(&loaded.config.log)?;
        warn_about(&loaded);
        runtime(loaded.config.server.threads)?.block_on(self.serve(loaded, level, log.queue(), load))
    }

    async fn serve(
        &self,
        loaded: LoadedConfig,
        level: LogLevel,
        log: Arc<LogQueue>,
        load: impl Fn() -> Result<LoadedConfig, BadConfig>,
    ) -> anyhow::Result<ExitCode> {
        assemble::allow_files(&loaded.config)?;
        // From here on no signal ends the process by itself.
        let mut signals = ServerSignals::new()?;
        let settings_file = settings_file(&loaded);
        let config = loaded.config;
        if let Some(file) = repository::file_of(&config.database.url).map_err(for_good)? {
            storage::can_write(&file)?;
        }
        let repository = open(&config, Role::Server).await.map_err(for_good)?.repository;
        info!(database = repository::shown(&config.database.url), "{settings_file}");
        if self.demo {
            demo::add_accounts(&*repository, &config).await?;
        }
        let service = assemble::service(repository.clone(), &config)?;
        let stop = CancellationToken::new();
        let live = LiveSettings::of(&config);
        let memory = Arc::new(Memory::new(live.line_room, live.reply_room));
        let settings = live.of_connections(memory.clone());
        let server = Server::new(service.clone(), settings, live.connections, stop.clone());

        let mut inherited = Inherited::get()?;
        let (tls, acme) = open_tls(&config, inherited.has_tls())?;
        let listeners = inherited.open(&config, tls.is_some())?;
        let mut upkeep = inherited.turn_away_the_rest()?;
        // Before anybody hears that the server listens.
        upkeep.extend(open_admin_socket(&config, &repository));
        let shown = MetricsSources {
            repository: repository.clone(),
            service: service.clone(),
            server: server.clone(),
            tls: tls.clone(),
            log,
        };
        let web = Arc::new(Web::new(service.clone(), memory, live.web.clone()));
        upkeep.push(vital::spawn_task("push", web.clone().tell_browsers().await));
        let is_empty = service.is_empty().await == Ok(true);
        let (listening, addresses) = self.begin(listeners, &shown, &web, &mut upkeep, is_empty)?;
        let (current, watched) = watch::channel(live);
        upkeep.push(vital::spawn_task("tidy", background::tidy(service.clone(), repository.clone(), watched)));
        upkeep.push(vital::spawn_task("give_back", background::give_back(repository.clone())));
        upkeep.push(vital::spawn_task("revocation", server.clone().follow_ended_sessions()));
        upkeep.push(vital::spawn_task("watchdog", background::show_life(repository.clone())));
        upkeep.extend(keep_certificate(&config, tls.as_ref(), acme));
        systemd::ready(&format!("listening on {}", addresses.join(", ")));
        let started_with = config;
        let reload = Reload { load, started_with, live: current, level, service, server: server.clone(), web, tls };
        let failed = signals.wait(&*repository, || reload.run()).await;

        systemd::stopping();
        info!("stopping");
        stop.cancel();
        upkeep.iter().for_each(|task| task.abort());
        let closed = stop_serving(listening, &server, &*repository).await;
        // A task that panics during the stop has not finished its work.
        Ok(exit_status(failed.or(closed.err()).or_else(|| vital::first_death().map(panicked))))
    }

    /// Serves at all listeners; gives the tasks that accept, and the addresses of the JSON port.
    fn begin(
        &self,
        listeners: Vec<(&'static Endpoint, TcpListener)>,
        shown: &MetricsSources,
        web: &Arc<Web>,
        upkeep: &mut Vec<JoinHandle<()>>,
        is_empty: bool,
    ) -> anyhow::Result<(Vec<JoinHandle<()>>, Vec<String>)> {
        let (mut listening, mut addresses) = (Vec::new(), Vec::new());
        let (mut page, mut text_port) = (None, None);
        for (endpoint, listener) in listeners {
            let address = listener.local_addr()?;
            info!(%address, "{}", endpoint.words);
            let (spoken, tls) = match endpoint.served {
                Served::Metrics => {
                    upkeep.push(vital::spawn_task("metrics", shown.clone().serve(listener)));
                    continue;
                }
                Served::Json => (Spoken::Lines(json_port), None),
                Served::Tls => (Spoken::Lines(json_port), shown.tls.clone()),
                Served::Text => (Spoken::Lines(|_| Dialect::text()), None),
                Served::Web => (Spoken::Http(web.clone()), None),
                Served::WebTls => (Spoken::Http(web.clone()), shown.tls.clone()),
            };
            match endpoint.served {
                Served::Json => addresses.push(address.to_string()),
                Served::Text => text_port = Some(address),
                Served::Web => page = Some(("http", address)),
                Served::WebTls => page = page.or(Some(("https", address))),
                _ => {}
            }
            listening.push(listen(&shown.server, listener, spoken, tls));
        }
        match (self.demo, page, text_port) {
            (true, Some((_, page)), Some(text_port)) => demo::print_invitation(page, text_port),
            (false, Some(page), _) if is_empty => setup::print_link(page, web),
            _ => {}
        }
        Ok((listening, addresses))
    }
}

/// What TLS is served with, where it is wanted, and what gets the certificate if the settings name no files.
fn open_tls(config: &Config, inherited: bool) -> Result<(Option<Arc<Tls>>, Option<Acme>), BadConfig> {
    let acme = acme::open(config, inherited)?;
    let identity = match &acme {
        Some(acme) => acme.identity(),
        None => certificate::configured(config, inherited)?,
    };
    let is_served = acme.is_some() || identity.is_some();
    let tls = is_served.then(|| Arc::new(Tls::new(identity, config.limits.handshake_timeout.0)));
    tls.iter().for_each(|tls| certificate::tell(tls, Renewal::of(config), SystemTime::now()));
    Ok((tls, acme))
}

/// The tasks that tell of a certificate's end, and that get a new one.
fn keep_certificate(config: &Config, tls: Option<&Arc<Tls>>, acme: Option<Acme>) -> Vec<JoinHandle<()>> {
    let Some(tls) = tls else { return Vec::new() };
    let watch = background::watch_certificate(tls.clone(), Renewal::of(config));
    let mut tasks = vec![vital::spawn_task("certificate", watch)];
    tasks.extend(acme.map(|acme| vital::spawn_task("acme", acme.keep(tls.clone()))));
    tasks
}

/// An error that no retry can remove counts as a bad setting, so that systemd does not retry.
fn for_good(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::Url(_) | OpenError::Newer { .. } | OpenError::Foreign { .. } | OpenError::Refused { .. } => {
            BadConfig::new(error.to_string()).into()
        }
        OpenError::InUse { .. } | OpenError::Missing(_) | OpenError::Failed { .. } => error.into(),
    }
}

/// The administrator's own way in. Without it commands go to the database themselves, so a server goes on without it.
fn open_admin_socket(config: &Config, repository: &Arc<dyn Repository>) -> Option<JoinHandle<()>> {
    // Where the database is on servers, commands go to these, and all nodes hear what they change.
    let database = repository::file_of(&config.database.url).ok().flatten()?;
    match AdminSocket::open(&database) {
        Ok(socket) => {
            info!(path = %socket.path().display(), "listening for administrators");
            Some(vital::spawn_task("administrators", socket.serve(repository.clone())))
        }
        Err(error) => {
            let path = socket_of(&database);
            warn!(path = %path.display(), %error, "no socket for administrators: their commands write to the database themselves");
            None
        }
    }
}

fn listen(server: &Server, listener: TcpListener, spoken: Spoken, tls: Option<Arc<Tls>>) -> JoinHandle<()> {
    let server = server.clone();
    vital::spawn_task("listener", async move { server.listen(listener, spoken, tls).await })
}

/// Accepts no more connections, lets the others end, and closes the store.
async fn stop_serving(
    listening: Vec<JoinHandle<()>>,
    server: &Server,
    repository: &dyn Repository,
) -> Result<(), repository::Error> {
    for listening in listening {
        let _ = listening.await;
    }
    if timeout(DRAIN, server.drained()).await.is_err() {
        warn!("some connections did not end in time");
    }
    repository.close().await
}

/// Says why the server has failed, if it has.
fn exit_status(failed: Option<repository::Error>) -> ExitCode {
    match failed {
        None => ExitCode::SUCCESS,
        Some(why) => {
            error!(%why, "stopped");
            ExitCode::FAILURE
        }
    }
}

/// What the server waits for.
struct ServerSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl ServerSignals {
    fn new() -> std::io::Result<ServerSignals> {
        Ok(ServerSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the end, with a reload for each SIGHUP. Gives the error if the store failed, or if a thread or task
    /// died that the server needs.
    async fn wait(&mut self, repository: &dyn Repository, reload: impl Fn()) -> Option<repository::Error> {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return None,
                _ = self.interrupt.recv() => return None,
                _ = self.hangup.recv() => reload(),
                failed = repository.failed() => return failed.ok(),
                name = vital::death() => return Some(panicked(name)),
            }
        }
    }
}

/// That a thread or task without which the server is none has panicked.
fn panicked(name: String) -> repository::Error {
    repository::Error::new(format!("{name} has panicked"))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::thread;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_ends_with_status_1_when_one_of_its_threads_panics() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let database = folder.path().join("chat.db");
        let mut config = Config::default();
        config.server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.database.url = format!("sqlite://{}", database.display());
        config.database.min_free_bytes = 0;
        let loaded =
            LoadedConfig { config, file: None, file_unasked: false, set: Default::default(), warnings: Vec::new() };
        let socket = socket_of(&database);
        let panicking = vital::spawn("fated", move || {
            while !socket.exists() {
                thread::sleep(Duration::from_millis(1));
            }
            panic!("planted: this is part of a test");
        });
        let load = || Ok(loaded.clone());
        let ended = Serve { demo: false }.serve(loaded.clone(), LogLevel::of_no_log(), Arc::default(), load);
        let ended = timeout(Duration::from_secs(60), ended).await;
        assert!(panicking.expect("a thread can be had").join().is_err());
        assert_eq!(ended.expect("it ends without its thread").expect("it starts"), ExitCode::FAILURE);
    }
}
