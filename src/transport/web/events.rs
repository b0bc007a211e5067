//! What happens, as it happens: a stream of events, for browsers (`text/event-stream`) and for scripts (a line of JSON
//! each). A stream has its place in the message log, so one that was broken off goes on where it was.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep};

use super::WebState;
use super::asker::Asker;
use super::assets::VERSION;
use super::body::Parameters;
use super::connection::HttpConnection;
use super::conversations::token_of;
use super::error::{ErrorCode, WebError};
use super::shares::StreamPermit;
use super::spelling::{Files, conversation, message};
use crate::charge::Payer;
use crate::model::{MessageId, SendKey, Token, Username};
use crate::protocol::{Command, ConversationEntry, Conversations, FollowReply, HistoryEntry, Reply};
use crate::service::{Caller, FollowRequest, Following, Need, Peer};
use crate::transport::admission::LoginWatch;

/// How often something is said, so that a proxy does not take the line for dead.
const PING: Duration = Duration::from_secs(15);
/// Who is further behind is told to load anew: messages, and bytes of text.
const BEHIND_MESSAGES: usize = 500;
const BEHIND_BYTES: usize = 256 << 10;
/// Of so many people it is told at the most whether they are connected.
const CONTACTS: usize = 200;
/// For nginx, which would keep events back.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    after: Option<i64>,
}

/// How events are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventForm {
    /// As a browser's EventSource reads them.
    Sse,
    /// A line of JSON each.
    Lines,
}

pub(super) async fn events(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    Parameters(query): Parameters<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, WebError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let form = match text("accept") {
        Some(accept) if accept.contains("application/x-ndjson") => EventForm::Lines,
        _ => EventForm::Sse,
    };
    // A browser that connects again says where it was; what the address says is older.
    let resumed = match text("last-event-id") {
        Some(id) => Some(id.parse().map_err(|_| ErrorCode::Malformed.because("Last-Event-ID: a number"))?),
        None => query.after,
    };
    let asker = asker.admit(Need::Read);
    let holder = asker.caller.holder().ok_or(ErrorCode::UnknownToken)?;
    let stream = EventStream {
        permit: state.streams.enter(holder)?,
        token: token_of(&asker.caller)?,
        me: asker.user()?.session.user.username.clone(),
        payer: asker.payer()?,
        peer: asker.from.peer,
        login: asker.from.connection.watch_login(),
        connection: asker.from.connection,
        form,
        after: resumed.filter(|after| *after > 0).map(MessageId),
        reads: 0,
        marks: HashMap::new(),
        contacts: BTreeSet::new(),
        online: BTreeSet::new(),
        behind: (0, 0),
        step: StreamStep::Begin(asker.caller),
        ping: Box::pin(sleep(PING)),
        state,
    };
    let body = Body::from_stream(unfold(stream, EventStream::next));
    let kind = match form {
        EventForm::Sse => "text/event-stream",
        EventForm::Lines => "application/x-ndjson",
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// What a stream does next.
enum StreamStep {
    /// Says hello.
    Begin(Caller),
    /// Looks for messages.
    Look,
    /// Waits for something to happen.
    Wait(Following),
    /// Ends.
    Over,
}

struct EventStream {
    state: Arc<WebState>,
    /// The stream's place in the counts.
    #[expect(dead_code, reason = "it counts as long as it is held")]
    permit: StreamPermit,
    connection: Arc<HttpConnection>,
    login: LoginWatch,
    payer: Payer,
    peer: Peer,
    token: Token,
    me: Username,
    form: EventForm,
    /// All messages up to here were told of; `None`: none is to be told of that is there already.
    after: Option<MessageId>,
    /// Another number than this: something was read.
    reads: u64,
    /// How far each conversation was read, by oneself and by the other, as was told last.
    marks: HashMap<Username, (MessageId, MessageId)>,
    /// With whom there are conversations, as far as was told, and who of them is connected, as was told last.
    contacts: BTreeSet<Username>,
    online: BTreeSet<Username>,
    /// Messages and bytes that were told of since there was nothing left to tell.
    behind: (usize, usize),
    step: StreamStep,
    ping: Pin<Box<Sleep>>,
}

impl EventStream {
    /// The next events, as bytes. Nothing is prepared before the connection has taken what was before.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, EventStream)> {
        let mut out = Vec::new();
        while out.is_empty() {
            let step = std::mem::replace(&mut self.step, StreamStep::Over);
            self.step = match step {
                StreamStep::Over => return None,
                StreamStep::Begin(caller) => self.begin(caller, &mut out).await,
                StreamStep::Look => self.look(&mut out).await,
                StreamStep::Wait(following) => self.wait(following, &mut out).await,
            };
        }
        Some((Ok(out.into()), self))
    }

    async fn begin(&mut self, caller: Caller, out: &mut Vec<u8>) -> StreamStep {
        let Ok(user) = caller.user() else { return self.end(out).await };
        let display_name = user.session.user.display_name.clone();
        self.set_aside();
        let Some((following, followed)) = self.look_once(&caller).await else { return self.end(out).await };
        self.reads = followed.reads;
        // What is told of from here on comes after this place; what was before it is told of next.
        if self.after.is_none() {
            self.after = Some(followed.next);
        }
        drop(following);
        let list = self.conversations(caller).await;
        let text = text_of(list.iter().map(|entry| &entry.newest));
        let files = self.files(list.iter().map(|entry| &entry.newest)).await;
        let file_bytes = self.state.service.file_bytes();
        let (form, me, after) = (self.form, self.me.clone(), self.after);
        let spell = move |out: &mut Vec<u8>| {
            let list: Vec<Value> = list.iter().map(|entry| conversation(&me, entry, &files)).collect();
            let me = json!({ "name": me.as_str(), "display_name": display_name });
            let hello = json!({ "me": me, "version": VERSION, "file_bytes": file_bytes, "conversations": list });
            form.put(out, "hello", after, hello);
        };
        if !self.make(text, spell, out).await {
            return StreamStep::Over;
        }
        self.contacts = self.marks.keys().cloned().collect();
        self.tell_of_presence(out).await;
        StreamStep::Look
    }

    async fn look(&mut self, out: &mut Vec<u8>) -> StreamStep {
        let caller = self.caller().await;
        self.set_aside();
        let Some((following, followed)) = self.look_once(&caller).await else { return self.end(out).await };
        let FollowReply { messages, next, more, reads } = followed;
        let text = text_of(messages.iter());
        self.behind.0 += messages.len();
        self.behind.1 += text;
        if more && (self.behind.0 >= BEHIND_MESSAGES || self.behind.1 >= BEHIND_BYTES) {
            self.after = None;
            let Some((following, followed)) = self.look_once(&caller).await else { return self.end(out).await };
            (self.after, self.behind) = (Some(followed.next), (0, 0));
            self.form.put(out, "reset", self.after, json!({}));
            return StreamStep::Wait(following);
        }
        self.meet(&messages);
        let is_news = !messages.is_empty();
        // Without the keys a page takes its own message for one from elsewhere; it finds out by the number.
        let keys: HashMap<MessageId, SendKey> =
            self.state.service.keys_of(&caller, &messages).await.unwrap_or_default().into_iter().collect();
        let files = self.files(messages.iter()).await;
        let (form, me) = (self.form, self.me.clone());
        let spell = move |out: &mut Vec<u8>| {
            for entry in &messages {
                let mut spelled = message(&me, entry, &files);
                if let Some(key) = keys.get(&entry.message.id) {
                    spelled["key"] = key.as_str().into();
                }
                form.put(out, "message", Some(entry.message.id), spelled);
            }
        };
        // Who connects again goes on where this ends.
        if !self.make(text, spell, out).await {
            return StreamStep::Over;
        }
        if is_news {
            self.tell_of_presence(out).await;
        }
        self.after = Some(next);
        if more {
            return StreamStep::Look;
        }
        self.behind = (0, 0);
        if reads != self.reads {
            self.reads = reads;
            self.tell_of_reading(caller, out).await;
        }
        StreamStep::Wait(following)
    }

    /// Who asks, as of now.
    async fn caller(&self) -> Caller {
        self.state.service.authenticate(Some(self.token)).await.admit(Need::Read)
    }

    /// From now on it is told whether those who are in these are connected.
    fn meet(&mut self, messages: &[HistoryEntry]) {
        for entry in messages {
            let other = if entry.from.username == self.me { &entry.to } else { &entry.from };
            if self.contacts.len() < CONTACTS {
                self.contacts.insert(other.username.clone());
            }
        }
    }

    /// Says who has come and who has gone since that was told.
    async fn tell_of_presence(&mut self, out: &mut Vec<u8>) {
        let mut online = BTreeSet::new();
        for name in &self.contacts {
            if self.state.service.is_online_named(name.as_str()).await {
                online.insert(name.clone());
            }
        }
        for name in online.symmetric_difference(&self.online) {
            let event = json!({ "name": name.as_str(), "online": online.contains(name) });
            self.form.put(out, "presence", None, event);
        }
        self.online = online;
    }

    /// The files that these bring. Without them a page shows an empty message, until it loads anew.
    async fn files<'a>(&self, entries: impl Iterator<Item = &'a HistoryEntry>) -> Files {
        let Payer::Account(reader) = self.payer else { return Files::new() };
        self.state.service.sent_files_of(reader, entries).await.unwrap_or_default()
    }

    /// Sets memory aside for events to come, which have no more text than that.
    fn set_aside(&mut self) {
        self.peer.reply_bytes = self.connection.replies.set_aside(self.payer).min(BEHIND_BYTES as u64);
    }

    /// Makes events of so many bytes of text; gives whether there was room.
    async fn make(&self, text: usize, spell: impl FnOnce(&mut Vec<u8>) + Send + 'static, out: &mut Vec<u8>) -> bool {
        let make = move || {
            let mut made = Vec::new();
            spell(&mut made);
            made
        };
        let made = self.connection.replies.make(self.payer, text, make).await;
        made.map(|made| *out = made).is_ok()
    }

    /// An ear for what happens from now on, and what there is already; `None`: the session has ended, or the store
    /// does not answer.
    async fn look_once(&self, caller: &Caller) -> Option<(Following, FollowReply)> {
        let asked = FollowRequest { after: self.after, at_most: Duration::ZERO, reads: None };
        self.state.service.look_for_more(&self.peer, caller, asked).await.ok()
    }

    /// The newest conversations; remembers how far they were read.
    async fn conversations(&mut self, caller: Caller) -> Vec<ConversationEntry> {
        let command = Command::Conversations { before: None };
        let Reply::Conversations(Conversations { list, .. }) =
            self.state.service.handle(&self.peer, caller, command).await.reply
        else {
            return Vec::new();
        };
        self.marks =
            list.iter().map(|entry| (entry.with.username.clone(), (entry.read_to, entry.other_read_to))).collect();
        list
    }

    /// Says which marks have moved since they were told of.
    async fn tell_of_reading(&mut self, caller: Caller, out: &mut Vec<u8>) {
        let before = std::mem::take(&mut self.marks);
        self.conversations(caller).await;
        for (name, (mine, theirs)) in &self.marks {
            let told = before.get(name);
            for (mark, told, by) in [(mine, told.map(|told| told.0), &self.me), (theirs, told.map(|told| told.1), name)]
            {
                // How far the others of a group have read is not told here.
                if mark.0 > 0 && told.is_none_or(|told| told < *mark) {
                    let event = json!({ "conversation": name.as_str(), "by": by.as_str(), "upto": mark.0 });
                    self.form.put(out, "read", None, event);
                }
            }
        }
    }

    async fn wait(&mut self, mut following: Following, out: &mut Vec<u8>) -> StreamStep {
        // What was set aside before is on its way, and the connection has taken nearly all of it.
        self.connection.replies.release();
        tokio::select! {
            biased;
            () = self.connection.stop.cancelled() => StreamStep::Over,
            () = self.login.session_ended() => self.end(out).await,
            () = following.heard() => StreamStep::Look,
            () = self.ping.as_mut() => {
                self.ping.as_mut().reset(Instant::now() + PING);
                // Who has a stream open uses the session.
                if self.caller().await.user().is_err() {
                    return self.end(out).await;
                }
                self.tell_of_presence(out).await;
                self.form.put(out, "ping", None, json!({}));
                StreamStep::Wait(following)
            }
        }
    }

    /// Ends the stream. Whether it is because the session has ended is asked, as the store may only be away.
    async fn end(&self, out: &mut Vec<u8>) -> StreamStep {
        if matches!(self.state.service.authenticate(Some(self.token)).await, Caller::Dead) {
            self.form.put(out, "ended", None, json!({}));
        }
        StreamStep::Over
    }
}

impl EventForm {
    fn put(self, out: &mut Vec<u8>, name: &str, id: Option<MessageId>, mut data: Value) {
        match self {
            EventForm::Sse => {
                out.extend_from_slice(format!("event: {name}\n").as_bytes());
                if let Some(id) = id {
                    out.extend_from_slice(format!("id: {id}\n").as_bytes());
                }
                out.extend_from_slice(format!("data: {data}\n\n").as_bytes());
            }
            EventForm::Lines => {
                if let Some(fields) = data.as_object_mut() {
                    fields.insert("event".to_owned(), name.into());
                    if let Some(id) = id {
                        fields.insert("id".to_owned(), id.0.into());
                    }
                }
                out.extend_from_slice(format!("{data}\n").as_bytes());
            }
        }
    }
}

/// How many bytes of text these have.
fn text_of<'a>(entries: impl Iterator<Item = &'a HistoryEntry>) -> usize {
    entries.map(|entry| entry.message.text.len()).sum()
}
