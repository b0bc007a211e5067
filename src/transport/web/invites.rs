//! Invites: an account that somebody makes by one, and what an account that may administer sees to.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::WebState;
use super::account::{begun_session, label};
use super::admin::{JsonAnswer, PageQuery};
use super::asker::{Asker, WebPeer};
use super::body::{JsonBody, Parameters, PathPart};
use super::error::{ErrorCode, WebError};
use crate::model::{InviteId, LookupName, Password, Token};
use crate::protocol::Refusal;
use crate::protocol::family::Registration;

/// How long an invite works, unless something else is asked for: as `chatd user invite` has it.
const DAYS: u32 = 7;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterBody {
    invite: String,
    name: String,
    display_name: Option<String>,
    password: String,
    #[serde(default)]
    label: String,
}

pub(super) async fn register(
    State(state): State<Arc<WebState>>,
    from: WebPeer,
    JsonBody(body): JsonBody<RegisterBody>,
) -> Result<Response, WebError> {
    let label = label(&body.label)?;
    let wanted = Registration {
        username: LookupName::of(&body.name),
        password: Password::attempt(&body.password),
        display_name: body.display_name,
        country: String::new(),
        code: Token::parse(&body.invite),
    };
    let made = state.service.register(&from.peer, wanted, label).await;
    // Where nobody makes an account by an invite, none works.
    let closed = |refusal| if refusal == Refusal::UnknownCommand { Refusal::BadInvite } else { refusal };
    begun_session(&state, &from, made.map_err(closed)?.reply).await
}

pub(super) async fn list(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    Parameters(query): Parameters<PageQuery>,
) -> JsonAnswer {
    let invites = state.service.all_invites(&asker.caller, InviteId(query.after)).await?;
    let next = invites.last().map(|invite| invite.id.0);
    let invites = invites.iter().map(|invite| {
        json!({
            "id": invite.id.0,
            "for": invite.label,
            "created": invite.created_at.0,
            "expires": invite.expires_at.0,
        })
    });
    Ok(Json(json!({ "invites": invites.collect::<Vec<_>>(), "next": next, "open": state.service.takes_invites() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewInviteBody {
    #[serde(default, rename = "for")]
    label: String,
    days: Option<u32>,
}

pub(super) async fn add(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    JsonBody(body): JsonBody<NewInviteBody>,
) -> Result<(StatusCode, Json<Value>), WebError> {
    let days = body.days.unwrap_or(DAYS);
    if days == 0 {
        return Err(ErrorCode::Malformed.because("days: 1 at least"));
    }
    let label =
        label(&body.label).map_err(|_| ErrorCode::Malformed.because("for: a name of 128 characters at most"))?;
    let lasts = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    let code = state.service.add_invite(&asker.from.peer, &asker.caller, label, lasts).await?.reveal();
    Ok((StatusCode::CREATED, Json(json!({ "code": code, "path": format!("/#invite={code}") }))))
}

pub(super) async fn remove(
    State(state): State<Arc<WebState>>,
    PathPart(id): PathPart,
    asker: Asker,
) -> Result<StatusCode, WebError> {
    let id = id.parse().map_err(|_| ErrorCode::NotFound)?;
    match state.service.remove_invite(&asker.from.peer, &asker.caller, InviteId(id)).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ErrorCode::NotFound.into()),
    }
}
