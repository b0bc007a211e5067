//! What comments and documents name is there: files, settings, tests, commands. A name stands between backquotes, in a
//! link, or at the start of a line of a document's code.

use super::{files_below, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

/// A name, and the file and line that have it.
struct Mention {
    name: String,
    place: String,
}

/// The parts of a line between backquotes.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Where the links of a line lead, without those to other hosts.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()).filter(|link| !link.contains("://"))
}

fn mentions() -> Vec<Mention> {
    let mut found = Vec::new();
    for file in files_below(&root(), &["rs", "md", "toml", "sql"]) {
        let text = fs::read_to_string(&file).expect("it can be read");
        let path = file.strip_prefix(root()).expect("it was found there").to_str().expect("our names are ASCII");
        let mut in_code = false;
        for (number, line) in text.lines().enumerate() {
            let mut add = |name: &str| {
                found.push(Mention { name: name.to_owned(), place: format!("{path}:{}", number + 1) });
            };
            let start = line.trim_start();
            if path.ends_with(".md") {
                in_code ^= start.starts_with("```");
                if in_code {
                    add(start.trim_start_matches("$ "));
                }
                links(line).for_each(&mut add);
                quoted(line).for_each(&mut add);
            } else if ["//", "#", "--"].iter().any(|comment| start.starts_with(comment)) {
                quoted(line).for_each(&mut add);
            }
        }
    }
    assert!(found.len() > 1000, "only {} names were found", found.len());
    found
}

/// Fails with the places of all mentions that the check gives a complaint of.
fn check(least: usize, complaint: impl Fn(&str) -> Option<Result<(), String>>) {
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for Mention { name, place } in mentions() {
        if let Some(outcome) = complaint(&name) {
            checked += 1;
            wrong.extend(outcome.err().map(|why| format!("{place}: `{name}`: {why}")));
        }
    }
    assert!(checked >= least, "only {checked} of them were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_that_are_named_are_there() {
    let folders = ["src/", "tests/", "docs/", "benches/", "fuzz/", "migrations/", "examples/", "packaging/", ".ci/"];
    let endings = [".rs", ".md", ".sql", ".jsonl", ".py", ".sh"];
    let all = files_below(&root(), &["rs", "md", "sql", "jsonl", "py", "sh"]);
    check(40, |name| {
        let path = name.split("::").next().unwrap_or_default();
        if path.contains(|c: char| c.is_whitespace() || "<>*{}$…".contains(c)) {
            return None;
        }
        if folders.iter().any(|folder| path.starts_with(folder)) {
            return Some(root().join(path).exists().then_some(()).ok_or("there is no such file".to_owned()));
        }
        // A file may also be named by the end of its path.
        let named = endings.iter().any(|ending| path.ends_with(ending) && path.len() > ending.len());
        let there = || all.iter().any(|file| file.ends_with(path.trim_start_matches("./").trim_start_matches("../")));
        (named && !path.starts_with('/')).then(|| there().then_some(()).ok_or("there is no such file".to_owned()))
    });
}

/// The settings of `chat.toml`, such as `limits.line_bytes`, by section.
fn settings() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("chat.toml")).expect("it is part of the project");
    let mut settings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, _)) = line.strip_prefix("# ").and_then(|line| line.split_once(" = ")) {
            settings.entry(section.clone()).or_default().insert(key.to_owned());
        }
    }
    settings
}

#[test]
fn settings_that_are_named_are_there() {
    let settings = settings();
    assert!(settings.len() > 5, "only {} sections were found", settings.len());
    check(25, |name| {
        let name = name.split([' ', '=']).next().unwrap_or_default();
        let (section, key) = name.split_once('.')?;
        let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            && !["rs", "db", "socket", "service", "jsonl"].contains(&key);
        let keys = settings.get(section).filter(|_| is_key)?;
        Some(keys.contains(key).then_some(()).ok_or("there is no such setting".to_owned()))
    });
}

/// The names of all functions below the folder.
fn functions(folder: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files_below(&root().join(folder), &["rs"]) {
        let text = fs::read_to_string(file).expect("it can be read");
        let names = text.split("fn ").skip(1).map(|rest| rest.split(['(', '<']).next().unwrap_or_default());
        found.extend(names.map(str::to_owned));
    }
    found
}

#[test]
fn tests_that_are_named_are_there() {
    let (tests, ours) = (functions("tests"), functions("src"));
    assert!(tests.len() > 300, "only {} functions were found", tests.len());
    check(1, |name| {
        let (path, function) = name.rsplit_once("::")?;
        // The names of tests are sentences.
        let is_test = function.matches('_').count() > 2 && !path.contains(' ');
        let there = tests.contains(function) || ours.contains(function);
        is_test.then(|| there.then_some(()).ok_or("there is no such test".to_owned()))
    });
}

/// The commands of the program below this one, and theirs, as lines such as `user add`.
fn commands(above: &str) -> BTreeSet<String> {
    let help = Command::new(env!("CARGO_BIN_EXE_chatd"))
        .args(above.split_whitespace())
        .arg("--help")
        .output()
        .expect("it starts");
    let help = String::from_utf8(help.stdout).expect("our help is UTF-8");
    let Some((_, rest)) = help.split_once("Commands:\n") else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for line in rest.lines().take_while(|line| !line.is_empty()) {
        let indent = line.len() - line.trim_start().len();
        let name = line.split_whitespace().next().filter(|name| indent == 2 && *name != "help");
        if let Some(name) = name {
            let whole = format!("{above} {name}").trim_start().to_owned();
            found.extend(commands(&whole));
            found.insert(whole);
        }
    }
    found
}

#[test]
fn commands_that_are_named_are_there() {
    let commands = commands("");
    assert!(commands.len() > 20, "only {} commands were found", commands.len());
    let has_more = |whole: &str| commands.iter().any(|command| command.starts_with(&format!("{whole} ")));
    check(30, |name| {
        let mut words = name.strip_prefix("chatd ")?.split_whitespace();
        let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
        let mut whole = words.next().filter(is_word)?.to_owned();
        while commands.contains(&whole) && has_more(&whole) {
            let Some(next) = words.next().filter(is_word) else { break };
            whole = format!("{whole} {next}");
        }
        Some(commands.contains(&whole).then_some(()).ok_or(format!("there is no command {whole}")))
    });
}
