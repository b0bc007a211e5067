//! Those who wait for mail, and how they hear of it.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// An ear for mail. Of several who listen for the same mailbox, one hears of each delivery and then has to look; if it
/// cannot, it passes the word on. Dropped unheard, it passes it on by itself.
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

    /// Lets another look in this one's place.
    pub fn pass_on(self) {
        self.notify.notify_one();
    }
}
