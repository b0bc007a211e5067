//! Commands are killed at the calls that change a file, and what they leave is whole: as before, or as after.
//! A sample of the calls is tried; `CHATD_CUTS=all` tries each.

use std::collections::BTreeMap;
use std::fs;

use super::tracer::{self, Traced};
use crate::database::{tamper, to_before_migration};
use crate::support::{Folder, SENT, Server, texts};

/// How many cuts are a sample.
const SAMPLE: usize = 12;

/// Everything that lies beside the settings, to be put back before each cut.
struct Saved(BTreeMap<String, Vec<u8>>);

fn files(folder: &Folder) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(folder.path())
        .expect("it is there")
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()) && entry.file_name() != "chat.toml")
}

impl Saved {
    fn of(folder: &Folder) -> Saved {
        let is_kept = |name: &String| !name.ends_with("-shm") && !name.starts_with("log-");
        let kept = files(folder).map(|entry| entry.file_name().into_string().expect("the names are ours"));
        Saved(
            kept.filter(is_kept)
                .map(|name| (name.clone(), fs::read(folder.path().join(name)).expect("it is there")))
                .collect(),
        )
    }

    fn put_back(&self, folder: &Folder) {
        files(folder).for_each(|entry| _ = fs::remove_file(entry.path()));
        for (name, bytes) in &self.0 {
            fs::write(folder.path().join(name), bytes).expect("it can be written");
        }
    }
}

/// The changes to be tried of so many: each, or some from the first to the last.
fn places(changes: usize) -> Vec<usize> {
    if std::env::var("CHATD_CUTS").is_ok_and(|cuts| cuts == "all") || changes <= SAMPLE {
        return (1..=changes).collect();
    }
    (0..SAMPLE).map(|place| 1 + place * (changes - 1) / (SAMPLE - 1)).collect()
}

/// Cuts a command in these places and has a look at what it left, each time from the same beginning.
pub fn sweep(folder: &Folder, arguments: &[&str], look: impl Fn(&str)) {
    sweep_until(folder, arguments, None, look);
}

/// The same of a command that is done when its log says this.
fn sweep_until(folder: &Folder, arguments: &[&str], until: Option<&str>, look: impl Fn(&str)) {
    let saved = Saved::of(folder);
    let path = folder.path().canonicalize().expect("it is there");
    let changes = match tracer::run(&path, arguments, None, until) {
        None => return println!("SKIPPED: killing at a call needs the right to trace"),
        Some(Traced::Ended(changes)) => changes,
        Some(Traced::Cut) => unreachable!("nothing was to be cut"),
    };
    let mut cuts = 0;
    for change in places(changes) {
        saved.put_back(folder);
        // Threads take turns in another order each time, so the last changes may not come.
        if tracer::run(&path, arguments, Some(change), until) == Some(Traced::Cut) {
            look(&format!("{arguments:?} cut at change {change} of {changes}"));
            cuts += 1;
        }
    }
    assert!(cuts > 0, "{arguments:?} was never cut");
    println!("{arguments:?} changes files {changes} times, and was cut in {cuts} places");
}

const ADD_MESSI: [&str; 5] = ["user", "add", "messi", "--if-not-exists", "--generate"];

#[test]
fn a_first_start_that_is_cut_leaves_no_broken_database() {
    let folder = Folder::new("");
    sweep(&folder, &ADD_MESSI, |_| {
        folder.done(&ADD_MESSI, "");
        folder.done(&["db", "verify"], "");
        assert!(!folder.path().join("chat.db.making").exists());
    });
}

#[test]
fn a_first_start_of_a_server_that_is_cut_is_made_up_for_by_the_next() {
    let folder = Folder::new("");
    sweep_until(&folder, &["serve"], Some("listening address"), |place| {
        let server = Server::start(&folder);
        assert_eq!(server.stop(), Some(0), "{place}");
        folder.done(&["db", "verify"], "");
        assert!(!folder.path().join("chat.db.making").exists());
    });
}

#[test]
fn a_database_that_an_interrupted_first_start_left_is_finished() {
    let folder = Folder::new("");
    // As sqlx leaves it before the first migration.
    for sql in [
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP
         NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
    ] {
        fs::File::options().append(true).create(true).open(folder.database()).expect("it can be made");
        tamper(&folder.database(), sql);
    }
    let server = Server::start(&folder);
    assert_eq!(server.stop(), Some(0));
    folder.done(&ADD_MESSI, "");
    folder.done(&["db", "verify"], "");
}

/// As if the newest migrations were still to come.
pub fn to_an_older_schema(folder: &Folder) {
    to_before_migration(&folder.database(), 4);
}

#[test]
fn a_migration_that_is_cut_is_made_up_for() {
    let folder = Folder::new("");
    folder.add_three();
    to_an_older_schema(&folder);
    sweep(&folder, &["db", "migrate"], |_| {
        folder.done(&["db", "migrate"], "");
        assert!(folder.done(&["db", "verify"], "").contains("3 users"));
    });
}

#[test]
fn a_backup_that_is_cut_leaves_a_whole_copy_or_none() {
    let folder = Folder::new("");
    folder.add_three();
    sweep(&folder, &["db", "backup", "copy.db"], |place| {
        if folder.path().join("copy.db").exists() {
            folder.done(&["db", "verify", "copy.db"], "");
        }
        folder.done(&["db", "backup", "next.db"], "");
        let left = files(&folder).find(|entry| entry.file_name().to_string_lossy().contains("unfinished"));
        assert!(left.is_none(), "{place}: {left:?}");
    });
}

#[test]
fn a_restore_that_is_cut_is_finished_or_undone_by_the_next_start_which_says_so() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {token} messi before")), SENT);
    assert!(messi.ask(&format!("sendfile {token} messi foto.txt aGFsbwo=")).contains("File Sent"));
    folder.done(&["db", "backup", "kept.db"], "");
    assert_eq!(messi.ask(&format!("send {token} messi after")), SENT);
    server.kill();
    sweep(&folder, &["db", "restore", "kept.db"], |place| {
        let exists = |suffix: &str| folder.path().join(format!("chat.db{suffix}")).exists();
        let (is_decided, is_begun) = (exists(".restore"), exists(".restoring"));
        let was_done = files(&folder).any(|entry| entry.file_name().to_string_lossy().contains("before-restore"));
        if is_decided {
            // Who only reads does not take half of it for the whole.
            assert!(!folder.run(&["db", "verify"], "").status.success(), "{place}");
        }
        let server = Server::start(&folder);
        let inbox = server.connect().ask(&format!("inbox {token}"));
        let wanted: &[&str] = if is_decided || was_done { &["before", ""] } else { &["before", "", "after"] };
        assert_eq!(texts(&inbox), wanted, "{place}");
        assert!(inbox.contains("\"file_name\": \"foto.txt\", \"file_content\": \"aGFsbwo=\"}"), "{place}: {inbox}");
        let log = server.log();
        match (is_decided, is_begun) {
            (true, _) => assert!(log.contains("interrupted is finished"), "{place}: {log}"),
            (false, true) => assert!(log.contains("interrupted is undone"), "{place}: {log}"),
            (false, false) => assert!(!log.contains("interrupted"), "{place}: {log}"),
        }
        assert_eq!(server.stop(), Some(0));
        folder.done(&["db", "verify"], "");
        assert!(!exists(".restore") && !exists(".restoring"), "{place}");
    });
}

/// A folder with messages, of which two were read.
fn with_messages() -> Folder {
    let folder = Folder::new("[delivery]\nkeep_delivered = \"0s\"");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    for text in ["one", "two"] {
        assert_eq!(messi.ask(&format!("send {token} messi {text}")), SENT);
        assert_eq!(texts(&messi.ask(&format!("inbox {token}"))), [text]);
    }
    assert_eq!(messi.ask(&format!("send {token} lineker unread")), SENT);
    drop(messi);
    assert_eq!(server.stop(), Some(0));
    folder
}

#[test]
fn a_prune_that_is_cut_is_made_up_for() {
    let folder = with_messages();
    sweep(&folder, &["db", "prune"], |place| {
        folder.done(&["db", "verify"], "");
        folder.done(&["db", "prune"], "");
        let said = folder.done(&["db", "verify"], "");
        assert!(said.contains("1 messages, 1 of them unread"), "{place}: {said}");
    });
}

#[test]
fn a_removal_of_an_account_that_is_cut_is_done_or_not_done() {
    let folder = with_messages();
    sweep(&folder, &["user", "remove", "lineker"], |place| {
        let said = folder.done(&["db", "verify"], "");
        let is_there = folder.done(&["user", "list"], "").contains("lineker");
        let unread = if is_there { "1 of them unread" } else { "0 of them unread" };
        assert!(said.contains(unread), "{place}: {said}");
    });
}
