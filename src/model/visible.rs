//! Makes other people's text safe for a terminal: it cannot move the cursor, change colours, ring, or change the
//! direction of writing. Pure; knows no terminal.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// A text that somebody else wrote. It can only be shown as [`visible`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign(String);

impl From<String> for Foreign {
    fn from(text: String) -> Foreign {
        Foreign(text)
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible(&self.0))
    }
}

/// The text with every character that a terminal would obey, or that hides or turns others, spelled out: `\n`, `\x1b`,
/// `\u202e`. One line in, one line out.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if !is_unsafe(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let written = if code < 0x100 { write!(out, "\\x{code:02x}") } else { write!(out, "\\u{code:04x}") };
                written.expect("a String takes everything");
            }
        }
    }
    Cow::Owned(out)
}

/// The same for a text of several lines: line ends and tabs stay.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    let stays = |c: char| c == '\n' || c == '\t';
    if !text.contains(|c: char| is_unsafe(c) && !stays(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for piece in text.split_inclusive(stays) {
        let (piece, end) = piece.strip_suffix(stays).map_or((piece, ""), |before| (before, &piece[before.len()..]));
        out.push_str(&visible(piece));
        out.push_str(end);
    }
    Cow::Owned(out)
}

/// Controls (C0, DEL, C1), the characters that turn the direction of writing, and those that end a line or a paragraph.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
        || matches!(c, '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_spelled_out() {
        let cases = [
            ("halo apa kabar, josé 你好 😀", "halo apa kabar, josé 你好 😀"),
            ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
            ("a\rb\nc\td\x08\x7f", "a\\rb\\nc\\td\\x08\\x7f"),
            ("\u{9b}31m \u{85}", "\\x9b31m \\x85"),
            ("\u{202e}gnp.exe \u{2066}x\u{2069} \u{200f}\u{61c}", "\\u202egnp.exe \\u2066x\\u2069 \\u200f\\u061c"),
            ("a\u{2028}b\u{2029}c", "a\\u2028b\\u2029c"),
        ];
        for (text, shown) in cases {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn lines_stay_lines() {
        let text = "a\x1b[31m\tb\r\n\nc\u{202e}\n";
        assert_eq!(visible_lines(text), "a\\x1b[31m\tb\\r\n\nc\\u202e\n");
        assert_eq!(visible_lines("a\n\tb"), "a\n\tb");
        assert_eq!(Foreign::from("a\x1b\nb".to_owned()).to_string(), "a\\x1b\\nb");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left_and_nothing_else_is_touched(text: String, strange in "[\u{0}-\u{a0}\u{2000}-\u{206f}]*") {
            let text = text + &strange;
            let shown = visible(&text);
            prop_assert!(!shown.contains(is_unsafe));
            let obeyed = |c: char| c < ' ' || ('\u{7f}'..'\u{a0}').contains(&c);
            prop_assert!(!shown.contains(obeyed), "{:?}", shown);
            let kept: String = text.chars().filter(|c| !is_unsafe(*c)).collect();
            let spelled: String = text.chars().filter(|c| is_unsafe(*c)).collect();
            prop_assert_eq!(shown.is_empty(), text.is_empty());
            prop_assert!(!spelled.is_empty() || shown == kept);
        }
    }
}
