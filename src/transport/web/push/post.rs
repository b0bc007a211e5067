//! One request to a push service: a connection of its own, no redirects, a deadline.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::service::{NoService, PushAddress};
use crate::model::PushHost;

/// How long a service may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why it is not known that a service has taken a push.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostFailure {
    #[error(transparent)]
    NoService(#[from] NoService),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Name(#[from] InvalidDnsNameError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("the request cannot be written")]
    Unwritable(#[from] axum::http::Error),
    #[error("the system knows no certificate authorities")]
    NoAuthorities,
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
}

/// What a service said: the status, and how long to wait before it is asked again.
pub(super) type PostAnswer = (StatusCode, Option<Duration>);

/// Whom the services are believed to be: the system's authorities say so. Read once, when it is first needed.
#[derive(Default)]
pub(super) struct Authorities(OnceLock<Option<TlsConnector>>);

impl Authorities {
    fn connector(&self) -> Option<&TlsConnector> {
        self.0.get_or_init(connector).as_ref()
    }

    /// Sends a body.
    pub(super) async fn post(
        &self,
        to: &PushAddress,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<PostAnswer, PostFailure> {
        timeout(PATIENCE, self.post_slowly(to, headers, body)).await.unwrap_or(Err(PostFailure::Late))
    }

    async fn post_slowly(
        &self,
        to: &PushAddress,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<PostAnswer, PostFailure> {
        let mut request = Request::post(&to.path).header(header::HOST, to.authority()).body(Body::from(body))?;
        request.headers_mut().extend(headers);
        let stream = TcpStream::connect(to.look_up().await?).await?;
        match &to.host {
            PushHost::Local(_) => exchange(stream, request).await,
            PushHost::Name(name) => {
                let connector = self.connector().ok_or(PostFailure::NoAuthorities)?;
                let name = ServerName::try_from(name.clone())?;
                exchange(connector.connect(name, stream).await?, request).await
            }
        }
    }
}

fn connector() -> Option<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?;
    let is_empty = roots.is_empty();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    (!is_empty).then(|| TlsConnector::from(Arc::new(config)))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
) -> Result<PostAnswer, PostFailure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let after = answer.headers().get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
        Ok((answer.status(), after.map(Duration::from_secs)))
    };
    let mut answer = pin!(answer);
    // Both go with this future: nothing of it is left when the time is over.
    tokio::select! {
        biased;
        answer = answer.as_mut() => answer,
        // A connection that ends in good order may have brought the answer.
        ended = connection => {
            ended?;
            answer.await
        }
    }
}
