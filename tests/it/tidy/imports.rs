//! Data flows one way, and so do the imports: this reads every path of ours, also from `super`, and fails, with file
//! and line, where one points back up, or where files or folders that lie beside each other use each other in a circle.

use super::{Source, is_for_tests, sources};
use std::collections::{BTreeMap, BTreeSet};
use syn::UseTree;
use syn::visit::Visit;

/// What each room may use of ours; a room is a file of `src` or a folder of it, and may use what is inside it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &["cli"]),
    ("internals", &["auth", "charge", "clock", "config", "repository", "service", "transport"]),
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
    ("ops", &[]),
    ("repository::group_commit", &[]),
    ("repository::memory", &["repository", "model"]),
    ("repository", &["clock", "model", "ops::metrics", "fair", "ops::vital"]),
    ("release", &["protocol", "repository"]),
    ("service", &["charge", "fair", "model", "protocol", "repository", "auth", "ops::metrics"]),
    ("transport::admission", &["charge", "model"]),
    ("transport::stream", &[]),
    ("transport::tls", &["charge", "fair", "transport::stream"]),
    ("transport::confirmation", &["service"]),
    ("transport::line::framer", &[]),
    ("transport::line", &["charge", "transport", "model", "protocol", "service"]),
    ("transport::web", &["charge", "fair", "transport", "model", "protocol", "service"]),
    ("transport", &[]),
    ("server", &["transport", "service", "protocol", "ops::metrics"]),
    ("client", &["protocol", "model", "transport::stream"]),
    ("acme", &["client::tls", "model", "transport::tls"]),
    ("admin", &["ops::log_limit", "release", "repository", "model"]),
    ("config", &["auth::password", "model"]),
    ("cli::chat", &["cli", "client", "config", "protocol", "model"]),
    (
        "cli::admin",
        &["cli", "admin", "auth::password", "client", "config", "model", "release", "repository", "transport::tls"],
    ),
    (
        "cli",
        &[
            "acme",
            "admin",
            "auth",
            "charge",
            "clock",
            "config",
            "model",
            "ops",
            "protocol",
            "release",
            "repository",
            "server",
            "service",
            "transport",
        ],
    ),
];

/// Every path of ours that a file names, in a `use` or beside one, as a path below the crate.
struct Paths<'a> {
    at: Vec<String>,
    modules: &'a BTreeSet<Vec<String>>,
    /// The line, and the module in which the thing lies.
    found: Vec<(usize, Vec<String>)>,
}

impl Paths<'_> {
    fn add(&mut self, line: usize, path: &[String]) {
        let mut whole = match path[0].as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.at.clone(),
            _ => return,
        };
        for part in path {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => drop(whole.pop()),
                _ => whole.push(part.clone()),
            }
        }
        while !self.modules.contains(&whole) {
            whole.pop();
        }
        self.found.push((line, whole));
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.add(name.ident.span().start().line, &with(&name.ident)),
            UseTree::Rename(name) => self.add(name.ident.span().start().line, &with(&name.ident)),
            UseTree::Glob(glob) => self.add(glob.star_token.spans[0].start().line, before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // Unit tests may look at more than what they test may use.
        if !is_for_tests(&item.attrs) {
            self.at.push(item.ident.to_string());
            syn::visit::visit_item_mod(self, item);
            self.at.pop();
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.add(path.segments[0].ident.span().start().line, &names);
        }
        syn::visit::visit_path(self, path);
    }
}

/// Every arrow: file, line, the file's module, and the module that it uses. Files of unit tests draw none.
fn arrows(sources: &[Source]) -> Vec<(&str, usize, Vec<String>, Vec<String>)> {
    let modules: BTreeSet<Vec<String>> = sources.iter().map(|source| source.module.clone()).collect();
    let mut arrows = Vec::new();
    for source in sources.iter().filter(|source| !source.path.ends_with("tests.rs")) {
        let mut paths = Paths { at: source.module.clone(), modules: &modules, found: Vec::new() };
        paths.visit_file(&source.tree);
        let away = paths.found.into_iter().filter(|(_, to)| *to != source.module);
        arrows.extend(away.map(|(line, to)| (source.path.as_str(), line, source.module.clone(), to)));
    }
    assert!(arrows.len() > 200, "only {} imports were found", arrows.len());
    arrows
}

#[test]
fn arrows_point_down() {
    let sources = sources();
    let inside = |path: &str, of: &str| path == of || path.starts_with(&format!("{of}::"));
    let mut wrong = Vec::new();
    for (file, line, from, to) in arrows(&sources) {
        let (from, to) = (if from.is_empty() { "lib".to_owned() } else { from.join("::") }, to.join("::"));
        let rule = MAY_USE.iter().filter(|(of, _)| inside(&from, of)).max_by_key(|(of, _)| of.len());
        match rule {
            None => wrong.push(format!("{file}:{line}: the room {from} is in no rule of this test")),
            Some((of, may)) if !inside(&to, of) && !may.iter().any(|may| inside(&to, may)) => {
                wrong.push(format!("{file}:{line}: {from} must not use {to}"));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// An arrow between two that lie in the same folder, which is given first, and where it stands.
type SiblingArrow<'a> = (&'a [String], &'a str, &'a str, String);

/// The arrow drawn between the two folders or files, beside each other, in which its ends lie. A folder and what is in
/// it may use each other: its `mod.rs` has the types, and the files beside it have their methods.
fn between_siblings<'a>(from: &'a [String], to: &'a [String], place: String) -> Option<SiblingArrow<'a>> {
    let common = from.iter().zip(to).take_while(|(one, other)| one == other).count();
    Some((&from[..common], from.get(common)?, to.get(common)?, place))
}

/// Everything that can be reached from `start`.
fn reached<'a>(from: &BTreeMap<&'a str, BTreeSet<&'a str>>, start: &str) -> BTreeSet<&'a str> {
    let (mut found, mut next) = (BTreeSet::new(), vec![start]);
    while let Some(one) = next.pop() {
        for other in from.get(one).into_iter().flatten() {
            if found.insert(*other) {
                next.push(other);
            }
        }
    }
    found
}

/// The arrows that are part of a circle.
fn circles<'a>(arrows: &'a [SiblingArrow<'a>]) -> Vec<&'a SiblingArrow<'a>> {
    let mut folders: BTreeMap<&[String], BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for (folder, from, to, _) in arrows {
        folders.entry(*folder).or_default().entry(*from).or_default().insert(*to);
    }
    arrows.iter().filter(|(folder, from, to, _)| reached(&folders[folder], to).contains(from)).collect()
}

#[test]
fn no_circle_of_imports() {
    let sources = sources();
    let arrows = arrows(&sources);
    let between: Vec<SiblingArrow<'_>> = arrows
        .iter()
        .filter_map(|(file, line, from, to)| between_siblings(from, to, format!("{file}:{line}")))
        .collect();
    assert!(between.len() > 200, "only {} arrows were found", between.len());
    let wrong: Vec<String> = circles(&between)
        .into_iter()
        .map(|(folder, from, to, place)| format!("{place}: in {folder:?} {from} uses {to}, which leads back"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_circle_is_found_where_there_is_one() {
    let path = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
    let paths = [
        // a circle of three folders, seen from the files in them
        ("a::x", "b"),
        ("b::y", "c::z"),
        ("c", "a"),
        // not part of it
        ("d", "a"),
        // a folder and its file
        ("e", "e::f"),
        ("e::f", "e"),
        // the same names in two folders are not one circle
        ("e::g", "e::h"),
        ("h", "g"),
    ];
    let paths = paths.map(|(from, to)| (path(from), path(to)));
    let arrows: Vec<_> = paths.iter().filter_map(|(from, to)| between_siblings(from, to, from.join("::"))).collect();
    let found: Vec<&str> = circles(&arrows).into_iter().map(|(.., place)| place.as_str()).collect();
    assert_eq!(found, ["a::x", "b::y", "c"]);
}

#[test]
fn a_path_above_is_followed() {
    let modules = ["a", "a::b", "a::c", "d"].map(|path| path.split("::").map(str::to_owned).collect()).into();
    let mut paths = Paths { at: vec!["a".to_owned(), "b".to_owned()], modules: &modules, found: Vec::new() };
    paths.visit_file(&syn::parse_str("use super::{c::Thing, Other}; fn f() { crate::d::g(std::mem::take) }").unwrap());
    let found: Vec<String> = paths.found.iter().map(|(_, module)| module.join("::")).collect();
    assert_eq!(found, ["a::c", "a", "d"]);
}

/// Where something is started that may die without notice, and why that is right.
const STARTED: [(&str, &str); 19] = [
    ("ops/vital.rs", "here all threads are started, and who dies is told of"),
    ("repository/sqlite/loading.rs", "the writer and the checkpointer: tasks of `vital` on threads of the runtime"),
    ("repository/postgres/delivery.rs", "a panic there is the answer to who asks for an inbox"),
    ("repository/sqlite/keyed_send.rs", "a panic there is the answer to who sends, and says that the store is closed"),
    ("service/files.rs", "a panic while a file is read is an error to who sends it"),
    ("admin/server.rs", "a panic while an administrator is answered ends that answer"),
    ("cli/serve/metrics.rs", "a panic while Prometheus is answered ends that answer"),
    ("acme/state.rs", "a panic while a key is read or stored is in the log, and is tried again"),
    ("transport/web/inbox.rs", "a delivery that nobody acknowledges: a panic there holds it until the session ends"),
    ("transport/tls/handshake.rs", "a panic in a handshake ends its connection, which asked for it"),
    (
        "transport/line/connection/long_reply.rs",
        "a panic while a reply is rendered ends its connection, which asked for it",
    ),
    ("transport/web/reply_charge.rs", "a panic while an answer is made is an error to who asked for it"),
    ("transport/web/push/mod.rs", "a panic while a browser is told is that it is not told, and is in the log"),
    ("cli/admin/snapshot.rs", "a command: where no answer comes it reads the database itself"),
    ("cli/chat/script.rs", "a client: its command fails with the task, and says so"),
    ("cli/chat/screen/mod.rs", "a client: what its connections say is on its screen, and a panic is said by the hook"),
    ("cli/chat/screen/terminal.rs", "a client: without its keyboard it ends"),
    ("client/file.rs", "a client: its call fails with the task, and says so"),
    ("cli/chat/client/live.rs", "the client: a panic there is on the screen of who runs it"),
];

#[test]
fn no_thread_and_no_task_of_the_servers_is_started_where_its_death_goes_unnoticed() {
    let mut found = Vec::new();
    for Source { path, text, .. } in sources() {
        // Unit tests stand at the end, or in a file of their own.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let starts =
            ["Builder::new().name", "Builder::new().spawn", "thread::spawn(", "spawn_blocking(", "tokio::spawn("];
        if starts.iter().any(|start| text.contains(start)) && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found.sort();
    let mut allowed: Vec<&str> = STARTED.iter().map(|(file, _)| *file).collect();
    allowed.sort_unstable();
    assert_eq!(found, allowed, "start it with `vital`, or give a reason in this test");
}
