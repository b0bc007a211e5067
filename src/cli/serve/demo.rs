//! `chatd serve --demo`: the example accounts and how to use them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::cost;
use crate::auth::password;
use crate::cli::output;
use crate::config::{Config, Listen, LoadedConfig};
use crate::model::{Label, Username};
use crate::ops::vital;
use crate::repository::{NewUser, Repository};

/// The example accounts: user name, name, country.
const ACCOUNTS: [(&str, &str, &str); 3] = [
    ("messi", "Lionel Messi", "Argentina"),
    ("henderson", "Jordan Henderson", "Inggris"),
    ("lineker", "Gary Lineker", "Inggris"),
];
const PASSWORD: &str = "surabaya";
/// Where people are talked to, unless the settings name a port.
const TEXT_PORT: u16 = 8890;
/// Where the page is, unless the settings name a port.
const WEB_PORT: u16 = 8080;

/// Limits the demo to this machine and to its own database. Says which settings this overrides.
pub(super) fn confine(loaded: &mut LoadedConfig) {
    let before = loaded.config.clone();
    let Config { server, web, acme, database, .. } = &mut loaded.config;
    let here = |address: SocketAddr| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port());
    server.listen = here(server.listen);
    server.tls_listen = Listen(server.tls_listen.0.map(here));
    let people = server.text_listen.0.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, TEXT_PORT)));
    server.text_listen = Listen(Some(here(people)));
    let browsers = web.listen.0.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, WEB_PORT)));
    web.listen = Listen(Some(here(browsers)));
    web.tls_listen = Listen(web.tls_listen.0.map(here));
    // An authority could not ask on loopback, and without its certificate there is no TLS.
    let mut tls = "127.0.0.1";
    if acme.is_on() {
        tls = "none";
        acme.hosts.0.clear();
        (server.tls_listen, web.tls_listen) = (Listen(None), Listen(None));
    }
    database.url = "sqlite://chat-demo.db".to_owned();
    let overridden = [
        ("acme.hosts", before.acme.hosts == acme.hosts, "none".to_owned()),
        ("server.listen", before.server.listen == server.listen, server.listen.to_string()),
        ("server.tls_listen", before.server.tls_listen == server.tls_listen, tls.to_owned()),
        ("server.text_listen", before.server.text_listen == server.text_listen, here(people).to_string()),
        ("web.listen", before.web.listen == web.listen, here(browsers).to_string()),
        ("web.tls_listen", before.web.tls_listen == web.tls_listen, tls.to_owned()),
        ("database.url", before.database.url == database.url, database.url.clone()),
    ];
    for (key, is_kept, instead) in overridden {
        if !is_kept && loaded.set.contains(key) {
            loaded.warnings.push(format!("--demo does not use {key} of the settings, but {instead}"));
        }
    }
}

/// Adds the accounts, where they are not there yet.
pub(super) async fn add_accounts(repository: &dyn Repository, config: &Config) -> anyhow::Result<()> {
    for (name, display_name, country) in ACCOUNTS {
        if repository.user_named(name).await?.is_none() {
            let new = NewUser {
                username: Username::parse(name)?,
                display_name: Label::parse(display_name)?,
                country: Label::parse(country)?,
                password_hash: password::hash(PASSWORD, cost(config))?,
                administrator: false,
            };
            repository.add_user(new).await?;
        }
    }
    Ok(())
}

/// Says on standard output what to do next: where the page is, and what to type at the text port.
pub(super) fn print_invitation(page: SocketAddr, text_port: SocketAddr) {
    let (ip, port) = (text_port.ip(), text_port.port());
    let text = format!(
        "chatd is running. Open\n\n    \
         http://{page}\n\n\
         and log in as messi, henderson or lineker with the password {PASSWORD}. Or, in another terminal:\n\n    \
         nc {ip} {port}\n\n\
         and then, for example:\n\n    \
         auth messi {PASSWORD}\n    \
         send henderson halo apa kabar\n    \
         auth henderson {PASSWORD}\n    \
         inbox\n\n\
         Ctrl-C stops it; what was sent is in chat-demo.db."
    );
    // On its own thread: when Ctrl-S has stopped the terminal, this waits, and the server still serves.
    let _ = vital::spawn("invitation", move || output::done(text));
}
