//! Bits that a disk flips, in the database and in its WAL, one at a time in a copy, and then what people see: no text
//! that nobody sent, one notice in the place of a damaged message, all other mail, and a word about what is lost.

use std::fs;
use std::path::Path;
use std::thread;

use chatd::internals::repository::sqlite::{self, Role};
use chatd::internals::repository::{HistoryQuery, Repository, StoreOptions, StoreStatus};
use chatd::model::{MessageId, UserId};

use crate::database::{tamper, to_before_migration};
use crate::repository::{ALL, OPTIONS, add_users, crash, lease, open, quick_folder, reopen, send};
use crate::support::{Folder, SENT, Server, texts};

const NOTICE: &str = "[This message is damaged on the server's disk.";
/// Messages that are indexed, and as many that are not.
const HALF: usize = 30;
const LONG_TAIL: StoreOptions = StoreOptions { tail_messages: 1_000, ..OPTIONS };

/// Different in each message, and not all of it ASCII.
fn text(number: usize) -> String {
    format!("#{number}: José {}", "selamat pagi ".repeat(number % 5))
}

/// SQL on a database that nobody has open, in a test that has a runtime.
fn tamper_aside(folder: &Path, sql: &'static str) {
    let database = folder.join("chat.db");
    thread::spawn(move || tamper(&database, sql)).join().expect("it is SQL");
}

/// A directory as a crash leaves it: half of the mail is in the index, the rest is in the WAL only. All is to the
/// second of the users, from the first.
async fn after_a_crash() -> (tempfile::TempDir, Vec<UserId>) {
    let folder = quick_folder();
    let repository = open(folder.path(), &LONG_TAIL).await;
    let users = add_users(&repository, 2).await;
    for number in 0..HALF {
        send(&repository, users[0], users[1], &text(number)).await;
    }
    let repository = reopen(repository, folder.path(), &LONG_TAIL).await;
    for number in HALF..2 * HALF {
        send(&repository, users[0], users[1], &text(number)).await;
    }
    let copy = crash(folder.path());
    fs::copy(folder.path().join("chat.db.lock"), copy.path().join("chat.db.lock")).expect("it is there");
    repository.close().await.expect("it closes");
    (copy, users)
}

/// What people see, and what the server knows of it.
struct Seen {
    inbox: Vec<String>,
    history: Vec<String>,
    status: StoreStatus,
}

/// Reads all mail as its reader does. `None`: the server does not start, or does not answer.
async fn look(folder: &Path, users: &[UserId]) -> Option<Seen> {
    let url = format!("sqlite://{}", folder.join("chat.db").display());
    let repository = sqlite::open(&url, &LONG_TAIL, Role::Server).await.ok()?;
    let page = HistoryQuery { before: None, messages: 1_000, bytes: u64::MAX };
    let history = repository.conversation(users[1], users[0].into(), page).await;
    let inbox = repository.lease(users[1], ALL).await;
    let status = repository.status().await.expect("the store works");
    let _ = repository.close().await;
    let texts = |texts: &mut dyn Iterator<Item = &str>| texts.map(str::to_owned).collect::<Vec<_>>();
    let inbox = inbox.ok()?;
    Some(Seen {
        inbox: texts(&mut inbox.senders.iter().flat_map(|(_, all)| all).map(|received| &*received.message.text)),
        history: texts(&mut history.ok()?.iter().map(|entry| &*entry.message.text)),
        status,
    })
}

fn copy_of(folder: &Path) -> tempfile::TempDir {
    let copy = quick_folder();
    for entry in fs::read_dir(folder).expect("it is there").flatten() {
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("it can be copied");
    }
    copy
}

/// A copy of a directory with one bit flipped in one of its files.
fn flipped(folder: &Path, name: &str, byte: usize, bit: usize) -> tempfile::TempDir {
    let copy = copy_of(folder);
    let path = copy.path().join(name);
    let mut content = fs::read(&path).expect("it is there");
    content[byte] ^= 1 << bit;
    fs::write(path, content).expect("it can be written");
    copy
}

/// Where `part` is in `all`, each time.
fn places(all: &[u8], part: &[u8]) -> Vec<usize> {
    all.windows(part.len()).enumerate().filter(|(_, window)| *window == part).map(|(place, _)| place).collect()
}

fn is_served(text: &str) -> bool {
    text.starts_with(NOTICE) || (0..2 * HALF).any(|number| text == self::text(number))
}

/// The database at rest: half of the mail in the index, half in the tail.
async fn at_rest() -> (tempfile::TempDir, Vec<UserId>, Vec<u8>) {
    let (folder, users) = after_a_crash().await;
    // SQLite takes the WAL over.
    tamper_aside(folder.path(), "SELECT 1");
    let whole = fs::read(folder.path().join("chat.db")).expect("it is there");
    (folder, users, whole)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_is_flipped_in_a_text_damages_one_message() {
    let (folder, users, whole) = at_rest().await;
    for number in [0, 3, HALF - 1, HALF, HALF + 4, 2 * HALF - 1] {
        let text = text(number);
        // The text itself, and no copy of it on a page that is no longer used.
        let places = places(&whole, text.as_bytes());
        for bit in 0..8 {
            let mut damaged = 0;
            for place in &places {
                let at = place + (7 * bit) % text.len();
                let seen = look(flipped(folder.path(), "chat.db", at, bit).path(), &users).await;
                let seen = seen.unwrap_or_else(|| panic!("bit {bit} of {text:?}: nothing is served"));
                damaged += seen.status.damaged;
                for all in [&seen.inbox, &seen.history] {
                    assert_eq!(all.len(), 2 * HALF);
                    assert!(all.iter().all(|text| is_served(text)), "bit {bit} of {text:?}: {all:?}");
                    let notices = all.iter().filter(|text| text.starts_with(NOTICE)).count();
                    assert_eq!(notices as u64, seen.status.damaged, "bit {bit} of {text:?}");
                }
            }
            assert_eq!(damaged, 1, "bit {bit} of {text:?}, which is in {} places", places.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_bit_of_the_database_is_served_as_mail() {
    let (folder, users, whole) = at_rest().await;
    let (mut all_well, mut noticed, mut missing, mut refused) = (0, 0, 0, 0);
    let texts: Vec<String> = (0..2 * HALF).map(text).collect();
    let has_mail = |page: &[u8]| texts.iter().any(|text| !places(page, text.as_bytes()).is_empty());
    let pages = whole.chunks(4096).enumerate().filter(|(_, page)| has_mail(page));
    // A prime, so that every part of a row has its turn.
    let bytes = pages.flat_map(|(number, _)| (number * 4096..(number + 1) * 4096).step_by(47));
    for (turn, byte) in bytes.enumerate() {
        match look(flipped(folder.path(), "chat.db", byte, turn % 8).path(), &users).await {
            None => refused += 1,
            Some(seen) => {
                let texts = || seen.inbox.iter().chain(&seen.history);
                assert!(texts().all(|text| is_served(text)), "bit {} of byte {byte}: {:?}", turn % 8, seen.inbox);
                match () {
                    () if seen.status.damaged > 0 => noticed += 1,
                    () if seen.inbox.len() < 2 * HALF || seen.history.len() < 2 * HALF => missing += 1,
                    () => all_well += 1,
                }
            }
        }
    }
    println!(
        "{all_well} did no harm, {noticed} were said, {missing} hid mail, {refused} stopped the server or a request"
    );
    assert!(noticed > 0 && all_well > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wal_that_ends_before_what_was_acknowledged_is_noticed() {
    let (folder, users) = after_a_crash().await;
    let length = fs::metadata(folder.path().join("chat.db-wal")).expect("it is there").len() as usize;
    let seen = look(copy_of(folder.path()).path(), &users).await.expect("it is served");
    assert_eq!((seen.inbox.len(), seen.status.lost), (2 * HALF, 0), "a crash alone loses nothing");
    let (mut lost, mut only_others) = (0, 0);
    for (turn, byte) in (3..length).step_by(length / 60).enumerate() {
        let copy = flipped(folder.path(), "chat.db-wal", byte, turn % 8);
        let Some(seen) = look(copy.path(), &users).await else { panic!("byte {byte}: nothing is served") };
        assert!(seen.inbox.iter().chain(&seen.history).all(|text| is_served(text)), "byte {byte}: {:?}", seen.inbox);
        assert_eq!(seen.inbox.len() + seen.status.lost as usize, 2 * HALF, "byte {byte}: lost without a word");
        let kept = copy.path().join("chat.db-wal.damaged").exists();
        assert!(kept || seen.status.lost == 0, "byte {byte}: the damaged WAL was not kept");
        if seen.status.lost > 0 { lost += 1 } else { only_others += i32::from(kept) }
    }
    println!("of the damaged WALs {lost} lost messages, all of them said; {only_others} lost other commits, said, too");
    assert!(lost > 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_a_message_that_was_lost_is_not_given_out_again() {
    let (folder, users) = after_a_crash().await;
    let length = fs::metadata(folder.path().join("chat.db-wal")).expect("it is there").len() as usize;
    let copy = flipped(folder.path(), "chat.db-wal", length / 2, 0);
    let repository = open(copy.path(), &LONG_TAIL).await;
    assert!(repository.status().await.expect("the store works").lost > 0);
    assert_eq!(send(&repository, users[0], users[1], "new").await, MessageId(2 * HALF as i64 + 1));
    repository.close().await.expect("it closes");
    let repository = open(copy.path(), &LONG_TAIL).await;
    assert_eq!(repository.status().await.expect("the store works").lost, 0, "it is said once");
    repository.close().await.expect("it closes");
}

/// The index is made of the log, so the log can take its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_of_a_mailbox_hides_no_mail() {
    let (folder, users, whole) = at_rest().await;
    for sql in [
        "UPDATE mail SET messages = replace(messages, '[1,', '[2,')",
        "UPDATE mail SET messages = replace(messages, ',1,', ',9,')",
        "UPDATE mail SET messages = substr(messages, 3)",
        "UPDATE mail SET checksum = NULL",
        "UPDATE mail SET recipient = 77",
        "DELETE FROM mail",
    ] {
        fs::write(folder.path().join("chat.db"), &whole).expect("it can be written");
        tamper_aside(folder.path(), sql);
        let repository = open(folder.path(), &LONG_TAIL).await;
        let delivery = lease(&repository, users[1], ALL).await;
        let [(sender, messages)] = &delivery.senders[..] else { panic!("{sql}: {delivery:?}") };
        assert_eq!((*sender, messages.len()), (users[0], 2 * HALF), "{sql}");
        drop(delivery);
        repository.close().await.expect("it closes");
    }
}

/// The letter é: one bit, and it is no text any more.
#[test]
fn one_damaged_text_is_one_message_that_says_so_and_the_log_names_it() {
    let folder = Folder::new("");
    folder.add_three();
    for in_the_tail in [false, true] {
        let server = Server::start(&folder);
        let (mut messi, token) = server.login("messi");
        for text in ["before", "José", "after"] {
            assert_eq!(messi.ask(&format!("send {token} lineker {text}")), SENT);
        }
        match in_the_tail {
            false => assert_eq!(server.stop(), Some(0)),
            true => server.kill(),
        }
        tamper(&folder.database(), "UPDATE message SET text = CAST(unhex(replace(hex(text), 'C3A9', '83A9')) AS TEXT)");
        let server = Server::start(&folder);
        let (mut lineker, token) = server.login("lineker");
        let inbox = texts(&lineker.ask(&format!("inbox {token}")));
        assert_eq!((inbox.len(), &*inbox[0], &*inbox[2]), (3, "before", "after"), "{inbox:?}");
        assert!(inbox[1].starts_with(NOTICE), "{inbox:?}");
        let document = include_str!("../../docs/PROTOCOL.md");
        assert!(document.contains(&format!("    {}\n", inbox[1])), "docs/PROTOCOL.md does not have {:?}", inbox[1]);
        assert!(lineker.ask(&format!("history {token} messi")).contains(NOTICE));
        let id = if in_the_tail { 5 } else { 2 };
        let log = server.log();
        assert!(
            log.contains(&format!(
                "a message is damaged: its text is not shown; `chatd db verify` looks at all user=3 id={id}"
            )),
            "{log}"
        );
        assert_eq!(log.matches(&format!("id={id}")).count(), 1, "it is said once: {log}");
        lineker.ask(&format!("ack {token}"));
        assert_eq!(server.stop(), Some(0));
        let output = folder.run(&["db", "verify"], "");
        let said = folder.complaint(&output);
        assert!(!output.status.success() && said.contains("messages are damaged: 2"), "{said}");
    }
}

#[test]
fn what_is_older_than_the_checksums_is_served_and_said_to_have_none() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {token} lineker old")), SENT);
    assert_eq!(server.stop(), Some(0));
    // As the chatd before the checksums left it.
    to_before_migration(&folder.database(), 5);
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {token} lineker new")), SENT);
    let (mut lineker, token) = server.login("lineker");
    assert_eq!(texts(&lineker.ask(&format!("inbox {token}"))), ["old", "new"]);
    assert_eq!(server.stop(), Some(0));
    let said = folder.done(&["db", "verify"], "");
    assert!(said.contains("2 messages, 0 of them unread, 1 of them without a checksum"), "{said}");
    // Nothing that is newer may have lost its checksum.
    tamper(&folder.database(), "UPDATE message SET checksum = NULL");
    let said = folder.complaint(&folder.run(&["db", "verify"], ""));
    assert!(said.contains("1 messages are damaged: 2"), "{said}");
}
