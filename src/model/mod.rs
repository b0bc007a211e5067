//! The words everything else is made of: names, tokens, messages. Each is parsed once, at the edge, and is
//! then known to be well formed. Knows nothing of sockets, spelling or storage.

mod address;
mod file;
mod name;
mod password;
mod push_host;
mod scope;
mod send_key;
mod visible;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

pub(crate) use self::address::AddressRange;
pub use self::file::{FILE_PIECE, FileName, FileSpelling, FileWord};
pub use self::name::{
    BadAccount, BadLabel, BadUsername, LABEL_CHARACTERS, Label, LookupName, USERNAME_BYTES, Username,
};
pub use self::password::{BadPassword, PASSWORD_BYTES, Password};
pub(crate) use self::push_host::PushHost;
pub use self::scope::{HookSecret, Scope};
pub use self::send_key::{SEND_KEY_BYTES, SendKey};
pub use self::visible::{Foreign, visible, visible_lines};

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
    /// A group. No account has the same number. Never given out twice.
    GroupId
);
id!(
    /// A file that was sent. Never given out twice.
    FileId
);
id!(
    /// A login, in the order of logins. Never given out twice.
    SessionId
);
id!(
    /// A code that makes an account. Never given out twice.
    InviteId
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

/// A session token: a UUID v4 from the operating system's generator. Whoever has it acts as the user. `Debug` does not
/// show it.
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

    /// Whether a text has the form of a token, in whatever spelling, so that it is meant for one.
    pub fn is_like(text: &str) -> bool {
        Uuid::try_parse(text).is_ok()
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

/// The target of a message. Accounts and groups share one set of names and one set of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// One account.
    User(UserId),
    /// All members of a group but the sender.
    Group(GroupId),
}

impl Address {
    /// The number that stands for it in the store.
    pub fn number(self) -> i64 {
        match self {
            Address::User(UserId(number)) | Address::Group(GroupId(number)) => number,
        }
    }

    /// The account, if it is one.
    pub fn user(self) -> Option<UserId> {
        match self {
            Address::User(user) => Some(user),
            Address::Group(_) => None,
        }
    }

    /// The group, if it is one.
    pub fn group(self) -> Option<GroupId> {
        match self {
            Address::User(_) => None,
            Address::Group(group) => Some(group),
        }
    }
}

impl From<UserId> for Address {
    fn from(user: UserId) -> Address {
        Address::User(user)
    }
}

impl From<GroupId> for Address {
    fn from(group: GroupId) -> Address {
        Address::Group(group)
    }
}

/// One message of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in the message log.
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
