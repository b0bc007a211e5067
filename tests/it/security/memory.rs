//! The most memory that the server can take, added up from the settings: what docs/SECURITY.md shows is compared with
//! the defaults here.

use std::fs;
use std::path::Path;

use chatd::internals::charge::{HTTP_HEAD, HTTP_SHORT_BODY, READ, READ_UNAUTHENTICATED, UNCHARGED, UNREAD};
use chatd::internals::config::{Config, Listen};

const KIB: usize = 1 << 10;
/// A connection that is idle: task, slot, small buffers.
const CONNECTION: usize = 8 * KIB;
/// Buffers of TLS.
const TLS: usize = 96 * KIB;
/// What a connection of HTTP takes before anybody is charged: a head and its table, a short body, what is written in
/// one go, task and routes.
const HTTP: usize = HTTP_HEAD + 12 * KIB + 2 * HTTP_SHORT_BODY + HTTP_HEAD + 12 * KIB;
/// Program, page caches of SQLite, queue of the log.
const PROGRAM: usize = 64 << 20;

/// How much more than a stranger's connection of lines that is.
const HTTP_MORE: usize = 40 * KIB;
/// A stranger's connection of lines, beside the line.
const STRANGER: usize = READ_UNAUTHENTICATED + 2 * UNREAD + CONNECTION;
/// The same of somebody who is logged in.
const USER: usize = 2 * READ + UNCHARGED + CONNECTION;

/// What takes memory, by which formula, and how much with these settings.
fn rows(config: &Config) -> Vec<(&'static str, &'static str, usize)> {
    let Config { server, web, database, password, throttle, delivery, limits, .. } = config;
    let is_on = |listen: &Listen| *listen != Listen(None);
    let tls = if is_on(&server.tls_listen) || is_on(&web.tls_listen) { TLS } else { 0 };
    let http = if is_on(&web.listen) || is_on(&web.tls_listen) { HTTP_MORE } else { 0 };
    let short = limits.line_bytes_without_token;
    let unauthenticated = limits.unauthenticated_connections.min(limits.connections);
    let reply = usize::try_from(delivery.reply_bytes).expect("it fits into memory");
    let file = usize::try_from(limits.file_bytes.div_ceil(3) * 4).expect("it fits into memory");
    let hash = usize::try_from(password.memory_kib).expect("it fits into memory") * KIB;
    vec![
        ("program, SQLite, log", "64 MiB", PROGRAM),
        (
            "connections without a token",
            "`unauthenticated_connections` × (`line_bytes_without_token` + 28 KiB, with a listener of `[web]` 40 KiB more, in TLS 96 KiB more)",
            unauthenticated * (short + STRANGER + http + tls),
        ),
        (
            "the other connections",
            "(`connections` − `unauthenticated_connections`) × (`line_bytes_without_token` + 168 KiB, in TLS 96 KiB more)",
            (limits.connections - unauthenticated) * (short + USER + tls),
        ),
        ("long lines, and their texts once more", "2 × `buffered_bytes`", 2 * limits.buffered_bytes),
        ("long replies", "`buffered_reply_bytes`", limits.buffered_reply_bytes),
        (
            "texts that are read from the disk",
            "2 × 3 × (`delivery.reply_bytes` + 4/3 × `limits.file_bytes`)",
            2 * 3 * (reply + file),
        ),
        (
            "texts that no reply has yet",
            "`server.threads` × (`delivery.reply_bytes` + 4/3 × `limits.file_bytes`)",
            server.threads * (reply + file),
        ),
        ("password hashes", "`password.threads` × `password.memory_kib`", password.threads * hash),
        ("logins that wait", "2 × `password.queue` × 4 KiB", 2 * password.queue * 4 * KIB),
        ("throttle", "(`throttle.buckets` + 4096) × 40 bytes", (throttle.buckets + 4_096) * 40),
        ("tail of the message log", "2 × `database.tail_messages` × 512 bytes", 2 * database.tail_messages * 512),
        (
            "copies of its messages in mailboxes",
            "2 × `database.tail_messages` × 16 × 64 bytes",
            2 * database.tail_messages * 16 * 64,
        ),
    ]
}

#[test]
fn the_most_memory_is_what_the_security_document_says() {
    let rows = rows(&Config::default());
    let mut wanted = String::from("| what | formula | MiB |\n|---|---|---|\n");
    for (what, formula, bytes) in &rows {
        wanted.push_str(&format!("| {what} | {formula} | {} |\n", bytes.div_ceil(1 << 20)));
    }
    let sum: usize = rows.iter().map(|(_, _, bytes)| bytes).sum();
    wanted.push_str(&format!("| **all** | | **{}** |\n", sum.div_ceil(1 << 20)));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SECURITY.md");
    let document = fs::read_to_string(path).expect("it is part of the project");
    assert!(document.contains(&wanted), "docs/SECURITY.md must have this table:\n{wanted}");
}

/// A listener of `[web]` is in no other row.
#[test]
fn a_connection_of_http_takes_no_more_than_the_formula_has() {
    const { assert!(HTTP <= STRANGER + HTTP_MORE) };
    // An answer at nobody's charge, and what lies before it.
    const { assert!(HTTP + UNCHARGED + HTTP_HEAD <= USER) };
}

#[test]
fn the_security_document_names_every_limit() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SECURITY.md");
    let document = fs::read_to_string(path).expect("it is part of the project");
    let settings = toml::Table::try_from(Config::default()).expect("the defaults are TOML");
    for key in settings["limits"].as_table().expect("a section").keys() {
        assert!(document.contains(&format!("`limits.{key}`")), "docs/SECURITY.md does not name limits.{key}");
    }
}
