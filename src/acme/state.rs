//! The state directory: the account's key, and the certificate with its key. Each is one file, and is replaced as a
//! whole, so that a crash leaves the former or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Uid, geteuid};
use rcgen::KeyPair;
use tokio::task::spawn_blocking;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tracing::warn;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::AcmeSettings;
use crate::transport::tls::TlsIdentity;

const ACCOUNT: &str = "account.pem";
const CERTIFICATE: &str = "certificate.pem";
/// A file under this name is not whole.
const UNFINISHED: &str = "unfinished";

/// The first line of a stored certificate: whose it is.
pub(super) fn issued_by(directory: &str) -> String {
    format!("{ISSUED_BY}{directory}")
}

const ISSUED_BY: &str = "Issued by ";

/// Why the state directory cannot be used, with a remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("acme.state: {path}: {why}", path = path.display())]
pub(crate) struct BadState {
    path: PathBuf,
    why: String,
}

impl BadState {
    fn new(path: &Path, why: impl ToString) -> BadState {
        BadState { path: path.to_owned(), why: why.to_string() }
    }
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub(crate) struct StoredCertificate {
    pub identity: TlsIdentity,
    /// The directory that it came from.
    directory: String,
    names: Vec<String>,
}

impl StoredCertificate {
    /// What [`issued_by`], a chain and a key, one after the other, say.
    pub(super) fn parse(text: &str) -> Result<StoredCertificate, String> {
        let directory = text.lines().next().and_then(|line| line.strip_prefix(ISSUED_BY)).unwrap_or_default();
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let chain = chain.map_err(|error| error.to_string())?;
        let secret = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| error.to_string())?;
        let names = chain.first().and_then(names_of).ok_or("there is no certificate in it")?;
        let identity = TlsIdentity::new(chain, secret).map_err(|error| error.to_string())?;
        Ok(StoredCertificate { identity, directory: directory.to_owned(), names })
    }

    /// Whether it is what the settings ask for.
    pub(super) fn is_for(&self, settings: &AcmeSettings) -> bool {
        self.directory == settings.directory && settings.hosts.iter().all(|host| self.names.contains(host))
    }
}

/// The names that a certificate is for.
fn names_of(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()?.map(|extension| &extension.value.general_names);
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    Some(names.into_iter().flatten().filter_map(name).collect())
}

/// The directory. Nobody but the user of the server may look into it.
#[derive(Debug)]
pub(crate) struct StateDirectory(PathBuf);

impl StateDirectory {
    /// Makes it, if it is not there. Shuts it and what is in it to others, and says so.
    pub(super) fn open(path: &Path) -> Result<StateDirectory, BadState> {
        match StateDirectory::look(path)? {
            None => {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
                made.map_err(|error| {
                    let remedy = "make it for the user who runs the server, with mode 0700, or name another";
                    BadState::new(path, format!("{error}: {remedy}"))
                })?;
            }
            Some(open) => {
                for (path, mode) in open {
                    let mended = if path.is_dir() { 0o700 } else { 0o600 };
                    let shut = fs::set_permissions(&path, Permissions::from_mode(mended));
                    shut.map_err(|error| BadState::new(&path, error))?;
                    warn!(
                        "acme.state: {}: others could read it (mode {mode:03o}); now nobody can (mode {mended:03o}). Who \
                         may have read it has the keys in it: remove it then, and start again for new ones",
                        path.display()
                    );
                }
            }
        }
        Ok(StateDirectory(path.to_owned()))
    }

    /// What of it is open to others, with its mode. `None`: it is not there yet. Changes nothing.
    pub(crate) fn look(path: &Path) -> Result<Option<Vec<(PathBuf, u32)>>, BadState> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(BadState::new(path, "it is no directory: name another")),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BadState::new(path, error)),
        }
        let mut open = Vec::new();
        for path in [path.to_owned(), path.join(ACCOUNT), path.join(CERTIFICATE)] {
            let found = match fs::metadata(&path) {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(BadState::new(&path, error)),
            };
            let (owner, me) = (Uid::from_raw(found.uid()), geteuid());
            if owner != me {
                let shown = path.display();
                let why = format!("it belongs to user {owner}, and user {me} runs the server: `chown {me}: {shown}`");
                return Err(BadState::new(&path, why));
            }
            let mode = found.mode() & 0o777;
            if mode & 0o077 != 0 {
                open.push((path, mode));
            }
        }
        Ok(Some(open))
    }

    /// The certificate of an earlier run. An error says what is wrong with it.
    pub(super) fn certificate(&self) -> Result<Option<StoredCertificate>, BadState> {
        let path = self.0.join(CERTIFICATE);
        let bad = |why: String| BadState::new(&path, why);
        match fs::read_to_string(&path) {
            Ok(text) => StoredCertificate::parse(&text).map(Some).map_err(bad),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(bad(error.to_string())),
        }
    }

    /// The key of the account. The first call makes it, and has stored it before it gives it.
    pub(super) async fn account_key(self: Arc<Self>) -> io::Result<PrivatePkcs8KeyDer<'static>> {
        let work = move || {
            let path = self.0.join(ACCOUNT);
            match PrivatePkcs8KeyDer::from_pem_file(&path) {
                Ok(key) => return Ok(key),
                Err(_) if !path.exists() => {}
                Err(error) => return Err(io::Error::other(format!("{}: {error}: remove it", path.display()))),
            }
            let key = KeyPair::generate().map_err(io::Error::other)?;
            self.store(ACCOUNT, &key.serialize_pem())?;
            Ok(PrivatePkcs8KeyDer::from(key.serialize_der()))
        };
        spawn_blocking(work).await.map_err(io::Error::other)?
    }

    pub(super) async fn store_certificate(self: Arc<Self>, text: String) -> io::Result<()> {
        spawn_blocking(move || self.store(CERTIFICATE, &text)).await.map_err(io::Error::other)?
    }

    fn store(&self, name: &str, text: &str) -> io::Result<()> {
        let unfinished = self.0.join(UNFINISHED);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, self.0.join(name))?;
        File::open(&self.0)?.sync_all()
    }
}

#[cfg(test)]
mod tests;
