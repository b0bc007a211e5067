//! The most memory that the server can take, added up from the settings: what docs/SECURITY.md shows is compared with
//! the defaults here.

use std::fs;
use std::path::Path;

use chatd::internals::charge::{READ, READ_UNAUTHENTICATED, UNCHARGED, UNREAD};
use chatd::internals::config::{Config, Listen};

const KIB: usize = 1 << 10;
/// A connection that is idle: task, slot, small buffers.
const CONNECTION: usize = 8 * KIB;
/// Buffers of TLS.
const TLS: usize = 96 * KIB;
/// Program, page caches of SQLite, queue of the log.
const PROGRAM: usize = 64 << 20;

/// What takes memory, by which formula, and how much with these settings.
fn rows(config: &Config) -> Vec<(&'static str, &'static str, usize)> {
    let Config { server, database, password, throttle, delivery, limits, .. } = config;
    let tls = if server.tls_listen == Listen(None) { 0 } else { TLS };
    let short = limits.line_bytes_without_token;
    let unauthenticated = limits.unauthenticated_connections.min(limits.connections);
    let reply = usize::try_from(delivery.reply_bytes).expect("it fits into memory");
    let hash = usize::try_from(password.memory_kib).expect("it fits into memory") * KIB;
    vec![
        ("program, SQLite, log", "64 MiB", PROGRAM),
        (
            "connections without a token",
            "`unauthenticated_connections` × (`line_bytes_without_token` + 28 KiB, in TLS 96 KiB more)",
            unauthenticated * (short + READ_UNAUTHENTICATED + 2 * UNREAD + CONNECTION + tls),
        ),
        (
            "the other connections",
            "(`connections` − `unauthenticated_connections`) × (`line_bytes_without_token` + 168 KiB, in TLS 96 KiB more)",
            (limits.connections - unauthenticated) * (short + 2 * READ + UNCHARGED + CONNECTION + tls),
        ),
        ("long lines, and their texts once more", "2 × `buffered_bytes`", 2 * limits.buffered_bytes),
        ("long replies", "`buffered_reply_bytes`", limits.buffered_reply_bytes),
        ("texts that are read from the disk", "2 × 3 × `delivery.reply_bytes`", 2 * 3 * reply),
        ("password hashes", "`password.threads` × `password.memory_kib`", password.threads * hash),
        ("logins that wait", "2 × `password.queue` × 4 KiB", 2 * password.queue * 4 * KIB),
        ("throttle", "`throttle.buckets` × 40 bytes", throttle.buckets * 40),
        ("tail of the message log", "2 × `database.tail_messages` × 512 bytes", 2 * database.tail_messages * 512),
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

#[test]
fn the_security_document_names_every_limit() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SECURITY.md");
    let document = fs::read_to_string(path).expect("it is part of the project");
    let settings = toml::Table::try_from(Config::default()).expect("the defaults are TOML");
    for key in settings["limits"].as_table().expect("a section").keys() {
        assert!(document.contains(&format!("`limits.{key}`")), "docs/SECURITY.md does not name limits.{key}");
    }
}
