//! A chatd of our own: its configuration, its accounts and their logins, its database. Knows nothing of how it is
//! measured.
//!
//! The accounts are made once, for a chatd that is never put under load; what is measured are copies of it, so that
//! each measurement begins with an empty store.

use crate::interrupt::Interrupt;
use crate::servers::{self, Server};
use crate::talk::Talk;
use crate::wire::recipient_name;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Accounts that send. A token is good on any connection, so a few serve them all.
const SENDERS: usize = 8;

/// The password of every account the generator adds or logs in to.
const PASSWORD: &str = "load-generator-password";

/// The file that holds everything.
const DATABASE: &str = "chat.db";

/// A chatd of our own, ready to be started: its program, its configuration, its accounts.
pub struct Chatd {
    program: PathBuf,
    directory: PathBuf,
    address: SocketAddr,
    pub tokens: Arc<Tokens>,
}

/// What shows who one is: a token for each account.
#[derive(Default)]
pub struct Tokens {
    pub senders: Vec<String>,
    /// Of the recipients that get mail while the load runs, by number.
    pub recipients: Vec<String>,
    /// Of the account with the number after theirs, which has no mail but what it is sent to be timed.
    pub reader: String,
}

impl Tokens {
    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.senders.len() + self.recipients.len() + 1
    }
}

impl Chatd {
    /// Adds the senders, `recipients` recipients and the reader to a new database in `directory`, and logs them in.
    pub fn prepare(program: &Path, directory: &Path, recipients: usize, interrupt: &Interrupt) -> Result<Self> {
        let mut chatd = Self::configure(program, directory, Arc::default())?;
        let names: Vec<String> = sender_names().chain((0..=recipients).map(recipient_name)).collect();
        for name in &names {
            interrupt.check()?;
            chatd.add_user(name).with_context(|| format!("cannot add the account {name}"))?;
        }
        let server = chatd.start(interrupt)?;
        let mut senders = log_in(server.address, &names, interrupt)?;
        server.stop(interrupt)?;
        let mut recipients = senders.split_off(SENDERS);
        let reader = recipients.pop().context("there is a reader after the recipients")?;
        chatd.tokens = Arc::new(Tokens { senders, recipients, reader });
        Ok(chatd)
    }

    /// The same accounts and logins in `directory`, which is made, at an address of their own. This chatd must not be
    /// running.
    pub fn copy(&self, directory: &Path) -> Result<Self> {
        fs::create_dir(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let copy = Self::configure(&self.program, directory, Arc::clone(&self.tokens))?;
        let (from, to) = (self.directory.join(DATABASE), directory.join(DATABASE));
        fs::copy(&from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        Ok(copy)
    }

    /// Starts `chatd serve`.
    pub fn start(&self, interrupt: &Interrupt) -> Result<Server> {
        let mut command = self.command();
        command.arg("serve");
        Server::start(command, self.address, &self.directory.join("chatd.log"), interrupt)
    }

    /// How long the database is, in bytes, when the server was stopped in good order.
    pub fn database_bytes(&self) -> Result<u64> {
        let log = self.directory.join(format!("{DATABASE}-wal"));
        ensure!(!log.exists(), "there is still {}: a part of the messages is in it", log.display());
        let database = self.directory.join(DATABASE);
        let metadata = fs::metadata(&database).with_context(|| format!("cannot look at {}", database.display()))?;
        Ok(metadata.len())
    }

    fn configure(program: &Path, directory: &Path, tokens: Arc<Tokens>) -> Result<Self> {
        let address = servers::free_address()?;
        let url = format!("sqlite://{}/{DATABASE}", directory.display());
        // Cheap passwords make the accounts quick to add; the limits are out of the way of one address with it all.
        let settings = format!(
            "[server]\nlisten = \"{address}\"\n\n[database]\nurl = {url:?}\n\n\
             [password]\nmemory_kib = 8\niterations = 1\nparallelism = 1\n\n\
             [limits]\nconnections = 100000\nconnections_per_address = 100000\nconnections_per_account = 100000\n\
             unauthenticated_connections = 100000\n\
             inbox_messages = 100000000\ninbox_bytes = 1000000000000\nstored_bytes = 0\n"
        );
        let config = directory.join("chat.toml");
        fs::write(&config, settings).with_context(|| format!("cannot write {}", config.display()))?;
        Ok(Self { program: program.to_owned(), directory: directory.to_owned(), address, tokens })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.directory.join("chat.toml")).current_dir(&self.directory);
        command
    }

    fn add_user(&self, name: &str) -> Result<()> {
        self.run(&["user", "add", name, "--password-stdin"], &format!("{PASSWORD}\n"))
    }

    /// The file that holds everything.
    pub fn database(&self) -> PathBuf {
        self.directory.join(DATABASE)
    }

    /// Runs a command that must succeed.
    pub fn run(&self, arguments: &[&str], input: &str) -> Result<()> {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| servers::missing(&self.program.to_string_lossy(), error))?;
        let written = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "`chatd {}` failed ({}): {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        written.transpose().context("chatd did not read its input")?;
        Ok(())
    }
}

/// Logs the senders in at a chatd that somebody else runs: their tokens.
pub fn log_senders_in(address: SocketAddr, interrupt: &Interrupt) -> Result<Vec<String>> {
    let names: Vec<String> = sender_names().collect();
    log_in(address, &names, interrupt).with_context(|| {
        format!(
            "a chatd given by --addr must have the accounts {} to {} with the password {PASSWORD:?}, and {} and so on, \
             one for each recipient",
            sender_name(0),
            sender_name(SENDERS - 1),
            recipient_name(0),
        )
    })
}

/// Logs these accounts in: their tokens, in the same order.
fn log_in(address: SocketAddr, names: &[String], interrupt: &Interrupt) -> Result<Vec<String>> {
    let mut talk = Talk::to(address)?;
    let tokens = names.iter().map(|name| {
        interrupt.check()?;
        let reply = talk.ask(&format!("auth {name} {PASSWORD}\r\n"))?;
        let reply = String::from_utf8_lossy(reply);
        let token = reply
            .strip_prefix("{\"status\": \"OK\", \"tokenid\": \"")
            .and_then(|rest| rest.strip_suffix("\"}\r\n\r\n"));
        token.map(str::to_owned).with_context(|| format!("chatd let {name} in, but with {}", reply.trim_end()))
    });
    tokens.collect()
}

fn sender_names() -> impl Iterator<Item = String> {
    (0..SENDERS).map(sender_name)
}

fn sender_name(number: usize) -> String {
    format!("sender{number}")
}
