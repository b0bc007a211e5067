//! `chatd client`: the text protocol, piped and on a terminal.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::door::Door;
use crate::support::{Folder, PATIENCE, Server};
use crate::terminal::Terminal;

const HENDERSONS: &str = r#"{"messi": [{"msg_from": "Lionel Messi", "msg_to": "Jordan Henderson", "msg": " hal \r\n"}, {"msg_from": "Lionel Messi", "msg_to": "Jordan Henderson", "msg": " feeling good \r\n"}]}"#;

pub fn server() -> (Folder, Server) {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    (folder, server)
}

/// `chatd ARGUMENTS` with a state directory in the test's folder.
pub fn chatd(folder: &Folder, address: impl ToString, arguments: &[&str]) -> Command {
    let mut command = folder.command(arguments);
    command.env("CHATD_CONNECT", address.to_string()).env("XDG_STATE_HOME", folder.path().join("state"));
    command
}

/// A client with pipes for a terminal.
struct Piped {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Piped {
    fn start(folder: &Folder, address: impl ToString) -> Piped {
        let mut command = chatd(folder, address, &["client"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("chatd starts");
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        Piped { child, output }
    }

    fn say(&mut self, line: &str) -> String {
        writeln!(self.child.stdin.as_mut().expect("it was piped"), "{line}").expect("it reads");
        let mut shown = String::new();
        self.output.read_line(&mut shown).expect("it answers");
        shown.strip_suffix('\n').unwrap_or_else(|| panic!("{line}: {shown:?} is no line")).to_owned()
    }

    /// Logs in; gives the token.
    fn log_in(&mut self, name: &str) -> String {
        let shown = self.say(&format!("auth {name} surabaya"));
        let token = shown.strip_prefix(&format!("username {name} logged in, token "));
        token.unwrap_or_else(|| panic!("{shown}")).to_owned()
    }

    /// Ends the input; gives the exit status.
    fn end(mut self) -> Option<i32> {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        assert_eq!(self.output.read_line(&mut rest).expect("it ends"), 0, "{rest}");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every example of the text protocol, and every row of the table.
fn document(folder: &Folder, address: &str) {
    let mut messi = Piped::start(folder, address);
    assert_eq!(messi.say("send henderson feeling good"), "Error, not authorized");
    assert_eq!(messi.say("inbox"), "Error, not authorized");
    assert_eq!(messi.say("show"), "belum melakukan autentifikasi");
    assert_eq!(messi.say("logout"), "belum melakukan autentifikasi");
    assert_eq!(messi.say("auth maradona surabaya"), "Error, User Tidak Ada");
    assert_eq!(messi.say("auth messi jakarta"), "Error, Password Salah");
    assert_eq!(messi.log_in("messi").len(), 36);
    assert_eq!(messi.say("send henderson hal"), "message sent to henderson");
    assert_eq!(messi.say("sent henderson feeling good"), "message sent to henderson");
    assert_eq!(messi.say("send maradona hal"), "Error, User Tidak Ditemukan");
    assert_eq!(messi.say("halo"), "*Maaf, command tidak benar");
    assert_eq!(messi.say("auth messi"), "-Maaf, command tidak benar");
    let mut henderson = Piped::start(folder, address);
    henderson.log_in("henderson");
    assert_eq!(henderson.say(" inbox"), HENDERSONS);
    assert_eq!(henderson.say("inbox"), "{}");
    let mut lineker = Piped::start(folder, address);
    lineker.log_in("lineker");
    assert_eq!(lineker.say("show"), "['messi', 'henderson', 'lineker']");
    for mut client in [messi, henderson, lineker] {
        assert_eq!(client.say("logout"), "Logout berhasil dilakukan");
        assert_eq!(client.say("inbox"), "Error, not authorized");
        assert_eq!(client.end(), Some(1));
    }
}

#[test]
fn the_document_typed_into_a_pipe() {
    let (folder, server) = server();
    document(&folder, &server.address.to_string());
}

#[test]
fn the_document_against_a_server_without_extensions() {
    let (folder, server) = server();
    let old = Door::of_2020(server.address);
    document(&folder, &old.address.to_string());
    assert_eq!(old.refused(), Vec::<String>::new());
}

#[test]
fn on_a_pipe_the_exit_status_says_whether_all_of_it_worked() {
    let (folder, server) = server();
    let status = |lines: &str| {
        let mut command = chatd(&folder, server.address, &["client"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.as_mut().expect("chatd starts");
        child.stdin.take().expect("it was piped").write_all(lines.as_bytes()).expect("it reads");
        let mut shown = String::new();
        child.stdout.take().expect("it was piped").read_to_string(&mut shown).expect("it is text");
        assert_eq!(shown.lines().count(), lines.lines().count(), "{shown}");
        child.wait().expect("it ends").code()
    };
    assert_eq!(status("auth messi surabaya\nsend henderson hal\ninbox\nshow\nlogout\n"), Some(0));
    assert_eq!(status(""), Some(0));
    assert_eq!(status("auth messi jakarta\n"), Some(1));
    assert_eq!(status("auth maradona surabaya\n"), Some(1));
    assert_eq!(status("auth messi jakarta\nauth messi surabaya\nshow\n"), Some(1));
    assert_eq!(status("auth messi surabaya\nsend maradona hal\nlogout\n"), Some(1));
    assert_eq!(status("auth messi surabaya\nhalo\nlogout\n"), Some(1));
    assert_eq!(status("inbox\n"), Some(1));
    assert_eq!(
        folder.done(&["session", "list"], "").lines().count(),
        1,
        "no question was asked, and none was answered"
    );
}

#[test]
fn the_document_encrypted() {
    let (folder, server) = server();
    let [authority, other] = ["authority.pem", "other.pem"].map(|name| folder.path().join(name));
    let door = Door::encrypted(server.address, &authority);
    Door::encrypted(server.address, &other);
    let trusting = |address: &str, authority: &Path| {
        let mut command = chatd(&folder, address, &["client", "--tls", "--tls-ca"]);
        command.arg(authority).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("chatd starts");
        // One that trusts nobody has ended.
        let _ = child.stdin.take().expect("it was piped").write_all(b"auth messi surabaya\nshow\n");
        child.wait_with_output().expect("it ends")
    };
    let named = format!("localhost:{}", door.address.port());
    let output = trusting(&named, &authority);
    assert!(output.stdout.ends_with(b"\n['messi']\n"), "{output:?}");
    assert_eq!(output.status.code(), Some(0));
    // An unknown authority, another name, and a server that speaks plainly: none of them hears a password.
    for (address, authority) in [(named, &other), (door.address.to_string(), &authority)] {
        let output = trusting(&address, authority);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("certificate") && output.stdout.is_empty(), "{output:?}");
        assert_eq!(output.status.code(), Some(1));
    }
    assert_eq!(trusting(&server.address.to_string(), &authority).status.code(), Some(1));
    assert_eq!(server.log().matches(" login ").count(), 1, "{}", server.log());
}

#[test]
fn a_password_can_come_from_a_file_and_none_is_needed_in_the_line() {
    let (folder, server) = server();
    let file = folder.path().join("password");
    std::fs::write(&file, "surabaya\n").expect("it can be written");
    let mut command = chatd(&folder, server.address, &["client"]);
    command.env("CHATD_PASSWORD_FILE", &file).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("chatd starts");
    child.stdin.take().expect("it was piped").write_all(b"auth messi\nshow\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("it is text");
    let (first, second) = text.split_once('\n').expect("two lines");
    assert!(first.starts_with("username messi logged in, token "), "{first}");
    assert_eq!(second, "['messi']\n");
}

#[test]
fn a_restart_of_the_server_is_survived() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let address = server.address;
    let mut client = Piped::start(&folder, address);
    client.log_in("messi");
    assert_eq!(client.say("send messi before"), "message sent to messi");
    let again =
        || Server::start_with(&folder, folder.command(&["serve", "--set", &format!("server.listen={address}")]));
    assert_eq!(server.stop(), Some(0));
    let server = again();
    assert_eq!(client.say("send messi after a stop"), "message sent to messi");
    server.kill();
    let _server = again();
    assert_eq!(client.say("send messi after a crash"), "message sent to messi");
    let inbox = client.say("inbox");
    assert!(
        inbox.contains(" before ") && inbox.contains(" after a stop ") && inbox.contains(" after a crash "),
        "{inbox}"
    );
}

#[test]
fn other_peoples_text_cannot_touch_the_terminal() {
    let (folder, server) = server();
    let (mut lineker, token) = server.login("lineker");
    lineker.ask(&format!("send {token} messi  \x1b[2J\u{9b}31m\u{202e}\x07ha\u{85}lo "));
    let mut messi = Terminal::start(&chatd(&folder, server.address, &["client"]));
    messi.see("Command :");
    messi.enter("auth messi surabaya");
    messi.see("lineker: \\x1b[2J\\x9b31m\\u202e\\x07ha\\x85lo");
    messi.enter("inbox");
    messi.see(r#""msg": "  \u001b[2J\u009b31m\u202e\u0007ha\u0085lo \r\n"}]}"#);
    messi.type_in("\x04");
    assert!(!messi.all().contains(['\u{9b}', '\u{202e}', '\u{85}']), "{:?}", messi.all());
    assert!(!messi.all().contains("\x1b[2J"), "{:?}", messi.all());
}

/// Somebody who has just logged in on a terminal, the password unseen.
pub fn on_terminal(folder: &Folder, address: impl ToString, name: &str) -> Terminal {
    let mut terminal = Terminal::start(&chatd(folder, address, &["client"]));
    terminal.see("Command :");
    terminal.enter(&format!("auth {name}"));
    terminal.see("Password: ");
    terminal.is_mute();
    terminal.enter("surabaya");
    terminal.see(&format!("username {name} logged in, token "));
    let token = terminal.see("\r\n").0;
    terminal.see(&format!("Command {}:", token.trim()));
    terminal
}

#[test]
fn a_terminal_survives_a_restart_of_the_server() {
    let (folder, server) = server();
    let address = server.address;
    let mut messi = on_terminal(&folder, address, "messi");
    server.kill();
    let server = Server::start_with(&folder, folder.command(&["serve", "--set", &format!("server.listen={address}")]));
    messi.enter("send henderson halo");
    messi.see("message sent to henderson");
    let (mut lineker, token) = server.login("lineker");
    lineker.ask(&format!("send {token} messi  apa kabar "));
    messi.see("lineker: apa kabar\r\n");
    messi.enter("exit");
    messi.see("End the session of messi? [Y/n] ");
    messi.enter("");
    assert_eq!(messi.end(), Some(0));
}

#[test]
fn where_the_server_cannot_wait_the_client_asks_again_and_again() {
    let (folder, server) = server();
    let door = Door::of_2020(server.address);
    let mut messi = on_terminal(&folder, door.address, "messi");
    let (mut lineker, token) = server.login("lineker");
    for text in ["satu", "dua"] {
        lineker.ask(&format!("send {token} messi  {text} "));
        messi.see(&format!("lineker: {text}\r\n"));
    }
    messi.enter("history lineker");
    messi.see("*Maaf, command tidak benar");
    assert_eq!(door.refused(), ["follow", "fetch", "wait", "history"]);
}

#[test]
fn two_clients_of_one_account_see_all_messages_once() {
    let (folder, server) = server();
    let (mut lineker, token) = server.login("lineker");
    assert!(lineker.ask(&format!("send {token} messi  before ")).contains("Message Sent"));
    let mut clients = [(), ()].map(|()| on_terminal(&folder, server.address, "messi"));
    // Both follow from some message on.
    let begun = Instant::now();
    for number in 0.. {
        assert!(begun.elapsed() < PATIENCE, "one of them does not follow");
        assert!(lineker.ask(&format!("send {token} messi  mulai {number} ")).contains("Message Sent"));
        let shown = format!("lineker: mulai {number}\r\n");
        let sent = Instant::now();
        let both = || clients.iter().all(|client| client.all().contains(&shown));
        while !both() && sent.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if both() {
            break;
        }
    }
    for text in ["satu", "dua"] {
        lineker.ask(&format!("send {token} messi  {text} "));
        for client in &mut clients {
            client.see(&format!("lineker: {text}\r\n"));
        }
    }
    // What one sends is shown by the other, and not by itself once more.
    let [one, other] = &mut clients;
    one.enter("send lineker tiga");
    one.see("message sent to lineker");
    other.see("messi to lineker: tiga\r\n");
    other.enter("send lineker empat");
    other.see("message sent to lineker");
    one.see("messi to lineker: empat\r\n");
    for client in &mut clients {
        client.enter("inbox");
        client.see(
            r#""msg": "  satu \r\n"}, {"msg_from": "Gary Lineker", "msg_to": "Lionel Messi", "msg": "  dua \r\n"}]}"#,
        );
        client.enter("inbox");
        client.see("\n{}\r\n");
    }
    let [one, other] = clients;
    let shown = [one.all(), other.all()];
    for (text, times) in [("lineker: satu\r\n", 2), ("messi to lineker: tiga", 1), ("lineker: before", 1)] {
        let found: usize = shown.iter().map(|shown| shown.matches(text).count()).sum();
        assert_eq!(found, times, "{text}: {shown:?}");
    }
}

#[test]
fn two_people_on_terminals() {
    let (folder, server) = server();
    let [mut messi, mut henderson] = ["messi", "henderson"].map(|name| on_terminal(&folder, server.address, name));

    // A message appears above the line being typed, which stays whole and can be finished.
    henderson.type_in("send messi half a li");
    henderson.see("half a li");
    let mut longest = Duration::ZERO;
    for number in 0..5 {
        messi.type_in(&format!("send henderson halo {number}"));
        messi.see(&format!("halo {number}"));
        let sent = Instant::now();
        messi.type_in("\r");
        let (shown, seen) = henderson.see(&format!("messi: halo {number}\r\n"));
        longest = longest.max(seen - sent);
        assert!(!shown.contains("half a limessi"), "the line was torn: {shown:?}");
        henderson.see("half a li");
        messi.see("message sent to henderson");
    }
    eprintln!("a message took at most {longest:?} from Enter on one terminal to the other");
    henderson.type_in("ne\r");
    henderson.see("message sent to messi");
    messi.see("henderson: half a line\r\n");

    // Tab completes commands and names.
    messi.type_in("se\the\tx\r");
    messi.see("message sent to henderson");
    henderson.see("messi: x\r\n");

    // What was shown is shown once more for `inbox`.
    messi.enter("inbox");
    messi.see(
        r#"{"henderson": [{"msg_from": "Jordan Henderson", "msg_to": "Lionel Messi", "msg": " half a line \r\n"}]}"#,
    );
    messi.enter("inbox");
    messi.see("\n{}\r\n");

    // Looking back.
    messi.enter("history henderson");
    messi.see("  messi (read 20");
    messi.see("): halo 0\r\n");
    messi.see("  henderson: half a line\r\n");
    messi.see("Command ");
    messi.enter("status henderson");
    messi.see(" (read 20");
    messi.see("Command ");

    for mut terminal in [messi, henderson] {
        terminal.enter("logout");
        terminal.see("Logout berhasil dilakukan");
        terminal.see("Command :");
        terminal.type_in("\x04");
        assert!(!terminal.all().contains("surabaya"));
        assert_eq!(terminal.end(), Some(0));
    }
    let history = folder.path().join("state/chatd/history");
    let lines = std::fs::read_to_string(&history).expect("there is a history");
    assert!(lines.contains("auth messi\n") && lines.contains("send henderson halo 1"), "{lines}");
    assert!(!lines.contains("surabaya"), "{lines}");
    assert_eq!(history.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
}
