//! `wait` and `fetch`: what waits comes as soon as there is mail. Knows no transport: whoever carries the request says
//! by a future when there is no more use in waiting.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Caller, Handout, Need, Outcome, Peer, Service, unavailable};
use crate::repository::Arrival;

impl Service {
    /// Hands out as soon as there is mail; nothing when the time is over or `interrupted` is ready. An error of
    /// `interrupted` means that nobody is there any more: nothing is handed out then.
    pub(crate) async fn wait<E>(
        &self,
        peer: &Peer,
        mut caller: Caller,
        told: Handout,
        at_most: Duration,
        interrupted: impl Future<Output = Result<(), E>>,
    ) -> Result<Outcome, E> {
        caller = caller.admit(Need::Read);
        let deadline = Instant::now() + at_most.min(self.rules().wait_at_most);
        let mut interrupted = pin!(interrupted);
        // Where the mail cannot be read, or nobody is there any more, another one is woken.
        let mut heard: Option<Arrival> = None;
        loop {
            let (token, user) = match caller.user() {
                Ok(user) => (user.token, user.session.user.id),
                Err(refusal) => return Ok(caller.is_refused(refusal)),
            };
            // Listens first and looks then, so that no message comes unnoticed in between.
            let arrival = self.repository.arrival(user).await.map_err(unavailable);
            let looked = self.hand_out(peer, &caller, told).await;
            let (mut arrival, looked) = match arrival.and_then(|arrival| Ok((arrival, looked?))) {
                Ok(both) => both,
                Err(refusal) => return Ok(caller.is_refused(refusal)),
            };
            heard.into_iter().for_each(Arrival::looked);
            if looked.lease.is_some() {
                return Ok(looked);
            }
            tokio::select! {
                biased;
                over = interrupted.as_mut() => return over.map(|()| looked),
                () = arrival.heard() => {}
                () = sleep_until(deadline) => return Ok(looked),
            }
            heard = Some(arrival);
            caller = self.authenticate(Some(token)).await.admit(Need::Read);
        }
    }
}
