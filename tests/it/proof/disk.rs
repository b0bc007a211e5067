//! A disk that is full, and one that fails: an error is said, never OK and never nothing; what waits can be read; and
//! when there is room again, all works again without a restart.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::OpenFlags;

use super::checker::Crowd;
use super::power::Disk;
use crate::cluster::{Cluster, on};
use crate::room::fill_up;
use crate::support::{Client, Folder, PATIENCE, SENT, Server, texts, unread_on_disk};

const UNAVAILABLE: &str = "{\"status\": \"ERROR\", \"message\": \"the message store is unavailable, try again later\"}";

/// Leaves no more than `left` bytes of the disk.
fn fill(disk: &Disk, left: usize) {
    let mut file = File::create(disk.path.join("filler")).expect("it can be made");
    let block = vec![0; 64 << 10];
    loop {
        match file.write_all(&block) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => break,
            Err(error) => panic!("{error}"),
        }
    }
    let length = file.metadata().expect("it is there").len();
    file.set_len(length.saturating_sub(left as u64)).expect("it is ours");
}

fn make_room(disk: &Disk) {
    std::fs::remove_file(disk.path.join("filler")).expect("it was made");
}

/// How long it takes until this is so.
fn until(mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}

#[test]
fn a_full_disk_takes_nothing_in_and_gives_everything_out() {
    let folder = Folder::new("");
    let Some(disk) = Disk::tmpfs(&folder, 96) else {
        println!("SKIPPED: a small disk needs root");
        return;
    };
    folder.configure(&format!("[database]\n{}\nmin_free_bytes = 16777216", disk.url()));
    folder.add_three();
    let server = Server::start(&folder);
    let (mut client, token) = server.login("messi");
    let send = |client: &mut Client, text: &str| client.ask(&format!("send {token} messi {text}"));
    for i in 0..10 {
        assert_eq!(send(&mut client, &i.to_string()), SENT);
    }
    let reserve = disk.path.join("chat.db.reserve");
    until(|| reserve.metadata().is_ok_and(|file| file.len() == 8 << 20));

    for left in [8 << 20, 0] {
        fill(&disk, left);
        until(|| send(&mut client, "in between") != SENT);
        for _ in 0..5 {
            assert_eq!(send(&mut client, "too late"), UNAVAILABLE);
        }
        let mut reader = server.connect();
        let read = texts(&reader.ask(&format!("inbox {token}")));
        assert_eq!(read.iter().filter(|text| *text != "in between").count(), 10, "{read:?}");
        // That it was read is noted in spite of all: a crash does not bring it back.
        assert!(texts(&reader.ask(&format!("inbox {token}"))).is_empty());
        until(|| unread_on_disk(&disk.path.join("chat.db")) == 0);
        make_room(&disk);
        let took = until(|| send(&mut client, "0") == SENT);
        println!("with {left} bytes left nothing was taken; after there was room again, within {took:?}");
        for i in 1..10 {
            assert_eq!(send(&mut client, &i.to_string()), SENT);
        }
    }
    server.kill();
    let server = Server::start(&folder);
    assert_eq!(texts(&server.connect().ask(&format!("inbox {token}"))).len(), 10);
}

#[test]
fn room_inside_the_database_is_room_for_messages() {
    let folder = Folder::new("");
    let Some(disk) = Disk::tmpfs(&folder, 128) else {
        println!("SKIPPED: a small disk needs root");
        return;
    };
    folder.configure(&format!("[database]\n{}\nmin_free_bytes = 33554432\ntail_messages = 100", disk.url()));
    folder.add_three();
    let server = Server::start(&folder);
    let (mut henderson, other) = server.login("henderson");
    let sent = fill_up(&server);
    let message = format!("send {other} lineker hello");
    assert_eq!(henderson.ask(&message), UNAVAILABLE);
    folder.done(&["db", "prune", "--set", "delivery.keep_delivered=0s"], "");
    let took = until(|| henderson.ask(&message) == SENT);
    println!("{sent} MiB filled the disk; {took:?} after the prune messages were taken again");
    for _ in 0..20 {
        assert_eq!(henderson.ask(&message), SENT);
    }
    assert_eq!(server.stop(), Some(0));
    folder.done(&["db", "verify"], "");
}

#[test]
fn a_disk_that_runs_full_under_load_loses_nothing() {
    let folder = Folder::new("");
    let Some(disk) = Disk::tmpfs(&folder, 64) else {
        println!("SKIPPED: a small disk needs root");
        return;
    };
    // Nothing is refused beforehand: SQLite meets the end of the disk itself.
    folder.configure(&format!("[database]\n{}\ntail_messages = 100", disk.url()));
    let crowd = Crowd::new(&folder, 8);
    let server = Server::start(&folder);
    for _ in 0..3 {
        let work = crowd.work(server.address, 8, 4);
        let before = crowd.acknowledged();
        until(|| crowd.acknowledged() > before + 50);
        fill(&disk, 0);
        let refused = crowd.refused();
        until(|| crowd.refused() > refused + 20);
        make_room(&disk);
        let before = crowd.acknowledged();
        let took = until(|| crowd.acknowledged() > before + 50);
        println!("50 messages were acknowledged {took:?} after there was room again");
        work.stop();
    }
    let sums = crowd.check(&server);
    println!("a disk that ran full three times: {sums}");
    sums.must_hold();
    assert_eq!(server.stop(), Some(0));
    folder.done(&["db", "verify"], "");
}

/// `ulimit -f`, LimitFSIZE=: the signal would end the server, and SQLite takes the error for a failed disk.
#[test]
fn a_file_that_may_not_grow_is_a_full_disk_and_no_end() {
    let folder = Folder::new("[database]\ntail_messages = 16");
    folder.add_three();
    let limited = |blocks: usize| {
        let mut command = Command::new("sh");
        command.current_dir(folder.path());
        let serve = format!("ulimit -f {blocks}; exec \"$0\" serve");
        command.args(["-c", &serve, env!("CARGO_BIN_EXE_chatd")]);
        Server::start_with(&folder, command)
    };
    // Blocks of 512 bytes: the log of SQLite's finds its end first, or later the database does.
    for blocks in [2048, 6144] {
        let server = limited(blocks);
        let (mut client, token) = server.login("messi");
        let text = "x".repeat(10_000);
        let (mut acknowledged, begun) = (0, Instant::now());
        loop {
            match client.ask(&format!("send {token} henderson {text}")) {
                reply if reply == SENT => acknowledged += 1,
                reply => break assert_eq!(reply, UNAVAILABLE),
            }
            assert!(begun.elapsed() < PATIENCE);
        }
        for _ in 0..5 {
            assert_eq!(client.ask(&format!("send {token} henderson {text}")), UNAVAILABLE);
        }
        assert!(client.ask(&format!("history {token} henderson")).contains("xxx"), "what was sent can be read");
        assert_eq!(server.stop(), Some(0));
        // Without the limit all is there, and goes on.
        let server = Server::start(&folder);
        let (mut henderson, token) = server.login("henderson");
        let mut read = 0;
        while read < acknowledged {
            let texts = texts(&henderson.ask(&format!("inbox {token}"))).len();
            assert!(texts > 0, "{read} of {acknowledged}");
            read += texts;
        }
        assert_eq!(read, acknowledged);
        henderson.ask(&format!("inbox {token}"));
        assert_eq!(server.stop(), Some(0));
    }
    folder.done(&["db", "verify"], "");
}

/// `strace`, at work.
struct Strace {
    child: Child,
    failed: JoinHandle<usize>,
}

impl Strace {
    /// Lets every fsync of a process fail, or every one of this file; `None` where it is not installed or not allowed.
    fn let_fsync_fail(server: &Server, of: Option<&Path>) -> Option<Strace> {
        let pid = server.pid().to_string();
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid, "-e", "trace=fsync,fdatasync"]);
        command.args(["-e", "inject=fsync,fdatasync:error=EIO:when=1+"]);
        if let Some(of) = of {
            command.arg("-P").arg(of.canonicalize().expect("it is there"));
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok()?;
        let mut said = BufReader::new(child.stderr.take().expect("it was piped")).lines().map_while(Result::ok);
        if !said.next().expect("it says something").contains("attached") {
            child.wait().expect("it ends");
            return None;
        }
        let failed = thread::spawn(move || said.filter(|line| line.contains("INJECTED")).count());
        Some(Strace { child, failed })
    }

    /// Ends with the server: how many calls failed.
    fn failed(mut self) -> usize {
        self.child.wait().expect("it ends");
        self.failed.join().expect("it counts")
    }
}

#[test]
fn after_a_failed_fsync_nothing_is_acknowledged_and_nothing_is_lost() {
    let folder = Folder::new("");
    let crowd = Crowd::new(&folder, 8);
    let database = folder.database();
    // Of the log, whose fsync the messages wait for, and of the database, which the log is copied to meanwhile.
    for of in [None, Some(&*database)] {
        let mut server = Server::start(&folder);
        let onlooker = rusqlite::Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let onlooker = onlooker.expect("it opens");
        onlooker.query_row("SELECT count(*) FROM user", [], |_| Ok(())).expect("it can be read");
        let work = crowd.work(server.address, 8, 4);
        let before = crowd.acknowledged();
        until(|| crowd.acknowledged() > before + 100);
        let Some(strace) = Strace::let_fsync_fail(&server, of) else {
            println!("SKIPPED: failing system calls need strace and the right to trace");
            return;
        };
        assert_eq!(server.wait(), Some(1), "{}", server.log());
        work.stop();
        assert!(server.log().contains("the disk failed"), "{}", server.log());
        let failed = strace.failed();
        // A second one, and be it at the end, might say that all is well.
        assert!(failed == 1 || of.is_none(), "{failed} calls failed: {}", server.log());
        crowd.server_was_killed();
        drop(server);
        let log = fs::metadata(folder.path().join("chat.db-wal")).expect("the log stays").len();
        // What was copied from it to the database may be lost, and SQLite goes on from there while anybody looks on.
        let refused = folder.run(&["serve"], "");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("process {} has had the database open since", std::process::id())), "{said}");
        folder.add_user(if of.is_none() { "ronaldo" } else { "zidane" }, "Tamu", "");
        assert!(fs::metadata(folder.path().join("chat.db-wal")).expect("the log stays").len() >= log);
        drop(onlooker);
        let server = Server::start(&folder);
        let sums = crowd.check(&server);
        println!("a disk that failed: {sums}");
        sums.must_hold();
        assert_eq!(server.stop(), Some(0));
        folder.done(&["db", "verify"], "");
    }
}

#[test]
fn the_first_answer_after_a_failed_fsync_is_not_ok() {
    let folder = Folder::new("");
    folder.add_three();
    let mut server = Server::start(&folder);
    let (mut client, token) = server.login("messi");
    assert_eq!(client.ask(&format!("send {token} messi kept")), SENT);
    let Some(strace) = Strace::let_fsync_fail(&server, None) else {
        println!("SKIPPED: failing system calls need strace and the right to trace");
        return;
    };
    assert_eq!(client.ask(&format!("send {token} messi unknown")), UNAVAILABLE);
    assert_eq!(server.wait(), Some(1));
    assert!(strace.failed() > 0);
    drop(server);
    let server = Server::start(&folder);
    let kept = texts(&server.connect().ask(&format!("inbox {token}")));
    assert_eq!(kept.first().map(String::as_str), Some("kept"));
}

#[test]
fn a_stop_during_which_the_disk_fails_is_no_success() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut client, token) = server.login("messi");
    assert_eq!(client.ask(&format!("send {token} messi kept")), SENT);
    let Some(strace) = Strace::let_fsync_fail(&server, Some(&folder.database())) else {
        println!("SKIPPED: failing system calls need strace and the right to trace");
        return;
    };
    assert_eq!(server.stop(), Some(1));
    assert_eq!(strace.failed(), 1);
    let server = Server::start(&folder);
    assert_eq!(texts(&server.connect().ask(&format!("inbox {token}"))), ["kept"]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_start_on_a_full_disk_serves_reading_and_says_that_there_is_no_space() {
    let folder = Folder::new("");
    let Some(disk) = Disk::tmpfs(&folder, 96) else {
        println!("SKIPPED: a small disk needs root");
        return;
    };
    folder.configure(&format!("[database]\n{}\nmin_free_bytes = 16777216", disk.url()));
    folder.add_three();
    let server = Server::start(&folder);
    let (mut client, token) = server.login("messi");
    assert_eq!(client.ask(&format!("send {token} messi kept")), SENT);
    until(|| disk.path.join("chat.db.reserve").metadata().is_ok_and(|file| file.len() == 8 << 20));
    folder.done(&["health"], "");
    assert_eq!(server.stop(), Some(0));
    // The second time after a kill, which leaves more files.
    for _ in 0..2 {
        fill(&disk, 0);
        let server = Server::start(&folder);
        assert!(server.log().contains("no space on the disk"), "{}", server.log());
        let mut client = server.connect();
        assert_eq!(client.ask(&format!("send {token} messi never")), UNAVAILABLE);
        assert_eq!(texts(&client.ask(&format!("inbox {token}"))), ["kept"]);
        drop(client);
        let health = folder.run(&["health"], "");
        let said = String::from_utf8_lossy(&health.stderr).into_owned();
        assert_eq!(health.status.code(), Some(1), "{said}");
        assert!(said.contains("no space on the disk: every send is refused"), "{said}");
        make_room(&disk);
        let mut client = server.connect();
        until(|| client.ask(&format!("send {token} messi kept")) == SENT);
        folder.done(&["health"], "");
        assert_eq!(texts(&client.ask(&format!("inbox {token}"))).last().map(String::as_str), Some("kept"));
        server.kill();
    }
}

#[test]
fn a_link_to_a_database_on_a_full_disk_is_no_way_around_it() {
    let folder = Folder::new("");
    let Some(disk) = Disk::tmpfs(&folder, 96) else {
        println!("SKIPPED: a small disk needs root");
        return;
    };
    folder.configure(&format!("[database]\n{}", disk.url()));
    folder.add_three();
    symlink(disk.path.join("chat.db"), folder.database()).expect("it can be made");
    folder.configure("[database]\nmin_free_bytes = 16777216");
    let server = Server::start(&folder);
    let (mut client, token) = server.login("messi");
    let message = format!("send {token} messi x");
    assert_eq!(client.ask(&message), SENT);
    fill(&disk, 8 << 20);
    until(|| client.ask(&message) == UNAVAILABLE);
    let health = folder.run(&["health"], "");
    assert!(String::from_utf8_lossy(&health.stderr).contains("no space on the disk"), "{health:?}");
}

#[test]
fn a_link_on_a_full_disk_to_a_database_elsewhere_keeps_no_message_out() {
    let folder = Folder::new("");
    let Some(disk) = Disk::tmpfs(&folder, 96) else {
        println!("SKIPPED: a small disk needs root");
        return;
    };
    folder.add_three();
    symlink(folder.database(), disk.path.join("chat.db")).expect("it can be made");
    folder.configure(&format!("[database]\n{}\nmin_free_bytes = 16777216", disk.url()));
    fill(&disk, 8 << 20);
    let server = Server::start(&folder);
    let (mut client, token) = server.login("messi");
    assert_eq!(client.ask(&format!("send {token} messi x")), SENT, "{}", server.log());
    folder.done(&["health"], "");
}

#[test]
fn a_full_disk_of_postgres_takes_nothing_in_and_loses_nothing() {
    let Some(cluster) = Cluster::get() else { return };
    let folder = Folder::new("");
    let Some(disk) = Disk::tmpfs(&folder, 64) else {
        println!("SKIPPED: a small disk needs root");
        return;
    };
    // PostgreSQL, which is another user, comes to the disk through it.
    for above in [folder.path(), &disk.path] {
        fs::set_permissions(above, Permissions::from_mode(0o711)).expect("it is ours");
    }
    let url = cluster.database_in(&disk.path);
    folder.configure(&on(&url));
    folder.add_three();
    let server = Server::start(&folder);
    let [(mut messi, m), (mut henderson, h)] = ["messi", "henderson"].map(|name| server.login(name));
    fill(&disk, 4 << 20);
    // PostgreSQL would make one letter a hundred thousand times short.
    let long: String = (0..100_000).map(|_| fastrand::alphanumeric()).collect();
    let mut sent = 0;
    let refused = loop {
        match messi.ask(&format!("send {m} henderson {sent} {long}")) {
            reply if reply == SENT => sent += 1,
            reply => break reply,
        }
        assert!(sent < 1_000, "the disk does not get full");
    };
    assert_eq!(refused, UNAVAILABLE);
    assert!(sent > 0);
    assert!(henderson.ask(&format!("show {h}")).contains("\"OK\""));
    make_room(&disk);
    until(|| messi.ask(&format!("send {m} henderson last")) == SENT);
    let mut got = Vec::new();
    until(|| {
        got.extend(texts(&henderson.ask(&format!("inbox {h}"))));
        got.last().is_some_and(|last| last == "last")
    });
    let wanted: Vec<String> = (0..sent).map(|number| format!("{number} {long}")).chain(["last".to_owned()]).collect();
    assert!(got == wanted, "{} of {}", got.len(), wanted.len());
    drop((messi, henderson));
    assert_eq!(server.stop(), Some(0));
    cluster.remove(&url);
}
