//! What of the two schemas a copy knows. A migration that adds a table or a column fails here until the copy takes it
//! over, or this says why it need not.

use crate::cluster::Cluster;
use crate::database::dump_sql;
use crate::support::Folder;

/// The tables of SQLite, each with its columns. Those after `|` do not go over: they are made anew from the others, or
/// belong to one process.
const SQLITE: [&str; 28] = [
    "_sqlx_migrations | checksum description execution_time installed_on success version",
    "change | id kind number",
    "clock | id seen_at",
    "clock_jump | since until",
    "conversation | earlier high low messages run",
    "correspondent first_id recipient sender",
    "file bytes created_at id media_type name sender sha256 spelling",
    "file_piece data file place",
    "invite code_hash created_at expires_at id label",
    "mail | checksum messages recipient run",
    "mailbox | bytes messages oldest user",
    "membership full_from grp member since until | read_to",
    "message attached file id sender sent_at target text | checksum",
    "missed first_id grp last_id member",
    "pair | former high latest low",
    "push address id key secret session with_text",
    "push_key key | id",
    "read_ahead | grp id member",
    "receipt delivered_at id",
    "removed | bytes id sender",
    "run | last",
    "send_key id key sender sent_at",
    "sent | checksum messages run sender",
    "session address created_at id label last_used_at scope target token_hash user",
    "sqlite_sequence name seq",
    "stored | bytes messages user",
    "unchecked | complement last",
    "user administrator country created_at disabled display_name folded id name owner password_hash removed_at",
];
/// The same of PostgreSQL.
const POSTGRES: [&str; 22] = [
    "_sqlx_migrations | checksum description execution_time installed_on success version",
    "account administrator country created_at disabled display_name folded id name owner password_hash removed_at",
    "correspondent first_id recipient sender",
    "feed | account at id kind version",
    "feed_head | one version",
    "file bytes created_at id media_type name sender sha256 spelling",
    "file_piece data file place",
    "flight | account ids lease node session sizes targets",
    "hand | account read read_bytes taken upto",
    "head last | one",
    "invite code_hash created_at expires_at id label",
    "mailbox | account bytes closed received stored",
    "membership full_from grp member since until",
    "message attached file id sender sent_at target text",
    "missed first_id grp last_id member",
    "node | beat_at id name program",
    "push address id key secret session with_text",
    "push_key key | one",
    "receipt account id read_at",
    "send_key id key sender sent_at",
    "session account address created_at id label last_used_at scope target token_hash",
    "writer | id ids last missing reached",
];

/// A table and its columns, sorted.
fn parts(known: &str) -> String {
    let mut words = known.split_whitespace().filter(|word| *word != "|");
    let table = words.next().expect("it has a name");
    let mut columns: Vec<&str> = words.collect();
    columns.sort_unstable();
    format!("{table} {}", columns.join(" "))
}

fn compare(found: &[String], known: &[&str], source: &str) {
    let known: Vec<String> = known.iter().map(|known| parts(known)).collect();
    let news: Vec<&String> = found.iter().filter(|found| !known.contains(found)).collect();
    assert!(news.is_empty(), "`chatd db copy` does not know these; see to {source}, and then to this test: {news:?}");
    let gone: Vec<&String> = known.iter().filter(|known| !found.contains(known)).collect();
    assert!(gone.is_empty(), "these are not there any more: {gone:?}");
    assert!(!found.is_empty());
}

#[test]
fn every_table_and_column_of_sqlite_is_known_to_the_copy() {
    let folder = Folder::new("");
    folder.add_three();
    let columns = "SELECT t.name || ' ' || group_concat(c.name, ' ' ORDER BY c.name)
        FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' GROUP BY t.name ORDER BY t.name";
    let found = dump_sql(&folder.database(), columns.to_owned());
    compare(&found, &SQLITE, "src/repository/sqlite/copied_tables.rs");
}

#[test]
fn every_table_and_column_of_postgresql_is_known_to_the_copy() {
    let Some(cluster) = Cluster::get() else { return };
    let url = cluster.database();
    Folder::new("").done(&["db", "migrate", "--set", &format!("database.url={url}")], "");
    let columns = "SELECT table_name || ' ' || string_agg(column_name, ' ' ORDER BY column_name)
        FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name ORDER BY table_name";
    let found: Vec<String> = cluster.sql_at(&url, columns).lines().map(str::to_owned).collect();
    compare(&found, &POSTGRES, "src/repository/postgres/copied_tables.rs");
}
