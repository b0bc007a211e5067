//! Takes an event and gives the next state, and what the program must do outside. Keys are in
//! [`crate::cli::chat::screen::keys`]. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cli::chat::screen::event::{ChatEvent, ConversationNews, Effect};
use crate::cli::chat::screen::keys;
use crate::cli::chat::screen::rows::Layout;
use crate::cli::chat::screen::search;
use crate::cli::chat::screen::state::{ChatState, LineState, Older, ShownMessage};
use crate::cli::chat::screen::view;
use crate::model::MessageId;

/// The one way in which the state changes.
pub(crate) fn update(state: &mut ChatState, event: ChatEvent) -> Vec<Effect> {
    let mut effects = Vec::new();
    match event {
        ChatEvent::Terminal(event) => keys::terminal(state, event, &mut effects),
        ChatEvent::Tick(now) => state.now = now,
        ChatEvent::Up => {
            state.line = LineState::Up;
            effects.push(Effect::People);
        }
        ChatEvent::Lost(why) => state.line = LineState::Lost(why),
        ChatEvent::SessionEnded => state.line = LineState::Ended,
        ChatEvent::Conversations(news) => conversations(state, news),
        ChatEvent::Came(messages) => came(state, messages, &mut effects),
        ChatEvent::Page { with, messages, last } => page(state, &with, messages, last),
        ChatEvent::Stored { with, key, id } => {
            let conversation = state.conversation(&with);
            if let Some(message) = conversation.outbox.iter_mut().find(|message| message.key == key) {
                message.stored = Some(id);
            }
            conversation.clear_outbox();
            state.sort();
            effects.push(Effect::Done { key });
        }
        ChatEvent::Refused { with, key, why } => {
            let outbox = &mut state.conversation(&with).outbox;
            if let Some(message) = outbox.iter_mut().find(|message| message.key == key) {
                message.refused = Some(why);
            }
        }
        ChatEvent::People(names) => state.people.extend(names),
    }
    search::go_on(state);
    load_what_is_missing(state, &mut effects);
    mark_read(state, &mut effects);
    effects
}

fn conversations(state: &mut ChatState, news: Vec<ConversationNews>) {
    for news in news {
        let conversation = state.conversation(&news.with);
        conversation.newest = conversation.newest.max(news.newest);
        // What was read here meanwhile the server did not know yet.
        if news.read_by_me >= conversation.read_by_me {
            conversation.unread = news.unread;
            conversation.read_by_me = news.read_by_me;
        }
        conversation.read_by_other = conversation.read_by_other.max(news.read_by_other);
    }
    state.sort();
}

fn came(state: &mut ChatState, messages: Vec<(String, MessageId, ShownMessage)>, effects: &mut Vec<Effect>) {
    let mut news: BTreeMap<String, Vec<Arc<str>>> = BTreeMap::new();
    for (with, id, message) in messages {
        let looks = state.looks_at_end() && state.open.as_deref() == Some(with.as_str());
        let (me, is_open) = (state.me.clone(), state.open.as_deref() == Some(with.as_str()));
        let conversation = state.conversation(&with);
        let is_new = id > conversation.newest.1;
        conversation.newest = conversation.newest.max((message.sent_at, id));
        if is_new && message.from != me {
            conversation.unread += 1;
            if is_open && !looks && conversation.new_from.is_none() {
                conversation.new_from = Some(id);
            }
            if !looks {
                news.entry(with).or_default().push(message.text.clone());
            }
        }
        conversation.insert(id, message);
        conversation.clear_outbox();
    }
    state.sort();
    if !state.focused && !news.is_empty() {
        effects.push(Effect::Notify(notification(&news)));
    }
}

/// One line for all that came together.
fn notification(news: &BTreeMap<String, Vec<Arc<str>>>) -> String {
    let parts = news.iter().map(|(from, texts)| match &texts[..] {
        [text] => format!("{from}: {text}"),
        _ => format!("{from}: {} messages", texts.len()),
    });
    parts.collect::<Vec<_>>().join("; ")
}

fn page(state: &mut ChatState, with: &str, messages: Vec<(MessageId, ShownMessage)>, last: bool) {
    let me = state.me.clone();
    let conversation = state.conversation(with);
    conversation.older = if last { Older::Nothing } else { Older::Unknown };
    if let Some((id, message)) = messages.last() {
        conversation.newest = conversation.newest.max((message.sent_at, *id));
    }
    for (id, message) in messages {
        conversation.insert(id, message);
    }
    conversation.clear_outbox();
    conversation.note_what_is_new(&me);
}

/// The top of the window must not be the oldest message that is loaded, unless it is the oldest of all.
fn load_what_is_missing(state: &mut ChatState, effects: &mut Vec<Effect>) {
    if state.line != LineState::Up {
        return;
    }
    let (columns, height) = view::conversation_size(state);
    let Some(open) = state.opened().filter(|open| open.older == Older::Unknown) else { return };
    let (_, at_start) = Layout::new(state, open, columns).above(2 * height, height);
    let wanted = at_start || state.search.as_ref().is_some_and(|search| search.goes_on);
    let Some(open) = state.opened_mut().filter(|_| wanted) else { return };
    open.older = Older::Asked;
    let before = open.messages.first_key_value().map(|(id, _)| *id);
    effects.push(Effect::Older { with: open.name.clone(), before });
}

/// What stands before the person's eyes is read.
fn mark_read(state: &mut ChatState, effects: &mut Vec<Effect>) {
    if !state.looks_at_end() || state.line != LineState::Up {
        return;
    }
    let me = state.me.clone();
    let Some(open) = state.opened_mut() else { return };
    let of_other = open.messages.iter().rev().find(|(_, message)| message.from != me);
    let Some(upto) = of_other.map(|(id, _)| *id) else { return };
    if upto > open.read_by_me {
        open.read_by_me = upto;
        open.unread = 0;
        effects.push(Effect::Read { with: open.name.clone(), upto });
    }
}
