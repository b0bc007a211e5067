//! Turns a reply into bytes, a long one in pieces. The next piece is made when the last one was taken. So the texts of
//! a reply are in memory once, and their bytes never all together. Knows no dialect.

use std::mem;
use std::sync::Arc;

use super::{Reply, python};

/// How a reply is spelled.
pub(super) trait Spell {
    /// Appends what stands before the value of a reply.
    fn begin(&self, reply: &Reply, out: &mut Vec<u8>);
    /// Appends the next part of the value.
    fn step(&self, reply: &Reply, at: &mut Place, out: &mut Vec<u8>) -> Step;
    /// Appends what stands after the value.
    fn end(&self, out: &mut Vec<u8>);
}

/// What the next part of a reply is.
#[derive(Debug)]
pub(super) enum Step {
    /// Something short, which was appended.
    Item,
    /// The text of a message, still to be escaped. All before it has been appended.
    Text(Arc<str>),
    /// The last one, which was appended.
    Over,
}

/// Which part of a reply comes next: a place in a list, or in a list of lists.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Of the parts of a reply, where it has several.
    pub part: usize,
    /// In the outer list, where there are two.
    pub group: usize,
    /// In the inner list.
    pub item: usize,
    is_after_text: bool,
}

impl Place {
    /// The next item of a list; what stands before it was appended. `None`: the list is closed.
    pub(super) fn next<'a, T>(&mut self, items: &'a [T], out: &mut Vec<u8>) -> Option<&'a T> {
        if self.item == 0 {
            out.push(b'[');
        }
        match items.get(self.item) {
            Some(_) if self.item > 0 => out.extend_from_slice(b", "),
            Some(_) => {}
            None => out.push(b']'),
        }
        self.item += 1;
        items.get(self.item - 1)
    }

    /// Appends the next item of a list of short ones.
    pub(super) fn item<T>(&mut self, items: &[T], out: &mut Vec<u8>, spell: impl FnOnce(&T, &mut Vec<u8>)) -> Step {
        let Some(item) = self.next(items, out) else { return Step::Over };
        spell(item, out);
        Step::Item
    }

    /// The inner list is over.
    pub(super) fn next_group(&mut self) {
        *self = Place { part: self.part, group: self.group + 1, ..Place::default() };
    }

    /// A part of the reply is over.
    pub(super) fn next_part(&mut self) {
        *self = Place { part: self.part + 1, ..Place::default() };
    }

    /// The text of an item comes next.
    pub(super) fn text(&mut self, text: &Arc<str>) -> Step {
        self.is_after_text = true;
        Step::Text(text.clone())
    }

    /// Whether the text of an item was appended, and what stands after it was not. Asked once.
    pub(super) fn takes_text_end(&mut self) -> bool {
        mem::take(&mut self.is_after_text)
    }
}

/// How far a reply has become bytes.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    has_begun: bool,
    place: Place,
    /// The present text, and how many of its bytes have been escaped.
    text: Option<(Arc<str>, usize)>,
}

impl Cursor {
    /// Appends what comes next until `out` has `most` bytes, or [`PART`] more; gives whether that was the end.
    pub(super) fn advance(&mut self, reply: &Reply, spelling: &impl Spell, out: &mut Vec<u8>, most: usize) -> bool {
        if !mem::replace(&mut self.has_begun, true) {
            spelling.begin(reply, out);
        }
        while out.len() < most {
            if let Some((text, from)) = &mut self.text {
                let end = text.floor_char_boundary(*from + ((most - out.len()) / ESCAPED).max(CHARACTER));
                python::escape(&text[*from..end], out);
                *from = end;
                if end == text.len() {
                    self.text = None;
                }
                continue;
            }
            match spelling.step(reply, &mut self.place, out) {
                Step::Item => {}
                Step::Text(text) => self.text = Some((text, 0)),
                Step::Over => {
                    spelling.end(out);
                    return true;
                }
            }
        }
        false
    }
}

/// The most that a part takes beside a message's text: names, keys, times, numbers; in bytes.
pub const PART: usize = 8 << 10;
/// The longest character, in bytes.
const CHARACTER: usize = 4;
/// The most bytes that one byte of a text becomes: `\u0001`.
const ESCAPED: usize = 6;
