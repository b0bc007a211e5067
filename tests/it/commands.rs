//! The administrator's other commands: sessions, health, manual pages, completions.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Uid;

use crate::support::{Client, Folder, NO_SESSION, PATIENCE, Server};

fn ends_soon(client: &mut Client, token: &str) {
    let begun = Instant::now();
    while client.ask(&format!("show {token}")) != NO_SESSION {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sessions_are_listed_and_revoked_in_a_running_server() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let mut client = server.connect();
    let tokens = ["messi", "messi", "henderson", "lineker"].map(|name| client.login(name));

    let list = folder.done(&["session", "list"], "");
    assert_eq!(list.lines().count(), 4);
    assert!(list.starts_with("1: messi from 127.0.0.1, since 20"), "{list}");
    let list: serde_json::Value = serde_json::from_str(&folder.done(&["session", "list", "--json"], "")).expect("JSON");
    assert_eq!((&list[2]["username"], &list[2]["id"]), (&"henderson".into(), &3.into()));
    assert!(!list.to_string().contains(&tokens[0]), "a token is nobody's to see");

    assert_eq!(folder.done(&["session", "revoke", "messi"], ""), "2 sessions ended\n");
    ends_soon(&mut client, &tokens[0]);
    ends_soon(&mut client, &tokens[1]);
    assert!(client.ask(&format!("show {}", tokens[2])).contains("[\"henderson\", \"lineker\"]"));
    assert_eq!(folder.done(&["session", "revoke", "--id", "3"], ""), "1 sessions ended\n");
    ends_soon(&mut client, &tokens[2]);
    assert_eq!(folder.done(&["session", "revoke", "--all"], ""), "1 sessions ended\n");
    ends_soon(&mut client, &tokens[3]);
    assert_eq!(folder.run(&["session", "revoke", "nobody"], "").status.code(), Some(1));
    assert_eq!(folder.run(&["session", "revoke", "--id", "3"], "").status.code(), Some(1));
    assert_eq!(folder.run(&["session", "revoke"], "").status.code(), Some(2), "whose is not guessed");
}

#[test]
fn health_is_the_running_servers_own_word() {
    let folder = Folder::new("");
    let server = Server::start(&folder);
    let listen = format!("server.listen={}", server.address);
    let healthy = folder.run(&["health", "--set", &listen], "");
    assert!(healthy.status.success());
    assert!(String::from_utf8_lossy(&healthy.stdout).contains("OK, answered in"));
    let bad = |listen: &str, timeout: &str| {
        let output = folder.run(&["health", "--timeout", timeout, "--set", listen], "");
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).expect("chatd prints UTF-8");
        let error = error.replace(&format!("chatd: settings {}\n", folder.settings().display()), "");
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    };
    // It has the connection accepted and says nothing more.
    kill(server.pid(), Signal::SIGSTOP).expect("it runs");
    assert!(bad(&listen, "1").contains("does not answer"));
    kill(server.pid(), Signal::SIGCONT).expect("it runs");
    assert_eq!(server.stop(), Some(0));
    assert!(bad(&listen, "5").contains("no server listens"));

    let other = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let listen = format!("server.listen={}", other.local_addr().expect("it is bound"));
    let answering = thread::spawn(move || {
        let (mut stream, _) = other.accept().expect("health connects");
        std::io::Write::write_all(&mut stream, &[b'x'; 200]).expect("health reads");
        stream
    });
    assert!(bad(&listen, "5").contains("something else than chatd"));
    drop(answering.join().expect("it does not panic"));
}

#[test]
fn the_running_server_says_which_program_it_is() {
    let folder = Folder::new("");
    let server = Server::start(&folder);
    let listen = format!("server.listen={}", server.address);
    let said = folder.done(&["health", "--json", "--set", &listen], "");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["status"], &said["server"]), (&"ok".into(), &said["program"]));
    assert_eq!(said["server"]["version"], env!("CARGO_PKG_VERSION"));
    let schema = said["server"]["schema"].as_i64().expect("a number");
    let wire = said["server"]["wire"].as_u64().expect("a number");
    let ending = format!("schema {schema}, wire {wire})\n");
    assert!(folder.done(&["--version"], "").ends_with(&ending), "{ending}");
    let database = rusqlite::Connection::open(folder.database()).expect("it is a database");
    let newest = database.query_row("SELECT max(version) FROM _sqlx_migrations", [], |row| row.get(0));
    assert_eq!(newest, Ok(schema));
}

#[test]
fn the_example_is_a_file_that_can_be_used() {
    let folder = Folder::new("");
    let example = folder.done(&["config", "example"], "");
    assert_eq!(example, fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/chat.toml")).expect("it is there"));
    fs::write(folder.path().join("chat.toml"), example).expect("it can be written");
    folder.done(&["config", "check"], "");
}

#[test]
fn the_manual_pages_name_every_command_and_every_setting() {
    let folder = Folder::new("");
    let pages = folder.path().join("pages");
    folder.done(&["man", pages.to_str().expect("it is UTF-8")], "");
    let page = |name: &str| fs::read_to_string(pages.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    for name in ["chatd-serve.1", "chatd-db-backup.1", "chatd-user-add.1", "chatd-session-revoke.1", "chatd-health.1"] {
        assert!(page(name).contains(".SH SYNOPSIS"), "{name}");
    }
    for command in ["serve", "user", "session", "config", "db", "health", "completions", "man"] {
        assert!(page("chatd.1").contains(&format!("chatd\\-{command}(1)")), "{command}");
    }
    assert!(page("chatd-db-backup.1").contains("whether it is in use or not"));
    assert_eq!(folder.done(&["man"], ""), page("chatd.1"));

    let settings = page("chat.toml.5").replace("\\-", "-");
    let mut seen = 0;
    for line in folder.done(&["config", "example"], "").lines().filter_map(|line| line.strip_prefix("# ")) {
        let shown = line.replace('…', "...");
        let shown =
            shown.split_once("  # ").map_or(shown.clone(), |(setting, range)| format!("{setting}\\fR  ({range})"));
        assert!(settings.contains(&shown), "{line}");
        seen += 1;
    }
    assert!(seen > 60, "only {seen} lines");
    assert!(settings.contains("\n.SH [limits]\n"));
}

#[test]
fn completions_are_made_for_every_shell() {
    let folder = Folder::new("");
    for shell in ["bash", "zsh", "fish"] {
        assert!(folder.done(&["completions", shell], "").contains("backup"), "{shell}");
    }
}

/// Only root can be somebody else, so only root can try this; on a machine where the tests are run by another user the
/// system test still does.
#[test]
fn root_acts_as_the_owner_of_the_state_directory() {
    let folder = Folder::new("");
    if !Uid::effective().is_root() {
        folder.add_three();
        return assert_eq!(fs::metadata(folder.database()).expect("it was made").uid(), Uid::effective().as_raw());
    }
    let nobody = 65534;
    std::os::unix::fs::chown(folder.path(), Some(nobody), Some(nobody)).expect("root may");
    let secret = folder.path().join("password");
    fs::write(&secret, "surabaya\n").expect("it can be written");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("it is ours");
    // The directory is another user's now, so the file is named.
    let settings = folder.settings().to_str().expect("it is UTF-8").to_owned();
    let done = |arguments: &[&str]| folder.done(&[arguments, &["--config", &settings]].concat(), "");
    done(&["user", "add", "messi", "--password-file", secret.to_str().expect("it is UTF-8")]);
    done(&["session", "list"]);
    let (copy, roots) = (folder.path().join("copy.db"), tempfile::tempdir().expect("a directory can be made"));
    let name = roots.path().join("copy.db");
    done(&["db", "backup", name.to_str().expect("it is UTF-8")]);
    done(&["db", "restore", name.to_str().expect("it is UTF-8")]);
    done(&["db", "prune"]);
    assert!(!copy.exists());
    let mut seen = 0;
    for entry in fs::read_dir(folder.path()).expect("it is there").flatten() {
        if entry.file_name().to_string_lossy().starts_with("chat.db") {
            assert_eq!(entry.metadata().expect("it is there").uid(), nobody, "{:?}", entry.file_name());
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} files");

    // A server of that user tells root, too, which program it is.
    let mut serve = Command::new("setpriv");
    serve.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_chatd"), "serve"]);
    serve.args(["--config", &settings]).current_dir(folder.path());
    let server = Server::start_with(&folder, serve);
    let listen = format!("server.listen={}", server.address);
    let said = folder.done(&["health", "--json", "--config", &settings, "--set", &listen], "");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["server"], said["program"], "{said}");
}
