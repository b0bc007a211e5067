//! Gets the certificate of the server from an authority, and a new one before it ends (ACME, RFC 8555). The server
//! serves meanwhile: what fails is logged with a remedy and tried again.

mod directory;
mod failure;
mod order;
mod schedule;
mod state;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

pub(crate) use self::directory::DirectoryClient;
pub(crate) use self::failure::AcmeFailure;
use self::schedule::Attempts;
pub(crate) use self::state::{BadState, StateDirectory, StoredCertificate};
use crate::transport::tls::{Tls, TlsIdentity};

/// A clock that is set, or a machine that slept, is noticed after this time.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// What the administrator wants.
#[derive(Clone, Debug)]
pub(crate) struct AcmeSettings {
    /// The names that the certificate is for, sorted.
    pub hosts: Vec<String>,
    /// Mail addresses of the account.
    pub contact: Vec<String>,
    /// The address of the directory.
    pub directory: String,
    /// Who vouches for the directory's own certificate; `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// Where keys and certificates are kept.
    pub state: PathBuf,
}

/// Why a server with these settings does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadAcme {
    #[error(transparent)]
    State(#[from] BadState),
    #[error("acme.ca: {0}")]
    Authorities(String),
}

/// The certificate of a server that gets it by ACME.
pub(crate) struct Acme {
    settings: AcmeSettings,
    client: DirectoryClient,
    state: Arc<StateDirectory>,
    certificate: Option<StoredCertificate>,
}

impl Acme {
    /// Opens the state directory, or makes it, and reads what is in it.
    pub(crate) fn open(settings: AcmeSettings) -> Result<Acme, BadAcme> {
        let client = DirectoryClient::new(&settings).map_err(|bad| BadAcme::Authorities(bad.to_string()))?;
        let state = StateDirectory::open(&settings.state)?;
        let certificate = state.certificate().unwrap_or_else(|bad| {
            error!("{bad}: a new certificate is asked for");
            None
        });
        Ok(Acme { settings, client, state: Arc::new(state), certificate })
    }

    /// The certificate of an earlier run.
    pub(crate) fn identity(&self) -> Option<TlsIdentity> {
        self.certificate.as_ref().map(|certificate| certificate.identity.clone())
    }

    /// Sees to it that connections see a certificate that is good. Never ends.
    pub(crate) async fn keep(mut self, tls: Arc<Tls>) {
        let mut attempts = Attempts::default();
        loop {
            self.wait_until_due().await;
            if attempts.is_empty() {
                let (hosts, directory) = (self.settings.hosts.join(", "), &self.client.address);
                info!(hosts, directory, "a certificate is asked for (ACME)");
            }
            match self.renew(&tls).await {
                Ok(()) => attempts = Attempts::default(),
                Err(failure) => {
                    let next = attempts.failed(&failure, SystemTime::now());
                    let (hosts, seconds) = (self.settings.hosts.join(", "), next.wait.as_secs());
                    match next.is_told {
                        true => error!(hosts, next_try_seconds = seconds, "no certificate by ACME: {failure}"),
                        false => debug!(hosts, next_try_seconds = seconds, "no certificate by ACME: {failure}"),
                    }
                    sleep(next.wait).await;
                }
            }
        }
    }

    async fn wait_until_due(&self) {
        let Some(certificate) = self.certificate.as_ref().filter(|it| it.is_for(&self.settings)) else { return };
        let due = schedule::renewal(certificate.identity.validity());
        while let Ok(left) = due.duration_since(SystemTime::now()) {
            if left.is_zero() {
                return;
            }
            sleep(left.min(LOOK_EVERY)).await;
        }
    }

    /// Gets a new certificate and puts it in force.
    async fn renew(&mut self, tls: &Tls) -> Result<(), AcmeFailure> {
        let issued = order::issue(&self.settings, &self.client, &self.state, tls).await?;
        let certificate = StoredCertificate::parse(&issued).map_err(AcmeFailure::Unusable)?;
        if !certificate.is_for(&self.settings) {
            return Err(AcmeFailure::Unusable("it is not for all names of acme.hosts".to_owned()));
        }
        if schedule::renewal(certificate.identity.validity()) <= SystemTime::now() {
            return Err(AcmeFailure::Unusable("it ends too soon: is the clock of this machine right?".to_owned()));
        }
        // In force even if it cannot be stored: then the next start asks for another.
        if let Err(error) = self.state.clone().store_certificate(issued).await {
            let path = self.settings.state.display();
            warn!(%error, "acme.state: {path}: the new certificate cannot be stored: the next start asks for another");
        }
        tls.set_identity(certificate.identity.clone());
        let until = Timestamp::try_from(certificate.identity.validity().end).unwrap_or_default();
        info!(hosts = self.settings.hosts.join(", "), %until, "a new certificate is in force");
        self.certificate = Some(certificate);
        Ok(())
    }
}
