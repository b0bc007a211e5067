//! `chatd db copy`: from SQLite to PostgreSQL and back, with everything that a server has, or not at all.
//!
//! - `world`: a database with everything in it, and what can be seen of it
//! - `broken`: copies that are interrupted, refused, or find something else than they wrote
//! - `random`: whatever people do
//! - `schema`: what of the two schemas is copied

mod broken;
mod random;
mod schema;
pub mod world;

use std::fs;
use std::path::Path;

use self::world::{Seen, World};
use crate::cluster::{Cluster, on};
use crate::database::dump_sql;
use crate::support::Folder;
use crate::web::{Page, with_page};

/// Copies one database to another, with the settings of a folder.
pub fn copy(folder: &Folder, from: &str, to: &str) -> String {
    folder.done(&["db", "copy", from, to], "")
}

/// The same where it is refused; gives the reason.
pub fn refused(folder: &Folder, from: &str, to: &str) -> String {
    let output = folder.run(&["db", "copy", from, to], "");
    let error = folder.complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// What is compared of a SQLite database, as queries that each give the rows of a table. Of the index this is what is
/// in it, because its runs lie elsewhere. Of read marks it is what they mean.
const CONTENT: [(&str, &str); 22] = [
    (
        "user",
        "SELECT json_array(id, name, folded, display_name, country, password_hash, disabled, removed_at, created_at, owner,
            administrator) FROM user",
    ),
    (
        "session",
        "SELECT json_array(id, user, hex(token_hash), address, created_at, last_used_at, label, scope, target) FROM session",
    ),
    (
        "message",
        "SELECT json_array(id, sender, target, sent_at, text, hex(checksum), file, attached) FROM message",
    ),
    ("receipt", "SELECT json_array(id, delivered_at) FROM receipt"),
    ("membership", "SELECT json_array(grp, member, since, until, full_from) FROM membership"),
    ("missed", "SELECT json_array(grp, member, first_id, last_id) FROM missed"),
    (
        "read_ahead",
        "SELECT json_array(s.grp, s.member, m.id, m.id > read_to AND a.id IS NULL)
        FROM membership s JOIN message m ON m.target = s.grp AND since < m.id AND m.id <= coalesce(until, m.id)
            AND m.id < coalesce(full_from, m.id + 1) AND m.sender <> s.member
        LEFT JOIN read_ahead a ON a.grp = s.grp AND a.member = s.member AND a.id = m.id
        WHERE NOT EXISTS (SELECT 1 FROM missed x WHERE x.grp = s.grp AND x.member = s.member
            AND m.id BETWEEN first_id AND last_id)",
    ),
    ("correspondent", "SELECT json_array(recipient, sender, first_id) FROM correspondent"),
    ("mailbox", "SELECT json_array(user, messages, bytes) FROM mailbox WHERE messages > 0"),
    ("stored", "SELECT json_array(user, messages, bytes) FROM stored WHERE messages > 0"),
    ("send_key", "SELECT json_array(id, sender, key, sent_at) FROM send_key"),
    ("push_key", "SELECT hex(key) FROM push_key"),
    ("push", "SELECT json_array(id, session, address, hex(key), hex(secret), with_text) FROM push"),
    (
        "file",
        "SELECT json_array(id, sender, name, media_type, spelling, bytes, hex(sha256), created_at) FROM file",
    ),
    ("file_piece", "SELECT json_array(file, place, hex(data)) FROM file_piece"),
    ("invite", "SELECT json_array(id, hex(code_hash), label, created_at, expires_at) FROM invite"),
    ("mail", "SELECT json_array(recipient, value) FROM mail, json_each(messages)"),
    ("sent", "SELECT json_array(sender, value) FROM sent, json_each(messages)"),
    ("conversation", "SELECT json_array(low, high, value) FROM conversation, json_each(messages)"),
    ("pair", "SELECT json_array(low, high) FROM pair"),
    ("run", "SELECT max(last) || '' FROM run"),
    ("sqlite_sequence", "SELECT json_array(name, seq) FROM sqlite_sequence WHERE name <> 'change'"),
];
/// What is not of this kind, and why.
const NOT_COMPARED: [(&str, &str); 6] = [
    ("change", "what a server is still to hear of; none runs"),
    ("_sqlx_migrations", "when each was made"),
    ("clock", "the clock of the last server, which another one notes"),
    ("clock_jump", "PostgreSQL's clock rules there"),
    ("removed", "it is empty where all is indexed"),
    ("unchecked", "all messages of a copy have checksums"),
];

fn content(database: &Path) -> Vec<(&'static str, Vec<String>)> {
    let sorted = |sql: &str| {
        let mut rows = dump_sql(database, sql.to_owned());
        rows.sort();
        rows
    };
    CONTENT.iter().map(|(table, sql)| (*table, sorted(sql))).collect()
}

/// A page on the database at a URL.
pub fn page_on(world: &World, url: &str) -> Page {
    Page::start(Folder::new(&with_page(&format!("{}{}", on(url), world.settings()))))
}

#[test]
fn everything_goes_to_postgresql_and_back_and_is_what_it_was() {
    let Some(cluster) = Cluster::get() else { return };
    let world = World::new();
    let folder = &world.folder;
    let (first, before) = (content(&folder.database()), &world.seen);
    for (table, rows) in &first {
        assert!(!rows.is_empty(), "the world has no {table}");
    }
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_stat%'";
    for name in dump_sql(&folder.database(), names.to_owned()) {
        let is_known = CONTENT.iter().map(|(table, _)| *table).chain(NOT_COMPARED.map(|(table, _)| table));
        assert!(is_known.into_iter().any(|known| known == name), "this test knows nothing of the table {name}");
    }
    let bytes = fs::read(folder.database()).expect("it is there");

    let url = cluster.database();
    let path = folder.database().display().to_string();
    let said = copy(folder, &path, &url);
    assert!(said.contains("8 accounts and groups"), "{said}");
    assert!(fs::read(folder.database()).expect("it is there") == bytes, "the source was changed");
    let page = page_on(&world, &url);
    assert_seen(before, &Seen::of(&page, &world));
    assert_eq!(&world.inboxes(&page), &world.waiting);
    assert_eq!(page.server.stop(), Some(0));

    let back = folder.path().join("back.db");
    copy(folder, &url, &format!("sqlite://{}", back.display()));
    folder.done(&["db", "verify", back.to_str().expect("it is UTF-8")], "");
    let left = fs::read_dir(folder.path()).expect("it is there").flatten().map(|entry| entry.file_name());
    let left: Vec<String> = left.map(|name| name.to_string_lossy().into_owned()).collect();
    assert!(!left.iter().any(|name| name.contains("unfinished") || name.starts_with("back.db-")), "{left:?}");
    for ((table, rows), (_, again)) in first.iter().zip(content(&back)) {
        assert_eq!(rows, &again, "{table}");
    }
    let page = page_on(&world, &format!("sqlite://{}", back.display()));
    assert_seen(before, &Seen::of(&page, &world));
    assert_eq!(&world.inboxes(&page), &world.waiting);
    // What was handed out is held no longer.
    let Page { folder: settings, server, .. } = page;
    assert_eq!(server.stop(), Some(0));
    let page = Page::start(settings);
    // What comes now has numbers that nobody had, and comes after what there was.
    world.goes_on(&page);
    assert_eq!(page.server.stop(), Some(0));
    folder.done(&["db", "verify", back.to_str().expect("it is UTF-8")], "");
}

fn assert_seen(before: &Seen, after: &Seen) {
    for ((what, was), (_, is)) in before.0.iter().zip(&after.0) {
        assert_eq!(was, is, "{what}");
    }
    assert_eq!(before.0.len(), after.0.len());
}
