//! Tells the program which commit it is built from: `CHATD_COMMIT`, where that is set, or what git says. And puts the
//! page into it: each file of `web/` with its type, its bytes and a gzip twin, and one hash of them all. Where
//! `index.html`, `sw.js` or `manifest.webmanifest` says `/a/HASH/`, the hash is put in.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CHATD_COMMIT");
    let given = env::var("CHATD_COMMIT").ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = given.or_else(commit) {
        println!("cargo::rustc-env=EMBEDDED_COMMIT={commit}");
    }
    page();
}

/// The commit of the sources, if they are a git checkout of their own. A debug build does not ask: each commit would
/// make it anew.
fn commit() -> Option<String> {
    if env::var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    let sources = fs::canonicalize(".").ok()?;
    if Path::new(&git(&["rev-parse", "--show-toplevel"])?) != sources {
        return None;
    }
    for watched in ["src", "web", "migrations", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    // The log of HEAD grows with every commit and checkout. What is not there would be looked at at every build.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !said.is_empty()).then_some(said)
}

/// What is served, by the ending of its name. All else in `web/` is for those who work on it.
const TYPES: &[(&str, &str)] = &[
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("webmanifest", "application/manifest+json"),
];

fn content_type(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?.to_str()?;
    TYPES.iter().find(|(of, _)| *of == ending).map(|(_, content_type)| *content_type)
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("web/ can be read") {
        let path = entry.expect("web/ can be listed").path();
        match path.is_dir() {
            true => files_below(&path, found),
            false => found.push(path),
        }
    }
}

fn page() {
    println!("cargo::rerun-if-changed=web");
    let variable = |name: &str| PathBuf::from(env::var_os(name).expect("cargo sets it"));
    let (web, out) = (variable("CARGO_MANIFEST_DIR").join("web"), variable("OUT_DIR"));
    let mut paths = Vec::new();
    files_below(&web, &mut paths);
    paths.sort();
    let files = paths.iter().filter_map(|path| {
        let name = path.strip_prefix(&web).expect("it was found there").to_str().expect("our names are UTF-8");
        Some((name, content_type(path)?, fs::read(path).expect("it can be read")))
    });
    let files: Vec<_> = files.collect();
    let mut all = Sha256::new();
    for (name, _, bytes) in &files {
        all.update((name.len() as u64).to_le_bytes());
        all.update(name);
        all.update((bytes.len() as u64).to_le_bytes());
        all.update(bytes);
    }
    let hash: String = all.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    println!("cargo::rustc-env=EMBEDDED_PAGE={hash}");
    let mut table = format!("const HASH: &str = \"{hash}\";\nconst ASSETS: &[Asset] = &[\n");
    for (number, (name, content_type, bytes)) in files.into_iter().enumerate() {
        let bytes = match name.ends_with(".html") || name.ends_with(".webmanifest") || name == "sw.js" {
            true => {
                String::from_utf8(bytes).expect("it is UTF-8").replace("/a/HASH/", &format!("/a/{hash}/")).into_bytes()
            }
            false => bytes,
        };
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes).expect("memory takes it");
        let gzip = encoder.finish().expect("memory takes it");
        fs::write(out.join(format!("{number}")), &bytes).expect("cargo's directory can be written");
        fs::write(out.join(format!("{number}.gz")), &gzip).expect("cargo's directory can be written");
        writeln!(
            table,
            "    Asset {{ name: {name:?}, content_type: {content_type:?}, \
             bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{number}\")), \
             gzip: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{number}.gz\")) }},",
        )
        .expect("memory takes it");
    }
    table.push_str("];\n");
    fs::write(out.join("assets.rs"), table).expect("cargo's directory can be written");
}
