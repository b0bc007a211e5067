//! Who asks, and the outcome of a request. A request is authenticated once; everything else uses the result.

use crate::charge::Holder;
use crate::model::{Scope, Timestamp, Token};
use crate::protocol::{AccountCommand, Command, Refusal, Reply};
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

/// What a request wants to do. Not every program's token allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// To send.
    Send,
    /// To read, and to say what was read.
    Read,
    /// Something else that is done with people and groups.
    Other,
    /// To change the account: this needs a login.
    Login,
}

impl Need {
    fn is_met_by(self, scope: Scope) -> bool {
        match scope {
            Scope::Send => self == Need::Send,
            Scope::Read => self == Need::Read,
            Scope::All => self != Need::Login,
            Scope::Hook => false,
        }
    }

    /// What a command wants to do. Programs may do only what is named here.
    pub(super) fn of(command: &Command) -> Need {
        use Command::{
            Account, Ack, Conversations, Family, Fetch, Follow, Group, History, Inbox, Read, Send, SendOnce, Show,
            Status, Wait,
        };
        match command {
            Send(_) | SendOnce { .. } => Need::Send,
            Inbox
            | Wait { .. }
            | Fetch { .. }
            | Ack
            | History { .. }
            | Status { .. }
            | Follow { .. }
            | Conversations { .. }
            | Read { .. } => Need::Read,
            Show | Group(_) | Account(AccountCommand::People(_)) | Family(_) => Need::Other,
            _ => Need::Login,
        }
    }
}

#[derive(Debug)]
pub enum Caller {
    /// Somebody who showed no token.
    Anonymous,
    /// The user of a living session.
    User(Authenticated),
    /// A program with a token that is not good for everything: for nothing, unless it is [admitted](Caller::admit).
    Scoped(Authenticated),
    /// Somebody whose token is that of no living session.
    Dead,
    /// The store could not say who it is.
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
            Caller::User(_) | Caller::Scoped(_) => TokenState::Living,
            Caller::Dead => TokenState::Dead,
            Caller::Unknown => TokenState::Unknown,
        }
    }

    /// Whose the token is, if it is a living one.
    pub fn holder(&self) -> Option<Holder> {
        let (Caller::User(Authenticated { session, .. }) | Caller::Scoped(Authenticated { session, .. })) = self else {
            return None;
        };
        Some(Holder { session: session.id, user: session.user.id })
    }

    /// The user, for a command that needs one.
    pub fn user(&self) -> Result<&Authenticated, Refusal> {
        match self {
            Caller::User(user) => Ok(user),
            Caller::Scoped(_) => Err(Refusal::OutOfScope),
            Caller::Anonymous | Caller::Dead => Err(Refusal::UnknownToken),
            Caller::Unknown => Err(Refusal::Unavailable),
        }
    }

    /// Who has shown a token that lives.
    pub(super) fn of(user: Authenticated) -> Caller {
        match user.session.grant {
            None => Caller::User(user),
            // What a hook is good for is not asked with a token.
            Some(grant) if grant.scope == Scope::Hook => Caller::Dead,
            Some(_) => Caller::Scoped(user),
        }
    }

    /// The caller, if the token allows this.
    pub(crate) fn admit(self, need: Need) -> Caller {
        match self {
            Caller::Scoped(user) if user.session.grant.is_some_and(|grant| need.is_met_by(grant.scope)) => {
                Caller::User(user)
            }
            other => other,
        }
    }

    /// The outcome of a request that did not change the caller's session.
    pub(super) fn hears(&self, reply: Reply) -> Outcome {
        Outcome { reply, token: self.token(), lease: None }
    }

    /// The outcome of a request that was refused.
    pub(super) fn is_refused(&self, refusal: Refusal) -> Outcome {
        match refusal {
            // The session may have ended since the request was authenticated.
            Refusal::UnknownToken => refusal.into(),
            refusal => self.hears(refusal.into()),
        }
    }
}

/// A reply, whether the token lives, and the lease of the messages in it.
#[derive(Debug)]
pub struct Outcome {
    pub reply: Reply,
    /// Whether the token that the client showed, or has now, is a living one.
    pub token: TokenState,
    /// Confirm it when the client has the reply. When it is dropped, the messages wait again.
    pub lease: Option<Lease>,
}

/// The outcome of a line that the grammar refused.
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

    #[test]
    fn a_token_is_good_for_what_its_scope_says_and_for_no_more() {
        let needs = [Need::Send, Need::Read, Need::Other, Need::Login];
        for (scope, wanted) in [
            (Scope::Send, [true, false, false, false]),
            (Scope::Read, [false, true, false, false]),
            (Scope::All, [true, true, true, false]),
            (Scope::Hook, [false; 4]),
        ] {
            assert_eq!(needs.map(|need| need.is_met_by(scope)), wanted, "{scope:?}");
        }
        assert_eq!(Need::of(&Command::Account(AccountCommand::Sessions)), Need::Login);
    }
}
