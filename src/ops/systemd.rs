//! The service's side of systemd: takes over listeners that outlive the process, and tells systemd when it is ready,
//! when it stops, and that it is alive. Without systemd this does nothing. Knows nothing about requests.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// The descriptors that were open before this process began, with the names that their `.socket` units give them. Each
/// is the caller's to own, once.
pub(crate) fn descriptors() -> io::Result<Vec<(String, RawFd)>> {
    Ok(sd_notify::listen_fds_with_names()?.map(|(fd, name)| (name, fd)).collect())
}

/// Clients can connect from now on; `status` is what `systemctl status` shows.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// The process lives and gets on with its work.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] must be called at least. `None` when systemd does not watch.
pub(crate) fn alive_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|half| !half.is_zero())
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd cannot be told how the service is");
    }
}
