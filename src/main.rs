//! The program: arguments in, exit status out.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether standard output was closed when the program began.
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Runs before the standard library begins, which opens /dev/null in place of a standard stream that is closed. After
/// that, nobody can tell a closed stream from one that the caller does not want to read.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_THE_LIBRARY: extern "C" fn() = look_at_stdout;

extern "C" fn look_at_stdout() {
    // SAFETY: the call reads a flag of a descriptor, open or not, and needs nothing that is made before `main`.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    STDOUT_WAS_CLOSED.store(flags < 0, Ordering::Relaxed);
}

fn main() -> ExitCode {
    chatd::run(STDOUT_WAS_CLOSED.load(Ordering::Relaxed))
}
