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
use super::conversations::refused;
use super::error::{ErrorCode, WebError};
use super::origin::COOKIE;
use crate::model::{Label, LookupName, Password, Token};
use crate::protocol::{AccountCommand, AccountReply, Command, Refusal, Reply};
use crate::service::{Need, Session};

/// How long a browser keeps the cookie, in seconds: as long as browsers keep any. The session may end before.
const COOKIE_SECONDS: u32 = 400 * 24 * 60 * 60;
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// Where an answer has the account's name in it.
#[derive(Serialize)]
pub(super) struct Me<'a> {
    name: &'a str,
    display_name: &'a str,
    country: &'a str,
    administrator: bool,
}

impl<'a> Me<'a> {
    fn of(session: &'a Session) -> Me<'a> {
        let user = &session.user;
        Me {
            name: user.username.as_str(),
            display_name: &user.display_name,
            country: &user.country,
            administrator: user.administrator,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginBody {
    name: String,
    password: String,
    /// The browser and the system, as the list of sessions shows them.
    #[serde(default)]
    label: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeBody {
    display_name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordBody {
    old: String,
    new: String,
}

pub(super) async fn login(
    State(state): State<Arc<WebState>>,
    from: WebPeer,
    JsonBody(login): JsonBody<LoginBody>,
) -> Result<Response, WebError> {
    let label = label(&login.label)?;
    begin_session(&state, &from, &login.name, &login.password, label).await
}

/// Logs somebody in, and says who that is.
pub(super) async fn begin_session(
    state: &WebState,
    from: &WebPeer,
    name: &str,
    password: &str,
    label: Label,
) -> Result<Response, WebError> {
    let (name, password) = (LookupName::of(name), Password::attempt(password));
    let reply = state.service.log_in(&from.peer, &name, &password, label).await.reply;
    begun_session(state, from, reply).await
}

/// Says who is logged in by a session that has begun.
pub(super) async fn begun_session(state: &WebState, from: &WebPeer, reply: Reply) -> Result<Response, WebError> {
    let token = match reply {
        Reply::LoggedIn { token } => token,
        Reply::Refused(refusal) => return Err(refusal.into()),
        _ => return Err(ErrorCode::Unavailable.into()),
    };
    let caller = state.service.authenticate(Some(token)).await;
    if let Some(holder) = caller.holder() {
        from.connection.authenticate(holder).map_err(|_| WebError::from(ErrorCode::TooManyConnections))?;
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
    let asker = asker.admit(Need::Read);
    Ok(Json(Me::of(&asker.user()?.session)).into_response())
}

/// Gives me another display name.
pub(super) async fn rename(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    JsonBody(body): JsonBody<MeBody>,
) -> Result<Response, WebError> {
    let name = Label::parse(body.display_name.trim()).map_err(Refusal::BadDisplayName)?;
    let token = asker.user()?.token;
    let command = Command::Account(AccountCommand::Rename(name));
    match state.service.handle(&asker.from.peer, asker.caller, command).await.reply {
        Reply::Account(AccountReply::Renamed) => {}
        other => return Err(refused(other)),
    }
    let caller = state.service.authenticate(Some(token)).await;
    Ok(Json(Me::of(&caller.user()?.session)).into_response())
}

/// Gives me another password; my other sessions end.
pub(super) async fn change_password(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    JsonBody(body): JsonBody<PasswordBody>,
) -> Result<StatusCode, WebError> {
    let (old, new) = (Password::attempt(&body.old), Password::attempt(&body.new));
    let command = Command::Account(AccountCommand::ChangePassword { old, new });
    match state.service.handle(&asker.from.peer, asker.caller, command).await.reply {
        Reply::Account(AccountReply::PasswordChanged) => Ok(StatusCode::NO_CONTENT),
        other => Err(refused(other).of_own_password()),
    }
}

/// What a session or a token is called; it may be nothing.
pub(super) fn label(text: &str) -> Result<Label, WebError> {
    let label = Label::parse_or_none(text);
    label.map_err(|why| ErrorCode::Malformed.because(format!("label: {why}")))
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
