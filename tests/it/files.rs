//! The files of a database: removed, renamed, replaced or linked, in another user's directory, or not there at all.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, Uid, chown, geteuid, mkfifo};

use crate::proof::cut::to_an_older_schema;
use crate::support::{Folder, PATIENCE, SENT, Server, texts};

/// A command ends with this status; gives what it says.
fn refused(folder: &Folder, arguments: &[&str], status: i32) -> String {
    let output = folder.run(arguments, "surabaya\n");
    let said = folder.complaint(&output);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
    said
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with("log-"))
        .collect();
    names.sort();
    names
}

/// What can become of a file.
type Change = (&'static str, fn(&Path));

const CHANGES: [Change; 3] = [
    ("removed", |path| fs::remove_file(path).expect("it is there")),
    ("renamed", |path| fs::rename(path, path.with_extension("away")).expect("it is there")),
    ("replaced", |path| {
        let other = path.with_extension("other");
        fs::copy(path, &other).expect("it is there");
        fs::rename(&other, path).expect("it is there");
    }),
];

#[test]
fn a_database_that_is_removed_renamed_or_replaced_under_a_server_is_noticed() {
    for suffix in ["", "-wal", "-shm"] {
        for (what, change) in CHANGES {
            let folder = Folder::new("");
            folder.add_three();
            let mut server = Server::start(&folder);
            let (mut messi, token) = server.login("messi");
            assert_eq!(messi.ask(&format!("send {token} messi before")), SENT);
            let path = folder.path().join(format!("chat.db{suffix}"));
            change(&path);
            // What goes into a file that nobody finds again is never acknowledged.
            messi.send(format!("send {token} messi after\r\n"));
            let mut reply = String::new();
            let _ = messi.stream.read_to_string(&mut reply);
            assert!(!reply.contains(SENT), "{suffix} {what}: {reply}");
            assert_eq!(server.wait(), Some(1), "{suffix} {what}: {}", server.log());
            let log = server.log();
            assert!(
                log.contains("nothing is acknowledged any more") && log.contains("changed under the server"),
                "{log}"
            );
            assert!(log.contains(&*path.to_string_lossy()), "{suffix} {what}: {log}");
        }
    }
}

#[test]
fn a_server_that_nobody_asks_anything_notices_too() {
    let folder = Folder::new("");
    folder.add_three();
    let mut server = Server::start(&folder);
    fs::rename(folder.database(), folder.path().join("away.db")).expect("it is there");
    assert_eq!(server.wait(), Some(1), "{}", server.log());
    // The WAL was kept, and with its database put back all is there again.
    fs::rename(folder.path().join("away.db"), folder.database()).expect("it is there");
    let server = Server::start(&folder);
    server.login("messi");
    assert_eq!(server.stop(), Some(0));
    folder.done(&["db", "verify"], "");
}

#[test]
fn a_command_beside_a_server_does_not_take_other_files_for_the_servers() {
    let folder = Folder::new("");
    folder.add_three();
    folder.done(&["db", "backup", "whole.db"], "");
    for suffix in ["", "-wal", "-shm"] {
        let server = Server::start(&folder);
        let pid = server.pid();
        // It notices by itself, and soon; here it is held up.
        kill(pid, Signal::SIGSTOP).expect("it runs");
        let path = folder.path().join(format!("chat.db{suffix}"));
        let away = folder.path().join("away");
        fs::rename(&path, &away).expect("it is there");
        for arguments in [&["db", "verify"][..], &["db", "backup", "copy.db"], &["db", "prune"]] {
            let said = refused(&folder, arguments, 1);
            assert!(said.contains(&format!("chat.db{suffix} was removed")), "{arguments:?}: {said}");
            assert!(said.contains(&format!("process {pid} serves it")), "{arguments:?}: {said}");
        }
        assert!(!path.exists() && !folder.path().join("copy.db").exists());
        fs::rename(&away, &path).expect("it is there");
        folder.done(&["db", "verify"], "");
        kill(pid, Signal::SIGCONT).expect("it waits");
        assert_eq!(server.stop(), Some(0));
    }
}

#[test]
fn a_wal_is_not_applied_to_another_database() {
    let folder = Folder::new("");
    folder.add_three();
    folder.done(&["db", "backup", "copy.db"], "");
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {token} messi kept")), SENT);
    server.kill();
    let (copy, away) = (folder.path().join("copy.db"), folder.path().join("away.db"));
    fs::rename(folder.database(), &away).expect("it is there");
    fs::rename(&copy, folder.database()).expect("it is there");
    for _ in 0..2 {
        let said = refused(&folder, &["serve"], 78);
        assert!(said.contains("chat.db-wal is of that one"), "{said}");
    }
    fs::rename(&away, folder.database()).expect("it is there");
    let server = Server::start(&folder);
    assert_eq!(texts(&server.connect().ask(&format!("inbox {token}"))), ["kept"]);
    server.kill();
    // Nor is a WAL without a database a reason to make a new one.
    fs::remove_file(folder.database()).expect("it is there");
    for arguments in [&["serve"][..], &["user", "add", "ronaldo", "--password-stdin"]] {
        let said = refused(&folder, arguments, if arguments == ["serve"] { 78 } else { 1 });
        assert!(said.contains("chat.db-wal is: put it back"), "{said}");
    }
    assert!(!folder.database().exists());
}

/// Who has the database open keeps others from taking the WAL away; a copy that was made under it would lose that lock.
#[test]
fn a_server_that_has_changed_the_schema_keeps_its_wal_when_others_close_the_database() {
    let folder = Folder::new("");
    folder.add_three();
    to_an_older_schema(&folder);
    let server = Server::start(&folder);
    assert!(server.log().contains("was copied before its schema is changed"), "{}", server.log());
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {token} messi kept")), SENT);
    // SQLite's locks on the file: the server loses all of them when it closes any handle of it.
    let (number, inode) = (server.pid().to_string(), folder.database().metadata().expect("it is there").ino());
    let locks = fs::read_to_string("/proc/locks").expect("it can be read");
    let has_lock = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|lock| {
        lock.get(1) == Some(&"POSIX")
            && lock.get(4) == Some(&number.as_str())
            && lock.get(5).is_some_and(|file| file.ends_with(&format!(":{inode}")))
    });
    assert!(has_lock, "the server {number} has no lock of {inode}:\n{locks}");
    let stranger = rusqlite::Connection::open(folder.database()).expect("it is a database");
    stranger.query_row("SELECT count(*) FROM user", [], |_| Ok(())).expect("it can be read");
    stranger.close().expect("nobody else uses it");
    assert!(folder.path().join("chat.db-wal").exists());
    assert_eq!(messi.ask(&format!("send {token} messi after")), SENT);
    assert_eq!(texts(&messi.ask(&format!("inbox {token}"))), ["kept", "after"]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_look_at_the_lock_of_a_server_that_was_killed_keeps_no_other_from_starting() {
    let folder = Folder::new("");
    folder.add_three();
    let path = folder.path().join("chat.db.lock");
    let mut gone = Command::new("true").spawn().expect("it starts");
    gone.wait().expect("it ends");
    fs::write(&path, format!("{}\n", gone.id())).expect("it can be written");
    // As `db verify` and `db backup` look.
    let look = fs::File::open(&path).expect("it is there");
    look.lock_shared().expect("nobody has it");
    let mut command = folder.command(&["serve"]);
    let log = folder.path().join("log-of-this");
    command.stderr(fs::File::create(&log).expect("it can be made"));
    let mut server = command.spawn().expect("it starts");
    let fds = format!("/proc/{}/fd", server.id());
    let has_it = || {
        fs::read_dir(&fds).into_iter().flatten().flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|it| it == path))
    };
    let begun = Instant::now();
    while !has_it() {
        assert!(begun.elapsed() < PATIENCE && server.try_wait().expect("it can be asked").is_none());
        thread::sleep(Duration::from_millis(2));
    }
    drop(look);
    while !fs::read_to_string(&log).expect("it is there").contains("listening address") {
        let said = fs::read_to_string(&log).expect("it is there");
        assert!(begun.elapsed() < PATIENCE && server.try_wait().expect("it can be asked").is_none(), "{said}");
        thread::sleep(Duration::from_millis(2));
    }
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}

#[test]
fn a_mistyped_path_makes_no_database() {
    let folder = Folder::new("");
    let before = names(folder.path());
    for arguments in [
        &["user", "list"][..],
        &["user", "passwd", "messi", "--password-stdin"],
        &["user", "disable", "messi"],
        &["user", "enable", "messi"],
        &["user", "remove", "messi"],
        &["session", "list"],
        &["session", "revoke", "--all"],
        &["db", "backup", "copy.db"],
        &["db", "verify"],
        &["db", "migrate"],
        &["db", "prune"],
    ] {
        let said = refused(&folder, arguments, 1);
        let database = folder.database();
        assert!(
            said.contains(&format!("{}: there is no database here yet", database.display())),
            "{arguments:?}: {said}"
        );
        let elsewhere = [arguments, &["--set", "database.url=sqlite://typo/chat.db"]].concat();
        let output = folder.run(&elsewhere, "surabaya\n");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{elsewhere:?}: {said}");
        let typo = folder.path().join("typo/chat.db");
        assert!(said.contains(&format!("{}: there is no database here yet", typo.display())), "{elsewhere:?}: {said}");
    }
    assert_eq!(names(folder.path()), before);
    // The first account may come before the first server; it is said where.
    let output = folder.run(&["user", "add", "messi", "--password-stdin"], "surabaya\n");
    let made = format!("made a new database, {}", folder.database().display());
    assert!(folder.complaint(&output).contains(&made), "{output:?}");
    let output = folder.run(&["user", "add", "lineker", "--password-stdin"], "surabaya\n");
    assert!(output.status.success() && !folder.complaint(&output).contains("made a new"), "{output:?}");
}

#[test]
fn a_database_that_is_a_link_is_the_file_that_it_leads_to() {
    let folder = Folder::new("");
    folder.add_three();
    let apart = folder.path().join("apart");
    fs::create_dir(&apart).expect("it can be made");
    for name in names(folder.path()).iter().filter(|name| name.starts_with("chat.db")) {
        fs::rename(folder.path().join(name), apart.join(name)).expect("it is there");
    }
    let file = apart.join("chat.db");
    symlink(&file, folder.database()).expect("it can be made");
    fs::hard_link(&file, folder.path().join("hard.db")).expect("it can be made");
    let before = names(folder.path());
    let run = |name: &str, arguments: &[&str]| {
        let url = format!("database.url=sqlite://{}/{name}", folder.path().display());
        folder.run(&[arguments, &["--set", &url]].concat(), "")
    };

    let server = Server::start(&folder);
    assert!(names(&apart).contains(&"chat.db.lock".to_owned()));
    for name in ["apart/chat.db", "hard.db"] {
        let second = run(name, &["serve"]);
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(!second.status.success() && said.contains("in use by another chatd"), "{name}: {said}");
    }
    server.login("messi");
    assert_eq!(server.stop(), Some(0));

    folder.done(&["db", "backup", "copy.db"], "");
    fs::remove_file(folder.path().join("hard.db")).expect("it is there");
    folder.done(&["db", "restore", "copy.db"], "");
    assert!(folder.database().symlink_metadata().expect("it is there").is_symlink());
    assert!(names(&apart).iter().any(|name| name.starts_with("chat.db.before-restore-")));
    let beside_the_link = names(folder.path());
    let new: Vec<_> = beside_the_link.iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(
        new.iter().filter(|name| !name.starts_with("copy.db") && !name.starts_with("hard.db")).count(),
        0,
        "{new:?}"
    );
    assert!(run("apart/chat.db", &["db", "verify"]).status.success());

    fs::remove_file(folder.database()).expect("it is there");
    symlink(folder.path().join("nowhere/chat.db"), folder.database()).expect("it can be made");
    assert!(refused(&folder, &["serve"], 78).contains("a link to a file that is not there"));
}

#[test]
fn links_in_the_place_of_companions_are_not_followed() {
    for is_symbolic in [true, false] {
        let folder = Folder::new("");
        folder.add_three();
        let companion = folder.path().join("chat.db.lock");
        let target = folder.path().join("target");
        fs::write(&target, "precious").expect("it can be written");
        let mode = fs::metadata(&target).expect("it is there").mode();
        fs::remove_file(&companion).expect("it is there");
        let made = if is_symbolic { symlink(&target, &companion) } else { fs::hard_link(&target, &companion) };
        made.expect("it can be made");
        let said = refused(&folder, &["serve"], 1);
        assert!(said.contains("chat.db.lock: ") && said.contains("remove it"), "{said}");
        assert_eq!(fs::read(&target).expect("it is there"), b"precious");
        assert_eq!(fs::metadata(&target).expect("it is there").mode(), mode);
    }
    // Without the reserve a server goes on.
    let folder = Folder::new("[database]\nmin_free_bytes = 1");
    folder.add_three();
    let target = folder.path().join("target");
    fs::write(&target, "precious").expect("it can be written");
    // A command that took its time has made it.
    let reserve = folder.path().join("chat.db.reserve");
    let _ = fs::remove_file(&reserve);
    symlink(&target, &reserve).expect("it can be made");
    let server = Server::start(&folder);
    assert!(server.log().contains("no space could be set aside"), "{}", server.log());
    server.login("messi");
    assert_eq!(fs::read(&target).expect("it is there"), b"precious");
}

/// A pipe without a writer, which would be waited for for ever.
#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let folder = Folder::new("");
    mkfifo(&folder.database(), Mode::S_IRWXU).expect("it can be made");
    for arguments in [&["serve"][..], &["user", "list"], &["db", "verify"], &["user", "add", "messi", "--generate"]] {
        let mut command = folder.command(arguments).stderr(Stdio::piped()).spawn().expect("it starts");
        let begun = Instant::now();
        while command.try_wait().expect("it can be asked").is_none() {
            if begun.elapsed() > PATIENCE {
                command.kill().expect("it runs");
                panic!("{arguments:?} waits for ever");
            }
            thread::sleep(Duration::from_millis(5));
        }
        let output = command.wait_with_output().expect("it has ended");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("not a file"), "{arguments:?}: {said}");
    }
}

#[test]
fn root_does_not_serve_in_a_directory_of_somebody_elses() {
    if !geteuid().is_root() {
        println!("SKIPPED: only root can give a directory away");
        return;
    }
    let folder = Folder::new("");
    folder.add_three();
    let before = names(folder.path());
    let nobody = Uid::from_raw(65_534);
    chown(folder.path(), Some(nobody), None).expect("root may");
    let said = refused(&folder, &["serve", "--config", "chat.toml"], 78);
    assert!(said.contains("root serves only in a directory of root's"), "{said}");
    chown(folder.path(), Some(Uid::from_raw(0)), None).expect("root may");
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("it is ours");
    let said = refused(&folder, &["serve", "--config", "chat.toml"], 78);
    assert!(said.contains("others may write"), "{said}");
    // Nor where anybody may put a file, as in /tmp, nor where the way there is somebody else's.
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).expect("it is ours");
    let said = refused(&folder, &["serve", "--config", "chat.toml"], 78);
    assert!(said.contains("others may write"), "{said}");
    assert_eq!(names(folder.path()), before);
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("it is ours");
    let below = folder.path().join("below");
    fs::create_dir(&below).expect("it can be made");
    chown(folder.path(), Some(nobody), None).expect("root may");
    let url = format!("database.url=sqlite://{}/chat.db", below.display());
    let output = folder.run(&["serve", "--config", "chat.toml", "--set", &url], "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(78) && said.contains("others may rename"), "{said}");
    assert!(names(&below).is_empty());
}

#[test]
fn an_unfinished_backup_is_removed_when_it_is_interrupted_and_by_the_next_one() {
    let folder = Folder::new("");
    folder.add_three();
    // A process that is gone, and one that is not.
    let mut gone = Command::new("true").spawn().expect("it starts");
    gone.wait().expect("it ends");
    let left = format!("earlier.db.unfinished-{}", gone.id());
    let others = [format!("other.db.unfinished-{}", std::process::id()), "notes.unfinished-draft".to_owned()];
    let precious = format!("letter.unfinished-{}", gone.id());
    for name in others.iter().chain([&left]) {
        fs::copy(folder.database(), folder.path().join(name)).expect("it can be written");
    }
    fs::write(folder.path().join(&precious), "Dear Jordan, this is not a database").expect("it can be written");
    folder.done(&["db", "backup", "copy.db"], "");
    let now = names(folder.path());
    assert!(!now.contains(&left) && now.contains(&precious), "{now:?}");
    assert!(others.iter().all(|name| now.contains(name)), "{now:?}");

    // Its writes take long, so that there is time for a signal. Beside a server it writes to the copy alone.
    let server = Server::start(&folder);
    let mut strace = Command::new("strace");
    strace.args([
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=pwrite64",
        "-e",
        "inject=pwrite64:delay_enter=60000000",
    ]);
    strace.arg(env!("CARGO_BIN_EXE_chatd")).args(["db", "backup", "slow.db"]).current_dir(folder.path());
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let Ok(mut child) = strace.spawn() else {
        println!("SKIPPED: a slow disk needs strace");
        return;
    };
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("process numbers are small"));
    let unfinished = folder.path().join(format!("slow.db.unfinished-{pid}"));
    let begun = Instant::now();
    while !unfinished.exists() {
        assert!(begun.elapsed() < PATIENCE, "no copy begins");
        thread::sleep(Duration::from_millis(5));
    }
    kill(pid, Signal::SIGTERM).expect("it runs");
    while unfinished.exists() {
        assert!(begun.elapsed() < PATIENCE, "the unfinished copy stays");
        thread::sleep(Duration::from_millis(5));
    }
    let _ = nix::sys::signal::killpg(pid, Signal::SIGKILL);
    child.wait().expect("it ends");
    assert!(!folder.path().join("slow.db").exists());
    assert_eq!(server.stop(), Some(0));
}
