//! What chatd is measured beside: Redis, and the server that stores nothing. Knows nothing of how they are measured.

use crate::interrupt::Interrupt;
use crate::servers::{self, SPARE_FILES, Server};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Starts `redis-server` with its data in `directory`: each write on the disk before its reply.
///
/// Snapshots and rewrites of the log in the background are off, so that the yardstick is Redis at its best.
pub fn redis(directory: &Path, connections: usize, interrupt: &Interrupt) -> Result<Server> {
    let address = servers::free_address()?;
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        .args(["--auto-aof-rewrite-percentage", "0", "--daemonize", "no"])
        .args(["--tcp-backlog", "4096", "--maxclients", &(connections + SPARE_FILES).to_string()])
        .current_dir(directory);
    Server::start(command, address, &directory.join("redis.log"), interrupt)
}

/// Starts the server that stores nothing. It is this very program, but a process of its own, so that its cost is
/// not the generator's.
pub fn ceiling(directory: &Path, interrupt: &Interrupt) -> Result<Server> {
    let address = servers::free_address()?;
    let mut command = Command::new(std::env::current_exe().context("cannot find this program itself")?);
    command.args(["--ceiling", &address.to_string()]);
    Server::start(command, address, &directory.join("ceiling.log"), interrupt)
}

/// The first line that `program --version` prints; fails with advice if there is no such program.
pub fn version(program: &str) -> Result<String> {
    let output = Command::new(program).arg("--version").output().map_err(|error| servers::missing(program, error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
