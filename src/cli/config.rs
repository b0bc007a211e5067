//! `chatd config …`: what is set, and whether it can be used.

use std::process::ExitCode;

use clap::Subcommand;

use super::output;
use crate::config::{BadConfig, Loaded, MANUAL};

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Says whether the settings can be used
    Check,
    /// Prints the settings in force, secrets masked
    Show,
    /// Prints a settings file that says what each setting means, all at their defaults
    Example,
}

impl Config {
    pub fn run(&self, load: impl FnOnce() -> Result<Loaded, BadConfig>) -> anyhow::Result<ExitCode> {
        if let Config::Example = self {
            output::print(MANUAL)?;
            return Ok(ExitCode::SUCCESS);
        }
        let loaded = load()?;
        for warning in &loaded.warnings {
            output::note(format_args!("chatd: warning: {warning}"));
        }
        let file = loaded.file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
        match self {
            Config::Check => output::print(format_args!("{file}: OK"))?,
            Config::Example | Config::Show => {
                let mut config = loaded.config;
                config.database.url = mask_password(&config.database.url);
                let settings = toml::to_string(&config)?;
                output::print(format_args!("# defaults < {file} < environment < flags\n{settings}"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `scheme://user:password@…` without the password.
fn mask_password(url: &str) -> String {
    let masked = url.split_once("://").and_then(|(scheme, rest)| {
        let (login, rest) = rest.split_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{rest}"))
    });
    masked.unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::mask_password;

    #[test]
    fn passwords_in_urls_are_masked() {
        assert_eq!(mask_password("postgres://chat:secret@db/chat"), "postgres://chat:***@db/chat");
        assert_eq!(mask_password("sqlite://chat.db"), "sqlite://chat.db");
    }
}
