//! Commands whose standard output is closed, full, or a pipe that nobody reads any more: none of them panics, and none
//! takes a step that cannot be taken back where its output is lost.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use rusqlite::Connection;

use crate::support::{EMPTY, Folder, PATIENCE, Server, texts};

/// What becomes of what a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stdout {
    Closed,
    Full,
    NobodyReads,
}

const ALL: [Stdout; 3] = [Stdout::Closed, Stdout::Full, Stdout::NobodyReads];

impl Stdout {
    /// Runs a command with this standard output.
    fn run(self, command: &Command) -> Output {
        let mut again = match self {
            Stdout::Closed => through_the_shell(command, "exec \"$0\" \"$@\" >&-"),
            Stdout::Full => through_the_shell(command, "exec \"$0\" \"$@\" >/dev/full"),
            Stdout::NobodyReads => {
                let mut again = through_the_shell(command, "exec \"$0\" \"$@\"");
                let (read, write) = std::io::pipe().expect("a pipe can be made");
                drop(read);
                again.stdout(write);
                again
            }
        };
        again.stderr(Stdio::piped()).spawn().expect("sh starts").wait_with_output().expect("it ends")
    }
}

fn through_the_shell(command: &Command, line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(line).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    shell.current_dir(command.get_current_dir().expect("tests run in a directory of their own"));
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

/// Commands whose output is what they are for: without it they have failed.
const PRINTING: [&[&str]; 12] = [
    &["user", "list"],
    &["user", "list", "--json"],
    &["session", "list"],
    &["session", "list", "--json"],
    &["config", "show"],
    &["config", "example"],
    &["config", "check"],
    &["db", "verify"],
    &["completions", "bash"],
    &["man"],
    &["--help"],
    &["--version"],
];

#[test]
fn a_command_that_cannot_print_what_was_asked_for_fails_and_does_not_panic() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    server.login("messi");
    for arguments in PRINTING {
        for stdout in ALL {
            let output = stdout.run(&folder.command(arguments));
            let said = folder.complaint(&output);
            assert_eq!(output.status.code(), Some(1), "{arguments:?} {stdout:?}: {said}");
            match stdout {
                Stdout::NobodyReads => assert_eq!(said, "", "{arguments:?}: it ends quietly"),
                Stdout::Closed | Stdout::Full => {
                    assert!(said.starts_with("chatd: standard output"), "{arguments:?} {stdout:?}: {said}");
                    assert_eq!(said.lines().count(), 1, "{said}");
                }
            }
        }
    }
}

#[test]
fn what_was_done_stays_done_where_it_cannot_be_said() {
    let folder = Folder::new("");
    folder.add_three();
    for stdout in ALL {
        let copy = format!("copy-{stdout:?}");
        let commands: [&[&str]; 8] = [
            &["user", "disable", "messi"],
            &["user", "enable", "messi"],
            &["user", "add", "messi", "--if-not-exists", "--generate"],
            &["session", "revoke", "--all"],
            &["db", "backup", &copy],
            &["db", "migrate"],
            &["db", "prune"],
            &["db", "restore", &copy],
        ];
        for arguments in commands {
            let output = stdout.run(&folder.command(arguments));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{arguments:?} {stdout:?}: {said}");
            assert_eq!(said.contains("it is done"), stdout == Stdout::Full, "{arguments:?} {stdout:?}: {said}");
        }
    }
}

#[test]
fn a_made_up_password_that_cannot_be_printed_is_not_stored() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    for stdout in ALL {
        for arguments in [["user", "add", "new", "--generate"], ["user", "passwd", "messi", "--generate"]] {
            let output = stdout.run(&folder.command(&arguments));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{arguments:?} {stdout:?}: {said}");
        }
    }
    let discarded = folder.command(&["user", "passwd", "messi", "--generate"]).stdout(Stdio::null()).output();
    assert_eq!(discarded.expect("it ends").status.code(), Some(1), "nobody would ever see it");
    assert!(!folder.done(&["user", "list"], "").contains("new"));
    server.login("messi");
}

/// The last moment at which printing can fail: the password is stored, and the reader went away meanwhile.
#[test]
fn a_made_up_password_whose_reader_went_away_is_taken_back() {
    let folder = Folder::new("[database]\nbusy_timeout = \"1h\"");
    folder.add_three();
    for arguments in [["user", "add", "new", "--generate"], ["user", "passwd", "messi", "--generate"]] {
        let held = Connection::open(folder.database()).expect("it is a database");
        held.execute_batch("BEGIN IMMEDIATE").expect("nobody writes");
        let mut command = folder.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("chatd starts");
        let mut stdout = child.stdout.take().expect("it was piped");
        let mut head = vec![0; format!("password of {}: ", arguments[2]).len()];
        let (sender, has_begun) = mpsc::channel();
        thread::spawn(move || {
            let is_read = stdout.read_exact(&mut head).is_ok();
            drop(stdout);
            sender.send(is_read)
        });
        let has_begun = has_begun.recv_timeout(PATIENCE);
        if has_begun != Ok(true) {
            child.kill().expect("it waits for the database");
        }
        assert_eq!(has_begun, Ok(true), "it begins to print before it stores");
        held.execute_batch("ROLLBACK").expect("it was begun");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("could not be printed"), "{said}");
    }
    assert!(!folder.done(&["user", "list"], "").contains("new"));
    Server::start(&folder).login("messi");
}

#[test]
fn mail_stays_on_the_server_where_there_is_no_standard_output() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    messi.ask(&format!("send {token} messi  halo "));
    for stdout in ALL {
        let mut inbox = folder.command(&["inbox"]);
        inbox.env("CHATD_CONNECT", server.address.to_string()).env("CHATD_USER", "messi");
        inbox.env("CHATD_PASSWORD", "surabaya").env("XDG_STATE_HOME", folder.path().join("state"));
        let output = stdout.run(&inbox);
        assert_eq!(output.status.code(), Some(1), "{stdout:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // The reset of the last connection may still be on its way to the server.
    let (mut inbox, begun) = (EMPTY.to_owned(), Instant::now());
    while inbox == EMPTY {
        assert!(begun.elapsed() < PATIENCE, "the message was lost");
        inbox = messi.ask(&format!("inbox {token}"));
    }
    assert_eq!(texts(&inbox), ["halo"]);
}

#[test]
fn a_server_whose_streams_are_closed_serves() {
    let folder = Folder::new("");
    folder.add_three();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let mut command = Command::new("sh");
    let serve =
        format!("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=chat exec {} serve 3<&0", env!("CARGO_BIN_EXE_chatd"));
    command.arg("-c").arg(serve).current_dir(folder.path());
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    let (read, write) = std::io::pipe().expect("a pipe can be made");
    let mut child = command.stdout(Stdio::null()).stderr(write).spawn().expect("sh starts");
    drop((read, command));
    let mut client = crate::support::Client::connect(address);
    for _ in 0..3 {
        client.login("messi");
        assert!(client.ask("auth messi wrong").contains("Password Salah"));
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), nix::sys::signal::SIGTERM)
        .expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// clippy finds the macros; this finds who takes the streams themselves.
#[test]
fn all_output_goes_through_one_writer() {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is part of the project") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut text = String::new();
            File::open(&path).and_then(|mut file| file.read_to_string(&mut text)).expect("it is text");
            let text = text.replace("stdout().is_terminal()", "").replace("stderr().is_terminal()", "");
            if text.contains("io::stdout") || text.contains("io::stderr") {
                let inside = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).expect("it is below src");
                found.push(inside.display().to_string());
            }
        }
    }
    found.sort();
    // `chatd chat` draws the whole screen of `terminal.rs`.
    let allowed = ["cli/chat/screen/terminal.rs", "cli/log.rs", "cli/output.rs", "ops/journal.rs"];
    assert_eq!(found, allowed, "others print with `cli::output`, or log");
}
