//! Files: taken in as they come, and handed out so that no browser carries anything out that is in one.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use hyper::body::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use super::WebState;
use super::asker::Asker;
use super::body::{Parameters, PathPart};
use super::connection::HttpConnection;
use super::conversations::time_of;
use super::error::{ErrorCode, WebError};
use super::pieces::BodyPieces;
use super::spelling::file;
use crate::charge::Payer;
use crate::model::{FILE_PIECE, FileId, FileName, LookupName, MessageId, SendKey, Timestamp, UserId, visible};
use crate::protocol::Refusal;
use crate::service::{FileSend, Need, SentFile, UploadBegin};

/// A file has no origin, no script and nothing that it could load, whoever opens it.
const FILE_POLICY: &str = "default-src 'none'; sandbox; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// What may stand in a name in the form of RFC 8187.
const NAME_PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The kinds that a browser is told of, and how their files begin: pictures of pixels, in which nothing can be run.
const PICTURES: [(&str, &[u8]); 5] = [
    ("image/png", b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", b"\xff\xd8\xff"),
    ("image/gif", b"GIF87a"),
    ("image/gif", b"GIF89a"),
    ("image/webp", b"RIFF"),
];

/// A refused body is read to its end where it is no longer than so many times what a file may have.
const DISCARDED: u64 = 2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileParameters {
    name: String,
    /// The same for each attempt to send this file.
    #[serde(default)]
    key: Option<String>,
}

/// Takes a file in, to one person or group. The body is the file.
pub(super) async fn send(
    State(state): State<Arc<WebState>>,
    PathPart(recipient): PathPart,
    asker: Asker,
    Parameters(parameters): Parameters<FileParameters>,
    request: Request,
) -> Result<Response, WebError> {
    let asker = asker.admit(Need::Send);
    let user = asker.user()?.session.user.id;
    let (patience, most) = (state.settings().write_patience, state.service.file_bytes());
    let mut pieces = BodyPieces::of(request, Payer::Account(user), patience, most)?;
    match take(&state, &asker, &recipient, parameters, &mut pieces).await {
        Ok(answer) => Ok(answer),
        Err(refused) => {
            pieces.discard(DISCARDED * most.max(FILE_PIECE as u64)).await;
            Err(refused)
        }
    }
}

async fn take(
    state: &WebState,
    asker: &Asker,
    recipient: &str,
    parameters: FileParameters,
    pieces: &mut BodyPieces,
) -> Result<Response, WebError> {
    let FileParameters { name, key } = parameters;
    let key = key.map(|key| SendKey::parse(&key).ok_or(Refusal::BadKey)).transpose()?;
    let has_key = key.is_some();
    let wanted = "name: 1 to 255 bytes, not . or .., no control characters";
    let name = FileName::parse(&name).ok_or_else(|| ErrorCode::Malformed.because(wanted))?;
    let user = asker.user()?.session.user.id;
    let sender = asker.sender()?;
    state.sends.allow(sender)?;
    let _place = state.uploads.enter(sender)?;
    let most = state.service.file_bytes();
    if pieces.length.is_some_and(|length| length > most) {
        return Err(Refusal::FileTooLarge { most }.into());
    }
    let send = FileSend { recipient: LookupName::of(recipient), name, key };
    let mut upload = match state.service.begin_upload(&asker.from.peer, &asker.caller, send).await? {
        UploadBegin::New(upload) => upload,
        UploadBegin::SentBefore(id) => {
            while pieces.next().await?.is_some() {}
            let sent_at = time_of(state, asker, id).await?.unwrap_or(asker.user()?.at);
            return sent(state, StatusCode::OK, (user, id, sent_at), 0).await;
        }
    };
    while let Some(piece) = pieces.next().await? {
        state.service.take_piece(&asker.caller, &mut upload, &piece).await?;
    }
    let (id, asked_at, not_delivered) = state.service.send_upload(&asker.caller, upload).await?;
    let sent_at = if has_key { time_of(state, asker, id).await? } else { None };
    sent(state, StatusCode::CREATED, (user, id, sent_at.unwrap_or(asked_at)), not_delivered).await
}

/// Says which message brings the file, and what the file is from now on.
async fn sent(
    state: &WebState,
    status: StatusCode,
    (sender, id, time): (UserId, MessageId, Timestamp),
    not_delivered: u64,
) -> Result<Response, WebError> {
    let mut answer = json!({ "id": id.0, "time": time.0 });
    if let Some(brought) = state.service.sent_file_of(sender, id).await? {
        answer["file"] = file(&brought);
    }
    if not_delivered > 0 {
        answer["not_delivered"] = not_delivered.into();
    }
    Ok((status, Json(answer)).into_response())
}

/// Hands a file out to who sent or received it.
pub(super) async fn get(
    State(state): State<Arc<WebState>>,
    PathPart(id): PathPart,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, WebError> {
    let asker = asker.admit(Need::Read);
    let id = id.parse().map(FileId).map_err(|_| ErrorCode::NotFound)?;
    let wanted = state.service.sent_file(&asker.caller, id).await?;
    let sum: String = wanted.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{sum}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    if known.is_some_and(|known| known.contains(&tag)) {
        return Ok(with_headers(StatusCode::NOT_MODIFIED.into_response(), &[(header::ETAG, &tag)]));
    }
    let reader = asker.user()?.session.user.id;
    let payer = asker.payer()?;
    let held = asker.from.connection.replies.hold(payer, 2 * FILE_PIECE);
    if !held {
        return Err(ErrorCode::Busy.into());
    }
    let begin = state.service.checked_file(reader, &wanted).await?;
    let kind = kind_of(&wanted, &begin);
    let length = wanted.bytes.to_string();
    let disposition = disposition(&wanted.name);
    let first = Some(begin).filter(|begin| !begin.is_empty());
    let connection = asker.from.connection.clone();
    let stream = FileStream { state, connection, payer, reader, file: wanted.id, first, place: 0 };
    let response = Body::from_stream(unfold(stream, FileStream::next)).into_response();
    let about = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_LENGTH, &length),
        (header::CONTENT_DISPOSITION, &disposition),
        (header::ETAG, &tag),
    ];
    Ok(with_headers(response, &about))
}

/// What every answer about a file has, and this.
fn with_headers(mut response: Response, more: &[(HeaderName, &str)]) -> Response {
    // It is asked each time whether the reader may see it still.
    let always = [(header::CONTENT_SECURITY_POLICY, FILE_POLICY), (header::CACHE_CONTROL, "private, no-cache")];
    for (name, value) in always.iter().chain(more) {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A picture where the file begins as one of the kind that its name says; else bytes of which nothing is known.
fn kind_of(file: &SentFile, begin: &[u8]) -> &'static str {
    let is_one = |(kind, sign): &&(&str, &[u8])| {
        *kind == file.media_type
            && begin.starts_with(sign)
            && (*kind != "image/webp" || begin.get(8..12) == Some(b"WEBP"))
    };
    PICTURES.iter().find(is_one).map_or("application/octet-stream", |(kind, _)| kind)
}

/// That it is to be kept under this name: for programs of old in ASCII, and as it is.
fn disposition(name: &str) -> String {
    let name = visible(name);
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%' | ';') || c == ' ';
    let ascii: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", utf8_percent_encode(&name, NAME_PLAIN))
}

/// A file on its way out.
struct FileStream {
    state: Arc<WebState>,
    connection: Arc<HttpConnection>,
    payer: Payer,
    reader: UserId,
    file: FileId,
    /// The first piece, which was read before.
    first: Option<Vec<u8>>,
    /// That which is next.
    place: u32,
}

impl FileStream {
    /// The next piece. None is read before the connection has taken nearly all of those before it.
    async fn next(mut self) -> Option<(io::Result<Bytes>, FileStream)> {
        let piece = match self.first.take() {
            Some(first) => Ok(Some(first)),
            None if !self.connection.replies.hold(self.payer, 2 * FILE_PIECE) => Err(Refusal::Busy),
            None => self.state.service.file_piece(self.reader, self.file, self.place).await,
        };
        self.place += 1;
        match piece {
            Ok(Some(piece)) => Some((Ok(piece.into()), self)),
            Ok(None) => {
                self.connection.replies.is_made();
                None
            }
            Err(_) => Some((Err(io::Error::other("the file is not to be had now")), self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_breaks_out_of_no_header() {
        let name = "a\"; filename=evil.exe \\ é%.txt";
        assert_eq!(
            disposition(name),
            "attachment; filename=\"a__ filename=evil.exe _ __.txt\"; \
             filename*=UTF-8''a%22%3B%20filename%3Devil.exe%20%5C%20%C3%A9%25.txt"
        );
        // Not even one that was stored before names were looked at.
        let broken = disposition("a\r\nSet-Cookie: x\u{202e}gpj.exe");
        assert!(!broken.contains(['\r', '\n']) && broken.is_ascii(), "{broken}");
        assert!(!broken.contains("%E2%80%AE"), "the name turns its direction: {broken}");
    }

    #[test]
    fn only_what_begins_as_a_picture_is_one() {
        let kind = |media_type: &str, begin: &[u8]| {
            let name = String::new();
            let (spelling, sha256) = (crate::model::FileSpelling::Plain, Vec::new());
            let file = SentFile { id: FileId(1), name, media_type: media_type.to_owned(), spelling, bytes: 0, sha256 };
            kind_of(&file, begin)
        };
        assert_eq!(kind("image/png", b"\x89PNG\r\n\x1a\nx"), "image/png");
        assert_eq!(kind("image/webp", b"RIFF0000WEBPx"), "image/webp");
        for (media_type, begin) in [
            ("image/png", &b"<html>"[..]),
            ("image/png", b"\xff\xd8\xff"),
            ("image/webp", b"RIFF0000WAVE"),
            ("image/webp", b"RIFF"),
            ("image/svg+xml", b"<svg"),
            ("text/html", b"<html>"),
            ("image/gif", b""),
        ] {
            assert_eq!(kind(media_type, begin), "application/octet-stream", "{media_type}");
        }
    }
}
