//! Log lines as systemd's journal takes them: one datagram each, in which every field of the line is a field of the
//! entry, so that `journalctl CHATD_USER=messi` finds what messi did. The text of the entry names the fields too, as a
//! line on standard error does: tracing-journald leaves them out of the text. Knows nothing of chatd's.
//!
//! The format: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.

use std::env;
use std::fmt::{self, Write};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::ops::log_queue::{LogQueue, Sink};

const SOCKET: &str = "/run/systemd/journal/socket";

/// The journal, as a place for log lines.
#[derive(Debug)]
pub(crate) struct Journal<F> {
    path: PathBuf,
    socket: UnixDatagram,
    /// Takes the text of an entry that the journal does not take.
    fallback: F,
}

impl<F: Sink> Journal<F> {
    /// The journal, when this process's standard error is connected to it.
    pub(crate) fn behind_stderr(fallback: F) -> Result<Journal<F>, F> {
        match is_behind_stderr().and_then(|()| connect(Path::new(SOCKET)).ok()) {
            Some(socket) => Ok(Journal { path: SOCKET.into(), socket, fallback }),
            None => Err(fallback),
        }
    }
}

fn is_behind_stderr() -> Option<()> {
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned().ok()?).metadata().ok()?;
    (env::var("JOURNAL_STREAM").ok()? == format!("{}:{}", stderr.dev(), stderr.ino())).then_some(())
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

impl<F: Sink> Sink for Journal<F> {
    fn write(&mut self, entry: &[u8]) -> io::Result<()> {
        if self.socket.send(entry).is_ok() {
            return Ok(());
        }
        // A journal that was started anew has another socket.
        if let Ok(socket) = connect(&self.path) {
            self.socket = socket;
            if self.socket.send(entry).is_ok() {
                return Ok(());
            }
        }
        // The socket is gone, or the entry is too long for it: uses the journal's other interface, or the present
        // standard error.
        self.fallback.write(text_of(entry))
    }
}

/// Makes entries of events, for a queue behind which is a [`Journal`].
#[derive(Debug)]
pub(crate) struct JournalLayer(pub Arc<LogQueue>);

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = JournalEntry::default();
        event.record(&mut entry);
        self.0.push(entry.finish(event.metadata().level(), event.metadata().target()));
    }
}

/// One entry, as its fields come in.
#[derive(Default)]
struct JournalEntry {
    message: String,
    /// What follows the message in the text.
    fields: String,
    bytes: Vec<u8>,
}

impl JournalEntry {
    fn finish(self, level: &Level, target: &str) -> Vec<u8> {
        // syslog's numbers: what `journalctl -p warning` and its colours go by.
        let priority = match *level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            _ => "7",
        };
        let mut entry = Vec::with_capacity(256 + self.bytes.len());
        put(&mut entry, MESSAGE, &format!("{}{}", self.message, self.fields));
        for (name, value) in [("PRIORITY", priority), ("SYSLOG_IDENTIFIER", "chatd"), ("CHATD_TARGET", target)] {
            put(&mut entry, name, value);
        }
        entry.extend_from_slice(&self.bytes);
        entry
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

impl Visit for JournalEntry {
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

/// The text is the first field of an entry.
const MESSAGE: &str = "MESSAGE";

/// The text of an entry, with the line end that comes after each value.
fn text_of(entry: &[u8]) -> &[u8] {
    let length = entry.get(MESSAGE.len() + 1..MESSAGE.len() + 9).and_then(|length| length.try_into().ok());
    let text = entry.get(MESSAGE.len() + 9..).unwrap_or_default();
    let length = length.map_or(0, u64::from_le_bytes);
    &text[..text.len().min(usize::try_from(length).map_or(0, |length| length + 1))]
}

/// Name, line end, length, value, line end. In this form a value may have line ends.
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

    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

    struct Nowhere;

    impl Sink for Nowhere {
        fn write(&mut self, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    struct Elsewhere(std::sync::mpsc::Sender<Vec<u8>>);

    impl Sink for Elsewhere {
        fn write(&mut self, line: &[u8]) -> io::Result<()> {
            self.0.send(line.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe.into())
        }
    }

    fn queue(path: &Path, fallback: impl Sink + 'static) -> Arc<LogQueue> {
        let path: PathBuf = path.to_owned();
        let socket = connect(&path).expect("somebody is there");
        LogQueue::start(Journal { path, socket, fallback }, || ()).expect("a thread can be had")
    }

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
        let queue = queue(&path, Nowhere);
        let user = "a\nMESSAGE=forged";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(JournalLayer(queue)), || {
            tracing::warn!(address = %"127.0.0.1", user, messages = 3, "login refused");
        });
        let mut entry = [0; 1024];
        let length = other_end.recv(&mut entry).expect("an entry was sent");
        let fields = parse(&entry[..length]);
        assert_eq!(fields["MESSAGE"], "login refused address=127.0.0.1 user=\"a\\nMESSAGE=forged\" messages=3");
        assert_eq!(fields["PRIORITY"], "4");
        assert_eq!(fields["CHATD_ADDRESS"], "127.0.0.1");
        assert_eq!(fields["CHATD_USER"], user);
        assert_eq!(fields["CHATD_MESSAGES"], "3");
    }

    #[test]
    fn a_journal_that_was_started_anew_is_found_again_and_without_one_the_text_goes_elsewhere() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let path = folder.path().join("journal");
        let first = UnixDatagram::bind(&path).expect("the path is free");
        let (text, texts) = std::sync::mpsc::channel();
        let queue = queue(&path, Elsewhere(text));
        let log = |line: &str| {
            tracing::subscriber::with_default(tracing_subscriber::registry().with(JournalLayer(queue.clone())), || {
                tracing::warn!(number = 1, "{line}");
            });
        };
        drop(first);
        log("nobody is there");
        assert_eq!(texts.recv_timeout(PATIENCE), Ok(b"nobody is there number=1\n".to_vec()));
        std::fs::remove_file(&path).expect("it was made");
        let second = UnixDatagram::bind(&path).expect("the path is free");
        log("somebody is there again");
        let mut entry = [0; 1024];
        let length = second.recv(&mut entry).expect("an entry was sent");
        assert_eq!(parse(&entry[..length])["MESSAGE"], "somebody is there again number=1");
    }
}
