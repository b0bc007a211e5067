//! What a token is good for that is no login, and the secret of a hook.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::TokenHash;

/// What a token that was made for a program is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// To send.
    Send,
    /// To read, and to say what was read.
    Read,
    /// To do everything with messages and groups, but not to change the account.
    All,
    /// To send to one recipient, with a secret address and no other login.
    Hook,
}

impl Scope {
    /// As it is spelled.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Send => "send",
            Scope::Read => "read",
            Scope::All => "all",
            Scope::Hook => "hook",
        }
    }

    /// The scope that is spelled so.
    pub fn parse(text: &str) -> Option<Scope> {
        [Scope::Send, Scope::Read, Scope::All, Scope::Hook].into_iter().find(|scope| scope.as_str() == text)
    }
}

/// The secret in the address of a hook: 128 bits. Mute in `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HookSecret([u8; 16]);

impl HookSecret {
    /// A fresh one.
    pub fn generate() -> HookSecret {
        // A UUID has 122 bits from the operating system's generator, so two of them have enough for 128.
        let random = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        let mut secret = [0; 16];
        secret.copy_from_slice(&Sha256::digest(random)[..16]);
        HookSecret(secret)
    }

    /// The secret that `text` spells: 32 digits, as they were given out.
    pub fn parse(text: &str) -> Option<HookSecret> {
        let number = u128::from_str_radix(text, 16).ok()?;
        let secret = HookSecret(number.to_be_bytes());
        (secret.reveal() == text).then_some(secret)
    }

    /// Its 32 digits.
    pub fn reveal(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// What the database keeps in its place.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.reveal().as_bytes()).into())
    }
}

impl fmt::Debug for HookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_spelled_one_way_and_is_no_token() {
        let secret = HookSecret::generate();
        let text = secret.reveal();
        assert_eq!((text.len(), HookSecret::parse(&text)), (32, Some(secret)));
        assert_ne!(HookSecret::generate(), secret);
        assert_eq!(super::super::Token::parse(&text), None);
        for bad in ["", "+0", &text[1..], &text.to_uppercase().replace('0', "A"), &format!("0{text}")] {
            assert_eq!(HookSecret::parse(bad), None, "{bad:?}");
        }
        assert!(!format!("{secret:?}").contains(&text[..8]));
    }

    #[test]
    fn a_scope_is_read_as_it_is_spelled() {
        for scope in [Scope::Send, Scope::Read, Scope::All, Scope::Hook] {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
        assert_eq!(Scope::parse("SEND"), None);
    }
}
