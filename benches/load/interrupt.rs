//! Whether somebody wants to stop, as a flag that whatever runs long looks at. Knows nothing of what runs.

use anyhow::{Result, ensure};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by `signals.rs`. What runs long looks at it and returns an error, so that every server is stopped
/// and every temporary directory removed by its destructor.
#[derive(Default)]
pub struct Interrupt(pub Arc<AtomicBool>);

impl Interrupt {
    /// Fails once a signal has come.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.0.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }
}
