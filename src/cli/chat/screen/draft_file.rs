//! What was typed and not sent, on the disk, so that it is there again even if the program is killed: one file of JSON,
//! a text for each conversation. It lies beside the outbox, whose lock guards it, and is gone when nothing is typed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::chat::tokens;

/// A text for each conversation; that of no name was typed while none was open.
pub(crate) type Drafts = BTreeMap<String, String>;

/// The drafts of one program.
pub(crate) struct DraftFile {
    path: PathBuf,
    /// What the file has.
    kept: Drafts,
}

impl DraftFile {
    /// That of the program with this outbox.
    pub(crate) fn open(outbox: &Path) -> io::Result<DraftFile> {
        let path = beside(outbox, ".drafts");
        Ok(DraftFile { kept: read(&path)?, path })
    }

    /// Adds what a program that is gone has left beside this outbox.
    pub(crate) fn take_over(&mut self, outbox: &Path) -> io::Result<()> {
        let path = beside(outbox, ".drafts");
        let left = read(&path)?;
        if left.is_empty() {
            return Ok(());
        }
        let mut all = self.kept.clone();
        for (with, text) in left {
            let draft = all.entry(with).or_default();
            let between = if draft.is_empty() { "" } else { "\n" };
            draft.push_str(&format!("{between}{text}"));
        }
        self.keep(all)?;
        remove(&path)
    }

    pub(crate) fn kept(&self) -> &Drafts {
        &self.kept
    }

    /// From here on these are the drafts, whatever becomes of this program.
    pub(crate) fn keep(&mut self, drafts: Drafts) -> io::Result<()> {
        if drafts == self.kept {
            return Ok(());
        }
        match drafts.is_empty() {
            true => remove(&self.path)?,
            false => tokens::replace(&self.path, &beside(&self.path, ".new"), &serde_json::to_string(&drafts)?)?,
        }
        self.kept = drafts;
        Ok(())
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file that is no such file has no drafts.
fn read(path: &Path) -> io::Result<Drafts> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Drafts::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn drafts(list: &[(&str, &str)]) -> Drafts {
        list.iter().map(|(with, text)| ((*with).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn what_several_programs_left_is_joined_and_nothing_is_left_of_what_is_sent() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let [first, second] = ["outbox-messi", "outbox-messi.1"].map(|name| folder.path().join(name));
        for (outbox, list) in
            [(&first, [("henderson", "satu"), ("", "x")]), (&second, [("henderson", "dua"), ("team", "y")])]
        {
            let mut file = DraftFile::open(outbox).expect("it opens");
            file.keep(drafts(&list)).expect("it is written");
            let mode = fs::metadata(&file.path).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let mut file = DraftFile::open(&first).expect("it opens");
        file.take_over(&second).expect("it is read");
        let all = drafts(&[("henderson", "satu\ndua"), ("", "x"), ("team", "y")]);
        assert_eq!((file.kept(), DraftFile::open(&first).expect("it opens").kept()), (&all, &all));
        file.keep(Drafts::new()).expect("it is removed");
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
        fs::write(beside(&first, ".drafts"), "no JSON").expect("it is written");
        assert_eq!(DraftFile::open(&first).expect("it opens").kept(), &Drafts::new());
    }
}
