//! Checks a database: with SQLite's own checks, against the schema, and with what chatd knows about its tables.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};

use super::checksum::{self, Content};
use super::direct::{Failure, WalConnection};
use super::paths::{companion_path, failed};
use super::snapshot::Snapshot;
use super::{StoreOptions, lock, schema};
use crate::repository::OpenError;

/// What a whole database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseFindings {
    pub schema: i64,
    pub users: i64,
    pub sessions: i64,
    /// Messages in the message log.
    pub messages: i64,
    /// Those that nobody has read.
    pub unread: i64,
    /// Those that were stored before there were checksums.
    pub unchecked: i64,
}

/// More than this many complaints of one kind tell nobody more.
const MOST: usize = 5;

/// What somebody has not read: by whom, with number and size. A row is sorted for each reader of a message, so it must
/// not bring the text.
macro_rules! waiting {
    () => {
        "WITH waiting AS (
             SELECT target AS user, id, octet_length(text) + ifnull(attached, 0) AS bytes FROM message
             WHERE id NOT IN (SELECT id FROM receipt) AND target NOT IN (SELECT id FROM user WHERE owner IS NOT NULL)
             UNION ALL
             SELECT member, id, octet_length(text) + ifnull(attached, 0)
             FROM message m JOIN membership s ON grp = target AND read_to < id AND member <> sender
                 AND since < id AND id <= coalesce(until, id) AND id < coalesce(full_from, id + 1)
             WHERE NOT EXISTS (SELECT 1 FROM missed x WHERE x.grp = s.grp AND x.member = s.member
                     AND m.id BETWEEN first_id AND last_id)
                 AND NOT EXISTS (SELECT 1 FROM read_ahead x WHERE x.grp = s.grp AND x.member = s.member
                     AND x.id = m.id))"
    };
}

/// Contradictions between the tables, each as a query that counts them. The writer does not check these rules, because
/// it never breaks them.
const MUST_BE_NONE: [(&str, &str); 14] = [
    (
        "messages are missing in the index",
        "SELECT count(*) FROM (
             SELECT id, target, sender, length(CAST(text AS BLOB)) + ifnull(attached, 0) FROM message
             WHERE id <= (SELECT coalesce(max(last), 0) FROM run)
             EXCEPT SELECT value ->> 1, recipient, value ->> 0, value ->> 2
             FROM run JOIN mail ON mail.run = run.last, json_each(messages))",
    ),
    (
        "entries of the index are in the wrong run",
        "SELECT count(*) FROM mail, json_each(messages) WHERE value ->> 1 > run
             OR value ->> 1 <= (SELECT max(last) FROM run WHERE last < mail.run)",
    ),
    (
        "messages are missing in the index of what was sent",
        "SELECT count(*) FROM (
             SELECT id, sender FROM message WHERE id <= (SELECT coalesce(max(last), 0) FROM run)
             EXCEPT SELECT value, sender FROM run JOIN sent ON sent.run = run.last, json_each(messages))",
    ),
    (
        "messages are missing in the index of conversations",
        "SELECT count(*) FROM (
             SELECT id, sender, target FROM message WHERE id <= (SELECT coalesce(max(last), 0) FROM run)
             EXCEPT SELECT abs(value), iif(value > 0, low, high), iif(value > 0, high, low)
             FROM run JOIN conversation ON conversation.run = run.last, json_each(messages))",
    ),
    (
        "messages are missing in the index of what was written to groups",
        "SELECT count(*) FROM (
             SELECT m.id, target FROM message m JOIN user ON user.id = target AND owner IS NOT NULL
             WHERE m.id <= (SELECT coalesce(max(last), 0) FROM run)
             EXCEPT SELECT value, low
             FROM run JOIN conversation ON conversation.run = run.last, json_each(messages) WHERE low = high)",
    ),
    (
        "members are in a group twice at once, or have read what they cannot have got",
        "SELECT count(*) FROM membership m LEFT JOIN membership n USING (grp, member)
         WHERE m.since < n.since AND coalesce(m.until, n.since + 1) > n.since OR m.since > m.until OR m.since > m.read_to
             OR m.grp NOT IN (SELECT id FROM user WHERE owner IS NOT NULL)",
    ),
    (
        "parts of conversations are not found from the latest on",
        "SELECT count(*) FROM (
             SELECT low, high, run FROM run JOIN conversation ON run = last
             EXCEPT SELECT low, high, earlier FROM run JOIN conversation ON run = last
             EXCEPT SELECT low, high, iif(EXISTS (SELECT 1 FROM run WHERE last = latest), latest, former) FROM pair)",
    ),
    ("receipts are of no message", "SELECT count(*) FROM receipt WHERE id NOT IN (SELECT id FROM message)"),
    (
        "mailboxes count other unread mail than there is",
        concat!(
            waiting!(),
            ", unread AS (SELECT user, count(*) AS messages, sum(bytes) AS bytes, min(w.id) AS oldest
             FROM waiting w JOIN user u ON u.id = user AND u.removed_at IS NULL AND owner IS NULL
             WHERE w.id <= (SELECT coalesce(max(last), 0) FROM run) GROUP BY user)
         SELECT count(*) FROM unread FULL JOIN mailbox USING (user)
         WHERE coalesce(unread.messages, 0) <> coalesce(mailbox.messages, 0)
             OR coalesce(unread.bytes, 0) <> coalesce(mailbox.bytes, 0) OR unread.oldest < mailbox.oldest"
        ),
    ),
    (
        "accounts have other messages stored than is counted",
        "WITH found AS (SELECT sender AS user, count(*) AS messages, sum(octet_length(text) + ifnull(attached, 0)) AS bytes
             FROM message WHERE id <= (SELECT coalesce(max(last), 0) FROM run) GROUP BY sender)
         SELECT count(*) FROM found FULL JOIN stored USING (user)
         WHERE coalesce(found.messages, 0) <> coalesce(stored.messages, 0)
             OR coalesce(found.bytes, 0) <> coalesce(stored.bytes, 0)",
    ),
    (
        "correspondents are unknown",
        "SELECT count(*) FROM (SELECT DISTINCT recipient, value ->> 0 FROM run JOIN mail ON mail.run = run.last
                 JOIN user ON user.id = recipient AND owner IS NULL, json_each(messages)
             EXCEPT SELECT recipient, sender FROM correspondent)",
    ),
    (
        "messages bring files of another size than they are charged for",
        "SELECT count(*) FROM message m JOIN file f ON f.id = m.file WHERE m.attached IS NOT f.bytes",
    ),
    (
        "files that messages bring are not there as a whole",
        "SELECT count(*) FROM file WHERE id IN (SELECT file FROM message WHERE file IS NOT NULL)
             AND bytes <> (SELECT coalesce(sum(length(data)), 0) FROM file_piece WHERE file_piece.file = file.id)",
    ),
    (
        "messages have a number that is still to be given out",
        "SELECT count(*) FROM message WHERE id > (SELECT seq FROM sqlite_sequence WHERE name = 'message')",
    ),
];

/// Accounts, sessions, messages, and those that somebody has not read.
const COUNTS: &str = concat!(
    waiting!(),
    " SELECT (SELECT count(*) FROM user WHERE removed_at IS NULL AND owner IS NULL),
        (SELECT count(*) FROM session), count(*), (SELECT count(DISTINCT id) FROM waiting) FROM message"
);
/// The same in a schema that may know no groups.
const COUNTS_BEFORE_GROUPS: &str = "SELECT (SELECT count(*) FROM user WHERE removed_at IS NULL),
        (SELECT count(*) FROM session), count(*), count(*) - (SELECT count(*) FROM receipt) FROM message";

/// Reads all of a database, as it stands at this moment if it is in use, and says what is in it or what is wrong with
/// it.
pub async fn verify(database: &Path, options: &StoreOptions) -> Result<DatabaseFindings, OpenError> {
    verify_in(database, database, options).await
}

/// The same for a database that has a snapshot: the snapshot is read instead.
pub(crate) async fn verify_snapshot(
    database: &Path,
    snapshot: &Snapshot,
    options: &StoreOptions,
) -> Result<DatabaseFindings, OpenError> {
    verify_in(database, snapshot.path(), options).await
}

async fn verify_in(database: &Path, file: &Path, options: &StoreOptions) -> Result<DatabaseFindings, OpenError> {
    // Before and after, because the files may be changed meanwhile.
    lock::check_files_of_server(database)?;
    let findings = read(database, file, options).await;
    lock::check_files_of_server(database)?;
    findings
}

async fn read(database: &Path, file: &Path, options: &StoreOptions) -> Result<DatabaseFindings, OpenError> {
    let Some(version) = schema::version(database, options).await? else {
        return Err(OpenError::Missing(database.to_owned()));
    };
    let connection = open(file, options).connect().await.map_err(|e| failed(database, e))?;
    let mut db = WalConnection::new(connection).await.map_err(|e| failed(database, e))?;
    let found = inspect(&mut db, version).await.map_err(|e| failed(database, e))?;
    db.close().await.map_err(|e| failed(database, e))?;
    found.map_err(|wrong| failed(database, format!("the database is damaged: {}", wrong.join("; "))))
}

/// If nobody has the file open, it is read without the files that SQLite would make beside it.
fn open(database: &Path, options: &StoreOptions) -> SqliteConnectOptions {
    let at_rest = !companion_path(database, "-wal").exists();
    schema::connect_options(database, options).read_only(true).immutable(at_rest).disable_statement_logging()
}

async fn inspect(db: &mut WalConnection, version: i64) -> Result<Result<DatabaseFindings, Vec<String>>, Failure> {
    let is_current = version == schema::known_version();
    match inspect_tables(db.sqlx(), version).await? {
        Ok(findings) if is_current => inspect_contents(db, findings).await,
        found => Ok(found),
    }
}

/// Compares what is stored with its checksums, in the view that is open.
async fn inspect_contents(
    db: &mut WalConnection,
    findings: DatabaseFindings,
) -> Result<Result<DatabaseFindings, Vec<String>>, Failure> {
    let mut findings = DatabaseFindings { unchecked: 0, ..findings };
    let unchecked = schema::unchecked(db.sqlx()).await?;
    let (mut messages, mut mail, mut sent) = (Damaged::default(), Damaged::default(), Damaged::default());
    db.each("SELECT id, sender, target, sent_at, text, checksum FROM message ORDER BY id", (), |row| {
        let number = |column| row.get_ref(column).map(|value| value.as_i64().unwrap_or(-1));
        let (text, checksum) = (row.get_ref(4)?, row.get_ref(5)?.as_bytes_or_null().ok().flatten());
        let (id, text) = (number(0)?, text.as_bytes().unwrap_or_default());
        let content = Content { id, sender: number(1)?, target: number(2)?, sent_at: number(3)?, text };
        let checksum = checksum.unwrap_or_default();
        findings.unchecked += i64::from(checksum.is_empty());
        messages.note(unchecked.text(&content, checksum).is_some(), id);
        Ok(())
    })
    .await?;
    db.each("SELECT run, recipient, messages, checksum FROM mail", (), |row| {
        let number = |column| row.get_ref(column).map(|value| value.as_i64().unwrap_or(-1));
        let (run, recipient) = (number(0)?, number(1)?);
        let (messages, checksum) = (row.get_ref(2)?.as_bytes().unwrap_or_default(), row.get_ref(3)?);
        let checksum = checksum.as_bytes_or_null().ok().flatten().unwrap_or_default();
        mail.note(unchecked.mail(run, recipient, messages, checksum).is_some(), run);
        Ok(())
    })
    .await?;
    db.each("SELECT run, sender, messages, checksum FROM sent WHERE checksum NOTNULL", (), |row| {
        let number = |column| row.get_ref(column).map(|value| value.as_i64().unwrap_or(-1));
        let (run, sender) = (number(0)?, number(1)?);
        let (messages, checksum) = (row.get_ref(2)?.as_bytes().unwrap_or_default(), row.get_ref(3)?);
        sent.note(checksum.as_bytes().is_ok_and(|sum| sum == checksum::of_mail(run, sender, messages)), run);
        Ok(())
    })
    .await?;
    let files = damaged_files(db).await?;
    let wrong = [
        (messages, "messages are damaged"),
        (files, "files are damaged"),
        (mail, "rows of the index are damaged, of the runs"),
        (sent, "rows of the index of what was sent are damaged, of the runs"),
    ];
    let wrong: Vec<String> = wrong.into_iter().filter_map(|(damaged, what)| damaged.in_words(what)).collect();
    Ok(if wrong.is_empty() { Ok(findings) } else { Err(wrong) })
}

/// Compares what messages bring with its SHA-256.
async fn damaged_files(db: &mut WalConnection) -> Result<Damaged, Failure> {
    let (mut damaged, mut sums) = (Damaged::default(), BTreeMap::<i64, (Sha256, Vec<u8>)>::new());
    db.each("SELECT id, sha256 FROM file WHERE id IN (SELECT file FROM message WHERE file IS NOT NULL)", (), |row| {
        sums.insert(row.get(0)?, (Sha256::new(), row.get_ref(1)?.as_bytes().unwrap_or_default().to_vec()));
        Ok(())
    })
    .await?;
    db.each("SELECT file, data FROM file_piece ORDER BY file, place", (), |row| {
        if let Some((sum, _)) = sums.get_mut(&row.get::<_, i64>(0)?) {
            sum.update(row.get_ref(1)?.as_bytes().unwrap_or_default());
        }
        Ok(())
    })
    .await?;
    for (id, (sum, wanted)) in sums {
        damaged.note(sum.finalize()[..] == wanted[..], id);
    }
    Ok(damaged)
}

/// What is damaged: how much of it, and the first numbers.
#[derive(Default)]
struct Damaged {
    count: usize,
    first: Vec<i64>,
}

impl Damaged {
    fn note(&mut self, is_whole: bool, id: i64) {
        if !is_whole {
            self.count += 1;
            if self.first.len() < MOST {
                self.first.push(id);
            }
        }
    }

    fn in_words(&self, what: &str) -> Option<String> {
        let first: Vec<String> = self.first.iter().map(i64::to_string).collect();
        let more = if self.count > MOST { ", …" } else { "" };
        (self.count > 0).then(|| format!("{} {what}: {}{more}", self.count, first.join(", ")))
    }
}

async fn inspect_tables(
    db: &mut SqliteConnection,
    version: i64,
) -> sqlx::Result<Result<DatabaseFindings, Vec<String>>> {
    // One view of all tables, while others go on writing.
    sqlx::query("BEGIN").execute(&mut *db).await?;
    let whole: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(5)").fetch_all(&mut *db).await?;
    if whole != ["ok"] {
        return Ok(Err(whole));
    }
    // What an older schema promised is not known any more; the migration is tried when the database is opened.
    let is_current = version == schema::known_version();
    let mut wrong = if is_current { schema::deviations(db).await? } else { Vec::new() };
    let dangling: Vec<(String, Option<i64>, String, i64)> =
        sqlx::query_as("PRAGMA foreign_key_check").fetch_all(&mut *db).await?;
    wrong.extend(dangling.iter().take(MOST).map(|(table, row, parent, _)| {
        format!("{table} {} refers to a {parent} that is not there", row.unwrap_or_default())
    }));
    if is_current && wrong.is_empty() {
        for (what, sql) in MUST_BE_NONE {
            match sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut *db).await? {
                0 => {}
                count => wrong.push(format!("{count} {what}")),
            }
        }
    }
    if !wrong.is_empty() {
        return Ok(Err(wrong));
    }
    let (users, sessions, messages, unread) = sqlx::query_as(match is_current {
        true => COUNTS,
        false => COUNTS_BEFORE_GROUPS,
    })
    .fetch_one(&mut *db)
    .await?;
    Ok(Ok(DatabaseFindings { schema: version, users, sessions, messages, unread, unchecked: messages }))
}
