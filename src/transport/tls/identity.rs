//! The server's identity: reads a certificate and its key, says what is wrong with them, and until when they are valid.
//! Opens no connection.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::ResolvesServerCert;
use tokio_rustls::rustls::{self, CertificateError, ConfigBuilder, ServerConfig, WantsVerifier};
use tracing::warn;
use x509_parser::parse_x509_certificate;

/// Why a certificate and its key cannot be used: a line that names the setting, the file and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {path}: {why}", path = path.display())]
pub(crate) struct BadIdentity {
    key: &'static str,
    path: PathBuf,
    why: String,
}

/// A certificate, those that vouch for it, and its key.
#[derive(Clone, Debug)]
pub(crate) struct TlsIdentity {
    config: Arc<ServerConfig>,
    validity: Validity,
}

/// From when until when all certificates of a chain are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// The first second.
    pub begin: SystemTime,
    /// The last second.
    pub end: SystemTime,
}

impl Validity {
    /// That of a chain; `None` where one of it is no certificate.
    pub(crate) fn of(chain: &[CertificateDer<'_>]) -> Option<Validity> {
        let mut whole: Option<Validity> = None;
        for certificate in chain {
            let (_, certificate) = parse_x509_certificate(certificate).ok()?;
            let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            let validity = certificate.validity();
            let (begin, end) = (at(validity.not_before.timestamp()), at(validity.not_after.timestamp()));
            whole = Some(whole.map_or(Validity { begin, end }, |whole| Validity {
                begin: whole.begin.max(begin),
                end: whole.end.min(end),
            }));
        }
        whole
    }

    /// Seconds from `now` to the end; negative after it.
    pub(crate) fn seconds_left(&self, now: SystemTime) -> i64 {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        self.end.duration_since(now).map_or_else(|past| -seconds(past.duration()), seconds)
    }
}

const CERTIFICATE: &str = "server.tls_certificate";
const KEY: &str = "server.tls_key";

impl TlsIdentity {
    /// Reads both files (PEM); the key must be that of the first certificate. Tells what is wrong with each.
    pub(crate) fn load(certificate: &Path, key: &Path) -> Result<TlsIdentity, Vec<BadIdentity>> {
        let (chain, secret) = match (read_chain(certificate), read_key(key)) {
            (Ok(chain), Ok(secret)) => (chain, secret),
            (chain, secret) => return Err([chain.err(), secret.err()].into_iter().flatten().collect()),
        };
        let bad = |key, path: &Path, why: &str| vec![BadIdentity { key, path: path.to_owned(), why: why.to_owned() }];
        let unreadable = || bad(CERTIFICATE, certificate, "there is a damaged certificate in it");
        let is_open = fs::metadata(key).is_ok_and(|file| file.permissions().mode() & 0o007 != 0);
        let identity = TlsIdentity::new(chain, secret).map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::BadEncoding) => unreadable(),
            rustls::Error::InconsistentKeys(_) => {
                let why = format!("it is not the key of the first certificate in {}", certificate.display());
                bad(KEY, key, &why)
            }
            error => bad(KEY, key, &error.to_string()),
        })?;
        if is_open {
            warn!(path = ?key, "the key of the certificate is open to everybody on this machine");
        }
        Ok(identity)
    }

    /// Of a chain and the key of its first certificate.
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        secret: PrivateKeyDer<'static>,
    ) -> Result<TlsIdentity, rustls::Error> {
        let unreadable = rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        let validity = Validity::of(&chain).ok_or(unreadable)?;
        let config = versions().with_no_client_auth().with_single_cert(chain, secret)?;
        Ok(TlsIdentity { config: Arc::new(config), validity })
    }

    /// How long it is good.
    pub(crate) fn validity(&self) -> Validity {
        self.validity
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

/// Names the crypto provider, so that it does not depend on other crates.
fn versions() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
}

/// Whose identity depends on what the client says.
pub(super) fn resolved_by(resolver: Arc<dyn ResolvesServerCert>) -> ServerConfig {
    versions().with_no_client_auth().with_cert_resolver(resolver)
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, BadIdentity> {
    let bad = |why: String| BadIdentity { key: setting, path: path.to_owned(), why };
    let bytes = fs::read(path).map_err(|error| bad(error.to_string()))?;
    match bytes.starts_with(b"\xef\xbb\xbf") {
        true => Err(bad("the file begins with a byte order mark (BOM): save it without one".to_owned())),
        false => Ok(bytes),
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadIdentity> {
    let bad = |why: String| BadIdentity { key: CERTIFICATE, path: path.to_owned(), why };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(CERTIFICATE, path)?).collect();
    let chain = chain.map_err(|error| bad(error.to_string()))?;
    match chain.first() {
        None => Err(bad("there is no certificate in it (PEM, -----BEGIN CERTIFICATE-----)".to_owned())),
        Some(first) if is_p521(first) => Err(bad(P521.to_owned())),
        Some(_) => Ok(chain),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, BadIdentity> {
    let bad = |why: String| BadIdentity { key: KEY, path: path.to_owned(), why };
    let text = read(KEY, path)?;
    let says = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
    if says(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || says(b"Proc-Type: 4,ENCRYPTED") {
        let plain = "`openssl pkey -in KEY -out FILE` writes it without its passphrase";
        return Err(bad(format!("the key is encrypted, and nobody is there to type the passphrase: {plain}")));
    }
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(secret) if is_p521(secret.secret_der()) => Err(bad(P521.to_owned())),
        Ok(secret) => Ok(secret),
        Err(_) => Err(bad("there is no private key in it (PEM, -----BEGIN PRIVATE KEY-----)".to_owned())),
    }
}

const P521: &str = "a key on the curve P-521 is of no use here: take P-256, P-384, Ed25519 or RSA";

/// Whether the curve's name (secp521r1, 1.3.132.0.35) is in it.
fn is_p521(der: &[u8]) -> bool {
    const NAME: [u8; 7] = [6, 5, 0x2b, 0x81, 4, 0, 0x23];
    der.windows(NAME.len()).any(|part| part == NAME)
}
