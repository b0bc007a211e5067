//! The inbox for scripts that keep no stream: what waits is handed out, and leaves the queue when it is acknowledged.
//! What is not comes again, as on a connection of the wire that breaks.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::WebState;
use super::asker::Asker;
use super::body::{JsonBody, Parameters};
use super::conversations::refused;
use super::error::{ErrorCode, WebError};
use crate::model::{SessionId, Token};
use crate::protocol::{Command, FamilyReply, Reply, SenderMessages};
use crate::service::{Handout, Lease, Need};

/// How long a script has to acknowledge what it was handed.
const HELD: Duration = Duration::from_secs(60);
/// So many deliveries one session may hold; with one more, the oldest comes again.
const DELIVERIES: usize = 8;

/// What was handed out and not acknowledged, by session, oldest first, each under a name that is told to the script.
#[derive(Default)]
pub(super) struct Deliveries(Mutex<HashMap<SessionId, Vec<HeldDelivery>>>);

struct HeldDelivery {
    name: String,
    lease: Lease,
    /// Gives it up after a time. It ends with the delivery.
    _end: AbortOnDropHandle<()>,
}

impl Deliveries {
    fn held(&self) -> MutexGuard<'_, HashMap<SessionId, Vec<HeldDelivery>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(self: &Arc<Deliveries>, session: SessionId, lease: Lease) -> String {
        // No other server and no earlier start has given out the same.
        let name = Token::generate().reveal();
        let (deliveries, late) = (self.clone(), name.clone());
        let end = AbortOnDropHandle::new(tokio::spawn(async move {
            sleep(HELD).await;
            drop(deliveries.take(session, &late));
        }));
        let oldest = {
            let mut held = self.held();
            let own = held.entry(session).or_default();
            own.push(HeldDelivery { name: name.clone(), lease, _end: end });
            (own.len() > DELIVERIES).then(|| own.remove(0))
        };
        drop(oldest);
        name
    }

    fn take(&self, session: SessionId, name: &str) -> Option<Lease> {
        let mut held = self.held();
        let own = held.get_mut(&session)?;
        let place = own.iter().position(|delivery| delivery.name == name)?;
        let HeldDelivery { lease, .. } = own.remove(place);
        if own.is_empty() {
            held.remove(&session);
        }
        Some(lease)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    #[serde(default)]
    wait: u64,
}

pub(super) async fn inbox(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    Parameters(query): Parameters<WaitQuery>,
) -> Result<Response, WebError> {
    let asker = asker.admit(Need::Read);
    let (session, payer) = (asker.user()?.session.id, asker.payer()?);
    let at_most = Duration::from_secs(query.wait);
    let stop = asker.from.connection.stop.clone();
    let stopped = async {
        stop.cancelled().await;
        Ok::<(), Infallible>(())
    };
    let waiting = state.service.wait(&asker.from.peer, asker.caller, Handout::WithoutBytes, at_most, stopped);
    let Ok(outcome) = waiting.await;
    let held = outcome.reply.held();
    let (senders, files) = match outcome.reply {
        Reply::Inbox(senders) => (senders, Vec::new()),
        Reply::Family(FamilyReply::Inbox(senders, files)) => (senders, files),
        other => return Err(refused(other)),
    };
    let delivery = outcome.lease.map(|lease| state.deliveries.put(session, lease));
    let told = delivery.clone();
    let spell = move || {
        let mut messages: Vec<(i64, Value)> = senders.iter().flat_map(messages_of).collect();
        for (id, message) in &mut messages {
            if let Some(brought) = files.iter().find(|file| file.message.0 == *id) {
                message["file"] = json!({ "id": brought.id.0, "name": brought.name });
            }
        }
        messages.sort_by_key(|(id, _)| *id);
        let messages: Vec<Value> = messages.into_iter().map(|(_, message)| message).collect();
        json!({ "delivery": told, "messages": messages })
    };
    let answer = asker.from.answer(payer, held, spell).await;
    if let (Err(_), Some(name)) = (&answer, &delivery) {
        // Nobody has heard of it, so nobody can acknowledge it.
        drop(state.deliveries.take(session, name));
    }
    answer
}

fn messages_of(sender: &SenderMessages) -> Vec<(i64, Value)> {
    let spelled = sender.messages.iter().enumerate().map(|(place, message)| {
        let spelled = json!({
            "id": message.id.0,
            "time": message.sent_at.0,
            "from": sender.username.as_str(),
            "display_name": sender.sender,
            "to_display_name": sender.recipient_of(place),
            "text": &*message.text,
        });
        (message.id.0, spelled)
    });
    spelled.collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AckBody {
    delivery: String,
}

pub(super) async fn ack(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    JsonBody(body): JsonBody<AckBody>,
) -> Result<StatusCode, WebError> {
    let asker = asker.admit(Need::Read);
    let session = asker.user()?.session.id;
    let gone = || ErrorCode::NotFound.because("this delivery is not held any more: its messages come again");
    state.deliveries.take(session, &body.delivery).ok_or_else(gone)?.confirm();
    match state.service.handle(&asker.from.peer, asker.caller, Command::Ack).await.reply {
        Reply::Acknowledged => Ok(StatusCode::NO_CONTENT),
        other => Err(refused(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserId;
    use crate::repository::Hold;

    struct Nothing;

    impl Hold for Nothing {
        fn confirm(self: Box<Self>) {}
        fn release(self: Box<Self>) {}
    }

    #[tokio::test]
    async fn nothing_is_left_of_deliveries_that_are_over() {
        let deliveries = Arc::new(Deliveries::default());
        let lease = || Lease::new(UserId(1), 1, Box::new(Nothing));
        let names: Vec<String> = (0..100).map(|_| deliveries.put(SessionId(1), lease())).collect();
        assert_eq!(names.iter().filter(|name| deliveries.take(SessionId(1), name).is_some()).count(), DELIVERIES);
        // Each timer holds them all.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Arc::strong_count(&deliveries), 1);
    }
}
