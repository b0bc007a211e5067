//! The key that a sender chooses for a message, so that to send it again sends nothing.

/// The longest key, in bytes.
pub const SEND_KEY_BYTES: usize = 64;

/// One word of visible ASCII, of 1 to [`SEND_KEY_BYTES`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SendKey(Box<str>);

impl SendKey {
    /// The key that `text` is, if it is one.
    pub fn parse(text: &str) -> Option<SendKey> {
        let is_one = (1..=SEND_KEY_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_one.then(|| SendKey(text.into()))
    }

    /// The key as it was chosen.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_short_visible_word() {
        for key in ["a", "550e8400-e29b-41d4-a716-446655440000", "~!", &"x".repeat(64)] {
            assert_eq!(SendKey::parse(key).map(|key| key.as_str().to_owned()), Some(key.to_owned()));
        }
        for none in ["", "a b", "é", "\u{7f}", &"x".repeat(65)] {
            assert_eq!(SendKey::parse(none), None, "{none:?}");
        }
    }
}
