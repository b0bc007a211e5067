//! Nobody gets in, nothing falls over. Each prints the figure that it shows.
//!
//! - `attacks`: the attacks of `cargo bench --bench attacks`, each for a moment
//! - `crowds`: many at once, and those who do nothing right; with CHATD_SLOW set, very many
//! - `flood`: lines of the log that a client can cause
//! - `half_open`: peers that vanish without a word
//! - `logins`: many who log in at once
//! - `limits`: connections, buffers, queues and sessions have ends, and what happens there
//! - `memory`: the most memory that the server can take, as docs/SECURITY.md says
//! - `replies`: long replies are made in pieces
//! - `shares`: what one connection, account or address can make the server hold
//! - `tls`: the wire in TLS, certificates, and peers that speak none
//! - `secrets`: text that hurts
//! - `throttle`: logins that are refused before the password is looked at

mod attacks;
mod crowds;
mod flood;
mod half_open;
mod limits;
mod logins;
mod memory;
mod replies;
mod revoked;
mod secrets;
mod shares;
mod throttle;
pub mod tls;
pub mod turns;

use std::fs;

use nix::unistd::Pid;

pub use self::tls::{connect as connect_tls, new_certificate};
use crate::support::{Folder, Server};

fn server(settings: &str) -> (Folder, Server) {
    let folder = Folder::new(settings);
    folder.add_three();
    let server = Server::start(&folder);
    (folder, server)
}

/// Memory that a process has in use, in KiB.
pub fn resident_kib(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
