//! Room that one user has taken goes back to the disk: beside a server, without anybody who waits for it; and from a
//! database of an older chatd once no server runs.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chatd::internals::repository::{Pace, Repository};
use chatd::model::Timestamp;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::database::tamper;
use crate::proof::power::Disk;
use crate::repository::{ALL, OPTIONS, add_users, lease, message, open, quick_folder, send, settle};
use crate::support::{Folder, PATIENCE, SENT, Server};

const FORGET: [&str; 2] = ["--set", "delivery.keep_delivered=0s"];

fn prune(folder: &Folder, arguments: &[&str]) -> String {
    folder.done(&[&["db", "prune"], arguments, &FORGET].concat(), "")
}

/// Sends so many MiB to oneself and reads them.
fn fill(server: &Server, mebibytes: usize) {
    let (mut messi, token) = server.login("messi");
    let text = "x".repeat(1 << 20);
    for _ in 0..mebibytes {
        assert_eq!(messi.ask(&format!("send {token} messi {text}")), SENT);
        messi.ask(&format!("inbox {token}"));
        messi.ask(&format!("ack {token}"));
    }
}

fn length(folder: &Folder) -> u64 {
    fs::metadata(folder.database()).expect("it is there").len()
}

#[test]
fn prune_says_what_room_is_free_and_gives_it_back_beside_a_server_that_goes_on() {
    let folder = Folder::new("[database]\ntail_messages = 16");
    folder.add_three();
    let server = Server::start(&folder);
    fill(&server, 48);
    let said = prune(&folder, &[]);
    assert!(said.contains("MiB are free inside the database") && said.contains("--compact"), "{said}");
    let (mut lineker, token) = server.login("lineker");
    let mut send = || {
        let begun = Instant::now();
        assert_eq!(lineker.ask(&format!("send {token} henderson hello")), SENT);
        begun.elapsed()
    };
    let quiet: Vec<Duration> = (0..300).map(|_| send()).collect();
    let done = AtomicBool::new(false);
    let mut meanwhile = Vec::new();
    let said = thread::scope(|scope| {
        let compacting = scope.spawn(|| {
            let said = prune(&folder, &["--compact"]);
            done.store(true, Ordering::SeqCst);
            said
        });
        while !done.load(Ordering::SeqCst) {
            meanwhile.push(send());
        }
        compacting.join().expect("it ends")
    });
    assert!(said.contains("MiB given back to the disk"), "{said}");
    assert!(meanwhile.len() > 1, "messages were taken meanwhile");
    print!("{said}");
    for (when, mut took) in [("before", quiet), ("meanwhile", meanwhile)] {
        took.sort();
        let of = |share: usize| took[(took.len() - 1) * share / 100];
        println!("{when}: {} sends, p50 {:?}, p99 {:?}, slowest {:?}", took.len(), of(50), of(99), of(100));
    }
    assert_eq!(server.stop(), Some(0));
    assert!(length(&folder) < 2 << 20, "{} bytes", length(&folder));
    folder.done(&["db", "verify"], "");
}

#[test]
fn a_database_of_an_older_chatd_gives_room_back_while_no_server_runs() {
    let folder = Folder::new("[database]\ntail_messages = 16");
    folder.add_three();
    tamper(&folder.database(), "PRAGMA auto_vacuum = NONE; VACUUM");
    let server = Server::start(&folder);
    fill(&server, 8);
    let refused = folder.run(&[&["db", "prune", "--compact"], &FORGET[..]].concat(), "");
    let said = folder.complaint(&refused);
    assert!(said.contains("only while no server runs") && !refused.status.success(), "{said}");
    assert_eq!(server.stop(), Some(0));
    assert!(length(&folder) > 8 << 20);
    assert!(prune(&folder, &["--compact"]).contains("MiB given back to the disk"));
    assert!(length(&folder) < 1 << 20, "{} bytes", length(&folder));
    folder.done(&["db", "verify"], "");
    // From now on beside a server, too.
    let server = Server::start(&folder);
    fill(&server, 8);
    prune(&folder, &["--compact"]);
    assert_eq!(server.stop(), Some(0));
    assert!(length(&folder) < 1 << 20, "{} bytes", length(&folder));
}

#[tokio::test]
async fn a_server_gives_back_slowly_what_it_is_not_likely_to_use_again() {
    let folder = quick_folder();
    let repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, 2).await;
    let text = "x".repeat(1 << 20);
    for _ in 0..20 {
        repository.send([message(users[0], users[1], &text)].into()).await.expect("the store works");
    }
    lease(&repository, users[1], ALL).await.lease.expect("it holds something").confirm();
    settle(&repository).await;
    send(&repository, users[0], users[1], "unread").await;
    let later = Timestamp(Timestamp::now().0 + 60_000);
    assert_eq!(repository.prune(later).await.expect("the store works"), 20);
    let room = repository.give_back(Pace::None).await.expect("the store works");
    assert!(room.can_be_given && room.given_bytes == 0 && room.free_bytes > 20 << 20, "{room:?}");
    let room = repository.give_back(Pace::Slow).await.expect("the store works");
    assert!(room.given_bytes > 3 << 20 && room.free_bytes <= 16 << 20 && room.free_bytes > 15 << 20, "{room:?}");
    // On a slow machine the turn of one command ends before all is given.
    loop {
        let room = repository.give_back(Pace::Steady).await.expect("the store works");
        if room.free_bytes == 0 {
            break;
        }
        assert!(room.given_bytes > 0, "{room:?}");
    }
}

#[tokio::test]
async fn a_wal_that_grew_while_somebody_read_for_long_is_cut_again() {
    let folder = quick_folder();
    let repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, 1).await;
    let (database, wal) = (folder.path().join("chat.db"), folder.path().join("chat.db-wal"));
    let length = || fs::metadata(&wal).expect("it is there").len();
    let reader = rusqlite::Connection::open(&database).expect("it opens");
    reader.execute_batch("BEGIN; SELECT count(*) FROM user").expect("it reads");
    let text = "x".repeat(1 << 20);
    for _ in 0..100 {
        repository.send([message(users[0], users[0], &text)].into()).await.expect("the store works");
    }
    let grown = length();
    assert!(grown > 64 << 20, "{grown}");
    drop(reader);
    let cut = async {
        while length() > 64 << 20 {
            send(&repository, users[0], users[0], "more").await;
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.expect("it is cut");
    println!("the WAL had {grown} bytes, and has {}", length());
}

/// One user sends to himself, reads and confirms, until the server refuses more. Gives how many MiB it took.
pub fn fill_up(server: &Server) -> usize {
    let (mut messi, token) = server.login("messi");
    let text = "x".repeat(1 << 20);
    let mut sent = 0;
    while messi.ask(&format!("send {token} messi {text}")) == SENT {
        messi.ask(&format!("inbox {token}"));
        messi.ask(&format!("ack {token}"));
        sent += 1;
        assert!(sent < 200, "there is room for less");
    }
    sent
}

/// Prunes and compacts; then what was refused is taken again.
fn room_is_back(folder: &Folder, server: &Server, from: &str) -> String {
    let said = prune(folder, &["--compact"]);
    let (mut client, token) = server.login(from);
    let text = "x".repeat(1 << 20);
    let begun = Instant::now();
    while client.ask(&format!("send {token} lineker {text}")) != SENT {
        assert!(begun.elapsed() < PATIENCE, "{from} can send again");
    }
    said
}

#[test]
fn what_one_user_filled_is_room_for_all_once_it_is_read_and_pruned() {
    // His quota: nobody else is held up meanwhile.
    let folder = Folder::new("[limits]\nstored_bytes = 8388608\n[database]\ntail_messages = 4");
    folder.add_three();
    let server = Server::start(&folder);
    assert!((6..=8).contains(&fill_up(&server)));
    let (mut henderson, token) = server.login("henderson");
    assert_eq!(henderson.ask(&format!("send {token} lineker taken all the same")), SENT);
    let said = room_is_back(&folder, &server, "messi");
    assert!(said.contains("MiB given back to the disk") && !said.contains("0.0 MiB"), "{said}");
    assert!(length(&folder) < 4 << 20, "{} bytes", length(&folder));
    assert_eq!(server.stop(), Some(0));

    // The disk: then nobody's message is taken.
    let folder = Folder::new("");
    let Some(disk) = Disk::tmpfs(&folder, 128) else {
        println!("SKIPPED: a small disk needs root");
        return;
    };
    folder.configure(&format!("[database]\n{}\nmin_free_bytes = 33554432\ntail_messages = 4", disk.url()));
    folder.add_three();
    let server = Server::start(&folder);
    let filled = fill_up(&server);
    let (mut henderson, token) = server.login("henderson");
    let refused = henderson.ask(&format!("send {token} lineker refused"));
    assert!(filled > 32 && refused.contains("unavailable"), "{filled} MiB: {refused}");
    let said = room_is_back(&folder, &server, "henderson");
    let length = fs::metadata(disk.path.join("chat.db")).expect("it is there").len();
    assert!(length < 4 << 20, "{said}{length} bytes");
    assert_eq!(server.stop(), Some(0));
    folder.done(&["db", "verify"], "");
}

/// A command that is slow wherever it reads the database itself; `None`: strace cannot do that here.
fn slow_reader(folder: &Folder, arguments: &[&str]) -> Option<Child> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pread64", "-e", "inject=pread64:delay_enter=20000"]);
    strace.arg("-P").arg(folder.database()).arg(env!("CARGO_BIN_EXE_chatd")).args(arguments);
    strace.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    strace.process_group(0).spawn().ok()
}

#[test]
fn commands_that_read_all_of_the_database_do_not_make_its_wal_long() {
    let folder = Folder::new("[database]\ntail_messages = 16");
    folder.add_three();
    let server = Server::start(&folder);
    fill(&server, 24);
    let (mut messi, token) = server.login("messi");
    let (text, wal) = ("x".repeat(1 << 20), folder.path().join("chat.db-wal"));
    for arguments in [&["db", "verify"][..], &["db", "backup", "copy.db"]] {
        let Some(mut command) = slow_reader(&folder, arguments) else {
            return println!("SKIPPED: a slow reader needs strace");
        };
        let (mut longest, mut sent) = (0, 0);
        // Somebody who reads for long has read for as long as it takes to send all this.
        let status = loop {
            let ended = command.try_wait().expect("it can be asked");
            if ended.is_some() || sent == 200 {
                break ended;
            }
            assert_eq!(messi.ask(&format!("send {token} messi {text}")), SENT);
            messi.ask(&format!("inbox {token}"));
            longest = longest.max(fs::metadata(&wal).expect("it is there").len());
            sent += 1;
        };
        let _ = killpg(Pid::from_raw(i32::try_from(command.id()).expect("it is small")), Signal::SIGKILL);
        let status = status.or_else(|| command.wait().ok());
        println!("{arguments:?}: {sent} MiB sent, the WAL had {} MiB at the most ({status:?})", longest >> 20);
        assert!(longest < 96 << 20, "{arguments:?}: the WAL had {longest} bytes while {sent} MiB were sent");
    }
    assert_eq!(server.stop(), Some(0));
    let mut left = fs::read_dir(folder.path()).expect("it is there").flatten();
    let left = left.find(|entry| entry.file_name().to_string_lossy().contains("unfinished"));
    assert!(left.is_none(), "{left:?}");
    folder.done(&["db", "verify", "copy.db"], "");
}
