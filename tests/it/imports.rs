//! Data flows one way, and so do the imports: this reads every `use crate::…` and fails, with file and line, where one
//! points back up.

use std::fs;
use std::path::{Path, PathBuf};

/// What each room may use of ours; a room is a file of `src` or a folder of it, and may use what is inside it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &[]),
    ("model", &[]),
    ("fair", &[]),
    ("charge", &["fair", "model"]),
    ("clock", &["model"]),
    ("protocol", &["model"]),
    ("auth::password", &["fair", "ops::vital"]),
    ("auth::throttle", &["charge"]),
    ("auth", &[]),
    ("ops::journal", &["ops::log_queue"]),
    ("ops::log_queue", &["ops::metrics", "ops::vital"]),
    ("ops::systemd", &["transport::stream"]),
    ("ops", &[]),
    ("repository::group_commit", &[]),
    ("repository::memory", &["repository", "model"]),
    ("repository", &["clock", "model", "ops::metrics", "fair", "ops::vital"]),
    ("service", &["charge", "model", "protocol", "repository", "auth", "ops::metrics"]),
    ("transport::admission", &["charge", "model"]),
    ("transport::stream", &[]),
    ("transport::tls", &["transport::stream"]),
    ("transport::confirmation", &["service"]),
    ("transport::line::framer", &[]),
    ("transport::line", &["charge", "transport", "model", "protocol", "service"]),
    ("transport", &[]),
    ("server", &["transport", "service", "protocol", "ops::metrics"]),
    ("client", &["protocol", "model", "transport::stream"]),
    ("admin", &["ops::log_limit", "repository", "model"]),
    ("config", &["auth::password"]),
    ("cli::chat", &["cli", "client", "config", "protocol", "model"]),
    ("cli::admin", &["cli", "admin", "auth::password", "client", "config", "model", "repository", "transport::tls"]),
    (
        "cli",
        &[
            "admin",
            "auth",
            "charge",
            "clock",
            "config",
            "model",
            "ops",
            "protocol",
            "repository",
            "server",
            "service",
            "transport",
        ],
    ),
];

fn room_of(path: &Path) -> String {
    let path = path.strip_prefix(source()).expect("it was found there").with_extension("");
    let name = path.to_str().expect("our names are ASCII").replace('/', "::");
    name.strip_suffix("::mod").unwrap_or(&name).to_owned()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("it is part of the project") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules of ours that a line imports, as paths below `crate`.
fn imports(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (place, _) in line.match_indices("crate::") {
        let rest = &line[place + "crate::".len()..];
        let path: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_' || *c == ':').collect();
        found.push(path.trim_end_matches(':').to_owned());
    }
    found
}

#[test]
fn arrows_point_down() {
    let mut files = Vec::new();
    rust_files(&source(), &mut files);
    assert!(files.len() > 15, "only {} files were found", files.len());
    let (mut wrong, mut arrows) = (Vec::new(), 0);
    for file in files {
        let room = room_of(&file);
        let inside = |path: &str, of: &str| path == of || path.starts_with(&format!("{of}::"));
        let rule = MAY_USE.iter().filter(|(of, _)| inside(&room, of)).max_by_key(|(of, _)| of.len());
        let Some((of, may)) = rule else {
            wrong.push(format!("{}: the room {room} is in no rule of this test", file.display()));
            continue;
        };
        let text = fs::read_to_string(&file).expect("it can be read");
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for import in imports(line).iter().filter(|import| !import.is_empty()) {
                arrows += 1;
                if !inside(import, of) && !may.iter().any(|may| inside(import, may)) {
                    wrong.push(format!("{}:{}: {room} must not use {import}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(arrows > 30, "only {arrows} imports were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn an_upward_arrow_is_found() {
    assert_eq!(imports("use crate::service::{Lease, Peer};"), ["service"]);
    assert_eq!(imports("    let x = crate::password::check(cost);"), ["password::check"]);
}

/// Where something is started that may die without notice, and why that is right.
const STARTED: [(&str, &str); 7] = [
    ("ops/vital.rs", "here all threads are started, and who dies is told of"),
    ("repository/sqlite/loading.rs", "the writer and the checkpointer: tasks of `vital` on threads of the runtime"),
    ("admin/server.rs", "a panic while an administrator is answered ends that answer"),
    ("cli/serve/metrics.rs", "a panic while Prometheus is answered ends that answer"),
    (
        "transport/line/connection/long_reply.rs",
        "a panic while a reply is rendered ends its connection, which asked for it",
    ),
    ("cli/chat/script.rs", "a client: its command fails with the task, and says so"),
    ("cli/chat/client/live.rs", "the client: a panic there is on the screen of who runs it"),
];

#[test]
fn no_thread_and_no_task_of_the_servers_is_started_where_its_death_goes_unnoticed() {
    let mut files = Vec::new();
    rust_files(&source(), &mut files);
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("it can be read");
        // Unit tests stand at the end, or in a file of their own.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let starts =
            ["Builder::new().name", "Builder::new().spawn", "thread::spawn(", "spawn_blocking(", "tokio::spawn("];
        if starts.iter().any(|start| text.contains(start)) && !file.ends_with("tests.rs") {
            let path = file.strip_prefix(source()).expect("it was found there");
            found.push(path.to_str().expect("our names are ASCII").to_owned());
        }
    }
    found.sort();
    let mut allowed: Vec<&str> = STARTED.iter().map(|(file, _)| *file).collect();
    allowed.sort_unstable();
    assert_eq!(found, allowed, "start it with `vital`, or give a reason in this test");
}
