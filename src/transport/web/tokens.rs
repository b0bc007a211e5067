//! Tokens for programs, and hooks: listed, made and ended by who is logged in.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::WebState;
use super::account::label;
use super::asker::Asker;
use super::body::{JsonBody, PathPart};
use super::error::{ErrorCode, WebError};
use crate::model::{LookupName, Password, Scope, SessionId};
use crate::service::{StoredSession, TokenRequest};

pub(super) async fn list(State(state): State<Arc<WebState>>, asker: Asker) -> Result<Json<Value>, WebError> {
    let tokens = state.service.own_tokens(&asker.caller, false).await?;
    Ok(Json(json!({ "tokens": tokens.iter().map(spelled).collect::<Vec<_>>() })))
}

pub(super) async fn list_hooks(State(state): State<Arc<WebState>>, asker: Asker) -> Result<Json<Value>, WebError> {
    let hooks = state.service.own_tokens(&asker.caller, true).await?;
    Ok(Json(json!({ "hooks": hooks.iter().map(spelled).collect::<Vec<_>>() })))
}

fn spelled(token: &StoredSession) -> Value {
    let mut spelled = json!({
        "id": token.id.0,
        "label": token.label,
        "created": token.created_at.0,
        "last_used": (token.last_used_at != token.created_at).then_some(token.last_used_at.0),
        "to": token.to,
    });
    if let Some(scope) = token.scope.filter(|scope| *scope != Scope::Hook) {
        spelled["scope"] = scope.as_str().into();
    }
    spelled
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenBody {
    label: String,
    scope: String,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

pub(super) async fn add(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    JsonBody(body): JsonBody<TokenBody>,
) -> Result<(StatusCode, Json<Value>), WebError> {
    let scope = Scope::parse(&body.scope).filter(|scope| *scope != Scope::Hook);
    let scope = scope.ok_or_else(|| ErrorCode::Malformed.because("scope: send, read or all"))?;
    if body.to.is_some() && scope != Scope::Send {
        return Err(ErrorCode::Malformed.because("to: only for the scope send"));
    }
    let token = make(&state, &asker, &body.label, scope, body.to.as_deref(), body.password.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(json!({ "token": token }))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HookBody {
    label: String,
    to: String,
    #[serde(default)]
    password: Option<String>,
}

pub(super) async fn add_hook(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    JsonBody(body): JsonBody<HookBody>,
) -> Result<(StatusCode, Json<Value>), WebError> {
    let secret = make(&state, &asker, &body.label, Scope::Hook, Some(&body.to), body.password.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(json!({ "path": format!("/hook/{secret}") }))))
}

async fn make(
    state: &WebState,
    asker: &Asker,
    called: &str,
    scope: Scope,
    to: Option<&str>,
    password: Option<&str>,
) -> Result<String, WebError> {
    let label = label(called)?;
    let (to, password) = (to.map(LookupName::of), password.map(Password::attempt));
    let asked = TokenRequest { label, scope, to, password };
    let made = state.service.add_token(&asker.from.peer, &asker.caller, asked).await;
    made.map_err(|refusal| WebError::from(refusal).of_own_password())
}

pub(super) async fn end(
    State(state): State<Arc<WebState>>,
    PathPart(id): PathPart,
    asker: Asker,
) -> Result<StatusCode, WebError> {
    end_one(&state, &asker, false, &id).await
}

pub(super) async fn end_hook(
    State(state): State<Arc<WebState>>,
    PathPart(id): PathPart,
    asker: Asker,
) -> Result<StatusCode, WebError> {
    end_one(&state, &asker, true, &id).await
}

async fn end_one(state: &WebState, asker: &Asker, hooks: bool, id: &str) -> Result<StatusCode, WebError> {
    let id = id.parse().map_err(|_| ErrorCode::NotFound)?;
    match state.service.end_own_token(&asker.caller, hooks, SessionId(id)).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ErrorCode::NotFound.into()),
    }
}
