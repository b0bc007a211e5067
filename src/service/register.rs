//! `register`: who may make an account, and how many.

use tracing::{info, warn};

use super::{Outcome, Peer, Rules, Service, TokenState, unavailable};
use crate::auth::password::Share;
use crate::auth::throttle::{Attempt, Rate, Rates, Throttle};
use crate::model::{BadAccount, Label, Password, Token, TokenHash, Username};
use crate::protocol::family::Registration;
use crate::protocol::{Refusal, Reply};
use crate::repository::{AddUserResult, NewSession, NewUser};

/// Who may make an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterRule {
    /// Nobody.
    Closed,
    /// Who connects from this machine.
    Loopback,
    /// Who shows a code that works, but not where the password could be read on its way.
    Invite,
    /// Everybody, but not where the password could be read on its way.
    Open,
}

/// How many addresses that have made accounts are remembered.
const ADDRESSES: usize = 4_096;

/// Counts the accounts that an address makes.
pub(super) fn throttle(rules: Rules) -> Throttle {
    Throttle::new(rates(rules), ADDRESSES)
}

pub(super) fn rates(rules: Rules) -> Rates {
    let any_number = Rate { per_minute: 0, per_hour: 0 };
    Rates { address: Rate { per_minute: 0, per_hour: rules.registrations_per_hour }, account: any_number }
}

impl Service {
    /// Makes an account and logs in to it. Each attempt counts as a wrong login, also one that succeeds, so that nobody
    /// can quickly find out which names exist. An attempt with an invite that works counts as a login.
    pub(crate) async fn register(&self, peer: &Peer, wanted: Registration, label: Label) -> Result<Outcome, Refusal> {
        // Through a proxy on this machine it may come over a network that is encrypted there.
        let is_private = peer.is_encrypted || peer.address.is_loopback();
        let rule = self.rules().register;
        match rule {
            RegisterRule::Loopback if peer.is_here => {}
            RegisterRule::Open | RegisterRule::Invite if is_private => {}
            RegisterRule::Open | RegisterRule::Invite => return Err(Refusal::NotPrivate),
            RegisterRule::Closed | RegisterRule::Loopback => return Err(Refusal::UnknownCommand),
        }
        let throttled = |retry_after| {
            warn!(address = %peer.address, user = &*wanted.username, ?retry_after, "registration refused: throttled");
            Refusal::Throttled { retry_after }
        };
        let attempt = self.throttle.attempt(peer.address, &wanted.username).await.map_err(throttled)?;
        let code = match rule {
            RegisterRule::Invite => Some(self.invite(peer, &wanted).await?),
            _ => None,
        };
        let (network, address) = attempt.share();
        let mut new = parse(&wanted).map_err(Refusal::BadAccount)?;
        let password = Password::parse(wanted.password.reveal()).map_err(|why| Refusal::BadAccount(why.into()))?;
        if self.repository.recipient(new.username.as_str()).await.map_err(unavailable)?.is_some() {
            return Err(Refusal::UserExists);
        }
        // Only accounts that are made count here; invites are counted out by who gives them.
        let registered = match code {
            None => Some(self.registrations.attempt(peer.address, "").await.map_err(throttled)?),
            Some(_) => None,
        };
        let share = Share { known: false, network, address };
        let made = async {
            let hash = self.passwords.hash(password.reveal().to_owned(), share).await.map_err(|_| Refusal::Busy)?;
            new.password_hash.clone_from(&hash);
            let added = match code {
                Some(code) => self.repository.add_invited_user(new, code).await,
                None => self.repository.add_user(new).await.map(Some),
            };
            match added.map_err(unavailable)? {
                Some(AddUserResult::Added) => Ok(hash),
                Some(AddUserResult::NameTaken) => Err(Refusal::UserExists),
                None => Err(Refusal::BadInvite),
            }
        };
        match made.await {
            Ok(hash) => {
                info!(address = %peer.address, user = &*wanted.username, "registered");
                if code.is_some() {
                    attempt.succeeded();
                }
                self.begin_session(peer, &wanted.username, hash, label).await
            }
            Err(refusal) => {
                registered.into_iter().for_each(Attempt::unchecked);
                Err(refusal)
            }
        }
    }

    /// What the store keeps of the code that was shown, if it works.
    async fn invite(&self, peer: &Peer, wanted: &Registration) -> Result<TokenHash, Refusal> {
        let code = wanted.code.map(|code| code.hash());
        match code {
            Some(code) if self.repository.is_invite(code).await.map_err(unavailable)? => Ok(code),
            _ => {
                warn!(address = %peer.address, user = &*wanted.username, "registration refused: no invite");
                Err(Refusal::BadInvite)
            }
        }
    }

    /// Begins a session of an account that was made just now with this hash.
    async fn begin_session(&self, peer: &Peer, username: &str, hash: String, label: Label) -> Result<Outcome, Refusal> {
        let user = self.repository.user_named(username).await.map_err(unavailable)?;
        let token = Token::generate();
        let session = NewSession {
            user: user.ok_or(Refusal::UnknownUser)?.id,
            token: token.hash(),
            address: peer.address.to_string().into(),
            label,
            created_at: self.repository.clock().steady(),
            most: self.rules().sessions_per_user,
            checked: hash,
            rehashed: None,
        };
        match self.repository.open_session(session).await.map_err(unavailable)? {
            true => Ok(Outcome { reply: Reply::LoggedIn { token }, token: TokenState::Living, lease: None }),
            false => Err(Refusal::UnknownUser),
        }
    }
}

/// The account as `chatd user add` would make it, still without a hash.
fn parse(wanted: &Registration) -> Result<NewUser, BadAccount> {
    let username = Username::parse(&wanted.username)?;
    let display_name = match &wanted.display_name {
        Some(name) => Label::parse(name).map_err(BadAccount::DisplayName)?,
        None => Label::from(&username),
    };
    let country = Label::parse_or_none(&wanted.country).map_err(BadAccount::Country)?;
    Ok(NewUser { username, display_name, country, password_hash: String::new(), administrator: false })
}
