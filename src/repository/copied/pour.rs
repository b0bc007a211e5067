//! Copies all tables, one after the other, and proves that they arrived: each is read again from where it was written.

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{CopiedRows, CopiedTable, TableSum};
use crate::repository::OpenError;

/// How many portions of rows wait for whoever writes them.
const ROWS_WAITING: usize = 4;

/// Where rows go that were read.
pub(crate) type RowsOut = Sender<CopiedRows>;
/// Where rows come from that are to be written.
pub(crate) type RowsIn = Receiver<CopiedRows>;

/// The part of a copy that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStep {
    /// Rows go over.
    Copying,
    /// What the target keeps in a form of its own is made.
    Deriving,
    /// What was written is read again.
    Comparing,
}

/// Hears how far a copy is: its step, and how many rows of about how many were read in it.
pub(crate) type Told<'a> = &'a mut dyn FnMut(CopyStep, u64, u64);

/// A database that can be read.
pub(crate) trait CopiedReader {
    /// Where it is, for messages.
    fn shown(&self) -> String;
    /// About how many rows there are.
    async fn size(&mut self) -> Result<u64, OpenError>;
    /// Reads a table in the order of its key.
    async fn read(&mut self, table: CopiedTable, rows: RowsOut) -> Result<(), OpenError>;
}

/// A database that is being made. Unless it is kept, nothing of it stays.
pub(crate) trait CopiedTarget: CopiedReader {
    /// Writes a table.
    async fn fill(&mut self, table: CopiedTable, rows: RowsIn) -> Result<(), OpenError>;
    /// All tables are written: makes the rest.
    async fn derive(&mut self) -> Result<(), OpenError>;
    /// Makes it stay.
    async fn keep(self) -> Result<(), OpenError>;
}

/// Whoever was to take rows has failed, and says why.
pub(crate) fn gone<T>(_: T) -> OpenError {
    OpenError::Failed { path: "copy".into(), why: "nobody takes the rows".to_owned() }
}

/// Copies everything; gives how many rows each table has.
pub(crate) async fn pour(
    source: &mut impl CopiedReader,
    mut target: impl CopiedTarget,
    told: Told<'_>,
) -> Result<Vec<(CopiedTable, u64)>, OpenError> {
    let (size, mut read) = (source.size().await?, 0);
    let mut sums = Vec::new();
    for table in CopiedTable::ALL {
        let (out, mut taken) = channel(ROWS_WAITING);
        let (pass, rows) = channel(ROWS_WAITING);
        let mut sum = TableSum::default();
        let pass_on = async {
            while let Some(rows) = taken.recv().await {
                sum.add(&rows);
                read += rows.count();
                told(CopyStep::Copying, read, size);
                pass.send(rows).await.map_err(gone)?;
            }
            drop(pass);
            Ok::<(), OpenError>(())
        };
        tokio::try_join!(target.fill(table, rows), pass_on, source.read(table, out))?;
        sums.push((table, sum.finish()));
    }
    told(CopyStep::Deriving, 0, size);
    target.derive().await?;
    let mut compared = 0;
    for (table, (count, hash)) in &sums {
        let (out, mut taken) = channel(ROWS_WAITING);
        let mut sum = TableSum::default();
        let add = async {
            while let Some(rows) = taken.recv().await {
                sum.add(&rows);
                compared += rows.count();
                told(CopyStep::Comparing, compared, read);
            }
            Ok::<(), OpenError>(())
        };
        tokio::try_join!(target.read(*table, out), add)?;
        let (found, found_hash) = sum.finish();
        if (found, found_hash) != (*count, *hash) {
            let (name, from) = (table.name(), source.shown());
            let what = match found == *count {
                true => format!("the {name} are not those of {from}, though as many"),
                false => format!("there are {found} {name}, and {count} in {from}"),
            };
            let why = format!("the copy is not kept, because it differs: {what}");
            return Err(OpenError::Refused { path: target.shown().into(), why });
        }
    }
    target.keep().await?;
    Ok(sums.into_iter().map(|(table, (count, _))| (table, count)).collect())
}
