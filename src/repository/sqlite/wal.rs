//! Reads SQLite's WAL on the disk, before SQLite does. SQLite reads it up to the first damaged frame and reports
//! nothing about the rest. So each commit notes its end outside the WAL, and the next start compares. The format:
//! <https://sqlite.org/fileformat2.html#walformat>.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::paths::companion_path;

/// Of the whole file and of each frame.
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// What is new each time a WAL begins anew.
pub(super) type Salts = u64;

/// In the place of the salts of a WAL whose head is damaged.
pub(super) const DAMAGED: Salts = 0;

/// How far a WAL goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WalExtent {
    /// Which of the WALs that this file was.
    pub salts: Salts,
    /// Frames up to the end of the last commit.
    pub frames: u64,
}

/// The salts of a WAL that is open.
pub(super) fn salts(wal: &File) -> io::Result<Salts> {
    let mut salts = [0; 8];
    wal.read_exact_at(&mut salts, 16)?;
    Ok(u64::from_be_bytes(salts))
}

/// The part of a database's WAL that SQLite takes over; `None`: there is no WAL. Where its head is damaged, that is
/// nothing.
pub(super) fn extent(database: &Path) -> io::Result<Option<WalExtent>> {
    let file = match File::open(companion_path(database, "-wal")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if file.metadata()?.len() == 0 {
        return Ok(None);
    }
    let mut file = BufReader::with_capacity(1 << 16, file);
    let mut head = [0; HEADER];
    if !filled(&mut file, &mut head)? {
        return Ok(Some(WalExtent { salts: DAMAGED, frames: 0 }));
    }
    let salts = u64::from_be_bytes(head[16..24].try_into().unwrap_or_default());
    let mut extent = WalExtent { salts, frames: 0 };
    let magic = word(&head, 0, true);
    let page = word(&head, 8, true) as usize;
    let mut sum = Sum { words: (0, 0), big_endian: magic & 1 == 1 };
    sum.add(&head[..24]);
    if magic & !1 != 0x377f_0682
        || !(512..=65_536).contains(&page)
        || !page.is_multiple_of(8)
        || !sum.stands_in(&head[24..])
    {
        return Ok(Some(WalExtent { salts: DAMAGED, frames: 0 }));
    }
    let mut frame = vec![0; FRAME_HEADER + page];
    for number in 1.. {
        if !filled(&mut file, &mut frame)? || frame[8..16] != head[16..24] {
            break;
        }
        sum.add(&frame[..8]);
        sum.add(&frame[FRAME_HEADER..]);
        if !sum.stands_in(&frame[16..24]) {
            break;
        }
        // The size of the database stands in the last frame of a commit.
        if word(&frame, 4, true) != 0 {
            extent.frames = number;
        }
    }
    Ok(Some(extent))
}

/// Keeps a copy of a WAL that is damaged, because SQLite overwrites it. Gives where.
pub(super) fn keep(database: &Path) -> io::Result<PathBuf> {
    let name = |number: u32| match number {
        1 => companion_path(database, "-wal.damaged"),
        _ => companion_path(database, &format!("-wal.damaged-{number}")),
    };
    let to = (1..).map(name).find(|path| path.symlink_metadata().is_err()).expect("the numbers do not end");
    fs::copy(companion_path(database, "-wal"), &to)?;
    Ok(to)
}

fn filled(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

/// SQLite's running checksum of a WAL.
struct Sum {
    words: (u32, u32),
    big_endian: bool,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let (mut first, mut second) = self.words;
        for at in (0..bytes.len()).step_by(8) {
            first = first.wrapping_add(word(bytes, at, self.big_endian)).wrapping_add(second);
            second = second.wrapping_add(word(bytes, at + 4, self.big_endian)).wrapping_add(first);
        }
        self.words = (first, second);
    }

    fn stands_in(&self, bytes: &[u8]) -> bool {
        (word(bytes, 0, true), word(bytes, 4, true)) == self.words
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
    use sqlx::{ConnectOptions, Connection};

    use super::*;

    #[tokio::test]
    async fn a_wal_is_followed_as_far_as_sqlite_does() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let database = folder.path().join("chat.db");
        assert_eq!(extent(&database).expect("it can be read"), None);
        let options = SqliteConnectOptions::new().filename(&database).create_if_missing(true);
        let mut db = options.journal_mode(SqliteJournalMode::Wal).connect().await.expect("it can be made");
        sqlx::query("CREATE TABLE t (text TEXT)").execute(&mut db).await.expect("it is SQL");
        let mut frames = Vec::new();
        for _ in 0..5 {
            sqlx::query("INSERT INTO t VALUES (hex(randomblob(5000)))").execute(&mut db).await.expect("it is SQL");
            frames.push(extent(&database).expect("it can be read").expect("it is there").frames);
        }
        assert!(frames.is_sorted() && frames[0] > 0, "{frames:?}");
        let wal = companion_path(&database, "-wal");
        let whole = fs::read(&wal).expect("it is there");
        let copy = folder.path().join("copy.db");
        let file = fs::read(&database).expect("it is there");
        for at in (0..whole.len()).step_by(997) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&copy, &file).expect("it can be written");
            fs::write(companion_path(&copy, "-wal"), &damaged).expect("it can be written");
            let _ = fs::remove_file(companion_path(&copy, "-shm"));
            let found = extent(&copy).expect("it can be read").expect("it is there").frames;
            let rows = frames.iter().filter(|end| **end <= found).count() as i64;
            let mut reader =
                SqliteConnectOptions::new().filename(&copy).connect().await.expect("SQLite takes what is whole");
            let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM t").fetch_one(&mut reader).await;
            // Without the commit that made it, there is no table.
            assert_eq!(count.unwrap_or(0), rows, "byte {at}: {found} of {frames:?}");
            reader.close().await.expect("it closes");
        }
        db.close().await.expect("it closes");
    }
}
