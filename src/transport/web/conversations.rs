//! Conversations: which there are, what was said in them, what is sent and how far it was read.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::WebState;
use super::asker::Asker;
use super::body::{JsonBody, Parameters, PathPart, whole_body};
use super::error::{ErrorCode, WebError};
use super::spelling::{conversation, conversation_of, message};
use crate::model::{LookupName, MessageId, SendKey, Timestamp};
use crate::protocol::{Command, Conversations, HistoryEntry, Person, Refusal, Reply, Send};
use crate::service::{Caller, FollowRequest, Need, Peer};

/// How many messages an answer has that was not told a number.
const MESSAGES: u64 = 50;
/// How many parts of one's messages are looked through for those after a message, at the most.
const LOOKS: usize = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConversationsQuery {
    before: Option<i64>,
}

pub(super) async fn list(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    Parameters(query): Parameters<ConversationsQuery>,
) -> Result<Response, WebError> {
    let mut asker = asker.admit(Need::Read);
    asker.set_aside()?;
    let (me, payer) = (asker.user()?.session.user.clone(), asker.payer()?);
    let command = Command::Conversations { before: query.before.map(MessageId) };
    let reply = state.service.handle(&asker.from.peer, asker.caller, command).await.reply;
    let held = reply.held();
    match reply {
        Reply::Conversations(Conversations { list, next }) => {
            let files = state.service.sent_files_of(me.id, list.iter().map(|entry| &entry.newest)).await?;
            let spell = move || {
                let list: Vec<Value> = list.iter().map(|entry| conversation(&me.username, entry, &files)).collect();
                json!({ "conversations": list, "next": next.map(|id| id.0) })
            };
            asker.from.answer(payer, held, spell).await
        }
        other => Err(refused(other)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessagesQuery {
    before: Option<i64>,
    after: Option<i64>,
    limit: Option<u64>,
}

pub(super) async fn messages(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
    Parameters(query): Parameters<MessagesQuery>,
) -> Result<Response, WebError> {
    let mut asker = asker.admit(Need::Read);
    asker.set_aside()?;
    let (me, payer) = (asker.user()?.session.user.clone(), asker.payer()?);
    let limit = query.limit.unwrap_or(MESSAGES);
    let (reply, next) = match (query.before, query.after) {
        (Some(_), Some(_)) => return Err(ErrorCode::Malformed.because("before and after exclude each other")),
        (None, Some(after)) => {
            let (found, next) = newer_messages(&state, &asker, &name, MessageId(after), limit).await?;
            (Reply::History(found), Some(next))
        }
        (before, None) => {
            let username = LookupName::of(&name);
            let command = Command::History { username, before: before.map(MessageId), count: Some(limit) };
            (state.service.handle(&asker.from.peer, asker.caller, command).await.reply, None)
        }
    };
    let held = reply.held();
    match reply {
        Reply::History(list) => {
            let files = state.service.sent_files_of(me.id, list.iter()).await?;
            let spell = move || {
                let list: Vec<Value> = list.iter().map(|entry| message(&me.username, entry, &files)).collect();
                match next {
                    None => json!({ "messages": list }),
                    Some(next) => json!({ "messages": list, "next": next.map(|id| id.0) }),
                }
            };
            asker.from.answer(payer, held, spell).await
        }
        other => Err(refused(other)),
    }
}

/// The oldest messages of a conversation after one, with no more text than one answer may have, and where to go on;
/// `None`: there are no more. The store has an index by person for these, not by conversation, and one answer looks
/// through no more than a part of it.
async fn newer_messages(
    state: &WebState,
    asker: &Asker,
    name: &str,
    mut after: MessageId,
    limit: u64,
) -> Result<(Vec<HistoryEntry>, Option<MessageId>), WebError> {
    let me = &asker.user()?.session.user.username;
    let name = LookupName::of(name);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut room = asker.from.peer.reply_bytes;
    let mut found: Vec<HistoryEntry> = Vec::new();
    for _ in 0..LOOKS {
        let asked = FollowRequest { after: Some(after), at_most: Duration::ZERO, reads: None };
        let (_, page) = state.service.look_for_more(&asker.from.peer, &asker.caller, asked).await?;
        for entry in page.messages.into_iter().filter(|entry| conversation_of(me, entry).as_str() == &*name) {
            let text = entry.message.text.len() as u64;
            if found.len() >= limit || !found.is_empty() && text > room {
                let last = found.last().map_or(after, |entry| entry.message.id);
                return Ok((found, Some(last)));
            }
            room = room.saturating_sub(text);
            found.push(entry);
        }
        after = page.next;
        if !page.more {
            return Ok((found, None));
        }
        if found.len() >= limit {
            break;
        }
    }
    Ok((found, Some(after)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageBody {
    text: String,
    /// The same for each attempt to send this message.
    #[serde(default)]
    key: Option<String>,
}

pub(super) async fn send(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
    JsonBody(body): JsonBody<MessageBody>,
) -> Result<Response, WebError> {
    send_text(&state, &asker.admit(Need::Send), &name, body.key.as_deref(), body.text).await
}

/// A script's message: the body is the text, whatever its type.
pub(super) async fn send_to(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
    request: Request,
) -> Result<Response, WebError> {
    if asker.by_cookie {
        return Err(ErrorCode::UnknownToken.because("this wants Authorization: Bearer TOKEN"));
    }
    let request_key = request.headers().get("idempotency-key").cloned();
    let bytes = whole_body(request).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| ErrorCode::Malformed.because("the text is not UTF-8"))?;
    let key = request_key.as_ref().map(|key| key.to_str().unwrap_or_default());
    send_text(&state, &asker.admit(Need::Send), &name, key, text.to_owned()).await
}

async fn send_text(
    state: &WebState,
    asker: &Asker,
    name: &str,
    key: Option<&str>,
    text: String,
) -> Result<Response, WebError> {
    let key = key.map(|key| SendKey::parse(key).ok_or(Refusal::BadKey)).transpose()?;
    if text.is_empty() {
        return Err(ErrorCode::Malformed.because("the text is empty"));
    }
    state.sends.allow(asker.sender()?)?;
    let send = Send { recipient: LookupName::of(name), text: text.into() };
    let has_key = key.is_some();
    let (id, asked_at, not_delivered) = state.service.send_one(&asker.from.peer, &asker.caller, key, send).await?;
    let sent_at = if has_key { time_of(state, asker, id).await? } else { None };
    let sent_at = sent_at.unwrap_or(asked_at);
    // Another time is that of an attempt before this one.
    let status = if sent_at == asked_at { StatusCode::CREATED } else { StatusCode::OK };
    let mut answer = json!({ "id": id.0, "time": sent_at.0 });
    if let Some(fields) = answer.as_object_mut().filter(|_| not_delivered > 0) {
        fields.insert("not_delivered".to_owned(), not_delivered.into());
    }
    Ok((status, Json(answer)).into_response())
}

/// When a message of the asker's was accepted, unless it is gone.
pub(super) async fn time_of(state: &WebState, asker: &Asker, id: MessageId) -> Result<Option<Timestamp>, WebError> {
    let just_before = Some(MessageId(id.0 - 1));
    let asked = FollowRequest { after: just_before, at_most: Duration::ZERO, reads: None };
    let peer = Peer { reply_bytes: 1, ..asker.from.peer };
    let (_, page) = state.service.look_for_more(&peer, &asker.caller, asked).await?;
    Ok(page.messages.first().filter(|entry| entry.message.id == id).map(|entry| entry.message.sent_at))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadBody {
    upto: i64,
}

pub(super) async fn read(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
    JsonBody(body): JsonBody<ReadBody>,
) -> Result<Json<Value>, WebError> {
    let command = Command::Read { username: LookupName::of(&name), to: MessageId(body.upto) };
    match state.service.handle(&asker.from.peer, asker.caller, command).await.reply {
        Reply::Read(messages) => Ok(Json(json!({ "messages": messages }))),
        other => Err(refused(other)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeopleQuery {
    #[serde(default)]
    q: String,
}

pub(super) async fn people(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    Parameters(query): Parameters<PeopleQuery>,
) -> Result<Json<Value>, WebError> {
    let asker = asker.admit(Need::Other);
    // It looks at many accounts, and turns go round.
    let _turn = state.memory.lists.take(asker.payer()?).await;
    let found = state.service.people(&asker.caller, &query.q).await?;
    let people = found.iter().map(|Person { profile, is_online }| {
        json!({ "name": profile.username.as_str(), "display_name": profile.display_name, "online": is_online })
    });
    Ok(Json(json!({ "people": people.collect::<Vec<_>>() })))
}

/// Why there is another reply than the one that the command has.
pub(super) fn refused(reply: Reply) -> WebError {
    match reply {
        Reply::Refused(refusal) => refusal.into(),
        _ => ErrorCode::Unavailable.into(),
    }
}

/// The token that a caller has shown, who is logged in.
pub(super) fn token_of(caller: &Caller) -> Result<crate::model::Token, WebError> {
    Ok(caller.user()?.token)
}
