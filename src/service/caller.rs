//! Who asks, and what a request comes to. A request is authenticated once; everything after it goes by what that found.

use crate::charge::Holder;
use crate::model::{Timestamp, Token};
use crate::protocol::{Refusal, Reply};
use crate::repository::{Lease, Session};

/// Whether the token of a request is that of a living session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// No token was shown.
    NotShown,
    /// It is.
    Living,
    /// It is not, or the request has ended the session.
    Dead,
    /// The store could not say.
    Unknown,
}

#[derive(Debug)]
pub enum Caller {
    /// Somebody who showed no token.
    Anonymous,
    /// The user of a living session.
    User(Authenticated),
    /// Somebody whose token is that of no living session.
    Dead,
    /// Somebody of whom the store could not say who it is.
    Unknown,
}

/// The user of a living session, and when that was found.
#[derive(Debug)]
pub struct Authenticated {
    /// The token that was shown.
    pub token: Token,
    pub session: Session,
    /// When the request was authenticated.
    pub at: Timestamp,
}

impl Caller {
    /// Whether the token that was shown is a living one.
    pub fn token(&self) -> TokenState {
        match self {
            Caller::Anonymous => TokenState::NotShown,
            Caller::User(_) => TokenState::Living,
            Caller::Dead => TokenState::Dead,
            Caller::Unknown => TokenState::Unknown,
        }
    }

    /// Whose the token is, if it is a living one.
    pub fn holder(&self) -> Option<Holder> {
        let session = &self.user().ok()?.session;
        Some(Holder { session: session.id, user: session.user.id })
    }

    /// The user, for a command that needs one.
    pub fn user(&self) -> Result<&Authenticated, Refusal> {
        match self {
            Caller::User(user) => Ok(user),
            Caller::Anonymous | Caller::Dead => Err(Refusal::UnknownToken),
            Caller::Unknown => Err(Refusal::Unavailable),
        }
    }

    /// What the caller hears of a request that changed nothing about its session.
    pub(super) fn hears(&self, reply: Reply) -> Outcome {
        Outcome { reply, token: self.token(), lease: None }
    }

    /// What the caller hears of a request that was refused.
    pub(super) fn is_refused(&self, refusal: Refusal) -> Outcome {
        match refusal {
            // The session may have ended since the request was authenticated.
            Refusal::UnknownToken => refusal.into(),
            refusal => self.hears(refusal.into()),
        }
    }
}

/// A reply, what it says of the token, and the hold on the messages in it.
#[derive(Debug)]
pub struct Outcome {
    pub reply: Reply,
    /// Whether the token that the client showed, or has now, is a living one.
    pub token: TokenState,
    /// To be confirmed when the client has the reply; dropped, the messages wait again.
    pub lease: Option<Lease>,
}

/// What is heard of a line that got no further than its grammar.
impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Outcome {
        let token = match refusal {
            Refusal::UnknownToken => TokenState::Dead,
            _ => TokenState::NotShown,
        };
        Outcome { reply: refusal.into(), token, lease: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reply_makes_a_stranger_count_as_logged_in() {
        let replies = [Reply::Sent, Reply::Acknowledged, Reply::Inbox(Vec::new()), Refusal::UnknownRecipient.into()];
        for reply in replies {
            assert_eq!(Caller::Anonymous.hears(reply.clone()).token, TokenState::NotShown, "{reply:?}");
            assert_eq!(Caller::Dead.hears(reply.clone()).token, TokenState::Dead, "{reply:?}");
        }
        assert_eq!(Caller::Anonymous.is_refused(Refusal::Busy).token, TokenState::NotShown);
        assert_eq!(Outcome::from(Refusal::Malformed).token, TokenState::NotShown);
        assert_eq!(Outcome::from(Refusal::UnknownToken).token, TokenState::Dead);
    }
}
