//! From the settings to a certificate that comes by itself.

use std::path::Path;

use tracing::warn;

use crate::acme::{Acme, AcmeSettings};
use crate::config::{BadConfig, Config};
use crate::repository;
use crate::repository::sqlite::paths::companion_path;

/// What the settings say of it. `None`: they want no such certificate.
pub(super) fn settings(config: &Config) -> Result<Option<AcmeSettings>, BadConfig> {
    let acme = &config.acme;
    if !acme.is_on() {
        return Ok(None);
    }
    let set = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
    let beside = || {
        let database = repository::file_of(&config.database.url).ok().flatten()?;
        Some(companion_path(&database, ".acme"))
    };
    let state = set(&acme.state).or_else(beside).ok_or_else(|| {
        BadConfig::new("acme.state: there is no database file beside which the keys could lie: name a directory")
    })?;
    let mut hosts = acme.hosts.0.clone();
    hosts.sort_unstable();
    hosts.dedup();
    let (contact, directory) = (acme.contact.0.clone(), acme.directory.clone());
    Ok(Some(AcmeSettings { hosts, contact, directory, ca: set(&acme.ca), state }))
}

/// What is to get the certificate, where TLS is served.
pub(super) fn open(config: &Config, inherited: bool) -> Result<Option<Acme>, BadConfig> {
    let Some(settings) = settings(config)? else { return Ok(None) };
    if !inherited && listeners(config).next().is_none() {
        warn!("{NO_LISTENER}: no certificate is asked for");
        return Ok(None);
    }
    Acme::open(settings).map(Some).map_err(|bad| BadConfig::new(bad.to_string()))
}

pub(super) const NO_LISTENER: &str = "acme.hosts: no listener speaks TLS: set web.tls_listen or server.tls_listen";

/// The ports of the listeners that speak TLS.
pub(super) fn listeners(config: &Config) -> impl Iterator<Item = u16> {
    [config.web.tls_listen, config.server.tls_listen].into_iter().filter_map(|listen| Some(listen.0?.port()))
}
