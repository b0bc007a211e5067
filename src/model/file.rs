//! Files that people send, as the wire has them: a name and one word of data.

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

/// The longest name of a file, in bytes.
const NAME_BYTES: usize = 255;
/// Bytes of one piece of a file; a multiple of three, so that pieces are base64 by themselves.
pub const FILE_PIECE: usize = 192 << 10;
/// What a piece is in base64.
const PIECE_WORD: usize = FILE_PIECE / 3 * 4;

/// A name that opens no other folder: what stands behind the last slash, of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

impl FileName {
    /// `None`: it is empty, longer than 255 bytes, `.` or `..`, or has a byte below 0x20.
    pub fn parse(text: &str) -> Option<FileName> {
        let name = text.rsplit(['/', '\\']).next().unwrap_or_default();
        let is_none = name.is_empty() || name.len() > NAME_BYTES || name == "." || name == "..";
        (!is_none && name.bytes().all(|byte| byte >= 0x20)).then(|| FileName(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What kind of file that is, by the end of its name. Who shows files must not trust it.
    pub fn media_type(&self) -> &'static str {
        let ending = self.0.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
        match ending.as_str() {
            "jpg" | "jpeg" => "image/jpeg",
            "png" => "image/png",
            "gif" => "image/gif",
            "webp" => "image/webp",
            "pdf" => "application/pdf",
            "txt" => "text/plain",
            "mp3" => "audio/mpeg",
            "mp4" => "video/mp4",
            _ => "application/octet-stream",
        }
    }
}

/// How the sender wrote the bytes, so that a reader gets the word as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSpelling {
    /// The word is the bytes.
    Plain,
    /// In base64.
    Base64,
    /// In base64 as Python prints it: `b'…'`.
    PythonBase64,
    /// The same with double quotes.
    QuotedBase64,
}

impl FileSpelling {
    /// All, in the order of their numbers in the store.
    const ALL: [FileSpelling; 4] =
        [FileSpelling::Plain, FileSpelling::Base64, FileSpelling::PythonBase64, FileSpelling::QuotedBase64];

    /// The number that stands for it in the store.
    pub fn number(self) -> i64 {
        self as i64
    }

    /// What a number stands for; any other is the first.
    pub fn numbered(number: i64) -> FileSpelling {
        usize::try_from(number)
            .ok()
            .and_then(|place| FileSpelling::ALL.get(place))
            .copied()
            .unwrap_or(FileSpelling::Plain)
    }

    /// What stands around the bytes.
    fn around(self) -> (&'static str, &'static str) {
        match self {
            FileSpelling::Plain | FileSpelling::Base64 => ("", ""),
            FileSpelling::PythonBase64 => ("b'", "'"),
            FileSpelling::QuotedBase64 => ("b\"", "\""),
        }
    }

    /// The text of these pieces. All but the last have the full size of a piece.
    pub fn word<'a>(self, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let (before, behind) = self.around();
        let mut word = before.as_bytes().to_vec();
        for piece in pieces {
            match self {
                FileSpelling::Plain => word.extend_from_slice(piece),
                _ => word.extend_from_slice(Base64::encode_string(piece).as_bytes()),
            }
        }
        word.extend_from_slice(behind.as_bytes());
        String::from_utf8_lossy(&word).into_owned()
    }
}

/// The data of a file as a word of the wire. Its bytes are given in pieces, so that they are never there as a whole.
#[derive(Clone, Copy, Debug)]
pub struct FileWord<'a> {
    /// How it is written.
    pub spelling: FileSpelling,
    inside: &'a str,
}

impl<'a> FileWord<'a> {
    /// Finds out how it is written. What is no base64, or none that would be written so again, is taken as it stands.
    pub fn parse(word: &'a str) -> FileWord<'a> {
        let wrapped = [FileSpelling::PythonBase64, FileSpelling::QuotedBase64, FileSpelling::Base64];
        for spelling in wrapped {
            let (before, behind) = spelling.around();
            let inside = word.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
            if let Some(inside) = inside.filter(|inside| is_base64(inside)) {
                return FileWord { spelling, inside };
            }
        }
        FileWord { spelling: FileSpelling::Plain, inside: word }
    }

    /// One of which it is known how it is written.
    pub fn written(word: &'a str, spelling: FileSpelling) -> FileWord<'a> {
        let (before, behind) = spelling.around();
        let inside = word.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
        FileWord { spelling, inside: inside.unwrap_or(word) }
    }

    /// The bytes, piece by piece.
    pub fn pieces(self) -> impl Iterator<Item = Vec<u8>> + 'a {
        let size = if self.spelling == FileSpelling::Plain { FILE_PIECE } else { PIECE_WORD };
        self.inside.as_bytes().chunks(size).map(move |chunk| match self.spelling {
            FileSpelling::Plain => chunk.to_vec(),
            _ => decode(chunk).unwrap_or_default(),
        })
    }

    /// How many bytes there are, and their SHA-256.
    pub fn sum(self) -> (u64, [u8; 32]) {
        let (mut bytes, mut sum) = (0, Sha256::new());
        for piece in self.pieces() {
            bytes += piece.len() as u64;
            sum.update(&piece);
        }
        (bytes, sum.finalize().into())
    }
}

fn decode(chunk: &[u8]) -> Option<Vec<u8>> {
    Base64::decode_vec(std::str::from_utf8(chunk).ok()?).ok()
}

/// Whether a text is base64 that is written in the same way again, piece by piece.
fn is_base64(text: &str) -> bool {
    let chunks = text.as_bytes().chunks(PIECE_WORD);
    let last = chunks.len().saturating_sub(1);
    chunks.enumerate().all(|(place, chunk)| {
        decode(chunk).is_some_and(|bytes| {
            (place == last || bytes.len() == FILE_PIECE) && Base64::encode_string(&bytes).as_bytes() == chunk
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_opens_no_other_folder() {
        for (text, name) in [("foto.txt", "foto.txt"), ("../a/b.png", "b.png"), ("C:\\x\\y.pdf", "y.pdf"), ("/a", "a")]
        {
            assert_eq!(FileName::parse(text).as_ref().map(FileName::as_str), Some(name), "{text}");
        }
        for text in ["", ".", "..", "a/", "a/..", "x\\.", "a\u{1}b", &"x".repeat(256)] {
            assert_eq!(FileName::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_word_comes_back_as_it_came() {
        let long = Base64::encode_string(&vec![7; 3 * FILE_PIECE + 5]);
        let inner_end = format!("{}AA==AAAA", "A".repeat(PIECE_WORD - 4));
        let words = [
            ("b'aGFsbw=='", FileSpelling::PythonBase64),
            ("b\"aGFsbw==\"", FileSpelling::QuotedBase64),
            ("aGFsbw==", FileSpelling::Base64),
            ("aGFsbx==", FileSpelling::Plain),
            ("b'aGFsbw=='x", FileSpelling::Plain),
            ("halo", FileSpelling::Base64),
            ("hal", FileSpelling::Plain),
            ("é", FileSpelling::Plain),
            ("b''", FileSpelling::PythonBase64),
            ("", FileSpelling::Base64),
            (&*long, FileSpelling::Base64),
            (&*inner_end, FileSpelling::Plain),
        ];
        for (word, spelling) in words {
            let parsed = FileWord::parse(word);
            let pieces: Vec<Vec<u8>> = parsed.pieces().collect();
            assert_eq!(parsed.spelling, spelling, "{:.40}", word);
            assert!(pieces.iter().all(|piece| piece.len() <= FILE_PIECE));
            assert_eq!(spelling.word(pieces.iter().map(Vec::as_slice)), word);
            assert_eq!(FileSpelling::numbered(spelling.number()), spelling);
        }
        assert_eq!(FileWord::parse("b'aGFsbw=='").sum().0, 4);
    }
}
