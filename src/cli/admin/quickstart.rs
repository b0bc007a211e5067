//! `chatd quickstart`: asks where people reach the server, what encrypts, and who is the first account; writes the
//! settings and says what to do next. What is there already stays as it is.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::net::IpAddr;
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
/// Where browsers come that have a certificate by ACME: the authority looks there, too.
const HTTPS_PORT: u16 = 443;
/// The answer that asks for no certificate, and the one that asks an authority for one.
const LOOPBACK: &str = "loopback";
const ACME: &str = "acme";

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
    /// A certificate from Let's Encrypt, whose terms you agree to by this; port 443 must be reachable from outside
    #[arg(long, conflicts_with = "certificate")]
    acme: bool,
    /// No certificate: a proxy on this machine encrypts, or nobody comes from elsewhere
    #[arg(long, conflicts_with_all = ["certificate", "acme"])]
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

/// Who encrypts.
enum Encryption {
    /// Nobody, or a proxy on this machine.
    Elsewhere,
    /// chatd, with this certificate and key.
    Files(PathBuf, PathBuf),
    /// chatd, with a certificate that it gets itself.
    Acme,
}

/// What was answered.
struct Answers {
    host: String,
    port: u16,
    encryption: Encryption,
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
        let encryption = self.encryption(&host)?;
        let account = answer(
            self.account.clone(),
            |name| Ok(Username::parse(name)?),
            || question("User name of the first account: "),
        )?;
        let answers = Answers { host, port, encryption, account };
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
            (
                is_here || self.loopback || self.acme || self.certificate.is_some(),
                "--certificate and --key, --acme, or --loopback",
            ),
            (self.account.is_some(), "--account"),
        ];
        let missing: Vec<&str> = answers.iter().filter(|(is_given, _)| !is_given).map(|(_, flag)| *flag).collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(anyhow!("there is no terminal to ask at: give {}", missing.join("; "))),
        }
    }

    fn encryption(&self, host: &str) -> anyhow::Result<Encryption> {
        if self.acme {
            return by_acme(host);
        }
        if self.loopback || (host == "localhost" && self.certificate.is_none()) {
            return Ok(Encryption::Elsewhere);
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            return pair(certificate, key);
        }
        loop {
            let certificate = question(
                "Certificate (a PEM file), or `acme` to get one from Let's Encrypt, or `loopback` where a proxy on this \
                 machine encrypts: ",
            )?;
            let answered = match certificate.as_str() {
                LOOPBACK => return Ok(Encryption::Elsewhere),
                ACME => by_acme(host),
                file => pair(Path::new(file), Path::new(&question("Its key (a PEM file): ")?)),
            };
            match answered {
                Ok(encryption) => return Ok(encryption),
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
        if !matches!(self.encryption, Encryption::Elsewhere) {
            writeln!(text, "# Clients of others come to {host}:{port}.\ntls_listen = \"0.0.0.0:{port}\"")?;
        }
        if let Encryption::Files(certificate, key) = &self.encryption {
            writeln!(text, "tls_certificate = {}\ntls_key = {}", quoted(certificate)?, quoted(key)?)?;
        }
        writeln!(text, "\n[web]\n# {}", self.page())?;
        match (&self.encryption, host.as_str()) {
            (Encryption::Files(..), _) => {
                let web = port + 1;
                writeln!(text, "tls_listen = \"0.0.0.0:{web}\"\nhosts = [\"{host}:{web}\"]")?;
            }
            (Encryption::Acme, _) => {
                writeln!(text, "tls_listen = \"0.0.0.0:{HTTPS_PORT}\"\nhosts = [\"{host}\"]")?;
                writeln!(text, "\n# The certificate, from Let's Encrypt.\n[acme]\nhosts = [\"{host}\"]")?;
            }
            (Encryption::Elsewhere, "localhost") => writeln!(text, "listen = \"127.0.0.1:{WEB_PORT}\"")?,
            (Encryption::Elsewhere, _) => {
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
        match (&self.encryption, self.host.as_str()) {
            (Encryption::Files(..), host) => format!("https://{host}:{}", self.port + 1),
            (Encryption::Acme, host) => format!("https://{host}"),
            (Encryption::Elsewhere, "localhost") => format!("http://127.0.0.1:{WEB_PORT}"),
            (Encryption::Elsewhere, host) => format!("https://{host}, by a proxy to 127.0.0.1:{WEB_PORT}"),
        }
    }

    /// What to do with it.
    fn next(&self, file: &Path) -> String {
        let Answers { host, port, account, encryption } = self;
        let (file, page) = (file.display(), self.page());
        let (first, flags) = match encryption {
            Encryption::Elsewhere => (String::new(), String::new()),
            Encryption::Files(..) => (String::new(), format!(" --tls --connect {host}:{port}")),
            Encryption::Acme => (
                format!("    chatd config check --config {file}    # says who may listen at port {HTTPS_PORT}\n"),
                format!(" --tls --connect {host}:{port}"),
            ),
        };
        format!(
            "{first}    chatd serve --config {file}\n    and open {page}, or: chatd login{flags} {account}\n    \
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

/// A certificate by ACME, if an authority can give one for this name.
fn by_acme(host: &str) -> anyhow::Result<Encryption> {
    match host.contains('.') && host.parse::<IpAddr>().is_err() {
        true => Ok(Encryption::Acme),
        false => Err(anyhow!("{host}: Let's Encrypt gives certificates for names that others can look up")),
    }
}

/// Certificate and key, if a server can use them.
fn pair(certificate: &Path, key: &Path) -> anyhow::Result<Encryption> {
    let pair = (absolute(certificate), absolute(key));
    let identity = certificate::load(&pair).map_err(|bad: BadConfig| anyhow!(bad.mistakes().join("; ")))?;
    if let Some(Notice::Error(text) | Notice::Warning(text)) =
        certificate::notice(identity.validity(), Renewal::ByHand, SystemTime::now())
    {
        output::note(format_args!("chatd: {text}"));
    }
    let (certificate, key) = pair;
    Ok(Encryption::Files(certificate, key))
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
