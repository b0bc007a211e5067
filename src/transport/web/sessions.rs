//! Where I am logged in.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::WebState;
use super::asker::Asker;
use super::body::PathPart;
use super::conversations::refused;
use super::error::{ErrorCode, WebError};
use crate::model::SessionId;
use crate::protocol::{AccountCommand, AccountReply, Command, Reply};

pub(super) async fn list(State(state): State<Arc<WebState>>, asker: Asker) -> Result<Json<Value>, WebError> {
    let _turn = state.memory.lists.take(asker.payer()?).await;
    let command = Command::Account(AccountCommand::Sessions);
    let sessions = match state.service.handle(&asker.from.peer, asker.caller, command).await.reply {
        Reply::Account(AccountReply::Sessions(sessions)) => sessions,
        other => return Err(refused(other)),
    };
    let sessions = sessions.iter().map(|session| {
        json!({
            "id": session.id.0,
            "created": session.created_at.0,
            "last_used": session.last_used_at.0,
            "address": session.address,
            "label": session.label,
            "current": session.is_current,
        })
    });
    Ok(Json(json!({ "sessions": sessions.collect::<Vec<_>>() })))
}

/// Ends one session of mine, be it the one that asks.
pub(super) async fn end(
    State(state): State<Arc<WebState>>,
    PathPart(id): PathPart,
    asker: Asker,
) -> Result<StatusCode, WebError> {
    let id = id.parse().map_err(|_| ErrorCode::NotFound)?;
    let _turn = state.memory.lists.take(asker.payer()?).await;
    match state.service.end_own_sessions(&asker.caller, Some(SessionId(id))).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ErrorCode::NotFound.into()),
    }
}

/// Ends all my sessions but the one that asks.
pub(super) async fn end_others(State(state): State<Arc<WebState>>, asker: Asker) -> Result<StatusCode, WebError> {
    let _turn = state.memory.lists.take(asker.payer()?).await;
    state.service.end_own_sessions(&asker.caller, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
