//! Who asks: found out once for each request, from the cookie or from a Bearer token.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64ct::{Base64, Encoding};
use serde_json::Value;

use super::WebState;
use super::connection::HttpConnection;
use super::error::{ErrorCode, WebError};
use super::origin::{COOKIE, names_our_page};
use super::proxies::ClientAddress;
use super::reply_charge::LEAST_TEXT;
use super::shares::WebSender;
use crate::charge::Payer;
use crate::model::Token;
use crate::service::{Authenticated, Caller, Need, Peer};

/// Where a request comes from, be it that nobody is logged in.
pub(super) struct WebPeer {
    pub peer: Peer,
    pub connection: Arc<HttpConnection>,
}

impl<S: Send + Sync> FromRequestParts<S> for WebPeer {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<WebPeer, WebError> {
        let client = parts.extensions.get::<ClientAddress>();
        let connection = parts.extensions.get::<Arc<HttpConnection>>();
        let (Some(ClientAddress { address, is_here, is_https }), Some(connection)) = (client, connection) else {
            return Err(ErrorCode::Unavailable.into());
        };
        let is_encrypted = connection.is_encrypted || *is_https;
        let peer = Peer { address: *address, is_here: *is_here, reply_bytes: LEAST_TEXT as u64, is_encrypted };
        Ok(WebPeer { peer, connection: connection.clone() })
    }
}

impl WebPeer {
    /// An answer of JSON, made out of what holds so many bytes of text.
    pub(super) async fn answer(
        &self,
        payer: Payer,
        text: usize,
        spell: impl FnOnce() -> Value + Send + 'static,
    ) -> Result<Response, WebError> {
        let body = self.connection.replies.make(payer, text, || spell().to_string().into_bytes());
        Ok(([(header::CONTENT_TYPE, "application/json")], body.await?).into_response())
    }
}

/// Somebody who is logged in.
pub(super) struct Asker {
    pub from: WebPeer,
    pub caller: Caller,
    /// The token came in the cookie.
    pub by_cookie: bool,
}

impl Asker {
    /// The asker as one who may do this, if the token is good for it. Without it a token that was made for a program is
    /// good for nothing.
    pub(crate) fn admit(self, need: Need) -> Asker {
        Asker { caller: self.caller.admit(need), ..self }
    }

    /// Whose session it is.
    pub(crate) fn user(&self) -> Result<&Authenticated, WebError> {
        self.caller.user().map_err(WebError::from)
    }

    /// Who is charged for what the request takes.
    pub(super) fn payer(&self) -> Result<Payer, WebError> {
        Ok(Payer::Account(self.user()?.session.user.id))
    }

    /// Whose share of sends it takes.
    pub(super) fn sender(&self) -> Result<WebSender, WebError> {
        let session = &self.user()?.session;
        Ok(WebSender { user: session.user.id, is_program: session.grant.is_some() })
    }

    /// Sets memory aside for an answer that may be long; it gets no longer than that.
    pub(super) fn set_aside(&mut self) -> Result<(), WebError> {
        self.from.peer.reply_bytes = self.from.connection.replies.set_aside(self.payer()?);
        Ok(())
    }
}

impl FromRequestParts<Arc<WebState>> for Asker {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<WebState>) -> Result<Asker, WebError> {
        let token = shown(&parts.headers)?;
        let from = WebPeer::from_request_parts(parts, state).await?;
        let caller = state.service.authenticate(Some(token)).await;
        let Some(holder) = caller.holder() else {
            from.connection.forget_token();
            return Err(caller.user().map_or_else(WebError::from, |_| ErrorCode::UnknownToken.into()));
        };
        from.connection.authenticate(holder).map_err(|_| WebError::from(ErrorCode::TooManyConnections))?;
        let by_cookie = cookie(&parts.headers).is_some();
        Ok(Asker { from, caller, by_cookie })
    }
}

/// The token that was shown. A cookie counts only where the browser says that our page asks.
fn shown(headers: &HeaderMap) -> Result<Token, WebError> {
    match (authorization(headers)?, cookie(headers)) {
        (Some(_), Some(_)) => Err(ErrorCode::TwoCredentials.into()),
        (Some(token), None) => Token::parse(&token).ok_or(ErrorCode::UnknownToken.into()),
        (None, Some(_)) if !names_our_page(headers) => Err(ErrorCode::CrossOrigin.into()),
        (None, Some(token)) => Token::parse(token).ok_or(ErrorCode::UnknownToken.into()),
        (None, None) => Err(ErrorCode::UnknownToken.into()),
    }
}

/// The token of `Bearer`, or of `Basic`, where it is the password.
fn authorization(headers: &HeaderMap) -> Result<Option<String>, WebError> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(ErrorCode::TwoCredentials.into());
    }
    let (scheme, token) = line.to_str().unwrap_or_default().split_once(' ').unwrap_or_default();
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(token.to_owned()));
    }
    let basic = scheme.eq_ignore_ascii_case("basic").then(|| Base64::decode_vec(token).ok()).flatten();
    let basic = basic.and_then(|basic| String::from_utf8(basic).ok());
    // Whoever the name is, it is the token that says who asks.
    match basic.as_deref().and_then(|basic| basic.split_once(':')) {
        Some((_, token)) => Ok(Some(token.to_owned())),
        None => Err(ErrorCode::UnknownToken
            .because("Authorization wants: Bearer TOKEN, or Basic with the token as the password")),
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_cookie_counts_only_from_our_page_and_never_beside_a_bearer() {
        let token = Token::generate();
        let (bearer, cookie) = (format!("Bearer {}", token.reveal()), format!("a=b; {COOKIE}={}", token.reveal()));
        let judge = |lines: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                let name: HeaderName = name.parse().expect("it is a name");
                headers.append(name, HeaderValue::from_str(value).expect("it is a value"));
            }
            shown(&headers).map_err(|error| error.code)
        };
        assert_eq!(judge(&[("authorization", &bearer)]), Ok(token));
        assert_eq!(judge(&[("authorization", &bearer.replace("Bearer", "bearer"))]), Ok(token));
        assert_eq!(judge(&[("cookie", &cookie), ("sec-fetch-site", "same-origin")]), Ok(token));
        assert_eq!(judge(&[("cookie", "x=y"), ("cookie", &cookie), ("origin", "http://localhost")]), Ok(token));
        assert_eq!(judge(&[("cookie", &cookie)]), Err(ErrorCode::CrossOrigin));
        let both = [("cookie", &*cookie), ("authorization", &bearer), ("sec-fetch-site", "same-origin")];
        assert_eq!(judge(&both), Err(ErrorCode::TwoCredentials));
        assert_eq!(judge(&[("authorization", &bearer), ("authorization", &bearer)]), Err(ErrorCode::TwoCredentials));
        let basic = |pair: &str| format!("Basic {}", Base64::encode_string(pair.as_bytes()));
        for pair in [format!(":{}", token.reveal()), format!("messi:{}", token.reveal())] {
            assert_eq!(judge(&[("authorization", &basic(&pair))]), Ok(token), "{pair}");
        }
        let both = [("cookie", &*cookie), ("authorization", &basic(&format!(":{}", token.reveal())))];
        assert_eq!(judge(&both), Err(ErrorCode::TwoCredentials));
        let swapped = basic(&format!("{}:", token.reveal()));
        for bad in
            ["Bearer", "Bearer x", "Basic eDp5", "Basic eDp", "Basic \u{e9}", "Digest x", &*swapped, "", "Bearer  "]
        {
            assert_eq!(judge(&[("authorization", bad)]), Err(ErrorCode::UnknownToken), "{bad}");
        }
        let other = format!("{COOKIE}x={}", token.reveal());
        assert_eq!(judge(&[("cookie", &other), ("sec-fetch-site", "same-origin")]), Err(ErrorCode::UnknownToken));
    }
}
