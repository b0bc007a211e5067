//! Login, logout, and who I am.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::WebState;
use super::asker::{Asker, WebPeer};
use super::body::JsonBody;
use super::error::{ErrorCode, WebError};
use super::origin::COOKIE;
use crate::model::{LookupName, Password, Token};
use crate::protocol::{Command, Reply};
use crate::service::{Caller, Session};

/// How long a browser keeps the cookie, in seconds: as long as browsers keep any. The session may end before.
const COOKIE_SECONDS: u32 = 400 * 24 * 60 * 60;
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// Where an answer has the account's name in it.
#[derive(Serialize)]
pub(super) struct Me<'a> {
    name: &'a str,
    display_name: &'a str,
    country: &'a str,
}

impl<'a> Me<'a> {
    fn of(session: &'a Session) -> Me<'a> {
        let user = &session.user;
        Me { name: user.username.as_str(), display_name: &user.display_name, country: &user.country }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginBody {
    name: String,
    password: String,
}

pub(super) async fn login(
    State(state): State<Arc<WebState>>,
    WebPeer { peer, connection }: WebPeer,
    JsonBody(login): JsonBody<LoginBody>,
) -> Result<Response, WebError> {
    let username = LookupName::of(&login.name);
    let command = Command::Auth { username, password: Password::attempt(&login.password) };
    let token = match state.service.handle(&peer, Caller::Anonymous, command).await.reply {
        Reply::LoggedIn { token } => token,
        Reply::Refused(refusal) => return Err(refusal.into()),
        _ => return Err(ErrorCode::Unavailable.into()),
    };
    let caller = state.service.authenticate(Some(token)).await;
    if let Some(holder) = caller.holder() {
        connection.authenticate(holder).map_err(|_| WebError::from(ErrorCode::TooManyConnections))?;
    }
    let me = Json(Me::of(&caller.user()?.session)).into_response();
    Ok(with_cookie(me, Some(token)))
}

pub(super) async fn logout(State(state): State<Arc<WebState>>, asker: Asker) -> Result<Response, WebError> {
    match state.service.handle(&asker.from.peer, asker.caller, Command::Logout).await.reply {
        Reply::LoggedOut { .. } => {
            asker.from.connection.forget_token();
            let mut response = with_cookie(StatusCode::NO_CONTENT.into_response(), None);
            response.headers_mut().insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"cache\""));
            Ok(response)
        }
        Reply::Refused(refusal) => Err(refusal.into()),
        _ => Err(ErrorCode::Unavailable.into()),
    }
}

pub(super) async fn me(asker: Asker) -> Result<Response, WebError> {
    Ok(Json(Me::of(&asker.user()?.session)).into_response())
}

/// Whether the store does its work.
pub(super) async fn health(State(state): State<Arc<WebState>>) -> Result<Response, WebError> {
    match state.service.is_healthy().await {
        true => Ok(Json(json!({ "status": "ok" })).into_response()),
        false => Err(ErrorCode::Unavailable.into()),
    }
}

/// Sets the cookie, or takes it away. No script can read it, and no other site can have it sent.
fn with_cookie(mut response: Response, token: Option<Token>) -> Response {
    let (value, seconds) = match token {
        Some(token) => (token.reveal(), COOKIE_SECONDS),
        None => (String::new(), 0),
    };
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict");
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
