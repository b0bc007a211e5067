//! Requests to the directory of an authority: a connection each, no redirects, a deadline.

use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{AcmeFailure, AcmeSettings};
use crate::client::tls::{Untrusting, connector};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one address of the directory may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// A longer answer is none, in bytes.
const ANSWER_BYTES: usize = 1 << 20;
/// The kind of an answer that says what is wrong (RFC 7807).
const PROBLEM: &[u8] = b"application/problem+json";

/// How a request to the directory failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadAnswer {
    #[error("it cannot be reached: {0}")]
    NoAnswer(String),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("it is no directory of ACME")]
    NoDirectory,
}

/// Asks the directory.
#[derive(Clone)]
pub(crate) struct DirectoryClient {
    /// The address of the directory.
    pub(super) address: String,
    connector: TlsConnector,
    /// What the last refusal said of it.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl DirectoryClient {
    /// Fails where nobody vouches for the directory.
    pub(crate) fn new(settings: &AcmeSettings) -> Result<DirectoryClient, Untrusting> {
        let connector = connector(settings.ca.as_deref())?;
        Ok(DirectoryClient { address: settings.directory.clone(), connector, retry_after: Arc::default() })
    }

    /// Whether the directory answers.
    pub(crate) async fn reach(self) -> Result<(), AcmeFailure> {
        let host = self.host();
        self.look().await.map_err(|bad| AcmeFailure::of_answer(&bad, host, None))
    }

    async fn look(self) -> Result<(), BadAnswer> {
        let request = Request::get(&self.address).body(BodyWrapper::default());
        let mut answer = self.ask(request.map_err(|error| BadAnswer::NoAnswer(error.to_string()))?).await?;
        let body = answer.body.into_bytes().await.unwrap_or_default();
        let directory: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        directory.filter(|it| it["newOrder"].is_string()).map(drop).ok_or(BadAnswer::NoDirectory)
    }

    /// The name of the directory's host.
    pub(super) fn host(&self) -> String {
        let uri: Option<Uri> = self.address.parse().ok();
        uri.as_ref().and_then(Uri::host).unwrap_or(&self.address).to_owned()
    }

    /// How long to wait, if the last refusal said so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, BadAnswer> {
        let late = |_| BadAnswer::NoAnswer(format!("no answer within {} s", PATIENCE.as_secs()));
        let (parts, body) = timeout(PATIENCE, self.exchange(request)).await.map_err(late)??.into_parts();
        let is_problem =
            parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(PROBLEM));
        let is_refusal = parts.status.is_client_error() || parts.status.is_server_error();
        let retry_after = is_refusal.then(|| retry_after(&parts.headers, SystemTime::now())).flatten();
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = retry_after;
        match is_problem || parts.status.is_success() {
            true => Ok(BytesResponse { parts, body: Box::new(body) }),
            false => Err(BadAnswer::Status(parts.status)),
        }
    }

    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, BadAnswer> {
        let bad = |error: &dyn Error| BadAnswer::NoAnswer(with_causes(error));
        let (host, port) =
            place(request.uri()).ok_or_else(|| BadAnswer::NoAnswer(format!("{}: no https", request.uri())))?;
        let name = ServerName::try_from(host.clone()).map_err(|error| bad(&error))?;
        let stream = connect(&host, port).await?;
        let stream = self.connector.connect(name, stream).await.map_err(|error| bad(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| bad(&error))?;
        let request = in_origin_form(request)?;
        let answer = async {
            let (parts, body) = sender.send_request(request).await.map_err(|error| bad(&error))?.into_parts();
            let body: Incoming = body;
            let body = to_bytes(Body::new(body), ANSWER_BYTES).await.map_err(|error| bad(&error))?;
            Ok(Response::from_parts(parts, body))
        };
        let mut answer = pin!(answer);
        // Both go with this future: nothing of it is left when the time is over.
        tokio::select! {
            biased;
            answer = answer.as_mut() => answer,
            // A connection that ends may have brought the answer, also where its end is not in good order.
            ended = connection => match (answer.await, ended) {
                (Err(_), Err(error)) => Err(bad(&error)),
                (answer, _) => answer,
            },
        }
    }
}

impl HttpClient for DirectoryClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let asked = self.clone().ask(request);
        Box::pin(async move { asked.await.map_err(|bad| instant_acme::Error::Other(Box::new(bad))) })
    }
}

fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Host and port of an https address. An IPv6 address loses its brackets.
fn place(uri: &Uri) -> Option<(String, u16)> {
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    (uri.scheme_str() == Some("https")).then_some((host, uri.port_u16().unwrap_or(443)))
}

/// Tries one address after the other, so that one that is dead does not keep from the others.
async fn connect(host: &str, port: u16) -> Result<TcpStream, BadAnswer> {
    let bad = |error: std::io::Error| BadAnswer::NoAnswer(error.to_string());
    let mut failed = BadAnswer::NoAnswer("its name has no address".to_owned());
    for address in lookup_host((host, port)).await.map_err(bad)? {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = BadAnswer::NoAnswer(format!("{address}: {error}")),
            Err(_) => failed = BadAnswer::NoAnswer(format!("{address}: no connection within {} s", CONNECT.as_secs())),
        }
    }
    Err(failed)
}

/// As a server wants it: the path alone, and the host in a header.
fn in_origin_form(mut request: Request<BodyWrapper<Bytes>>) -> Result<Request<BodyWrapper<Bytes>>, BadAnswer> {
    let uri = request.uri();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority).map_err(|error| BadAnswer::NoAnswer(error.to_string()))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| BadAnswer::NoAnswer(format!("{path}: no path")))?;
    request.headers_mut().insert(header::HOST, host);
    Ok(request)
}

/// In seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(SystemTime::from(at).duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn how_long_to_wait_is_said_in_seconds_or_as_a_date() {
        let said = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().expect("it is a value"));
            // 1994-11-06 08:49:37 UTC
            retry_after(&headers, UNIX_EPOCH + Duration::from_secs(784_111_777))
        };
        assert_eq!(said("120"), Some(Duration::from_secs(120)));
        assert_eq!(said("Sun, 06 Nov 1994 08:59:37 GMT"), Some(Duration::from_secs(600)));
        assert_eq!(said("Sun, 06 Nov 1994 07:49:37 GMT"), Some(Duration::ZERO), "it is over");
        assert_eq!((said("soon"), said("-1")), (None, None));
        assert_eq!(retry_after(&HeaderMap::new(), UNIX_EPOCH), None);
    }

    #[test]
    fn only_https_is_asked() {
        let of = |uri: &str| place(&uri.parse().expect("it is an address"));
        assert_eq!(of("https://acme.example.org/directory"), Some(("acme.example.org".to_owned(), 443)));
        assert_eq!(of("https://[::1]:14000/dir"), Some(("::1".to_owned(), 14000)));
        assert_eq!((of("http://acme.example.org/directory"), of("/directory")), (None, None));
    }
}
