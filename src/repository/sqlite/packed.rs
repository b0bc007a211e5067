//! Many rows in one bind: a JSONB array of strings. Each string has the integers in decimal at fixed places, a checksum
//! where there is one, and then the text. The SQL splits it with `substr`. Measured against a statement a message (3
//! times the CPU), `json_each` on arrays (twice) and `VALUES` with as many binds as fields (equal, but a statement for
//! every length).

/// Digits of an account number.
pub(super) const USER: usize = 10;
/// Digits of a message number and of a time in milliseconds.
pub(super) const WIDE: usize = 14;

/// JSONB, <https://sqlite.org/jsonb.html>: the type is in the low half of a header's first byte.
const TEXT_RAW: u8 = 10;
const ARRAY: u8 = 11;

/// A number that has no place in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no number of 1 to {1} digits")]
pub(super) struct Unfit(i64, usize);

#[derive(Debug)]
pub(super) struct JsonbRows {
    jsonb: Vec<u8>,
    rows: usize,
}

impl JsonbRows {
    /// An empty array with room for `rows` rows of `bytes` bytes.
    pub(super) fn with_capacity(rows: usize, bytes: usize) -> JsonbRows {
        let mut jsonb = Vec::with_capacity(8 + rows * (bytes + 5));
        // The size of the array takes four bytes and is put in at the end.
        jsonb.extend_from_slice(&[0xE0 | ARRAY, 0, 0, 0, 0]);
        JsonbRows { jsonb, rows: 0 }
    }

    /// Adds a row: integers with their widths, and a text. Where a number does not fit, nothing is added.
    pub(super) fn row(&mut self, integers: &[(i64, usize)], text: &str) -> Result<(), Unfit> {
        self.row_with(integers, &[], text)
    }

    /// The same with bytes before the text.
    pub(super) fn row_with(&mut self, integers: &[(i64, usize)], bytes: &[u8], text: &str) -> Result<(), Unfit> {
        if let Some((integer, width)) = integers.iter().find(|(integer, width)| !fits(*integer, *width)) {
            return Err(Unfit(*integer, *width));
        }
        let length = integers.iter().map(|(_, width)| width).sum::<usize>() + bytes.len() + text.len();
        header(&mut self.jsonb, length);
        for (integer, width) in integers {
            decimal(&mut self.jsonb, *integer, *width);
        }
        self.jsonb.extend_from_slice(bytes);
        self.jsonb.extend_from_slice(text.as_bytes());
        self.rows += 1;
        Ok(())
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// How long the array is, in bytes.
    pub(super) fn len(&self) -> usize {
        self.jsonb.len()
    }

    /// The array as SQLite wants it.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let size = u32::try_from(self.jsonb.len() - 5).expect("a batch is bounded far below 4 GiB");
        self.jsonb[1..5].copy_from_slice(&size.to_be_bytes());
        self.jsonb
    }
}

fn header(out: &mut Vec<u8>, length: usize) {
    match length {
        0..=11 => out.push((length as u8) << 4 | TEXT_RAW),
        12..=0xFF => out.extend_from_slice(&[0xC0 | TEXT_RAW, length as u8]),
        0x100..=0xFFFF => {
            out.push(0xD0 | TEXT_RAW);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(0xE0 | TEXT_RAW);
            let length = u32::try_from(length).expect("a line is bounded far below 4 GiB");
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

fn fits(value: i64, width: usize) -> bool {
    u32::try_from(width).ok().and_then(|width| 10_i64.checked_pow(width)).is_none_or(|end| value < end) && value >= 0
}

/// `value` in decimal, `width` digits with zeros before them. It fits.
fn decimal(out: &mut Vec<u8>, value: i64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut rest = value.unsigned_abs();
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[digits.len() - width..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sqlx::{Connection, SqliteConnection};

    use super::*;

    async fn unpack(packed: Vec<u8>) -> Vec<(i64, i64, String)> {
        let mut sqlite = SqliteConnection::connect("sqlite::memory:").await.expect("memory suffices");
        let sql =
            "SELECT CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11, 14) AS INTEGER), CAST(substr(v, 25) AS TEXT)
                   FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1))";
        sqlx::query_as(sql).bind(packed).fetch_all(&mut sqlite).await.expect("the array is well formed")
    }

    #[tokio::test]
    async fn every_header_size_comes_back() {
        let mut packed = JsonbRows::with_capacity(0, 0);
        let texts: Vec<String> =
            [0, 1, 12, 231, 232, 65511, 65512, 2 << 20].iter().map(|n| "é".repeat(n / 2)).collect();
        for text in &texts {
            packed.row(&[(7, USER), (99_999_999_999_999, WIDE)], text).expect("they fit");
        }
        let rows = unpack(packed.finish()).await;
        assert_eq!(rows.len(), texts.len());
        assert!(rows.iter().zip(&texts).all(|(row, text)| (row.0, row.1, &row.2) == (7, 99_999_999_999_999, text)));
    }

    /// SQLite would not have to let through what is no UTF-8.
    #[tokio::test]
    async fn any_bytes_before_the_text_come_back() {
        let mut packed = JsonbRows::with_capacity(1, 1);
        let all: Vec<u8> = (0..=u8::MAX).collect();
        packed.row_with(&[(7, USER)], &all, "text").expect("it fits");
        let mut sqlite = SqliteConnection::connect("sqlite::memory:").await.expect("memory suffices");
        let sql = "SELECT substr(v, 11, 256), CAST(substr(v, 267) AS TEXT)
            FROM (SELECT CAST(value AS BLOB) AS v FROM json_each(?1))";
        let row: (Vec<u8>, String) =
            sqlx::query_as(sql).bind(packed.finish()).fetch_one(&mut sqlite).await.expect("the array is well formed");
        assert_eq!(row, (all, "text".to_owned()));
    }

    #[test]
    fn a_number_with_too_many_digits_is_refused_and_spoils_no_other_row() {
        let mut packed = JsonbRows::with_capacity(1, 1);
        packed.row(&[(7, USER)], "before").expect("it fits");
        let before = packed.len();
        for unfit in [-1, i64::MIN, 10_000_000_000, i64::MAX] {
            assert_eq!(packed.row(&[(7, USER), (unfit, USER)], "text"), Err(Unfit(unfit, USER)));
        }
        assert_eq!((packed.rows(), packed.len()), (1, before));
        packed.row(&[(0, USER), (9_999_999_999, USER), (i64::MAX, 19)], "after").expect("they fit");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(texts in prop::collection::vec(".{0,40}|[\0-\u{1f}\"\\\\]{0,20}", 0..20)) {
            let mut packed = JsonbRows::with_capacity(1, 1);
            for (i, text) in texts.iter().enumerate() {
                packed.row(&[(i as i64, USER), (1, WIDE)], text).expect("they fit");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
            let rows = runtime.block_on(unpack(packed.finish()));
            let expected: Vec<_> = texts.into_iter().enumerate().map(|(i, text)| (i as i64, 1, text)).collect();
            prop_assert_eq!(rows, expected);
        }
    }
}
