//! What keys do. Pure: nothing here reads a terminal.

use ratatui::crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use crate::cli::chat::screen::command::{complete, enter};
use crate::cli::chat::screen::event::Effect;
use crate::cli::chat::screen::navigate::{Scroll, begin_search, leave, next_unread, open, page_rows, scroll, step};
use crate::cli::chat::screen::search::{self, Direction};
use crate::cli::chat::screen::state::ChatState;
use crate::cli::chat::screen::view::{HELP, conversation_at, last_of_help, shows_help};

/// How many rows a turn of the wheel goes.
const WHEEL: usize = 3;

/// Does what a key, a paste or the window asks for.
pub(crate) fn terminal(state: &mut ChatState, event: Event, effects: &mut Vec<Effect>) {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => press(state, key, effects),
        Event::Paste(text) => {
            state.note = None;
            state.completion = None;
            state.typing_mut().insert(&text);
            search::look(state, Direction::Here);
        }
        Event::Resize(columns, rows) => (state.columns, state.rows) = (columns, rows),
        Event::FocusGained => state.focused = true,
        Event::FocusLost => state.focused = false,
        Event::Mouse(mouse) => point(state, mouse),
        Event::Key(_) => {}
    }
}

/// What the mouse does, where it was asked for.
fn point(state: &mut ChatState, mouse: MouseEvent) {
    match mouse.kind {
        MouseEventKind::ScrollUp => scroll(state, Scroll::Up(WHEEL)),
        MouseEventKind::ScrollDown => scroll(state, Scroll::Down(WHEEL)),
        MouseEventKind::Down(MouseButton::Left) => {
            if let Some(name) = conversation_at(state, mouse.column, mouse.row) {
                open(state, &name);
            }
        }
        _ => {}
    }
}

fn press(state: &mut ChatState, key: KeyEvent, effects: &mut Vec<Effect>) {
    state.note = None;
    if key.code != KeyCode::Tab {
        state.completion = None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    if shows_help(state) && !control && !alt && turn_help(state, key.code) {
        return;
    }
    state.help_from = 0;
    match (key.code, control, alt) {
        (KeyCode::Char('c'), true, _) => leave(state, effects),
        (KeyCode::Char('d'), true, _) if state.typing().is_empty() => leave(state, effects),
        (KeyCode::Char('z'), true, _) => effects.push(Effect::Suspend),
        (KeyCode::Char('l'), true, _) => effects.push(Effect::Redraw),
        (KeyCode::F(1), ..) => state.help = !state.help,
        (KeyCode::Esc, ..) => back(state),
        (KeyCode::Char('f'), true, _) => begin_search(state, ""),
        (KeyCode::Char('n'), true, _) | (KeyCode::Down, _, true) => step(state, 1),
        (KeyCode::Char('p'), true, _) | (KeyCode::Up, _, true) => step(state, -1),
        (KeyCode::Char('a'), _, true) => next_unread(state),
        (KeyCode::PageUp, ..) => scroll(state, Scroll::Up(page_rows(state))),
        (KeyCode::PageDown, ..) => scroll(state, Scroll::Down(page_rows(state))),
        (KeyCode::End, true, _) => scroll(state, Scroll::End),
        (KeyCode::Home, true, _) => scroll(state, Scroll::Up(usize::MAX / 2)),
        // A terminal that ends lines with LF sends it as Ctrl-J.
        (KeyCode::Enter, _, false) | (KeyCode::Char('j'), true, _) => match state.search {
            Some(_) => search::look(state, Direction::Older),
            None => enter(state, effects),
        },
        (KeyCode::Enter, _, true) => state.typing_mut().insert("\n"),
        (KeyCode::Tab, ..) => complete(state),
        _ if state.search.is_some() => search_key(state, key),
        _ => edit(state, key),
    }
}

/// Goes through a help that is longer than the screen.
fn turn_help(state: &mut ChatState, code: KeyCode) -> bool {
    let page = usize::from(state.rows / 2).max(1);
    let last = last_of_help(state);
    state.help_from = match code {
        KeyCode::Up => state.help_from.saturating_sub(1),
        KeyCode::Down => (state.help_from + 1).min(last),
        KeyCode::PageUp => state.help_from.saturating_sub(page),
        KeyCode::PageDown => (state.help_from + page).min(last),
        _ => return false,
    };
    true
}

/// Keys that change what is typed, or move in it.
fn edit(state: &mut ChatState, key: KeyEvent) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let draft = state.typing_mut();
    match (key.code, control) {
        (KeyCode::Char('a'), true) | (KeyCode::Home, _) => draft.start(),
        (KeyCode::Char('e'), true) | (KeyCode::End, _) => draft.end(),
        (KeyCode::Char('u'), true) => draft.delete_to_start(),
        (KeyCode::Char('k'), true) => draft.delete_to_end(),
        (KeyCode::Char('w'), true) => draft.delete_word(),
        (KeyCode::Char('h'), true) | (KeyCode::Backspace, _) => draft.delete_before(),
        (KeyCode::Char('d'), true) | (KeyCode::Delete, _) => draft.delete_after(),
        (KeyCode::Char('b'), true) | (KeyCode::Left, _) => draft.left(),
        (KeyCode::Right, _) => draft.right(),
        (KeyCode::Char(c), false) => draft.insert(c.encode_utf8(&mut [0; 4])),
        (KeyCode::Up, _) if !draft.up() => up(state),
        (KeyCode::Down, _) if !draft.down() => down(state),
        _ => {}
    }
}

/// One row, or one conversation where the list alone is shown.
fn up(state: &mut ChatState) {
    if state.shows_list && !state.is_wide() { step(state, -1) } else { scroll(state, Scroll::Up(1)) }
}

fn down(state: &mut ChatState) {
    if state.shows_list && !state.is_wide() { step(state, 1) } else { scroll(state, Scroll::Down(1)) }
}

fn search_key(state: &mut ChatState, key: KeyEvent) {
    match key.code {
        KeyCode::Up => search::look(state, Direction::Older),
        KeyCode::Down => search::look(state, Direction::Newer),
        _ => {
            let before = state.typing().text().to_owned();
            edit(state, key);
            if state.typing().text() != before {
                search::look(state, Direction::Here);
            }
        }
    }
}

/// Out of what was opened last: the help, a search, the past, the conversation where it hides the list.
fn back(state: &mut ChatState) {
    if state.help {
        state.help = false;
    } else if state.search.take().is_some() {
    } else if state.typing().text() == HELP {
        state.typing_mut().take();
    } else if state.opened().is_some_and(|open| open.bottom.is_some()) {
        scroll(state, Scroll::End);
    } else if !state.is_wide() {
        state.shows_list = true;
    }
}
