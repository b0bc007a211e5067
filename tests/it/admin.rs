//! The command line: accounts and settings, with a server running and without, and what is said when it goes wrong.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::Uid;

use crate::database::tamper;
use crate::support::{Folder, NO_SESSION, PATIENCE, Server, texts};

/// Waits for what must become true within a second, and fails if it has not after a good while more.
fn within_a_second(mut is_true: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}

/// The exit status, and the one line that says why.
fn refused(folder: &Folder, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let output = folder.run(arguments, input);
    let error = folder.complaint(&output);
    assert_eq!(error.lines().count(), 1, "{error}");
    (output.status.code(), error)
}

#[test]
fn accounts_are_made_once_and_listed() {
    let folder = Folder::new("");
    folder.add_user("messi", "Lionel Messi", "Argentina");
    folder.done(&["user", "add", "plain", "--password-stdin"], "x\n");
    let (code, error) = refused(&folder, &["user", "add", "MESSI", "--password-stdin"], "x\n");
    assert_eq!(code, Some(1));
    assert!(error.contains("there is such an account already"), "{error}");
    let again = folder.done(&["user", "add", "messi", "--password-stdin", "--if-not-exists"], "x\n");
    assert!(again.contains("already"), "{again}");
    assert_eq!(folder.done(&["user", "list"], ""), "messi: Lionel Messi, Argentina\nplain: plain\n");
    let list: serde_json::Value = serde_json::from_str(&folder.done(&["user", "list", "--json"], "")).expect("JSON");
    assert_eq!(list[0]["username"], "messi");
    assert_eq!(list[1]["name"], "plain");
    let made = folder.done(&["user", "add", "made", "--generate"], "");
    let password = made.lines().next().and_then(|line| line.strip_prefix("password of made: ")).expect("it is printed");
    let server = Server::start(&folder);
    assert!(server.connect().ask(&format!("auth made {password}")).contains("tokenid"));
}

#[test]
fn bad_names_and_passwords_are_refused_in_one_line() {
    let folder = Folder::new("");
    for (name, password) in [("a b", "x"), ("", "x"), ("x", "two words"), ("x", ""), ("x", "a\tb")] {
        let (code, _) = refused(&folder, &["user", "add", name, "--password-stdin"], &format!("{password}\n"));
        assert_eq!(code, Some(1), "{name:?} {password:?}");
    }
    assert!(!folder.database().exists(), "nothing was made for an account that was refused");
    assert_eq!(refused(&folder, &["user", "passwd", "nobody", "--generate"], "").0, Some(1));
}

#[test]
fn what_an_admin_changes_bites_in_a_running_server() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");

    folder.add_user("new", "New", "");
    within_a_second(|| messi.ask("auth new surabaya").contains("tokenid"));

    folder.done(&["user", "passwd", "messi", "--password-stdin"], "other\n");
    within_a_second(|| messi.ask(&format!("show {token}")) == NO_SESSION);
    assert!(messi.ask("auth messi surabaya").contains("Password Salah"));
    assert!(messi.ask("auth messi other").contains("tokenid"));

    let (mut henderson, hendersons) = server.login("henderson");
    folder.done(&["user", "disable", "henderson"], "");
    within_a_second(|| henderson.ask(&format!("show {hendersons}")) == NO_SESSION);
    assert!(henderson.ask("auth henderson surabaya").contains("User Tidak Ada"));
    folder.done(&["user", "enable", "henderson"], "");
    within_a_second(|| henderson.ask("auth henderson surabaya").contains("tokenid"));

    let (mut lineker, linekers) = server.login("lineker");
    assert!(lineker.ask(&format!("send {linekers} henderson  before I go ")).contains("OK"));
    assert!(lineker.ask(&format!("send {linekers} lineker  never read ")).contains("OK"));
    let removed = folder.done(&["user", "remove", "lineker"], "");
    assert_eq!(removed, "lineker removed, 1 unread messages discarded\n");
    within_a_second(|| lineker.ask(&format!("show {linekers}")) == NO_SESSION);
    let (mut henderson, hendersons) = server.login("henderson");
    assert!(henderson.ask(&format!("send {hendersons} lineker x")).contains("User Tidak Ditemukan"));
    assert_eq!(texts(&henderson.ask(&format!("inbox {hendersons}"))), ["before I go"]);

    // The name is free, and the newcomer gets nothing of the old one's.
    folder.add_user("lineker", "Another", "");
    within_a_second(|| lineker.ask("auth lineker surabaya").contains("tokenid"));
    let token = lineker.login("lineker");
    assert_eq!(lineker.ask(&format!("inbox {token}")), crate::support::EMPTY);
}

#[test]
fn files_are_the_owners_alone() {
    let folder = Folder::new("");
    folder.add_three();
    fs::set_permissions(folder.database(), fs::Permissions::from_mode(0o644)).expect("it is ours");
    let server = Server::start(&folder);
    let mut seen = 0;
    for entry in fs::read_dir(folder.path()).expect("it is there").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("chat.db") {
            seen += 1;
            assert_eq!(entry.metadata().expect("it is there").permissions().mode() & 0o777, 0o600, "{name}");
        }
    }
    assert!(seen >= 4, "only {seen} files");
    drop(server);
}

#[test]
fn bad_configuration_ends_with_78_and_one_line() {
    let folder = Folder::new("[server]\nlisten = \"0.0.0.0:0\"");
    let (code, error) = refused(&folder, &["serve"], "");
    assert_eq!(code, Some(78));
    assert!(error.contains("server.listen") && error.contains("allow_plaintext"), "{error}");
    folder.configure("[limits]\nconections = 1");
    for arguments in [&["serve"][..], &["config", "check"], &["user", "list"]] {
        let (code, error) = refused(&folder, arguments, "");
        assert_eq!(code, Some(78));
        assert!(error.contains("conections"), "{error}");
    }
}

#[test]
fn the_environment_stands_between_file_and_flags() {
    let folder = Folder::new("[limits]\nconnections = 5");
    let show = |arguments: &[&str], variable: Option<&str>| {
        let mut command = folder.command(arguments);
        command.envs(variable.map(|value| ("CHATD_LIMITS__CONNECTIONS", value)));
        let output = command.output().expect("chatd starts");
        String::from_utf8(output.stdout).expect("chatd prints UTF-8")
    };
    assert!(show(&["config", "show"], None).contains("\nconnections = 5\n"));
    assert!(show(&["config", "show"], Some("6")).contains("\nconnections = 6\n"));
    assert!(show(&["config", "show", "--set", "limits.connections=7"], Some("6")).contains("\nconnections = 7\n"));
}

#[test]
fn an_admin_command_says_which_settings_and_which_database_it_uses() {
    let folder = Folder::new("");
    let commands: [(&[&str], &str); 4] = [
        (&["user", "add", "messi", "--password-stdin"], "x\n"),
        (&["user", "list", "--json"], ""),
        (&["session", "revoke", "--all"], ""),
        (&["db", "verify"], ""),
    ];
    let used = format!("chatd: database {}, settings {}\n", folder.database().display(), folder.settings().display());
    for (arguments, input) in commands {
        let output = folder.run(arguments, input);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains(&used), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_settings_file_in_the_working_directory_that_others_can_write_is_not_used() {
    let folder = Folder::new("");
    folder.add_three();
    // As somebody's directory in which root types a command.
    for (path, mode) in [(folder.path().to_owned(), 0o777), (folder.settings(), 0o666)] {
        let before = fs::metadata(&path).expect("it is there").permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        for arguments in [&["health"][..], &["user", "list"], &["config", "check"], &["db", "backup", "copy"]] {
            let (code, error) = refused(&folder, arguments, "");
            assert_eq!(code, Some(78), "{error}");
            assert!(error.contains("./chat.toml is not used") && error.contains("--config"), "{error}");
        }
        let named = folder.settings();
        folder.done(&["user", "list", "--config", named.to_str().expect("our paths are UTF-8")], "");
        fs::set_permissions(&path, before).expect("it is ours");
    }
    assert!(!folder.path().join("copy").exists());
    folder.done(&["user", "list"], "");
}

#[test]
fn an_empty_chatd_config_counts_as_none() {
    let folder = Folder::new("");
    for arguments in [&["config", "check"][..], &["user", "add", "messi", "--generate"], &["user", "list"]] {
        let output = folder.command(arguments).env("CHATD_CONFIG", "").output().expect("chatd starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}");
        let settings = format!("settings {}", folder.settings().display());
        assert!(arguments[0] == "config" || error.contains(&settings), "{arguments:?}: {error}");
    }
}

#[test]
fn all_mistakes_in_the_settings_are_told_at_once_each_with_its_place() {
    let folder = Folder::new("");
    let mut command = folder.command(&["config", "check", "--set", "limits.connections=0", "--set", "nothing"]);
    command.env("CHATD_SERVER__THREADS", "many").env("CHATD_SESSION__IDLE_EXPIRY", "30");
    let output = command.output().expect("chatd starts");
    assert_eq!(output.status.code(), Some(78));
    let error = String::from_utf8(output.stderr).expect("chatd prints UTF-8");
    let mut mistakes: Vec<&str> = error.lines().collect();
    mistakes.sort_unstable();
    assert_eq!(
        mistakes,
        [
            "chatd: --set limits.connections=0: it must be 1 to 1000000",
            "chatd: --set nothing: want KEY=VALUE",
            "chatd: CHATD_SERVER__THREADS=many: \"many\" is no whole number; it must be 1 to 256",
            "chatd: CHATD_SESSION__IDLE_EXPIRY=30: \"30\" has no unit; write \"30d\"",
        ]
    );
}

/// What `config check` says, a line for each mistake.
fn check(folder: &Folder, more: &[&str]) -> Vec<String> {
    let output = folder.run(&[&["config", "check"], more].concat(), "");
    let error = String::from_utf8(output.stderr).expect("chatd prints UTF-8");
    assert_eq!(output.status.code(), Some(if error.is_empty() { 0 } else { 78 }), "{error}");
    error.lines().map(|line| line.strip_prefix("chatd: ").expect("each line says who speaks").to_owned()).collect()
}

#[test]
fn config_check_finds_all_that_a_start_would_fail_at_and_changes_nothing() {
    let folder = Folder::new("");
    assert_eq!(check(&folder, &[]), [""; 0]);
    let files = || fs::read_dir(folder.path()).expect("it is there").count();
    assert_eq!(files(), 1, "nothing was made");
    folder.add_three();
    let before = files();
    assert_eq!(check(&folder, &[]), [""; 0]);
    assert_eq!(files(), before, "nor beside a database that is there");

    let held = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let taken = held.local_addr().expect("it is bound");
    folder.configure(&format!(
        "[server]\nlisten = \"{taken}\"\ntls_listen = \"{taken}\"\n\
         tls_certificate = \"none.crt\"\ntls_key = \"none.key\"\n\
         [database]\nurl = \"mysql://chat:secret@db/chat\""
    ));
    let found = check(&folder, &[]);
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(found[0].starts_with("server.tls_certificate: none.crt: No such file"), "{found:?}");
    assert!(found[1].starts_with("server.tls_key: none.key: No such file"), "{found:?}");
    let only = "only sqlite://PATH and postgres://USER@HOST/DATABASE are supported";
    assert_eq!(found[2], format!("database.url: mysql://: {only}"), "{found:?}");
    assert!(found[3].starts_with("server.tls_listen: ") && found[4].starts_with("server.listen: "), "{found:?}");

    folder.configure(&format!("[server]\nlisten = \"{taken}\"\n[metrics]\nlisten = \"{taken}\""));
    let in_use = |setting: &str| format!("{setting}: {taken}: Address already in use (os error 98)");
    assert_eq!(check(&folder, &[]), [in_use("metrics.listen"), in_use("server.listen")]);
    drop(held);
    assert_eq!(check(&folder, &[]), [in_use("server.listen")], "two settings with one address");

    // A mistake in the file and one outside it, at once.
    folder.configure("[limits]\nconections = 1");
    fs::write(folder.database(), "x".repeat(5000)).expect("it can be written");
    let found = check(&folder, &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("limits.conections") && found[1].contains("not a database"), "{found:?}");
    assert_eq!(fs::read(folder.database()).expect("it is there"), "x".repeat(5000).as_bytes());
}

#[test]
fn what_a_running_server_has_itself_is_no_mistake() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("it is bound");
    let folder = Folder::new(&format!("[server]\nlisten = \"{port}\""));
    let server = Server::start(&folder);
    assert_eq!(server.address, port);
    assert_eq!(check(&folder, &[]), [""; 0]);
    let other = Folder::new(&format!("[server]\nlisten = \"{port}\""));
    assert_eq!(check(&other, &[]).len(), 1, "it is another's");
    assert_eq!(check(&other, &["--reload"]), [""; 0]);
}

#[test]
fn what_no_retry_mends_ends_a_start_with_78() {
    let folder = Folder::new("");
    folder.add_three();
    let serve = |arguments: &[&str]| {
        let output = folder.run(&[&["serve"], arguments].concat(), "");
        (output.status.code(), folder.complaint(&output))
    };
    let (code, error) = serve(&["--set", "database.url=mysql://chat"]);
    assert_eq!(code, Some(78), "{error}");
    tamper(&folder.database(), "INSERT INTO _sqlx_migrations VALUES (9999, 'x', 0, 1, x'00', 0)");
    let (code, error) = serve(&[]);
    assert_eq!((code, error.contains("schema 9999")), (Some(78), true), "{error}");
    tamper(&folder.database(), "PRAGMA application_id = 1");
    let (code, error) = serve(&[]);
    assert_eq!((code, error.contains("another program")), (Some(78), true), "{error}");
    // Root may write everywhere, so only another can try this; the system test does.
    if !Uid::effective().is_root() {
        fs::set_permissions(folder.database(), fs::Permissions::from_mode(0o400)).expect("it is ours");
        let (code, error) = serve(&[]);
        assert_eq!((code, error.contains("chown")), (Some(78), true), "{error}");
    }
}

/// Only root can be somebody else, so only root can try this.
#[test]
fn config_check_by_root_asks_as_the_owner_of_the_databases_directory() {
    if !Uid::effective().is_root() {
        println!("SKIPPED: only root can give a directory away");
        return;
    }
    let folder = Folder::new("");
    let nobody = 65534;
    std::os::unix::fs::chown(folder.path(), Some(nobody), Some(nobody)).expect("root may");
    fs::set_permissions(folder.settings(), fs::Permissions::from_mode(0o600)).expect("it is ours");
    let named = folder.settings().to_str().expect("it is UTF-8").to_owned();
    assert_eq!(
        check(&folder, &["--config", &named]),
        [format!("{named}: for the service: Permission denied (os error 13)")]
    );
    fs::set_permissions(folder.settings(), fs::Permissions::from_mode(0o644)).expect("it is ours");
    fs::write(folder.database(), "").expect("it can be written");
    fs::set_permissions(folder.database(), fs::Permissions::from_mode(0o600)).expect("it is ours");
    let found = check(&folder, &["--config", &named]);
    assert!(found.len() == 1 && found[0].contains("it belongs to root") && found[0].contains("chown"), "{found:?}");
}

#[test]
fn root_verifies_and_copies_what_another_user_serves_from_a_snapshot() {
    if !Uid::effective().is_root() {
        println!("SKIPPED: only root can start a server as another user");
        return;
    }
    let folder = Folder::new("");
    folder.add_three();
    let nobody = 65534;
    let files = fs::read_dir(folder.path()).expect("it is there").flatten().map(|file| file.path());
    for path in files.filter(|path| *path != folder.settings()).chain([folder.path().to_owned()]) {
        std::os::unix::fs::chown(path, Some(nobody), Some(nobody)).expect("root may");
    }
    let mut serve = folder.command(&["serve"]);
    serve.uid(nobody).gid(nobody);
    let server = Server::start_with(&folder, serve);
    let named = folder.settings().to_str().expect("it is UTF-8").to_owned();
    for arguments in [&["db", "verify"][..], &["db", "backup", "copy"]] {
        let output = folder.run(&[arguments, &["--config", &named]].concat(), "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("is read"), "{arguments:?}: {said}");
    }
    assert_eq!(server.stop(), Some(0));
}
