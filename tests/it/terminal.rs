//! A pseudo terminal with a program on it: what a person types, and what they see. Also a window of which the size
//! changes.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use rustix::termios::tcsetwinsize;
use vt100::{Parser, Screen};

use crate::support::PATIENCE;

/// How high every terminal is.
const ROWS: u16 = 50;

/// A program on a terminal of its own; killed when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<(Mutex<Vec<u8>>, Condvar)>,
    /// What was seen so far, in bytes.
    seen: usize,
}

/// Both ends of a new pseudo terminal, which the programs of other tests do not inherit.
pub fn pseudo_terminal(size: Option<&Winsize>) -> OpenptyResult {
    let pair = openpty(size, None).expect("the system has pseudo terminals");
    for end in [&pair.master, &pair.slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("it is open");
    }
    pair
}

impl Terminal {
    /// Runs a command on a terminal wide enough that nothing is wrapped.
    pub fn start(command: &Command) -> Terminal {
        Terminal::sized(command, 1000)
    }

    /// The same with a width, in columns.
    fn sized(command: &Command, columns: u16) -> Terminal {
        let size = Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = pseudo_terminal(Some(&size));
        // setsid makes it the controlling terminal, which is where passwords are asked for.
        let mut with_terminal = Command::new("setsid");
        with_terminal.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        with_terminal.current_dir(command.get_current_dir().expect("the test's directory")).env("TERM", "xterm");
        for (name, value) in command.get_envs() {
            with_terminal.env(name, value.expect("tests set variables and remove none"));
        }
        let slave = || pair.slave.try_clone().expect("a handle can be copied");
        let child = with_terminal.stdin(slave()).stdout(slave()).stderr(slave()).spawn().expect("setsid is there");
        let keyboard = File::from(pair.master);
        let mut display = keyboard.try_clone().expect("a handle can be copied");
        let screen = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        thread::spawn({
            let screen = screen.clone();
            move || {
                let mut piece = [0; 4096];
                // The end of the program is an error here.
                while let Ok(read @ 1..) = display.read(&mut piece) {
                    screen.0.lock().expect("no reader panics").extend_from_slice(&piece[..read]);
                    screen.1.notify_all();
                }
            }
        });
        Terminal { child, keyboard, screen, seen: 0 }
    }

    /// Types.
    pub fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal is there");
    }

    /// Types a line.
    pub fn enter(&mut self, line: &str) {
        self.type_in(&format!("{line}\r"));
    }

    /// Waits until what is typed is not shown: the prompt for a password appears a moment before that.
    pub fn is_mute(&self) {
        let begun = Instant::now();
        let echoes = || tcgetattr(&self.keyboard).expect("it is a terminal").local_flags.contains(LocalFlags::ECHO);
        while echoes() {
            assert!(begun.elapsed() < PATIENCE, "what is typed is shown: {:?}", self.all());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The terminal is as a shell wants it: lines are gathered, and what is typed is shown.
    pub fn is_own(&self) -> bool {
        let flags = tcgetattr(&self.keyboard).expect("it is a terminal").local_flags;
        flags.contains(LocalFlags::ECHO | LocalFlags::ICANON)
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("it is small")), signal).expect("it runs");
    }

    /// Waits until the program is stopped, as Ctrl-Z does it.
    pub fn is_stopped(&self) {
        let begun = Instant::now();
        let stat = || fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it is there");
        while !stat().contains(") T ") {
            assert!(begun.elapsed() < PATIENCE, "the program does not stop: {:?}", self.all());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until this is seen, after what was seen before; gives what came up to its end, and when it came.
    pub fn see(&mut self, text: &str) -> (String, Instant) {
        self.see_within(PATIENCE, text)
    }

    /// The same with more patience.
    pub fn see_within(&mut self, patience: Duration, text: &str) -> (String, Instant) {
        let begun = Instant::now();
        let mut screen = self.screen.0.lock().expect("the reader does not panic");
        loop {
            let new = &screen[self.seen..];
            if let Some(place) = new.windows(text.len()).position(|window| window == text.as_bytes()) {
                let came = String::from_utf8_lossy(&new[..place + text.len()]).into_owned();
                self.seen += place + text.len();
                return (came, Instant::now());
            }
            let all = String::from_utf8_lossy(&screen).into_owned();
            assert!(begun.elapsed() < patience, "{text:?} was not seen after byte {} of {all:?}", self.seen);
            screen = self.screen.1.wait_timeout(screen, Duration::from_millis(100)).expect("no reader panics").0;
        }
    }

    /// All that was ever shown.
    pub fn all(&self) -> String {
        String::from_utf8_lossy(&self.screen.0.lock().expect("the reader does not panic")).into_owned()
    }

    /// Waits for the program's end, and gives all that was ever shown.
    pub fn all_to_its_end(mut self) -> String {
        self.child.wait().expect("it can be waited for");
        let mut screen = self.screen.0.lock().expect("the reader does not panic");
        // Without another program on it the terminal says nothing more, and its reader ends.
        while Arc::strong_count(&self.screen) > 1 {
            screen = self.screen.1.wait_timeout(screen, Duration::from_millis(10)).expect("no reader panics").0;
        }
        String::from_utf8_lossy(&screen).into_owned()
    }

    /// Waits for the program's end, and says how the terminal is then.
    pub fn ends_with_its_own_modes(mut self) -> bool {
        self.child.wait().expect("it can be waited for");
        self.is_own()
    }

    /// Waits for the program's end; gives its exit status.
    pub fn end(mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the program does not end: {:?}", self.all());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Terminal {
    /// `kill -9`, of the program itself and of what made the terminal its own.
    pub fn kill(mut self) {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        for child in fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            let _ = kill(Pid::from_raw(child.parse().expect("a number")), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        self.child.wait().expect("it can be waited for");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A terminal in a window, and what stands in it.
pub struct Window {
    pub terminal: Terminal,
    parser: Parser,
    /// What the parser has read, in bytes.
    read: usize,
    /// The window joins what it has wrapped, and wraps it anew, when its width changes.
    joins: bool,
}

impl Window {
    pub fn start(command: &Command, columns: u16, joins: bool) -> Window {
        let terminal = Terminal::sized(command, columns);
        Window { terminal, parser: Parser::new(ROWS, columns, 0), read: 0, joins }
    }

    /// What stands there now.
    pub fn rows(&mut self) -> Vec<String> {
        self.catch_up();
        let (_, columns) = self.parser.screen().size();
        self.parser.screen().rows(0, columns).collect()
    }

    /// Waits until something stands there; gives all rows.
    pub fn see(&mut self, text: &str) -> Vec<String> {
        self.wait(text, true)
    }

    /// Waits until it does not stand there.
    pub fn see_no_more(&mut self, text: &str) {
        self.wait(text, false);
    }

    fn wait(&mut self, text: &str, stands: bool) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let rows = self.rows();
            if rows.iter().any(|row| row.contains(text)) == stands {
                return rows;
            }
            let why = if stands { "does not stand" } else { "still stands" };
            assert!(begun.elapsed() < PATIENCE, "{text:?} {why} in\n{}", rows.join("\n").trim_end());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The same once nothing is being drawn: the full screen shows its cursor again at the end of each drawing.
    pub fn drawn_rows(&mut self) -> Vec<String> {
        const SHOWS_CURSOR: &[u8] = b"\x1b[?25h";
        let begun = Instant::now();
        loop {
            let rows = self.rows();
            let screen = self.terminal.screen.0.lock().expect("the reader does not panic");
            let end = &screen[..self.read];
            let last = end.windows(SHOWS_CURSOR.len()).rposition(|window| window == SHOWS_CURSOR);
            // Behind it only the place of the cursor.
            if last
                .is_some_and(|last| end[last + SHOWS_CURSOR.len()..].iter().filter(|byte| **byte == 0x1b).count() == 1)
            {
                return rows;
            }
            assert!(begun.elapsed() < PATIENCE, "the screen is never drawn: {rows:#?}");
            drop(screen);
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn catch_up(&mut self) {
        let screen = self.terminal.screen.0.lock().expect("the reader does not panic");
        self.parser.process(&screen[self.read..]);
        self.read = screen.len();
    }

    /// Changes the width.
    pub fn resize(&mut self, columns: u16) {
        self.catch_up();
        match self.joins {
            true => self.parser = joined(self.parser.screen(), columns),
            false => self.parser.screen_mut().set_size(ROWS, columns),
        }
        let size = rustix::termios::Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.terminal.keyboard, size).expect("it is a terminal");
    }
}

/// The same screen with another width, as tmux and the terminals of desktops make it: a row that was wrapped by the
/// terminal itself is joined with the next one, and the cursor stays where it was in its line.
fn joined(old: &Screen, columns: u16) -> Parser {
    let (_, width) = old.size();
    let (cursor_row, cursor_column) = old.cursor_position();
    let rows: Vec<String> = old.rows(0, width).collect();
    let last = rows.iter().rposition(|row| !row.is_empty()).unwrap_or(0).max(cursor_row.into());
    let mut new = Parser::new(ROWS, columns, 0);
    let (mut cursor, mut before, mut line_row) = ((0, 0), 0, 0);
    for (number, row) in (0..).zip(&rows[..=last]) {
        if number == cursor_row {
            let offset = before + cursor_column;
            cursor = (line_row + offset / columns, offset % columns);
        }
        new.process(row.as_bytes());
        before += width;
        if !old.row_wrapped(number) && usize::from(number) < last {
            new.process(b"\r\n");
            (before, line_row) = (0, new.screen().cursor_position().0);
        }
    }
    new.process(format!("\x1b[{};{}H", cursor.0 + 1, cursor.1 + 1).as_bytes());
    new
}
