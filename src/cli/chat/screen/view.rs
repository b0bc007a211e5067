//! The screen, drawn from the state alone.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Clear, Paragraph};
use unicode_width::UnicodeWidthStr;

use crate::cli::chat::screen::rows::{Layout, fitted, when, wrap};
use crate::cli::chat::screen::state::{ChatConversation, ChatState, LineState};
use crate::model::{Timestamp, visible};

/// A line that shows the help while it is nothing more.
pub(crate) const HELP: &str = "?";
/// How wide the list is beside a conversation, in columns.
const LIST: u16 = 26;
/// So many rows of what is typed are shown, at the most.
const DRAFT_ROWS: u16 = 8;
/// What stands before what is typed.
const PROMPT: &str = "> ";
const FIND: &str = "find: ";

const HELP_TEXT: &str = "\
Enter           send            Alt-Enter       a new line
Tab             complete a name or a command
Alt-Up, Alt-Down (Ctrl-P, Ctrl-N)  the conversation above, below
Alt-A           the next conversation with something unread
PageUp, PageDown, Up, Down         back and forth in a conversation
Ctrl-Home, Ctrl-End                its beginning, its end
Ctrl-F          search: Enter or Up older, Down newer, Esc ends it
Ctrl-W, Ctrl-U, Ctrl-K             delete a word, to the start, to the end
Ctrl-L          draw anew       Ctrl-Z          to the shell, back with fg
Esc             back            Ctrl-C, Ctrl-D  leave

/to NAME        open a conversation with NAME, or of the group
/find TEXT      search in this one
/retry, /drop   send again, take back what was refused
/quit           leave
//text          a text that begins with /

✓ stored  ✓✓ read  … waits  ! refused";

/// Where everything stands.
struct Areas {
    list: Option<Rect>,
    title: Rect,
    conversation: Rect,
    status: Rect,
    typing: Rect,
    /// Shown instead of everything but the input line and its status.
    help: Rect,
}

/// Rows and columns of the part of the screen that shows the open conversation: (columns, rows).
pub(crate) fn conversation_size(state: &ChatState) -> (usize, usize) {
    let area = areas(state).conversation;
    (area.width.into(), area.height.into())
}

fn prompt(state: &ChatState) -> &'static str {
    if state.search.is_some() { FIND } else { PROMPT }
}

fn areas(state: &ChatState) -> Areas {
    let (columns, rows) = (state.columns, state.rows);
    let beside = if state.is_wide() { LIST + 1 } else { 0 };
    let width = columns.saturating_sub(beside);
    let (typed, _) = state.typing().rows(usize::from(width).saturating_sub(prompt(state).len()));
    let typing = u16::try_from(typed.len()).unwrap_or(u16::MAX).min(DRAFT_ROWS).min((rows / 2).max(1));
    let middle = rows.saturating_sub(2 + typing);
    let area = |y: u16, height: u16| Rect { x: beside, y, width, height: height.min(rows.saturating_sub(y)) };
    let conversation = area(1, middle);
    Areas {
        list: match (state.is_wide(), state.shows_list || state.open.is_none()) {
            (true, _) => Some(Rect { x: 0, y: 0, width: LIST, height: rows }),
            (false, true) => Some(conversation),
            (false, false) => None,
        },
        title: area(0, 1),
        conversation,
        status: area(1 + middle, 1),
        typing: area(2 + middle, typing),
        help: Rect { x: 0, y: 0, width: columns, height: (1 + middle).min(rows) },
    }
}

pub(crate) fn draw(state: &ChatState, frame: &mut Frame<'_>) {
    let areas = areas(state);
    frame.render_widget(Paragraph::new(title(state, areas.title.width)), areas.title);
    match state.opened().filter(|_| areas.list != Some(areas.conversation)) {
        Some(open) => conversation(state, open, areas.conversation, frame),
        None if areas.list != Some(areas.conversation) => {
            frame.render_widget(Paragraph::new("\n  /to NAME opens a conversation, ? is help"), areas.conversation);
        }
        None => {}
    }
    if let Some(area) = areas.list {
        list(state, area, frame);
    }
    frame.render_widget(Paragraph::new(status(state, areas.status.width)), areas.status);
    typing(state, areas.typing, frame);
    if shows_help(state) {
        help(state, areas.help, frame);
    }
}

pub(crate) fn shows_help(state: &ChatState) -> bool {
    state.help || state.typing().text() == HELP
}

/// The conversation whose row of the list is there.
pub(crate) fn conversation_at(state: &ChatState, column: u16, row: u16) -> Option<String> {
    let area = areas(state).list?;
    let place = first_of_list(state, area) + usize::from(row.checked_sub(area.y)?);
    let is_in_it = area.contains(Position { x: column, y: row });
    state.conversations.get(place).filter(|_| is_in_it).map(|there| there.name.clone())
}

/// The first conversation that the list shows, so that the open one is in view.
fn first_of_list(state: &ChatState, area: Rect) -> usize {
    let chosen = state.conversations.iter().position(|there| Some(&there.name) == state.open.as_ref()).unwrap_or(0);
    (chosen + 1).saturating_sub(area.height.into())
}

fn tint(state: &ChatState, style: Style, colour: Color) -> Style {
    if state.colours { style.fg(colour) } else { style }
}

fn bar() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

fn title(state: &ChatState, width: u16) -> Line<'static> {
    let width = usize::from(width);
    let elsewhere: u64 = state
        .conversations
        .iter()
        .filter(|conversation| state.open.as_ref() != Some(&conversation.name))
        .map(|conversation| conversation.unread)
        .sum();
    let name = match state.opened().filter(|_| state.is_wide() || !state.shows_list) {
        Some(open) => visible(&open.name).into_owned(),
        None => "chatd".to_owned(),
    };
    let right = match elsewhere {
        0 => String::new(),
        unread => format!(" {unread} unread elsewhere "),
    };
    let left = fitted(&format!(" {name}"), width.saturating_sub(right.width()));
    Line::styled(format!("{left}{right}"), bar().add_modifier(Modifier::BOLD))
}

fn status(state: &ChatState, width: u16) -> Line<'static> {
    let width = usize::from(width);
    let unsent = match state.unsent() {
        0 => String::new(),
        1 => ", 1 message waits".to_owned(),
        many => format!(", {many} messages wait"),
    };
    let (text, colour) = match (&state.note, &state.line) {
        (Some(note), _) => (visible(note).into_owned(), Color::Yellow),
        (None, LineState::Lost(why)) => (format!("not connected{unsent}: {}: trying again", visible(why)), Color::Red),
        (None, LineState::Ended) => ("the session has ended: leave, and log in again".to_owned(), Color::Red),
        (None, LineState::Connecting) => (format!("connecting to {}{unsent}", state.address), Color::Yellow),
        (None, LineState::Up) => {
            let past = state.opened().is_some_and(|open| open.bottom.is_some());
            let place = if past { ", not at the end (Esc)" } else { "" };
            let said = |at: &str| format!("{}{at}{unsent}{place}, ? is help", visible(&state.me));
            let whole = said(&format!(" at {}", state.address));
            // In a narrow window the address is left out.
            (if whole.width() < width { whole } else { said("") }, Color::Reset)
        }
    };
    let style = if colour == Color::Reset { bar() } else { tint(state, bar(), colour) };
    Line::styled(fitted(&format!(" {text}"), width), style)
}

fn conversation(state: &ChatState, open: &ChatConversation, area: Rect, frame: &mut Frame<'_>) {
    let rows = Layout::new(state, open, area.width.into()).window(area.height.into());
    // A short conversation stands at the bottom, beside the line that is typed.
    let free = area.height.saturating_sub(u16::try_from(rows.len()).unwrap_or(u16::MAX));
    let area = Rect { y: area.y + free, height: area.height - free, ..area };
    frame.render_widget(Paragraph::new(Text::from(rows)), area);
}

fn list(state: &ChatState, area: Rect, frame: &mut Frame<'_>) {
    let width = usize::from(area.width);
    let height = usize::from(area.height);
    let first = first_of_list(state, area);
    let rows = state.conversations.iter().skip(first).take(height).map(|there| {
        let is_open = Some(&there.name) == state.open.as_ref();
        let unread = if there.unread > 0 { format!(" ({})", there.unread) } else { String::new() };
        let at = match there.newest.0 {
            _ if !is_open && !there.draft.is_empty() => "draft".to_owned(),
            Timestamp(0) => String::new(),
            newest => when(newest, state.now, &state.clock),
        };
        let right = format!("{unread} {at:>6} ");
        let name = fitted(&format!(" {}", visible(&there.name)), width.saturating_sub(right.width()));
        let mut style = Style::new();
        if there.unread > 0 {
            style = style.add_modifier(Modifier::BOLD);
        }
        if is_open {
            style = style.add_modifier(Modifier::REVERSED);
        }
        Line::from_iter([Span::styled(name, style), Span::styled(right, style)])
    });
    frame.render_widget(Paragraph::new(Text::from_iter(rows)), area);
    if state.is_wide() {
        let between = Rect { x: area.right(), width: 1, ..area };
        let line = Text::from_iter((0..height).map(|_| Line::raw("│")));
        frame.render_widget(Paragraph::new(line).style(tint(state, Style::new(), Color::DarkGray)), between);
    }
}

fn typing(state: &ChatState, area: Rect, frame: &mut Frame<'_>) {
    let prompt = prompt(state);
    let indent = u16::try_from(prompt.len()).unwrap_or_default();
    let (typed, (row, column)) = state.typing().rows(usize::from(area.width.saturating_sub(indent)));
    let height = usize::from(area.height);
    let first = (row + 1).saturating_sub(height);
    let rows = typed.into_iter().enumerate().skip(first).take(height).map(|(number, text)| {
        let before = if number == 0 { prompt.to_owned() } else { " ".repeat(prompt.len()) };
        Line::raw(format!("{before}{text}"))
    });
    frame.render_widget(Paragraph::new(Text::from_iter(rows)), area);
    let at = |offset: usize| u16::try_from(offset).unwrap_or(u16::MAX);
    frame.set_cursor_position(Position {
        x: area.x.saturating_add(indent).saturating_add(at(column)).min(state.columns.saturating_sub(1)),
        y: area.y.saturating_add(at(row - first)),
    });
}

/// The help in rows of that many columns.
fn help_rows(columns: usize) -> Vec<String> {
    let lines = HELP_TEXT.lines().flat_map(|line| match line.width() <= columns {
        true => vec![line.to_owned()],
        // In a narrow window there is no room for columns: each key has rows of its own.
        false => {
            let parts: Vec<&str> = line.split("  ").map(str::trim).filter(|part| !part.is_empty()).collect();
            parts.chunks(2).flat_map(|pair| wrap(&pair.join(": "), columns)).collect()
        }
    });
    lines.collect()
}

/// The last row with which the help may begin. The hint that says how to leave it has its own row.
pub(crate) fn last_of_help(state: &ChatState) -> usize {
    let area = areas(state).help;
    (help_rows(area.width.into()).len() + 1).saturating_sub(area.height.into())
}

fn help(state: &ChatState, area: Rect, frame: &mut Frame<'_>) {
    let height = usize::from(area.height).saturating_sub(1);
    let from = state.help_from.min(last_of_help(state));
    let rows = help_rows(area.width.into());
    let is_cut = rows.len() > height;
    let mut shown: Vec<Line<'_>> = rows.into_iter().skip(from).take(height).map(Line::raw).collect();
    let way_out = if is_cut { "Esc takes this away, PageDown turns it" } else { "Esc takes this away" };
    shown.push(Line::styled(fitted(way_out, area.width.into()), tint(state, bar(), Color::Yellow)));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(Text::from(shown)), area);
}
