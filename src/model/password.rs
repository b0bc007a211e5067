//! Passwords, as RFC 8265 has them (OpaqueString): one that is typed composed on one keyboard and decomposed on another
//! is the same. Mute in `Debug`.

use std::fmt;

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use precis_profiles::precis_core::{DerivedPropertyValue, Error};
use unicode_normalization::UnicodeNormalization;

/// The longest password, in bytes of UTF-8.
pub const PASSWORD_BYTES: usize = 1024;

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
        let prepared = prepare(text)?;
        match prepared.len() {
            1..=PASSWORD_BYTES => Ok(Password(prepared)),
            _ => Err(BadPassword::Length),
        }
    }

    /// A password that somebody tries: anything at all.
    pub fn attempt(text: &str) -> Password {
        Password(text.to_owned())
    }

    /// The forms in which an attempt may have been stored: as new passwords are stored, and, if that is different,
    /// unchanged.
    pub fn spellings(&self) -> Vec<String> {
        match prepare(&self.0) {
            Ok(prepared) if prepared != self.0 => vec![prepared, self.0.clone()],
            _ => vec![self.0.clone()],
        }
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

/// The text as RFC 8265 prepares it. Characters that its tables do not know yet, such as new emoji, are only
/// normalised.
fn prepare(text: &str) -> Result<String, BadPassword> {
    match OpaqueString::enforce(text) {
        Ok(prepared) => Ok(prepared.into_owned()),
        Err(Error::BadCodepoint(bad)) if bad.property == DerivedPropertyValue::Unassigned => Ok(text.nfc().collect()),
        Err(_) => Err(BadPassword::Characters),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_what_the_wire_can_carry() {
        assert!(Password::parse("surabaya").is_ok());
        for bad in ["", "a b", "a\u{3000}b", "a\r", "a\u{1f}", &"x".repeat(1025)] {
            assert!(Password::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(format!("{:?}", Password::attempt("canary")), "Password(…)");
    }

    #[test]
    fn one_password_whatever_the_keyboard() {
        let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
        for typed in [composed, decomposed] {
            assert_eq!(Password::parse(typed).map(|password| password.reveal().to_owned()), Ok(composed.to_owned()));
        }
        assert_eq!(Password::attempt(composed).spellings(), [composed]);
        // What an earlier version stored as it came is still found.
        assert_eq!(Password::attempt(decomposed).spellings(), [composed, decomposed]);
        assert_eq!(Password::attempt("surabaya").spellings(), ["surabaya"]);
        // Newer than the tables of the RFC, and normalised all the same.
        assert_eq!(Password::attempt("\u{1f914}e\u{301}").spellings()[0], "\u{1f914}\u{e9}");
        assert!(Password::parse("\u{1f914}").is_ok());
        // What cannot be a new password may be tried, and is wrong or old.
        assert!(Password::parse("\u{feff}surabaya").is_err());
        assert_eq!(Password::attempt("\u{feff}surabaya").spellings(), ["\u{feff}surabaya"]);
        assert_eq!(Password::attempt("").spellings(), [""]);
    }
}
