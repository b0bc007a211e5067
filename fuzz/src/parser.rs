//! A line is understood as the original server understood it: the model below is that server's way of going about it,
//! written down from the description of its wire and not from our parser.

use chatd::model::{LookupName, Token};
use chatd::protocol::json::{parse, parse_head};
use chatd::protocol::{Command, Refusal, Request};

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Auth(String, String),
    Send(String, String, String),
    Inbox(String),
    Show(String),
    Logout(String),
    /// `--Protocol Tidak Benar`
    TooFew,
    /// `**Protocol Tidak Benar`
    NoCommand,
    /// `Informasi tidak ditemukan`, whatever sessions there are.
    NoToken,
}

/// Any bytes are a line without its end.
pub fn check(data: &[u8]) {
    let line = [data, b"\r\n"].concat();
    let parsed = parse(&line);
    if let Err(refusal) = parsed {
        let its_own = [Refusal::UnknownCommand, Refusal::Http, Refusal::Malformed, Refusal::UnknownToken];
        let is_its_own = its_own.contains(&refusal)
            || matches!(refusal, Refusal::NotANumber(_) | Refusal::BadKey | Refusal::BadDisplayName(_));
        assert!(is_its_own, "{refusal:?} is no answer of the parser's");
    }
    let token = |token: Option<Token>| token.map(|token| token.reveal()).expect("this command shows one");
    let ours = match parsed.map(|Request { token, command }| (command, token)) {
        Ok((Command::Auth { username, password }, None)) => {
            Meaning::Auth(username.to_string(), password.reveal().to_owned())
        }
        Ok((Command::Send(send), shown)) => {
            Meaning::Send(token(shown), send.recipient.to_string(), send.text.to_string())
        }
        Ok((Command::Inbox, shown)) => Meaning::Inbox(token(shown)),
        Ok((Command::Show, shown)) => Meaning::Show(token(shown)),
        Ok((Command::Logout, shown)) => Meaning::Logout(token(shown)),
        Err(Refusal::Malformed) => Meaning::TooFew,
        Err(Refusal::UnknownToken) => Meaning::NoToken,
        // The original server had no other commands.
        _ => Meaning::NoCommand,
    };
    let theirs = meaning(&line);
    // Commands that are ours alone may well refuse their words.
    let is_ours = theirs == Meaning::NoCommand && matches!(ours, Meaning::TooFew | Meaning::NoToken);
    assert!(ours == theirs || is_ours, "ours {ours:?}, theirs {theirs:?}");
    for cut in [line.len() / 2, line.len()] {
        let _ = parse_head(&line[..cut]);
    }
}

fn meaning(line: &[u8]) -> Meaning {
    let Ok(line) = String::from_utf8(line.to_vec()) else { return Meaning::TooFew };
    let j: Vec<&str> = line.split(' ').collect();
    let word = |place: usize| j.get(place).map(|word| strip(word));
    let with_token = |make: fn(String) -> Meaning| match word(1) {
        None => Meaning::TooFew,
        Some(token) if !is_token(&token) => Meaning::NoToken,
        Some(token) => make(token),
    };
    match strip(j[0]).as_str() {
        "auth" => match (word(1), word(2)) {
            (Some(name), Some(password)) => Meaning::Auth(normal(&name), password),
            _ => Meaning::TooFew,
        },
        "send" => match (word(1), word(2)) {
            (Some(token), Some(_)) if !is_token(&token) => Meaning::NoToken,
            (Some(token), Some(name)) => {
                let text = j[3..].iter().map(|word| format!(" {word}")).collect();
                Meaning::Send(token, normal(&name), text)
            }
            _ => Meaning::TooFew,
        },
        "inbox" => with_token(Meaning::Inbox),
        "show" => with_token(Meaning::Show),
        "logout" => with_token(Meaning::Logout),
        _ => Meaning::NoCommand,
    }
}

/// The one thing that is not as in 2020: every spelling of a name is that name (RFC 8265).
fn normal(name: &str) -> String {
    LookupName::of(name).to_string()
}

/// Python's `str.strip()`.
fn strip(word: &str) -> String {
    let spaces: Vec<char> = ['\t', '\n', '\u{b}', '\u{c}', '\r', ' ', '\u{85}', '\u{a0}', '\u{1680}']
        .into_iter()
        .chain('\u{1c}'..='\u{1f}')
        .chain('\u{2000}'..='\u{200a}')
        .chain(['\u{2028}', '\u{2029}', '\u{202f}', '\u{205f}', '\u{3000}'])
        .collect();
    word.trim_matches(&spaces[..]).to_owned()
}

/// A lower-case UUID with its hyphens.
fn is_token(word: &str) -> bool {
    word.len() == 36
        && word.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}
