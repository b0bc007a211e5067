//! What an account that may administer does in a browser. `service::administration` asks whether it may.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::WebState;
use super::asker::Asker;
use super::assets::VERSION;
use super::body::{JsonBody, Parameters, PathPart, PathParts};
use super::error::{ErrorCode, WebError};
use crate::model::{GroupId, Label, Password, SessionId, Token, UserId, Username};
use crate::protocol::Refusal;
use crate::service::{AccountSettings, NewAccount};

pub(super) type JsonAnswer = Result<Json<Value>, WebError>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    #[serde(default)]
    pub after: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionsQuery {
    #[serde(default)]
    after: i64,
    user: Option<String>,
}

pub(super) async fn health(State(state): State<Arc<WebState>>, asker: Asker) -> JsonAnswer {
    let status = state.service.figures(&asker.caller).await?;
    Ok(Json(json!({
        "status": if status.has_room { "ok" } else { "no_space" },
        "version": VERSION,
        "users": status.users,
        "sessions": status.sessions,
        "unread_messages": status.unread_messages,
        "unread_bytes": status.unread_bytes,
        "free_bytes": status.free_bytes,
        "accepted": status.accepted,
        "delivered": status.delivered,
        "lost": status.lost,
        "damaged": status.damaged,
    })))
}

pub(super) async fn users(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    Parameters(query): Parameters<PageQuery>,
) -> JsonAnswer {
    let users = state.service.all_accounts(&asker.caller, UserId(query.after)).await?;
    let next = users.last().map(|(user, _)| user.id.0);
    let users = users.iter().map(|(user, stored_bytes)| {
        json!({
            "id": user.id.0,
            "name": user.username.as_str(),
            "display_name": &*user.display_name,
            "country": &*user.country,
            "disabled": user.disabled,
            "administrator": user.administrator,
            "created": user.created_at.0,
            "stored_bytes": stored_bytes,
        })
    });
    Ok(Json(json!({ "users": users.collect::<Vec<_>>(), "next": next })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUserBody {
    pub name: String,
    pub display_name: Option<String>,
    #[serde(default)]
    pub country: String,
    pub password: Option<String>,
    #[serde(default)]
    pub administrator: bool,
}

/// An account as it was asked for, and its password where that was made up.
pub(super) fn new_account(body: NewUserBody) -> Result<(NewAccount, Option<String>), WebError> {
    let bad = |key: &str, why: &dyn std::fmt::Display| ErrorCode::Malformed.because(format!("{key}: {why}"));
    let name = Username::parse(&body.name).map_err(|why| bad("name", &why))?;
    let display_name = match &body.display_name {
        Some(text) => Label::parse(text).map_err(|why| bad("display_name", &why))?,
        None => Label::from(&name),
    };
    let country = Label::parse_or_none(&body.country).map_err(|why| bad("country", &why))?;
    let (password, made_up) = password_of(body.password)?;
    Ok((NewAccount { name, display_name, country, password, administrator: body.administrator }, made_up))
}

/// The password that was given, or one that is made up and told.
fn password_of(given: Option<String>) -> Result<(Password, Option<String>), WebError> {
    let made_up = given.is_none().then(|| Token::generate().reveal());
    let text = given.or_else(|| made_up.clone()).unwrap_or_default();
    let password = Password::parse(&text);
    Ok((password.map_err(|why| ErrorCode::Malformed.because(format!("password: {why}")))?, made_up))
}

pub(super) async fn add_user(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    JsonBody(body): JsonBody<NewUserBody>,
) -> Result<(StatusCode, Json<Value>), WebError> {
    let name = body.name.clone();
    let (account, made_up) = new_account(body)?;
    match state.service.add_account(&asker.from.peer, &asker.caller, account).await? {
        true => Ok((StatusCode::CREATED, Json(json!({ "name": name, "password": made_up })))),
        false => Err(ErrorCode::NameTaken.into()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserBody {
    display_name: Option<String>,
    country: Option<String>,
    disabled: Option<bool>,
    administrator: Option<bool>,
}

pub(super) async fn set_user(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
    JsonBody(body): JsonBody<UserBody>,
) -> Result<StatusCode, WebError> {
    let UserBody { display_name, country, disabled, administrator } = body;
    let display_name = display_name.as_deref().map(Label::parse).transpose().map_err(Refusal::BadDisplayName)?;
    let country = country.as_deref().map(Label::parse_or_none).transpose();
    let country = country.map_err(|why| ErrorCode::Malformed.because(format!("country: {why}")))?;
    let settings = AccountSettings { display_name, country, disabled, administrator };
    state.service.set_account(&asker.from.peer, &asker.caller, &name, settings).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetPasswordBody {
    password: Option<String>,
}

pub(super) async fn set_password(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
    JsonBody(body): JsonBody<SetPasswordBody>,
) -> JsonAnswer {
    let (password, made_up) = password_of(body.password)?;
    state.service.set_account_password(&asker.from.peer, &asker.caller, &name, &password).await?;
    Ok(Json(json!({ "password": made_up })))
}

pub(super) async fn remove_user(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
) -> JsonAnswer {
    let unread = state.service.remove_account(&asker.from.peer, &asker.caller, &name).await?;
    Ok(Json(json!({ "unread": unread })))
}

pub(super) async fn sessions(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    Parameters(query): Parameters<SessionsQuery>,
) -> JsonAnswer {
    let (after, user) = (SessionId(query.after), query.user.as_deref());
    let sessions = state.service.all_sessions(&asker.caller, after, user).await?;
    let next = sessions.last().map(|session| session.id.0);
    let sessions = sessions.iter().map(|session| {
        json!({
            "id": session.id.0,
            "name": session.username.as_str(),
            "created": session.created_at.0,
            "last_used": session.last_used_at.0,
            "address": session.address,
            "label": session.label,
            "scope": session.scope.map(|scope| scope.as_str()),
        })
    });
    Ok(Json(json!({ "sessions": sessions.collect::<Vec<_>>(), "next": next })))
}

pub(super) async fn end_session(
    State(state): State<Arc<WebState>>,
    PathPart(id): PathPart,
    asker: Asker,
) -> Result<StatusCode, WebError> {
    let id = id.parse().map_err(|_| ErrorCode::NotFound)?;
    match state.service.end_any_session(&asker.from.peer, &asker.caller, SessionId(id)).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ErrorCode::NotFound.into()),
    }
}

pub(super) async fn groups(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    Parameters(query): Parameters<PageQuery>,
) -> JsonAnswer {
    let groups = state.service.all_groups(&asker.caller, GroupId(query.after)).await?;
    let next = groups.last().map(|(group, _)| group.id.0);
    let groups = groups.iter().map(|(group, members)| {
        json!({
            "id": group.id.0,
            "name": group.name.as_str(),
            "display_name": &*group.display_name,
            "members": members,
            "created": group.created_at.0,
        })
    });
    Ok(Json(json!({ "groups": groups.collect::<Vec<_>>(), "next": next })))
}

pub(super) async fn members(State(state): State<Arc<WebState>>, PathPart(name): PathPart, asker: Asker) -> JsonAnswer {
    let members = state.service.members_of(&asker.caller, &name).await?;
    let members = members
        .iter()
        .map(|member| json!({ "name": member.user.username.as_str(), "display_name": &*member.user.display_name }));
    Ok(Json(json!({ "members": members.collect::<Vec<_>>() })))
}

pub(super) async fn remove_group(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
) -> Result<StatusCode, WebError> {
    state.service.remove_any_group(&asker.from.peer, &asker.caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove_member(
    State(state): State<Arc<WebState>>,
    PathParts((name, user)): PathParts<(String, String)>,
    asker: Asker,
) -> Result<StatusCode, WebError> {
    state.service.remove_any_member(&asker.from.peer, &asker.caller, &name, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}
