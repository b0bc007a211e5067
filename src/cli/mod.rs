//! The command line: its commands, what they print, and their exit status. `serve`, the administrator's commands, and
//! the chat commands.

mod admin;
mod chat;
mod log;
mod output;
mod privileges;
mod serve;
mod storage;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use clap::{Parser, Subcommand};

use self::admin::{config, db, group, health, manual, quickstart, session, user};
use self::chat::screen::Chat;
use self::chat::{client, script};
use self::output::Unprinted;
use crate::auth::password::Cost;
use crate::clock::Clock;
use crate::config::{BadConfig, Config, LoadedConfig};
use crate::release::Release;
use crate::repository::sqlite::Role;
use crate::repository::{self, OpenError, Store, StoreOptions};

/// A persistent chat service: one binary, an embedded database, a line protocol over TCP.
#[derive(Debug, Parser)]
#[command(name = "chatd", version, long_version = &**LONG_VERSION, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The settings file [default: $CHATD_CONFIG, ./chat.toml, /etc/chatd/chat.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one setting, over file and environment: --set server.listen=127.0.0.1:9000
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Runs the service until SIGTERM or SIGINT
    Serve(serve::Serve),
    /// Asks three things, writes the settings and says what to do next
    Quickstart(quickstart::Quickstart),
    /// Accounts
    #[command(subcommand)]
    User(user::UserCommand),
    /// Groups
    #[command(subcommand)]
    Group(group::GroupAdministration),
    /// Logins
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// The database and copies of it
    #[command(subcommand)]
    Db(db::Db),
    /// Asks the running server whether it is well
    Health(health::Health),
    /// Prints what a shell needs to complete commands
    Completions(manual::Completions),
    /// Prints the manual page, or writes all pages into a directory
    Man(manual::Man),
    /// Chats: the document's program. On a pipe, each line of input gives one line of output, nothing is asked,
    /// sessions stay open until `logout`, and exit status 0 says that every line was carried out
    Client(client::Client),
    /// Chats on the whole screen: all conversations, messages as they come; `?` there is help. Asks for a login where
    /// none was kept
    Chat(Chat),
    /// Logs in for `chatd chat`, `send` and `inbox`; the password comes from $CHATD_PASSWORD, $CHATD_PASSWORD_FILE or
    /// the terminal. With --as the server is kept under a name, and `--as NAME` means it from then on
    Login(script::LoginCommand),
    /// Ends that login, at the server too
    Logout(script::Logout),
    /// Sends a message, as of a script: df -h | chatd send messi
    Send(script::SendMessage),
    /// Prints the messages that wait, and takes them off the server when they are printed
    Inbox(script::Inbox),
}

/// What `--version` says.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| Release::this().to_string());

/// Exit status of bad configuration, as sysexits.h has it.
const EX_CONFIG: u8 = 78;

/// Runs the program with the process's own arguments.
///
/// `stdout_was_closed`: whether the process began without a standard output.
pub fn run(stdout_was_closed: bool) -> ExitCode {
    output::start(stdout_was_closed);
    ignore_file_size_signal();
    // Whatever is created, in whatever place, is the owner's alone.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    run_with(std::env::args_os())
}

/// A file that grows beyond the limit of the process (`ulimit -f`, LimitFSIZE=) is an error of the write, as on a full
/// disk, and not the end of the program.
fn ignore_file_size_signal() {
    let ignored = Arc::new(AtomicBool::new(false));
    // It fails only for signals that cannot be caught.
    let _ = signal_hook::flag::register(libc::SIGXFSZ, ignored);
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Arguments::try_parse_from(arguments).map_or_else(help, |arguments| execute(&arguments)) {
        Ok(code) => code,
        Err(error) => {
            if let Some(bad) = error.downcast_ref::<BadConfig>() {
                bad.mistakes().iter().for_each(|mistake| output::note(format_args!("chatd: {mistake}")));
                return ExitCode::from(EX_CONFIG);
            }
            if !error.downcast_ref().is_some_and(Unprinted::is_quiet) {
                output::note(format_args!("chatd: {error:#}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// What clap says in place of a command: help, the version, wrong usage.
fn help(said: clap::Error) -> anyhow::Result<ExitCode> {
    let printed = said.print().map_err(Unprinted::from);
    if !said.use_stderr() {
        printed.and_then(|()| output::require())?;
    }
    Ok(ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2)))
}

fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let load = || crate::config::load(arguments.config.as_deref(), &arguments.set);
    match &arguments.command {
        CliCommand::Serve(serve) => serve.run(load),
        CliCommand::Quickstart(quickstart) => quickstart.run(arguments.config.as_deref()),
        CliCommand::User(user) => {
            let config = administer(load()?)?;
            runtime(1)?.block_on(user.run(&config))
        }
        CliCommand::Group(group) => {
            let config = administer(load()?)?;
            runtime(1)?.block_on(group.run(&config))
        }
        CliCommand::Session(session) => {
            let config = administer(load()?)?;
            runtime(1)?.block_on(session.run(&config))
        }
        CliCommand::Config(config) => config.run(|| crate::config::read(arguments.config.as_deref(), &arguments.set)),
        CliCommand::Db(db) => {
            let loaded = load()?;
            log::start_quietly();
            match db.is_about_settings() {
                true => say_what_is_used(&loaded)?,
                false => warn_about(&loaded),
            }
            db.run(&loaded.config)
        }
        CliCommand::Health(health) => {
            let loaded = load()?;
            log::start_quietly();
            warn_about(&loaded);
            if loaded.file_unasked && nix::unistd::geteuid().is_root() {
                output::note(format_args!("chatd: {}", settings_file(&loaded)));
            }
            health.run(&loaded.config)
        }
        CliCommand::Completions(completions) => completions.run(),
        CliCommand::Man(man) => man.run(),
        CliCommand::Client(client) => client.run(),
        CliCommand::Chat(chat) => chat.run(),
        CliCommand::Login(login) => login.run(),
        CliCommand::Logout(logout) => logout.run(),
        CliCommand::Send(send) => send.run(),
        CliCommand::Inbox(inbox) => inbox.run(),
    }
}

/// What comes before a command that changes accounts or sessions.
fn administer(loaded: LoadedConfig) -> anyhow::Result<Config> {
    log::start_quietly();
    say_what_is_used(&loaded)?;
    if let Some(file) = repository::file_of(&loaded.config.database.url)? {
        privileges::become_owner_of(&file)?;
    }
    Ok(loaded.config)
}

/// Before anything is done: a command that is typed in another directory, or by another user, may mean another
/// database.
fn say_what_is_used(loaded: &LoadedConfig) -> anyhow::Result<()> {
    warn_about(loaded);
    let url = &loaded.config.database.url;
    let database = match repository::file_of(url)? {
        Some(file) => absolute(&file).display().to_string(),
        None => repository::shown(url),
    };
    output::note(format_args!("chatd: database {database}, {}", settings_file(loaded)));
    Ok(())
}

/// Where the settings are from, in words.
fn settings_file(loaded: &LoadedConfig) -> String {
    loaded
        .file
        .as_deref()
        .map_or("no settings file".to_owned(), |file| format!("settings {}", absolute(file).display()))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The runtime that everything asynchronous runs on.
fn runtime(threads: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}

/// The store, opened for what this process wants with it.
async fn open(config: &Config, role: Role) -> Result<Store, OpenError> {
    repository::open(&config.database.url, &options(config), role).await
}

fn options(config: &Config) -> StoreOptions {
    StoreOptions {
        inbox_messages: config.limits.inbox_messages,
        inbox_bytes: config.limits.inbox_bytes,
        stored_bytes: config.limits.stored_bytes,
        min_free_bytes: config.database.min_free_bytes,
        busy_timeout: config.database.busy_timeout.0,
        tail_messages: config.database.tail_messages,
        clock: Clock::SYSTEM,
    }
}

fn cost(config: &Config) -> Cost {
    let crate::config::PasswordConfig { memory_kib, iterations, parallelism, .. } = config.password;
    Cost { memory_kib, iterations, parallelism }
}

/// Says what is odd about the settings.
fn warn_about(loaded: &LoadedConfig) {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
}
