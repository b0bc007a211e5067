//! Moves between conversations and inside one, and ends the program. Pure.

use crate::cli::chat::screen::draft::Draft;
use crate::cli::chat::screen::event::Effect;
use crate::cli::chat::screen::rows::Layout;
use crate::cli::chat::screen::search::{self, Direction};
use crate::cli::chat::screen::state::{ChatState, Search};
use crate::cli::chat::screen::view;

/// Where to scroll to.
pub(crate) enum Scroll {
    Up(usize),
    Down(usize),
    End,
}

/// Moves the window over the conversation.
pub(crate) fn scroll(state: &mut ChatState, to: Scroll) {
    let (columns, height) = view::conversation_size(state);
    let Some(open) = state.opened() else { return };
    let layout = Layout::new(state, open, columns);
    let bottom = match to {
        Scroll::End => None,
        Scroll::Down(rows) => layout.below(rows),
        Scroll::Up(rows) => match layout.above(rows.min(1 << 20), height) {
            // Where all of it fits into the window it stays at its end.
            (Some(anchor), _) if layout.is_end(&anchor) => None,
            (anchor, _) => anchor,
        },
    };
    if let Some(open) = state.opened_mut() {
        open.bottom = bottom;
    }
}

/// A window full, less a row to find the place again.
pub(crate) fn page_rows(state: &ChatState) -> usize {
    view::conversation_size(state).1.saturating_sub(1).max(1)
}

/// To another conversation, by its place in the list.
pub(crate) fn step(state: &mut ChatState, by: isize) {
    let count = state.conversations.len();
    if count == 0 {
        return;
    }
    let here = state.conversations.iter().position(|there| Some(&there.name) == state.open.as_ref());
    let next = match here {
        Some(here) => here.saturating_add_signed(by).min(count - 1),
        None => 0,
    };
    let (name, shows_list) = (state.conversations[next].name.clone(), state.shows_list);
    open(state, &name);
    state.shows_list = shows_list;
}

/// To the newest conversation in which something is unread.
pub(crate) fn next_unread(state: &mut ChatState) {
    let unread = state.conversations.iter().find(|there| there.unread > 0 && Some(&there.name) != state.open.as_ref());
    match unread.map(|there| there.name.clone()) {
        Some(name) => open(state, &name),
        None => state.note = Some("nothing else is unread".to_owned()),
    }
}

/// Opens the conversation of that name, begun where there is none.
pub(crate) fn open(state: &mut ChatState, name: &str) {
    if state.open.as_deref() != Some(name) {
        state.search = None;
        if let Some(left) = state.opened_mut() {
            left.new_from = None;
        }
    }
    state.conversation(name);
    state.open = Some(name.to_owned());
    state.shows_list = false;
    let me = state.me.clone();
    state.conversation(name).note_what_is_new(&me);
}

/// The end, unless something is still on its way: then the second time.
pub(crate) fn leave(state: &mut ChatState, effects: &mut Vec<Effect>) {
    let unsent = state.unsent();
    if unsent == 0 || state.leaves {
        effects.push(Effect::Quit);
        return;
    }
    state.leaves = true;
    let what = if unsent == 1 { "a message is" } else { "messages are" };
    state.note = Some(match state.keeps_outbox {
        true => format!("{what} not sent yet, the next `chatd chat` does it: once more to leave"),
        false => format!("{what} not sent yet and would be lost: once more to leave all the same"),
    });
}

/// Opens a line to type in what is looked for.
pub(crate) fn begin_search(state: &mut ChatState, query: &str) {
    if state.opened().is_none() {
        state.note = Some("open a conversation first: /to NAME".to_owned());
        return;
    }
    state.search = Some(Search { query: Draft::of(query), ..Search::default() });
    search::look(state, Direction::Here);
}
