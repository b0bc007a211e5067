//! `chatd health`: asks the running server one thing, as its administrator, or as a client where it may not, and ends
//! with 0 if it answers.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use clap::Args;

use crate::admin::client::{self, NoAnswer};
use crate::admin::path::socket_of;
use crate::admin::protocol::AdminCommand;
use crate::cli::output;
use crate::cli::serve::certificate::{Notice, date, notice};
use crate::client::certificate::shown_at;
use crate::config::Config;
use crate::repository::sqlite::database_path;
use crate::transport::tls::Validity;

#[derive(Debug, Args)]
pub struct Health {
    /// How long the server may take, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// A token that is nobody's: the answer comes from the service, not only from the parser.
const QUESTION: &[u8] = b"show 00000000-0000-0000-0000-000000000000\r\n";
const ANSWER: &[u8] = b"{\"status\": \"ERROR\", \"message\": \"Informasi tidak ditemukan\"}\r\n\r\n";

impl Health {
    pub fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let limit = Duration::from_secs(self.timeout);
        let address = reachable(config.server.listen);
        let begun = Instant::now();
        // The administrator's socket first: it is open also when the port is crowded.
        let (asked, took) = match ask_as_administrator(config, limit) {
            Ok(socket) => {
                let took = begun.elapsed();
                if let Err(error) = ask(address, limit) {
                    output::note(format_args!("chatd: the server is well, but its port is not: {address}: {error:#}"));
                }
                (socket.display().to_string(), took)
            }
            Err(None) => (address.to_string(), ask(address, limit).with_context(|| address.to_string())?),
            Err(Some(error)) => return Err(error.into()),
        };
        let certificate = certificate(config, limit).map_or(String::new(), |line| format!("\n{line}"));
        output::done(format_args!("{asked}: OK, answered in {} ms{certificate}", took.as_millis()));
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks at the socket beside the database; gives where that is. No error: there is none for who asks.
fn ask_as_administrator(config: &Config, limit: Duration) -> Result<PathBuf, Option<NoAnswer>> {
    let database = database_path(&config.database.url).map_err(|_| None)?;
    match client::ask(&database, AdminCommand::Health, limit) {
        Ok(_) => Ok(socket_of(&database)),
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
        Ok(Some(validity)) => match notice(validity, SystemTime::now()) {
            Some(Notice::Error(text) | Notice::Warning(text)) => format!("{address}: {text}"),
            None => format!("{address}: the certificate is good until {}", date(validity.end)),
        },
    })
}

/// A server that listens on every address is asked on this machine's own.
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
