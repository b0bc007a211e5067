//! What a request brings besides its head: a body of JSON, and the parameters of its query.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use futures_util::StreamExt;
use hyper::body::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::connection::HttpConnection;
use super::error::{ErrorCode, WebError};
use crate::charge::{Charge, HTTP_SHORT_BODY, Payer};

/// How long a body may be, in bytes.
pub(super) const BODY: usize = 64 << 10;
/// How long it may take to come.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A body, whole. A peer that has not sent all of it is a silent one, and its account is charged as for a long line.
pub(super) async fn whole_body(request: Request) -> Result<Bytes, WebError> {
    let connection = request.extensions().get::<Arc<HttpConnection>>().cloned().ok_or(ErrorCode::Unavailable)?;
    let holder = connection.holder();
    let mut incoming = Incoming {
        frames: request.into_body().into_data_stream(),
        most: if holder.is_some() { BODY } else { HTTP_SHORT_BODY },
        charge: holder.map(|holder| connection.replies.memory().lines.charge(Payer::Account(holder.user))),
    };
    let login = connection.watch_login();
    connection.touch();
    let body = tokio::select! {
        body = timeout(BODY_TIME, incoming.collect(&connection)) => body.unwrap_or(Err(ErrorCode::TooSlow.into())),
        () = login.session_ended(), if holder.is_some() => Err(ErrorCode::UnknownToken.into()),
    };
    connection.mark_busy();
    // The body is there until the answer is.
    if let Some(charge) = incoming.charge {
        connection.keep(charge);
    }
    body
}

/// A body as it comes.
struct Incoming {
    frames: BodyDataStream,
    most: usize,
    charge: Option<Charge>,
}

impl Incoming {
    async fn collect(&mut self, connection: &HttpConnection) -> Result<Bytes, WebError> {
        let mut body = Vec::new();
        while let Some(frame) = self.next().await? {
            connection.touch();
            let length = body.len() + frame.len();
            if length > self.most {
                return Err(ErrorCode::TooLarge.because(format!("the body has more than {} bytes", self.most)));
            }
            if length > HTTP_SHORT_BODY && !self.charge.as_mut().is_none_or(|charge| charge.set(length)) {
                return Err(ErrorCode::Busy.into());
            }
            body.reserve_exact(frame.len().max(body.len().min(self.most - length)));
            body.extend_from_slice(&frame);
        }
        Ok(body.into())
    }

    /// The next part, unless others need the room more.
    async fn next(&mut self) -> Result<Option<Bytes>, WebError> {
        let Incoming { frames, charge, .. } = self;
        let cut = async {
            match charge {
                Some(charge) => charge.cut().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            frame = frames.next() => {
                // A peer that is gone reads no answer.
                frame.transpose().map_err(|_| ErrorCode::Malformed.because("the body is not whole"))
            }
            () = cut => Err(ErrorCode::Busy.into()),
        }
    }
}

/// A body of JSON, said to be so: a form of another page cannot say it.
pub(super) struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = WebError;

    async fn from_request(request: Request, _: &S) -> Result<JsonBody<T>, WebError> {
        parsed(&json_bytes(request).await?).map(JsonBody)
    }
}

/// The same, which may be left empty.
pub(super) struct OptionalJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = WebError;

    async fn from_request(request: Request, _: &S) -> Result<OptionalJson<T>, WebError> {
        let bytes = json_bytes(request).await?;
        if bytes.is_empty() { Ok(OptionalJson(T::default())) } else { parsed(&bytes).map(OptionalJson) }
    }
}

async fn json_bytes(request: Request) -> Result<Bytes, WebError> {
    let said = request.headers().get(header::CONTENT_TYPE).and_then(|said| said.to_str().ok()).unwrap_or_default();
    let kind = said.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(ErrorCode::WrongType.into());
    }
    whole_body(request).await
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WebError> {
    serde_json::from_slice(bytes).map_err(|error| ErrorCode::Malformed.because(error.to_string()))
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
