//! A pseudo terminal with a program on it: what a person types, and what they see.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::support::PATIENCE;

/// A program on a terminal of its own; killed when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<(Mutex<Vec<u8>>, Condvar)>,
    /// What was seen so far, in bytes.
    seen: usize,
}

impl Terminal {
    /// Runs a command on a terminal wide enough that nothing is wrapped.
    pub fn start(command: &Command) -> Terminal {
        let size = Winsize { ws_row: 50, ws_col: 1000, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("the system has pseudo terminals");
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

    /// Waits until this is seen, after what was seen before; gives what came up to its end, and when it came.
    pub fn see(&mut self, text: &str) -> (String, Instant) {
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
            assert!(begun.elapsed() < PATIENCE, "{text:?} was not seen after byte {} of {all:?}", self.seen);
            screen = self.screen.1.wait_timeout(screen, Duration::from_millis(100)).expect("no reader panics").0;
        }
    }

    /// All that was ever shown.
    pub fn all(&self) -> String {
        String::from_utf8_lossy(&self.screen.0.lock().expect("the reader does not panic")).into_owned()
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

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
