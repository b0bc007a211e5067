//! Upgrades. What the first release left is taken over. A database with many messages of the schema before groups is
//! migrated, and the migration is killed at random moments: it is not begun or finished, and nothing is lost.
//! `CHATD_UPGRADE_MESSAGES=10000000 CHATD_UPGRADE_KILLS=20` makes it longer; that prints how long the migration takes
//! and how much room.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;

use crate::database::{tamper, to_before_migration};
use crate::support::{Folder, NO_SESSION, SENT, Server, texts};

/// Messages of each run of the index.
const RUN: u64 = 65_536;

/// Fills the tables as a server does that has indexed all of its messages; one in ten is unread.
fn fill(database: &Path, messages: u64) {
    let sql = format!(
        "INSERT INTO message (id, sender, target, sent_at, text)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {messages})
             SELECT i, 1 + i % 3, 1 + i / 3 % 3, 1700000000000 + i, printf('%064d', i) FROM n;
         INSERT INTO receipt (id, delivered_at) SELECT id, sent_at + 1 FROM message WHERE id % 10 > 0;
         UPDATE unchecked SET last = {messages}, complement = ~{messages};
         INSERT INTO run (last) SELECT DISTINCT min((id - 1) / {RUN} * {RUN} + {RUN}, {messages}) FROM message;
         CREATE TEMP VIEW of_run AS
             SELECT min((id - 1) / {RUN} * {RUN} + {RUN}, {messages}) AS run, id, sender, target, octet_length(text) AS bytes
             FROM message;
         INSERT INTO mail (run, recipient, messages)
             SELECT run, target, json_group_array(json_array(sender, id, bytes) ORDER BY id) FROM of_run GROUP BY 1, 2;
         INSERT INTO conversation (run, low, high, messages, earlier)
             SELECT run, low, high, json_group_array(iif(sender <= target, id, -id) ORDER BY id),
                 lag(run) OVER (PARTITION BY low, high ORDER BY run)
             FROM (SELECT *, min(sender, target) AS low, max(sender, target) AS high FROM of_run) GROUP BY run, low, high;
         INSERT INTO pair (low, high, latest) SELECT low, high, max(run) FROM conversation GROUP BY low, high;
         INSERT INTO correspondent (recipient, sender, first_id)
             SELECT target, sender, min(id) FROM message GROUP BY target, sender;
         INSERT INTO mailbox (user, messages, bytes, oldest)
             SELECT target, count(*), sum(octet_length(text)), min(id) FROM message WHERE id % 10 = 0 GROUP BY target;
         INSERT INTO stored (user, messages, bytes)
             SELECT sender, count(*), sum(octet_length(text)) FROM message GROUP BY sender;"
    );
    tamper(database, sql.leak());
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("it is a number"))
}

/// All files of a folder together, in MiB.
fn room(folder: &Folder) -> u64 {
    let files = fs::read_dir(folder.path()).expect("it can be listed");
    files.map(|entry| entry.and_then(|entry| entry.metadata()).map_or(0, |file| file.len())).sum::<u64>() >> 20
}

#[test]
fn a_database_of_the_former_schema_is_migrated_or_left_as_it_was_whenever_that_is_killed() {
    let messages = asked("CHATD_UPGRADE_MESSAGES").unwrap_or(20_000);
    let kills = asked("CHATD_UPGRADE_KILLS").unwrap_or(4);
    let folder = Folder::new("[limits]\ninbox_messages = 100_000_000\ninbox_bytes = 100_000_000_000\n");
    folder.add_three();
    fill(&folder.database(), messages);
    to_before_migration(&folder.database(), 8);
    let former = folder.path().join("former.db");
    fs::copy(folder.database(), &former).expect("it can be copied");

    let begun = Instant::now();
    let before = room(&folder);
    folder.done(&["db", "migrate"], "");
    let took = begun.elapsed();
    println!("{messages} messages: {took:?}; {before} MiB before (with a copy), {} MiB after", room(&folder));
    let whole = format!("3 users, 0 sessions, {messages} messages, {} of them unread", messages / 10);
    assert!(folder.done(&["db", "verify"], "").contains(&whole));

    let mut finished = 0;
    for _ in 0..kills {
        for entry in fs::read_dir(folder.path()).expect("it can be listed") {
            let path = entry.expect("it can be listed").path();
            if path.to_string_lossy().contains("/chat.db") {
                fs::remove_file(path).expect("it can be removed");
            }
        }
        fs::copy(&former, folder.database()).expect("it can be copied");
        let mut command = folder.command(&["db", "migrate"]);
        let mut migrating = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("chatd starts");
        thread::sleep(Duration::from_nanos(fastrand::u64(..u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1))));
        migrating.kill().expect("it can be killed");
        migrating.wait().expect("it ends");
        let said = folder.done(&["db", "verify"], "");
        assert!(said.contains(&format!("{messages} messages")), "{said}");
        finished += u64::from(!said.contains("schema 7,"));
    }
    println!("killed {kills} times: {finished} of them were whole in the new schema, the others as before");
    // The next start finishes what is left to do.
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {token} messi after")), SENT);
    assert!(!texts(&messi.ask(&format!("inbox {token}"))).is_empty());
    drop(messi);
    assert_eq!(server.stop(), Some(0));
    folder.done(&["db", "verify"], "");
}

/// What `tests/upgrade/make` has noted of the database that it made with the first release.
fn first_release() -> (Folder, serde_json::Value) {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade");
    let folder = Folder::new("");
    let packed = fs::File::open(made.join("first.db.gz")).expect("it is part of the project");
    let mut database = fs::File::create(folder.database()).expect("it can be made");
    io::copy(&mut GzDecoder::new(packed), &mut database).expect("it can be unpacked");
    fs::copy(made.join("first.toml"), folder.settings()).expect("it is part of the project");
    let noted = fs::read_to_string(made.join("first.json")).expect("it is part of the project");
    (folder, serde_json::from_str(&noted).expect("it is JSON"))
}

#[test]
fn what_the_first_release_left_is_taken_over_with_mail_sessions_and_settings() {
    let (folder, noted) = first_release();
    assert!(folder.done(&["config", "show"], "").contains("inbox_messages = 777"));
    let server = Server::start(&folder);
    assert!(server.log().contains("the database was copied before its schema is changed"), "{}", server.log());
    let token = |user: &str| noted["tokens"][user].as_str().expect("a text");
    let sent: Vec<[&str; 3]> = noted["sent"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|sent| ["from", "to", "text"].map(|key| sent[key].as_str().expect("a text")))
        .collect();
    let to = |user: &str, unread_only: bool| -> Vec<&str> {
        let to = sent.iter().filter(|[_, to, _]| *to == user).map(|[.., text]| *text);
        to.filter(|text| !unread_only || text.ends_with("unread")).collect()
    };

    // Nobody has to log in again, and what was read does not come again.
    let mut client = server.connect();
    for (user, unread) in [("henderson", to("henderson", true)), ("messi", to("messi", false))] {
        assert!(unread.len() >= 10, "{user}: {unread:?}");
        assert_eq!(texts(&client.ask(&format!("inbox {}", token(user)))), unread, "{user}");
    }
    let lineker = client.login("lineker");
    assert_eq!(texts(&client.ask(&format!("inbox {lineker}"))), to("lineker", false), "of one who has gone since");
    for gone in ["shut", "gone"] {
        assert_eq!(client.ask(&format!("inbox {}", token(gone))), NO_SESSION, "{gone}");
    }
    let reply = client.ask(&format!("history {} messi 0 100", token("henderson")));
    let reply: serde_json::Value = serde_json::from_str(&reply).expect("replies are JSON");
    let history = reply["history"].as_array().expect("a list");
    assert_eq!(history.len(), 100);
    assert!(history.iter().any(|message| message["read"].is_string()));
    assert_eq!(client.ask(&format!("send {lineker} messi after")), SENT);
    drop(client);
    assert_eq!(server.stop(), Some(0));
    let said = folder.done(&["db", "verify"], "");
    assert!(said.contains(&format!("{} messages", sent.len() + 1)), "{said}");
}
