//! `register`: who may make an account, and how many.

use tracing::{info, warn};

use super::{Outcome, Peer, Rules, Service, TokenState, unavailable};
use crate::auth::password::Share;
use crate::auth::throttle::{Rate, Rates, Throttle};
use crate::model::{BadAccount, Label, Password, Token, Username};
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
    /// can quickly find out which names exist.
    pub(super) async fn register(&self, peer: &Peer, wanted: Registration) -> Result<Outcome, Refusal> {
        let is_here = peer.address.is_loopback();
        match self.rules().register {
            RegisterRule::Loopback if is_here => {}
            RegisterRule::Open if is_here || peer.is_encrypted => {}
            RegisterRule::Open => return Err(Refusal::NotPrivate),
            RegisterRule::Closed | RegisterRule::Loopback => return Err(Refusal::UnknownCommand),
        }
        let throttled = |retry_after| {
            warn!(address = %peer.address, user = &*wanted.username, ?retry_after, "registration refused: throttled");
            Refusal::Throttled { retry_after }
        };
        let attempt = self.throttle.attempt(peer.address, &wanted.username).await.map_err(throttled)?;
        let (network, address) = attempt.share();
        let mut new = parse(&wanted).map_err(Refusal::BadAccount)?;
        let password = Password::parse(wanted.password.reveal()).map_err(|why| Refusal::BadAccount(why.into()))?;
        if self.repository.recipient(new.username.as_str()).await.map_err(unavailable)?.is_some() {
            return Err(Refusal::UserExists);
        }
        // Only accounts that are made count here.
        let registered = self.registrations.attempt(peer.address, "").await.map_err(throttled)?;
        let share = Share { known: false, network, address };
        let made = async {
            let hash = self.passwords.hash(password.reveal().to_owned(), share).await.map_err(|_| Refusal::Busy)?;
            new.password_hash.clone_from(&hash);
            match self.repository.add_user(new).await.map_err(unavailable)? {
                AddUserResult::Added => Ok(hash),
                AddUserResult::NameTaken => Err(Refusal::UserExists),
            }
        };
        match made.await {
            Ok(hash) => {
                info!(address = %peer.address, user = &*wanted.username, "registered");
                self.begin_session(peer, &wanted.username, hash).await
            }
            Err(refusal) => {
                registered.unchecked();
                Err(refusal)
            }
        }
    }

    /// Begins a session of an account that was made just now with this hash.
    async fn begin_session(&self, peer: &Peer, username: &str, hash: String) -> Result<Outcome, Refusal> {
        let user = self.repository.user_named(username).await.map_err(unavailable)?;
        let token = Token::generate();
        let session = NewSession {
            user: user.ok_or(Refusal::UnknownUser)?.id,
            token: token.hash(),
            address: peer.address.to_string().into(),
            label: Label::default(),
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
