//! A network of a row's own, in which all addresses of an IPv6 /64 are this machine's. It is Linux's network namespace
//! of one thread, which root may have. Has unsafe code, for the one call that no library here offers.
#![allow(unsafe_code)]

use anyhow::{Context, Result, ensure};
use std::net::Ipv6Addr;
use std::process::Command;

/// The first address of it.
pub const NETWORK: Ipv6Addr = Ipv6Addr::new(0xfd63, 0x6861, 0x7464, 0, 0, 0, 0, 0);

/// Only root may have a network of its own.
#[derive(Debug, thiserror::Error)]
#[error("only root may have a network of its own: {0}")]
pub struct NotAllowed(std::io::Error);

/// Puts this thread, and all that it starts, into a new network.
pub fn enter() -> Result<()> {
    // SAFETY: it changes which network this thread uses for what it opens from now on, and nothing in memory.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(NotAllowed(std::io::Error::last_os_error()).into());
    }
    ip(&["link", "set", "lo", "up"])?;
    ip(&["-6", "route", "add", "local", &format!("{NETWORK}/64"), "dev", "lo"])
}

fn ip(arguments: &[&str]) -> Result<()> {
    let said = Command::new("ip").args(arguments).output().context("cannot run `ip`: install iproute2")?;
    let error = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success(), "`ip {}` failed: {}", arguments.join(" "), error.trim());
    Ok(())
}
