//! Copies that are interrupted, refused, or find something else than they wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use super::{copy, refused};
use crate::browser::until;
use crate::cluster::{Cluster, on};
use crate::database::{dump_sql, tamper, to_before_migration};
use crate::proof::cut::sweep;
use crate::support::{Folder, PATIENCE, SENT, Server};
use crate::terminal::Terminal;

/// Some messages, read and unread, with the server stopped.
fn some_mail() -> Folder {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    for round in 0..40 {
        assert_eq!(messi.ask(&format!("send {token} lineker  {round} ")), SENT);
        assert_eq!(messi.ask(&format!("send {token} messi  {round} ")), SENT);
    }
    messi.ask(&format!("inbox {token}"));
    messi.ask(&format!("ack {token}"));
    drop(messi);
    assert_eq!(server.stop(), Some(0));
    folder
}

fn path_in(folder: &Folder, name: &str) -> (PathBuf, String) {
    let path = folder.path().join(name);
    (path.clone(), path.display().to_string())
}

/// The tables of a database that have a row.
fn filled(cluster: &Cluster, url: &str) -> String {
    let count = "SELECT count(*) FROM (SELECT FROM account UNION ALL SELECT FROM message UNION ALL SELECT FROM session
        UNION ALL SELECT FROM receipt UNION ALL SELECT FROM mailbox UNION ALL SELECT FROM hand
        UNION ALL SELECT FROM flight UNION ALL SELECT FROM correspondent) AS rows";
    cluster.sql_at(url, count)
}

/// `chatd db copy` under way.
fn begin(folder: &Folder, from: &str, to: &str) -> Child {
    let mut command = folder.command(&["db", "copy", from, to]);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect("chatd starts")
}

fn kill(mut child: Child) {
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

/// Each message takes a moment to be stored.
const SLOW: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN PERFORM pg_sleep(0.05); RETURN new; END$$;
    CREATE TRIGGER slow BEFORE INSERT ON message FOR EACH ROW EXECUTE FUNCTION slow()";
const SLEEPS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
const EMPTY: &str = "TRUNCATE account, session, message, receipt, mailbox, hand, flight, correspondent, push;
    UPDATE head SET last = 0";
const NOBODY: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'chatd'";

#[test]
fn a_copy_to_postgresql_that_is_killed_leaves_nothing_and_the_next_one_works() {
    let Some(cluster) = Cluster::get() else { return };
    let folder = some_mail();
    let url = cluster.database();
    folder.done(&["db", "migrate", "--set", &format!("database.url={url}")], "");
    cluster.sql_at(&url, SLOW);
    let (_, from) = path_in(&folder, "chat.db");
    let child = begin(&folder, &from, &url);
    until(|| cluster.sql_at(&url, SLEEPS) == "1", "no message goes over");
    let error = refused(&folder, &from, &cluster.database());
    assert!(error.contains("in use by another chatd"), "{error}");
    // What is being copied is not changed, and nobody begins to serve it.
    let serve = folder.run(&["serve"], "");
    assert!(folder.complaint(&serve).contains("in use by another chatd"), "{}", folder.complaint(&serve));
    kill(child);
    until(|| cluster.sql_at(&url, NOBODY) == "0", "PostgreSQL goes on");
    assert_eq!(filled(cluster, &url), "0");
    cluster.sql_at(&url, "DROP TRIGGER slow ON message; DROP FUNCTION slow");
    copy(&folder, &from, &url);
    assert_ne!(filled(cluster, &url), "0");
    // The source is as good as before.
    folder.done(&["db", "verify"], "");
    drop(Server::start(&folder));
}

/// Nobody is told what is unread before a file is there, beside the server's data.
const HELD: &str =
    "CREATE OR REPLACE FUNCTION unread_mail(r bigint) RETURNS TABLE (id bigint, target bigint, sender bigint,
        size bigint) LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        WHILE (pg_stat_file('go-' || current_database(), true)).size IS NULL LOOP PERFORM pg_sleep(0.02); END LOOP;
        RETURN QUERY SELECT * FROM real_unread_mail(r);
    END $$";

/// A database on PostgreSQL of which a copy stops before it is told what is unread, when all messages have gone over.
fn held(cluster: &Cluster, folder: &Folder) -> String {
    let url = cluster.database();
    copy(folder, &folder.database().display().to_string(), &url);
    let made = "SELECT pg_get_functiondef('unread_mail'::regproc)";
    let real = cluster.sql_at(&url, made).replace("unread_mail(", "real_unread_mail(");
    cluster.sql_at(&url, &real);
    cluster.sql_at(&url, HELD);
    url
}

fn let_go(cluster: &Cluster, url: &str) {
    let real = "SELECT pg_get_functiondef('real_unread_mail'::regproc)";
    let real = cluster.sql_at(url, real).replace("real_unread_mail(", "unread_mail(");
    cluster.sql_at(url, &real);
}

fn unfinished(folder: &Folder, of: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder.path()).expect("it is there").flatten().map(|entry| entry.path());
    let name = format!("{of}.unfinished-");
    all.filter(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&name))).collect()
}

#[test]
fn a_copy_from_postgresql_that_is_killed_leaves_no_database_and_the_next_one_works() {
    let Some(cluster) = Cluster::get() else { return };
    let folder = some_mail();
    let url = held(cluster, &folder);
    let (back, name) = path_in(&folder, "back.db");
    let child = begin(&folder, &url, &name);
    until(|| cluster.sql_at(&url, SLEEPS) == "1", "no copy comes so far");
    let [half] = &unfinished(&folder, "back.db")[..] else { panic!("nothing is under way") };
    assert_eq!(dump_sql(half, "SELECT count(*) || '' FROM message".to_owned()), ["80"]);
    // Nobody writes to the source meanwhile, nor becomes a node of it.
    let other = Folder::new(&on(&url));
    let mut node = other.command(&["serve"]).stdout(std::process::Stdio::null()).spawn().expect("chatd starts");
    let waits = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        WHERE c.relname = 'node' AND NOT l.granted";
    until(|| cluster.sql_at(&url, waits) == "1", "a node begins while it is copied");
    node.kill().expect("it runs");
    node.wait().expect("it ends");
    kill(child);
    assert!(!back.exists());
    cluster.go(&url);
    until(|| cluster.sql_at(&url, NOBODY) == "0", "PostgreSQL goes on");
    let_go(cluster, &url);
    copy(&folder, &url, &name);
    assert_eq!(unfinished(&folder, "back.db"), [] as [PathBuf; 0]);
    folder.done(&["db", "verify", &name], "");
}

#[test]
fn a_copy_that_is_told_to_stop_removes_what_it_has_made() {
    let Some(cluster) = Cluster::get() else { return };
    let folder = some_mail();
    let url = held(cluster, &folder);
    let (back, name) = path_in(&folder, "back.db");
    let mut child = begin(&folder, &url, &name);
    until(|| cluster.sql_at(&url, SLEEPS) == "1", "no copy comes so far");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("process numbers are small"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert!(!back.exists() && unfinished(&folder, "back.db").is_empty());
    cluster.go(&url);
}

#[test]
fn a_copy_from_postgresql_that_is_cut_leaves_a_whole_database_or_none() {
    let Some(cluster) = Cluster::get() else { return };
    let (folder, url) = (some_mail(), cluster.database());
    copy(&folder, &folder.database().display().to_string(), &url);
    sweep(&folder, &["db", "copy", &url, "back.db"], |place| {
        if folder.path().join("back.db").exists() {
            folder.done(&["db", "verify", "back.db"], "");
        }
        copy(&folder, &url, "next.db");
        folder.done(&["db", "verify", "next.db"], "");
        assert!(unfinished(&folder, "back.db").is_empty() && unfinished(&folder, "next.db").is_empty(), "{place}");
    });
}

#[test]
fn a_copy_to_postgresql_that_is_cut_leaves_all_of_it_or_nothing_and_a_whole_source() {
    let Some(cluster) = Cluster::get() else { return };
    let (folder, url) = (some_mail(), cluster.database());
    folder.done(&["db", "migrate", "--set", &format!("database.url={url}")], "");
    sweep(&folder, &["db", "copy", "chat.db", &url], |place| {
        until(|| cluster.sql_at(&url, NOBODY) == "0", "PostgreSQL goes on");
        folder.done(&["db", "verify"], "");
        // Where there is a part of it, no copy is made.
        if cluster.sql_at(&url, "SELECT NOT EXISTS (SELECT FROM message)") == "t" {
            copy(&folder, "chat.db", &url);
        }
        let unread = "SELECT count(*) FROM hand CROSS JOIN LATERAL unread_mail(account)";
        assert_eq!(cluster.sql_at(&url, "SELECT count(*) FROM message"), "80", "{place}");
        assert_eq!(cluster.sql_at(&url, unread), "40", "{place}");
        cluster.sql_at(&url, EMPTY);
    });
}

#[test]
fn a_row_that_is_not_what_was_written_is_noticed_and_nothing_is_kept() {
    let Some(cluster) = Cluster::get() else { return };
    let folder = some_mail();
    let (_, from) = path_in(&folder, "chat.db");
    for (table, change, what) in [
        ("message", "new.text := 'other'", "the messages are not those of"),
        ("account", "new.disabled := true", "the accounts and groups are not those of"),
        ("session", "new.last_used_at := new.last_used_at + 1", "the sessions and tokens are not those of"),
        ("receipt", "IF new.id = 2 THEN RETURN NULL; END IF", "there are 39 receipts, and 40 in"),
    ] {
        let url = cluster.database();
        folder.done(&["db", "migrate", "--set", &format!("database.url={url}")], "");
        let body = format!("BEGIN {change}; RETURN new; END");
        let trigger = format!(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $${body}$$;
            CREATE TRIGGER spoil BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION spoil()"
        );
        cluster.sql_at(&url, &trigger);
        let error = refused(&folder, &from, &url);
        assert!(error.contains("the copy is not kept, because it differs") && error.contains(what), "{error}");
        assert_eq!(filled(cluster, &url), "0", "{table}");
    }
    // The other way: somebody changes the file that is being made.
    let url = held(cluster, &folder);
    let (back, name) = path_in(&folder, "back.db");
    for (sql, what) in [
        ("UPDATE message SET sent_at = sent_at + 1 WHERE id = 7", "message 7 is not what was written"),
        ("UPDATE user SET display_name = 'other' WHERE id = 1", "the accounts and groups are not those of"),
        ("DELETE FROM session", "there are 0 sessions and tokens, and 1 in"),
        ("DELETE FROM receipt WHERE id = 2", "there are 39 receipts, and 40 in"),
        ("UPDATE sent SET messages = '[]'", "it is not whole"),
    ] {
        let mut command = folder.command(&["db", "copy", &url, &name]);
        let child = thread::spawn(move || command.output().expect("chatd starts"));
        until(|| cluster.sql_at(&url, SLEEPS) == "1", "no copy comes so far");
        let [half] = &unfinished(&folder, "back.db")[..] else { panic!("nothing is under way") };
        tamper(half, sql);
        cluster.go(&url);
        let output = child.join().expect("it ends");
        let error = folder.complaint(&output);
        assert!(error.contains("the copy is not kept") && error.contains(what), "{sql}: {error}");
        assert!(!back.exists() && unfinished(&folder, "back.db").is_empty(), "{sql}");
        cluster.stop_going(&url);
    }
    // A source that contradicts itself is not copied either.
    let_go(cluster, &url);
    cluster.sql_at(&url, "DELETE FROM receipt WHERE id = 2");
    let error = refused(&folder, &url, &name);
    assert!(error.contains("41 unread messages, and 40 in"), "{error}");
    assert!(!back.exists() && unfinished(&folder, "back.db").is_empty());
}

#[test]
fn who_looks_sees_how_far_a_copy_is_and_a_script_does_not() {
    let Some(cluster) = Cluster::get() else { return };
    let folder = some_mail();
    let url = held(cluster, &folder);
    let (_, name) = path_in(&folder, "back.db");
    let mut terminal = Terminal::start(&folder.command(&["db", "copy", &url, &name]));
    terminal.see("copying [");
    until(|| cluster.sql_at(&url, SLEEPS) == "1", "no copy comes so far");
    cluster.go(&url);
    terminal.see("counting what is unread [");
    let (said, _) = terminal.see("to serve it: database.url = \"sqlite://");
    assert!(said.contains("\r\u{1b}[K"), "the bar goes: {said:?}");
    assert_eq!(terminal.end(), Some(0));

    let output = folder.run(&["db", "copy", &url, "other.db"], "");
    assert_eq!((output.status.code(), folder.complaint(&output)), (Some(0), String::new()));
}

#[test]
fn what_is_served_is_not_copied() {
    let Some(cluster) = Cluster::get() else { return };
    let folder = some_mail();
    let (_, from) = path_in(&folder, "chat.db");
    let (empty, url) = (cluster.database(), cluster.database());
    let server = Server::start(&folder);
    let error = refused(&folder, &from, &empty);
    assert!(error.contains("in use by another chatd") && error.contains(&server.pid().to_string()), "{error}");
    assert_eq!(server.stop(), Some(0));
    copy(&folder, &from, &url);

    let node = Folder::new(&on(&url));
    let server = Server::start(&node);
    let (back, name) = path_in(&folder, "back.db");
    let error = refused(&folder, &url, &name);
    assert!(error.contains("in use by another chatd") && error.contains(&server.pid().to_string()), "{error}");
    assert!(!back.exists() && !folder.path().join("back.db.lock").exists());
    assert_eq!(server.stop(), Some(0));
    copy(&folder, &url, &name);

    // A server on the empty target is in the way, too, and one that was killed counts as alive for five seconds.
    let node = Folder::new(&on(&empty));
    let server = Server::start(&node);
    assert!(refused(&folder, &from, &empty).contains("in use by another chatd"));
    server.kill();
    let begun = Instant::now();
    while !folder.run(&["db", "copy", &from, &empty], "").status.success() {
        assert!(begun.elapsed() < PATIENCE, "it is never free");
        thread::sleep(Duration::from_millis(200));
    }
}

/// A server that was killed has left its newest messages in the WAL, and some that are not indexed.
#[test]
fn what_a_killed_server_has_left_is_copied_whole() {
    let Some(cluster) = Cluster::get() else { return };
    let folder = some_mail();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    for round in 0..5 {
        assert_eq!(messi.ask(&format!("send {token} henderson  {round} ")), SENT);
    }
    server.kill();
    let (url, (_, from)) = (cluster.database(), path_in(&folder, "chat.db"));
    copy(&folder, &from, &url);
    assert_eq!(cluster.sql_at(&url, "SELECT count(*) FROM message"), "85");
    let first = "SELECT first_id FROM correspondent WHERE recipient = 2";
    assert_eq!(cluster.sql_at(&url, first), "81", "it is only in the message log");
    let (_, name) = path_in(&folder, "back.db");
    copy(&folder, &url, &name);
    folder.done(&["db", "verify", &name], "");
}

#[test]
fn what_cannot_be_copied_is_said_with_its_remedy() {
    let folder = some_mail();
    let (_, from) = path_in(&folder, "chat.db");
    let nowhere = "postgres://chat:secret@127.0.0.1:1/chat";
    for (source, target, said) in [
        ("mysql://chat@db/chat", from.as_str(), "name a file, sqlite:///PATH or postgres://USER@HOST/DATABASE"),
        ("sqlite:chat.db", nowhere, "name a file, sqlite:///PATH or postgres://USER@HOST/DATABASE"),
        (from.as_str(), "other.db", "both are SQLite: `chatd db backup FILE`"),
        (nowhere, "postgres://db/chat", "both are PostgreSQL, which has its own tools"),
        ("nothing.db", nowhere, "there is no such database"),
        (from.as_str(), nowhere, "postgres://chat@127.0.0.1:1/chat: PostgreSQL: "),
        (nowhere, "new.db", "it must run, and the database and its user must be there"),
    ] {
        let error = refused(&folder, source, target);
        assert!(error.contains(said) && !error.contains("secret"), "{source} {target}: {error}");
    }
    assert!(!folder.path().join("new.db").exists() && !folder.path().join("other.db").exists());

    let Some(cluster) = Cluster::get() else { return };
    let (full, empty) = (cluster.database(), cluster.database());
    copy(&folder, &from, &full);
    let error = refused(&folder, &from, &full);
    assert!(error.contains("there are accounts or messages in it already") && error.contains("createdb"), "{error}");
    let error = refused(&folder, &full, &from);
    assert!(error.contains("there is such a file already") && error.contains("name a new one"), "{error}");
    assert!(refused(&folder, &empty, "new.db").contains("there is no database of chatd's in it"));
    cluster.sql_at(&full, "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 6");
    assert!(refused(&folder, &full, "new.db").contains("schema 9999, this chatd knows up to 6: install a newer chatd"));
    cluster.sql_at(&full, "DELETE FROM _sqlx_migrations WHERE version > 4");
    assert!(refused(&folder, &full, "new.db").contains("chatd db migrate"));
    assert!(!folder.path().join("new.db").exists());

    damaged_and_old(&folder, &from, &empty);
}

/// Sources of SQLite that are not as they should be.
fn damaged_and_old(folder: &Folder, from: &str, empty: &str) {
    let whole = fs::read(folder.database()).expect("it is there");
    let at = Path::new(from);
    tamper(at, "UPDATE message SET text = 'other' WHERE id = 9");
    let error = refused(folder, from, empty);
    assert!(error.contains("message 9 is damaged: `chatd db verify` names all"), "{error}");
    fs::write(at, &whole).expect("it can be written");
    tamper(at, "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 14");
    assert!(refused(folder, from, empty).contains("install a newer chatd"));
    fs::write(at, &whole).expect("it can be written");
    to_before_migration(at, 8);
    let error = refused(folder, from, empty);
    assert!(error.contains("has schema 7") && error.contains("chatd db migrate"), "{error}");
}
