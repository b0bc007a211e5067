//! `chatd config …`: what is set, and whether it can be used.

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::serve::check;
use crate::cli::{log, output};
use crate::config::{BadConfig, LoadedConfig, MANUAL};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Says whether the service could start with the settings, and if not, everything that it would fail at
    ///
    /// Addresses, certificate and database are tried, as the owner of the database's directory where root asks; nothing
    /// is changed. What a running server has itself is no obstacle.
    Check {
        /// Only what a reload takes over, as the running service sees it
        #[arg(long)]
        reload: bool,
    },
    /// Prints the settings in force, secrets masked
    Show,
    /// Prints a settings file that says what each setting means, all at their defaults
    Example,
}

impl ConfigCommand {
    pub(crate) fn run(
        &self,
        read: impl FnOnce() -> Result<(LoadedConfig, Vec<String>), BadConfig>,
    ) -> anyhow::Result<ExitCode> {
        if let ConfigCommand::Example = self {
            output::print(MANUAL)?;
            return Ok(ExitCode::SUCCESS);
        }
        log::start_quietly();
        let (mut loaded, mistakes) = read()?;
        let file = loaded.file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
        let warn = |warnings: &[String]| {
            warnings.iter().for_each(|warning| output::note(format_args!("chatd: warning: {warning}")));
        };
        warn(&loaded.warnings);
        if let ConfigCommand::Check { reload } = self {
            let mut found = match reload {
                true => check::before_reload(&loaded),
                false => check::before_start(&loaded, mistakes.is_empty())?,
            };
            warn(&found.warnings);
            found.mistakes.splice(..0, mistakes);
            BadConfig::all(found.mistakes)?;
            output::print(format_args!("{file}: OK"))?;
            return Ok(ExitCode::SUCCESS);
        }
        BadConfig::all(mistakes)?;
        loaded.config.database.url = mask_password(&loaded.config.database.url);
        let settings = toml::to_string(&loaded.config)?;
        output::print(format_args!("# defaults < {file} < environment < flags\n{settings}"))?;
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
    use crate::cli::admin::config::mask_password;

    #[test]
    fn passwords_in_urls_are_masked() {
        assert_eq!(mask_password("postgres://chat:secret@db/chat"), "postgres://chat:***@db/chat");
        assert_eq!(mask_password("sqlite://chat.db"), "sqlite://chat.db");
    }
}
