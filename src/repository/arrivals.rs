//! How connections that wait for mail are woken.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Waits for mail. Several may wait for the same mailbox. One of them hears of each message that is put in, and has to
/// look, and to say that it has looked. When it is dropped before that, the next one hears.
pub struct Arrival {
    notify: Arc<Notify>,
    notified: Pin<Box<OwnedNotified>>,
    has_to_look: bool,
}

impl Arrival {
    pub(super) fn new(notify: Arc<Notify>) -> Arrival {
        let notified = Box::pin(notify.clone().notified_owned());
        Arrival { notify, notified, has_to_look: false }
    }

    /// Ready when mail has come since this was made.
    pub async fn heard(&mut self) {
        self.notified.as_mut().await;
        self.has_to_look = true;
    }

    /// Nobody has to look in this one's place.
    pub fn looked(mut self) {
        self.has_to_look = false;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if self.has_to_look {
            self.notify.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn who_hears_and_does_not_look_wakes_the_next_one() {
        let notify = Arc::new(Notify::new());
        let arrival = || Arrival::new(notify.clone());
        notify.notify_one();
        for looks in [false, false, true] {
            let mut hears = arrival();
            hears.heard().await;
            match looks {
                true => hears.looked(),
                false => drop(hears),
            }
        }
        let mut last = arrival();
        tokio::select! {
            biased;
            () = last.heard() => panic!("it is woken for nothing"),
            () = ready(()) => {}
        }
    }
}
