//! A message as a person reads it.

use super::visible::visible;
use crate::protocol::FromSender;

/// What stands before each line of a text of several, so that none can pass for another message.
const INDENT: &str = "    ";

/// The messages, each with its sender and a line end: `messi: halo`, or the sender alone and the lines of the text
/// indented below. The blanks and the line end that clients put around a text are not shown.
pub fn readable(senders: &[FromSender]) -> String {
    let mut out = String::new();
    for from in senders {
        for message in &from.messages {
            out.push_str(&visible(from.username.as_str()));
            out.push(':');
            let lines: Vec<&str> = message.text.trim().split('\n').collect();
            let between = if lines.len() > 1 { format!("\n{INDENT}") } else { " ".to_owned() };
            for line in lines {
                out.push_str(&between);
                out.push_str(&visible(line.trim_end()));
            }
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::readable;
    use crate::model::{Message, MessageId, Timestamp, Username};
    use crate::protocol::FromSender;

    #[test]
    fn no_text_passes_for_anothers() {
        let message = |text: &str| Message { id: MessageId(0), sent_at: Timestamp(0), text: text.into() };
        let from = FromSender {
            username: Username::stored("messi"),
            sender: "Lionel Messi".to_owned(),
            recipient: "Jordan Henderson".to_owned(),
            messages: vec![message("  halo \r\n"), message(" a\nhenderson: b\r\x1b[2J\n\n c \r\n"), message("")],
        };
        let shown = "messi: halo\nmessi:\n    a\n    henderson: b\\r\\x1b[2J\n    \n     c\nmessi: \n";
        assert_eq!(readable(&[from]), shown);
    }
}
