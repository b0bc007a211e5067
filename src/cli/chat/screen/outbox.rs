//! Messages that were typed and that the server may not have stored yet. They are in a file, so they are sent even if
//! the program is killed. The file has a line of JSON for each message, and another line when it is stored or was taken
//! back. Each message has a key, with which the server stores it only once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::chat::screen::draft_file::DraftFile;
use crate::model::Timestamp;

/// The server knows a key for seven days. Who sends again after that may send twice.
const KNOWN: i64 = 6 * 24 * 3_600_000;
/// So many programs of one account on one machine may each have an outbox.
const MOST: usize = 64;

/// A message that waits.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct WaitingMessage {
    pub(crate) key: String,
    pub(crate) with: String,
    pub(crate) text: String,
    /// When it was typed.
    pub(crate) at: i64,
}

impl WaitingMessage {
    /// The server may not know its key any more.
    pub(crate) fn is_old(&self, now: Timestamp) -> bool {
        !(0..KNOWN).contains(&(now.0 - self.at))
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum OutboxLine {
    Waits(WaitingMessage),
    /// The message with this key waits no more.
    Done(String),
}

/// The outbox of one program: it alone has the lock of its file.
pub(crate) struct Outbox {
    file: File,
    /// The keys of what waits. With the last one the file is empty again.
    waiting: BTreeSet<String>,
    /// What is typed and not sent.
    pub(crate) drafts: DraftFile,
}

impl Outbox {
    /// The first that nobody else has, with what waits and the drafts in it and in those of programs that are gone.
    pub(crate) fn open(place: &Path) -> io::Result<(Outbox, Vec<WaitingMessage>)> {
        let mut own: Option<Outbox> = None;
        let mut all = Vec::new();
        for number in 0..MOST {
            let path = numbered(place, number);
            if own.is_some() && !path.exists() {
                break;
            }
            let options = OpenOptions::new().read(true).append(true).create(true).mode(0o600).clone();
            let mut file = options.open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let waiting = read(&mut file)?;
            match &mut own {
                None => {
                    let keys = waiting.iter().map(|waits| waits.key.clone()).collect();
                    own = Some(Outbox { file, waiting: keys, drafts: DraftFile::open(&path)? });
                }
                Some(own) => {
                    for waits in &waiting {
                        own.add(waits)?;
                    }
                    file.set_len(0)?;
                    own.drafts.take_over(&path)?;
                }
            }
            all.extend(waiting);
        }
        all.sort_by_key(|waits: &WaitingMessage| waits.at);
        own.map(|own| (own, all)).ok_or_else(|| io::Error::other("too many programs have an outbox"))
    }

    /// From here on the message is sent whatever becomes of this program.
    pub(crate) fn add(&mut self, waits: &WaitingMessage) -> io::Result<()> {
        if self.waiting.insert(waits.key.clone()) {
            self.write(&OutboxLine::Waits(waits.clone()))?;
        }
        Ok(())
    }

    /// The message is stored, or was taken back.
    pub(crate) fn done(&mut self, key: &str) -> io::Result<()> {
        match (self.waiting.remove(key), self.waiting.is_empty()) {
            (false, _) => Ok(()),
            (true, true) => self.file.set_len(0),
            (true, false) => self.write(&OutboxLine::Done(key.to_owned())),
        }
    }

    /// With one write, so that a killed program leaves a whole line or nothing.
    fn write(&mut self, line: &OutboxLine) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())
    }
}

fn numbered(place: &Path, number: usize) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    place.with_file_name(name)
}

/// What waits, in the order typed. A line that is no line, as a full disk leaves it, is none.
fn read(file: &mut File) -> io::Result<Vec<WaitingMessage>> {
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    let (mut waiting, mut order) = (BTreeMap::new(), Vec::new());
    for line in text.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(OutboxLine::Waits(waits)) => {
                order.push(waits.key.clone());
                waiting.insert(waits.key.clone(), waits);
            }
            Ok(OutboxLine::Done(key)) => drop(waiting.remove(&key)),
            Err(_) => {}
        }
    }
    // What follows a piece of a line would be part of it.
    if text.last().is_some_and(|last| *last != b'\n') {
        file.write_all(b"\n")?;
    }
    Ok(order.iter().filter_map(|key| waiting.remove(key)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn message(key: &str, at: i64) -> WaitingMessage {
        WaitingMessage { key: key.to_owned(), with: "henderson".to_owned(), text: "satu\ndua".to_owned(), at }
    }

    #[test]
    fn what_is_not_done_waits_for_the_next_program() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let place = folder.path().join("outbox-messi");
        let (mut first, waiting) = Outbox::open(&place).expect("it opens");
        assert_eq!(waiting, []);
        for (key, at) in [("a", 1), ("b", 2), ("c", 3)] {
            first.add(&message(key, at)).expect("it is written");
        }
        first.done("b").expect("it is written");
        // Another running program has its own outbox, and does not take over that of a living one.
        let (mut second, waiting) = Outbox::open(&place).expect("it opens");
        assert_eq!(waiting, []);
        second.add(&message("d", 2)).expect("it is written");
        // A program that was killed while it wrote.
        first.file.write_all(b"{\"waits\":{\"key\":\"e").expect("it is written");
        drop((first, second));
        let wanted = [message("a", 1), message("d", 2), message("c", 3)];
        for _ in 0..2 {
            let (mut next, waiting) = Outbox::open(&place).expect("it opens");
            assert_eq!(waiting, wanted);
            next.add(&message("f", 9)).expect("it is written");
            next.done("f").expect("it is written");
        }
        let (mut last, _) = Outbox::open(&place).expect("it opens");
        for key in ["a", "c", "d"] {
            last.done(key).expect("it is written");
        }
        drop(last);
        assert_eq!(fs::metadata(&place).expect("it is there").len(), 0);
        assert_eq!(Outbox::open(&place).expect("it opens").1, []);
    }

    #[test]
    fn what_the_server_may_have_forgotten_is_old() {
        let day = 24 * 3_600_000;
        assert!(!message("a", day).is_old(Timestamp(6 * day)));
        assert!(message("a", day).is_old(Timestamp(8 * day)));
        assert!(message("a", day).is_old(Timestamp(0)), "a clock that was set says nothing");
    }
}
