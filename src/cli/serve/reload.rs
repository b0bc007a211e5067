//! SIGHUP: reads the settings again and takes over those that can change while the server runs. If something is wrong
//! with the file, it takes over nothing. The log says which.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::certificate::{self, Renewal};
use super::live::{self, LiveSettings};
use crate::cli::log::LogLevel;
use crate::config::{BadConfig, Config, LoadedConfig};
use crate::server::Server;
use crate::service::Service;
use crate::transport::tls::Tls;
use crate::transport::web::Web;

/// All that a reload reaches.
pub(super) struct Reload<L> {
    /// Reads the settings as the start did.
    pub load: L,
    /// What the server was started with.
    pub started_with: Config,
    pub live: watch::Sender<LiveSettings>,
    pub level: LogLevel,
    pub service: Arc<Service>,
    pub server: Server,
    pub web: Arc<Web>,
    pub tls: Option<Arc<Tls>>,
}

impl<L: Fn() -> Result<LoadedConfig, BadConfig>> Reload<L> {
    /// Reads the settings again and puts them in force, or says why they stay as they were.
    pub(super) fn run(&self) {
        match self.try_run() {
            Ok(()) => info!("settings reloaded"),
            Err(error) => error!(%error, "settings not reloaded: the old ones stay in force"),
        }
    }

    fn try_run(&self) -> Result<(), BadConfig> {
        let LoadedConfig { config, warnings, .. } = (self.load)()?;
        let live = LiveSettings::of(&config);
        // What can fail comes first, certificates too, so that nothing is changed by half.
        // While ACME runs, files are of no use before the next start.
        let renewal = Renewal::of(&self.started_with);
        let by_hand = self.tls.as_deref().filter(|_| renewal == Renewal::ByHand);
        let identity = certificate::successor(&live.identity, by_hand, SystemTime::now())?;
        self.level.set(&live.level)?;
        if let (Some(tls), Some(identity)) = (&self.tls, identity) {
            tls.set_identity(identity);
        }
        self.take_over(live);
        warnings.iter().for_each(|warning| warn!("{warning}"));
        for key in live::waiting(&self.started_with, &config) {
            warn!(key, "this setting was changed: it takes effect at the next start");
        }
        if let Some(tls) = &self.tls {
            certificate::tell(tls, renewal, SystemTime::now());
        }
        Ok(())
    }

    /// Takes over only what is in [`LiveSettings`]. Other settings wait for the next start.
    fn take_over(&self, live: LiveSettings) {
        self.service.set_rules(live.rules);
        self.service.throttle().set_rates(live.rates);
        self.server.set_limits(live.connections, |settings| {
            settings.memory.resize(live.line_room, live.reply_room);
            live.of_connections(settings.memory.clone())
        });
        self.web.set_settings(live.web.clone());
        self.live.send_replace(live);
    }
}
