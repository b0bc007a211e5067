//! Whatever is typed at the text protocol, and whatever others wrote, what is shown is one line that no terminal
//! obeys.

use std::time::Duration;

use chatd::model::{Message, MessageId, Timestamp, Token, Username};
use chatd::protocol::text::{ReplyContext, parse, render};
use chatd::protocol::{Command, Refusal, Reply, Request, SenderMessages};

/// The data are a typed line and, after 0xff, what others wrote.
pub fn check(data: &[u8]) {
    let (typed, theirs) = data.split_at(data.iter().position(|byte| *byte == 0xff).unwrap_or(data.len()));
    let token = Token::parse("503d38c0-2691-4ff1-81ad-fc11f9f5ad03").expect("it is one");
    let (echo, request) = parse(typed, Some(token));
    if let Ok(Request { command: Command::Send(send), .. }) = &request {
        assert!(send.text.starts_with(' ') && send.text.ends_with(" \r\n"));
        assert!(!send.recipient.contains([' ', '\t']) && !send.recipient.is_empty());
    }
    let theirs = String::from_utf8_lossy(theirs).into_owned();
    let name = Username::parse(&theirs).unwrap_or(Username::stored("messi"));
    let message = Message { id: MessageId(1), sent_at: Timestamp(0), text: theirs.as_str().into() };
    let inbox = SenderMessages {
        username: name.clone(),
        sender: theirs.clone(),
        recipient: theirs,
        messages: vec![message.clone(), message],
        to_groups: Vec::new(),
    };
    let throttled = Refusal::Throttled { retry_after: Duration::from_secs(9) };
    let refusals = [Refusal::UnknownUser, Refusal::UnknownToken, Refusal::Unavailable, throttled].map(Reply::Refused);
    let fetched = Reply::Fetched(inbox.clone().into_fetched());
    for reply in refusals.iter().chain(&[Reply::Online(vec![name]), Reply::Inbox(vec![inbox]), fetched]) {
        harmless(&render(&echo, reply));
    }
    if let Err(refusal) = request {
        harmless(&render(&echo, &refusal.into()));
    }
    // These two say the name again, which is that of an account by then.
    if let ReplyContext::Auth(named) | ReplyContext::Send(named) = &echo
        && Username::parse(named).is_ok()
    {
        harmless(&render(&echo, &Reply::Sent));
        harmless(&render(&echo, &Reply::LoggedIn { token }));
    }
}

fn harmless(shown: &str) {
    let bidi = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let line_end = |c| matches!(c, '\u{2028}' | '\u{2029}');
    assert!(!shown.chars().any(|c| c.is_control() || bidi(c) || line_end(c)), "{shown:?}");
}
