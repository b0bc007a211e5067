//! The fuzz targets' checks on their corpora, on the compiler that everybody has. `cargo +nightly fuzz run TARGET`
//! looks for more.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
mod checks;

type Check = fn(&[u8]);

/// Each target and its check.
const TARGETS: [(&str, Check); 7] = [
    ("config", checks::config::check),
    ("family", checks::family::check),
    ("framer", checks::framer::check),
    ("json", checks::json::check),
    ("name", checks::name::check),
    ("parser", checks::parser::check),
    ("text", checks::text::check),
];

#[test]
fn every_corpus_passes_its_check() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (target, check) in TARGETS {
        assert!(fuzz.join("fuzz_targets").join(target).with_extension("rs").is_file());
        let files: Vec<_> =
            fs::read_dir(fuzz.join("corpus").join(target)).expect("it is part of the project").collect();
        assert!(files.len() >= 8, "{target} has only {} files", files.len());
        for file in files {
            let path = file.expect("it can be listed").path();
            eprintln!("{}", path.display());
            check(&fs::read(&path).expect("it can be read"));
        }
    }
    let targets = fs::read_dir(fuzz.join("fuzz_targets")).expect("it is part of the project").count();
    assert_eq!(targets, TARGETS.len(), "a target has no corpus test");
}
