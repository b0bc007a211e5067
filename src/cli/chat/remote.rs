//! Reads the server and the user from flags and environment. The client needs no settings file. A password is never an
//! argument, because other users of the machine can read arguments.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use crate::cli::admin::user::first_line;
use crate::cli::chat::servers;
use crate::cli::chat::servers::KeptServer;
use crate::client::{RemoteServer, ServerAddress, tls};
use crate::config::BadConfig;
use crate::model::{Password, visible};

/// Where `chatd serve` listens by default.
const DEFAULT: &str = "127.0.0.1:8889";

#[derive(Debug, Args)]
pub(crate) struct Remote {
    /// The server, and who one is there, as `chatd login --as NAME` kept them
    #[arg(long = "as", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    kept_as: Option<String>,
    /// The server [default: $CHATD_CONNECT, else 127.0.0.1:8889]
    #[arg(long, value_name = "HOST:PORT")]
    connect: Option<ServerAddress>,
    /// Encrypts, and checks who the server is [default: $CHATD_TLS, else no, unless authorities are named]
    #[arg(long)]
    tls: bool,
    /// Trusts the certificate authorities in this file (PEM) in place of the system's, and encrypts [default:
    /// $CHATD_TLS_CA]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
}

/// A server, how to connect to it, and the user there.
#[derive(Clone)]
pub(crate) struct Target {
    pub address: ServerAddress,
    encrypted: bool,
    authorities: Option<PathBuf>,
    /// The account, where the server was kept with one.
    pub user: Option<String>,
}

impl Target {
    /// The server and its TLS.
    pub(crate) fn server(&self) -> Result<RemoteServer, BadConfig> {
        let connector = || tls::connector(self.authorities.as_deref()).map_err(|why| BadConfig::new(why.to_string()));
        Ok(RemoteServer { address: self.address.clone(), tls: self.encrypted.then(connector).transpose()? })
    }

    /// As it is kept, for this user.
    pub(crate) fn kept(&self, user: &str) -> KeptServer {
        KeptServer {
            connect: self.address.to_string(),
            tls: self.encrypted,
            // It is found from every directory.
            tls_ca: self.authorities.as_ref().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone())),
            user: user.to_owned(),
        }
    }

    fn of(name: &str, kept: KeptServer) -> Result<Target, BadConfig> {
        let address = kept.connect.parse();
        let address = address.map_err(|why| BadConfig::new(format!("the server kept as {name}: {why}")))?;
        Ok(Target { address, encrypted: kept.tls, authorities: kept.tls_ca, user: Some(kept.user) })
    }
}

impl Remote {
    /// The name under which `chatd login` keeps the server.
    pub(crate) fn kept_as(&self) -> Option<&str> {
        self.kept_as.as_deref()
    }

    /// The target of all other commands.
    pub(crate) fn target(&self) -> Result<Target, BadConfig> {
        let Some(name) = &self.kept_as else { return self.named() };
        if self.names_something() {
            return Err(BadConfig::new(format!(
                "--as {name} says which server: leave --connect, --tls and --tls-ca out, or change what is kept with \
                 `chatd login --as {name}`"
            )));
        }
        let kept = servers::read(name)?.ok_or_else(|| servers::unknown(name))?;
        Target::of(name, kept)
    }

    /// The target of `chatd login`. The server need not be kept yet. Flags change one that is.
    pub(crate) fn target_of_login(&self) -> Result<Target, BadConfig> {
        let Some(name) = &self.kept_as else { return self.named() };
        let kept = servers::read(name)?.map(|kept| Target::of(name, kept)).transpose()?;
        match kept {
            Some(kept) if !self.names_something() => Ok(kept),
            Some(kept) => {
                Ok(Target { address: self.connect.clone().unwrap_or(kept.address), user: kept.user, ..self.named()? })
            }
            None => self.named(),
        }
    }

    fn names_something(&self) -> bool {
        self.connect.is_some() || self.tls || self.tls_ca.is_some()
    }

    /// What flags and environment name.
    fn named(&self) -> Result<Target, BadConfig> {
        let authorities = match &self.tls_ca {
            Some(file) => Some(file.clone()),
            None => variable("CHATD_TLS_CA")?.map(PathBuf::from),
        };
        // A user who names authorities wants TLS.
        let encrypted = match variable("CHATD_TLS")?.as_deref() {
            _ if self.tls || self.tls_ca.is_some() => true,
            None => authorities.is_some(),
            Some("1" | "yes" | "true") => true,
            Some("0" | "no" | "false") if authorities.is_none() => false,
            Some(no @ ("0" | "no" | "false")) => {
                return Err(BadConfig::new(format!("CHATD_TLS={no} and CHATD_TLS_CA are both set: is it TLS or not?")));
            }
            Some(other) => return Err(BadConfig::new(format!("CHATD_TLS={other:?}: it is yes or no"))),
        };
        Ok(Target { address: self.address()?, encrypted, authorities, user: None })
    }

    fn address(&self) -> Result<ServerAddress, BadConfig> {
        if let Some(address) = &self.connect {
            return Ok(address.clone());
        }
        let text = variable("CHATD_CONNECT")?.unwrap_or_else(|| DEFAULT.to_owned());
        text.parse().map_err(|why| BadConfig::new(format!("CHATD_CONNECT={text:?}: {why}")))
    }
}

/// The user of the environment.
pub(crate) fn user() -> Result<Option<String>, BadConfig> {
    variable("CHATD_USER")
}

/// The password that the environment has or points to.
pub(crate) fn password() -> Result<Option<Password>, BadConfig> {
    let text = match (variable("CHATD_PASSWORD")?, variable("CHATD_PASSWORD_FILE")?) {
        (Some(_), Some(_)) => {
            return Err(BadConfig::new("CHATD_PASSWORD and CHATD_PASSWORD_FILE are both set: which is it?"));
        }
        (None, Some(file)) => {
            let read = File::open(PathBuf::from(&file)).map_err(anyhow::Error::from).and_then(first_line);
            Some(read.map_err(|why| BadConfig::new(format!("CHATD_PASSWORD_FILE={file:?}: {why}")))?)
        }
        (text, None) => text,
    };
    Ok(text.as_deref().map(Password::attempt))
}

/// Asks the terminal for a password, which is not shown.
pub(crate) fn ask_password(user: &str) -> anyhow::Result<Password> {
    let typed = rpassword::prompt_password(format!("Password of {}: ", visible(user)));
    let typed = typed.context("no terminal to ask for the password (see CHATD_PASSWORD_FILE)")?;
    Ok(Password::attempt(&typed))
}

/// Asks the terminal for the user name. Reads exactly one line, because a password may follow that was typed ahead.
pub(crate) fn ask_user() -> anyhow::Result<String> {
    let hint = "no terminal to ask who you are: `chatd login USER`, or CHATD_USER";
    let mut terminal = File::options().read(true).write(true).open("/dev/tty").context(hint)?;
    write!(terminal, "User: ")?;
    // A terminal gives a line at a time.
    let mut line = vec![0; 4096];
    let read = terminal.read(&mut line)?;
    let name = String::from_utf8_lossy(&line[..read]).trim().to_owned();
    if name.is_empty() {
        bail!("no name, no login");
    }
    Ok(name)
}

/// An environment variable; an empty one counts as none.
fn variable(name: &str) -> Result<Option<String>, BadConfig> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(BadConfig::new(format!("{name} is not UTF-8"))),
    }
}
