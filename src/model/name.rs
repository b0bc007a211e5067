//! Names of accounts, and the texts that are shown beside them. There is one enforcement (RFC 8265) for names that are
//! stored and for names that are looked up, wherever they come from.

use std::fmt;
use std::sync::Arc;

use precis_profiles::precis_core::profile::PrecisFastInvocation;
use precis_profiles::{UsernameCaseMapped, UsernameCasePreserved};
use uuid::Uuid;

use super::password::BadPassword;
use super::visible::is_unsafe;

/// The longest user name, in bytes of UTF-8.
pub const USERNAME_BYTES: usize = 64;
/// The longest display name or country, in characters.
pub const LABEL_CHARACTERS: usize = 128;

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
    /// A parser of addresses takes it for a step in a path.
    #[error("a user name must not be . or ..")]
    LikeStep,
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
        // The normal form may hold what was not allowed ("=" and a combining stroke are "≠"), so it is checked again.
        if UsernameCasePreserved::enforce(&*name).as_ref() != Ok(&name) {
            return Err(BadUsername::Characters);
        }
        if name.len() > USERNAME_BYTES {
            return Err(BadUsername::Length);
        }
        if Uuid::try_parse(&name).is_ok() {
            return Err(BadUsername::LikeToken);
        }
        if matches!(&*name, "." | "..") {
            return Err(BadUsername::LikeStep);
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
            // The bidi rule may refuse what it allowed before case mapping; then only the letters become lower case.
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

/// A name by which somebody asks for an account, in the form in which names are stored, so that every spelling of a
/// name finds it (RFC 8265). It need not be anybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupName(String);

impl LookupName {
    /// Brings `name` into the normal form of names. A text that cannot be a name stays unchanged; no account has it.
    pub fn of(name: &str) -> LookupName {
        // ASCII is its own normal form. A longer text is not checked: no account has such a name.
        if name.is_ascii() || name.len() > USERNAME_BYTES {
            return LookupName(name.to_owned());
        }
        LookupName(UsernameCasePreserved::enforce(name).map_or_else(|_| name.to_owned(), |name| name.into_owned()))
    }
}

impl std::ops::Deref for LookupName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LookupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no display name and no country.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLabel {
    /// Nothing in it, or more than [`LABEL_CHARACTERS`].
    #[error("it has 1 to {LABEL_CHARACTERS} characters, not all of them blanks")]
    Length,
    /// Something that a terminal would obey, or that turns the direction of writing.
    #[error("it has no line ends, no control characters, and nothing that turns the direction of writing")]
    Characters,
}

/// Why an account cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAccount {
    /// Its name.
    #[error(transparent)]
    Username(#[from] BadUsername),
    /// Its password.
    #[error(transparent)]
    Password(#[from] BadPassword),
    /// Its name in messages.
    #[error("the name that is shown: {0}")]
    DisplayName(BadLabel),
    /// Where its owner is from.
    #[error("the country: {0}")]
    Country(BadLabel),
}

/// A display name or a country, as others see it. It has 1 to 128 characters. No character ends a line, controls a
/// terminal, or changes the direction of writing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label(String);

impl Label {
    /// Checks `text`; nothing in it is changed.
    pub fn parse(text: &str) -> Result<Label, BadLabel> {
        if text.trim().is_empty() || text.chars().nth(LABEL_CHARACTERS).is_some() {
            return Err(BadLabel::Length);
        }
        match text.contains(is_unsafe) {
            true => Err(BadLabel::Characters),
            false => Ok(Label(text.to_owned())),
        }
    }

    /// The same, but an empty text means that nothing is told.
    pub fn parse_or_none(text: &str) -> Result<Label, BadLabel> {
        if text.is_empty() { Ok(Label::default()) } else { Label::parse(text) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name may be shown as it is.
impl From<&Username> for Label {
    fn from(name: &Username) -> Label {
        Label(name.to_string())
    }
}

impl From<Label> for String {
    fn from(label: Label) -> String {
        label.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_follow_rfc_8265() {
        for good in ["messi", "Messi", "josé", "你好", "a.b-c_d@e", "x", "...", ".x"] {
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
            (".", BadUsername::LikeStep),
            ("..", BadUsername::LikeStep),
            ("\u{ff0e}\u{ff0e}", BadUsername::LikeStep),
        ];
        for (bad, why) in cases {
            assert_eq!(Username::parse(bad), Err(why), "{bad:?}");
        }
        let [small, large] = ["messi", "MESSI"].map(|n| Username::parse(n).expect("both are names"));
        assert_ne!(small, large);
        assert_eq!(small.folded(), large.folded());
    }

    #[test]
    fn every_spelling_of_a_name_finds_it() {
        for (stored, asked) in [
            ("jos\u{301}", "jos\u{301}"),
            ("jose\u{301}", "jose\u{301}"),
            ("jose\u{301}", "josé"),
            ("josé", "jose\u{301}"),
            ("ｍｅｓｓｉ", "messi"),
            ("messi", "ｍｅｓｓｉ"),
        ] {
            let stored = Username::parse(stored).expect("it is a name");
            assert_eq!(&*LookupName::of(asked), stored.as_str(), "{asked:?}");
        }
        for nobody in ["", "a b", "a\u{200b}b", "\u{301}", "é e", "MESSI"] {
            assert_eq!(&*LookupName::of(nobody), nobody);
        }
    }

    proptest! {
        #[test]
        fn whatever_can_be_stored_is_found_by_the_same_bytes(text in "[a-zéé\u{300}-\u{30f}ａ-ｚ가-힣\u{1100}-\u{1112}\u{1161}-\u{1175}]{1,12}") {
            if let Ok(stored) = Username::parse(&text) {
                prop_assert_eq!(&*LookupName::of(&text), stored.as_str());
                prop_assert_eq!(&*LookupName::of(stored.as_str()), stored.as_str());
            }
        }
    }

    #[test]
    fn a_label_disturbs_nobody() {
        for good in ["Lionel Messi", "x", "你好", "משה", "  a", &"é".repeat(128)] {
            assert_eq!(Label::parse(good).map(String::from), Ok(good.to_owned()));
        }
        let cases = [("", BadLabel::Length), (" \u{3000}", BadLabel::Length), (&"é".repeat(129), BadLabel::Length)];
        for (bad, why) in cases {
            assert_eq!(Label::parse(bad), Err(why), "{bad:?}");
        }
        for bad in ["a\nb", "a\r", "\u{85}a", "a\u{2028}", "a\u{2029}b", "\x1b[2J", "\0x", "\u{7f}x", "\u{9b}x"] {
            assert_eq!(Label::parse(bad), Err(BadLabel::Characters), "{bad:?}");
        }
        for turning in ["\u{202e}gnp", "\u{2066}x", "x\u{200f}", "\u{61c}x"] {
            assert_eq!(Label::parse(turning), Err(BadLabel::Characters), "{turning:?}");
        }
        assert_eq!(Label::parse_or_none(""), Ok(Label::default()));
        assert_eq!(Label::parse_or_none("\n"), Err(BadLabel::Length));
    }
}
