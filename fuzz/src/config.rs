//! Any settings file is either used or refused with one line a mistake, and what is used can be shown and read again.

use std::fs;
use std::path::Path;

use chatd::internals::config::{Config, load};

/// The data are a file.
pub fn check(data: &[u8]) {
    let path = file();
    fs::write(&path, data).expect("the file can be written");
    match load(Some(Path::new(&path)), &[]) {
        Err(bad) => {
            assert!(!bad.mistakes().is_empty());
            bad.mistakes().iter().for_each(|mistake| assert_eq!(mistake.lines().count(), 1, "{mistake:?}"));
        }
        Ok(loaded) => {
            let shown = toml::to_string(&loaded.config).expect("settings are TOML");
            assert_eq!(toml::from_str::<Config>(&shown).as_ref(), Ok(&loaded.config));
        }
    }
    let _ = fs::remove_file(path);
}

/// In memory where there is such a place, and of this thread alone.
fn file() -> String {
    let folder = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    format!("{folder}/chatd-fuzz-{}-{:?}.toml", std::process::id(), std::thread::current().id())
}
