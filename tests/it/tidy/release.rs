//! What has a version is told with it: the program and its schemas in the changelog, the commands of the wire in
//! `docs/PROTOCOL.md`.

use std::collections::BTreeSet;
use std::fs;

use super::{files_below, root};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("it can be read")
}

/// The rows of the first table below a heading, without its head, as cells.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, below) = text.split_once(heading).unwrap_or_else(|| panic!("{heading}: there is no such heading"));
    let rows = below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn the_newest_changes_are_those_of_this_version() {
    let changes = read("CHANGELOG.md");
    let newest = changes.lines().find_map(|line| line.strip_prefix("## ")).expect("it has headings");
    let version = newest.split([',', ' ']).next();
    assert_eq!(
        version,
        Some(env!("CARGO_PKG_VERSION")),
        "CHANGELOG.md begins with another version than Cargo.toml has"
    );
}

#[test]
fn what_is_typed_and_pulled_is_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for file in ["docs/INSTALL.md", "packaging/container/compose.yaml"] {
        let text = read(file);
        let mut found = 0;
        for rest in ["localhost/chatd:", "load -i chatd-", "tar -xf chatd-", "./chatd-"]
            .iter()
            .flat_map(|before| text.split(before).skip(1))
        {
            assert!(rest.starts_with(version), "{file} names another version than Cargo.toml has");
            found += 1;
        }
        assert!(found > 0, "{file} names no version");
    }
}

#[test]
fn the_package_names_nobody_who_knows_nothing_of_it() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("cargo reads it");
    let package = &manifest["package"];
    // It was that of the program of 2020.
    assert_eq!(package.get("repository"), None);
    let authors = package.get("authors").and_then(toml::Value::as_array).into_iter().flatten();
    for person in authors.chain([&package["metadata"]["deb"]["maintainer"]]) {
        let address = person.as_str().and_then(|person| person.split_once('<')?.1.strip_suffix('>'));
        let (name, host) = address.and_then(|address| address.split_once('@')).expect("it is NAME <ADDRESS>");
        assert!(name != "root" && host.contains('.'), "{person} reaches nobody");
    }
}

#[test]
fn every_schema_has_its_way_up_and_back() {
    let told: Vec<String> = table(&read("CHANGELOG.md"), "## Schemas").into_iter().map(|row| row[0].clone()).collect();
    let migrations = files_below(&root().join("migrations/sqlite"), &["sql"]);
    let number = |file: &std::path::PathBuf| {
        let name = file.file_name().expect("it is a file").to_str().expect("our names are ASCII");
        name.split('_').next().expect("it has a number").trim_start_matches('0').to_owned()
    };
    let there: Vec<String> = migrations.iter().map(number).collect();
    assert_eq!(told, there, "\"Schemas of the database\" in CHANGELOG.md does not name each migration");
}

#[test]
fn every_command_is_of_a_version_of_the_wire() {
    let versions = table(&read("docs/PROTOCOL.md"), "## Versions");
    let told: BTreeSet<String> =
        versions.iter().flat_map(|row| row[2].split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    let grammar = read("src/protocol/grammar.rs");
    let (_, rows) = grammar.split_once("\ngrammar! {").expect("the grammar is there");
    let rows = rows.lines().take_while(|line| *line != "}").filter_map(|line| line.trim().strip_prefix('"'));
    let there: BTreeSet<String> = rows.filter_map(|row| row.split_once('"')).map(|(name, _)| name.to_owned()).collect();
    assert_eq!(told, there, "\"Versions\" in docs/PROTOCOL.md does not name each command");
    let newest = versions.last().expect("there are versions")[0].clone();
    let wire = format!("pub const WIRE: u32 = {newest};");
    assert!(read("src/protocol/mod.rs").replace("pub(crate)", "pub").contains(&wire), "WIRE is not {newest}");
}
