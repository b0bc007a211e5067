//! Commands print to standard output and standard error only through this file. Nothing here panics when a stream is a
//! pipe without a reader, a full disk, or closed. Control characters other than line ends and tabs are spelled out, so
//! that no terminal obeys them. Knows no command.

use std::fmt::Display;
use std::fs;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::visible_lines;

/// Whether standard output was closed when the program began.
static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// The text could not be printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unprinted {
    /// There is no standard output.
    #[error("standard output is closed: nothing was done")]
    Closed,
    /// What is written there is lost.
    #[error("standard output is /dev/null or closed: what is printed only once would be lost, so nothing was done")]
    Discarded,
    #[error("standard output")]
    Failed(#[from] io::Error),
}

impl Unprinted {
    /// The reader of the pipe has closed it. It needs no message.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self, Unprinted::Failed(why) if why.kind() == ErrorKind::BrokenPipe)
    }
}

/// Call it once, before anything is printed.
pub(super) fn start(was_closed: bool) {
    WAS_CLOSED.store(was_closed, Ordering::Relaxed);
}

/// Prints what a command was asked for, with a line end if it has none. The command has failed if this fails.
pub(super) fn print(text: impl Display) -> Result<(), Unprinted> {
    require()?;
    write(&text.to_string())
}

/// Says what a command has done. A failure here does not undo it.
pub(super) fn done(text: impl Display) {
    match write(&text.to_string()) {
        Err(why) if !why.is_quiet() => {
            note(format_args!("chatd: it is done, but could not be said: {:#}", anyhow::Error::from(why)));
        }
        _ => {}
    }
}

/// Writes a line to standard error. If that fails, nobody can be told.
pub(super) fn note(text: impl Display) {
    // One write, so that lines of several processes do not mix.
    let line = format!("{text}\n");
    let _ = io::stderr().write_all(visible_lines(&line).as_bytes());
}

/// Whether somebody looks at standard error.
pub(super) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Writes a line to standard error in the place of the one before. An empty one leaves the place free.
pub(super) fn progress(line: &str) {
    let _ = io::stderr().write_all(format!("\r\x1b[K{}", visible_lines(line)).as_bytes());
}

/// Sends the terminal a control sequence of the program, never a text. Nothing happens when the terminal is gone.
pub(super) fn control(sequence: &'static [u8]) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(sequence).and_then(|()| stdout.flush());
}

/// Fails when [`print()`] is sure to fail. Call it before a step that cannot be undone.
pub(super) fn require() -> Result<(), Unprinted> {
    if WAS_CLOSED.load(Ordering::Relaxed) { Err(Unprinted::Closed) } else { Ok(()) }
}

/// Prints a text in two parts. The step between them makes the text true. First prints `head`: this proves that the
/// stream works, before anything changes. Then runs `step`, then prints `rest`. Gives the result of `step`, and whether
/// `rest` was printed.
pub(super) async fn print_around<T, E: From<Unprinted>>(
    head: &str,
    step: impl Future<Output = Result<T, E>>,
    rest: &str,
) -> Result<(T, Result<(), Unprinted>), E> {
    if goes_nowhere() {
        return Err(Unprinted::Discarded.into());
    }
    write_all(head)?;
    match step.await {
        Ok(result) => Ok((result, write(rest))),
        Err(error) => {
            // Ends the line that was begun. The reason goes to standard error.
            let _ = write_all("\n");
            Err(error)
        }
    }
}

/// Whether what is written is lost without an error.
fn goes_nowhere() -> bool {
    let stdout = io::stdout().as_fd().try_clone_to_owned().and_then(|fd| fs::File::from(fd).metadata());
    let null = fs::metadata("/dev/null");
    let is_null = matches!((stdout, null), (Ok(stdout), Ok(null))
        if stdout.file_type().is_char_device() && stdout.rdev() == null.rdev());
    WAS_CLOSED.load(Ordering::Relaxed) || is_null
}

fn write(text: &str) -> Result<(), Unprinted> {
    match text.is_empty() || text.ends_with('\n') {
        true => write_all(text),
        false => write_all(&format!("{text}\n")),
    }
}

fn write_all(text: &str) -> Result<(), Unprinted> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(visible_lines(text).as_bytes())?;
    stdout.flush()?;
    Ok(())
}
