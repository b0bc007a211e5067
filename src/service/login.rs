//! `auth`: who may begin a session.

use tracing::{info, warn};

use super::{Outcome, Peer, Service, TokenState, unavailable};
use crate::auth::password::{Share, Verdict};
use crate::auth::throttle::Attempt;
use crate::charge::network;
use crate::model::{Label, Password, Token, UserId};
use crate::protocol::{Refusal, Reply};
use crate::repository::{NewSession, User};

/// How many times one login checks the password, when the account gets another hash meanwhile each time.
const LOOKS: usize = 3;

/// No account has this number.
const NOBODY: UserId = UserId(0);

/// What one look at the password came to.
enum PasswordCheck {
    LoggedIn(Outcome),
    /// The account has got another hash since, or was shut or removed.
    Outdated,
}

impl Service {
    /// Begins a session, if the password is right. `label` says what it is opened in.
    pub(crate) async fn log_in(&self, peer: &Peer, username: &str, password: &Password, label: Label) -> Outcome {
        let login = self.auth(peer, username, password, label).await;
        login.unwrap_or_else(|refusal| {
            self.refused_logins.count(refusal.reason());
            refusal.into()
        })
    }

    async fn auth(&self, peer: &Peer, username: &str, password: &Password, label: Label) -> Result<Outcome, Refusal> {
        let user = self.repository.user_named(username).await.map_err(unavailable)?;
        let attempt = self.attempt(peer, username, user.as_deref()).await?;
        for _ in 0..LOOKS {
            match self.look(peer, (username, password), label.clone(), &attempt).await {
                Ok(PasswordCheck::LoggedIn(outcome)) => {
                    attempt.succeeded();
                    return Ok(outcome);
                }
                Ok(PasswordCheck::Outdated) => {}
                Err(refusal @ (Refusal::Unavailable | Refusal::Busy)) => {
                    attempt.unchecked();
                    return Err(refusal);
                }
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::Busy)
    }

    /// Counts an attempt at the password of an account, if there may be one more.
    pub(super) async fn attempt(
        &self,
        peer: &Peer,
        username: &str,
        user: Option<&User>,
    ) -> Result<Attempt<'_>, Refusal> {
        if let Some(user) = user
            && self.is_logged_in_from_here(user, peer).await?
        {
            self.throttle.remember(peer.address, username);
        }
        self.throttle.attempt(peer.address, username).await.map_err(|retry_after| {
            warn!(address = %peer.address, user = ?username, ?retry_after, "login refused: throttled");
            Refusal::Throttled { retry_after }
        })
    }

    /// Where somebody is logged in from is known to the account, be the session older than this process.
    async fn is_logged_in_from_here(&self, user: &User, peer: &Peer) -> Result<bool, Refusal> {
        let addresses = self.repository.addresses(user.id).await.map_err(unavailable)?;
        Ok(addresses.iter().any(|from| network(*from) == network(peer.address)))
    }

    /// Looks at the password and, where it is right, begins a session.
    async fn look(
        &self,
        peer: &Peer,
        (username, password): (&str, &Password),
        label: Label,
        attempt: &Attempt<'_>,
    ) -> Result<PasswordCheck, Refusal> {
        let user = self.repository.user_named(username).await.map_err(unavailable)?;
        // The password of a disabled account is not checked. Right or wrong, the answer and its cost are those of an
        // account that does not exist. The store is asked in any case, because that takes time, too.
        let account = user.as_ref().filter(|user| !user.disabled).map_or(NOBODY, |user| user.id);
        let hash = self.repository.password_hash(account).await.map_err(unavailable)?;
        let (network, address) = attempt.share();
        let share = Share { known: attempt.is_known(), network, address };
        let verdict = self.passwords.verify(password.spellings(), hash.clone(), share).await;
        let verdict = verdict.map_err(|_| Refusal::Busy)?;
        let Some(user) = user else {
            warn!(address = %peer.address, user = ?username, "login refused: no such user");
            return Err(Refusal::UnknownUser);
        };
        if user.disabled {
            warn!(address = %peer.address, user = user.username.as_str(), "login refused: the account is disabled");
            return Err(Refusal::UnknownUser);
        }
        let rehashed = match verdict {
            Verdict::Wrong => {
                warn!(address = %peer.address, user = user.username.as_str(), "login refused: wrong password");
                return Err(Refusal::WrongPassword);
            }
            Verdict::Right => None,
            Verdict::RightWith { new_hash } => Some(new_hash),
        };
        let token = Token::generate();
        let session = NewSession {
            user: user.id,
            token: token.hash(),
            address: peer.address.to_string().into(),
            label,
            created_at: self.repository.clock().steady(),
            most: self.rules().sessions_per_user,
            checked: hash.unwrap_or_default(),
            rehashed,
        };
        if !self.repository.open_session(session).await.map_err(unavailable)? {
            return Ok(PasswordCheck::Outdated);
        }
        info!(address = %peer.address, user = user.username.as_str(), "login");
        let reply = Reply::LoggedIn { token };
        Ok(PasswordCheck::LoggedIn(Outcome { reply, token: TokenState::Living, lease: None }))
    }
}
