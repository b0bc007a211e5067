//! The first account, made in a browser by a link that the server prints when it has none. The link works once, for a
//! while, and only where nobody can read along.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tokio::time::Instant;

use super::WebState;
use super::account::{begin_session, label};
use super::admin::{NewUserBody, new_account};
use super::asker::WebPeer;
use super::body::JsonBody;
use super::error::{ErrorCode, WebError};
use crate::model::{Token, TokenHash};

/// How long the link works.
const OPEN: Duration = Duration::from_secs(3600);

/// The link that was printed, if there is one.
#[derive(Debug, Default)]
pub(super) struct SetupLink(Mutex<Option<(TokenHash, Instant)>>);

impl SetupLink {
    /// Makes a link; gives its secret.
    pub(super) fn open(&self) -> Token {
        let secret = Token::generate();
        *self.link() = Some((secret.hash(), Instant::now() + OPEN));
        secret
    }

    /// Whether this is its secret, and it works still. The hashes are compared, so that no time tells how much is
    /// right.
    fn fits(&self, secret: &str, now: Instant) -> bool {
        let shown = Token::parse(secret).map(|secret| secret.hash());
        self.link().as_ref().is_some_and(|(hash, until)| Some(*hash) == shown && now < *until)
    }

    fn close(&self) {
        *self.link() = None;
    }

    fn link(&self) -> std::sync::MutexGuard<'_, Option<(TokenHash, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetupBody {
    secret: String,
    name: String,
    display_name: Option<String>,
    password: String,
    #[serde(default)]
    label: String,
}

pub(super) async fn setup(
    State(state): State<Arc<WebState>>,
    from: WebPeer,
    JsonBody(body): JsonBody<SetupBody>,
) -> Result<Response, WebError> {
    if !from.peer.is_encrypted && !from.peer.address.is_loopback() {
        return Err(ErrorCode::Insecure.into());
    }
    if !state.setup.fits(&body.secret, Instant::now()) {
        return Err(ErrorCode::SetupClosed.into());
    }
    let SetupBody { name, display_name, password, label: called, .. } = body;
    let label = label(&called)?;
    let (country, administrator) = (String::new(), true);
    let wanted = NewUserBody { name, display_name, country, password: Some(password.clone()), administrator };
    let (account, _) = new_account(wanted)?;
    let name = account.name.clone();
    // Of two who come at once the store takes one.
    let is_first = state.service.add_first_account(&from.peer, account).await?;
    state.setup.close();
    if !is_first {
        return Err(ErrorCode::SetupClosed.into());
    }
    begin_session(&state, &from, name.as_str(), &password, label).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_works_for_an_hour_and_for_its_secret_alone() {
        let (link, now) = (SetupLink::default(), Instant::now());
        assert!(!link.fits(&Token::generate().reveal(), now), "there is none");
        let secret = link.open().reveal();
        assert!(link.fits(&secret, now));
        assert!(!link.fits(&Token::generate().reveal(), now) && !link.fits("", now));
        assert!(link.fits(&secret, now + OPEN - Duration::from_secs(1)));
        assert!(!link.fits(&secret, Instant::now() + OPEN));
        link.close();
        assert!(!link.fits(&secret, now));
    }
}
