//! Where the server is and who asks: flags and environment. The client needs no settings file; a password is never an
//! argument, because other users of the machine can read those.

use std::fs::File;
use std::path::PathBuf;

use clap::Args;

use crate::cli::admin::user::first_line;
use crate::client::{RemoteServer, ServerAddress, tls};
use crate::config::BadConfig;
use crate::model::Password;

/// Where `chatd serve` listens by default.
const DEFAULT: &str = "127.0.0.1:8889";

#[derive(Debug, Args)]
pub struct Remote {
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

impl Remote {
    /// The server that is meant, and how to speak with it.
    pub fn server(&self) -> Result<RemoteServer, BadConfig> {
        let authorities = match &self.tls_ca {
            Some(file) => Some(file.clone()),
            None => variable("CHATD_TLS_CA")?.map(PathBuf::from),
        };
        // Nobody names whom to trust and means to speak in the clear.
        let on = match variable("CHATD_TLS")?.as_deref() {
            _ if self.tls || self.tls_ca.is_some() => true,
            None => authorities.is_some(),
            Some("1" | "yes" | "true") => true,
            Some("0" | "no" | "false") if authorities.is_none() => false,
            Some(no @ ("0" | "no" | "false")) => {
                return Err(BadConfig::new(format!("CHATD_TLS={no} and CHATD_TLS_CA are both set: is it TLS or not?")));
            }
            Some(other) => return Err(BadConfig::new(format!("CHATD_TLS={other:?}: it is yes or no"))),
        };
        let connector = || tls::connector(authorities.as_deref()).map_err(|why| BadConfig::new(why.to_string()));
        Ok(RemoteServer { address: self.address()?, tls: on.then(connector).transpose()? })
    }

    fn address(&self) -> Result<ServerAddress, BadConfig> {
        if let Some(address) = &self.connect {
            return Ok(address.clone());
        }
        let text = variable("CHATD_CONNECT")?.unwrap_or_else(|| DEFAULT.to_owned());
        text.parse().map_err(|why| BadConfig::new(format!("CHATD_CONNECT={text:?}: {why}")))
    }
}

/// Who is meant where nobody is named.
pub fn user() -> Result<Option<String>, BadConfig> {
    variable("CHATD_USER")
}

/// The password that the environment has or points to.
pub fn password() -> Result<Option<Password>, BadConfig> {
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

/// An environment variable; an empty one counts as none.
fn variable(name: &str) -> Result<Option<String>, BadConfig> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(BadConfig::new(format!("{name} is not UTF-8"))),
    }
}
