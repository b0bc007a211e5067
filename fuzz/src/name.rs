//! A name is one that people can type, that the wire can carry, and that no other account has in other letters.

use chatd::model::{Token, Username};
use chatd::protocol::{Request, json};

/// The data are a name as an administrator typed it.
pub fn check(data: &[u8]) {
    let Ok(typed) = std::str::from_utf8(data) else { return };
    let name = match Username::parse(typed) {
        Ok(name) => name,
        Err(_) => {
            assert!(!plainly_good(typed), "{typed:?} should be a name");
            return;
        }
    };
    assert!(!typed.is_ascii() || plainly_good(typed), "{typed:?} should be no name");
    let text = name.as_str();
    assert!((1..=64).contains(&text.len()));
    assert!(!text.chars().any(|c| c.is_whitespace() || c.is_control()));
    assert_eq!(Token::parse(text), None);
    assert_eq!(Username::parse(text), Ok(name.clone()), "the normal form is its own normal form");
    let folded = name.folded();
    assert_eq!(Username::stored(&folded).folded(), folded, "folding twice is folding once");
    if text.is_ascii() {
        assert_eq!(folded, text.to_ascii_lowercase());
    }
    let line = format!("auth {text} x\r\n");
    let Ok(Request::Auth { username, .. }) = json::parse(line.as_bytes()) else { panic!("{text:?} is no word") };
    assert_eq!(username, text);
}

/// The rule for ASCII, where it is simple.
fn plainly_good(name: &str) -> bool {
    let visible = name.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    // A UUID may come in braces, as a URN, and without hyphens.
    let hex = name.trim_start_matches("urn:uuid:").bytes().filter(u8::is_ascii_hexdigit).count();
    visible && (1..=64).contains(&name.len()) && hex < 32
        || visible && name.len() <= 64 && hex >= 32 && !like_token(name)
}

fn like_token(name: &str) -> bool {
    let bare = name.strip_prefix("urn:uuid:").unwrap_or(name);
    let braced = bare.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let bare = braced.filter(|inner| inner.len() == 36 && bare == name).unwrap_or(bare);
    let hyphens: Vec<usize> = bare.bytes().enumerate().filter(|(_, b)| *b == b'-').map(|(place, _)| place).collect();
    let hex = bare.bytes().filter(u8::is_ascii_hexdigit).count();
    let whole = bare.len() == hex + hyphens.len() && hex == 32;
    whole && (hyphens == [8, 13, 18, 23] || hyphens.is_empty() && bare == name)
}
