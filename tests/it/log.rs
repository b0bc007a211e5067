//! The log when nobody reads it: no request waits, nothing is lost but lines of the log, and the stop is a stop. And
//! how many lines a client can cause.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Client, Folder, PATIENCE, SENT};
use crate::terminal::pseudo_terminal;

const SETTINGS: &str = "[log]\nlevel = \"debug\"";
/// More lines than the pipe, the queue and the thread hold together.
const SENDS: usize = 40_000;

/// A server whose log this test does not need, because its listeners were made before it.
struct Unread {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
}

impl Unread {
    /// `before` is what the shell does before it becomes the server.
    fn start(folder: &Folder, stderr: OwnedFd, before: &str) -> Unread {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
        let [address, metrics] = listeners.each_ref().map(|listener| listener.local_addr().expect("it is bound"));
        let [plain, prometheus] = listeners.map(|listener| Stdio::from(OwnedFd::from(listener)));
        let serve = format!(
            "{before} LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=chat:chat-metrics exec {} serve 3<&0 4<&1",
            env!("CARGO_BIN_EXE_chatd")
        );
        let mut command = match before.is_empty() {
            true => Command::new("sh"),
            false => Command::new("unshare"),
        };
        if !before.is_empty() {
            command.args(["-m", "sh"]);
        }
        command.arg("-c").arg(serve).current_dir(folder.path()).stdin(plain).stdout(prometheus).stderr(stderr);
        Unread { child: command.spawn().expect("sh starts"), address, metrics }
    }

    fn number(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.metrics).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: chatd\r\n\r\n").expect("it is taken");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("it ends");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().expect("a number")
    }

    /// Causes more lines than there is room for, and sees that each request is answered.
    fn flood(&self) {
        let mut client = Client::connect(self.address);
        let token = client.login("messi");
        for _ in 0..SENDS / 500 {
            client.send(format!("send {token} messi x\r\n").repeat(500));
            for _ in 0..500 {
                assert_eq!(client.receive(), SENT);
            }
        }
        // Whoever comes now is served, too.
        Client::connect(self.address).login("henderson");
    }

    fn stop(mut self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                return assert_eq!(status.code(), Some(0));
            }
            assert!(begun.elapsed() < PATIENCE, "the stop waits for who reads the log");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe that holds some forty lines.
fn short_pipe() -> (File, OwnedFd) {
    let (read, write) = std::io::pipe().expect("a pipe can be made");
    fcntl(&write, FcntlArg::F_SETPIPE_SZ(4096)).expect("it can be made shorter");
    (File::from(OwnedFd::from(read)), write.into())
}

fn chatters() -> Folder {
    let folder = Folder::new(SETTINGS);
    folder.add_three();
    folder
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_request_and_no_stop() {
    let folder = chatters();
    let (_read, write) = short_pipe();
    let server = Unread::start(&folder, write, "");
    server.flood();
    let dropped = server.number("chatd_log_lines_dropped_total");
    assert!(dropped > 0 && dropped < SENDS as u64, "{dropped} lines were dropped");
    server.stop();
}

#[test]
fn a_terminal_stopped_by_ctrl_s_holds_up_no_request_and_no_stop() {
    let folder = chatters();
    let terminal = pseudo_terminal(None);
    let mut keyboard = File::from(terminal.master);
    keyboard.write_all(b"\x13").expect("it is taken");
    let server = Unread::start(&folder, terminal.slave, "");
    server.flood();
    assert!(server.number("chatd_log_lines_dropped_total") > 0);
    server.stop();
}

#[test]
fn who_reads_the_log_again_is_told_how_many_lines_are_missing() {
    let folder = chatters();
    let (read, write) = short_pipe();
    let server = Unread::start(&folder, write, "");
    server.flood();
    let dropped = server.number("chatd_log_lines_dropped_total");
    let (mut told, mut lines) = (0, BufReader::new(read).lines());
    while told < dropped {
        let line = lines.next().expect("it goes on until all is told").expect("it is text");
        if line.contains("lines of the log were dropped") {
            let (_, number) = line.split_once("lines=").expect("it says how many");
            told += number.trim_end_matches("\x1b[0m").parse::<u64>().expect("a number");
        }
    }
    assert_eq!(told, dropped);
    server.stop();
}

/// A journal in a `/run` of the server's own: the way there, and the journal's end of it. `None` where nobody may
/// mount.
fn journal(folder: &Folder) -> Option<(String, UnixDatagram)> {
    let allowed = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/run"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: a journal of one's own needs root and unshare");
        return None;
    }
    let socket = UnixDatagram::bind(folder.path().join("socket")).expect("the path is free");
    let here = folder.path().display();
    Some((format!("mount -t tmpfs none /run && mkdir /run/systemd && ln -s {here} /run/systemd/journal &&"), socket))
}

/// What systemd puts into the environment of a service whose standard error this is.
fn journal_stream(stderr: &OwnedFd) -> String {
    let stderr = File::from(stderr.as_fd().try_clone_to_owned().expect("a handle can be copied"));
    let metadata = stderr.metadata().expect("it is open");
    format!("JOURNAL_STREAM={}:{}", metadata.dev(), metadata.ino())
}

#[test]
fn a_journal_that_does_not_read_holds_up_no_request_and_no_stop() {
    let folder = chatters();
    let Some((way, journal)) = journal(&folder) else { return };
    let (_read, write) = short_pipe();
    let stream = journal_stream(&write);
    let server = Unread::start(&folder, write, &format!("{way} {stream}"));
    server.flood();
    assert!(server.number("chatd_log_lines_dropped_total") > 0);
    let mut entry = [0; 4096];
    let length = journal.recv(&mut entry).expect("what came before is there");
    assert!(entry[..length].starts_with(b"MESSAGE\n"));
    server.stop();
}

#[test]
fn with_the_journal_gone_a_line_of_the_log_harms_nobody() {
    let folder = chatters();
    let Some((way, journal)) = journal(&folder) else { return };
    let (read, write) = short_pipe();
    let stream = journal_stream(&write);
    let server = Unread::start(&folder, write, &format!("{way} {stream}"));
    Client::connect(server.address).login("messi");
    drop((read, journal));
    std::fs::remove_file(folder.path().join("socket")).expect("it was made");
    let mut client = Client::connect(server.address);
    for _ in 0..3 {
        assert!(client.ask("auth messi wrong").contains("Password Salah"));
        client.login("messi");
    }
    assert!(server.number("chatd_log_lines_dropped_total") > 0, "neither entrance takes a line");
    server.stop();
}
