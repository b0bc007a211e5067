//! Messages as a person reads them.

use std::path::Path;

use jiff::tz::TimeZone;

use crate::model::{Timestamp, visible};
use crate::protocol::{ConversationKind, HistoryEntry, InboxFile, Receipt};

/// What stands before each line of a text of several, so that none can pass for another message.
const INDENT: &str = "    ";
/// How long a message counts as one that was sent just now, in milliseconds.
const YOUNG: i64 = 5 * 60_000;

/// A message with its sender and a line end: `messi: halo`, where it was sent to a group `messi to team: halo`; or
/// no more than that in the first line, and the lines of the text indented below. The blanks and the line end that
/// clients put around a text are not shown.
pub(crate) fn readable(entry: &HistoryEntry) -> String {
    paragraph(&sender(entry), &entry.message.text)
}

/// The same of a message that brings a file, and where that was saved: `messi: [foto.jpg: saved as pictures/foto.jpg]`.
pub(crate) fn file(entry: &HistoryEntry, file: &InboxFile, saved: Option<&Path>) -> String {
    let fate = saved.map_or("not saved".to_owned(), |path| format!("saved as {}", visible(&path.to_string_lossy())));
    format!("{}: [{}: {fate}]\n", sender(entry), visible(&file.name))
}

/// A message that the reader sent somewhere else: `messi to henderson: halo`.
pub(crate) fn sent(HistoryEntry { message, from, to, .. }: &HistoryEntry) -> String {
    let [from, to] = [from, to].map(|profile| visible(profile.username.as_str()));
    paragraph(&format!("{from} to {to}"), &message.text)
}

fn sender(HistoryEntry { from, to, kind, .. }: &HistoryEntry) -> String {
    let sender = visible(from.username.as_str()).into_owned();
    // An old server does not tell the name by which one sends to it.
    let group = Some(to.username.as_str()).filter(|name| !name.is_empty()).unwrap_or(&to.display_name);
    match kind {
        ConversationKind::Person => sender,
        ConversationKind::Group => format!("{sender} to {}", visible(group)),
    }
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

/// The time of a message that was sent some minutes ago or more, before its line; of a younger one it is the time of
/// reading, and an old server tells none.
pub(crate) fn time_before(sent_at: Timestamp, now: Timestamp, clock: &TimeZone) -> String {
    let is_told = sent_at.0 > 0 && now.0 - sent_at.0 >= YOUNG;
    if is_told { format!("{}  ", shown(sent_at, clock)) } else { String::new() }
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
    use crate::model::{FileId, Message, MessageId, Username};
    use crate::protocol::Profile;

    #[test]
    fn no_text_passes_for_anothers() {
        let person = |name: &str| Profile { username: Username::stored(name), display_name: name.to_uppercase() };
        let entry = |text: &str, kind| HistoryEntry {
            message: Message { id: MessageId(0), sent_at: Timestamp(0), text: text.into() },
            from: person("messi"),
            to: person("team"),
            kind,
            read_at: None,
            readers: None,
        };
        let shown = |text: &str| readable(&entry(text, ConversationKind::Person));
        assert_eq!(shown("  halo \r\n"), "messi: halo\n");
        let several = "messi:\n    a\n    henderson: b\\r\\x1b[2J\n    \n     c\n";
        assert_eq!(shown(" a\nhenderson: b\r\x1b[2J\n\n c \r\n"), several);
        assert_eq!(shown(""), "messi: \n");
        let to_group = entry(" halo \r\n", ConversationKind::Group);
        assert_eq!(readable(&to_group), "messi to team: halo\n");
        let (message, id) = (MessageId(0), FileId(7));
        let brought = InboxFile { message, id, name: "a\nb.txt".to_owned(), data: "x".into() };
        assert_eq!(file(&to_group, &brought, None), "messi to team: [a\\nb.txt: not saved]\n");
        let saved = Some(Path::new("d/b.txt"));
        assert_eq!(file(&to_group, &brought, saved), "messi to team: [a\\nb.txt: saved as d/b.txt]\n");
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
        let before = |minutes: i64| time_before(time(1), time(1 + minutes), &clock);
        assert_eq!([before(-1), before(4), before(5)], ["", "", "2026-11-23 22:28  "]);
        assert_eq!(time_before(Timestamp(0), time(1), &clock), "");
        let receipt = |id, read_at| Receipt { id: MessageId(id), sent_at: time(id), read_at };
        let shown = "1  2026-11-23 22:28 (read 2026-11-23 22:32)\n3  2026-11-23 22:30 (waits)\n";
        assert_eq!(status(&[receipt(1, Some(time(5))), receipt(3, None)], &clock), shown);
    }
}
