//! The terminal of `chatd chat`: the alternate screen, and keys as they come. The terminal gets its former modes back,
//! whatever ends or stops the program.

use std::io::{self, Stdout, Write};
use std::panic;
use std::thread;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::{Buffer, Cell, CellDiffOption};
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste, EnableFocusChange,
    EnableMouseCapture, Event,
};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use signal_hook::consts::SIGTSTP;
use signal_hook::low_level::emulate_default_handler;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::cli::chat::screen::state::ChatState;
use crate::cli::chat::screen::view;
use crate::model::visible;

/// A longer notification is cut, in characters.
const NOTIFICATION: usize = 200;

/// A screen of our own; dropped, the terminal is as it was.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    mouse: bool,
    /// What was drawn last.
    shown: Buffer,
}

impl Screen {
    /// With the mouse, or not.
    pub(crate) fn open(mouse: bool) -> io::Result<Screen> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            leave();
            before(panicked);
        }));
        enter(mouse)?;
        Ok(Screen { terminal: Terminal::new(CrosstermBackend::new(io::stdout()))?, mouse, shown: Buffer::default() })
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    pub(crate) fn draw(&mut self, state: &ChatState) -> io::Result<()> {
        let Screen { terminal, shown, .. } = self;
        terminal.draw(|frame| {
            view::draw(state, frame);
            let drawn = frame.buffer_mut().clone();
            draw_whole_rows(shown, frame.buffer_mut());
            *shown = drawn;
        })?;
        Ok(())
    }

    /// The next drawing draws all of it.
    pub(crate) fn forget(&mut self) -> io::Result<()> {
        self.shown = Buffer::default();
        self.terminal.clear()
    }

    /// Stops the program until the shell lets it go on, and gives the shell its terminal meanwhile.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        leave();
        let _ = emulate_default_handler(SIGTSTP);
        enter(self.mouse)?;
        self.forget()
    }

    /// Rings, and has the desktop show a text.
    pub(crate) fn notify(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(notification(text, shows_777()).as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Has a changed row drawn whole where a character in it is of unknown width: terminals do not agree on emoji that are
/// made of several, and what one of them draws too wide would stand there for ever.
fn draw_whole_rows(before: &Buffer, next: &mut Buffer) {
    let columns = usize::from(next.area.width).max(1);
    let same_size = before.area == next.area;
    for (number, row) in next.content.chunks_mut(columns).enumerate() {
        let old = if same_size { &before.content[number * columns..][..columns] } else { &[] };
        let is_of_unknown_width = |cell: &Cell| !cell.symbol().is_ascii() && cell.symbol().chars().count() > 1;
        if old != row && old.iter().chain(row.iter()).any(is_of_unknown_width) {
            for cell in row {
                cell.set_diff_option(CellDiffOption::AlwaysUpdate);
            }
        }
    }
}

fn enter(mouse: bool) -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, EnableFocusChange)?;
    if mouse { execute!(io::stdout(), EnableMouseCapture) } else { Ok(()) }
}

/// A terminal that is gone needs none of it.
fn leave() {
    let modes = (DisableMouseCapture, DisableFocusChange, DisableBracketedPaste);
    let _ = execute!(io::stdout(), modes.0, modes.1, modes.2, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// What comes from the keyboard, until the terminal is gone.
pub(crate) fn keyboard() -> UnboundedReceiver<Event> {
    let (sender, receiver) = unbounded_channel();
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Which of the two kinds of notification this terminal has. Only one is used, so that nobody is notified twice.
fn shows_777() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    std::env::var_os("VTE_VERSION").is_some() || term.starts_with("rxvt") || term.starts_with("foot")
}

/// The bell, and OSC 9 or OSC 777. The text is other people's, so nothing in it can end the sequence or begin another.
fn notification(text: &str, as_777: bool) -> String {
    let text: String = visible(text).chars().take(NOTIFICATION).collect();
    match as_777 {
        true => format!("\x07\x1b]777;notify;chatd;{}\x07", text.replace(';', ",")),
        false => format!("\x07\x1b]9;{text}\x07"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_notification() {
        let evil = "a\x07\x1b]0;title\x07;b\u{9c}\n";
        assert_eq!(notification(evil, false), "\x07\x1b]9;a\\x07\\x1b]0;title\\x07;b\\x9c\\n\x07");
        assert_eq!(notification(evil, true), "\x07\x1b]777;notify;chatd;a\\x07\\x1b]0,title\\x07,b\\x9c\\n\x07");
        assert!(notification(&"x".repeat(1000), false).len() < 220);
    }
}
