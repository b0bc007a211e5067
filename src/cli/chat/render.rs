//! Messages as a person reads them.

use jiff::tz::TimeZone;

use crate::model::{Timestamp, visible};
use crate::protocol::{HistoryEntry, Receipt, SenderMessages};

/// What stands before each line of a text of several, so that none can pass for another message.
const INDENT: &str = "    ";

/// The messages, each with its sender and a line end: `messi: halo`, or the sender alone and the lines of the text
/// indented below. The blanks and the line end that clients put around a text are not shown.
pub(crate) fn readable(senders: &[SenderMessages]) -> String {
    let texts = senders.iter().flat_map(|from| from.messages.iter().map(|message| (from.username.as_str(), message)));
    texts.map(|(sender, message)| paragraph(&visible(sender), &message.text)).collect()
}

/// A part of a conversation: each message with its number, its time on the reader's clock, its sender and, of what
/// the reader sent, when it was read.
pub(crate) fn history(messages: &[HistoryEntry], reader: &str, clock: &TimeZone) -> String {
    let line = |past: &HistoryEntry| {
        let HistoryEntry { message, from, read_at, .. } = past;
        let mark = if from.username.as_str() == reader { fate(*read_at, clock) } else { String::new() };
        let sender =
            format!("{}  {}  {}{mark}", message.id, shown(message.sent_at, clock), visible(from.username.as_str()));
        paragraph(&sender, &message.text)
    };
    messages.iter().map(line).collect()
}

/// What became of messages that the reader sent.
pub(crate) fn status(receipts: &[Receipt], clock: &TimeZone) -> String {
    let line = |receipt: &Receipt| {
        format!("{}  {}{}\n", receipt.id, shown(receipt.sent_at, clock), fate(receipt.read_at, clock))
    };
    receipts.iter().map(line).collect()
}

fn fate(read_at: Option<Timestamp>, clock: &TimeZone) -> String {
    read_at.map_or(" (waits)".to_owned(), |at| format!(" (read {})", shown(at, clock)))
}

fn shown(time: Timestamp, clock: &TimeZone) -> String {
    let time = jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::MAX);
    time.to_zoned(clock.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

fn paragraph(sender: &str, text: &str) -> String {
    let lines: Vec<&str> = text.trim().split('\n').collect();
    let between = if lines.len() > 1 { format!("\n{INDENT}") } else { " ".to_owned() };
    let mut out = format!("{sender}:");
    for line in lines {
        out.push_str(&between);
        out.push_str(&visible(line.trim_end()));
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Message, MessageId, Username};
    use crate::protocol::{ConversationKind, Profile};

    #[test]
    fn no_text_passes_for_anothers() {
        let message = |text: &str| Message { id: MessageId(0), sent_at: Timestamp(0), text: text.into() };
        let from = SenderMessages {
            username: Username::stored("messi"),
            sender: "Lionel Messi".to_owned(),
            recipient: "Jordan Henderson".to_owned(),
            messages: vec![message("  halo \r\n"), message(" a\nhenderson: b\r\x1b[2J\n\n c \r\n"), message("")],
            to_groups: Vec::new(),
        };
        let shown = "messi: halo\nmessi:\n    a\n    henderson: b\\r\\x1b[2J\n    \n     c\nmessi: \n";
        assert_eq!(readable(&[from]), shown);
    }

    #[test]
    fn what_was_sent_is_told_with_what_became_of_it() {
        let time = |minutes: i64| Timestamp(1_795_447_622_120 + minutes * 60_000);
        let clock = TimeZone::fixed(jiff::tz::offset(7));
        let person = |name: &str| Profile { username: Username::stored(name), display_name: name.to_uppercase() };
        let past = |id, from: &str, to: &str, text: &str, read_at| HistoryEntry {
            message: Message { id: MessageId(id), sent_at: time(id), text: text.into() },
            from: person(from),
            to: person(to),
            kind: ConversationKind::Person,
            read_at,
            readers: None,
        };
        let messages = [
            past(1, "messi", "henderson", " halo \r\n", Some(time(5))),
            past(2, "henderson", "messi", " a\nb \r\n", Some(time(6))),
            past(3, "messi", "henderson", "  hal \r\n", None),
        ];
        let shown = "1  2026-11-23 22:28  messi (read 2026-11-23 22:32): halo\n2  2026-11-23 22:29  henderson:\n    a\n    b\n3  2026-11-23 22:30  messi (waits): hal\n";
        assert_eq!(history(&messages, "messi", &clock), shown);
        let receipt = |id, read_at| Receipt { id: MessageId(id), sent_at: time(id), read_at };
        let shown = "1  2026-11-23 22:28 (read 2026-11-23 22:32)\n3  2026-11-23 22:30 (waits)\n";
        assert_eq!(status(&[receipt(1, Some(time(5))), receipt(3, None)], &clock), shown);
    }
}
