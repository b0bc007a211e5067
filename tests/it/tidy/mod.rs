//! How the code is laid out: `imports` (data flows one way), `shape` (lengths), `types` (one name, one meaning),
//! `mentions` (what comments and documents name is there) and `release` (what has a version is told with it). The
//! sources are read as Rust, not as text.

mod imports;
mod mentions;
mod release;
mod shape;
mod types;

use std::fs;
use std::path::{Path, PathBuf};

/// One file of `src`.
struct Source {
    /// Below `src`, such as `repository/mod.rs`.
    path: String,
    /// Its module, such as `["repository"]`; the crate's root is empty.
    module: Vec<String>,
    text: String,
    tree: syn::File,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files below the folder with one of these endings, sorted. What builds leave behind and broken
/// settings are not among them.
fn files_below(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("it is part of the project") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            if !["target", ".git", "corpus", "artifacts", "bad_configs"].iter().any(|left_out| path.ends_with(left_out))
            {
                found.extend(files_below(&path, endings));
            }
        } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let folder = root().join("src");
    let sources: Vec<Source> = files_below(&folder, &["rs"])
        .into_iter()
        .map(|file| {
            let path = file.strip_prefix(&folder).expect("it was found there");
            let mut module: Vec<String> = path
                .with_extension("")
                .iter()
                .map(|part| part.to_str().expect("our names are ASCII").to_owned())
                .collect();
            if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
                module.pop();
            }
            let path = path.to_str().expect("our names are ASCII").to_owned();
            let text = fs::read_to_string(&file).expect("it can be read");
            let tree = syn::parse_file(&text).unwrap_or_else(|why| panic!("{path}: {why}"));
            Source { path, module, text, tree }
        })
        .collect();
    assert!(sources.len() > 50, "only {} files were found", sources.len());
    sources
}

/// Whether an item is only there for tests.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}
