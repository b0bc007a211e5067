//! The answer to a certificate authority that asks whether a name leads to this server (tls-alpn-01, RFC 8737): a
//! handshake with a certificate made for it. No other client sees this certificate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use tokio_rustls::rustls::crypto::ring::sign::any_ecdsa_type;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use super::identity;

/// The protocol that an authority names in the handshake (ALPN), and names alone.
const PROTOCOL: &[u8] = b"acme-tls/1";

/// Whether the peer is an authority that wants the answer to a challenge.
pub(super) fn is_asked_for(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|protocols| protocols.eq([PROTOCOL]))
}

/// The challenges that can be answered now.
#[derive(Debug)]
pub(super) struct Challenges {
    answers: Arc<ChallengeAnswers>,
    config: Arc<ServerConfig>,
}

impl Challenges {
    pub(super) fn new() -> Challenges {
        let answers = Arc::new(ChallengeAnswers::default());
        // A resolver, because rustls reads any other certificate and does not know the critical extension of this one.
        let mut config = identity::resolved_by(answers.clone());
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Challenges { answers, config: Arc::new(config) }
    }

    /// Shakes hands with an authority. Fails where there is no challenge for the name that it asks for.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    pub(super) fn answer(&self, name: &str, digest: [u8; 32]) -> Result<PendingChallenge, BadChallenge> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new([name.to_owned()])?;
        parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
        let certificate = parameters.self_signed(&key)?;
        let key = any_ecdsa_type(&PrivateKeyDer::from(key))?;
        let answer = CertifiedKey::new(vec![certificate.into()], key);
        self.answers.by_name().insert(name.to_owned(), Arc::new(answer));
        Ok(PendingChallenge { answers: self.answers.clone(), name: name.to_owned() })
    }
}

/// Why a challenge cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadChallenge {
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Key(#[from] rustls::Error),
}

/// A challenge that is answered for as long as this is kept.
#[derive(Debug)]
pub(crate) struct PendingChallenge {
    answers: Arc<ChallengeAnswers>,
    name: String,
}

impl Drop for PendingChallenge {
    fn drop(&mut self) {
        self.answers.by_name().remove(&self.name);
    }
}

#[derive(Debug, Default)]
struct ChallengeAnswers(Mutex<HashMap<String, Arc<CertifiedKey>>>);

impl ChallengeAnswers {
    fn by_name(&self) -> MutexGuard<'_, HashMap<String, Arc<CertifiedKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for ChallengeAnswers {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        self.by_name().get(&name).cloned()
    }
}

#[cfg(test)]
mod tests;
