//! `chatd health`: asks the running server one thing, as a client would, and ends with 0 if it answers.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use super::output;
use crate::config::Config;

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
        let address = reachable(config.server.listen);
        let took = ask(address, Duration::from_secs(self.timeout)).with_context(|| address.to_string())?;
        output::done(format_args!("{address}: OK, answered in {} ms", took.as_millis()));
        Ok(ExitCode::SUCCESS)
    }
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
    let mut stream = TcpStream::connect_timeout(&address, limit).context("no server listens")?;
    stream.set_write_timeout(Some(limit))?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(QUESTION).context("the server does not read")?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).context("the server does not answer")?;
    if answer != ANSWER {
        bail!("something else than chatd answers: {:?}", String::from_utf8_lossy(&answer));
    }
    Ok(begun.elapsed())
}
