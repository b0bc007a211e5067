//! `chatd health`: asks the running server one thing, as its administrator, or as a client where it may not, and ends
//! with 0 if it answers.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use crate::admin::client::{self, NoAnswer};
use crate::admin::path::socket_of;
use crate::cli::output;
use crate::cli::privileges;
use crate::cli::serve::certificate::{Notice, Renewal, date, notice};
use crate::client::certificate::shown_at;
use crate::config::Config;
use crate::release::Release;
use crate::repository::file_of;
use crate::transport::tls::Validity;

#[derive(Debug, Args)]
pub(crate) struct Health {
    /// How long the server may take, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// As JSON, with the version of the server, of its schema and of its wire
    #[arg(long)]
    json: bool,
}

/// No session has this token. So the answer comes from the service, and not only from the parser.
const QUESTION: &[u8] = b"show 00000000-0000-0000-0000-000000000000\r\n";
const ANSWER: &[u8] = b"{\"status\": \"ERROR\", \"message\": \"Informasi tidak ditemukan\"}\r\n\r\n";

/// What a server that is well has said.
struct HealthAnswer {
    /// The administrator's socket, or an address.
    from: String,
    took: Duration,
    /// Which program it is. Only the administrator's socket says this, and an older chatd does not.
    server: Option<Release>,
}

impl Health {
    pub(crate) fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let limit = Duration::from_secs(self.timeout);
        let address = reachable(config.server.listen);
        let begun = Instant::now();
        // The administrator's socket first: it is open also when the port is crowded.
        let answer = match ask_as_administrator(config, limit) {
            Ok((socket, server)) => {
                let took = begun.elapsed();
                if let Err(error) = ask(address, limit) {
                    output::note(format_args!("chatd: the server is well, but its port is not: {address}: {error:#}"));
                }
                HealthAnswer { from: socket.display().to_string(), took, server }
            }
            Err(None) => {
                let took = ask(address, limit).with_context(|| address.to_string())?;
                HealthAnswer { from: address.to_string(), took, server: None }
            }
            Err(Some(error)) => return Err(error.into()),
        };
        let certificate = certificate(config, limit);
        if self.json {
            output::print(as_json(&answer, certificate.as_deref()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let HealthAnswer { from, took, server } = answer;
        if let Some(other) = server.filter(|server| *server != Release::this()) {
            let ours = Release::this();
            output::note(format_args!("chatd: the server is still {other}, and this is {ours}: restart the server"));
        }
        let certificate = certificate.map_or(String::new(), |line| format!("\n{line}"));
        output::done(format_args!("{from}: OK, answered in {} ms{certificate}", took.as_millis()));
        Ok(ExitCode::SUCCESS)
    }
}

fn as_json(answer: &HealthAnswer, certificate: Option<&str>) -> String {
    let HealthAnswer { from, took, server } = answer;
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    json!({
        "status": "ok", "from": from, "milliseconds": milliseconds, "certificate": certificate, "server": server,
        "program": Release::this(),
    })
    .to_string()
}

/// Asks at the socket beside the database. Gives its path, and which program answers. `Err(None)`: this user gets no
/// answer there, so the port has to show whether the server is well.
fn ask_as_administrator(config: &Config, limit: Duration) -> Result<(PathBuf, Option<Release>), Option<NoAnswer>> {
    let database = file_of(&config.database.url).ok().flatten().ok_or(None)?;
    // The client asks no server of another user, so that nobody can pretend to be the server. So root becomes the user
    // of the server before it asks.
    privileges::become_owner_of(&database).map_err(|_| None)?;
    match client::health(&database, limit) {
        Ok(server) => Ok((socket_of(&database), server)),
        Err(error @ (NoAnswer::Late(..) | NoAnswer::Refused(_))) => Err(Some(error)),
        Err(_) => Err(None),
    }
}

/// What clients see of the certificate, where there is one: that of the running server, not that of the file.
fn certificate(config: &Config, limit: Duration) -> Option<String> {
    let address = reachable(config.server.tls_listen.0?);
    let shown = shown_at(address, limit).map_err(|error| in_plain_words(error, limit));
    Some(match shown.map(|chain| Validity::of(&chain)) {
        Err(error) => format!("{address}: no TLS: {error}"),
        Ok(None) => format!("{address}: TLS shows no certificate that can be read"),
        Ok(Some(validity)) => match notice(validity, Renewal::of(config), SystemTime::now()) {
            Some(Notice::Error(text) | Notice::Warning(text)) => format!("{address}: {text}"),
            None => format!("{address}: the certificate is good until {}", date(validity.end)),
        },
    })
}

/// A server that listens on every address is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn ask(address: SocketAddr, limit: Duration) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let plain = |error: io::Error| in_plain_words(error, limit);
    let mut stream = TcpStream::connect_timeout(&address, limit).map_err(plain).context("no server listens")?;
    stream.set_write_timeout(Some(limit))?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(QUESTION).map_err(plain).context("the server does not read")?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).map_err(plain).context("the server does not answer")?;
    if answer != ANSWER {
        bail!("something else than chatd answers: {:?}", String::from_utf8_lossy(&answer));
    }
    Ok(begun.elapsed())
}

/// A socket with a time limit calls a time-out "Resource temporarily unavailable", which says nothing to anybody.
fn in_plain_words(error: io::Error, limit: Duration) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::other(format!("timed out after {} s", limit.as_secs()))
        }
        _ => error,
    }
}
