//! Copies of the database: whole under load, verified, put back; and what is said of one that is damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use chatd::internals::repository::sqlite::verify::verify;
use chatd::internals::repository::{FileRepository, NewFile, Repository};
use chatd::model::{FileName, FileSpelling};
use ring::digest::{SHA256, digest};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::group_store::{add_group, join, send_to};
use crate::repository::{OPTIONS, add_users, message, open, quick_folder, send};
use crate::stores::run;
use crate::support::{EMPTY, Folder, SENT, Server, texts};

fn refused(folder: &Folder, arguments: &[&str]) -> String {
    let output = folder.run(arguments, "");
    let error = folder.complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// Runs SQL on a database file that nobody has open.
pub fn tamper(database: &Path, sql: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it can be built");
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database).foreign_keys(false);
        let mut connection: SqliteConnection = options.connect().await.expect("it is a database");
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("it is SQL");
        connection.close().await.expect("it closes");
    });
}

/// What takes each migration back, the newest first.
const BACK: [(i64, &str); 12] = [
    (15, "DROP INDEX membership_of_group_now; DROP INDEX membership_of_member_now"),
    (14, "DROP TABLE invite"),
    (
        13,
        "ALTER TABLE session DROP COLUMN label; ALTER TABLE session DROP COLUMN scope;
            ALTER TABLE session DROP COLUMN target; ALTER TABLE user DROP COLUMN administrator",
    ),
    (
        12,
        "DROP INDEX message_file; DROP INDEX message_with_file; ALTER TABLE message DROP COLUMN file;
         ALTER TABLE message DROP COLUMN attached; DROP TABLE file_piece; DROP TABLE file",
    ),
    (11, "DROP TRIGGER push_session_ended; DROP TABLE push; DROP TABLE push_key"),
    (10, "DROP TABLE send_key"),
    (9, "DROP TABLE sent; DROP INDEX pair_high"),
    (
        8,
        "DROP TABLE membership; DROP TABLE missed; DROP TABLE read_ahead; ALTER TABLE user DROP COLUMN owner;
         ALTER TABLE message RENAME COLUMN target TO recipient",
    ),
    (7, "DROP TABLE clock; DROP TABLE clock_jump"),
    (6, "DROP TABLE stored; DROP TABLE removed"),
    (5, "ALTER TABLE message DROP COLUMN checksum; ALTER TABLE mail DROP COLUMN checksum; DROP TABLE unchecked"),
    (4, "DROP TABLE conversation; DROP TABLE pair"),
];

/// Makes of a database what the chatd before the migration `first` would have left.
pub fn to_before_migration(database: &Path, first: i64) {
    BACK.iter().filter(|(version, _)| *version >= first).for_each(|(_, sql)| tamper(database, sql));
    let forget = match first {
        4 => "DELETE FROM _sqlx_migrations WHERE version >= 4",
        5 => "DELETE FROM _sqlx_migrations WHERE version >= 5",
        8 => "DELETE FROM _sqlx_migrations WHERE version >= 8",
        _ => panic!("no test needs a database from before migration {first}"),
    };
    tamper(database, forget);
}

fn path(folder: &Folder, name: &str) -> (PathBuf, String) {
    let path = folder.path().join(name);
    (path.clone(), path.to_str().expect("it is UTF-8").to_owned())
}

/// A group of 40 has 60 texts of 8 KiB unread: half a megabyte, and 19 if each of them had its own.
#[test]
fn a_check_writes_no_text_for_each_member_of_a_group() {
    let folder = Folder::new("");
    run(async {
        let repository = open(folder.path(), &OPTIONS).await;
        let users = add_users(&repository, 40).await;
        let group = add_group(&repository, "team", users[0]).await;
        for user in &users[1..] {
            join(&repository, group, *user).await;
        }
        for _ in 0..60 {
            send_to(&repository, users[0], group, &"x".repeat(8 << 10)).await;
        }
        repository.close().await.expect("it closes");
    });
    let mut command = Command::new("sh");
    // Blocks of 512 bytes.
    let verify = "ulimit -f 8192; exec \"$0\" db verify";
    command.current_dir(folder.path()).args(["-c", verify, env!("CARGO_BIN_EXE_chatd")]);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{:?}: {}", output.status, folder.complaint(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("60 messages, 60 of them unread"), "{output:?}");
}

#[test]
fn a_backup_under_load_has_every_message_acknowledged_before_it_began() {
    let folder = Folder::new("[delivery]\nreply_bytes = 100000000");
    folder.add_three();
    let server = Server::start(&folder);
    let (_, lineker) = server.login("lineker");
    let (sent, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (copy, name) = path(&folder, "copy.db");
    let (mut messi, token) = server.login("messi");
    let acknowledged = thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 0;
            while !done.load(Ordering::Relaxed) {
                // Several in one go, so that there is always something in the writer's hands.
                let requests: String = (0..50).map(|i| format!("send {token} lineker  {} \r\n", next + i)).collect();
                messi.send(requests);
                for _ in 0..50 {
                    assert_eq!(messi.receive(), SENT);
                    next += 1;
                    sent.store(next, Ordering::SeqCst);
                }
            }
        });
        while sent.load(Ordering::SeqCst) < 2000 {
            thread::yield_now();
        }
        let acknowledged = sent.load(Ordering::SeqCst);
        folder.done(&["db", "backup", &name], "");
        done.store(true, Ordering::Relaxed);
        acknowledged
    });
    assert!(sent.load(Ordering::SeqCst) > acknowledged, "the load went on during the backup");
    assert_eq!(fs::metadata(&copy).expect("it was made").permissions().mode() & 0o777, 0o600);
    assert!(folder.done(&["db", "verify", &name], "").contains(": OK: schema "));
    assert!(folder.done(&["db", "verify"], "").contains("chat.db: OK: schema "), "the one in use is whole, too");
    drop(server);

    let other = Folder::new("[delivery]\nreply_bytes = 100000000");
    let said = other.done(&["db", "restore", &name], "");
    assert!(said.contains("3 users, 2 sessions"), "{said}");
    let server = Server::start(&other);
    let texts = texts(&server.connect().ask(&format!("inbox {lineker}")));
    assert!(texts.len() >= acknowledged, "{} of {acknowledged}", texts.len());
    assert!(texts.iter().enumerate().all(|(i, text)| *text == i.to_string()), "in order and without a gap");
}

#[test]
fn a_backup_overwrites_nothing() {
    let folder = Folder::new("");
    let (copy, name) = path(&folder, "copy.db");
    assert!(refused(&folder, &["db", "backup", &name]).contains("there is no database here yet"));
    folder.add_three();
    fs::write(&copy, "precious").expect("it can be written");
    assert!(refused(&folder, &["db", "backup", &name]).contains("there is such a file already"));
    assert_eq!(fs::read(&copy).expect("it is there"), b"precious");
    assert!(refused(&folder, &["db", "backup", "/nowhere/copy.db"]).contains("/nowhere/copy.db"));
    let left = fs::read_dir(folder.path()).expect("it is there").flatten();
    assert!(!left.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().contains("unfinished")));
}

#[test]
fn a_restore_keeps_what_was_there_and_waits_for_no_server() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {token} messi  before ")), SENT);
    let (_, name) = path(&folder, "copy.db");
    folder.done(&["db", "backup", &name], "");
    assert_eq!(messi.ask(&format!("send {token} messi  after ")), SENT);
    let error = refused(&folder, &["db", "restore", &name]);
    assert!(error.contains("in use by another chatd") && error.contains(&server.pid().to_string()), "{error}");
    server.kill();

    let said = folder.done(&["db", "restore", &name], "");
    let aside = said.lines().last().and_then(|line| line.strip_prefix("the former database is ")).expect("it is told");
    let server = Server::start(&folder);
    assert_eq!(texts(&server.connect().ask(&format!("inbox {token}"))), ["before"]);
    drop(server);
    // What was killed had not written all into the file: its log was kept with it.
    fs::rename(format!("{aside}-wal"), folder.path().join("chat.db-wal")).expect("the log was kept");
    fs::rename(aside, folder.database()).expect("it was kept");
    let server = Server::start(&folder);
    assert_eq!(texts(&server.connect().ask(&format!("inbox {token}"))), ["before", "after"]);
}

#[test]
fn what_is_no_whole_copy_is_not_restored() {
    let folder = Folder::new("");
    folder.add_three();
    let (copy, name) = path(&folder, "copy.db");
    folder.done(&["db", "backup", &name], "");
    let whole = fs::read(&copy).expect("it was made");
    let before = folder.done(&["user", "list"], "");

    // The checksum would tell of all of it; a copy may have been parted from its.
    fs::remove_file(folder.path().join("copy.db.sha256")).expect("it was made");
    fs::write(&copy, &whole[..whole.len() / 2]).expect("it can be written");
    assert!(refused(&folder, &["db", "restore", &name]).contains("truncated"));
    fs::write(&copy, "not at all").expect("it can be written");
    assert!(refused(&folder, &["db", "restore", &name]).contains("not a database"));
    fs::write(&copy, &whole).expect("it can be written");
    fs::write(folder.path().join("copy.db-wal"), "more").expect("it can be written");
    assert!(refused(&folder, &["db", "restore", &name]).contains("copy.db-wal"));
    assert_eq!(folder.done(&["user", "list"], ""), before);
    assert!(!folder.path().join("chat.db.restoring").exists());
}

#[test]
fn each_flipped_bit_of_a_backup_is_found_by_verify_and_restore() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    for i in 0..20 {
        assert_eq!(messi.ask(&format!("send {token} lineker  {} ", format!("\u{e9}{i}").repeat(100))), SENT);
    }
    assert_eq!(server.stop(), Some(0));
    let (copy, name) = path(&folder, "copy.db");
    folder.done(&["db", "backup", &name], "");
    assert!(folder.done(&["db", "verify", &name], "").contains("each byte is as it was copied"));
    let sum = Command::new("sha256sum").args(["-c", "--quiet", "copy.db.sha256"]).current_dir(folder.path()).status();
    assert!(sum.expect("it is installed").success(), "the usual tool reads it, too");

    let whole = fs::read(&copy).expect("it was made");
    let before = folder.done(&["user", "list"], "");
    let mut found = 0;
    for place in 0..60 {
        let mut spoilt = whole.clone();
        let at = (place * 2_654_435_761_usize) % whole.len();
        spoilt[at] ^= 1 << (place % 8);
        fs::write(&copy, &spoilt).expect("it can be written");
        found += usize::from(refused(&folder, &["db", "verify", &name]).contains("copy.db.sha256"));
        if place % 10 == 0 {
            assert!(refused(&folder, &["db", "restore", &name]).contains("copy.db.sha256"));
        }
    }
    assert_eq!(found, 60, "of 60 flipped bits");
    assert_eq!(folder.done(&["user", "list"], ""), before);
    fs::write(&copy, &whole).expect("it can be written");
    folder.done(&["db", "restore", &name], "");
    // Without its checksum, that is said.
    fs::remove_file(folder.path().join("copy.db.sha256")).expect("it was made");
    assert!(folder.done(&["db", "verify", &name], "").contains("there is no checksum beside it"));
    fs::write(folder.path().join("copy.db.sha256"), "none").expect("it can be written");
    assert!(refused(&folder, &["db", "restore", &name]).contains("does not begin with a SHA-256"));
}

#[test]
fn damage_is_named() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    for _ in 0..3 {
        assert_eq!(messi.ask(&format!("send {token} lineker  unread ")), SENT);
    }
    assert_eq!(messi.ask(&format!("inbox {token}")), EMPTY);
    assert_eq!(server.stop(), Some(0));
    let said = folder.done(&["db", "verify"], "");
    assert!(said.contains("3 users, 1 sessions, 3 messages, 3 of them unread"), "{said}");

    let whole = fs::read(folder.database()).expect("it is there");
    for (sql, complaint) in [
        ("INSERT INTO receipt VALUES (99, 0)", "1 receipts are of no message"),
        ("UPDATE mail SET messages = messages || ' '", "1 rows of the index are damaged, of the runs"),
        ("UPDATE sent SET messages = '[1,2,3 ]'", "1 rows of the index of what was sent are damaged, of the runs"),
        ("UPDATE session SET user = 77", "session 1 refers to a user that is not there"),
        ("DROP INDEX user_folded", "index user_folded is missing"),
        ("CREATE TABLE other (x)", "table other is not chatd's"),
    ] {
        fs::write(folder.database(), &whole).expect("it can be written");
        tamper(&folder.database(), sql);
        let error = refused(&folder, &["db", "verify"]);
        assert!(error.contains(complaint), "{sql}: {error}");
    }
    let middle = whole.len() / 2;
    let mut spoilt = whole.clone();
    spoilt[middle..middle + 8192].fill(0xA5);
    fs::write(folder.database(), &spoilt).expect("it can be written");
    assert!(refused(&folder, &["db", "verify"]).contains("chat.db"));
    fs::write(folder.database(), &whole).expect("it can be written");
    folder.done(&["db", "verify"], "");
}

/// What contradicts itself, and what is said of it, with how often; on a database with mail, a group and a file.
const CONTRADICTIONS: [(&str, &str); 17] = [
    ("DELETE FROM mail", "4 messages are missing in the index"),
    ("UPDATE mail SET messages = '[[1,1000,4]]'", "2 entries of the index are in the wrong run"),
    ("DELETE FROM sent", "4 messages are missing in the index of what was sent"),
    ("DELETE FROM conversation", "4 messages are missing in the index of conversations"),
    ("DELETE FROM conversation WHERE low = high", "1 messages are missing in the index of what was written to groups"),
    (
        "UPDATE membership SET read_to = since - 1",
        "2 members are in a group twice at once, or have read what they cannot have got",
    ),
    ("UPDATE membership SET grp = 1", "2 members are in a group twice at once, or have read what they cannot have got"),
    ("DELETE FROM pair", "3 parts of conversations are not found from the latest on"),
    ("INSERT INTO receipt VALUES (99, 0)", "1 receipts are of no message"),
    ("UPDATE mailbox SET messages = 9", "1 mailboxes count other unread mail than there is"),
    ("DELETE FROM mailbox", "1 mailboxes count other unread mail than there is"),
    ("DELETE FROM message WHERE id = 2", "1 mailboxes count other unread mail than there is"),
    ("UPDATE stored SET messages = messages + 1", "1 accounts have other messages stored than is counted"),
    ("DELETE FROM correspondent", "1 correspondents are unknown"),
    ("UPDATE file SET bytes = 2", "1 messages bring files of another size than they are charged for"),
    ("DELETE FROM file_piece", "1 files that messages bring are not there as a whole"),
    ("UPDATE sqlite_sequence SET seq = 1", "3 messages have a number that is still to be given out"),
];

#[test]
fn every_contradiction_for_which_a_database_is_searched_is_found() {
    let folder = quick_folder();
    let database = folder.path().join("chat.db");
    run(async {
        let repository = open(folder.path(), &OPTIONS).await;
        let users = add_users(&repository, 2).await;
        send(&repository, users[0], users[1], "one").await;
        send(&repository, users[0], users[1], "two").await;
        let group = add_group(&repository, "team", users[0]).await;
        join(&repository, group, users[1]).await;
        send_to(&repository, users[0], group, "all").await;
        let name = FileName::parse("a.txt").expect("it is a name");
        let new = NewFile { sender: users[0], name, spelling: FileSpelling::Plain, bytes: 1, sha256: [0; 32] };
        let file = repository.add_file(new).await.expect("the store works");
        repository.add_file_piece(file, 0, b"x"[..].into()).await.expect("the store works");
        let sum = digest(&SHA256, b"x").as_ref().try_into().expect("it has 32 bytes");
        repository.finish_file(file, 1, sum).await.expect("the store works");
        let messages = [message(users[0], users[1], "")].into();
        repository.send_file(messages, file, 1).await.expect("the store works");
        repository.close().await.expect("it closes");
        verify(&database, &OPTIONS).await.expect("it is whole");
    });
    let whole = fs::read(&database).expect("it is there");
    for (sql, complaint) in CONTRADICTIONS {
        fs::write(&database, &whole).expect("it can be written");
        tamper(&database, sql);
        let found = run(verify(&database, &OPTIONS)).expect_err(sql).to_string();
        let is_said = found.split(['.', ':', ';']).any(|part| part.trim() == complaint);
        assert!(is_said, "{sql}: {found}");
    }
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/repository/sqlite/verify.rs"));
    let source = source.expect("it can be read");
    let (_, searched) = source.split_once("const MUST_BE_NONE").expect("it is there");
    let (searched, _) = searched.split_once("\n];").expect("it ends");
    // Statements begin with a capital or a comma.
    let complaints = searched.split('"').skip(1).step_by(2).filter(|text| text.starts_with(char::is_lowercase));
    let complaints: Vec<&str> = complaints.collect();
    assert!(complaints.len() > 10, "{complaints:?}");
    for complaint in complaints {
        assert!(CONTRADICTIONS.iter().any(|(_, known)| known.ends_with(complaint)), "it has no case: {complaint}");
    }
}

#[test]
fn a_database_is_copied_before_it_is_migrated() {
    let folder = Folder::new("");
    folder.add_three();
    // As a database of an older chatd: then the migration, which finds its tables there, must fail.
    tamper(&folder.database(), "DELETE FROM _sqlx_migrations");
    for copy in ["chat.db.schema-0", "chat.db.schema-0-2"] {
        assert!(refused(&folder, &["db", "migrate"]).contains("migration failed"));
        let kept = folder.path().join(copy);
        assert_eq!(fs::metadata(&kept).expect("the copy was made").permissions().mode() & 0o777, 0o600);
        let said = folder.done(&["db", "verify", kept.to_str().expect("it is UTF-8")], "");
        assert!(said.contains("schema 0, 3 users"), "{said}");
    }
}

/// A database from before the index of conversations gets it with the migration.
#[test]
fn conversations_that_are_older_than_their_index_are_found() {
    let folder = Folder::new("");
    folder.add_three();
    for round in 0..3 {
        let server = Server::start(&folder);
        let [(mut messi, messis), (mut lineker, linekers)] = ["messi", "lineker"].map(|name| server.login(name));
        assert_eq!(messi.ask(&format!("send {messis} lineker  {round} ")), SENT);
        assert_eq!(lineker.ask(&format!("send {linekers} messi  {round} ")), SENT);
        if round == 1 {
            assert_eq!(messi.ask(&format!("send {messis} henderson  {round} ")), SENT);
        }
        assert_eq!(server.stop(), Some(0));
    }
    let index = |table: &str| dump(&folder.database(), table);
    let grown = ["conversation", "pair", "sent"].map(index);
    to_before_migration(&folder.database(), 4);
    folder.done(&["db", "migrate"], "");
    folder.done(&["db", "verify"], "");
    let made = ["conversation", "pair", "sent"].map(index);
    assert_eq!((&made[0], &made[2]), (&grown[0], &grown[2]));
    assert_eq!(made[0].len(), 4);
    assert_eq!(made[1].len(), grown[1].len());
}

/// The rows of a table, each as JSON.
fn dump(database: &Path, table: &str) -> Vec<String> {
    let sql = match table {
        "conversation" => "SELECT json_array(run, low, high, messages, earlier) FROM conversation",
        "sent" => "SELECT json_array(run, sender, messages) FROM sent",
        _ => "SELECT json_array(low, high, latest) FROM pair",
    };
    dump_sql(database, sql.to_owned())
}

/// The texts that a query gives, asked on a thread of its own, so that any test may.
pub fn dump_sql(database: &Path, sql: String) -> Vec<String> {
    let database = database.to_owned();
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database).read_only(true);
            let mut database = options.connect().await.expect("it is a database");
            let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut database).await;
            rows.expect("it can be read")
        })
    });
    asked.join().expect("it is SQL")
}

#[test]
fn a_migration_waits_for_no_server_and_says_when_there_is_nothing_to_do() {
    let folder = Folder::new("");
    folder.add_three();
    assert!(folder.done(&["db", "migrate"], "").contains("the schema is up to date"));
    assert!(!folder.path().join("chat.db.schema-1").exists(), "nothing was to be migrated");
    let server = Server::start(&folder);
    tamper(&folder.database(), "DELETE FROM _sqlx_migrations");
    assert!(refused(&folder, &["db", "migrate"]).contains(&server.pid().to_string()));
}

#[test]
fn prune_removes_what_was_read_and_nothing_else() {
    let folder = Folder::new("[delivery]\nkeep_delivered = \"0s\"");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    for text in ["one", "two"] {
        messi.ask(&format!("send {token} messi  {text} "));
        assert_eq!(texts(&messi.ask(&format!("inbox {token}"))), [text]);
    }
    assert_eq!(messi.ask(&format!("send {token} lineker  unread ")), SENT);
    drop(messi);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(folder.done(&["db", "prune"], ""), "2 messages removed\n");
    let said = folder.done(&["db", "verify"], "");
    assert!(said.contains("1 messages, 1 of them unread"), "{said}");
}

/// On a small server nothing is indexed for weeks, and what was read must go all the same.
#[test]
fn prune_removes_what_was_read_beside_a_server_that_has_indexed_nothing() {
    let folder = Folder::new("");
    folder.add_three();
    let forget = ["db", "prune", "--set", "delivery.keep_delivered=0s"];
    let mut server = Server::start(&folder);
    for is_after_a_crash in [false, true] {
        let (mut messi, token) = server.login("messi");
        for text in ["one", "two"] {
            assert_eq!(messi.ask(&format!("send {token} messi  {text} ")), SENT);
        }
        assert_eq!(texts(&messi.ask(&format!("inbox {token}"))), ["one", "two"]);
        assert!(messi.ask(&format!("ack {token}")).contains("Acknowledged"));
        if is_after_a_crash {
            server.kill();
            server = Server::start(&folder);
            messi = server.connect();
        }
        assert_eq!(folder.done(&forget, ""), "2 messages removed\n", "after a crash: {is_after_a_crash}");
        let history = messi.ask(&format!("history {token} messi"));
        assert_eq!(history, "{\"status\": \"OK\", \"history\": []}");
    }
    assert_eq!(server.stop(), Some(0));
    folder.done(&["db", "verify"], "");
}
