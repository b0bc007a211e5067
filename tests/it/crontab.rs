//! The client for scripts: `chatd login`, `logout`, `send`, `inbox`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::chatd;
use crate::door::Door;
use crate::support::{EMPTY, Folder, NO_SESSION, PATIENCE, Server, texts};

struct Scripts {
    folder: Folder,
    server: Server,
}

impl Scripts {
    fn new() -> Scripts {
        Scripts::with("")
    }

    fn with(settings: &str) -> Scripts {
        let folder = Folder::new(settings);
        folder.add_three();
        let server = Server::start(&folder);
        Scripts { folder, server }
    }

    /// A command of a user whose password is in the environment.
    fn command(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = chatd(&self.folder, self.server.address, arguments);
        command.env("CHATD_USER", user).env("CHATD_PASSWORD", "surabaya");
        command
    }

    fn run(&self, user: &str, arguments: &[&str], input: &str) -> Output {
        run(self.command(user, arguments), input)
    }

    /// The sessions there are, as the administrator sees them.
    fn sessions(&self) -> String {
        self.folder.done(&["session", "list"], "")
    }

    /// What a command prints that must succeed.
    fn done(&self, user: &str, arguments: &[&str], input: &str) -> String {
        let output = self.run(user, arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is text")
    }
}

fn run(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("chatd starts");
    // A command that needs no input may have ended.
    let _ = child.stdin.take().expect("it was piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// What was said on standard error, in one line, and how the command ended.
fn said(output: &Output, status: i32, why: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{error}");
    assert!(error.contains(why), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn a_line_in_a_crontab() {
    let scripts = Scripts::new();
    let table = "Filesystem  Size\n/dev/sda1    10G\n";
    assert_eq!(scripts.done("messi", &["send", "henderson"], table), "");
    assert_eq!(scripts.done("messi", &["send", "henderson", "halo", "-x", "--json"], ""), "");
    assert_eq!(scripts.done("messi", &["send", "henderson"], "one\r\ntwo"), "");
    let shown = "messi:\n    Filesystem  Size\n    /dev/sda1    10G\nmessi: halo -x --json\nmessi:\n    one\n    two\n";
    assert_eq!(scripts.done("henderson", &["inbox"], ""), shown);
    assert_eq!(scripts.done("henderson", &["inbox"], ""), "");
    scripts.done("messi", &["send", "henderson", "\u{1b}[2J", "你"], "");
    let json = scripts.done("henderson", &["inbox", "--json"], "");
    let text = r#""msg": " \u001b[2J \u4f60 \r\n", "msg_from": "Lionel Messi", "msg_to": "Jordan Henderson""#;
    assert!(json.starts_with(&format!("{{\"from\": \"messi\", \"id\": 4, {text}, \"time\": \"20")), "{json}");
    assert!(json.ends_with("Z\", \"to\": \"henderson\"}\n"), "{json}");
}

#[test]
fn what_some_members_of_a_group_get_is_sent_and_not_to_be_sent_again() {
    let scripts = Scripts::with("[limits]\ninbox_messages = 1");
    scripts.folder.done(&["group", "add", "Team", "--owner", "messi"], "");
    for member in ["henderson", "lineker"] {
        scripts.folder.done(&["group", "invite", "Team", member], "");
    }
    scripts.done("messi", &["send", "lineker", "full"], "");
    let sent = scripts.run("messi", &["send", "Team", "halo"], "");
    said(&sent, 0, "Message Sent, but 1 member has no room for it");
    assert_eq!(scripts.done("henderson", &["inbox"], ""), "messi to Team: halo\n");
    scripts.done("henderson", &["send", "henderson", "full"], "");
    said(&scripts.run("messi", &["send", "Team", "again"], ""), 1, "inbox is full");
}

#[test]
fn one_login_serves_many_runs_until_it_ends() {
    let scripts = Scripts::new();
    scripts.done("messi", &["login"], "");
    for _ in 0..3 {
        scripts.done("messi", &["send", "messi", "x"], "");
    }
    assert_eq!(scripts.server.log().matches(" login ").count(), 1, "{}", scripts.server.log());
    // An administrator ends the session; the next run logs in for itself, and does not keep what it did not begin.
    scripts.folder.done(&["user", "passwd", "messi", "--password-stdin"], "surabaya\n");
    let mut client = scripts.server.connect();
    let token = token(&scripts, "messi");
    while client.ask(&format!("show {token}")) != NO_SESSION {}
    scripts.done("messi", &["send", "messi", "y"], "");
    assert_eq!(scripts.server.log().matches(" login ").count(), 2, "{}", scripts.server.log());
    assert_eq!(scripts.sessions(), "");
}

/// A job that runs four times an hour would else have pushed everybody's own sessions out within a day.
#[test]
fn a_session_that_a_command_opened_ends_with_it() {
    let scripts = Scripts::new();
    scripts.done("messi", &["send", "messi", "x"], "");
    scripts.done("messi", &["inbox"], "");
    said(&scripts.run("messi", &["send", "maradona", "x"], ""), 1, "User Tidak Ditemukan");
    scripts.done("messi", &["send", "messi", "y"], "");
    let mut full = scripts.command("messi", &["inbox"]);
    full.stdout(File::options().write(true).open("/dev/full").expect("the system has it"));
    assert_eq!(full.stderr(Stdio::null()).status().expect("it ends").code(), Some(1));
    assert_eq!(scripts.sessions(), "");
    assert_eq!(scripts.server.log().matches(" logout ").count(), 5, "{}", scripts.server.log());
    // A second login takes the place of the first.
    scripts.done("messi", &["login"], "");
    let first = token(&scripts, "messi");
    scripts.done("messi", &["login"], "");
    assert_ne!(token(&scripts, "messi"), first);
    assert_eq!(scripts.sessions().lines().count(), 1);
    // One that cannot be kept is not opened.
    let mut nowhere = scripts.command("lineker", &["login"]);
    nowhere.env_remove("XDG_STATE_HOME").env("HOME", "/dev/null");
    said(&run(nowhere, ""), 1, "/dev/null");
    assert_eq!(scripts.sessions().lines().count(), 1);
    // And the mail that could not be printed is still there.
    assert_eq!(scripts.done("messi", &["inbox"], ""), "messi: y\n");
}

#[test]
fn a_command_that_a_signal_ends_ends_its_session_too() {
    let scripts = Scripts::new();
    let ended = |child: &mut Child, signal: Signal| {
        while !scripts.sessions().contains(": messi from ") {}
        kill(Pid::from_raw(i32::try_from(child.id()).expect("it is small")), signal).expect("it runs");
        assert_eq!(child.wait().expect("it ends").code(), Some(128 + signal as i32));
        assert_eq!(scripts.sessions(), "");
    };
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        ended(&mut scripts.command("messi", &["inbox", "--wait"]).spawn().expect("chatd starts"), signal);
    }
    // While it waits for somebody to take what it prints.
    scripts.done("messi", &["send", "messi"], &"x".repeat(500_000));
    let (mut child, _pipe) = printing(&scripts);
    ended(&mut child, Signal::SIGTERM);
    let begun = Instant::now();
    while scripts.done("messi", &["inbox"], "").is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the message was lost");
    }
}

/// A unit of root has no HOME, and a container may have nothing that can be written.
#[test]
fn a_password_in_the_environment_needs_no_place_to_keep_anything() {
    let scripts = Scripts::new();
    for home in [None, Some("/nonexistent/home"), Some("/dev/null"), Some("/proc")] {
        let command = |arguments: &[&str]| {
            let mut command = scripts.command("messi", arguments);
            command.env_remove("XDG_STATE_HOME").env_remove("HOME");
            home.map(|home| command.env("HOME", home));
            run(command, "")
        };
        let sent = command(&["send", "messi", "x"]);
        assert!(sent.status.success(), "{home:?}: {}", String::from_utf8_lossy(&sent.stderr));
        assert_eq!(command(&["inbox"]).stdout, b"messi: x\n", "{home:?}");
    }
    assert_eq!(scripts.sessions(), "");
}

/// The token that was kept.
fn token(scripts: &Scripts, user: &str) -> String {
    let sessions = scripts.folder.path().join("state/chatd/sessions");
    let server = fs::read_dir(sessions).expect("it was made").next().expect("one server").expect("it can be listed");
    let file = server.path().join(format!("token-{user}"));
    assert_eq!(file.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(server.metadata().expect("it is there").permissions().mode() & 0o777, 0o700);
    fs::read_to_string(file).expect("it can be read").trim().to_owned()
}

#[test]
fn login_and_logout() {
    let scripts = Scripts::new();
    let chatd = |arguments: &[&str]| chatd(&scripts.folder, scripts.server.address, arguments);
    said(&run(chatd(&["send", "messi", "x"]), ""), 1, "chatd login USER");
    let password = scripts.folder.path().join("password");
    fs::write(&password, "surabaya\nnot this\n").expect("it can be written");
    let mut login = chatd(&["login", "messi"]);
    login.env("CHATD_PASSWORD_FILE", &password);
    assert!(run(login, "").status.success());
    assert!(run(chatd(&["send", "messi", "x"]), "").status.success());
    assert_eq!(run(chatd(&["inbox"]), "").stdout, b"messi: x\n");
    let token = token(&scripts, "messi");
    assert!(run(chatd(&["logout"]), "").status.success());
    assert_eq!(scripts.server.connect().ask(&format!("show {token}")), NO_SESSION);
    said(&run(chatd(&["logout"]), ""), 1, "messi is not logged in");
    said(&run(chatd(&["send", "messi", "x"]), ""), 1, "messi is not logged in");
}

#[test]
fn the_exit_status_tells() {
    let scripts = Scripts::new();
    said(&scripts.run("messi", &["send", "maradona", "x"], ""), 1, "User Tidak Ditemukan");
    said(&scripts.run("maradona", &["send", "messi", "x"], ""), 1, "User Tidak Ada");
    said(&scripts.run("messi", &["send", "messi"], " \n"), 1, "nothing to send");
    assert_eq!(scripts.run("messi", &["send"], "").status.code(), Some(2));
    assert_eq!(scripts.run("messi", &["inbox", "--frob"], "").status.code(), Some(2));
    let with = |name: &str, value: &str| {
        let mut command = scripts.command("lineker", &["send", "messi", "x"]);
        command.env(name, value);
        run(command, "")
    };
    said(&with("CHATD_PASSWORD", "jakarta"), 1, "Password Salah");
    said(&with("CHATD_CONNECT", "nowhere"), 78, "CHATD_CONNECT");
    said(&with("CHATD_PASSWORD_FILE", "/nonexistent"), 78, "CHATD_PASSWORD_FILE");
    said(&with("CHATD_CONNECT", "127.0.0.1:1"), 1, "127.0.0.1:1: ");
    // A broken settings file is none of the client's business.
    scripts.done("messi", &["--config", "/nonexistent", "send", "messi", "x"], "");
    assert_eq!(scripts.done("messi", &["inbox"], ""), "messi: x\n");
}

#[test]
fn mail_that_could_not_be_printed_waits() {
    let scripts = Scripts::new();
    let log_in = scripts.run("messi", &["login"], "");
    assert!(log_in.status.success());
    for number in 0..4 {
        scripts.done("messi", &["send", "messi"], &format!("{number} {}", "x".repeat(200_000)));
    }
    let numbers = |printed: &[u8]| {
        let text = String::from_utf8(printed.to_vec()).expect("it is text");
        text.lines().map(|line| line.trim_end_matches('x').to_owned()).collect::<Vec<_>>()
    };
    // The disk is full.
    let mut full = scripts.command("messi", &["inbox"]);
    full.stdout(File::options().write(true).open("/dev/full").expect("the system has it"));
    full.stderr(Stdio::null());
    assert_eq!(full.status().expect("it ends").code(), Some(1));
    // The reader of the pipe has had enough.
    let (mut child, pipe) = printing(&scripts);
    drop(pipe);
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    // It is killed while the pipe is full.
    let (mut child, _pipe) = printing(&scripts);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    // The last reset may still be on its way to the server.
    let mut printed = Vec::new();
    while printed.len() < 4 {
        printed.extend(numbers(scripts.done("messi", &["inbox"], "").as_bytes()));
    }
    assert_eq!(printed, ["messi: 0 ", "messi: 1 ", "messi: 2 ", "messi: 3 "]);
    let token = token(&scripts, "messi");
    let mut client = scripts.server.connect();
    assert_eq!(client.ask(&format!("inbox {token}")), EMPTY);
}

/// `chatd inbox` with a pipe that is full, and the pipe.
fn printing(scripts: &Scripts) -> (Child, ChildStdout) {
    loop {
        let mut command = scripts.command("messi", &["inbox"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("chatd starts");
        let mut pipe = child.stdout.take().expect("it was piped");
        // The reset of the one before may still be on its way to the server, and there is no mail yet.
        if pipe.read_exact(&mut [0; 1000]).is_ok() {
            return (child, pipe);
        }
        assert!(child.wait().expect("it ends").success());
    }
}

#[test]
fn a_server_of_2020_will_do() {
    let scripts = Scripts::new();
    let door = Door::of_2020(scripts.server.address);
    let through_the_door = |arguments: &[&str]| {
        let mut command = scripts.command("messi", arguments);
        command.env("CHATD_CONNECT", door.address.to_string());
        let output = run(command, "");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    };
    through_the_door(&["send", "messi", "halo"]);
    assert_eq!(through_the_door(&["inbox"]), "messi: halo\n");
    assert_eq!(through_the_door(&["inbox"]), "");
    assert_eq!(door.refused(), ["fetch", "wait", "ack", "fetch", "wait"]);
}

/// Silence is no proof to a server that hands out mail by `wait`: a reader may be slow for as long as it likes.
#[test]
fn a_pipe_that_is_full_for_long_loses_nothing() {
    let scripts = Scripts::with("[delivery]\nconfirm_after = \"1ms\"");
    scripts.done("messi", &["login"], "");
    scripts.done("messi", &["send", "messi"], &"x".repeat(500_000));
    let (mut child, pipe) = printing(&scripts);
    // Far longer than it takes to be confirmed by silence.
    let token = token(&scripts, "messi");
    let mut other = scripts.server.connect();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        assert_eq!(other.ask(&format!("inbox {token}")), EMPTY);
    }
    drop(pipe);
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    let begun = Instant::now();
    while scripts.done("messi", &["inbox"], "").is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the message was lost");
    }
}

#[test]
fn waiting_for_mail() {
    let scripts = Scripts::new();
    let waiting = scripts.command("henderson", &["inbox", "--wait"]).stdout(Stdio::piped()).spawn();
    let (mut messi, token) = scripts.server.login("messi");
    while !messi.ask(&format!("show {token}")).contains("henderson") {}
    messi.ask(&format!("send {token} henderson  halo "));
    let output = waiting.expect("chatd starts").wait_with_output().expect("it ends");
    assert_eq!(output.stdout, b"messi: halo\n");
    assert!(output.status.success());
    let (mut henderson, token) = scripts.server.login("henderson");
    assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), Vec::<String>::new());
}

/// A file with bytes of all kinds, longer than one piece of a file on the wire.
fn write_photo(scripts: &Scripts, name: &str) -> Vec<u8> {
    let bytes: Vec<u8> = (0..500_001_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(scripts.folder.path().join(name), &bytes).expect("it can be written");
    bytes
}

#[test]
fn files_go_and_come_and_none_is_written_over() {
    let scripts = Scripts::new();
    scripts.folder.done(&["group", "add", "Team", "--owner", "messi"], "");
    scripts.folder.done(&["group", "invite", "Team", "henderson"], "");
    let photo = write_photo(&scripts, "photo.jpg");
    let folder = scripts.folder.path();
    fs::write(folder.join("my notes.txt"), "notes").expect("it can be written");
    fs::write(folder.join("empty"), "").expect("it can be written");
    let received = folder.join("received");
    fs::create_dir(&received).expect("it can be made");
    fs::write(received.join("photo.jpg"), "mine").expect("it can be written");
    let send = ["send", "--file", "photo.jpg", "--file", "my notes.txt", "henderson", "look", "at", "this"];
    assert_eq!(scripts.done("messi", &send, ""), "");
    assert_eq!(scripts.done("messi", &["send", "--file", "empty", "Team"], "not read"), "");
    let shown = "messi: [photo.jpg: saved as received/photo-2.jpg]\nmessi: [my_notes.txt: saved as received/my_notes.txt]\nmessi: look at this\nmessi to Team: [empty: saved as received/empty]\n";
    assert_eq!(scripts.done("henderson", &["inbox", "--save-files", "received"], ""), shown);
    let saved = |name: &str| fs::read(received.join(name)).expect("it was saved");
    assert!(saved("photo-2.jpg") == photo, "other bytes came");
    assert_eq!((saved("photo.jpg"), saved("my_notes.txt"), saved("empty")), (b"mine".into(), b"notes".into(), vec![]));
    assert_eq!(fs::read_dir(&received).expect("it is there").count(), 4, "something else was left there");
    scripts.done("messi", &["send", "--file", "my notes.txt", "henderson"], "");
    let json = scripts.done("henderson", &["inbox", "--json", "--save-files", "new/one"], "");
    assert!(json.contains("\"file_name\": \"my_notes.txt\"") && json.contains("\"saved\": \"new/one/my_notes.txt\""));
    scripts.done("messi", &["send", "--file", "my notes.txt", "henderson"], "");
    assert_eq!(scripts.done("henderson", &["inbox"], ""), "messi: [my_notes.txt: not saved]\n");
}

#[test]
fn a_file_is_confirmed_when_it_is_saved_and_told_of() {
    let scripts = Scripts::new();
    let photo = write_photo(&scripts, "photo.jpg");
    scripts.done("messi", &["send", "--file", "photo.jpg", "henderson"], "");
    // Nobody makes a file there.
    said(&scripts.run("henderson", &["inbox", "--save-files", "/proc"], ""), 1, "/proc: not saved");
    said(&scripts.run("henderson", &["inbox", "--save-files", "photo.jpg"], ""), 1, "no directory to save files in");
    // It is saved, and the disk that is to have the list is full; a reset may still be on its way to the server.
    let received = scripts.folder.path().join("received");
    let begun = Instant::now();
    while !received.join("photo.jpg").exists() {
        assert!(begun.elapsed() < PATIENCE, "the file was lost");
        let mut full = scripts.command("henderson", &["inbox", "--save-files", "received"]);
        full.stdout(File::options().write(true).open("/dev/full").expect("the system has it")).stderr(Stdio::null());
        full.status().expect("it ends");
    }
    // So it comes again, and is there already.
    let mut shown = String::new();
    while shown.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the file was lost");
        shown = scripts.done("henderson", &["inbox", "--save-files", "received"], "");
    }
    assert_eq!(shown, "messi: [photo.jpg: saved as received/photo.jpg]\n");
    assert!(fs::read(received.join("photo.jpg")).expect("it was saved") == photo, "other bytes came");
    assert_eq!(fs::read_dir(&received).expect("it is there").count(), 1);
    assert_eq!(scripts.done("henderson", &["inbox", "--save-files", "received"], ""), "");
}

#[test]
fn a_file_that_cannot_be_sent_is_told_of_in_a_line() {
    let scripts = Scripts::with("[limits]\nfile_bytes = 1000");
    write_photo(&scripts, "photo.jpg");
    let send = |file: &str| scripts.run("messi", &["send", "--file", file, "henderson", "text"], "");
    said(&send("photo.jpg"), 1, "photo.jpg: ");
    said(&send("nowhere"), 1, "nowhere: No such file");
    said(&send("/tmp"), 1, "/tmp: that is a directory");
    assert_eq!(scripts.done("henderson", &["inbox"], ""), "", "the text was not sent either");
    let scripts = Scripts::with("[protocol]\nfamily = false");
    write_photo(&scripts, "photo.jpg");
    let refused = scripts.run("messi", &["send", "--file", "photo.jpg", "henderson"], "");
    said(&refused, 1, "the server takes no files");
}
