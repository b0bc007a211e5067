//! Browsers that are told when something waits, be they closed (Web Push). A message that is still unread after some
//! seconds rings at each browser of its recipient that has no stream open. What is told goes through the service of the
//! browser's maker, who cannot read it.

mod post;
mod routes;
mod seal;
mod service;
mod vapid;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, OnceCell};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, warn};

use self::post::{Authorities, PostFailure};
pub(super) use self::routes::{key, subscribe, unsubscribe};
use self::service::PushAddress;
use self::vapid::PushKey;
use super::WebState;
use super::spelling::Files;
use crate::fair::Turns;
use crate::model::{MessageId, Timestamp, UserId, Username, visible};
use crate::protocol::ConversationEntry;
use crate::service::PushSubscription;

/// So long a message waits before it rings: who looks at it has read it by then.
const PAUSE: Duration = Duration::from_secs(5);
/// While more comes all the time, what waits rings after this many pauses.
const PAUSES: usize = 6;
/// A store that does not answer is asked again after this.
const AGAIN: Duration = Duration::from_secs(10);
/// A push that a service does not take now is tried so many times, each after twice the time.
const TRIES: u32 = 4;
const RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Requests to push services at once.
const AT_ONCE: usize = 16;
/// How long a service keeps what it cannot deliver, in seconds: a week.
const KEPT: &str = "604800";
/// So many characters of a text are told.
const TEXT_CHARACTERS: usize = 400;

const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC: HeaderName = HeaderName::from_static("topic");

/// What telling browsers needs.
pub(super) struct Pushes {
    key: OnceCell<PushKey>,
    authorities: Authorities,
    /// Requests to push services: accounts take turns.
    turns: Arc<Turns<UserId>>,
    pending: Mutex<PendingPushes>,
    /// Accounts that a browser wants to be told for since the start, and who waits for one.
    new_users: Mutex<Vec<Watched>>,
    more_users: Notify,
}

impl Default for Pushes {
    fn default() -> Pushes {
        Pushes {
            key: OnceCell::new(),
            authorities: Authorities::default(),
            turns: Turns::new(AT_ONCE),
            pending: Mutex::default(),
            new_users: Mutex::default(),
            more_users: Notify::new(),
        }
    }
}

/// An account whose messages are looked at, all that come after this one.
pub(super) struct Watched {
    user: UserId,
    begin: MessageId,
}

impl Pushes {
    fn watch(&self, watched: Watched) {
        self.new_users.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
        self.more_users.notify_one();
    }

    /// Has a browser told; gives whether a task is wanted for that. One that waits takes the newer text.
    fn put(&self, browser: &PushBrowser, text: String) -> bool {
        self.pending().insert(browser.clone(), Some(text)).is_none()
    }

    /// What a browser is to be told now.
    fn take(&self, browser: &PushBrowser) -> Option<String> {
        self.pending().get_mut(browser)?.take()
    }

    /// The same, or the end of the task for this browser.
    fn take_or_end(&self, browser: &PushBrowser) -> Option<String> {
        let mut pending = self.pending();
        let text = pending.get_mut(browser)?.take();
        if text.is_none() {
            pending.remove(browser);
        }
        text
    }

    fn pending(&self) -> MutexGuard<'_, PendingPushes> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which browser is told of which conversation: the address of its subscription and the topic. A later text of one
/// topic takes the place of an earlier one that is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PushBrowser {
    address: String,
    topic: String,
}

/// What browsers are to be told, each by one task; `None` while that is being told.
type PendingPushes = HashMap<PushBrowser, Option<String>>;

impl WebState {
    /// The key that signs, made when it is first asked for.
    async fn push_key(&self) -> Option<&PushKey> {
        let stored = async || self.service.push_key(PushKey::generate().ok_or(())?).await.map_err(|_| ());
        self.pushes.key.get_or_try_init(async || PushKey::read(&stored().await?).ok_or(())).await.ok()
    }
}

/// The accounts of which a browser wants to be told, before anybody is served: what comes from then on rings. `None`:
/// the store does not answer.
pub(super) async fn watched_at_start(state: &WebState) -> Option<Vec<Watched>> {
    let users = state.service.push_users().await.ok()?;
    let Some(first) = users.first() else { return Some(Vec::new()) };
    let begin = state.service.last_message(*first).await.ok()?;
    Some(users.into_iter().map(|user| Watched { user, begin }).collect())
}

/// Watches the messages of these accounts, and of those of which a browser wants to be told later. Where the store did
/// not say which they are, it is asked again.
pub(super) async fn tell_browsers(state: Arc<WebState>, at_start: Option<Vec<Watched>>) {
    let mut found = at_start;
    while found.is_none() {
        sleep(AGAIN).await;
        found = watched_at_start(&state).await;
    }
    let mut all = found.unwrap_or_default();
    let (mut known, mut watches) = (HashSet::new(), JoinSet::new());
    loop {
        for watched in all {
            if known.insert(watched.user) {
                watches.spawn(watch(state.clone(), watched));
            }
        }
        state.pushes.more_users.notified().await;
        all = std::mem::take(&mut *state.pushes.new_users.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What of an account's has rung already.
struct Rung {
    /// Nothing up to this message rings: it was there before.
    begin: MessageId,
    /// The last message that has rung, by conversation.
    last: HashMap<Username, MessageId>,
    /// How often it was waited for an end of what comes.
    pauses: usize,
}

async fn watch(state: Arc<WebState>, Watched { user, begin }: Watched) {
    let mut rung = Rung { begin, last: HashMap::new(), pauses: 0 };
    loop {
        match look(&state, user, &mut rung).await {
            Some(mut following) => {
                if rung.pauses == 0 {
                    following.heard().await;
                }
                sleep(PAUSE).await;
            }
            None => sleep(AGAIN).await,
        }
    }
}

/// Rings for what still waits; gives an ear for what comes after that. `None`: the store does not answer.
async fn look(state: &Arc<WebState>, user: UserId, rung: &mut Rung) -> Option<crate::service::Following> {
    let following = state.service.listen_for(user).await.ok()?;
    // As at a start: then the conversations of nobody are read.
    if state.service.last_message(user).await.ok()? <= rung.begin {
        return Some(following);
    }
    let waiting = state.service.waiting(user).await.ok()?;
    let young = Timestamp::now().before(PAUSE);
    let (mut ring, mut is_young) = (Vec::new(), false);
    for entry in &waiting {
        let (name, newest) = (&entry.with.username, entry.newest.message.id);
        if newest <= rung.begin || rung.last.get(name).is_some_and(|last| *last >= newest) {
            continue;
        }
        // Somebody may just be reading it.
        if entry.newest.message.sent_at > young && rung.pauses < PAUSES {
            is_young = true;
            continue;
        }
        rung.last.insert(name.clone(), newest);
        ring.push(entry);
    }
    rung.last.retain(|name, _| waiting.iter().any(|entry| entry.with.username == *name));
    rung.pauses = if is_young { rung.pauses + 1 } else { 0 };
    if !ring.is_empty() {
        let files = state.service.sent_files_of(user, ring.iter().map(|entry| &entry.newest)).await.ok()?;
        for subscription in state.service.push_subscriptions(user).await.ok()? {
            if !state.streams.has(subscription.session) {
                for entry in &ring {
                    let browser = PushBrowser { address: subscription.address.clone(), topic: topic(entry) };
                    if state.pushes.put(&browser, told(entry, &files, subscription.with_text)) {
                        drop(tokio::spawn(tell(state.clone(), user, subscription.clone(), browser)));
                    }
                }
            }
        }
    }
    Some(following)
}

fn topic(entry: &ConversationEntry) -> String {
    let digest = Sha256::digest(entry.with.username.as_str().as_bytes());
    Base64UrlUnpadded::encode_string(&digest[..24])
}

/// What a browser is told.
fn told(entry: &ConversationEntry, files: &Files, with_text: bool) -> String {
    let name = entry.with.username.as_str();
    let mut body = json!({ "conversation": name, "title": visible(&entry.with.display_name), "unread": entry.unread });
    if with_text {
        let file = files.get(&entry.newest.message.id).map(|file| visible(&file.name));
        let text = file.as_deref().unwrap_or_else(|| entry.newest.message.text.trim());
        let short: String = text.chars().take(TEXT_CHARACTERS).collect();
        let short = if short.len() < text.len() { short + "…" } else { short };
        let from = &entry.newest.from;
        let text = if from.username == entry.with.username { short } else { format!("{}: {short}", from.display_name) };
        body["text"] = text.into();
    }
    body.to_string()
}

/// Tells one browser of one conversation, until there is nothing more to tell.
async fn tell(state: Arc<WebState>, user: UserId, subscription: PushSubscription, browser: PushBrowser) {
    while let Some(text) = state.pushes.take_or_end(&browser) {
        tell_text(&state, user, &subscription, &browser, text).await;
    }
}

/// Tells one browser, and tries again where its service does not take it now.
async fn tell_text(
    state: &WebState,
    user: UserId,
    subscription: &PushSubscription,
    browser: &PushBrowser,
    mut text: String,
) {
    let settings = state.settings();
    let Some(to) = PushAddress::parse(&subscription.address, &settings.push_hosts) else {
        return forget(state, user, subscription, "its push service is none that is asked").await;
    };
    let contact =
        settings.hosts.first().map_or_else(|| "https://localhost".to_owned(), |host| format!("https://{host}"));
    for number in 1..=TRIES {
        let turn = state.pushes.turns.take(user).await;
        text = state.pushes.take(browser).unwrap_or(text);
        let taken = attempt(state, &to, subscription, &browser.topic, &text, &contact).await;
        drop(turn);
        let after = match taken {
            Ok((status, _)) if status.is_success() => return debug!(service = to.origin(), "a browser was told"),
            Ok((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => {
                return forget(state, user, subscription, "its push service does not know it any more").await;
            }
            Ok((status, after)) if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                debug!(service = to.origin(), %status, number, "a push service does not take it now");
                after
            }
            Ok((status, _)) => {
                return warn!(service = to.origin(), %status, "a push service does not take what it is told");
            }
            Err(error) if number == TRIES => return warn!(service = to.origin(), %error, "a browser could not be told"),
            Err(error) => {
                debug!(service = to.origin(), %error, number, "a push service could not be asked");
                None
            }
        };
        sleep(after.unwrap_or(RETRY * 2_u32.pow(number - 1)).min(LONGEST_RETRY)).await;
    }
}

async fn attempt(
    state: &WebState,
    to: &PushAddress,
    subscription: &PushSubscription,
    topic: &str,
    text: &str,
    contact: &str,
) -> Result<post::PostAnswer, PostFailure> {
    let unusable = || PostFailure::Io(std::io::Error::other("there is no key that signs"));
    let key = state.push_key().await.ok_or_else(unusable)?;
    let signed = key.authorization(&to.origin(), contact, SystemTime::now()).ok_or_else(unusable)?;
    let body = seal::seal(text.as_bytes(), &subscription.key, &subscription.secret).map_err(|_| unusable())?;
    let mut headers = HeaderMap::new();
    headers.insert(TTL, HeaderValue::from_static(KEPT));
    headers.insert(URGENCY, HeaderValue::from_static("high"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
    for (name, text) in [(TOPIC, topic), (header::AUTHORIZATION, &signed)] {
        headers.insert(name, HeaderValue::from_str(text).map_err(axum::http::Error::from)?);
    }
    state.pushes.authorities.post(to, headers, body).await
}

async fn forget(state: &WebState, user: UserId, subscription: &PushSubscription, why: &'static str) {
    debug!(%user, why, "a browser is forgotten");
    // Where the store does not answer, the next push finds the same.
    let _ = state.service.remove_push_subscription(user, subscription.address.clone()).await;
}
