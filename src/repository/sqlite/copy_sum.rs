//! The SHA-256 of a copy, in a file beside it that `sha256sum -c` can read, too. With it a check finds that a bit of
//! the copy has changed since, wherever the bit is.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::task::yield_now;

use super::companion;
use super::paths::{companion_path, failed};
use crate::repository::OpenError;

/// What a copy hashes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CopySum([u8; 32]);

/// The digits of a SHA-256.
const DIGITS: usize = 64;
/// How much is read at once.
const BLOCK: usize = 1 << 20;

impl CopySum {
    /// That of a file as it is.
    pub(crate) async fn of(path: &Path) -> io::Result<CopySum> {
        let mut file = File::open(path)?;
        let mut block = vec![0; BLOCK];
        let mut hash = Sha256::new();
        loop {
            match file.read(&mut block) {
                Ok(0) => return Ok(CopySum(hash.finalize().into())),
                Ok(length) => hash.update(&block[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            yield_now().await;
        }
    }

    /// What lies beside a copy; `None` where there is nothing.
    pub(crate) fn beside(copy: &Path) -> Result<Option<CopySum>, OpenError> {
        let path = path_of(copy);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| failed(&path, e))?,
        };
        let wrong = || failed(&path, "it does not begin with a SHA-256: make it anew with sha256sum, or remove it");
        let digits = text.trim_start_matches('\\').get(..DIGITS).ok_or_else(wrong)?;
        let mut sum = [0; DIGITS / 2];
        for (place, byte) in sum.iter_mut().enumerate() {
            let digits = digits.get(2 * place..2 * place + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Some(CopySum(sum)))
    }

    /// Writes it beside a copy, durably.
    pub(crate) fn write(&self, copy: &Path) -> Result<(), OpenError> {
        let path = path_of(copy);
        let name = copy.file_name().unwrap_or_default().to_string_lossy();
        // As in sha256sum: a line whose name has a line end or a backslash is marked, and the name is escaped.
        let (mark, name) = match name.contains(['\\', '\n']) {
            true => ("\\", name.replace('\\', "\\\\").replace('\n', "\\n")),
            false => ("", name.into_owned()),
        };
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let written = companion::write(&path, format!("{mark}{digits}  {name}\n").as_bytes());
        written.and_then(|file| file.sync_all()).map_err(|e| failed(&path, e))
    }

    /// Refuses a file that hashes to something else. `copy` is what the checksum is of.
    pub(crate) async fn check(&self, file: &Path, copy: &Path) -> Result<(), OpenError> {
        match CopySum::of(file).await.map_err(|e| failed(file, e))? == *self {
            true => Ok(()),
            false => {
                let path = path_of(copy);
                let why = format!("it is damaged: its SHA-256 is not the one in {}; take another copy", path.display());
                Err(failed(copy, why))
            }
        }
    }
}

/// Where the checksum of a copy is.
pub(crate) fn path_of(copy: &Path) -> PathBuf {
    companion_path(copy, ".sha256")
}
