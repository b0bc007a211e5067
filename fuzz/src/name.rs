//! A name is one that people can type, that the wire can carry, and that no other account has in other letters.

use chatd::model::{LookupName, Token, Username};
use chatd::protocol::{Command, json};

/// The data are a name as an administrator typed it.
pub fn check(data: &[u8]) {
    let Ok(typed) = std::str::from_utf8(data) else { return };
    let name = match Username::parse(typed) {
        Ok(name) => name,
        Err(_) => {
            assert_ne!(plainly(typed), Some(true), "{typed:?} should be a name");
            return;
        }
    };
    assert_ne!(plainly(typed), Some(false), "{typed:?} should be no name");
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
    let command = json::parse(line.as_bytes()).map(|request| request.command);
    let Ok(Command::Auth { username, .. }) = command else { panic!("{text:?} is no word") };
    assert_eq!(&*username, text);
    assert_eq!(&*LookupName::of(typed), text, "the very same bytes find it");
}

/// The rule for ASCII, where it is simple; `None` where there is more to it, or where a token might be in it somehow.
fn plainly(name: &str) -> Option<bool> {
    let hex = name.bytes().filter(u8::is_ascii_hexdigit).count();
    let visible = name.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    (name.is_ascii() && hex < 32).then_some(visible && (1..=64).contains(&name.len()))
}
