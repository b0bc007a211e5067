//! Reads the settings from defaults, a file, the environment and flags, in this order. Reports all mistakes at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::de::{DeString, DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::range::Range;
use super::{BadConfig, Config, check, place};

/// Settings with where they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedConfig {
    pub config: Config,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// Neither a flag nor `$CHATD_CONFIG` named the file. It was found in the working directory.
    pub file_unasked: bool,
    /// The settings that do not have their defaults because file, environment or flags say so.
    pub set: BTreeSet<String>,
    /// What is odd but no error, a line each.
    pub warnings: Vec<String>,
}

const PREFIX: &str = "CHATD_";
/// Variables that are no settings: the name of the file, and those of the client.
const OTHER_VARIABLES: [&str; 7] = [
    "CHATD_CONFIG",
    "CHATD_CONNECT",
    "CHATD_USER",
    "CHATD_PASSWORD",
    "CHATD_PASSWORD_FILE",
    "CHATD_TLS",
    "CHATD_TLS_CA",
];

/// Reads the settings. `flags` are `key=value` from the command line.
pub fn load(asked: Option<&Path>, flags: &[String]) -> Result<LoadedConfig, BadConfig> {
    let (loaded, mistakes) = read(asked, flags)?;
    BadConfig::all(mistakes)?;
    Ok(loaded)
}

/// The same for a caller that looks for more mistakes. A setting with a mistake has its default, or a rule is broken.
pub(crate) fn read(asked: Option<&Path>, flags: &[String]) -> Result<(LoadedConfig, Vec<String>), BadConfig> {
    let mut sources = Sources { known: keys(), ..Sources::default() };
    if let Some(state) = std::env::var_os("STATE_DIRECTORY") {
        // systemd names the service's own directory; several would be separated by colons.
        let state = state.to_string_lossy().split(':').next().unwrap_or_default().to_owned();
        sources.put("database.url", Value::String(format!("sqlite://{state}/chat.db")));
    }
    let found = place::find(asked)?;
    if let Some(found) = &found {
        sources.take_file(&found.path, &found.bytes)?;
    }
    sources.take_environment();
    sources.take_flags(flags);
    let Sources { merged, set, bad, mistakes, warnings, .. } = sources;
    let mut mistakes: Vec<_> = mistakes.into_iter().map(|(_, why)| why).collect();
    let config: Config = merged.try_into().map_err(|e: toml::de::Error| BadConfig::new(e.message()))?;
    // A rule about a setting that is wrong by itself says nothing.
    let together = check::together(&config).into_iter().filter(|(keys, _)| !keys.iter().any(|key| bad.contains(*key)));
    mistakes.extend(together.map(|(_, why)| why));
    let file_unasked = found.as_ref().is_some_and(|found| found.unasked);
    Ok((LoadedConfig { set, config, file: found.map(|found| found.path), file_unasked, warnings }, mistakes))
}

/// What was read so far.
#[derive(Default)]
struct Sources {
    known: BTreeSet<String>,
    merged: Table,
    /// Settings for which somebody gave a value.
    set: BTreeSet<String>,
    /// Settings with a value that is wrong by itself; what is said about them is in `mistakes`.
    bad: BTreeSet<String>,
    /// The setting, where it is one, and what is wrong.
    mistakes: Vec<(String, String)>,
    warnings: Vec<String>,
}

impl Sources {
    fn put(&mut self, key: &str, value: Value) {
        if let Some((section, name)) = key.split_once('.') {
            let section = self.merged.entry(section).or_insert_with(|| Table::new().into());
            section.as_table_mut().and_then(|section| section.insert(name.to_owned(), value));
        }
    }

    /// Says what is wrong, but not with the value of a setting.
    fn complain(&mut self, why: String) {
        self.mistakes.push((String::new(), why));
    }

    /// Takes one value, or says what is wrong with it; `place` is where it stands.
    fn take(&mut self, key: &str, value: Value, place: &str) {
        match check::alone(key, &value) {
            None => {
                // What came before does not count any more, whatever it was.
                self.mistakes.retain(|(of, _)| of != key);
                self.bad.remove(key);
                self.put(key, value);
                self.set.insert(key.to_owned());
            }
            Some(why) => {
                self.mistakes.push((key.to_owned(), format!("{place}: {why}")));
                self.bad.insert(key.to_owned());
            }
        }
    }

    fn take_file(&mut self, path: &Path, bytes: &[u8]) -> Result<(), BadConfig> {
        let path = path.display();
        let text = std::str::from_utf8(bytes).map_err(|e| {
            BadConfig::new(format!("{path}: byte {} is no UTF-8: save it as UTF-8", e.valid_up_to() + 1))
        })?;
        if text.starts_with('\u{feff}') {
            let why = "the file begins with a byte order mark (BOM): save it as UTF-8 without one";
            return Err(BadConfig::new(format!("{path}:1: {why}")));
        }
        let place = |start: usize| {
            let number = text[..start].matches('\n').count() + 1;
            format!("{path}:{number}: {}", text.lines().nth(number - 1).unwrap_or_default().trim())
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        let errors = errors.iter().map(|error| {
            let start = error.span().map_or(0, |span| span.start);
            format!("{}: {}", place(start), error.message().replace('\n', " "))
        });
        // One slip often gives several errors in its line.
        let mut errors: Vec<String> = errors.collect();
        errors.dedup_by_key(|error| error.splitn(3, ':').take(2).collect::<Vec<_>>().join(":"));
        BadConfig::all(errors)?;
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(section, _)| section.span().start);
        for (section, content) in entries {
            self.take_section(section, content.get_ref(), &place);
        }
        Ok(())
    }

    fn take_section(
        &mut self,
        section: &Spanned<DeString<'_>>,
        content: &DeValue<'_>,
        place: &dyn Fn(usize) -> String,
    ) {
        let name = &**section.get_ref();
        let prefix = format!("{name}.");
        let of_section: Vec<_> = self.known.iter().filter_map(|key| key.strip_prefix(&prefix)).collect();
        if of_section.is_empty() {
            let sections: BTreeSet<_> = self.known.iter().filter_map(|key| key.split('.').next()).collect();
            let sections = sections.into_iter().collect::<Vec<_>>().join(", ");
            let place = place(section.span().start);
            return self.complain(format!("{place}: there is no section {name:?}; there are {sections}"));
        }
        let of_section = of_section.join(", ");
        let Some(keys) = content.as_table() else {
            let place = place(section.span().start);
            return self.complain(format!("{place}: {name} is a section: write [{name}]"));
        };
        let mut entries: Vec<_> = keys.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let place = place(key.span().start);
            let full = format!("{prefix}{}", key.get_ref());
            if !self.known.contains(&full) {
                self.complain(format!("{place}: there is no setting {full:?}; [{name}] has {of_section}"));
            } else if let Ok(value) = Value::deserialize(value.clone().into_deserializer()) {
                self.take(&full, value, &place);
            } else {
                // The only values of TOML that have no type here are integers of more than 64 bits.
                let range = Range::of(&full).map_or("less".to_owned(), Range::to_string);
                self.mistakes.push((full.clone(), format!("{place}: the number is too large; it must be {range}")));
                self.bad.insert(full);
            }
        }
    }

    fn take_environment(&mut self) {
        for (variable, value) in std::env::vars_os() {
            let variable = variable.to_string_lossy();
            let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
            let key = rest.to_lowercase().replace("__", ".");
            if self.known.contains(&key) {
                let value = value.to_string_lossy();
                self.take(&key, typed(&key, &value), &format!("{variable}={value}"));
            } else if !OTHER_VARIABLES.contains(&&*variable) {
                self.warnings.push(format!("the environment variable {variable} is no setting of chatd's"));
            }
        }
    }

    fn take_flags(&mut self, flags: &[String]) {
        for flag in flags {
            match flag.split_once('=') {
                None => self.complain(format!("--set {flag}: want KEY=VALUE")),
                Some((key, value)) if self.known.contains(key) => {
                    self.take(key, typed(key, value), &format!("--set {flag}"));
                }
                Some((key, _)) => self.complain(format!("--set {flag}: there is no setting {key:?}")),
            }
        }
    }
}

/// Converts a text to the type of its setting.
fn typed(key: &str, text: &str) -> Value {
    let is_number = Range::of(key).is_some_and(|range| !range.is_time());
    let is_switch = defaults().get(key).is_some_and(Value::is_bool);
    match (text.parse(), text) {
        (Ok(number), _) if is_number => Value::Integer(number),
        (_, "true" | "yes" | "on" | "1") if is_switch => Value::Boolean(true),
        (_, "false" | "no" | "off" | "0") if is_switch => Value::Boolean(false),
        _ => Value::String(text.to_owned()),
    }
}

/// All keys there are, as `section.key`.
pub(crate) fn keys() -> BTreeSet<String> {
    defaults().into_iter().map(|(key, _)| key).collect()
}

/// The default of each setting, by `section.key`.
fn defaults() -> Table {
    let table = Table::try_from(Config::default()).expect("the defaults are TOML");
    let of_section = |(section, values): (String, Value)| match values {
        Value::Table(values) => values.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)).collect(),
        _ => Vec::new(),
    };
    table.into_iter().flat_map(of_section).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Span;
    use super::*;

    #[test]
    fn every_broken_file_gives_its_error() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad_configs"));
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).expect("the folder is part of the project") {
            let path = entry.expect("it can be listed").path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            seen += 1;
            let wanted = std::fs::read_to_string(path.with_extension("error")).expect("each has its error");
            let error = load(Some(&path), &[]).expect_err(&path.display().to_string());
            let error = error.mistakes().join("\n").replace(&path.display().to_string(), "FILE");
            assert_eq!(error, wanted.trim_end(), "{}", path.display());
        }
        assert!(seen >= 6, "only {seen} files were found");
    }

    #[test]
    fn flags_win_over_the_file_and_unknown_ones_are_refused() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let file = folder.path().join("chat.toml");
        std::fs::write(&file, "[limits]\nconnections = 5\n[session]\nidle_expiry = \"2h\"\n")
            .expect("it can be written");
        let loaded = load(Some(&file), &["limits.connections=7".to_owned()]).expect("all is in order");
        assert_eq!(loaded.config.limits.connections, 7);
        assert_eq!(loaded.config.session.idle_expiry, Span::seconds(7200));
        assert!(load(Some(&file), &["limits.conections=7".to_owned()]).is_err());
        assert!(load(Some(&file), &["limits.connections=many".to_owned()]).is_err());
        // A flag replaces the value, so the mistake in the file does not count.
        std::fs::write(&file, "[limits]\nconnections = \"many\"\n").expect("it can be written");
        assert!(load(Some(&file), &[]).is_err());
        let loaded = load(Some(&file), &["limits.connections=7".to_owned()]).expect("all is in order");
        assert_eq!(loaded.config.limits.connections, 7);
    }
}
