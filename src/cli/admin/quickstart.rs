//! `chatd quickstart`: asks where people reach the server, what encrypts, and who is the first account; writes the
//! settings and says what to do next. What is there already stays as it is.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use crate::cli::admin::user::{PasswordSource, UserCommand};
use crate::cli::serve::certificate::{self, Notice, Renewal};
use crate::cli::{absolute, output, runtime};
use crate::config::{BadConfig, load};
use crate::model::Username;

/// The port of clients in TLS, where the address names none.
const TLS_PORT: u16 = 8443;
/// Where browsers come on this machine; with a certificate of ours they come to the port after that of TLS.
const WEB_PORT: u16 = 8080;
/// The answer that asks for no certificate.
const LOOPBACK: &str = "loopback";

#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Where others reach this machine: HOST or HOST:PORT; `localhost` for this machine alone [default: is asked]
    #[arg(long, value_name = "HOST[:PORT]")]
    address: Option<String>,
    /// The certificate with those that vouch for it (PEM) [default: is asked]
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// No certificate: a proxy on this machine encrypts, or nobody comes from elsewhere
    #[arg(long, conflicts_with = "certificate")]
    loopback: bool,
    /// The name of the first account [default: is asked]
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Prints what it would write, and changes nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    password: PasswordSource,
}

/// What was answered.
struct Answers {
    host: String,
    port: u16,
    /// Certificate and key, where chatd itself encrypts.
    certificate: Option<(PathBuf, PathBuf)>,
    account: Username,
}

impl Quickstart {
    /// `file`: where the settings go, `./chat.toml` if nobody said.
    pub(crate) fn run(&self, file: Option<&Path>) -> anyhow::Result<ExitCode> {
        let file = absolute(file.unwrap_or(Path::new("chat.toml")));
        if file.symlink_metadata().is_ok() {
            bail!(
                "{}: it is there already, and quickstart replaces nothing: name another file with --config, or change that \
                 one (`chatd config example` prints all settings)",
                file.display()
            );
        }
        if !io::stdin().is_terminal() {
            self.is_complete()?;
        }
        let (host, port) = answer(self.address.clone(), address, || {
            question("Where others reach this machine (chat.example.org), or nothing for this machine alone: ")
        })?;
        let certificate = self.certificate(&host)?;
        let account = answer(
            self.account.clone(),
            |name| Ok(Username::parse(name)?),
            || question("User name of the first account: "),
        )?;
        let answers = Answers { host, port, certificate, account };
        let settings = answers.settings(&file)?;
        if self.dry_run {
            let account = &answers.account;
            let next = answers.next(&file);
            output::print(format_args!(
                "# {}\n{settings}\n# and the account {account}. Then:\n{next}",
                file.display()
            ))?;
            return Ok(ExitCode::SUCCESS);
        }
        write(&file, &settings).with_context(|| file.display().to_string())?;
        if let Err(error) = self.add_account(&file, &answers.account) {
            // It was made a moment ago, and without it the next try is the first again.
            let _ = fs::remove_file(&file);
            return Err(error.context("nothing is set up"));
        }
        output::done(format_args!("{} written\n\nNext:\n{}", file.display(), answers.next(&file)));
        Ok(ExitCode::SUCCESS)
    }

    /// Without a terminal, flags must give all answers.
    fn is_complete(&self) -> anyhow::Result<()> {
        let is_here = self.address.as_deref().is_some_and(|given| given.is_empty() || given == "localhost");
        let answers = [
            (self.address.is_some(), "--address"),
            (is_here || self.loopback || self.certificate.is_some(), "--certificate and --key, or --loopback"),
            (self.account.is_some(), "--account"),
        ];
        let missing: Vec<&str> = answers.iter().filter(|(is_given, _)| !is_given).map(|(_, flag)| *flag).collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(anyhow!("there is no terminal to ask at: give {}", missing.join("; "))),
        }
    }

    fn certificate(&self, host: &str) -> anyhow::Result<Option<(PathBuf, PathBuf)>> {
        if self.loopback || (host == "localhost" && self.certificate.is_none()) {
            return Ok(None);
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            return pair(certificate, key).map(Some);
        }
        loop {
            let certificate =
                question("Certificate (a PEM file), or `loopback` where a proxy on this machine encrypts: ")?;
            if certificate == LOOPBACK {
                return Ok(None);
            }
            let key = question("Its key (a PEM file): ")?;
            match pair(Path::new(&certificate), Path::new(&key)) {
                Ok(pair) => return Ok(Some(pair)),
                Err(error) => output::note(format_args!("{error:#}")),
            }
        }
    }

    fn add_account(&self, file: &Path, account: &Username) -> anyhow::Result<()> {
        let config = load(Some(file), &[])?.config;
        let add = UserCommand::Add {
            name: account.to_string(),
            display_name: None,
            country: String::new(),
            if_not_exists: false,
            admin: false,
            password: self.password.clone(),
        };
        runtime(1)?.block_on(add.run(&config)).map(|_| ())
    }
}

impl Answers {
    /// The file, with a database beside it.
    fn settings(&self, file: &Path) -> anyhow::Result<String> {
        let Answers { host, port, .. } = self;
        let mut text = String::from(
            "# By `chatd quickstart`. `chatd config example` prints all settings, with what each means.\n\n[server]\n\
             # Programs on this machine.\nlisten = \"127.0.0.1:8889\"\n",
        );
        if let Some((certificate, key)) = &self.certificate {
            writeln!(text, "# Clients of others come to {host}:{port}.\ntls_listen = \"0.0.0.0:{port}\"")?;
            writeln!(text, "tls_certificate = {}\ntls_key = {}", quoted(certificate)?, quoted(key)?)?;
        }
        writeln!(text, "\n[web]\n# {}", self.page())?;
        match (&self.certificate, host.as_str()) {
            (Some(_), _) => {
                let web = port + 1;
                writeln!(text, "tls_listen = \"0.0.0.0:{web}\"\nhosts = [\"{host}:{web}\"]")?;
            }
            (None, "localhost") => writeln!(text, "listen = \"127.0.0.1:{WEB_PORT}\"")?,
            (None, _) => {
                writeln!(text, "listen = \"127.0.0.1:{WEB_PORT}\"\nhosts = [\"{host}\"]")?;
                writeln!(
                    text,
                    "# The proxy, whose word on who comes is taken.\ntrusted_proxies = [\"127.0.0.1\", \"::1\"]"
                )?;
            }
        }
        let url = format!("sqlite://{}", utf8(&file.with_file_name("chat.db"))?);
        writeln!(text, "\n[database]\nurl = {}", toml::Value::String(url))?;
        Ok(text)
    }

    /// Where a browser opens the page.
    fn page(&self) -> String {
        match (&self.certificate, self.host.as_str()) {
            (Some(_), host) => format!("https://{host}:{}", self.port + 1),
            (None, "localhost") => format!("http://127.0.0.1:{WEB_PORT}"),
            (None, host) => format!("https://{host}, by a proxy to 127.0.0.1:{WEB_PORT}"),
        }
    }

    /// What to do with it.
    fn next(&self, file: &Path) -> String {
        let Answers { host, port, account, certificate } = self;
        let (file, page) = (file.display(), self.page());
        let flags = certificate.as_ref().map_or(String::new(), |_| format!(" --tls --connect {host}:{port}"));
        format!(
            "    chatd serve --config {file}\n    and open {page}, or: chatd login{flags} {account}\n    \
             chatd user add NAME --config {file}    # more people\n"
        )
    }
}

/// A host and a port out of what was given.
fn address(given: &str) -> anyhow::Result<(String, u16)> {
    let (host, port) = match given.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (given, None),
    };
    let host = if host.is_empty() { "localhost" } else { host };
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    if given.contains('/') || !is_name {
        bail!("{given:?} is no host name: no https://, and letters, digits, dots and hyphens only");
    }
    let port = port.map_or(Some(TLS_PORT), |port| port.parse().ok().filter(|port| (1..u16::MAX).contains(port)));
    Ok((host.to_ascii_lowercase(), port.context("the port is 1 to 65534")?))
}

/// Certificate and key, if a server can use them.
fn pair(certificate: &Path, key: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let pair = (absolute(certificate), absolute(key));
    let identity = certificate::load(&pair).map_err(|bad: BadConfig| anyhow!(bad.mistakes().join("; ")))?;
    if let Some(Notice::Error(text) | Notice::Warning(text)) =
        certificate::notice(identity.validity(), Renewal::ByHand, SystemTime::now())
    {
        output::note(format_args!("chatd: {text}"));
    }
    Ok(pair)
}

/// The answer of a flag, or of a person, who may try again.
fn answer<T>(
    flag: Option<String>,
    parse: impl Fn(&str) -> anyhow::Result<T>,
    ask: impl Fn() -> anyhow::Result<String>,
) -> anyhow::Result<T> {
    if let Some(given) = flag {
        return parse(&given).with_context(|| format!("{given:?}"));
    }
    loop {
        match parse(&ask()?) {
            Ok(value) => return Ok(value),
            Err(error) => output::note(format_args!("{error:#}")),
        }
    }
}

/// Asks a person; the answer without its line end and the blanks around it.
fn question(text: &str) -> anyhow::Result<String> {
    let mut terminal = OpenOptions::new().write(true).open("/dev/tty").context("no terminal to ask at")?;
    terminal.write_all(text.as_bytes())?;
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        bail!("no answer: nothing is set up");
    }
    Ok(line.trim().to_owned())
}

fn write(file: &Path, settings: &str) -> io::Result<()> {
    let mut made: File = OpenOptions::new().write(true).create_new(true).open(file)?;
    made.write_all(settings.as_bytes())?;
    made.sync_all()
}

fn quoted(path: &Path) -> anyhow::Result<toml::Value> {
    Ok(toml::Value::String(utf8(path)?.to_owned()))
}

fn utf8(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{}: settings are UTF-8, and this path is not", path.display()))
}
