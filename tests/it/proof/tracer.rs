//! A command that is killed just before it changes a file for the nth time, with whichever of its threads. It is traced
//! with ptrace, so all changes are counted in the order in which they are made.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Changes of a file that is open, and which argument is its descriptor.
const WRITES: [(i64, usize); 8] = [
    (libc::SYS_write, 0),
    (libc::SYS_writev, 0),
    (libc::SYS_pwrite64, 0),
    (libc::SYS_pwritev, 0),
    (libc::SYS_ftruncate, 0),
    (libc::SYS_fallocate, 0),
    (libc::SYS_copy_file_range, 2),
    (libc::SYS_sendfile, 0),
];

/// Changes of a directory or of what stands in it.
const RENAMES: [i64; 8] = [
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
];

/// The same as older processors have them.
#[cfg(target_arch = "x86_64")]
const OLD_RENAMES: [i64; 5] = [libc::SYS_rename, libc::SYS_unlink, libc::SYS_link, libc::SYS_mkdir, libc::SYS_chmod];
#[cfg(not(target_arch = "x86_64"))]
const OLD_RENAMES: [i64; 0] = [];

/// How a traced command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traced {
    /// At the change at which it was to be killed.
    Cut,
    /// By itself, or because it served, after so many changes.
    Ended(usize),
}

/// Runs a command in `folder`, to be killed before the change of this number, from 1 on, or once its log says
/// `until`. `None`: nobody may be traced here.
pub fn run(folder: &Path, arguments: &[&str], at: Option<usize>, until: Option<&str>) -> Option<Traced> {
    let log = folder.join("log-traced");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatd"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    let said = fs::File::create(&log).expect("it can be made");
    command.stdout(said.try_clone().expect("a handle can be copied")).stderr(said);
    // SAFETY: between fork and exec this is one system call.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
    let mut child = command.spawn().ok()?;
    let leader = Pid::from_raw(i32::try_from(child.id()).expect("process numbers are small"));
    let ended = follow(leader, folder, &log, at, until);
    // It was waited for already.
    let _ = child.kill();
    let _ = child.wait();
    Some(ended)
}

fn follow(leader: Pid, folder: &Path, log: &Path, at: Option<usize>, until: Option<&str>) -> Traced {
    // Of this thread's children only: other tests wait for theirs.
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    let (mut changes, mut is_cut, mut is_enough) = (0, false, false);
    let mut inside = BTreeSet::new();
    let mut known = BTreeSet::new();
    loop {
        let status = match waitpid(None, Some(flags)) {
            Ok(status) => status,
            Err(Errno::EINTR) => continue,
            // All threads are gone.
            Err(_) => break,
        };
        let Some(thread) = status.pid() else { continue };
        let mut signal = None;
        match status {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                if thread != leader {
                    continue;
                }
                let is_well = is_cut || is_enough || status == WaitStatus::Exited(leader, 0);
                assert!(is_well, "{status:?}: {}", fs::read_to_string(log).unwrap_or_default());
                break;
            }
            // It comes back from a call.
            WaitStatus::PtraceSyscall(_) if inside.remove(&thread) => {}
            WaitStatus::PtraceSyscall(_) => {
                inside.insert(thread);
                let is_change = is_change(thread, folder);
                changes += usize::from(is_change);
                is_cut |= is_change && at == Some(changes);
                is_enough |= until.is_some_and(|words| says(log, words));
                if is_cut || is_enough {
                    let _ = kill(leader, Signal::SIGKILL);
                }
            }
            WaitStatus::Stopped(_, Signal::SIGTRAP) if known.is_empty() => {
                let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
                ptrace::setoptions(leader, options | Options::PTRACE_O_EXITKILL).expect("it has stopped");
            }
            // Each new thread begins with one.
            WaitStatus::Stopped(_, Signal::SIGSTOP) if !known.contains(&thread) => {}
            WaitStatus::Stopped(_, other) => signal = Some(other),
            _ => {}
        }
        known.insert(thread);
        // It may have been killed.
        let _ = ptrace::syscall(thread, signal);
    }
    if is_cut { Traced::Cut } else { Traced::Ended(changes) }
}

fn says(log: &Path, words: &str) -> bool {
    fs::read_to_string(log).is_ok_and(|said| said.contains(words))
}

/// Whether the call that a thread is about to make changes a file in the folder, other than what it logs.
fn is_change(thread: Pid, folder: &Path) -> bool {
    let Ok(info) = ptrace::syscall_info(thread) else { return false };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return false;
    }
    // SAFETY: this is the part of an entry.
    let entry = unsafe { info.u.entry };
    let (call, arguments) = (entry.nr as i64, entry.args);
    if let Some((_, place)) = WRITES.iter().find(|(write, _)| *write == call) {
        let file = fs::read_link(format!("/proc/{thread}/fd/{}", arguments[*place] as i32));
        return file.is_ok_and(|file| file.starts_with(folder) && !file.ends_with("log-traced"));
    }
    let makes = |flags: u64| flags & (libc::O_CREAT | libc::O_TRUNC) as u64 != 0;
    call == libc::SYS_openat && makes(arguments[2]) || RENAMES.contains(&call) || OLD_RENAMES.contains(&call)
}
