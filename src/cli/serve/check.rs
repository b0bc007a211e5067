//! Finds what a start would fail at, without a start: the certificate, the addresses, the database, and where systemd
//! lets the service write. Finds all mistakes at once and changes nothing.

mod certificate_by_acme;

use std::collections::HashSet;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::Context;

use super::acme;
use super::certificate::{self, Notice, Renewal};
use super::listen::ENDPOINTS;
use crate::cli::privileges;
use crate::cli::{options, runtime, storage};
use crate::config::{BadConfig, Config, LoadedConfig, SYSTEM_FILE};
use crate::repository::{self, sqlite};

#[derive(Debug, Default)]
pub(crate) struct CheckFindings {
    pub mistakes: Vec<String>,
    pub warnings: Vec<String>,
}

impl CheckFindings {
    fn add<T>(&mut self, result: Result<T, impl std::fmt::Display>) {
        self.mistakes.extend(result.err().map(|error| format!("{error:#}")));
    }
}

/// What a reload would fail at. The running server uses everything else already.
pub(crate) fn before_reload(loaded: &LoadedConfig) -> CheckFindings {
    let mut found = CheckFindings::default();
    match certificate::configured(&loaded.config, false) {
        Ok(Some(identity)) => match certificate::notice(identity.validity(), Renewal::ByHand, SystemTime::now()) {
            Some(Notice::Error(text) | Notice::Warning(text)) => found.warnings.push(text),
            None => {}
        },
        Ok(None) => {}
        Err(bad) => found.mistakes.extend_from_slice(bad.mistakes()),
    }
    found
}

/// What a start would fail at. From here on root acts as the service's user, who owns the database's directory.
/// Addresses are not tried when a setting is wrong: it may have been one of them.
pub(crate) fn before_start(loaded: &LoadedConfig, with_addresses: bool) -> anyhow::Result<CheckFindings> {
    let config = &loaded.config;
    let database = match repository::file_of(&config.database.url) {
        Ok(None) => return on_servers(loaded, with_addresses),
        file => file.map(Option::unwrap_or_default),
    };
    let Ok(path) = &database else {
        // There is no path, so there is no owner: the process stays the user that it is.
        let mut found = before_reload(loaded);
        found.add(database);
        if with_addresses {
            addresses(config, &OwnAddresses(Vec::new()), &mut found, &runtime(1)?);
        }
        return Ok(found);
    };
    // Only root sees what systemd and another user's server hold.
    let held = OwnAddresses::by_server_of(path);
    let sandbox = sandbox(loaded, path);
    privileges::become_owner_of(path)?;
    let mut found = before_reload(loaded);
    if let Some(file) = &loaded.file {
        found.add(File::open(file).map_err(|error| format!("{}: for the service: {error}", file.display())));
    }
    sandbox.into_iter().for_each(|bad| found.mistakes.extend_from_slice(bad.mistakes()));
    let runtime = runtime(1)?;
    if with_addresses {
        addresses(config, &held, &mut found, &runtime);
        certificate_by_acme::look(config, &mut found, &runtime);
    }
    match storage::can_write(path) {
        Ok(()) => found.add(runtime.block_on(sqlite::schema_of(path, &options(config)))),
        Err(bad) => found.mistakes.extend_from_slice(bad.mistakes()),
    }
    Ok(found)
}

/// What a start would fail at where the database is on servers.
fn on_servers(loaded: &LoadedConfig, with_addresses: bool) -> anyhow::Result<CheckFindings> {
    let (mut found, runtime) = (before_reload(loaded), runtime(1)?);
    if with_addresses {
        addresses(&loaded.config, &OwnAddresses(Vec::new()), &mut found, &runtime);
        certificate_by_acme::look(&loaded.config, &mut found, &runtime);
    }
    found.add(runtime.block_on(repository::reach(&loaded.config.database.url)));
    Ok(found)
}

/// Listens everywhere at once for a moment, so that two settings with one address are found too.
fn addresses(config: &Config, held: &OwnAddresses, found: &mut CheckFindings, runtime: &tokio::runtime::Runtime) {
    let _inside = runtime.enter();
    let mut open = Vec::new();
    for endpoint in ENDPOINTS {
        let Some(address) = endpoint.address(config) else { continue };
        match endpoint.bind(address) {
            Ok(listener) => open.push(listener),
            // The error may also be that the port is root's: systemd holds it for the service all the same.
            Err(_) if held.has(address) => {}
            Err(error) => found.add(Err::<(), _>(error)),
        }
    }
}

/// The addresses at which this database's server, or systemd for it, listens. They are in use, but this is no mistake.
struct OwnAddresses(Vec<SocketAddr>);

impl OwnAddresses {
    fn by_server_of(database: &Path) -> OwnAddresses {
        let server = fs::read_to_string(sqlite::paths::companion_path(database, ".lock")).unwrap_or_default();
        let processes = [server.lines().next().and_then(|pid| pid.trim().parse().ok()), Some(1_u32)];
        let sockets: HashSet<String> = processes.into_iter().flatten().flat_map(sockets_of).collect();
        let mut listening = Vec::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            for line in fs::read_to_string(table).unwrap_or_default().lines() {
                let fields: Vec<_> = line.split_whitespace().collect();
                // See proc(5): state 0A is listening, the tenth field is the socket's number.
                if let (Some(address), Some(&"0A"), Some(number)) = (fields.get(1), fields.get(3), fields.get(9))
                    && sockets.contains(&format!("socket:[{number}]"))
                {
                    listening.extend(address_of(address));
                }
            }
        }
        OwnAddresses(listening)
    }

    fn has(&self, address: SocketAddr) -> bool {
        let covers = |held: &SocketAddr| {
            let (held, wanted) = (held.ip().to_canonical(), address.ip().to_canonical());
            held == wanted || held.is_unspecified() || wanted.is_unspecified()
        };
        self.0.iter().any(|held| held.port() == address.port() && covers(held))
    }
}

/// The sockets that a process has open, as the links in `/proc/PID/fd` name them.
fn sockets_of(process: u32) -> Vec<String> {
    let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok()).collect()
}

/// `0100007F:22B9`: the address in words of four bytes, each in the machine's own order, and the port.
fn address_of(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words = (0..address.len()).step_by(8).map(|at| u32::from_str_radix(address.get(at..at + 8)?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// What systemd does not let the service do. Asked only about the settings that the service reads.
fn sandbox(loaded: &LoadedConfig, database: &Path) -> Vec<BadConfig> {
    if loaded.file.as_deref() != Some(Path::new(SYSTEM_FILE)) || !Path::new("/run/systemd/system").exists() {
        return Vec::new();
    }
    let wanted = "--property=LoadState,ProtectSystem,StateDirectory,ReadWritePaths,PrivateNetwork";
    let asked = Command::new("systemctl").args(["show", wanted, "chatd.service"]).output().context("systemctl");
    let Ok(output) = asked else { return Vec::new() };
    let properties = String::from_utf8_lossy(&output.stdout);
    let mut allowed = vec![writes_there(&properties, "database.url", database)];
    if let Ok(Some(acme)) = acme::settings(&loaded.config) {
        allowed.extend([writes_there(&properties, "acme.state", &acme.state), reaches_out(&properties)]);
    }
    allowed.into_iter().filter_map(Result::err).collect()
}

/// What `systemctl show` prints of one property.
fn property<'a>(properties: &'a str, name: &str) -> Option<&'a str> {
    properties.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// Whether a unit with these properties has a network.
fn reaches_out(properties: &str) -> Result<(), BadConfig> {
    if property(properties, "LoadState") != Some("loaded") || property(properties, "PrivateNetwork") != Some("yes") {
        return Ok(());
    }
    Err(BadConfig::new(
        "acme.hosts: chatd.service has no network (PrivateNetwork=yes), and ACME connects to acme.directory: remove \
         chatd-hardened.conf from /etc/systemd/system/chatd.service.d, or take away acme.hosts and set \
         server.tls_certificate and server.tls_key",
    ))
}

/// Whether a unit with these properties may write this file, which is of this setting.
fn writes_there(properties: &str, setting: &str, file: &Path) -> Result<(), BadConfig> {
    let property = |name: &str| property(properties, name);
    if property("LoadState") != Some("loaded") || property("ProtectSystem") != Some("strict") {
        return Ok(());
    }
    let words = |name: &str| property(name).unwrap_or_default().split_whitespace().collect::<Vec<_>>();
    let state = words("StateDirectory").into_iter().map(|name| format!("/var/lib/{name}"));
    let others = words("ReadWritePaths").into_iter().map(|path| path.trim_start_matches(['-', '+']).to_owned());
    let may: Vec<String> = state.chain(others).collect();
    if may.iter().any(|folder| file.starts_with(folder)) {
        return Ok(());
    }
    let (path, folder) = (file.display(), file.parent().unwrap_or(Path::new("/")).display());
    Err(BadConfig::new(format!(
        "{setting}: {path}: chatd.service may write only in {} (ProtectSystem=strict): put it there, or allow it with \
         `systemctl edit chatd`: [Service] ReadWritePaths={folder}",
        may.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_the_unit_may_not_write_is_told_with_what_would_allow_it() {
        let unit = "LoadState=loaded\nProtectSystem=strict\nStateDirectory=chatd\nReadWritePaths=-/srv/chat /mnt/x\n";
        for good in ["/var/lib/chatd/chat.db", "/srv/chat/chat.db", "/mnt/x/y/chat.db"] {
            assert_eq!(writes_there(unit, "database.url", Path::new(good)), Ok(()));
        }
        let bad = writes_there(unit, "database.url", Path::new("/srv/chatter/chat.db"));
        let bad = bad.expect_err("it is elsewhere").to_string();
        assert!(
            bad.contains("ReadWritePaths=/srv/chatter") && bad.contains("/var/lib/chatd, /srv/chat, /mnt/x"),
            "{bad}"
        );
        for other in [unit.replace("strict", "full"), unit.replace("loaded", "not-found"), String::new()] {
            assert_eq!(writes_there(&other, "database.url", Path::new("/srv/chatter/chat.db")), Ok(()));
        }
    }

    #[test]
    fn a_unit_without_a_network_is_told_of() {
        let bad = reaches_out("LoadState=loaded\nPrivateNetwork=yes\n").expect_err("it has none").to_string();
        assert!(bad.contains("chatd-hardened.conf"), "{bad}");
        for other in ["LoadState=loaded\nPrivateNetwork=no\n", "LoadState=not-found\nPrivateNetwork=yes\n", ""] {
            assert_eq!(reaches_out(other), Ok(()));
        }
    }

    #[test]
    fn the_kernels_table_of_sockets_is_read() {
        let address = |text: &str| address_of(text).map(|address| address.to_string());
        // As a little-endian machine writes it.
        if cfg!(target_endian = "little") {
            assert_eq!(address("0100007F:22B9").as_deref(), Some("127.0.0.1:8889"));
            assert_eq!(address("00000000000000000000000001000000:22B9").as_deref(), Some("[::1]:8889"));
        }
        assert_eq!((address("local_address"), address("01:zz")), (None, None));
    }
}
