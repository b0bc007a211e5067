//! Ctrl-C and its like. Knows nothing of what runs.

use super::interrupt::Interrupt;
use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;

/// Takes SIGINT, SIGTERM and SIGHUP over: from now on they set the flag and end nothing.
pub fn take_over() -> Result<Interrupt> {
    let interrupt = Interrupt::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupt.0)).context("cannot handle signals")?;
    }
    Ok(interrupt)
}
