//! The words everything else is made of: names, tokens, messages. Each is parsed once, at the edge, and is
//! then known to be well formed. Knows nothing of sockets, spelling or storage.

use std::fmt;
use std::sync::Arc;

use precis_profiles::precis_core::profile::PrecisFastInvocation;
use precis_profiles::{UsernameCaseMapped, UsernameCasePreserved};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The longest user name, in bytes of UTF-8.
pub const USERNAME_BYTES: usize = 64;
/// The longest password, in bytes of UTF-8.
pub const PASSWORD_BYTES: usize = 1024;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// An account. Never given out twice.
    UserId
);
id!(
    /// A login, in the order of logins. Never given out twice.
    SessionId
);
id!(
    /// A message, in the order in which messages were accepted. Never given out twice.
    MessageId
);

/// A time as milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The last time that can be stored, in the year 5138.
    pub const LAST: Timestamp = Timestamp(99_999_999_999_999);

    /// The wall clock. A clock before 1970 counts as 1970, one after [`Timestamp::LAST`] as that.
    pub fn now() -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)).min(Timestamp::LAST)
    }

    /// This time less `span`; a span beyond the beginning of time gives the beginning.
    pub fn before(self, span: std::time::Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// As RFC 3339 has it, in UTC, with milliseconds: `2026-11-23T15:27:02.123Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.3}")
    }
}

impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Timestamp, jiff::Error> {
        Ok(Timestamp(text.parse::<jiff::Timestamp>()?.as_millisecond()))
    }
}

/// Why a text is no user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUsername {
    /// Empty, or longer than [`USERNAME_BYTES`].
    #[error("a user name has 1 to {USERNAME_BYTES} bytes")]
    Length,
    /// Refused by RFC 8265, UsernameCasePreserved.
    #[error("a user name has letters, digits and visible ASCII, no white space (RFC 8265)")]
    Characters,
    /// Would be taken for a session token.
    #[error("a user name must not look like a session token")]
    LikeToken,
}

/// An account's name: 1–64 bytes, RFC 8265 UsernameCasePreserved, not shaped like a token. Case matters on
/// the wire; two accounts must differ in more than case, which is what [`Username::folded`] is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(Arc<str>);

impl Username {
    /// Checks `name` and brings it into its normal form (NFC, no full-width letters).
    pub fn parse(name: &str) -> Result<Username, BadUsername> {
        if name.is_empty() || name.len() > USERNAME_BYTES {
            return Err(BadUsername::Length);
        }
        let name = UsernameCasePreserved::enforce(name).map_err(|_| BadUsername::Characters)?;
        // The normal form may hold what was not allowed ("=" and a combining stroke are "≠"), so it is asked again.
        if UsernameCasePreserved::enforce(&*name).as_ref() != Ok(&name) {
            return Err(BadUsername::Characters);
        }
        if name.len() > USERNAME_BYTES {
            return Err(BadUsername::Length);
        }
        if Uuid::try_parse(&name).is_ok() {
            return Err(BadUsername::LikeToken);
        }
        Ok(Username(Arc::from(name.as_ref())))
    }

    /// A name that the database already accepted.
    pub fn stored(name: &str) -> Username {
        Username(Arc::from(name))
    }

    /// What two names that differ only in case have in common.
    pub fn folded(&self) -> String {
        match UsernameCaseMapped::enforce(self.as_str()) {
            Ok(folded) => folded.into_owned(),
            // The bidi rule may refuse what it allowed before case mapping; such a name folds to itself.
            Err(_) => self.0.to_lowercase(),
        }
    }

    /// The name as it goes over the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Username {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// Empty, or longer than [`PASSWORD_BYTES`].
    #[error("a password has 1 to {PASSWORD_BYTES} bytes")]
    Length,
    /// A space ends the password on the wire, white space at its ends is stripped, a line end ends the request.
    #[error("a password has no spaces and no control characters: the protocol cannot carry them")]
    Characters,
}

/// A password as somebody typed it. Mute in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// A password for a new account: one that the wire can carry.
    pub fn parse(text: &str) -> Result<Password, BadPassword> {
        if text.is_empty() || text.len() > PASSWORD_BYTES {
            return Err(BadPassword::Length);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(BadPassword::Characters);
        }
        Ok(Password(text.to_owned()))
    }

    /// A password that somebody tries: anything at all.
    pub fn attempt(text: &str) -> Password {
        Password(text.to_owned())
    }

    /// The text itself, for the hash function and the client's request.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A session token: a UUID v4 from the operating system's generator. Whoever has it is the user; mute in `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(Uuid);

impl Token {
    /// A fresh token.
    pub fn generate() -> Token {
        Token(Uuid::new_v4())
    }

    /// The token that `text` spells: 36 characters, lower-case, hyphenated, as they were given out.
    pub fn parse(text: &str) -> Option<Token> {
        let uuid = Uuid::try_parse(text).ok()?;
        let token = Token(uuid);
        (token.spell(&mut [0; 36]) == text).then_some(token)
    }

    /// The token's 36 characters.
    pub fn reveal(&self) -> String {
        self.spell(&mut [0; 36]).to_owned()
    }

    /// What the database keeps in the token's place.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.spell(&mut [0; 36]).as_bytes()).into())
    }

    fn spell<'a>(&self, room: &'a mut [u8; 36]) -> &'a str {
        self.0.hyphenated().encode_lower(room)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// SHA-256 of a token's 36 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// One message of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in the log.
    pub id: MessageId,
    /// When it was accepted.
    pub sent_at: Timestamp,
    /// The text, exactly as sent.
    pub text: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_8265() {
        for good in ["messi", "Messi", "josé", "你好", "a.b-c_d@e", "x"] {
            assert_eq!(Username::parse(good).map(|n| n.as_str().to_owned()), Ok(good.to_owned()));
        }
        let cases = [
            ("", BadUsername::Length),
            (&"x".repeat(65), BadUsername::Length),
            ("a b", BadUsername::Characters),
            ("a\tb", BadUsername::Characters),
            ("a\u{a0}b", BadUsername::Characters),
            ("a\u{200b}b", BadUsername::Characters),
            ("=\u{338}", BadUsername::Characters),
            ("503d38c0-2691-4ff1-81ad-fc11f9f5ad03", BadUsername::LikeToken),
        ];
        for (bad, why) in cases {
            assert_eq!(Username::parse(bad), Err(why), "{bad:?}");
        }
        let [small, large] = ["messi", "MESSI"].map(|n| Username::parse(n).expect("both are names"));
        assert_ne!(small, large);
        assert_eq!(small.folded(), large.folded());
    }

    #[test]
    fn passwords_are_what_the_wire_can_carry() {
        assert!(Password::parse("surabaya").is_ok());
        for bad in ["", "a b", "a\u{3000}b", "a\r", "a\u{1f}", &"x".repeat(1025)] {
            assert!(Password::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(format!("{:?}", Password::attempt("canary")), "Password(…)");
    }

    #[test]
    fn times_are_spelled_as_rfc_3339_has_them() {
        for (milliseconds, text) in [(0, "1970-01-01T00:00:00.000Z"), (1_795_447_622_120, "2026-11-23T15:27:02.120Z")] {
            assert_eq!(Timestamp(milliseconds).to_string(), text);
            assert_eq!(text.parse::<Timestamp>().ok(), Some(Timestamp(milliseconds)));
        }
        assert!(!Timestamp(i64::MAX).to_string().is_empty());
    }

    #[test]
    fn a_token_is_spelled_one_way() {
        let token = Token::generate();
        assert_eq!(Token::parse(&token.reveal()), Some(token));
        assert_eq!(Token::parse(&token.reveal().to_uppercase().replace('-', "")), None);
        assert_eq!(Token::parse(&format!("{{{}}}", token.reveal())), None);
        assert_eq!(Token::parse(""), None);
        assert!(!format!("{token:?} {:?}", token.hash()).contains(&token.reveal()[..8]));
    }
}
