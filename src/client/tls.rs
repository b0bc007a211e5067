//! Which authorities the client trusts: the system's, or those of one file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Untrusting {
    /// The file of authorities cannot be used.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system has no authorities.
    #[error("the system knows no certificate authorities (the package ca-certificates has them): {0}")]
    System(String),
}

/// A way to encrypted connections with servers for which one of the authorities vouches: those in `file` (PEM), or the
/// system's.
pub fn connector(file: Option<&Path>) -> Result<TlsConnector, Untrusting> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let bad = |why: String| Untrusting::File { file: file.to_owned(), why };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| bad(error.to_string()))? {
                let certificate = certificate.map_err(|error| bad(error.to_string()))?;
                roots.add(certificate).map_err(|error| bad(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(bad("no certificate is in it".to_owned()));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(Untrusting::System(found.errors.first().map(ToString::to_string).unwrap_or_default()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
