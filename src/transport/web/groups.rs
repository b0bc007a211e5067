//! Groups: which there are, who is in them, and all that changes them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::WebState;
use super::asker::Asker;
use super::body::{JsonBody, OptionalJson, PathPart, PathParts};
use super::conversations::refused;
use super::error::{ErrorCode, WebError};
use super::spelling::{group, member};
use crate::model::{Label, LookupName, Password};
use crate::protocol::{Command, GroupCommand, Refusal, Reply};
use crate::service::{GroupProfile, MemberProfile, Need};

pub(super) async fn list(State(state): State<Arc<WebState>>, asker: Asker) -> Result<Response, WebError> {
    let asker = asker.admit(Need::Other);
    let (me, payer) = (asker.user()?.session.user.username.clone(), asker.payer()?);
    // It looks at the members of each, and turns go round.
    let _turn = state.memory.lists.take(payer).await;
    let groups = state.service.own_groups(&asker.caller).await?;
    let names = |one: &GroupProfile| size_of::<GroupProfile>() + one.profile.display_name.len();
    let held = groups.iter().map(names).sum();
    let spell = move || json!({ "groups": groups.iter().map(|one| group(&me, one)).collect::<Vec<_>>() });
    asker.from.answer(payer, held, spell).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupBody {
    name: String,
    /// Where nobody is to join without it.
    #[serde(default)]
    password: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InviteBody {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenameBody {
    display_name: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JoinBody {
    #[serde(default)]
    password: Option<String>,
}

pub(super) async fn create(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    JsonBody(body): JsonBody<GroupBody>,
) -> Result<StatusCode, WebError> {
    let password = body.password.as_deref().map(Password::attempt);
    change(&state, asker, GroupCommand::Create(LookupName::of(&body.name), password)).await?;
    Ok(StatusCode::CREATED)
}

pub(super) async fn delete(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
) -> Result<StatusCode, WebError> {
    change(&state, asker, GroupCommand::Delete(LookupName::of(&name))).await
}

pub(super) async fn join(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
    OptionalJson(body): OptionalJson<JoinBody>,
) -> Result<StatusCode, WebError> {
    let password = body.password.as_deref().map(Password::attempt);
    change(&state, asker, GroupCommand::Join(LookupName::of(&name), password)).await
}

pub(super) async fn rename(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
    JsonBody(body): JsonBody<RenameBody>,
) -> Result<StatusCode, WebError> {
    let display_name = Label::parse(&body.display_name).map_err(Refusal::BadDisplayName)?;
    change(&state, asker, GroupCommand::Rename(LookupName::of(&name), display_name)).await
}

pub(super) async fn leave(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
) -> Result<StatusCode, WebError> {
    change(&state, asker, GroupCommand::Leave(LookupName::of(&name))).await
}

pub(super) async fn members(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
) -> Result<Response, WebError> {
    let asker = asker.admit(Need::Other);
    let payer = asker.payer()?;
    // It looks at all who are logged in, and turns go round.
    let _turn = state.memory.lists.take(payer).await;
    let members = state.service.group_members(&asker.caller, &LookupName::of(&name)).await?;
    let names = |one: &MemberProfile| size_of::<MemberProfile>() + one.profile.display_name.len();
    let held = members.iter().map(names).sum();
    let spell = move || json!({ "members": members.iter().map(member).collect::<Vec<_>>() });
    asker.from.answer(payer, held, spell).await
}

pub(super) async fn invite(
    State(state): State<Arc<WebState>>,
    PathPart(name): PathPart,
    asker: Asker,
    JsonBody(body): JsonBody<InviteBody>,
) -> Result<StatusCode, WebError> {
    change(&state, asker, GroupCommand::Invite(LookupName::of(&name), LookupName::of(&body.name))).await
}

pub(super) async fn remove(
    State(state): State<Arc<WebState>>,
    PathParts((name, user)): PathParts<(String, String)>,
    asker: Asker,
) -> Result<StatusCode, WebError> {
    change(&state, asker, GroupCommand::Remove(LookupName::of(&name), LookupName::of(&user))).await
}

async fn change(state: &WebState, asker: Asker, command: GroupCommand) -> Result<StatusCode, WebError> {
    match state.service.handle(&asker.from.peer, asker.caller, Command::Group(command)).await.reply {
        Reply::GroupChanged => Ok(StatusCode::NO_CONTENT),
        Reply::Refused(Refusal::WrongPassword) => Err(ErrorCode::WrongPassword.into()),
        other => Err(refused(other)),
    }
}
