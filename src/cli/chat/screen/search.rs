//! A search in the open conversation: upwards from the end, through older messages as they come. Pure.

use crate::cli::chat::screen::rows::Layout;
use crate::cli::chat::screen::state::{Anchor, ChatState, ItemKey, Older, ShownMessage};
use crate::cli::chat::screen::view;
use crate::model::MessageId;

/// Where a search goes.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    /// Begins at the present hit, which may still fit.
    Here,
    Older,
    Newer,
}

/// Looks for what was typed. Where it is not found in what is loaded, the search goes on when more has come.
pub(crate) fn look(state: &mut ChatState, direction: Direction) {
    let Some(search) = &state.search else { return };
    let (query, hit) = (search.query.text().to_lowercase(), search.hit);
    let Some(open) = state.opened() else { return };
    let matching =
        |(id, message): (&MessageId, &ShownMessage)| message.text.to_lowercase().contains(&query).then_some(*id);
    let found = match (query.is_empty(), direction, hit) {
        (true, ..) => None,
        (_, Direction::Here, Some(hit)) => open.messages.range(..=hit).rev().find_map(matching),
        (_, Direction::Older, Some(hit)) => open.messages.range(..hit).rev().find_map(matching),
        (_, Direction::Newer, Some(hit)) => open.messages.range(MessageId(hit.0 + 1)..).find_map(matching),
        (_, _, None) => open.messages.iter().rev().find_map(matching),
    };
    let backwards = !matches!(direction, Direction::Newer);
    let goes_on = found.is_none() && backwards && !query.is_empty() && open.older != Older::Nothing;
    let Some(search) = &mut state.search else { return };
    search.goes_on = goes_on;
    match found {
        Some(id) => {
            search.hit = Some(id);
            state.note = None;
            show(state, id, &query);
        }
        None if goes_on => state.note = Some("looking in older messages".to_owned()),
        None if query.is_empty() => {
            search.hit = None;
            state.note = None;
        }
        None if matches!(direction, Direction::Newer) => state.note = Some("there is no newer one".to_owned()),
        None if search.hit.is_some() => state.note = Some("there is no older one".to_owned()),
        None => state.note = Some("it is not in this conversation".to_owned()),
    }
}

/// Brings all of a message into the window, or the row with what was looked for where the message is longer.
fn show(state: &mut ChatState, id: MessageId, query: &str) {
    let (columns, height) = view::conversation_size(state);
    let Some(open) = state.opened() else { return };
    let found = Layout::new(state, open, columns).row_with(id, query);
    let row = found.map_or(usize::MAX, |row| (row + height).saturating_sub(1));
    if let Some(open) = state.opened_mut() {
        open.bottom = Some(Anchor { item: ItemKey::Stored(id), row });
    }
}

/// After something has come: a search that waits for older messages looks at them.
pub(crate) fn go_on(state: &mut ChatState) {
    let waits = state.search.as_ref().is_some_and(|search| search.goes_on);
    if waits && state.opened().is_some_and(|open| open.older != Older::Asked) {
        look(state, Direction::Older);
    }
}
