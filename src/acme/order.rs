//! One order of a certificate, from the account to the certificate.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, Key, NewOrder, Order, OrderStatus, RetryPolicy,
};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::state::{StateDirectory, issued_by};
use super::{AcmeFailure, AcmeSettings, DirectoryClient};
use crate::transport::tls::{PendingChallenge, Tls};

/// How long the authority may take to ask for the answers, and then to sign.
const POLLING: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));

/// Gets a certificate. Gives it with its key, as it is stored.
pub(super) async fn issue(
    settings: &AcmeSettings,
    client: &DirectoryClient,
    state: &Arc<StateDirectory>,
    tls: &Tls,
) -> Result<String, AcmeFailure> {
    let host = client.host();
    let failed = |error| AcmeFailure::of(error, &host, client.retry_after());
    let secret = state.clone().account_key().await.map_err(AcmeFailure::State)?;
    let key = Key::from_pkcs8_der(secret.clone_key()).map_err(failed)?;
    let builder = Account::builder_with_http(Box::new(client.clone()));
    // An account that there is for the key is found again.
    let made = builder.create_from_key((key, PrivateKeyDer::Pkcs8(secret)), settings.directory.clone()).await;
    let (account, _) = made.map_err(failed)?;
    if !settings.contact.is_empty() {
        let contact: Vec<String> = settings.contact.iter().map(|address| format!("mailto:{address}")).collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        account.update_contacts(&contact).await.map_err(failed)?;
    }
    let names: Vec<Identifier> = settings.hosts.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await.map_err(failed)?;
    let pending = answer_challenges(&mut order, tls, failed).await?;
    let ready = order.poll_ready(&POLLING).await;
    drop(pending);
    match ready {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(refused_challenge(&mut order).await.unwrap_or(AcmeFailure::Late)),
        Err(error) => return Err(refused_challenge(&mut order).await.unwrap_or_else(|| failed(error))),
    }
    let key = order.finalize().await.map_err(failed)?;
    let chain = order.poll_certificate(&POLLING).await.map_err(failed)?;
    Ok(format!("{}\n{chain}\n{key}", issued_by(&settings.directory)))
}

/// Makes the answers, and then has the authority ask for them.
async fn answer_challenges(
    order: &mut Order,
    tls: &Tls,
    failed: impl Fn(instant_acme::Error) -> AcmeFailure,
) -> Result<Vec<PendingChallenge>, AcmeFailure> {
    let mut pending = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(&failed)?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let name = authorization.identifier().to_string();
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.ok_or_else(|| AcmeFailure::NoChallenge { name: name.clone() })?;
        let digest = challenge.key_authorization().digest().as_ref().try_into().expect("SHA-256 has 32 bytes");
        let answer = tls.answer_challenge(&name, digest);
        pending.push(answer.map_err(|bad| AcmeFailure::NoAnswer(bad.to_string()))?);
        challenge.set_ready().await.map_err(&failed)?;
    }
    Ok(pending)
}

/// Which challenge has failed, and why.
async fn refused_challenge(order: &mut Order) -> Option<AcmeFailure> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let state = authorization.refresh().await.ok()?;
        if state.status == AuthorizationStatus::Invalid {
            let problem = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
            return Some(AcmeFailure::of_challenge(state.identifier().to_string(), problem));
        }
    }
    None
}
