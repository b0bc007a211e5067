//! How a browser asks to be told.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Watched;
use super::seal::seal;
use super::service::PushAddress;
use crate::service::PushSubscription;
use crate::transport::web::WebState;
use crate::transport::web::asker::Asker;
use crate::transport::web::body::JsonBody;
use crate::transport::web::error::{ErrorCode, WebError};

/// The key that a browser subscribes with.
pub(crate) async fn key(State(state): State<Arc<WebState>>, asker: Asker) -> Result<Json<Value>, WebError> {
    asker.user()?;
    let key = state.push_key().await.ok_or(ErrorCode::Unavailable)?;
    Ok(Json(json!({ "key": key.public() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscribeBody {
    endpoint: String,
    p256dh: String,
    auth: String,
    #[serde(default)]
    with_text: bool,
}

pub(crate) async fn subscribe(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    JsonBody(body): JsonBody<SubscribeBody>,
) -> Result<StatusCode, WebError> {
    let session = &asker.user()?.session;
    if PushAddress::parse(&body.endpoint, &state.settings().push_hosts).is_none() {
        let why = "the endpoint is at no push service that this server asks: the administrator can add its host to web.push_hosts";
        return Err(ErrorCode::Malformed.because(why));
    }
    let bytes = |text: &str| Base64UrlUnpadded::decode_vec(text.trim_end_matches('=')).unwrap_or_default();
    let (key, secret) = (bytes(&body.p256dh).try_into(), bytes(&body.auth).try_into());
    let (Ok(key), Ok(secret)) = (key, secret) else {
        return Err(ErrorCode::Malformed.because("p256dh has 65 bytes and auth 16, in base64url"));
    };
    let new = PushSubscription { session: session.id, address: body.endpoint, key, secret, with_text: body.with_text };
    if seal(b"", &new.key, &new.secret).is_err() {
        return Err(ErrorCode::Malformed.because("p256dh is no public key"));
    }
    let user = session.user.id;
    // What comes after this may come before the account is watched, and rings.
    let begin = state.service.last_message(user).await.map_err(|_| ErrorCode::Unavailable)?;
    if !state.service.add_push_subscription(&asker.caller, new).await? {
        return Err(ErrorCode::Malformed.because("another account has this endpoint with other keys: subscribe anew"));
    }
    state.pushes.watch(Watched { user, begin });
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnsubscribeBody {
    endpoint: String,
}

pub(crate) async fn unsubscribe(
    State(state): State<Arc<WebState>>,
    asker: Asker,
    JsonBody(body): JsonBody<UnsubscribeBody>,
) -> Result<StatusCode, WebError> {
    match state.service.remove_push_subscription(asker.user()?.session.user.id, body.endpoint).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ErrorCode::NotFound.into()),
    }
}
