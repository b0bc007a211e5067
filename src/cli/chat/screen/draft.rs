//! A line that is being typed, or several. Pure; knows no terminal.

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};
use unicode_width::UnicodeWidthStr;

use crate::model::visible;

/// What is being typed, and where the cursor stands in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Draft {
    text: String,
    /// In bytes, between two characters as a person counts them.
    cursor: usize,
}

impl Draft {
    /// A text with the cursor behind it.
    pub(crate) fn of(text: impl Into<String>) -> Draft {
        let text = text.into();
        Draft { cursor: text.len(), text }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What stands before the cursor.
    pub(crate) fn before_cursor(&self) -> &str {
        &self.text[..self.cursor]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// All of it; nothing is left.
    pub(crate) fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Puts a text where the cursor is. Line ends of all kinds become LF.
    pub(crate) fn insert(&mut self, text: &str) {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        self.text.insert_str(self.cursor, &text);
        self.cursor += text.len();
    }

    /// Puts a text in the place of what stands between `from` and the cursor.
    pub(crate) fn replace_from(&mut self, from: usize, text: &str) {
        self.text.replace_range(from..self.cursor, text);
        self.cursor = from + text.len();
    }

    pub(crate) fn delete_before(&mut self) {
        let to = self.cursor;
        self.left();
        self.text.replace_range(self.cursor..to, "");
    }

    pub(crate) fn delete_after(&mut self) {
        self.text.replace_range(self.cursor..self.next(), "");
    }

    /// Deletes the word before the cursor, and the blanks behind it.
    pub(crate) fn delete_word(&mut self) {
        let before = self.before_cursor().trim_end();
        let from = before
            .rfind(char::is_whitespace)
            .map_or(0, |place| place + before[place..].chars().next().map_or(1, char::len_utf8));
        self.replace_from(from, "");
    }

    pub(crate) fn delete_to_start(&mut self) {
        self.replace_from(self.line_start(), "");
    }

    pub(crate) fn delete_to_end(&mut self) {
        let end = self.line_end();
        self.text.replace_range(self.cursor..end, "");
    }

    pub(crate) fn left(&mut self) {
        let mut at = GraphemeCursor::new(self.cursor, self.text.len(), true);
        self.cursor = at.prev_boundary(&self.text, 0).ok().flatten().unwrap_or(0);
    }

    pub(crate) fn right(&mut self) {
        self.cursor = self.next();
    }

    pub(crate) fn start(&mut self) {
        self.cursor = self.line_start();
    }

    pub(crate) fn end(&mut self) {
        self.cursor = self.line_end();
    }

    /// Moves to the line above, at the same column or at its end. `false`: there is none.
    pub(crate) fn up(&mut self) -> bool {
        let start = self.line_start();
        if start == 0 {
            return false;
        }
        let column = self.text[start..self.cursor].graphemes(true).count();
        self.cursor = start - 1;
        self.move_to_column(column);
        true
    }

    /// To the line below. `false`: there is none.
    pub(crate) fn down(&mut self) -> bool {
        let end = self.line_end();
        if end == self.text.len() {
            return false;
        }
        let column = self.text[self.line_start()..self.cursor].graphemes(true).count();
        self.cursor = end + 1;
        self.move_to_column(column);
        true
    }

    fn move_to_column(&mut self, column: usize) {
        let line = &self.text[self.line_start()..self.line_end()];
        let offset: usize = line.graphemes(true).take(column).map(str::len).sum();
        self.cursor = self.line_start() + offset;
    }

    fn next(&self) -> usize {
        let mut at = GraphemeCursor::new(self.cursor, self.text.len(), true);
        at.next_boundary(&self.text, 0).ok().flatten().unwrap_or(self.text.len())
    }

    fn line_start(&self) -> usize {
        self.before_cursor().rfind('\n').map_or(0, |place| place + 1)
    }

    fn line_end(&self) -> usize {
        self.text[self.cursor..].find('\n').map_or(self.text.len(), |place| self.cursor + place)
    }

    /// The rows that show it in so many columns, and the row and column of the cursor.
    pub(crate) fn rows(&self, columns: usize) -> (Vec<String>, (usize, usize)) {
        let columns = columns.max(2);
        let (mut rows, mut width, mut cursor) = (vec![String::new()], 0, (0, 0));
        let mut place = 0;
        for part in self.text.graphemes(true).chain([""]) {
            let shown = if part == "\n" { "".into() } else { visible(part) };
            let wide = shown.width();
            if width + wide > columns {
                rows.push(String::new());
                width = 0;
            }
            if place == self.cursor {
                // Behind the last column there is no place for a cursor.
                if width == columns {
                    rows.push(String::new());
                    width = 0;
                }
                cursor = (rows.len() - 1, width);
            }
            if part == "\n" {
                rows.push(String::new());
                width = 0;
            } else {
                rows.last_mut().expect("there is one at least").push_str(&shown);
                width += wide;
            }
            place += part.len();
            if part.is_empty() {
                break;
            }
        }
        (rows, cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_what_a_person_counts() {
        let mut draft = Draft::of("aé👩‍👩‍👧你");
        for left in ["aé👩‍👩‍👧", "aé", "a", ""] {
            draft.delete_before();
            assert_eq!(draft.text(), left);
        }
        draft.delete_before();
        draft.insert("e\u{301}x");
        draft.left();
        draft.left();
        draft.delete_after();
        assert_eq!((draft.text(), draft.before_cursor()), ("x", ""));
    }

    #[test]
    fn lines_and_words() {
        let mut draft = Draft::default();
        draft.insert("satu dua\r\ntiga\rempat");
        assert_eq!(draft.text(), "satu dua\ntiga\nempat");
        assert!(draft.up() && draft.up() && !draft.up());
        // The line between them is shorter than the last one.
        assert_eq!(draft.before_cursor(), "satu");
        draft.right();
        draft.delete_word();
        assert_eq!(draft.text(), "dua\ntiga\nempat");
        draft.delete_to_end();
        assert!(draft.down());
        draft.end();
        draft.delete_to_start();
        assert_eq!(draft.text(), "\n\nempat");
        assert!(draft.down() && !draft.down());
        assert_eq!(draft.take(), "\n\nempat");
        assert!(draft.is_empty() && draft.before_cursor().is_empty());
        draft.insert("a  ");
        draft.delete_word();
        assert_eq!(draft.text(), "");
    }

    #[test]
    fn it_is_wrapped_and_the_cursor_always_has_a_place() {
        let rows = |text: &str| Draft::of(text).rows(4);
        let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(rows(""), (of(&[""]), (0, 0)));
        assert_eq!(rows("abc"), (of(&["abc"]), (0, 3)));
        assert_eq!(rows("abcd"), (of(&["abcd", ""]), (1, 0)));
        assert_eq!(rows("abc你d"), (of(&["abc", "你d"]), (1, 3)));
        assert_eq!(rows("a\n"), (of(&["a", ""]), (1, 0)));
        assert_eq!(rows("a\x1b"), (of(&["a", "\\x1b", ""]), (2, 0)));
        let mut middle = Draft::of("abcdef");
        middle.left();
        middle.left();
        assert_eq!(middle.rows(4), (of(&["abcd", "ef"]), (1, 0)));
    }
}
