//! Log lines as systemd's journal takes them: one datagram each, in which every field of the line is a field of the entry,
//! so that `journalctl CHATD_USER=messi` finds what messi did. The text of the entry names the fields too, as a line on
//! stderr does; tracing-journald leaves them out of it. Knows nothing of chatd's.
//!
//! The format: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.

use std::env;
use std::fmt::{self, Write};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const SOCKET: &str = "/run/systemd/journal/socket";
/// The journal may be restarting; nobody waits longer for it than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// The journal, as a place for log lines.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// The journal, when this process's standard error is connected to it.
    pub fn behind_stderr() -> Option<Journal> {
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned().ok()?).metadata().ok()?;
        if env::var("JOURNAL_STREAM").ok()? != format!("{}:{}", stderr.dev(), stderr.ino()) {
            return None;
        }
        Journal::at(SOCKET).ok()
    }

    fn at(path: &str) -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Journal { socket })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        let bytes = entry.finish(event.metadata().level(), event.metadata().target());
        if self.socket.send(&bytes).is_err() {
            // The journal was restarted, or is full: its other entrance, which is there without a connection of ours.
            let _ = io::stderr().write_all(format!("{}{}\n", entry.message, entry.fields).as_bytes());
        }
    }
}

/// One entry, as its fields come in.
#[derive(Default)]
struct Entry {
    message: String,
    /// What follows the message in the text.
    fields: String,
    bytes: Vec<u8>,
}

impl Entry {
    fn finish(&mut self, level: &Level, target: &str) -> Vec<u8> {
        // syslog's numbers: what `journalctl -p warning` and its colours go by.
        let priority = match *level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            _ => "7",
        };
        let text = format!("{}{}", self.message, self.fields);
        let rest =
            [("MESSAGE", &*text), ("PRIORITY", priority), ("SYSLOG_IDENTIFIER", "chatd"), ("CHATD_TARGET", target)];
        for (name, value) in rest {
            put(&mut self.bytes, name, value);
        }
        std::mem::take(&mut self.bytes)
    }

    fn field(&mut self, field: &Field, value: &str, shown: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = value.to_owned();
            return;
        }
        // Writing to a string cannot fail.
        let _ = write!(self.fields, " {}={shown:?}", field.name());
        put(&mut self.bytes, &name_of(field.name()), value);
    }
}

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, &format!("{value:?}"), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value, &value);
    }
}

/// `user` as the journal wants names: `CHATD_USER`, nothing but `A`–`Z`, digits and `_`, at most 64 of them.
fn name_of(field: &str) -> String {
    let letters = field.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    "CHATD_".chars().chain(letters).take(64).collect()
}

/// Name, line end, length, value, line end: the form that takes any value, line ends of its own too.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn parse(mut entry: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(entry[..end].to_vec()).expect("names are ASCII");
            let (length, rest) = entry[end + 1..].split_at(8);
            let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
            fields.insert(name, String::from_utf8(rest[..length].to_vec()).expect("what went in was UTF-8"));
            assert_eq!(rest[length], b'\n');
            entry = &rest[length + 1..];
        }
        fields
    }

    #[test]
    fn an_entry_has_its_fields_by_name_and_in_its_text() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let path = folder.path().join("journal");
        let other_end = UnixDatagram::bind(&path).expect("the path is free");
        let journal = Journal::at(path.to_str().expect("it is UTF-8")).expect("somebody is there");
        let user = "a\nMESSAGE=forged";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            tracing::warn!(address = %"127.0.0.1", user, messages = 3, "login refused");
        });
        let mut entry = [0; 1024];
        let length = other_end.recv(&mut entry).expect("an entry was sent");
        let fields = parse(&entry[..length]);
        assert_eq!(fields["MESSAGE"], r#"login refused address=127.0.0.1 user="a\nMESSAGE=forged" messages=3"#);
        assert_eq!(fields["PRIORITY"], "4");
        assert_eq!(fields["CHATD_ADDRESS"], "127.0.0.1");
        assert_eq!(fields["CHATD_USER"], user);
        assert_eq!(fields["CHATD_MESSAGES"], "3");
    }
}
