//! What Enter and Tab do with a line: send it, carry out what begins with `/`, complete a name. Pure.

use std::sync::Arc;

use crate::cli::chat::screen::draft::Draft;
use crate::cli::chat::screen::draft_file::Drafts;
use crate::cli::chat::screen::event::Effect;
use crate::cli::chat::screen::navigate::{begin_search, leave, open};
use crate::cli::chat::screen::outbox::WaitingMessage;
use crate::cli::chat::screen::state::{ChatState, Completion, OutboxMessage};
use crate::model::Timestamp;

/// What can stand after `/`, and whether a name comes after it.
const COMMANDS: [(&str, bool); 6] =
    [("drop", false), ("find", false), ("help", false), ("quit", false), ("retry", false), ("to", true)];

/// Does what was typed. What cannot be done stays in the line.
pub(crate) fn enter(state: &mut ChatState, effects: &mut Vec<Effect>) {
    let typed = state.typing().text().to_owned();
    if let Some(rest) = typed.strip_prefix('/').filter(|rest| !rest.starts_with('/')) {
        return carry_out(state, rest, effects);
    }
    if state.opened().is_none() {
        // The list alone is shown: Enter opens what is chosen.
        state.note = (!typed.trim().is_empty()).then(|| "to whom? /to NAME opens a conversation".to_owned());
        return;
    }
    state.shows_list = false;
    let text = meant(&typed);
    if text.trim().is_empty() {
        return;
    }
    send(state, text, effects);
}

/// The message that a typed text is.
fn meant(typed: &str) -> &str {
    let text = if typed.starts_with("//") { &typed[1..] } else { typed };
    text.trim_matches('\n').trim_end()
}

fn send(state: &mut ChatState, text: &str, effects: &mut Vec<Effect>) {
    let key = uuid::Uuid::new_v4().to_string();
    let Some(open) = state.opened_mut() else { return };
    open.draft.take();
    open.bottom = None;
    open.new_from = None;
    open.outbox.push(OutboxMessage { key: key.clone(), text: text.into(), stored: None, refused: None });
    effects.push(Effect::Send { with: open.name.clone(), key, text: text.into() });
    state.sort();
}

/// Takes up what an earlier program left in its outbox, and what was typed in it and not sent.
pub(crate) fn take_up(
    state: &mut ChatState,
    waiting: Vec<WaitingMessage>,
    drafts: &Drafts,
    now: Timestamp,
) -> Vec<Effect> {
    let mut effects = Vec::new();
    for waits in waiting {
        let refused = waits.is_old(now).then(|| "it was typed long ago and may have been sent".to_owned());
        let WaitingMessage { key, with, text, .. } = waits;
        let text: Arc<str> = text.into();
        if refused.is_none() {
            effects.push(Effect::Send { with: with.clone(), key: key.clone(), text: text.clone() });
        }
        state.conversation(&with).outbox.push(OutboxMessage { key, text, stored: None, refused });
    }
    for (with, text) in drafts {
        let draft = Draft::of(text);
        if with.is_empty() {
            state.draft = draft;
            continue;
        }
        let conversation = state.conversation(with);
        // A program that was killed just after Enter leaves a text in both places.
        if conversation.outbox.iter().all(|message| &*message.text != meant(text)) {
            conversation.draft = draft;
        }
    }
    state.sort();
    effects
}

fn carry_out(state: &mut ChatState, line: &str, effects: &mut Vec<Effect>) {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    match word {
        "to" if rest.is_empty() || rest.contains(char::is_whitespace) => {
            state.note = Some("/to NAME: the name of one account".to_owned());
        }
        "to" => {
            state.typing_mut().take();
            open(state, rest);
        }
        "find" => {
            state.typing_mut().take();
            begin_search(state, rest);
        }
        "help" => {
            state.typing_mut().take();
            state.help = true;
        }
        "quit" => {
            state.typing_mut().take();
            leave(state, effects);
        }
        "retry" | "drop" => {
            state.typing_mut().take();
            again(state, word == "retry", effects);
        }
        _ => {
            let known: Vec<String> = COMMANDS.iter().map(|(known, _)| format!("/{known}")).collect();
            state.note = Some(format!("there is {}; a text that begins with / is typed with //", known.join(" ")));
        }
    }
}

/// Sends again, or takes back into the line, what the server did not take.
fn again(state: &mut ChatState, sends: bool, effects: &mut Vec<Effect>) {
    let Some(open) = state.opened_mut() else { return };
    let mut refused = 0;
    let name = open.name.clone();
    let outbox = std::mem::take(&mut open.outbox);
    for mut message in outbox {
        if message.refused.take().is_none() {
            open.outbox.push(message);
            continue;
        }
        refused += 1;
        match sends {
            true => {
                effects.push(Effect::Send { with: name.clone(), key: message.key.clone(), text: message.text.clone() });
                open.outbox.push(message);
            }
            false => {
                let between = if open.draft.is_empty() { "" } else { "\n" };
                open.draft.insert(&format!("{between}{}", message.text));
                effects.push(Effect::Done { key: message.key });
            }
        }
    }
    if refused == 0 {
        state.note = Some("nothing was refused here".to_owned());
    }
}

/// Completes the word before the cursor: a command, a name after `/to`, a name in a text. The next Tab offers the next.
pub(crate) fn complete(state: &mut ChatState) {
    if state.search.is_some() {
        return;
    }
    let completion = state.completion.take().or_else(|| offers(state));
    let Some(mut completion) = completion else { return };
    let word = completion.words[completion.next % completion.words.len()].clone();
    completion.next += 1;
    state.typing_mut().replace_from(completion.from, &word);
    // One that fits is meant.
    state.completion = (completion.words.len() > 1).then_some(completion);
}

fn offers(state: &ChatState) -> Option<Completion> {
    let before = state.typing().before_cursor();
    let from = before
        .rfind(char::is_whitespace)
        .map_or(0, |place| place + before[place..].chars().next().map_or(1, char::len_utf8));
    let begun = &before[from..];
    let words: Vec<String> = match begun.strip_prefix('/') {
        Some(begun) if from == 0 => COMMANDS
            .iter()
            .filter(|(command, _)| command.starts_with(begun))
            .map(|(command, takes_name)| format!("/{command}{}", if *takes_name { " " } else { "" }))
            .collect(),
        _ if begun.is_empty() && !before.starts_with("/to ") => Vec::new(),
        _ => {
            let fitting = state.people.iter().filter(|name| name.starts_with(begun) && **name != state.me);
            let end = if before.starts_with("/to ") { "" } else { " " };
            fitting.map(|name| format!("{name}{end}")).collect()
        }
    };
    (!words.is_empty()).then_some(Completion { from, words, next: 0 })
}
