//! What a table holds, in a few bytes: how many rows, and the SHA-256 of all of them in the order of their keys. It is
//! the same in each kind of store.

use sha2::{Digest, Sha256};

use super::CopiedRows;

/// A sum in the making.
#[derive(Default)]
pub(crate) struct TableSum {
    rows: u64,
    hash: Sha256,
}

impl TableSum {
    /// Adds what comes next.
    pub(crate) fn add(&mut self, rows: &CopiedRows) {
        self.rows += rows.count();
        self.hash.update(rows.bytes());
    }

    /// How many rows, and what they hash to.
    pub(crate) fn finish(self) -> (u64, [u8; 32]) {
        (self.rows, self.hash.finalize().into())
    }
}
