//! The files of the page: what a browser has to load, that every word is there in both languages, and that nothing is
//! put into the page as HTML.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

const ENDINGS: [&str; 6] = ["html", "js", "css", "svg", "png", "webmanifest"];
const KB: usize = 1000;

fn web() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("web")
}

/// What is served, by its path below `web/`.
fn served() -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![web()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("web/ is there") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ENDINGS.iter().any(|one| ending == *one)) {
                let name = path.strip_prefix(web()).expect("it was found there").to_str().expect("our names are ASCII");
                found.insert(name.to_owned(), fs::read(&path).expect("it can be read"));
            }
        }
    }
    assert!(found.len() > 15, "only {} files were found", found.len());
    found
}

fn text<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> &'a str {
    std::str::from_utf8(&files[name]).expect("it is UTF-8")
}

/// What `name` imports before it runs, and what that imports, each with itself.
fn closure(files: &BTreeMap<String, Vec<u8>>, name: &str, found: &mut BTreeSet<String>) {
    if !found.insert(name.to_owned()) || name.starts_with("vendor/") {
        return;
    }
    let folder = Path::new(name).parent().expect("it is in a folder");
    for line in text(files, name).lines().filter(|line| !line.contains("import(")) {
        let Some((_, rest)) = line.split_once(" from '").or_else(|| line.split_once("import '")) else { continue };
        let import = rest.split('\'').next().expect("split gives one");
        let mut parts: Vec<&str> = folder.to_str().expect("ASCII").split('/').collect();
        for part in import.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        closure(files, &parts.join("/"), found);
    }
}

fn zipped(bytes: &[u8]) -> usize {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it").len()
}

#[test]
fn the_first_paint_is_small() {
    let files = served();
    for screen in ["app/login.js", "app/frame.js"] {
        for language in ["lang/id.js", "lang/en.js"] {
            let mut needed = BTreeSet::from(["index.html".to_owned(), "app.css".to_owned()]);
            for name in ["app/main.js", screen, language] {
                closure(&files, name, &mut needed);
            }
            assert!(needed.contains("vendor/preact.js"), "the imports were not found: {needed:?}");
            let bytes: usize = needed.iter().map(|name| files[name].len()).sum();
            let travels: usize = needed.iter().map(|name| zipped(&files[name])).sum();
            println!("{screen}, {language}: {bytes} bytes, {travels} with gzip, {} requests", needed.len());
            assert!(bytes <= 60 * KB, "{bytes} bytes before the first paint: {needed:?}");
            assert!(travels <= 20 * KB, "{travels} bytes with gzip before the first paint: {needed:?}");
            assert!(needed.len() <= 8, "{} requests before the first paint: {needed:?}", needed.len());
        }
    }
}

#[test]
fn the_whole_page_is_small() {
    let bytes: usize = served().values().map(Vec::len).sum();
    println!("{bytes} bytes");
    assert!(bytes <= 216 * KB, "web/ has {bytes} bytes that are served");
}

#[test]
fn the_vendored_file_is_the_one_that_is_written_down() {
    let sum: String = Sha256::digest(&served()["vendor/preact.js"]).iter().map(|byte| format!("{byte:02x}")).collect();
    let readme = fs::read_to_string(web().join("vendor/README.md")).expect("it is there");
    assert!(readme.contains(&sum), "web/vendor/README.md does not have the SHA-256 {sum}");
}

/// The words of a language, by key.
fn words(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(',')?.split_once(": ")).collect()
}

/// All words of a language.
fn all_words(files: &BTreeMap<String, Vec<u8>>, language: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for part in ["js", "inner.js", "account.js"] {
        for (key, word) in words(text(files, &format!("lang/{language}.{part}"))) {
            assert_eq!(all.insert(key.to_owned(), word.to_owned()), None, "{key} stands in two files");
        }
    }
    all
}

/// What is filled in, such as `{n}`.
fn holes(word: &str) -> BTreeSet<&str> {
    word.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
}

#[test]
fn both_languages_have_the_same_words() {
    let files = served();
    let (indonesian, english) = (all_words(&files, "id"), all_words(&files, "en"));
    assert!(english.len() > 50, "only {} words were found", english.len());
    // English has a word for one; Indonesian needs none.
    let plain = |key: &&String| !key.ends_with("_1");
    let (left, right): (BTreeSet<_>, BTreeSet<_>) =
        (indonesian.keys().filter(plain).collect(), english.keys().filter(plain).collect());
    assert_eq!(left, right);
    for (key, word) in &english {
        let other = &indonesian[key.trim_end_matches("_1")];
        assert_eq!(holes(word), holes(other), "{key}");
        assert!(word.len() > 2 && other.len() > 2, "{key} is empty");
    }
}

#[test]
fn every_word_is_used_and_every_used_word_is_there() {
    let files = served();
    let english = all_words(&files, "en");
    let app: String = files.keys().filter(|name| name.starts_with("app/")).map(|name| text(&files, name)).collect();
    for (at, _) in app.match_indices("t('") {
        // The end of a longer name, such as get('…'), is none.
        let is_name = app[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
        let Some((key, rest)) = app[at + 3..].split_once('\'').filter(|_| !is_name) else { continue };
        let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c == '_') && rest.starts_with([')', ',']);
        assert!(!is_key || english.contains_key(key), "the modules use {key:?}, which no file in lang/ has");
    }
    for key in english.keys() {
        let made = ["refused_", "theme_", "scope_", "at_", "why_", "figure_", "status_"];
        let made = made.iter().any(|begin| key.starts_with(begin));
        let one = key.trim_end_matches("_1");
        assert!(made || app.contains(&format!("'{one}'")), "no module uses {key:?}");
    }
}

#[test]
fn the_words_of_what_is_seen_first_are_those_and_no_others() {
    let files = served();
    let first: String =
        ["main", "state", "login", "frame"].map(|name| text(&files, &format!("app/{name}.js"))).concat();
    for language in ["id", "en"] {
        let (seen, inner) = (format!("lang/{language}.js"), format!("lang/{language}.inner.js"));
        for key in words(text(&files, &seen)).keys() {
            let key = key.trim_end_matches("_1");
            assert!(first.contains(&format!("'{key}'")), "{seen}: {key:?} is not seen first, it belongs to {inner}");
        }
        for key in words(text(&files, &inner)).keys() {
            assert!(!first.contains(&format!("t('{key}'")), "{inner}: {key:?} is seen first, it belongs to {seen}");
        }
    }
}

#[test]
fn no_module_puts_a_string_into_the_page_as_html() {
    let files = served();
    let forbidden = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "dangerouslySetInnerHTML",
        "document.write",
        "eval(",
        "new Function",
        "style=",
        ".style.",
        "cssText",
        "DOMParser",
        "createContextualFragment",
        "javascript:",
    ];
    for (name, bytes) in files.iter().filter(|(name, _)| !name.starts_with("vendor/") && !name.ends_with(".png")) {
        let text = std::str::from_utf8(bytes).expect("it is UTF-8");
        for word in forbidden {
            assert!(!text.contains(word), "{name} has {word:?}");
        }
        // Addresses of other hosts: only the namespace of SVG, and the pattern of a link.
        let elsewhere = text.replace("http://www.w3.org/2000/svg", "").replace("/https?:\\/\\/", "");
        assert!(!elsewhere.contains("https://") && !elsewhere.contains("http://"), "{name} names another host");
    }
    let index = text(&files, "index.html");
    assert!(!index.contains("<style") && !index.contains("onload"), "index.html has a style or a handler of its own");
    for script in index.split("<script").skip(1) {
        assert!(script.contains(" src=") && script.contains("></script>"), "index.html has an inline script");
    }
}

#[test]
fn every_module_is_a_page_long_at_most() {
    for (name, bytes) in served().iter().filter(|(name, _)| name.ends_with(".js") && !name.starts_with("vendor/")) {
        let text = std::str::from_utf8(bytes).expect("it is UTF-8");
        assert!(text.lines().count() <= 400, "{name} has over 400 lines");
        let wide = text.lines().find(|line| line.chars().count() > 140);
        assert_eq!(wide, None, "{name} has a line of over 140 columns");
    }
}
