//! What a connection costs that says nothing: the memory of a chatd before and after ten thousand of them came. Knows
//! the server only from outside.

use crate::interrupt::Interrupt;
use crate::servers::Server;
use crate::talk::Talk;
use anyhow::{Context, Result};

/// Connects so many times to a chatd that is not under load, shows the token once on each connection, and leaves it
/// alone: how much memory each takes up, in bytes. The token's user must have no mail.
pub fn bytes_per_connection(server: &Server, connections: usize, token: &str, interrupt: &Interrupt) -> Result<f64> {
    // What is made once, whoever comes first, is not the price of a connection.
    let first = greet(server, token)?;
    let before = server.resident_bytes()?;
    let mut idle = vec![first];
    for number in 0..connections {
        interrupt.check()?;
        idle.push(greet(server, token).with_context(|| format!("idle connection {number}"))?);
    }
    let after = server.resident_bytes()?;
    Ok(after.saturating_sub(before) as f64 / connections as f64)
}

fn greet(server: &Server, token: &str) -> Result<Talk> {
    let mut talk = Talk::to(server.address)?;
    talk.inbox(token)?;
    Ok(talk)
}
