//! What would stand in the way of a certificate that comes by itself.

use tokio::runtime::Runtime;

use super::CheckFindings;
use crate::acme::{DirectoryClient, StateDirectory};
use crate::cli::serve::acme;
use crate::cli::storage;
use crate::config::{Config, Listen};
use crate::repository;

/// Where an authority asks.
const HTTPS: u16 = 443;

/// Says what would fail, and what the administrator must know. Changes nothing.
pub(super) fn look(config: &Config, found: &mut CheckFindings, runtime: &Runtime) {
    let settings = match acme::settings(config) {
        Ok(Some(settings)) => settings,
        Ok(None) => return,
        Err(bad) => return found.mistakes.extend_from_slice(bad.mistakes()),
    };
    match StateDirectory::look(&settings.state) {
        Ok(None) => found.add(storage::can_fill("acme.state", &settings.state)),
        Ok(open) => found.warnings.extend(open.into_iter().flatten().map(|(path, mode)| {
            format!("acme.state: {}: others can read it (mode {mode:03o}); a start shuts it", path.display())
        })),
        Err(bad) => found.mistakes.push(bad.to_string()),
    }
    if acme::listeners(config).next().is_none() {
        found.warnings.push(format!("{}, or have systemd listen", acme::NO_LISTENER));
    } else if !acme::listeners(config).any(|port| port == HTTPS) {
        found.warnings.push(
            "acme.hosts: the authority connects to port 443 of each name, and no TLS listener is at port 443: something \
             must lead from there to one"
                .to_owned(),
        );
    }
    let is_of_page = |host: &&String| config.web.hosts.0.iter().any(|name| name.split(':').next() == Some(host));
    let unknown: Vec<&str> = settings.hosts.iter().filter(|host| !is_of_page(host)).map(String::as_str).collect();
    if config.web.tls_listen != Listen(None) && !unknown.is_empty() {
        let names = unknown.join(", ");
        found.warnings.push(format!("web.hosts: {names} of acme.hosts is not in it: the page does not answer there"));
    }
    if matches!(repository::file_of(&config.database.url), Ok(None)) {
        found.warnings.push(
            "acme.hosts: where several servers have one name, the authority may ask another than the one that wants the \
             certificate: use ACME with one server, or certificate files"
                .to_owned(),
        );
    }
    found.warnings.push(format!(
        "acme.directory: the server connects to {}, so chatd-hardened.conf, which gives the service no network, is not \
         for it",
        settings.directory
    ));
    match DirectoryClient::new(&settings) {
        Ok(client) => {
            if let Err(failure) = runtime.block_on(client.reach()) {
                found.warnings.push(format!("{failure} (the server starts all the same)"));
            }
        }
        Err(bad) => found.mistakes.push(format!("acme.ca: {bad}")),
    }
}
