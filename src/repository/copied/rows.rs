//! Rows on their way, in the form of PostgreSQL's binary COPY: <https://www.postgresql.org/docs/current/sql-copy.html>.
//! A row is the number of its columns, and for each its length, or -1 for none, and its bytes.

use smallvec::SmallVec;

/// Before the first row: what it is, no flags, no extension.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0";
/// After the last row.
pub(crate) const TRAILER: &[u8] = &[0xFF, 0xFF];
/// What is full has so many bytes.
const FULL: usize = 256 << 10;

/// Whole rows of one table.
#[derive(Debug, Default)]
pub(crate) struct CopiedRows {
    bytes: Vec<u8>,
    rows: u64,
}

impl CopiedRows {
    /// A row of so many columns begins; each is added after this.
    pub(crate) fn begin(&mut self, columns: usize) {
        let columns = i16::try_from(columns).expect("no table has so many columns");
        self.bytes.extend_from_slice(&columns.to_be_bytes());
        self.rows += 1;
    }

    pub(crate) fn null(&mut self) {
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    pub(crate) fn number(&mut self, number: i64) {
        self.value(&number.to_be_bytes());
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.value(&[u8::from(flag)]);
    }

    /// A text, or bytes. No store has one of 2 GiB.
    pub(crate) fn value(&mut self, value: &[u8]) {
        let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.rows
    }

    /// Each of them.
    pub(crate) fn each(&self) -> impl Iterator<Item = CopiedRow<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let length = tuple_length(rest)?;
            let (row, after) = rest.split_at(length);
            rest = after;
            Some(CopiedRow::of(row))
        })
    }
}

/// The values of a row.
pub(crate) struct CopiedRow<'a>(SmallVec<[Option<&'a [u8]>; 11]>);

impl<'a> CopiedRow<'a> {
    fn of(tuple: &'a [u8]) -> CopiedRow<'a> {
        let (mut values, mut at) = (SmallVec::new(), 2);
        while let Some(length) = number_at(tuple, at).map(i32::from_be_bytes) {
            at += 4;
            let value = usize::try_from(length).ok().and_then(|length| tuple.get(at..at + length));
            at += value.map_or(0, <[u8]>::len);
            values.push(value);
        }
        CopiedRow(values)
    }

    /// All values, in their order.
    pub(crate) fn values(&self) -> &[Option<&'a [u8]>] {
        &self.0
    }

    /// The bytes of a column; none where there is no value.
    pub(crate) fn bytes(&self, column: usize) -> &'a [u8] {
        self.0.get(column).copied().flatten().unwrap_or_default()
    }

    /// The number in a column, if there is one.
    pub(crate) fn number(&self, column: usize) -> Option<i64> {
        self.bytes(column).try_into().ok().map(i64::from_be_bytes)
    }
}

/// The bytes at a place, if they are there.
fn number_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The length of the row that begins here, if it is there as a whole.
fn tuple_length(bytes: &[u8]) -> Option<usize> {
    let columns = i16::from_be_bytes(number_at(bytes, 0)?);
    let mut at = 2;
    for _ in 0..columns {
        let length = i32::from_be_bytes(number_at(bytes, at)?);
        at += 4 + usize::try_from(length).unwrap_or(0);
    }
    (at <= bytes.len()).then_some(at)
}

/// Makes rows of what PostgreSQL sends, however that is cut into pieces.
#[derive(Debug, Default)]
pub(crate) struct TupleParser {
    has_begun: bool,
    has_ended: bool,
    pending: Vec<u8>,
}

impl TupleParser {
    /// Takes a piece in, and adds the rows that are whole now. `false`: this is not the form.
    pub(crate) fn take(&mut self, piece: &[u8], rows: &mut CopiedRows) -> bool {
        self.pending.extend_from_slice(piece);
        let mut at = 0;
        if !self.has_begun {
            if self.pending.len() < HEADER.len() {
                return HEADER.starts_with(&self.pending);
            }
            self.has_begun = self.pending.starts_with(HEADER);
            at = HEADER.len();
        }
        while let Some(columns) = number_at(&self.pending, at).map(i16::from_be_bytes) {
            if columns < 0 {
                self.has_ended = true;
                at += TRAILER.len();
                break;
            }
            let Some(length) = tuple_length(&self.pending[at..]) else { break };
            rows.bytes.extend_from_slice(&self.pending[at..at + length]);
            rows.rows += 1;
            at += length;
        }
        self.pending.drain(..at);
        self.has_begun && (!self.has_ended || self.pending.is_empty())
    }

    /// Whether all came.
    pub(crate) fn is_whole(&self) -> bool {
        self.has_ended && self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> CopiedRows {
        let mut rows = CopiedRows::default();
        for number in 0..3 {
            rows.begin(4);
            rows.number(number - 1);
            rows.null();
            rows.value("é\0".repeat(usize::try_from(number).unwrap_or(0)).as_bytes());
            rows.flag(number == 2);
        }
        rows
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let rows = rows();
        let read: Vec<_> = rows.each().map(|row| (row.number(0), row.values()[1], row.bytes(2).to_vec())).collect();
        let text = |count: usize| "é\0".repeat(count).into_bytes();
        assert_eq!(read, [(Some(-1), None, text(0)), (Some(0), None, text(1)), (Some(1), None, text(2))]);
        assert_eq!((rows.count(), rows.each().last().map(|row| row.bytes(3) == [1])), (3, Some(true)));
    }

    #[test]
    fn what_postgresql_sends_may_be_cut_anywhere() {
        let sent = [HEADER, rows().bytes(), TRAILER].concat();
        for size in 1..=sent.len() {
            let (mut parser, mut found) = (TupleParser::default(), CopiedRows::default());
            for piece in sent.chunks(size) {
                assert!(!parser.is_whole());
                assert!(parser.take(piece, &mut found));
            }
            assert!(parser.is_whole());
            assert_eq!((found.bytes(), found.count()), (rows().bytes(), 3), "in pieces of {size}");
        }
        let mut parser = TupleParser::default();
        assert!(parser.take(&sent[..sent.len() - 2], &mut CopiedRows::default()) && !parser.is_whole());
        assert!(!parser.take(&[TRAILER, b"more"].concat(), &mut CopiedRows::default()));
        assert!(!TupleParser::default().take(b"PGDUMP", &mut CopiedRows::default()));
    }
}
