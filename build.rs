//! Tells the program which commit it is built from: `CHATD_COMMIT`, where that is set, or what git says.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CHATD_COMMIT");
    let given = env::var("CHATD_COMMIT").ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = given.or_else(commit) {
        println!("cargo::rustc-env=CHATD_COMMIT={commit}");
    }
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
