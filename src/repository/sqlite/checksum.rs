//! The checksums of messages and of their index. SQLite notices damage to the structure of a database, but not to its
//! content: in a test it served every text in which one bit was changed.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use rustc_hash::FxHashSet;
use tracing::error;

use crate::model::{MessageId, UserId};
use crate::ops::metrics::Counter;

/// What a reader gets in place of a damaged text.
pub(super) const NOTICE: &str =
    "[This message is damaged on the server's disk. Its text may be in a backup: ask the administrator.]";

/// How long a checksum is, in bytes.
pub(super) const BYTES: usize = 4;
/// A checksum, as it is stored.
pub(super) type Checksum = [u8; BYTES];

/// A message as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content<'a> {
    pub id: i64,
    pub sender: i64,
    /// The number of whom it is for.
    pub target: i64,
    /// When it was sent.
    pub sent_at: i64,
    /// Its text, which may be no text any more.
    pub text: &'a [u8],
}

impl Content<'_> {
    /// The checksum that belongs to it.
    pub(super) fn checksum(&self) -> Checksum {
        of(&[self.id, self.sender, self.target, self.sent_at], self.text)
    }
}

/// The checksum that belongs to a row of `mail`.
pub(super) fn of_mail(run: i64, recipient: i64, messages: &[u8]) -> Checksum {
    of(&[run, recipient], messages)
}

fn of(numbers: &[i64], bytes: &[u8]) -> Checksum {
    let numbers = numbers.iter().fold(0, |crc, number| crc32c::crc32c_append(crc, &number.to_be_bytes()));
    crc32c::crc32c_append(numbers, bytes).to_be_bytes()
}

/// Which messages have a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unchecked(pub MessageId);

impl Unchecked {
    /// The text of a message, if it is what was stored. `checksum` is empty where there is none.
    pub(super) fn text<'a>(self, content: &Content<'a>, checksum: &[u8]) -> Option<&'a str> {
        self.allows(content.id, checksum, || content.checksum()).then(|| str::from_utf8(content.text).ok())?
    }

    /// The messages of a row of `mail`, if they are what was stored.
    pub(super) fn mail<'a>(self, run: i64, recipient: i64, messages: &'a [u8], checksum: &[u8]) -> Option<&'a [u8]> {
        self.allows(run, checksum, || of_mail(run, recipient, messages)).then_some(messages)
    }

    fn allows(self, id: i64, checksum: &[u8], belongs: impl FnOnce() -> Checksum) -> bool {
        if checksum.is_empty() { id <= self.0.0 } else { checksum == belongs() }
    }
}

/// The log names each damaged message once. So many are remembered.
const REMEMBERED: usize = 100_000;

/// What was found damaged since the start.
#[derive(Debug)]
pub(super) struct Damage {
    /// Which messages have a checksum.
    pub unchecked: Unchecked,
    database: PathBuf,
    told: Mutex<FxHashSet<MessageId>>,
    pub messages: Counter,
}

impl Damage {
    pub(super) fn new(unchecked: Unchecked, database: PathBuf) -> Damage {
        Damage { unchecked, database, told: Mutex::default(), messages: Counter::default() }
    }

    /// Reports that these messages, each with its recipient, are damaged. Fails when the disk is gone: then a wrong
    /// read proves nothing.
    pub(super) fn tell_all(&self, messages: &[(UserId, MessageId)]) -> io::Result<()> {
        if messages.iter().all(|(_, id)| self.told().contains(id)) {
            return Ok(());
        }
        File::open(&self.database)?.sync_all()?;
        messages.iter().for_each(|(recipient, id)| self.tell(*recipient, *id));
        Ok(())
    }

    /// A message is not what was stored.
    pub(super) fn tell(&self, recipient: UserId, id: MessageId) {
        let mut told = self.told();
        if told.len() >= REMEMBERED || !told.insert(id) {
            return;
        }
        self.messages.add(1);
        let (user, id) = (recipient.0, id.0);
        error!(user, id, "a message is damaged: its text is not shown; `chatd db verify` looks at all");
    }

    fn told(&self) -> MutexGuard<'_, FxHashSet<MessageId>> {
        self.told.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: Content<'_> =
        Content { id: 7, sender: 1, target: 2, sent_at: 1_795_447_622_120, text: b"saya \xC3\xA9" };

    #[test]
    fn each_flipped_bit_is_found() {
        let (checksum, none) = (CONTENT.checksum(), Unchecked(MessageId(6)));
        assert_eq!(none.text(&CONTENT, &checksum), Some("saya é"));
        for bit in 0..8 * CONTENT.text.len() {
            let mut text = CONTENT.text.to_vec();
            text[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(none.text(&Content { text: &text, ..CONTENT }, &checksum), None);
        }
        for bit in 0..64 {
            let flip = 1 << bit;
            for flipped in [
                Content { id: CONTENT.id ^ flip, ..CONTENT },
                Content { sender: CONTENT.sender ^ flip, ..CONTENT },
                Content { target: CONTENT.target ^ flip, ..CONTENT },
                Content { sent_at: CONTENT.sent_at ^ flip, ..CONTENT },
            ] {
                assert_eq!(none.text(&flipped, &checksum), None);
            }
        }
        assert_eq!(none.mail(7, 2, b"[]", &of_mail(7, 2, b"[]")), Some(&b"[]"[..]));
        assert_eq!(none.mail(7, 3, b"[]", &of_mail(7, 2, b"[]")), None);
    }

    #[test]
    fn what_is_older_than_the_checksums_has_none_and_what_is_newer_must_have_one() {
        assert_eq!(Unchecked(MessageId(7)).text(&CONTENT, b""), Some("saya é"));
        assert_eq!(Unchecked(MessageId(6)).text(&CONTENT, b""), None);
        assert_eq!(Unchecked(MessageId(7)).text(&CONTENT, b"1234"), None);
        assert_eq!(Unchecked(MessageId(7)).text(&Content { text: b"\xC3\x83\xC3", ..CONTENT }, b""), None);
    }
}
