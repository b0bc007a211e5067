//! What the line editor shows: the prompt and the line, with our own line ends where the terminal would wrap them. And
//! what Tab completes.
//!
//! When the window gets wider, a terminal joins the rows that it has wrapped itself. The editor does not know this. It
//! would clear as many rows as before, and so wipe messages above the prompt. Our own line ends stay. When the window
//! gets narrower, the terminal wraps the prompt, and the editor draws it again in the last of these rows. An empty row
//! separates the new prompt from the wrapped one.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustyline::completion::Completer;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, GraphemeClusterMode, Helper};
use signal_hook::consts::SIGINT;
use unicode_segmentation::UnicodeSegmentation;

use crate::cli::chat::client::tty;

/// What can be typed, and whether a name comes next. The text protocol's slip `sent` is taken but not offered.
pub(super) const COMMANDS: [(&str, bool); 9] = [
    ("auth", true),
    ("send", true),
    ("inbox", false),
    ("show", false),
    ("history", true),
    ("status", true),
    ("logout", false),
    ("help", false),
    ("exit", false),
];
/// As wide as a token: a prompt that is on the screen does not get shorter.
const ENDED: &str = "------ the session has ended -------";
/// The columns from one tab stop to the next, as the editor has it.
const TAB: u16 = 8;

/// The names that can be offered: of those who wrote, and to whom the person wrote.
pub(super) type Names = Arc<Mutex<BTreeSet<String>>>;

/// Asks for a command, in a session or in none.
pub(super) fn command(token: Option<&str>) -> String {
    format!("Command {}:", token.unwrap_or_default())
}

pub(super) struct PromptHelper {
    names: Names,
    /// The session of the prompt has ended.
    ended: Arc<AtomicBool>,
    /// The line is not shown.
    unseen: Cell<bool>,
    width: GraphemeClusterMode,
    /// The column at which the prompt ends.
    prompt_end: Cell<u16>,
    on_screen: Cell<ScreenExtent>,
    /// The terminal has wrapped our own rows, too, because the window has got narrower.
    is_torn: Cell<bool>,
    /// The line as the editor showed it last.
    line: RefCell<String>,
    /// The editor is to end when it would wait for a key.
    must_not_wait: Cell<bool>,
    typed: Cell<bool>,
}

/// How much room the prompt and the line take, in columns.
#[derive(Clone, Copy, Default)]
struct ScreenExtent {
    /// The width of the terminal in the editor's view; 0: nothing is shown yet.
    columns: u16,
    /// How wide the widest row is.
    widest: u16,
}

impl PromptHelper {
    pub(super) fn new(names: Names, ended: Arc<AtomicBool>) -> PromptHelper {
        PromptHelper {
            names,
            ended,
            unseen: Cell::default(),
            width: GraphemeClusterMode::from_env(),
            prompt_end: Cell::default(),
            on_screen: Cell::default(),
            is_torn: Cell::default(),
            line: RefCell::default(),
            must_not_wait: Cell::default(),
            typed: Cell::default(),
        }
    }

    /// The next line consists of what the editor has already. Nothing of it is shown.
    pub(super) fn begin_without_waiting(&self) {
        self.begin(true);
        self.must_not_wait.set(true);
    }

    /// Whether the editor had anything, since it was asked last.
    pub(super) fn was_typed(&self) -> bool {
        self.typed.take()
    }

    /// The next text is shown below all that was shown before.
    pub(super) fn begin(&self, unseen: bool) {
        self.unseen.set(unseen);
        self.on_screen.set(ScreenExtent::default());
        self.prompt_end.set(0);
        self.is_torn.set(false);
    }

    /// What is on the screen ends at a column.
    fn note(&self, ends: u16, text: &str) {
        let ScreenExtent { columns, widest } = self.on_screen.get();
        // What was wrapped was as wide as the terminal.
        let widest = if text.contains('\n') { columns } else { widest.max(ends) };
        self.on_screen.set(ScreenExtent { columns, widest });
    }

    /// Takes over a new width of the terminal as soon as the editor has done so. A signal tells the editor, and it then
    /// draws the line again, if necessary. Until then it uses the old width.
    fn follow(&self, line: &str) {
        let ScreenExtent { columns, widest } = self.on_screen.get();
        let now = tty::columns();
        let fits = widest < columns.min(now);
        if now != columns && (columns == 0 || fits || *self.line.borrow() == line) {
            self.is_torn.set(widest > now);
            self.on_screen.set(ScreenExtent { columns: now, widest });
        }
        line.clone_into(&mut self.line.borrow_mut());
    }

    /// The text from a column on, and the column at which it ends. Wrapped where the editor reckons that it is.
    fn wrapped(&self, text: &str, from: u16, columns: u16) -> (String, u16) {
        let (mut shown, mut column) = (String::with_capacity(text.len() + 8), from);
        for piece in text.graphemes(true) {
            let width = match piece {
                "\n" => {
                    shown.push_str("\r\n");
                    column = 0;
                    continue;
                }
                "\t" => TAB - column % TAB,
                other => self.width.width(other),
            };
            if column + width > columns {
                shown.push_str("\r\n");
                column = 0;
            }
            match piece == "\t" || self.unseen.get() {
                true => shown.extend(std::iter::repeat_n(' ', width.into())),
                false => shown.push_str(piece),
            }
            column += width;
        }
        (shown, column)
    }
}

impl Highlighter for PromptHelper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, default: bool) -> Cow<'b, str> {
        let ended = self.ended.load(Ordering::Relaxed).then(|| command(Some(ENDED)));
        let fits = |ended: &String| prompt.starts_with("Command ") && ended.len() == prompt.len();
        let prompt = ended.filter(fits).map_or(Cow::Borrowed(prompt), Cow::Owned);
        let ScreenExtent { columns, .. } = self.on_screen.get();
        self.on_screen.set(ScreenExtent { columns, widest: 0 });
        // The editor's own prompt, as for a search, contains what was typed.
        let unseen = self.unseen.replace(self.unseen.get() && !default);
        let (mut shown, end) = self.wrapped(&prompt, 0, columns);
        self.unseen.set(unseen);
        self.note(end, &shown);
        self.prompt_end.set(end);
        if self.is_torn.take() {
            shown.insert_str(0, "\r\n");
        }
        Cow::Owned(shown)
    }

    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        let (shown, end) = self.wrapped(line, self.prompt_end.get(), self.on_screen.get().columns);
        self.note(end, &shown);
        Cow::Owned(shown)
    }

    /// The editor calls this before it shows the line, but not when it shows the same line again below a message. It
    /// shows some changes without [`Highlighter::highlight`].
    fn highlight_char(&self, line: &str, _: usize, kind: CmdKind) -> bool {
        if kind == CmdKind::MoveCursor {
            return false;
        }
        self.follow(line);
        let (shown, end) = self.wrapped(line, self.prompt_end.get(), self.on_screen.get().columns);
        self.note(end, &shown);
        self.unseen.get()
    }
}

impl Completer for PromptHelper {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let begun = &line[..at];
        let start = begun.rfind(' ').map_or(0, |space| space + 1);
        let word = &begun[start..];
        let before: Vec<&str> = begun[..start].split_whitespace().collect();
        let fitting = |candidate: &str| candidate.starts_with(word).then(|| format!("{candidate} "));
        let found = match before[..] {
            _ if self.unseen.get() => Vec::new(),
            [] => COMMANDS.iter().filter_map(|(command, _)| fitting(command)).collect(),
            [command] if COMMANDS.contains(&(command, true)) => {
                let names = self.names.lock().unwrap_or_else(|broken| broken.into_inner());
                names.iter().filter_map(|name| fitting(name)).collect()
            }
            _ => Vec::new(),
        };
        Ok((start, found))
    }
}

impl Hinter for PromptHelper {
    type Hint = String;

    /// There are no hints. But the editor asks for one before it waits for the first key. The signal makes it end
    /// there. It handles the keys that it already has before that.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        if !line.is_empty() {
            self.typed.set(true);
        }
        if self.must_not_wait.take() {
            let _ = signal_hook::low_level::raise(SIGINT);
        }
        None
    }
}

impl Validator for PromptHelper {}

impl Helper for PromptHelper {}

#[cfg(test)]
mod tests {
    use rustyline::history::DefaultHistory;

    use super::*;

    #[test]
    fn commands_and_names_are_completed() {
        let names = Names::default();
        names.lock().expect("nobody panicked").extend(["henderson", "messi", "mario"].map(str::to_owned));
        let words = PromptHelper::new(names, Arc::default());
        let history = DefaultHistory::new();
        let complete = |line: &str| {
            let (start, found) = words.complete(line, line.len(), &Context::new(&history)).expect("it is in memory");
            format!("{start} {}", found.join("|"))
        };
        assert_eq!(complete("in"), "0 inbox ");
        assert_eq!(complete("se"), "0 send ");
        assert_eq!(complete("send m"), "5 mario |messi ");
        assert_eq!(complete("auth he"), "5 henderson ");
        assert_eq!(complete("inbox m"), "6 ");
        assert_eq!(complete("send messi m"), "11 ");
        words.unseen.set(true);
        assert_eq!(complete("se"), "0 ");
    }

    #[test]
    fn lines_are_wrapped_before_the_terminal_does_it() {
        let words = PromptHelper::new(Names::default(), Arc::default());
        assert_eq!(words.wrapped("abcdef", 0, 6), ("abcdef".to_owned(), 6));
        assert_eq!(words.wrapped("abcdefg", 0, 6), ("abcdef\r\ng".to_owned(), 1));
        assert_eq!(words.wrapped("x", 6, 6), ("\r\nx".to_owned(), 1));
        assert_eq!(words.wrapped("ab界", 0, 3), ("ab\r\n界".to_owned(), 2));
        assert_eq!(words.wrapped("a\nb\tc", 0, 10), ("a\r\nb       c".to_owned(), 9));
        words.unseen.set(true);
        assert_eq!(words.wrapped("secret", 0, 4), ("    \r\n  ".to_owned(), 2));
    }

    #[test]
    fn a_prompt_whose_session_has_ended_stays_as_wide_as_it_was() {
        assert_eq!(ENDED.len(), crate::model::Token::generate().reveal().len());
    }
}
