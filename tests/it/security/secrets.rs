//! Text that hurts: a password and a token appear nowhere but where they must, and what others type cannot forge a
//! line of the log or speak to the terminal that shows it.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};

use super::server;
use crate::database::tamper;
use crate::support::{Folder, SENT, Server, texts};

const CANARY: &str = "kenari-7f3a91c2";

/// Every file below `folder`, with what is in it.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        }
    }
    found
}

fn holds(text: &[u8], secret: &str) -> bool {
    text.windows(secret.len()).any(|window| window == secret.as_bytes())
}

fn nowhere(secret: &str, outputs: &[(String, Vec<u8>)]) {
    let found: Vec<_> = outputs.iter().filter(|(_, text)| holds(text, secret)).map(|(name, _)| name).collect();
    assert!(found.is_empty(), "{secret} is in {found:?}");
}

/// With everything logged that can be, the canary is typed in every place where a password or a token can stand.
#[test]
fn a_password_and_a_token_appear_nowhere() {
    let mut outputs: Vec<(String, Vec<u8>)> = Vec::new();
    let folder = Folder::new("[log]\nlevel = \"trace\"");
    let mut run = |arguments: &[&str], input: &str| {
        let output = folder.run(arguments, input);
        outputs.push((format!("{arguments:?}"), [output.stdout, output.stderr].concat()));
        output.status.success()
    };
    assert!(run(&["user", "add", "messi", "--password-stdin"], &format!("{CANARY}\n")));
    assert!(!run(&["user", "add", "messi", "--password-stdin"], &format!("{CANARY}\n")));
    assert!(!run(&["user", "add", "other", "--password-stdin"], &format!("{CANARY} x\n")));
    assert!(!run(&["user", "add", "other", "--password-stdin"], &format!("{}\n", CANARY.repeat(100))));
    assert!(run(&["user", "passwd", "messi", "--password-stdin"], &format!("{CANARY}\n")));
    assert!(run(&["user", "list", "--json"], ""));
    let mut command = folder.command(&["serve"]);
    command.env("RUST_BACKTRACE", "1");
    let server = Server::start_with(&folder, command);
    let mut client = server.connect();
    let reply = client.ask(&format!("auth messi {CANARY}"));
    let token = reply.split('"').nth(7).expect("it is right").to_owned();
    for line in [
        format!("auth messi {CANARY}x"),
        format!("auth nobody {CANARY}"),
        format!("auth  messi {CANARY}"),
        format!("Auth messi {CANARY}"),
        format!("auth messi {CANARY}{}", "x".repeat(5000)),
        format!("show {token}x"),
        format!("foo {token}"),
        format!("send {token} nobody {token}"),
        format!("show {token}"),
    ] {
        client.ask(&line);
    }
    assert_eq!(client.ask(&format!("send {token} messi  hal ")), SENT);
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))), ["hal"]);
    kill(server.pid(), Signal::SIGHUP).expect("it runs");
    assert!(client.ask(&format!("show {token}")).contains("messi"));
    let while_it_runs = files(folder.path());
    assert!(while_it_runs.len() >= 5, "only {} files", while_it_runs.len());
    outputs.extend(while_it_runs);
    client.ask(&format!("logout {token}"));
    assert_eq!(server.stop(), Some(0));
    outputs.extend(files(folder.path()));
    nowhere(CANARY, &outputs);
    nowhere(&token, &outputs);
    assert!(outputs.iter().any(|(_, text)| holds(text, "login refused")), "the log was among them");
}

#[test]
fn what_strangers_type_cannot_forge_the_log_or_speak_to_the_terminal() {
    for format in ["text", "json"] {
        let (_folder, server) =
            server(&format!("[log]\nlevel = \"trace\"\nformat = \"{format}\"\n[throttle]\naddress_per_minute = 0"));
        let mut client = server.connect();
        let forged = "x\n2026-11-23T00:00:00Z  INFO login address=10.9.8.7";
        let names = [forged, "\x1b[2J\x1b]0;title\x07", "a\u{9b}31m", "\u{202e}txt", "\r\x08\x7f", "\u{2028}"];
        for name in names {
            assert!(client.ask(&format!("auth {name} x")).contains("ERROR"), "{name:?}");
            client.ask(name);
        }
        let token = client.login("messi");
        for name in names {
            client.ask(&format!("send {token} {name} {name}"));
        }
        let log = server.log();
        assert!(log.contains("login refused: no such user"), "{log}");
        assert!(!log.lines().any(|line| line.starts_with("2026-11-23T00:00:00Z")), "{log}");
        let dangerous = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2028}".contains(c));
        let bad: Vec<&str> = log.lines().filter(|line| line.contains(dangerous)).collect();
        assert!(bad.is_empty(), "{format}: {bad:?}");
    }
}

/// What an administrator typed into an account's name is shown escaped too.
#[test]
fn a_display_name_cannot_speak_to_the_administrators_terminal() {
    let folder = Folder::new("");
    folder.add_user("messi", "Leo", "Argentina");
    // Today such names are refused; an older version stored them.
    tamper(
        &folder.database(),
        "UPDATE user SET display_name = 'Leo' || char(27, 91, 51, 49, 109, 8238, 10), country = 'Argentina' || char(7)",
    );
    let list = folder.done(&["user", "list"], "");
    assert!(!list.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}')), "{list:?}");
}

/// Right or wrong, the password of an account that is shut gets the answer that a name of nobody gets, and leaves no
/// other trace: no hash is made of the right one, though the cost in the settings has changed.
#[test]
fn a_disabled_account_is_no_password_oracle() {
    let (folder, server) = server("");
    folder.done(&["user", "disable", "messi"], "");
    let mut client = server.connect();
    let answers = ["auth messi surabaya", "auth messi wrong", "auth nobody surabaya"].map(|line| client.ask(line));
    assert_eq!(answers[0], "{\"status\": \"ERROR\", \"message\": \"User Tidak Ada\"}");
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    let said: Vec<String> =
        server.log().lines().filter(|line| line.contains("user=\"messi\"")).map(without_time).collect();
    assert_eq!(said.len(), 2, "{}", server.log());
    assert_eq!(said[0], said[1]);
    folder.done(&["user", "enable", "messi"], "");
    client.login("messi");
}

fn without_time(line: &str) -> String {
    line.split_once(' ').map_or_else(String::new, |(_, rest)| rest.to_owned())
}
