//! Where the settings come from: defaults, a file, the environment, flags, in this order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use config::builder::DefaultState;
use config::{ConfigBuilder, Environment, File, FileFormat};

use super::check::check;
use super::{BadConfig, Config};

/// Settings with where they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// What is odd but no error, a line each.
    pub warnings: Vec<String>,
}

const SYSTEM_FILE: &str = "/etc/chatd/chat.toml";
const PREFIX: &str = "CHATD";
/// Variables of ours that are no settings: the file's name, and what the client takes.
const OTHER_VARIABLES: [&str; 7] = [
    "CHATD_CONFIG",
    "CHATD_CONNECT",
    "CHATD_USER",
    "CHATD_PASSWORD",
    "CHATD_PASSWORD_FILE",
    "CHATD_TLS",
    "CHATD_TLS_CA",
];

/// Which file is used: the one that was asked for, `$CHATD_CONFIG`, `./chat.toml`, `/etc/chatd/chat.toml`, or none.
fn choose_file(asked: Option<&Path>) -> Option<PathBuf> {
    let named = asked.map(Path::to_owned).or_else(|| std::env::var_os("CHATD_CONFIG").map(PathBuf::from));
    named.or_else(|| ["chat.toml", SYSTEM_FILE].map(PathBuf::from).into_iter().find(|path| path.exists()))
}

/// Reads the settings. `flags` are `key=value` from the command line.
pub fn load(asked: Option<&Path>, flags: &[String]) -> Result<Loaded, BadConfig> {
    let file = choose_file(asked);
    let mut builder = config::Config::builder();
    if let Some(state) = std::env::var_os("STATE_DIRECTORY") {
        // systemd names the service's own directory; several would be separated by colons.
        let state = state.to_string_lossy().split(':').next().unwrap_or_default().to_owned();
        let url = format!("sqlite://{state}/chat.db");
        builder = builder.set_default("database.url", url).map_err(|e| BadConfig(e.to_string()))?;
    }
    if let Some(path) = &file {
        builder = with_file(builder, path)?;
    }
    builder = builder.add_source(Environment::with_prefix(PREFIX).prefix_separator("_").separator("__"));
    for flag in flags {
        let (key, value) = flag.split_once('=').ok_or_else(|| BadConfig(format!("--set {flag}: want KEY=VALUE")))?;
        if !keys().contains(key) {
            return Err(BadConfig(format!("--set {flag}: there is no setting {key:?}")));
        }
        builder = builder.set_override(key, value).map_err(|e| BadConfig(format!("--set {flag}: {e}")))?;
    }
    let mut warnings = Vec::new();
    for (variable, _) in std::env::vars_os() {
        let variable = variable.to_string_lossy();
        let key = variable.strip_prefix("CHATD_").map(|rest| rest.to_lowercase().replace("__", "."));
        if key.is_some_and(|key| !keys().contains(key.as_str())) && !OTHER_VARIABLES.contains(&&*variable) {
            warnings.push(format!("the environment variable {variable} is no setting of chatd's"));
        }
    }
    let merged = builder.build().map_err(|e| BadConfig(e.to_string()))?;
    let config: Config = lenient(merged).map_err(|e| BadConfig(e.to_string()))?;
    check(&config)?;
    Ok(Loaded { config, file, warnings })
}

/// The merged settings; a stray variable was only worth a warning, so it is no unknown key here.
fn lenient(merged: config::Config) -> Result<Config, config::ConfigError> {
    let mut builder = config::Config::builder();
    for key in keys() {
        if let Ok(value) = merged.get::<config::Value>(&key) {
            builder = builder.set_override(&key, value)?;
        }
    }
    builder.build()?.try_deserialize()
}

/// Reads the file twice: strictly by itself, which gives the line of a mistake, and then as one of the sources.
fn with_file(builder: ConfigBuilder<DefaultState>, path: &Path) -> Result<ConfigBuilder<DefaultState>, BadConfig> {
    let text = std::fs::read_to_string(path).map_err(|e| BadConfig(format!("{}: {e}", path.display())))?;
    if let Err(error) = toml::from_str::<Config>(&text) {
        let start = error.span().map_or(0, |span| span.start);
        let number = text[..start].matches('\n').count() + 1;
        let line = text.lines().nth(number - 1).unwrap_or_default().trim();
        let what = error.message().replace('\n', " ");
        return Err(BadConfig(format!("{}:{number}: {line}: {what}", path.display())));
    }
    Ok(builder.add_source(File::from_str(&text, FileFormat::Toml)))
}

/// All keys there are, as `section.key`.
pub fn keys() -> BTreeSet<String> {
    let table = toml::Table::try_from(Config::default()).expect("the defaults are TOML");
    let section = |(name, value): (String, toml::Value)| {
        let keys = value.as_table().map(|t| t.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        keys.into_iter().map(move |key| format!("{name}.{key}"))
    };
    table.into_iter().flat_map(section).collect()
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
            let error = error.0.replace(&path.display().to_string(), "FILE");
            assert_eq!(error, wanted.trim_end(), "{}", path.display());
            assert_eq!(error.lines().count(), 1);
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
    }
}
