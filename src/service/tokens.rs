//! Tokens for programs, and hooks. A logged-in user makes and ends them. The store has only their hashes, so each is
//! shown once.

use std::time::Duration;

use tracing::{info, warn};

use super::{Authenticated, Caller, Peer, PerMessage, Service, Session, unavailable};
use crate::auth::password::{Share, Verdict};
use crate::model::{
    Address, GroupId, HookSecret, Label, LookupName, MessageId, Password, Scope, SessionId, Token, UserId,
};
use crate::protocol::Refusal;
use crate::repository::{Grant, NewMessage, NewToken, StoredSession};

/// How many tokens and hooks one account may have.
const TOKENS: usize = 100;
/// After this time since the login, a new token needs the password: somebody else may use the browser.
const FRESH: Duration = Duration::from_secs(300);

/// A token or hook that somebody wants.
pub(crate) struct TokenRequest {
    /// What its user calls it.
    pub label: Label,
    pub scope: Scope,
    /// The only account or group to which it may send.
    pub to: Option<LookupName>,
    /// The password, where it was asked for.
    pub password: Option<Password>,
}

impl Service {
    /// Makes a token or a hook of the caller's; gives what it is, which nobody is told again.
    pub(crate) async fn add_token(&self, peer: &Peer, caller: &Caller, asked: TokenRequest) -> Result<String, Refusal> {
        self.must_be_open(caller)?;
        let Authenticated { session, .. } = caller.user()?;
        self.must_be_fresh(peer, caller, asked.password.as_ref()).await?;
        let to = match &asked.to {
            Some(name) => {
                let recipient = self.repository.recipient(name).await.map_err(unavailable)?;
                Some(recipient.ok_or(Refusal::UnknownRecipient)?.number())
            }
            None => None,
        };
        let (text, token) = match asked.scope {
            Scope::Hook => {
                let secret = HookSecret::generate();
                (secret.reveal(), secret.hash())
            }
            Scope::Send | Scope::Read | Scope::All => {
                let token = Token::generate();
                (token.reveal(), token.hash())
            }
        };
        let new = NewToken {
            user: session.user.id,
            session: session.id,
            token,
            grant: Grant { scope: asked.scope, to },
            label: asked.label,
            created_at: self.repository.clock().steady(),
            most: TOKENS,
        };
        if !self.repository.add_token(new).await.map_err(unavailable)? {
            self.must_be_open(caller)?;
            return Err(Refusal::TooManyTokens);
        }
        let (user, scope) = (session.user.username.as_str(), asked.scope.as_str());
        info!(address = %peer.address, user, scope, "token made");
        Ok(text)
    }

    /// Who logged in a while ago shows the password again. It is counted as a login is.
    async fn must_be_fresh(&self, peer: &Peer, caller: &Caller, password: Option<&Password>) -> Result<(), Refusal> {
        let Authenticated { session, at, .. } = caller.user()?;
        let logins = self.repository.logins(SessionId(session.id.0 - 1), Some(session.user.id)).await;
        let logins = logins.map_err(unavailable)?;
        let own = logins.iter().find(|login| login.id == session.id).ok_or(Refusal::UnknownToken)?;
        let age = at.0 - own.created_at.0;
        // A login in the future means that the clock jumped.
        if u64::try_from(age).is_ok_and(|age| Duration::from_millis(age) < FRESH) {
            return Ok(());
        }
        let password = password.ok_or(Refusal::PasswordWanted)?;
        let user = &session.user;
        let attempt = self.attempt(peer, user.username.as_str(), Some(user)).await?;
        let (network, address) = attempt.share();
        let share = Share { known: attempt.is_known(), network, address };
        let hash = self.repository.password_hash(user.id).await.map_err(unavailable)?;
        match self.passwords.verify(password.spellings(), hash, share).await {
            Ok(Verdict::Right | Verdict::RightWith { .. }) => {
                attempt.succeeded();
                Ok(())
            }
            Ok(Verdict::Wrong) => {
                warn!(address = %peer.address, user = user.username.as_str(), "no token made: wrong password");
                Err(Refusal::WrongPassword)
            }
            Err(_) => {
                attempt.unchecked();
                Err(Refusal::Busy)
            }
        }
    }

    /// The caller's tokens or hooks, oldest first.
    pub(crate) async fn own_tokens(&self, caller: &Caller, hooks: bool) -> Result<Vec<StoredSession>, Refusal> {
        let is_meant = |stored: &StoredSession| stored.scope.is_some_and(|scope| (scope == Scope::Hook) == hooks);
        self.stored_sessions(caller, is_meant).await
    }

    /// Ends a token or a hook of the caller's. `false`: there is no such one.
    pub(crate) async fn end_own_token(&self, caller: &Caller, hooks: bool, id: SessionId) -> Result<bool, Refusal> {
        let is_own = self.own_tokens(caller, hooks).await?.iter().any(|token| token.id == id);
        Ok(is_own && self.repository.end_sessions(vec![id]).await.map_err(unavailable)? > 0)
    }

    pub(crate) async fn hook(&self, secret: HookSecret) -> Result<Session, Refusal> {
        let steady = self.repository.clock().steady();
        let found = self.repository.session(secret.hash(), steady, steady).await.map_err(unavailable)?;
        let is_hook = |session: &Session| session.grant.is_some_and(|grant| grant.scope == Scope::Hook);
        found.filter(is_hook).ok_or(Refusal::UnknownToken)
    }

    /// Sends what came to a hook to its recipient.
    pub(crate) async fn send_by_hook(&self, hook: &Session, text: String) -> Result<MessageId, Refusal> {
        let to = hook.grant.and_then(|grant| grant.to).ok_or(Refusal::UnknownRecipient)?;
        let user = self.repository.user(UserId(to)).await.map_err(unavailable)?;
        let to = match user {
            Some(user) if !user.removed => Address::User(user.id),
            Some(_) => return Err(Refusal::UnknownRecipient),
            None => {
                let group = self.repository.group(GroupId(to)).await.map_err(unavailable)?;
                let group = group.filter(|group| !group.removed).ok_or(Refusal::UnknownRecipient)?;
                Address::Group(group.id)
            }
        };
        let sent_at = self.repository.clock().now();
        let message = NewMessage { sender: hook.user.id, to, sent_at, text: text.into() };
        let queued = self.repository.send(PerMessage::from([message])).await.ok();
        let (id, _) = self.stored(queued.as_ref().and_then(|queued| queued.first()))?;
        Ok(id)
    }
}
