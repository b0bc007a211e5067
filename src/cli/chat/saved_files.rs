//! Files that came, in a directory of the reader's: under names that do no harm there, never over what is there, and on
//! the disk before anybody is told so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::model::{FileName, FileWord, visible};

/// The longest name, in bytes, that leaves room for a number.
const NAME_BYTES: usize = 240;
/// So many files of one name, at the most.
const SAME_NAME: u32 = 10_000;

/// A directory in which files are saved.
#[derive(Clone, Debug)]
pub(crate) struct SaveDirectory(PathBuf);

impl SaveDirectory {
    /// The directory, made where there is none.
    pub(crate) fn open(path: &Path) -> anyhow::Result<SaveDirectory> {
        fs::create_dir_all(path).with_context(|| format!("{}: no directory to save files in", path.display()))?;
        Ok(SaveDirectory(path.to_owned()))
    }

    /// Saves a file that came under a name; gives where. It is on the disk then. A file that is there already, under
    /// the name and byte for byte, is not saved again.
    pub(crate) fn save(&self, name: &str, word: &str) -> anyhow::Result<PathBuf> {
        let (part, mut file) = self.part().with_context(|| format!("{}: not saved", self.0.display()))?;
        let saved = self.fill(&mut file, word).and_then(|()| self.give_name(&part, &safe_name(name)));
        // It is there under its name, or is of no use.
        let _ = fs::remove_file(&part);
        saved.with_context(|| format!("{}: {} was not saved", self.0.display(), visible(name)))
    }

    /// A new file without a name of its own yet.
    fn part(&self) -> io::Result<(PathBuf, File)> {
        let mut number = 0;
        loop {
            let path = self.0.join(format!(".chatd-{}-{number}.part", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                // One of an earlier run that was killed.
                Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => number += 1,
                made => return Ok((path, made?)),
            }
        }
    }

    fn fill(&self, file: &mut File, word: &str) -> anyhow::Result<()> {
        for piece in FileWord::parse(word).pieces() {
            file.write_all(&piece)?;
        }
        Ok(file.sync_all()?)
    }

    /// Gives a file the first name of its kind that nobody has.
    fn give_name(&self, part: &Path, name: &str) -> anyhow::Result<PathBuf> {
        for number in 1..=SAME_NAME {
            let path = self.0.join(numbered(name, number));
            match rename_to_new(part, &path) {
                Ok(()) => {}
                Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => {
                    if !is_same(part, &path)? {
                        continue;
                    }
                    File::open(&path)?.sync_all()?;
                }
                Err(error) => return Err(error.into()),
            }
            File::open(&self.0)?.sync_all()?;
            return Ok(path);
        }
        bail!("there are {SAME_NAME} files of that name: move some away")
    }
}

/// Renames a file, but to no name that is there.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can do it.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::hard_link(from, to),
        done => Ok(done?),
    }
}

/// Whether the second is a file, and has the same bytes. A link to another directory is none.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(other)?.is_file() {
        return Ok(false);
    }
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut here, mut there) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let read = one.read(&mut here)?;
        if read == 0 {
            return Ok(true);
        }
        match other.read_exact(&mut there[..read]) {
            Ok(()) if here[..read] == there[..read] => {}
            Ok(()) => return Ok(false),
            // It has become shorter meanwhile.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// A name in one directory that no terminal obeys, that is not hidden, and that no command takes for an option.
fn safe_name(name: &str) -> String {
    let Some(name) = FileName::parse(name) else { return "file".to_owned() };
    let mut safe = String::new();
    for c in name.as_str().chars() {
        if safe.len() + c.len_utf8() > NAME_BYTES {
            break;
        }
        let harms =
            visible(c.encode_utf8(&mut [0; 4])) != c.to_string() || (safe.is_empty() && ['.', '-'].contains(&c));
        safe.push(if harms { '_' } else { c });
    }
    safe
}

/// `photo.jpg`, `photo-2.jpg`, `photo-3.jpg`.
fn numbered(name: &str, number: u32) -> String {
    match name.rsplit_once('.') {
        _ if number == 1 => name.to_owned(),
        Some((stem, ending)) => format!("{stem}-{number}.{ending}"),
        None => format!("{name}-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_the_directory_or_does_harm_in_it() {
        for (name, safe) in [
            ("photo.jpg", "photo.jpg"),
            ("../../etc/passwd", "passwd"),
            ("/etc/passwd", "passwd"),
            ("C:\\x\\y.pdf", "y.pdf"),
            (".bashrc", "_bashrc"),
            ("-rf", "_rf"),
            ("..", "file"),
            ("", "file"),
            ("a\u{1b}[2J", "file"),
            ("a\u{202e}gpj.exe", "a_gpj.exe"),
            ("a\u{9b}b", "a_b"),
            ("é 你", "é 你"),
        ] {
            assert_eq!(safe_name(name), safe, "{name:?}");
        }
        assert!(safe_name(&"é".repeat(127)).len() <= NAME_BYTES);
        assert_eq!(numbered("photo.jpg", 1), "photo.jpg");
        assert_eq!(numbered("photo.jpg", 2), "photo-2.jpg");
        assert_eq!(numbered("photo", 3), "photo-3");
    }

    /// Whatever is there stays: a file, a directory, a link that leads elsewhere.
    #[test]
    fn what_is_there_is_not_touched() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let (elsewhere, inside) = (folder.path().join("elsewhere"), folder.path().join("inside"));
        fs::create_dir(&inside).expect("it can be made");
        fs::write(inside.join("a.txt"), "mine").expect("it can be written");
        fs::create_dir(inside.join("a-2.txt")).expect("it can be made");
        std::os::unix::fs::symlink(&elsewhere, inside.join("a-3.txt")).expect("it can be made");
        let directory = SaveDirectory::open(&inside).expect("it is one");
        let saved = directory.save("x/a.txt", "aGFsbwo=").expect("it can be saved");
        assert_eq!(saved, inside.join("a-4.txt"));
        assert_eq!(fs::read(&saved).expect("it is there"), b"halo\n");
        assert_eq!(fs::read(inside.join("a.txt")).expect("it is there"), b"mine");
        assert!(!elsewhere.exists());
        // What comes again is there already.
        assert_eq!(directory.save("a.txt", "b'aGFsbwo='").expect("it can be saved"), saved);
        assert_eq!(fs::read_dir(&inside).expect("it is one").count(), 4, "no part of a file is left");
    }
}
