//! What an operator sees: the log and its limits, the journal, metrics, systemd; and the threads that must not die.

pub(crate) mod journal;
pub(crate) mod log_limit;
pub(crate) mod log_queue;
pub(crate) mod metrics;
pub(crate) mod systemd;
pub(crate) mod vital;
