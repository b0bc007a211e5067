//! What a request brings besides its head: a body of JSON, and the parameters of its query.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use hyper::body::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::{ErrorCode, WebError};

/// How long a body may be, in bytes.
pub(super) const BODY: usize = 64 << 10;
/// How long it may take to come.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A body, whole.
pub(super) async fn whole_body(request: Request) -> Result<Bytes, WebError> {
    match timeout(BODY_TIME, to_bytes(request.into_body(), BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // It is either too long, or the peer is gone and reads no answer.
        Ok(Err(_)) => Err(ErrorCode::TooLarge.because(format!("the body has more than {BODY} bytes"))),
        Err(_) => Err(ErrorCode::TooSlow.into()),
    }
}

/// A body of JSON, said to be so: a form of another page cannot say it.
pub(super) struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = WebError;

    async fn from_request(request: Request, _: &S) -> Result<JsonBody<T>, WebError> {
        let said = request.headers().get(header::CONTENT_TYPE).and_then(|said| said.to_str().ok()).unwrap_or_default();
        let kind = said.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(ErrorCode::WrongType.into());
        }
        let bytes = whole_body(request).await?;
        serde_json::from_slice(&bytes).map(JsonBody).map_err(|error| ErrorCode::Malformed.because(error.to_string()))
    }
}

/// The parameters of a query.
pub(super) struct Parameters<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Parameters<T>, WebError> {
        let parsed = Query::try_from_uri(&parts.uri);
        parsed.map(|Query(parameters)| Parameters(parameters)).map_err(|error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            ErrorCode::Malformed.because(why)
        })
    }
}

/// The part of the path that names somebody or something.
pub(super) struct PathPart(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathPart {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PathPart, WebError> {
        PathParts::from_request_parts(parts, state).await.map(|PathParts(part)| PathPart(part))
    }
}

/// Several such parts.
pub(super) struct PathParts<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParts<T> {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PathParts<T>, WebError> {
        let parts = Path::<T>::from_request_parts(parts, state).await;
        parts.map(|Path(parts)| PathParts(parts)).map_err(|error| ErrorCode::Malformed.because(error.body_text()))
    }
}
