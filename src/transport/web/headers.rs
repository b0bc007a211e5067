//! What stands before every request and on every answer: the checks of Host and Origin, and the headers that keep a
//! browser from doing more than the page needs.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::WebState;
use super::connection::HttpConnection;
use super::origin::{check_host, check_origin};
use super::proxies::ClientAddress;

/// The page has no script and no style but its files, loads nothing from elsewhere, and makes script of no text. The
/// policy `chatd` makes one URL, that of the service worker.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types chatd";
const PERMISSIONS_POLICY: &str =
    "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), serial=(), usb=()";

const ON_ALL: [(HeaderName, HeaderValue); 7] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS_POLICY)),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// Checks a request, has it answered, and puts the headers on the answer.
pub(super) async fn guard(
    State(state): State<Arc<WebState>>,
    Extension(connection): Extension<Arc<HttpConnection>>,
    mut request: Request,
    next: Next,
) -> Response {
    let settings = state.settings();
    let client = ClientAddress::of(connection.peer, request.headers(), &settings.trusted_proxies);
    request.extensions_mut().insert(client);
    let (headers, path) = (request.headers(), request.uri().path());
    // The page is for whoever opens it, from wherever the link was.
    let is_page = matches!(path, "/" | "/sw.js" | "/manifest.webmanifest" | "/health") || path.starts_with("/a/");
    let may = check_host(headers, request.uri(), &settings).and_then(|()| match is_page {
        true => Ok(()),
        false => check_origin(headers, connection.is_encrypted, &settings),
    });
    let mut response = match may {
        Ok(()) => next.run(request).await,
        Err(code) => code.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in ON_ALL {
        // A file has a policy of its own, which allows less.
        headers.entry(name).or_insert(value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if connection.is_encrypted {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}
