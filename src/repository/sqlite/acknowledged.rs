//! Notes the last acknowledged message outside the WAL, in the lock file, after each commit and before the answer. The
//! note is not flushed to the disk. So it survives when the process is killed; after a power cut it may be old. It is
//! never ahead of the disk. A start compares it with the messages that it finds.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use tracing::error;

use super::paths::companion_path;
use super::wal::{self, WalExtent};
use crate::model::MessageId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub last: MessageId,
    /// The end of the last commit, where it is in the WAL.
    pub wal: Option<WalExtent>,
}

/// Always as long, and with a checksum, because numbers are given out after it.
impl fmt::Display for Acknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WalExtent { salts, frames } = self.wal.unwrap_or(WalExtent { salts: 0, frames: 0 });
        let numbers = format!("{:020} {salts:016x} {frames:020}", self.last.0);
        write!(f, "{numbers} {:08x}", crc32c::crc32c(numbers.as_bytes()))
    }
}

impl FromStr for Acknowledged {
    type Err = ();

    fn from_str(text: &str) -> Result<Acknowledged, ()> {
        let (numbers, checksum) = text.rsplit_once(' ').ok_or(())?;
        if u32::from_str_radix(checksum, 16) != Ok(crc32c::crc32c(numbers.as_bytes())) {
            return Err(());
        }
        let mut words = numbers.split_whitespace();
        let mut word = || words.next().ok_or(());
        let last = MessageId(word()?.parse().map_err(|_| ())?);
        let salts = u64::from_str_radix(word()?, 16).map_err(|_| ())?;
        let frames = word()?.parse().map_err(|_| ())?;
        Ok(Acknowledged { last, wal: (frames > 0).then_some(WalExtent { salts, frames }) })
    }
}

impl Acknowledged {
    /// Whether the WAL that lies beside a database, before SQLite takes it over, ends before the last commit that was
    /// acknowledged. Where the WAL has begun anew or is gone, as after a command of an administrator, only what is in
    /// the database can tell.
    pub(super) fn is_cut_short(&self, database: &Path) -> io::Result<bool> {
        let Some(noted) = self.wal else { return Ok(false) };
        let Some(found) = wal::extent(database)? else { return Ok(false) };
        Ok(found.salts == wal::DAMAGED || found.salts == noted.salts && found.frames < noted.frames)
    }

    /// Logs what is lost. `next_id` is the number of the next message. Gives how many messages are lost; their numbers
    /// are not used again.
    pub(super) fn tell_loss(&self, next_id: &mut MessageId, is_cut_short: bool) -> u64 {
        let (acknowledged, found) = (self.last.0, next_id.0 - 1);
        let lost = u64::try_from(acknowledged.saturating_sub(found)).unwrap_or(0);
        *next_id = MessageId(found.max(acknowledged) + 1);
        if lost > 0 {
            error!(
                lost,
                acknowledged, found, "messages that were acknowledged are lost: the database ends before them"
            );
        } else if is_cut_short {
            error!("what was acknowledged last is lost: logins, changes of accounts, or which messages were read");
        }
        lost
    }
}

/// Keeps the WAL of a database where it ends too early, for whoever wants to save more of it. Gives whether it does.
pub(super) fn look_at_wal(database: &Path, acknowledged: &Acknowledged) -> bool {
    match acknowledged.is_cut_short(database) {
        Ok(false) => return false,
        Ok(true) => {}
        Err(error) => {
            error!(%error, "the WAL of the last server could not be read");
            return false;
        }
    }
    match wal::keep(database) {
        Ok(kept) => error!(?kept, "the WAL is damaged: SQLite takes it up to there, and a copy is kept"),
        Err(error) => error!(%error, "the WAL is damaged: SQLite takes it up to there, and no copy could be kept"),
    }
    true
}

#[derive(Debug)]
pub(super) struct AcknowledgedNote {
    file: File,
    place: u64,
    wal: File,
    noted: Acknowledged,
    /// One failure says it all.
    has_failed: bool,
}

impl AcknowledgedNote {
    /// A note at a place of the lock file; the database is open.
    pub(super) fn new(file: File, place: u64, database: &Path, last: MessageId) -> io::Result<AcknowledgedNote> {
        let wal = File::open(companion_path(database, "-wal"))?;
        Ok(AcknowledgedNote { file, place, wal, noted: Acknowledged { last, wal: None }, has_failed: false })
    }

    /// After a commit: the last message, and how many frames the WAL has.
    pub(super) fn write(&mut self, last: MessageId, frames: u64) {
        if let Err(error) = self.try_write(last, frames)
            && !std::mem::replace(&mut self.has_failed, true)
        {
            error!(%error, "it cannot be noted what was acknowledged: a damaged WAL would not be noticed");
        }
    }

    fn try_write(&mut self, last: MessageId, frames: u64) -> io::Result<()> {
        let salts = match self.noted.wal {
            // Each commit adds to it, or it has begun anew.
            Some(before) if frames > before.frames => before.salts,
            _ => wal::salts(&self.wal)?,
        };
        self.noted = Acknowledged { last, wal: Some(WalExtent { salts, frames }) };
        self.file.write_all_at(self.noted.to_string().as_bytes(), self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_is_always_as_long() {
        let none = Acknowledged { last: MessageId(0), wal: None };
        let most = WalExtent { salts: u64::MAX, frames: u64::MAX };
        let most = Acknowledged { last: MessageId(i64::MAX), wal: Some(most) };
        for note in [none, most] {
            assert_eq!(note.to_string().parse(), Ok(note));
        }
        assert_eq!(none.to_string().len(), most.to_string().len());
        assert_eq!("".parse::<Acknowledged>(), Err(()));
        let flipped = most.to_string().replacen('9', "1", 1);
        assert_eq!(flipped.parse::<Acknowledged>(), Err(()));
    }
}
