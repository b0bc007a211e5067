//! The spelling of Python's `json.dumps` and `repr`, which all dialects share: JSON in ASCII, and names in quotes.

use std::fmt::Write as _;
use std::io;

use serde::ser::Serialize;
use serde_json::ser::{CharEscape, Formatter};

/// Any value in the style of the wire: JSON in ASCII, without a line end.
pub fn ascii(value: &(impl Serialize + ?Sized)) -> String {
    let mut out = Vec::new();
    write_ascii(value, &mut out).expect("a Vec takes every byte and the keys are strings");
    String::from_utf8(out).expect("JSON in this style is ASCII")
}

fn write_ascii(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(out, PythonStyle))
}

/// Appends a string, with its quotes.
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    write_ascii(text, out).expect("a Vec takes every byte");
}

/// Texts under their keys, each with what stands before the next key.
pub(super) fn texts(texts: &[(&str, &str)], out: &mut Vec<u8>) {
    for (key, text) in texts {
        string(key, out);
        out.extend_from_slice(b": ");
        string(text, out);
        out.extend_from_slice(b", ");
    }
}

/// Appends a part of a string, without quotes.
pub(super) fn escape(part: &str, out: &mut Vec<u8>) {
    let mut serializer = serde_json::Serializer::with_formatter(out, PartOfString);
    part.serialize(&mut serializer).expect("a Vec takes every byte");
}

/// A text as Python's `repr` spells it.
pub(super) fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    ..0x100 => write!(out, "\\x{code:02x}"),
                    0x100..0x1_0000 => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
    out
}

/// Python's `str.isprintable`, of those characters that could stand in a name: no controls, no white space but the
/// space, no format characters and none for private use.
fn is_printable(c: char) -> bool {
    let format = matches!(c, '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
        | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}');
    let private = matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..);
    c == ' ' || !(format || private || c.is_control() || c.is_whitespace())
}

/// A UTF-16 unit as `\u` and four digits. Digit by digit, because a text may be millions of them.
fn unit_escape(unit: u16) -> [u8; 6] {
    let digit = |shift: u16| b"0123456789abcdef"[usize::from(unit >> shift & 0xf)];
    [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]
}

/// JSON as `json.dumps` writes it by default: a space after comma and colon, ASCII only.
struct PythonStyle;

impl Formatter for PythonStyle {
    fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.begin_array_value(writer, first)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(place) = rest.bytes().position(|byte| !(b' '..=b'~').contains(&byte)) {
            let c = rest[place..].chars().next().expect("all before it was ASCII, so a character begins here");
            writer.write_all(&rest.as_bytes()[..place])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                writer.write_all(&unit_escape(*unit))?;
            }
            rest = &rest[place + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: io::Write + ?Sized>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => writer.write_all(&unit_escape(byte.into())),
        }
    }
}

/// A string in that style that is only partly written.
struct PartOfString;

impl Formatter for PartOfString {
    fn begin_string<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }

    fn end_string<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }

    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        PythonStyle.write_string_fragment(writer, fragment)
    }

    fn write_char_escape<W: io::Write + ?Sized>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        PythonStyle.write_char_escape(writer, escape)
    }
}
