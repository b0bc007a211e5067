//! How connections that wait for mail are woken.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Waits for mail. Several may wait for the same mailbox. One of them hears of each message that is put in, and has to
/// look. If it cannot, it calls [`Arrival::pass_on`]; when it is dropped before it has heard, the next one hears.
pub struct Arrival {
    notify: Arc<Notify>,
    notified: Pin<Box<OwnedNotified>>,
}

impl Arrival {
    pub(super) fn new(notify: Arc<Notify>) -> Arrival {
        let notified = Box::pin(notify.clone().notified_owned());
        Arrival { notify, notified }
    }

    /// Ready when mail has come since this was made.
    pub async fn heard(&mut self) {
        self.notified.as_mut().await;
    }

    /// Another one looks in this one's place.
    pub fn pass_on(self) {
        self.notify.notify_one();
    }
}
