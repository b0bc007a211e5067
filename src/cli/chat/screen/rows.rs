//! The rows that show a conversation, from any row upwards, and the steps from one row to another. Lays out only the
//! rows that are needed, however long the conversation is. Pure.

use jiff::tz::TimeZone;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::chat::screen::state::{Anchor, ChatConversation, ChatState, ItemKey};
use crate::model::{MessageId, Timestamp, visible};

/// From this width on time and name stand beside the text, in columns.
const BESIDE: usize = 50;
/// How wide a name may be there, in columns.
const NAME: usize = 14;
/// A tab is so many blanks: where it would lead depends on what stands before it.
const TAB: &str = "    ";

/// What the rows of a conversation depend on.
pub(crate) struct Layout<'a> {
    state: &'a ChatState,
    conversation: &'a ChatConversation,
    columns: usize,
}

impl<'a> Layout<'a> {
    pub(crate) fn new(state: &'a ChatState, conversation: &'a ChatConversation, columns: usize) -> Layout<'a> {
        Layout { state, conversation, columns: columns.max(8) }
    }

    /// The rows up to the bottom of the window, at most so many.
    pub(crate) fn window(&self, height: usize) -> Vec<Line<'static>> {
        let Some(bottom) = self.bottom() else { return Vec::new() };
        let (mut rows, mut at) = (Vec::new(), Some(bottom));
        while let Some(Anchor { item, row }) = at {
            let mut item_rows = self.item(&item);
            item_rows.truncate(row + 1);
            rows.extend(item_rows.into_iter().rev());
            if rows.len() >= height {
                break;
            }
            at = self.before(&item).map(|item| self.last_row(item));
        }
        rows.truncate(height);
        rows.reverse();
        rows
    }

    /// The row that is so many rows above the bottom one, but not so far that the window would not be full.
    /// `true`: the beginning of what is loaded is in that window.
    pub(crate) fn above(&self, steps: usize, height: usize) -> (Option<Anchor>, bool) {
        let Some(from) = self.bottom() else { return (None, true) };
        // All rows upwards, as far as they are of interest.
        let (mut way, mut at) = (Vec::new(), Some(from));
        while let Some(Anchor { item, row }) = at {
            way.extend((0..=row).rev().map(|row| Anchor { item: item.clone(), row }));
            if way.len() > steps + height {
                return (way.into_iter().nth(steps), false);
            }
            at = self.before(&item).map(|item| self.last_row(item));
        }
        let fits = way.len().saturating_sub(height).min(steps);
        (way.into_iter().nth(fits), true)
    }

    /// The row that is so many rows below the bottom one; `None`: the end.
    pub(crate) fn below(&self, mut steps: usize) -> Option<Anchor> {
        let mut at = self.bottom()?;
        loop {
            let rows = self.item(&at.item).len();
            if at.row + steps < rows {
                at.row += steps;
                return (!self.is_end(&at)).then_some(at);
            }
            steps -= rows - at.row;
            at = Anchor { item: self.after(&at.item)?, row: 0 };
        }
    }

    /// Nothing is below that row.
    pub(crate) fn is_end(&self, anchor: &Anchor) -> bool {
        self.after(&anchor.item).is_none() && anchor.row + 1 == self.item(&anchor.item).len()
    }

    /// The row of a message that has this in it, which is in lower case; `None`: no row has all of it.
    pub(crate) fn row_with(&self, id: MessageId, wanted: &str) -> Option<usize> {
        let has = |row: &Line<'_>| row.spans.last().is_some_and(|text| text.content.to_lowercase().contains(wanted));
        self.stored(id).iter().position(has)
    }

    /// The row at the bottom of the window. What it was kept by may be gone, or have fewer rows now.
    fn bottom(&self) -> Option<Anchor> {
        let kept = self.conversation.bottom.as_ref().filter(|anchor| self.is_there(&anchor.item));
        match kept {
            Some(anchor) => {
                let rows = self.item(&anchor.item).len();
                Some(Anchor { item: anchor.item.clone(), row: anchor.row.min(rows - 1) })
            }
            None => self.end().map(|item| self.last_row(item)),
        }
    }

    fn is_there(&self, item: &ItemKey) -> bool {
        match item {
            ItemKey::Stored(id) => self.conversation.messages.contains_key(id),
            ItemKey::Unsent(key) => self.conversation.outbox.iter().any(|message| message.key == *key),
        }
    }

    fn end(&self) -> Option<ItemKey> {
        let unsent = self.conversation.outbox.last().map(|message| ItemKey::Unsent(message.key.clone()));
        unsent.or_else(|| self.conversation.last().map(ItemKey::Stored))
    }

    fn before(&self, item: &ItemKey) -> Option<ItemKey> {
        let stored = match item {
            ItemKey::Stored(id) => self.conversation.messages.range(..*id).next_back(),
            ItemKey::Unsent(key) => {
                let place = self.conversation.outbox.iter().position(|message| message.key == *key)?;
                if place > 0 {
                    return Some(ItemKey::Unsent(self.conversation.outbox[place - 1].key.clone()));
                }
                self.conversation.messages.last_key_value()
            }
        };
        stored.map(|(id, _)| ItemKey::Stored(*id))
    }

    fn after(&self, item: &ItemKey) -> Option<ItemKey> {
        let unsent = |place: usize| self.conversation.outbox.get(place);
        let next = match item {
            ItemKey::Stored(id) => {
                if let Some((id, _)) = self.conversation.messages.range(MessageId(id.0 + 1)..).next() {
                    return Some(ItemKey::Stored(*id));
                }
                unsent(0)
            }
            ItemKey::Unsent(key) => {
                unsent(self.conversation.outbox.iter().position(|message| message.key == *key)? + 1)
            }
        };
        next.map(|message| ItemKey::Unsent(message.key.clone()))
    }

    fn last_row(&self, item: ItemKey) -> Anchor {
        Anchor { row: self.item(&item).len() - 1, item }
    }

    /// The rows of a message: the day and the mark of what is new, where they stand above it, and the text.
    fn item(&self, item: &ItemKey) -> Vec<Line<'static>> {
        match item {
            ItemKey::Stored(id) => self.stored(*id),
            ItemKey::Unsent(key) => self.unsent(key),
        }
    }

    fn stored(&self, id: MessageId) -> Vec<Line<'static>> {
        let conversation = self.conversation;
        let Some(message) = conversation.messages.get(&id) else { return vec![Line::default()] };
        let mut rows = Vec::new();
        let before = conversation.messages.range(..id).next_back().map(|(_, before)| before);
        let clock = &self.state.clock;
        if before.is_none_or(|before| day(before.sent_at, clock) != day(message.sent_at, clock)) {
            rows.push(self.rule(&day(message.sent_at, clock), Color::DarkGray));
        }
        if conversation.new_from == Some(id) {
            rows.push(self.rule("new", Color::Red));
        }
        let mine = message.from == self.state.me;
        let mark = match (mine, message.read || id <= conversation.read_by_other) {
            (false, _) => "",
            (true, false) => "✓",
            (true, true) => "✓✓",
        };
        let found = self.state.search.as_ref().is_some_and(|search| search.hit == Some(id));
        let style = if found { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        self.text_rows(&time(message.sent_at, clock), mark, &message.from, &message.text, style, &mut rows);
        rows
    }

    fn unsent(&self, key: &str) -> Vec<Line<'static>> {
        let mut rows = Vec::new();
        let Some(message) = self.conversation.outbox.iter().find(|message| message.key == key) else {
            return vec![Line::default()];
        };
        let mark = match (&message.refused, message.stored) {
            (Some(_), _) => "!",
            (None, None) => "…",
            (None, Some(_)) => "✓",
        };
        let style = self.tint(Style::new().add_modifier(Modifier::DIM), Color::DarkGray);
        self.text_rows("", mark, &self.state.me, &message.text, style, &mut rows);
        if let Some(why) = &message.refused {
            let style = self.tint(Style::new().add_modifier(Modifier::BOLD), Color::Red);
            let said = format!("not sent: {}. /retry sends it again, /drop takes it back", visible(why));
            rows.extend(wrap(&said, self.columns).into_iter().map(|row| Line::styled(row, style)));
        }
        rows
    }

    fn text_rows(&self, time: &str, mark: &str, from: &str, text: &str, style: Style, rows: &mut Vec<Line<'static>>) {
        let mine = from == self.state.me;
        let name_style =
            self.tint(Style::new().add_modifier(Modifier::BOLD), if mine { Color::Cyan } else { Color::Green });
        let dim = self.tint(Style::new(), Color::DarkGray);
        let beside = self.columns >= BESIDE;
        let name_width = self.name_width();
        let indent = if beside { 5 + 1 + 2 + 1 + name_width + 2 } else { 2 };
        let mut head = vec![Span::styled(format!("{time:5} "), dim), Span::styled(format!("{mark:2} "), dim)];
        if beside {
            head.push(Span::styled(format!("{}  ", fitted(&visible(from), name_width)), name_style));
        } else {
            let name = fitted(&visible(from), self.columns.saturating_sub(9));
            rows.push(Line::from_iter([
                Span::styled(name.trim_end().to_owned(), name_style),
                Span::styled(format!(" {time} {mark}"), dim),
            ]));
            head = vec![Span::raw("  ")];
        }
        let mut head = Some(head);
        for line in text.split('\n') {
            let line = visible(&line.trim_end().replace('\t', TAB)).into_owned();
            for part in wrap(&line, self.columns - indent) {
                let mut spans = head.take().unwrap_or_else(|| vec![Span::raw(" ".repeat(indent))]);
                spans.push(Span::styled(part, style));
                rows.push(Line::from(spans));
            }
        }
    }

    /// As wide as the longest name of those who write here, where that is not too wide.
    fn name_width(&self) -> usize {
        let names = self.conversation.writers.iter().chain([&self.state.me]);
        names.map(|name| visible(name).width()).max().unwrap_or(0).clamp(4, NAME)
    }

    fn rule(&self, text: &str, colour: Color) -> Line<'static> {
        let text = format!(" {text} ");
        let left = self.columns.saturating_sub(text.width()) / 2;
        let right = self.columns.saturating_sub(left + text.width());
        let style = self.tint(Style::new(), colour);
        Line::styled(format!("{}{text}{}", "─".repeat(left), "─".repeat(right)), style)
    }

    fn tint(&self, style: Style, colour: Color) -> Style {
        if self.state.colours { style.fg(colour) } else { style }
    }
}

/// The time of day, as the list and the conversation show it.
pub(crate) fn time(at: Timestamp, clock: &TimeZone) -> String {
    zoned(at, clock).strftime("%H:%M").to_string()
}

/// The day, as a line between days has it.
pub(crate) fn day(at: Timestamp, clock: &TimeZone) -> String {
    zoned(at, clock).strftime("%A, %-d %B %Y").to_string()
}

/// When something was, in six columns at the most: the time of day, or the date of another day.
pub(crate) fn when(at: Timestamp, now: Timestamp, clock: &TimeZone) -> String {
    match zoned(at, clock).date() == zoned(now, clock).date() {
        true => time(at, clock),
        false => zoned(at, clock).strftime("%-d %b").to_string(),
    }
}

fn zoned(at: Timestamp, clock: &TimeZone) -> jiff::Zoned {
    jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::MAX).to_zoned(clock.clone())
}

/// The text in exactly so many columns: blanks are put to it, or its end is left out.
pub(crate) fn fitted(text: &str, columns: usize) -> String {
    let width = text.width();
    if width <= columns {
        return format!("{text}{}", " ".repeat(columns - width));
    }
    let mut out = String::new();
    for part in text.graphemes(true) {
        if out.width() + part.width() >= columns {
            break;
        }
        out.push_str(part);
    }
    let dots = if columns > 0 { "…" } else { "" };
    let width = out.width() + dots.width();
    format!("{out}{dots}{}", " ".repeat(columns.saturating_sub(width)))
}

/// The text in rows of so many columns, cut between words where that can be. One row at least.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let (mut rows, mut row, mut width) = (Vec::new(), String::new(), 0);
    for word in words(text) {
        let wide = word.width();
        if width + wide <= columns {
            row.push_str(word);
            width += wide;
            continue;
        }
        // A blank at the end of a row is not carried over.
        if word.trim().is_empty() {
            rows.push(std::mem::take(&mut row));
            width = 0;
            continue;
        }
        if width > 0 && wide <= columns {
            rows.push(std::mem::take(&mut row).trim_end().to_owned());
            width = 0;
        }
        for part in word.graphemes(true) {
            if width + part.width() > columns {
                rows.push(std::mem::take(&mut row));
                width = 0;
            }
            row.push_str(part);
            width += part.width();
        }
    }
    rows.push(row);
    rows
}

/// The pieces between which a row may end: at blanks, and before each ideograph. What stands after a word without a
/// blank between them, as a comma does, stays with it.
fn words(text: &str) -> Vec<&str> {
    let is_ideograph = |c: char| c.is_alphanumeric() && c.width() == Some(2);
    let mut words: Vec<&str> = Vec::new();
    let mut begin = 0;
    for (place, piece) in text.split_word_bound_indices() {
        let is_blank = |text: &str| text.ends_with(char::is_whitespace);
        if is_blank(piece) || is_blank(&text[begin..place]) || piece.starts_with(is_ideograph) {
            words.push(&text[begin..place]);
            begin = place;
        }
    }
    words.push(&text[begin..]);
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_cut_between_words() {
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("halo apa kabar", 8), ["halo apa", "kabar"]);
        assert_eq!(wrap("halo apa kabar", 9), ["halo apa", "kabar"]);
        assert_eq!(wrap("a abcdefghij b", 4), ["a ab", "cdef", "ghij", "b"]);
        assert_eq!(wrap("你好你好", 5), ["你好", "你好"]);
        assert_eq!(wrap("on Sunday, do not", 9), ["on", "Sunday,", "do not"]);
        assert_eq!(wrap("abc \\u202eab", 10), ["abc", "\\u202eab"]);
        assert_eq!(wrap("ab 你好，你", 7), ["ab 你", "好，你"]);
        assert_eq!(wrap("👩‍👩‍👧👩‍👩‍👧", 2), ["👩‍👩‍👧", "👩‍👩‍👧"]);
    }

    #[test]
    fn a_text_is_fitted() {
        assert_eq!(fitted("abc", 5), "abc  ");
        assert_eq!(fitted("abcdef", 5), "abcd…");
        assert_eq!(fitted("你好你", 4), "你… ");
        assert_eq!(fitted("abc", 0), "");
    }

    proptest! {
        #[test]
        fn no_row_is_too_wide_and_nothing_but_blanks_is_lost(text in "[a-z 你😀-]{0,80}", columns in 2usize..20) {
            let rows = wrap(&text, columns);
            prop_assert!(rows.iter().all(|row| row.width() <= columns), "{rows:?}");
            let kept: String = rows.concat().split(' ').collect();
            prop_assert_eq!(kept, text.split(' ').collect::<String>());
        }

        #[test]
        fn what_is_fitted_has_its_width(text in "[a-z你😀é]{0,20}", columns in 0usize..20) {
            prop_assert_eq!(fitted(&text, columns).width(), columns);
        }
    }
}
