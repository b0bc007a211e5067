//! What an operator sees: the log and its limits, the journal, metrics, systemd; and the threads that must not die.

pub mod journal;
pub mod log_limit;
pub mod log_queue;
pub mod metrics;
pub mod systemd;
pub mod vital;
