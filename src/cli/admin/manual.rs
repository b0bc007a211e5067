//! `chatd man`, `chatd completions`: made from what `--help` and `chat.toml` are made of, so that they cannot differ.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::{Arguments, output};
use crate::config::MANUAL;

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// For this shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "chatd", &mut script);
        output::print(String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Writes all pages into this directory: chatd(1), one for each command, chat.toml(5) [default: chatd(1) is
    /// printed]
    directory: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.directory {
            Some(directory) => write_pages(directory).with_context(|| directory.display().to_string())?,
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(command()).render(&mut page)?;
                output::print(String::from_utf8_lossy(&page))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write_pages(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command(), directory)?;
    fs::write(directory.join("chat.toml.5"), settings_page())
}

/// The command line with what a manual page says after the options.
fn command() -> Command {
    Arguments::command().disable_help_subcommand(true).after_long_help(
        "Exit status: 0 done, 1 failed, 2 wrong usage, 78 bad settings. Settings are described in chat.toml(5). Signals \
         of `chatd serve`: SIGTERM and SIGINT stop it after the replies in hand, SIGHUP reads the settings again.",
    )
}

/// chat.toml(5): the words of `chat.toml` itself. A line that begins a section is a heading, a setting is an example,
/// and the sentences between are its text.
fn settings_page() -> Vec<u8> {
    let mut page = Vec::new();
    let version = env!("CARGO_PKG_VERSION");
    let mut line = |text: &str| page.write_all(format!("{text}\n").as_bytes()).expect("memory takes what is written");
    line(&format!(".TH chat.toml 5 \"\" \"chatd {version}\""));
    line(".SH NAME\nchat.toml \\- settings of chatd(1)\n.SH DESCRIPTION");
    for said in MANUAL.lines() {
        let text = said.strip_prefix("# ").unwrap_or(said);
        let is_setting =
            text.split_once(" = ").is_some_and(|(key, _)| key.chars().all(|c| c == '_' || c.is_ascii_lowercase()));
        match said {
            "" | "#" => line(".PP"),
            _ if said.starts_with('[') => line(&format!(".SH {}", escaped(said))),
            _ if is_setting => {
                let (setting, range) = text.split_once("  # ").unwrap_or((text, ""));
                let range = if range.is_empty() { String::new() } else { format!("  ({})", escaped(range)) };
                line(&format!(".br\n\\fB{}\\fR{range}\n.br", escaped(setting)));
            }
            _ => line(&escaped(text)),
        }
    }
    line(".SH SEE ALSO\nchatd(1)");
    page
}

/// Text that roff prints as it is.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('…', "...");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
