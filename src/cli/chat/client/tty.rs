//! The terminal's modes. While the client runs, the terminal neither shows what is typed nor collects it to lines. It
//! waits for the prompt, which shows it. Whatever ends or stops the client, the terminal gets its former modes back.

use std::io;
use std::sync::Arc;

use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::low_level::emulate_default_handler;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::output;

/// Shows the cursor, and ends the mode in which a terminal marks what is pasted.
const PLAIN: &[u8] = b"\x1b[?25h\x1b[?2004l";
/// Begins that mode, as the editor has it.
const MARKS_PASTES: &[u8] = b"\x1b[?2004h";
/// For a terminal that does not know.
const COLUMNS: u16 = 80;

/// The terminal waits for the prompt; dropped, it has its own modes again.
pub(super) struct Quiet(Own);

/// The modes that the terminal had before.
#[derive(Clone)]
pub(super) struct Own(Arc<Termios>);

impl Quiet {
    /// From now on. A signal that ends or stops the program first gives the terminal its former modes back. After a
    /// stop these modes are set again.
    pub(super) fn begin(runtime: &Runtime) -> io::Result<Quiet> {
        let before = tcgetattr(io::stdin())?;
        let own = Own(Arc::new(before.clone()));
        let signals = {
            let _entered = runtime.enter();
            [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP]
                .map(|number| Ok((number, signal(SignalKind::from_raw(number))?)))
        };
        for listening in signals {
            let (number, signal): (i32, Signal) = listening.map_err(|error: io::Error| error)?;
            runtime.spawn(obey(signal, number, own.clone()));
        }
        let mut quiet = before;
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
        quiet.input_modes -= InputModes::ICRNL;
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet)?;
        Ok(Quiet(own))
    }

    pub(super) fn own(&self) -> Own {
        self.0.clone()
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.0.restore();
    }
}

impl Own {
    /// A terminal that is gone needs none.
    fn restore(&self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        output::control(PLAIN);
    }

    /// Stops the program until the shell lets it go on, and gives the shell its terminal meanwhile.
    pub(super) fn stop(&self) {
        let now = tcgetattr(io::stdin());
        self.restore();
        let _ = emulate_default_handler(SIGTSTP);
        let Ok(now) = now else { return };
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &now);
        // Only while the editor asks does Ctrl-C raise no signal.
        if !now.local_modes.contains(LocalModes::ISIG) {
            output::control(MARKS_PASTES);
        }
    }
}

/// Does what the signal does to every program, but not with the terminal in our modes.
async fn obey(mut signal: Signal, number: i32, own: Own) {
    while signal.recv().await.is_some() {
        if number == SIGTSTP {
            own.stop();
        } else {
            own.restore();
            let _ = emulate_default_handler(number);
        }
    }
}

/// Until dropped, a terminal that gathers lines itself does not show them.
pub(super) struct Unseen(Option<Termios>);

impl Unseen {
    pub(super) fn begin() -> Unseen {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut unseen) = before.clone() {
            unseen.local_modes -= LocalModes::ECHO;
            unseen.local_modes |= LocalModes::ECHONL;
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &unseen);
        }
        Unseen(before)
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// What is shown next takes the row before.
pub(super) fn one_row_up() {
    output::control(b"\x1b[A");
}

/// How wide the terminal is.
pub(super) fn columns() -> u16 {
    tcgetwinsize(io::stdin()).map(|size| size.ws_col).ok().filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}
