//! Replies are spelled as Python's `json.dumps` spells them, and say what was meant.

use chatd::model::{Message, MessageId, Timestamp, Token, Username};
use chatd::protocol::json::render;
use chatd::protocol::{Reply, SenderMessages};

/// The data are texts with 0xff between them: names of senders and messages by turns.
pub fn check(data: &[u8]) {
    let texts: Vec<String> =
        data.split(|byte| *byte == 0xff).map(|t| String::from_utf8_lossy(t).into_owned()).collect();
    let names = texts.iter().map(|name| Username::stored(name)).collect();
    let listed: Vec<String> = texts.iter().map(|name| dumps(name)).collect();
    expect(&Reply::Online(names), &format!("[{}]", listed.join(", ")));

    let senders: Vec<SenderMessages> = texts.chunks(4).enumerate().map(|(i, texts)| from_sender(i, texts)).collect();
    let inbox: Vec<String> = senders.iter().map(sender_text).collect();
    expect(&Reply::Inbox(senders), &format!("{{{}}}", inbox.join(", ")));

    let token = Token::parse("503d38c0-2691-4ff1-81ad-fc11f9f5ad03").expect("it is one");
    expect(&Reply::LoggedOut { token, username: Username::stored("messi") }, &dumps(&token.reveal()));
}

/// Keys of one object differ, so each sender has a number.
fn from_sender(number: usize, texts: &[String]) -> SenderMessages {
    let message = |text: &String| Message { id: MessageId(1), sent_at: Timestamp(0), text: text.as_str().into() };
    SenderMessages {
        username: Username::stored(&format!("{number}{}", texts[0])),
        sender: texts[texts.len() - 1].clone(),
        recipient: texts[0].clone(),
        messages: texts[1..].iter().map(message).collect(),
        to_groups: Vec::new(),
    }
}

fn sender_text(from: &SenderMessages) -> String {
    let message = |message: &Message| {
        let [sender, recipient, text] = [&from.sender, &from.recipient, &*message.text].map(dumps);
        format!("{{\"msg_from\": {sender}, \"msg_to\": {recipient}, \"msg\": {text}}}")
    };
    let messages: Vec<String> = from.messages.iter().map(message).collect();
    format!("{}: [{}]", dumps(from.username.as_str()), messages.join(", "))
}

fn expect(reply: &Reply, messages: &str) {
    let mut out = Vec::new();
    render(reply, &mut out);
    let out = String::from_utf8(out).expect("a reply is text");
    assert!(out.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n')));
    assert_eq!(out, format!("{{\"status\": \"OK\", \"messages\": {messages}}}\r\n\r\n"));
    let read: serde_json::Value = serde_json::from_str(&out).expect("a reply is JSON");
    let meant: serde_json::Value = serde_json::from_str(messages).expect("so is the model's");
    assert_eq!(read["messages"], meant);
}

/// Python's `json.dumps` of a string, character by character.
fn dumps(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        let mut units = [0; 2];
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            '\u{8}' => out += "\\b",
            '\u{c}' => out += "\\f",
            ' '..='~' => out.push(c),
            _ => c.encode_utf16(&mut units).iter().for_each(|unit| out += &format!("\\u{unit:04x}")),
        }
    }
    out.push('"');
    assert_eq!(serde_json::from_str::<String>(&out).expect("it is JSON"), text);
    out
}
