//! `chatd quickstart`: three answers make a server that runs, and nothing that is there is replaced.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use crate::security::tls::certificate_for;
use crate::support::{Folder, PATIENCE, Server, address_in};
use crate::terminal::Terminal;

/// Where the settings go; the folder's own are another test's.
fn file(folder: &Folder) -> PathBuf {
    folder.path().join("made.toml")
}

fn arguments<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["quickstart", "--config", file], more].concat()
}

#[test]
fn a_person_answers_three_questions_and_has_a_server() {
    let folder = Folder::new("");
    let settings = file(&folder);
    let settings_path = settings.to_str().expect("it is UTF-8");
    certificate_for(&folder, -1..90);
    let mut terminal = Terminal::start(&folder.command(&arguments(settings_path, &[])));
    terminal.see("Where others reach");
    terminal.enter("https://chat.example.org");
    terminal.see("no host name");
    terminal.see("Where others reach");
    terminal.enter("chat.example.org:9443");
    terminal.see("Certificate");
    terminal.see("`acme` to get one");
    terminal.enter("nothing.pem");
    terminal.see("Its key");
    terminal.enter("chat.key");
    terminal.see("nothing.pem");
    terminal.see("Certificate");
    terminal.enter("chat.crt");
    terminal.see("Its key");
    terminal.enter("chat.key");
    terminal.see("first account");
    terminal.enter("");
    terminal.see("first account");
    terminal.enter("messi");
    terminal.see("Password of messi");
    terminal.is_mute();
    terminal.enter("surabaya");
    terminal.see("Again");
    terminal.is_mute();
    terminal.enter("surabaya");
    terminal.see("messi added");
    terminal.see(&format!("chatd serve --config {settings_path}"));
    terminal.see("https://chat.example.org:9444");
    terminal.see("--tls --connect chat.example.org:9443");
    assert_eq!(terminal.end(), Some(0));

    let place = folder.path().display();
    let written = fs::read_to_string(&settings).expect("it is written");
    assert!(written.contains("tls_listen = \"0.0.0.0:9443\""), "{written}");
    assert!(written.contains(&format!("tls_certificate = \"{place}/chat.crt\"")), "{written}");
    assert!(written.contains("hosts = [\"chat.example.org:9444\"]"), "{written}");
    let mut serve = vec!["serve", "--config", settings_path];
    for free in ["server.listen=127.0.0.1:0", "server.tls_listen=127.0.0.1:0", "web.tls_listen=127.0.0.1:0"] {
        serve.extend(["--set", free]);
    }
    let server = Server::start_with(&folder, folder.command(&serve));
    server.login("messi");
    assert!(server.log().contains("listening for TLS"), "{}", server.log());
}

#[test]
fn without_a_terminal_all_answers_are_flags() {
    let folder = Folder::new("");
    let settings = file(&folder);
    let settings_path = settings.to_str().expect("it is UTF-8");
    let refused = |more: &[&str], said: &str| {
        let output = folder.run(&arguments(settings_path, more), "surabaya\n");
        let error = String::from_utf8(output.stderr).expect("chatd prints UTF-8");
        assert!(!output.status.success() && error.contains(said), "{more:?}: {error}");
        assert!(!settings.exists(), "{more:?} left a file");
    };
    refused(&[], "--address; --certificate and --key, --acme, or --loopback; --account");
    refused(&["--address", "localhost"], "give --account\n");
    refused(
        &["--address", "chat.example.org", "--account", "messi"],
        "give --certificate and --key, --acme, or --loopback\n",
    );
    refused(&["--address", "a:0", "--loopback", "--account", "messi"], "the port is 1 to 65534");
    refused(&["--address", "localhost", "--account", "of two"], "\"of two\"");
    refused(
        &["--address", "localhost", "--account", "messi"],
        "nothing is set up: no terminal to ask for the password",
    );
    let certificate = ["--certificate", "no.pem", "--key", "no.key", "--account", "messi", "--address", "a.example"];
    refused(&certificate, "no.pem");

    let good = ["--address", "localhost", "--account", "messi", "--password-stdin"];
    let said = folder.done(&arguments(settings_path, &good), "surabaya\n");
    assert!(said.contains("made.toml written") && said.contains("chatd serve --config"), "{said}");
    assert!(folder.done(&["user", "list", "--config", settings_path], "").starts_with("messi: "));
}

#[test]
fn a_dry_run_shows_what_would_be_written_and_changes_nothing() {
    let folder = Folder::new("");
    let settings = file(&folder);
    let settings_path = settings.to_str().expect("it is UTF-8");
    let answers = ["--address", "localhost", "--account", "messi", "--password-stdin"];
    let before = fs::read_dir(folder.path()).expect("it is there").count();
    let shown = folder.done(&arguments(settings_path, &[&answers[..], &["--dry-run"]].concat()), "surabaya\n");
    assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), before);
    folder.done(&arguments(settings_path, &answers), "surabaya\n");
    let written = fs::read_to_string(&settings).expect("it is written");
    assert!(shown.contains(&written), "{shown}");
    assert!(shown.contains("the account messi"), "{shown}");
}

#[test]
fn what_is_there_is_not_replaced() {
    let folder = Folder::new("");
    folder.add_three();
    let before = fs::read(folder.settings()).expect("it is there");
    let answers = ["quickstart", "--address", "localhost", "--account", "ronaldo", "--password-stdin"];
    let output = folder.run(&answers, "surabaya\n");
    let error = String::from_utf8(output.stderr).expect("chatd prints UTF-8");
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("it is there already") && error.contains("--config"), "{error}");
    assert_eq!(fs::read(folder.settings()).expect("it is there"), before);
    assert!(!folder.done(&["user", "list"], "").contains("ronaldo"));

    // The accounts of a database that is there stay, and its passwords.
    let settings = file(&folder);
    let settings_path = settings.to_str().expect("it is UTF-8");
    let taken = ["--address", "localhost", "--account", "messi", "--password-stdin"];
    let output = folder.run(&arguments(settings_path, &taken), "another password\n");
    let error = String::from_utf8(output.stderr).expect("chatd prints UTF-8");
    assert!(error.contains("nothing is set up: messi: there is such an account already"), "{error}");
    assert!(!settings.exists());
    let server = Server::start(&folder);
    server.login("messi");
}

#[test]
fn behind_a_proxy_the_page_answers_to_its_name() {
    let folder = Folder::new("");
    let settings = file(&folder);
    let settings_path = settings.to_str().expect("it is UTF-8");
    let answers = ["--address", "Chat.Example.org", "--loopback", "--account", "messi", "--password-stdin"];
    folder.done(&arguments(settings_path, &answers), "surabaya\n");
    let free = ["server.listen=127.0.0.1:0", "web.listen=127.0.0.1:0"];
    let serve = ["serve", "--config", settings_path, "--set", free[0], "--set", free[1]];
    let server = Server::start_with(&folder, folder.command(&serve));
    let address = address_in(&server.log(), "listening for browsers").expect("it is logged");
    let status = |host: &str| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        write!(stream, "GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("it is taken");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it ends");
        reply.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(status("chat.example.org"), "200");
    assert_eq!(status("elsewhere.example.org"), "403");
}

#[test]
fn a_certificate_comes_from_an_authority_where_that_is_asked_for() {
    let folder = Folder::new("");
    let settings = file(&folder);
    let settings_path = settings.to_str().expect("it is UTF-8");
    let account = ["--acme", "--account", "messi", "--password-stdin"];
    for host in ["localhost", "192.0.2.1"] {
        let output =
            folder.run(&arguments(settings_path, &[&["--address", host], &account[..]].concat()), "surabaya\n");
        let error = String::from_utf8(output.stderr).expect("chatd prints UTF-8");
        assert!(error.contains("names that others can look up"), "{error}");
    }
    let said = folder
        .done(&arguments(settings_path, &[&["--address", "chat.example.org"], &account[..]].concat()), "surabaya\n");
    assert!(said.contains("https://chat.example.org, or") && said.contains("config check"), "{said}");
    // A directory that nobody answers for: the server serves all the same.
    let mut serve = vec!["serve", "--config", settings_path, "--set", "acme.directory=https://127.0.0.1:1/dir"];
    for free in ["server.listen=127.0.0.1:0", "server.tls_listen=127.0.0.1:0", "web.tls_listen=127.0.0.1:0"] {
        serve.extend(["--set", free]);
    }
    let server = Server::start_with(&folder, folder.command(&serve));
    server.login("messi");
    assert!(server.log().contains("hosts=\"chat.example.org\""), "{}", server.log());
}
