//! The page itself: the files of `web/`, as `build.rs` puts them into the program. They have no secrets and are there
//! for everybody.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::error::ErrorCode;

/// A file of the page.
struct Asset {
    /// Its path in `web/`.
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The program and the page in it.
pub(super) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-", env!("EMBEDDED_PAGE"));

/// At a name that stays, so it is asked for each time.
const ALWAYS_ASK: &str = "no-cache";
/// At a name that has the hash in it.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

pub(super) async fn index(headers: HeaderMap) -> Response {
    answer("index.html", ALWAYS_ASK, &headers)
}

pub(super) async fn service_worker(headers: HeaderMap) -> Response {
    answer("sw.js", ALWAYS_ASK, &headers)
}

pub(super) async fn manifest(headers: HeaderMap) -> Response {
    answer("manifest.webmanifest", ALWAYS_ASK, &headers)
}

/// A file of this version of the page; another version's are not here.
pub(super) async fn file(Path((hash, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    if hash != HASH {
        return ErrorCode::NotFound.into_response();
    }
    answer(&name, FOR_EVER, &headers)
}

fn answer(name: &str, cache: &'static str, asked: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return ErrorCode::NotFound.into_response();
    };
    // Weak, because it stands for the file and for its gzip twin.
    let tag = format!("W/\"{HASH}\"");
    let is_known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = match (is_known, takes_gzip(asked)) {
        (true, _) => axum::http::StatusCode::NOT_MODIFIED.into_response(),
        (false, true) => ([(header::CONTENT_ENCODING, "gzip")], asset.gzip).into_response(),
        (false, false) => asset.bytes.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

fn takes_gzip(asked: &HeaderMap) -> bool {
    let lines = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|one| {
        let (name, quality) = one.split_once(';').unwrap_or((one, ""));
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(quality.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}
