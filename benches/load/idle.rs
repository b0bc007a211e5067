//! What a connection costs that says nothing: the memory of a chatd before and after ten thousand of them came. Knows
//! the server only from outside.

use crate::interrupt::Interrupt;
use crate::servers::Server;
use crate::talk::Talk;
use anyhow::{Context, Result};
use std::fs;

/// Connects so many times to a chatd that is not under load, shows the token once on each connection, and leaves it
/// alone: how much memory each takes up, in bytes. The token's user must have no mail.
pub fn bytes_per_connection(server: &Server, connections: usize, token: &str, interrupt: &Interrupt) -> Result<f64> {
    // What is made once, whoever comes first, is not the price of a connection.
    let first = greet(server, token)?;
    let before = resident_bytes(server)?;
    let mut idle = vec![first];
    for number in 0..connections {
        interrupt.check()?;
        idle.push(greet(server, token).with_context(|| format!("idle connection {number}"))?);
    }
    let after = resident_bytes(server)?;
    Ok(after.saturating_sub(before) as f64 / connections as f64)
}

fn greet(server: &Server, token: &str) -> Result<Talk> {
    let mut talk = Talk::to(server.address)?;
    talk.inbox(token)?;
    Ok(talk)
}

/// The memory that the server takes up, in bytes: what of its address space is resident. The kernel's share, such
/// as the buffers of its sockets, is not in it.
pub fn resident_bytes(server: &Server) -> Result<u64> {
    // `status` says it too, but adds counters of the processors up only now and then.
    let path = format!("/proc/{}/smaps_rollup", server.id());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let resident = text.lines().find_map(|line| line.strip_prefix("Rss:")?.strip_suffix("kB"));
    let kib: u64 = resident.with_context(|| format!("{path} has no line `Rss: … kB`"))?.trim().parse()?;
    Ok(kib * 1024)
}
