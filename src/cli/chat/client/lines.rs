//! The only reader of the terminal, for lines and for passwords. What is typed ahead, or arrives together with a line,
//! stays in its buffer for the next question, of either kind.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{
    Cmd, ColorMode, CompletionType, ConditionalEventHandler, Editor, Event, EventContext, EventHandler,
    ExternalPrinter, KeyEvent, RepeatCount,
};
use tokio::runtime::Runtime;

use crate::cli::chat::client::prompt::{COMMANDS, PromptHelper};
use crate::cli::chat::client::tty;
use crate::cli::chat::client::tty::{Own, Quiet, Unseen};
use crate::cli::chat::tokens;
use crate::cli::output;
use crate::model::visible;

/// What somebody did when asked for a line.
pub(super) enum Typed {
    Line(String),
    /// Ctrl-C, Ctrl-\: nothing comes of the line.
    Abandoned,
    /// Ctrl-D.
    End,
}

/// Shows a text above the line that is being typed. An error: it could not.
pub(super) type Print = Box<dyn FnMut(String) -> bool + Send>;

pub(super) struct LineEditor {
    editor: Editor<PromptHelper, DefaultHistory>,
    pressed: Pressed,
    /// Lines that were pasted behind the last one.
    pasted: VecDeque<String>,
    /// Where the lines typed are kept; nowhere if that cannot be.
    history: Option<PathBuf>,
    /// `None` for a terminal that cannot move its cursor. That one gathers lines and shows them itself.
    quiet: Option<Quiet>,
}

impl LineEditor {
    /// The reader, and what prints beside it.
    pub(super) fn open(runtime: &Runtime, words: PromptHelper) -> anyhow::Result<(LineEditor, Print)> {
        // Without colours rustyline does not call the highlighter, which wraps the lines.
        let settings =
            rustyline::Config::builder().completion_type(CompletionType::List).color_mode(ColorMode::Forced).build();
        let mut editor = Editor::<PromptHelper, DefaultHistory>::with_config(settings)?;
        editor.set_helper(Some(words));
        let history = tokens::folder().ok().map(|folder| folder.join("history"));
        if let Some(history) = &history {
            // There is none before the first line was typed.
            let _ = editor.load_history(history);
        }
        let pressed = Pressed::default();
        let (quiet, print): (_, Print) = match editor.create_external_printer() {
            Ok(mut printer) => (Some(Quiet::begin(runtime)?), Box::new(move |text| printer.print(text).is_ok())),
            Err(_) => (None, Box::new(|text| output::print(text).is_ok())),
        };
        if let Some(quiet) = &quiet {
            let key =
                |key| EventHandler::Conditional(Box::new(BoundKey { key, pressed: pressed.clone(), own: quiet.own() }));
            for (letter, what) in [('C', What::Abandon), ('\\', What::Abandon), ('D', What::End), ('Z', What::Stop)] {
                editor.bind_sequence(KeyEvent::ctrl(letter), key(what));
            }
        }
        Ok((LineEditor { editor, pressed, pasted: VecDeque::new(), history, quiet }, print))
    }

    pub(super) fn line(&mut self, prompt: &str) -> anyhow::Result<Typed> {
        if let Some(line) = self.pasted.pop_front() {
            output::print(format_args!("{prompt}{}", visible(&line)))?;
            return Ok(Typed::Line(line));
        }
        self.begin(false);
        self.read(prompt)
    }

    /// Asks for a line and shows nothing of it.
    pub(super) fn password(&mut self, prompt: &str) -> anyhow::Result<Typed> {
        if let Some(password) = self.pasted.pop_front() {
            output::print(prompt)?;
            return Ok(Typed::Line(password));
        }
        if self.quiet.is_none() {
            let _unseen = Unseen::begin();
            return self.read(prompt);
        }
        let cursor = self.editor.set_cursor_visibility(false)?;
        self.begin(true);
        let typed = self.read(prompt);
        drop(cursor);
        typed
    }

    /// No more lines are read. `true`: something was typed after the last answer.
    pub(super) fn end(&mut self) -> bool {
        let mut left = !self.pasted.is_empty();
        let mut ended = self.quiet.is_none();
        while !ended {
            if let Some(words) = self.editor.helper() {
                words.was_typed();
                words.begin_without_waiting();
            }
            ended = self.editor.readline("").is_err();
            left |= self.editor.helper().is_some_and(PromptHelper::was_typed);
            // The editor ends every line that it reads.
            tty::one_row_up();
        }
        left
    }

    fn begin(&self, unseen: bool) {
        if let Some(words) = self.editor.helper() {
            words.begin(unseen);
        }
    }

    fn read(&mut self, prompt: &str) -> anyhow::Result<Typed> {
        let read = self.editor.readline(prompt);
        match (self.pressed.take(), read) {
            (Some(What::Abandon), Ok(_)) | (_, Err(ReadlineError::Interrupted)) => Ok(Typed::Abandoned),
            (Some(What::End), Ok(_)) | (_, Err(ReadlineError::Eof)) => Ok(Typed::End),
            (_, Ok(text)) => {
                let mut lines = text.strip_suffix('\n').unwrap_or(&text).split('\n').map(str::to_owned);
                let first = lines.next().unwrap_or_default();
                self.pasted.extend(lines);
                Ok(Typed::Line(first))
            }
            (_, Err(error)) => Err(error.into()),
        }
    }

    /// Keeps a line that was typed, for the arrow keys and for the next time.
    pub(super) fn remember(&mut self, line: &str) {
        let Some(line) = worth_remembering(line) else { return };
        if self.editor.add_history_entry(line).unwrap_or(false)
            && let Some(history) = &self.history
        {
            // What cannot be kept for the next time is no reason to stop now.
            let _ = self.editor.append_history(history);
        }
    }
}

/// What a key does. Without this rustyline takes the key for an error, and forgets what was typed after it.
#[derive(Clone, Copy)]
enum What {
    Abandon,
    End,
    Stop,
}

/// What ended the line, where it was not Enter.
#[derive(Clone, Default)]
struct Pressed(Arc<[AtomicBool; 2]>);

impl Pressed {
    fn take(&self) -> Option<What> {
        let [abandon, end] = self.0.each_ref().map(|key| key.swap(false, Ordering::Relaxed));
        if abandon { Some(What::Abandon) } else { end.then_some(What::End) }
    }
}

struct BoundKey {
    key: What,
    pressed: Pressed,
    own: Own,
}

impl ConditionalEventHandler for BoundKey {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, typing: &EventContext<'_>) -> Option<Cmd> {
        match self.key {
            What::Abandon => self.pressed.0[0].store(true, Ordering::Relaxed),
            What::End if typing.line().is_empty() => self.pressed.0[1].store(true, Ordering::Relaxed),
            // It deletes a character, as everywhere.
            What::End => return None,
            What::Stop => {
                self.own.stop();
                return Some(Cmd::Repaint);
            }
        }
        Some(Cmd::AcceptLine)
    }
}

/// The part of a line that the history keeps: of a login only the name. Nothing of a line that is no command, because
/// it may be a mistyped login.
fn worth_remembering(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    match words.next()? {
        "auth" => Some(format!("auth {}", words.next()?)),
        command if command == "sent" || COMMANDS.iter().any(|(known, _)| *known == command) => {
            Some(line.trim().to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_remembered() {
        let kept = |line| worth_remembering(line).unwrap_or_default();
        assert_eq!(kept("auth messi surabaya"), "auth messi");
        assert_eq!(kept("  auth \t messi  sura baya"), "auth messi");
        assert_eq!(kept("send henderson feeling good "), "send henderson feeling good");
        for forgotten in ["", "auth", "auht messi surabaya", "surabaya", "AUTH messi surabaya"] {
            assert_eq!(worth_remembering(forgotten), None, "{forgotten:?}");
        }
    }
}
