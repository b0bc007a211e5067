//! Who waits for mail or follows, and how he hears what another node has done: by a notification at once, and where
//! that is lost, by a look once a second. Nothing is right because of a notification.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::PgShared;
use crate::model::UserId;
use crate::repository::Arrival;

const CHANNEL: &str = "chatd";
const NOTIFY: &str = "SELECT pg_notify('chatd', $1)";
/// How long hints are gathered.
const GATHER: Duration = Duration::from_millis(5);
/// How often it is looked whether something was missed, and whether notifications still come.
const LOOK: Duration = Duration::from_secs(1);
/// After so long without one notification, its own included, a node hears nothing any more.
const DEAF: Duration = Duration::from_millis(2_500);
/// PostgreSQL takes 7,999 bytes.
const PAYLOAD: usize = 7_900;

/// Of the accounts that wait here, those that have something to take.
const WAITING: &str = "SELECT b.account FROM mailbox b JOIN hand h ON h.account = b.account
    WHERE b.account = ANY ($1) AND (b.received > h.taken
        OR EXISTS (SELECT 1 FROM flight f WHERE f.account = b.account AND is_free(f)))";

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// These accounts have sent or received something, or have something again.
    Mail,
    /// Of these something was read, or they have read something.
    Reads,
}

/// Who waits here, and what is still to be told to other nodes.
#[derive(Default)]
pub(super) struct Hints {
    waiting: Mutex<FxHashMap<UserId, Arc<Notify>>>,
    untold: Mutex<(BTreeSet<i64>, BTreeSet<i64>)>,
    to_tell: Notify,
    heard: Mutex<Option<Instant>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hints {
    pub(super) fn arrival(&self, user: UserId) -> Arrival {
        Arrival::new(locked(&self.waiting).entry(user).or_default().clone())
    }

    /// Has one of those who wait for each of these accounts look.
    pub(super) fn ring(&self, users: &[UserId]) {
        let waiting = locked(&self.waiting);
        if !waiting.is_empty() {
            users.iter().filter_map(|user| waiting.get(user)).for_each(|notify| notify.notify_one());
        }
    }

    fn ring_all(&self) {
        locked(&self.waiting).values().for_each(|notify| notify.notify_one());
    }

    /// Accounts for which somebody waits. Those for whom nobody does are forgotten.
    fn waited_for(&self) -> Vec<i64> {
        let mut waiting = locked(&self.waiting);
        waiting.retain(|_, notify| Arc::strong_count(notify) > 1);
        waiting.keys().map(|user| user.0).collect()
    }

    /// Other nodes are told, too.
    pub(super) fn pass_on(&self, hint: Hint, users: &[UserId]) {
        let mut untold = locked(&self.untold);
        let set = if hint == Hint::Mail { &mut untold.0 } else { &mut untold.1 };
        set.extend(users.iter().map(|user| user.0));
        drop(untold);
        self.to_tell.notify_one();
    }

    fn take_untold(&self) -> Vec<(Hint, BTreeSet<i64>)> {
        let (mail, reads) = std::mem::take(&mut *locked(&self.untold));
        [(Hint::Mail, mail), (Hint::Reads, reads)].into_iter().filter(|(_, set)| !set.is_empty()).collect()
    }

    fn is_deaf(&self) -> bool {
        locked(&self.heard).is_none_or(|heard| heard.elapsed() > DEAF)
    }
}

/// The payloads that tell of these accounts.
fn payloads(node: i64, hint: Hint, users: &BTreeSet<i64>) -> Vec<String> {
    let begin = format!("{node} {}", if hint == Hint::Mail { "m" } else { "r" });
    let mut all = vec![begin.clone()];
    for user in users {
        let word = format!(" {user}");
        if all.last().is_some_and(|last| last.len() + word.len() > PAYLOAD) {
            all.push(begin.clone());
        }
        if let Some(last) = all.last_mut() {
            last.push_str(&word);
        }
    }
    all
}

/// Tells other nodes, and looks once a second.
pub(super) async fn run(shared: Arc<PgShared>) {
    let mut looked = Instant::now();
    loop {
        let left = LOOK.saturating_sub(looked.elapsed());
        let is_told = timeout(left, shared.hints.to_tell.notified()).await.is_ok();
        if is_told {
            sleep(GATHER).await;
            for (hint, users) in shared.hints.take_untold() {
                for payload in payloads(shared.node(), hint, &users) {
                    tell(&shared, &payload).await;
                }
            }
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            // Who hears his own voice can hear others.
            tell(&shared, &format!("{} p", shared.node())).await;
            look(&shared).await;
        }
    }
}

async fn tell(shared: &PgShared, payload: &str) {
    if let Err(error) = sqlx::query(NOTIFY).bind(payload).execute(shared.servers.reads()).await {
        warn!(%error, "other nodes were not told of mail: they find it by themselves");
    }
}

/// Finds what no notification told of.
async fn look(shared: &PgShared) {
    if shared.hints.is_deaf() {
        shared.followers.tell_all();
    }
    let users = shared.hints.waited_for();
    if users.is_empty() {
        return;
    }
    match sqlx::query_scalar::<_, i64>(WAITING).bind(users).fetch_all(shared.servers.reads()).await {
        Ok(found) => shared.hints.ring(&found.into_iter().map(UserId).collect::<Vec<_>>()),
        // They look themselves, and hear why nothing comes.
        Err(_) => shared.hints.ring_all(),
    }
}

/// Hears what other nodes tell.
pub(super) async fn listen(shared: Arc<PgShared>) {
    loop {
        let heard = async {
            let mut listener = PgListener::connect_with(&shared.servers.reads().pool).await?;
            listener.listen(CHANNEL).await?;
            // What was told meanwhile nobody has heard.
            everybody_looks(&shared);
            loop {
                match timeout(DEAF, listener.try_recv()).await {
                    Ok(Ok(Some(notification))) => hear(&shared, notification.payload()),
                    Ok(Ok(None)) => everybody_looks(&shared),
                    Ok(Err(error)) => return Err(error),
                    // The connection is dead, and nobody says so.
                    Err(_) => return Ok::<(), sqlx::Error>(()),
                }
            }
        };
        if let Err(error) = heard.await {
            warn!(%error, "this node does not hear of mail on other nodes: it looks once a second");
        }
        sleep(super::AGAIN).await;
    }
}

fn everybody_looks(shared: &PgShared) {
    shared.hints.ring_all();
    shared.followers.tell_all();
}

fn hear(shared: &PgShared, payload: &str) {
    *locked(&shared.hints.heard) = Some(Instant::now());
    let mut words = payload.split(' ');
    let (node, kind) = (words.next().and_then(|node| node.parse().ok()), words.next());
    if node == Some(shared.node()) {
        return;
    }
    let users: Vec<UserId> = words.filter_map(|id| id.parse().ok()).map(UserId).collect();
    match kind {
        Some("m") => {
            shared.hints.ring(&users);
            shared.followers.tell(users);
        }
        Some("r") => shared.followers.tell_reads(users),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_no_longer_than_the_server_takes() {
        let users: BTreeSet<i64> = (1_000_000..1_003_000).collect();
        let all = payloads(7, Hint::Mail, &users);
        assert!(all.len() > 1 && all.iter().all(|payload| payload.len() <= PAYLOAD && payload.starts_with("7 m ")));
        let told: Vec<i64> =
            all.iter().flat_map(|payload| payload.split(' ').skip(2)).map(|id| id.parse().unwrap_or(0)).collect();
        assert!(told.into_iter().eq(users));
    }
}
