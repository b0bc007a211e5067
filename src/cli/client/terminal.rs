//! The client on a terminal: the prompt, the line being typed, what was typed before, and messages above it.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::tz::TimeZone;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Context, Editor, ExternalPrinter, Helper};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::conversation::{Answered, Conversation, failure, login_without_password};
use super::live::{Display, Names, Printer, Shown, Watch};
use crate::cli::{mail, output, state};
use crate::client::{Error, Server};
use crate::model::{Password, visible};
use crate::protocol::Reply;
use crate::protocol::text::Echo;

/// What can be typed, and whether a name comes next. The document's slip `sent` is taken but not offered.
const COMMANDS: [(&str, bool); 9] = [
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
const HELP: &str = "auth USER [PASSWORD]   log in; without a password it is asked for unseen
send USER TEXT         send a message
inbox                  what has come, as the program of 2020 showed it
show                   who is logged in
history USER [BEFORE]  what you wrote to each other; with a message's number, what came before it
status USER            which of your messages USER has read
logout                 end the session
help, exit             this text; the end (Ctrl-D too)
Messages are shown as they come. Tab completes commands and names, the arrow keys bring back what was typed.";
/// An answer that takes longer is worth a word.
const LONG: Duration = Duration::from_secs(1);

/// Speaks with the person until they have enough.
pub fn converse(runtime: &Runtime, server: &Server) -> anyhow::Result<()> {
    let mut terminal = Terminal::open()?;
    let mut conversation = Conversation::new(server.clone());
    runtime.block_on(conversation.connect())?;
    output::print(format_args!("Connected to {}. Type help for help, Ctrl-D to leave.", server.address))?;
    let mut watch: Option<Watch> = None;
    loop {
        let token = conversation.token();
        if watch.as_ref().map(|watch| watch.token) != token {
            watch = token.map(|token| Watch::start(runtime.handle(), server, token, terminal.display.clone()));
            terminal.display.learn(runtime.block_on(conversation.online()));
        }
        let prompt = format!("Command {}:", token.map_or(String::new(), |token| token.reveal()));
        let line = match terminal.editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        };
        terminal.remember(&line);
        match line.trim() {
            "" => {}
            "help" => output::print(HELP)?,
            "exit" | "quit" => break,
            _ => {
                let shown = match runtime.block_on(patiently(say(&mut conversation, &line))) {
                    Ok(answered) => terminal.take_in(answered, conversation.username()),
                    Err(error) => visible(&failure(&error)).into_owned(),
                };
                output::print(format_args!("{shown}\n"))?;
            }
        }
    }
    drop(watch);
    runtime.block_on(conversation.end());
    Ok(())
}

async fn say(conversation: &mut Conversation, line: &str) -> Result<Answered, Error> {
    if let Some(name) = login_without_password(line.as_bytes()) {
        // Ctrl-D here means that they thought better of it.
        if let Ok(password) = rpassword::prompt_password("Password: ") {
            return conversation.log_in(name, Password::attempt(&password)).await;
        }
    }
    conversation.say(line.as_bytes()).await
}

/// Says so when the answer takes long, because the server may be starting again.
async fn patiently<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    match timeout(LONG, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            output::note("(no answer yet)");
            work.await
        }
    }
}

struct Terminal {
    editor: Editor<Words, DefaultHistory>,
    display: Display,
    /// The reader's.
    clock: TimeZone,
    /// Where the lines typed are kept; nowhere if that cannot be.
    history: Option<PathBuf>,
}

impl Terminal {
    fn open() -> anyhow::Result<Terminal> {
        let names = Names::default();
        let settings = rustyline::Config::builder().completion_type(CompletionType::List).build();
        let mut editor = Editor::<Words, DefaultHistory>::with_config(settings)?;
        editor.set_helper(Some(Words { names: names.clone() }));
        let history = state::folder().ok().map(|folder| folder.join("history"));
        if let Some(history) = &history {
            // There is none before the first line was typed.
            let _ = editor.load_history(history);
        }
        let printer: Printer = match editor.create_external_printer() {
            Ok(mut printer) => Arc::new(Mutex::new(move |text| printer.print(text).is_ok())),
            // A terminal that cannot move its cursor.
            Err(_) => Arc::new(Mutex::new(|text: String| output::print(text).is_ok())),
        };
        let display = Display { printer, shown: Shown::default(), names };
        Ok(Terminal { editor, display, clock: TimeZone::system(), history })
    }

    /// Learns names from an answer, and gives what is shown of it to the user `reader`.
    fn take_in(&mut self, mut answered: Answered, reader: &str) -> String {
        match (&answered.echo, &mut answered.reply) {
            (Echo::Send(name), Reply::Sent) => self.display.learn([name.clone()]),
            (_, Reply::Online(names)) => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                self.display.learn(names);
            }
            (_, Reply::Inbox(senders)) => self.display.shown.take_before(senders),
            (_, Reply::History(messages)) if !messages.is_empty() => {
                return mail::history(messages, reader, &self.clock).trim_end().to_owned();
            }
            (_, Reply::Status(receipts)) if !receipts.is_empty() => {
                return mail::status(receipts, &self.clock).trim_end().to_owned();
            }
            _ => {}
        }
        visible(&answered.line()).into_owned()
    }

    fn remember(&mut self, line: &str) {
        let Some(line) = worth_remembering(line) else { return };
        if self.editor.add_history_entry(line).unwrap_or(false)
            && let Some(history) = &self.history
        {
            // What cannot be kept for the next time is no reason to stop now.
            let _ = self.editor.append_history(history);
        }
    }
}

/// What of a line is kept: of a login no more than the name, and nothing of what is no command, because it may be a
/// mistyped login.
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

/// Completes commands, and names after those that take one.
struct Words {
    names: Names,
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let begun = &line[..at];
        let start = begun.rfind(' ').map_or(0, |space| space + 1);
        let word = &begun[start..];
        let before: Vec<&str> = begun[..start].split_whitespace().collect();
        let fitting = |candidate: &str| candidate.starts_with(word).then(|| format!("{candidate} "));
        let found = match before[..] {
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

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}

impl Validator for Words {}

impl Helper for Words {}

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

    #[test]
    fn commands_and_names_are_completed() {
        let names = Names::default();
        names.lock().expect("nobody panicked").extend(["henderson", "messi", "mario"].map(str::to_owned));
        let words = Words { names };
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
    }
}
