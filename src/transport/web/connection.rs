//! One connection of HTTP/1.1, from its first byte to its last.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Web;
use super::deadline::WriteDeadline;
use crate::charge::Holder;
use crate::transport::admission::{LoginWatch, Slot, TooMany};
use crate::transport::stream::Stream;

/// How long a head may take to come, and how long a connection may be silent between two requests.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a head may be, in bytes.
const HEAD: usize = 16 << 10;

/// What a request knows of its connection.
pub(super) struct HttpConnection {
    /// The other end.
    pub peer: IpAddr,
    /// Whether nobody can read along.
    pub is_encrypted: bool,
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
    slot: Mutex<Slot>,
}

impl HttpConnection {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A living token was shown: the connection is its account's from now on.
    pub(crate) fn authenticate(&self, holder: Holder) -> Result<(), TooMany> {
        self.slot().authenticate(holder)
    }

    /// A token was shown that is none.
    pub(crate) fn forget_token(&self) {
        self.slot().forget_token();
    }

    /// Tells of the end of the session that was shown last.
    pub(crate) fn watch_login(&self) -> LoginWatch {
        self.slot().watch_login()
    }
}

impl Web {
    /// Speaks with one peer until either side ends it.
    pub(crate) async fn serve<S: Stream + 'static>(
        self: Arc<Self>,
        stream: S,
        is_encrypted: bool,
        peer: IpAddr,
        slot: Slot,
        stop: CancellationToken,
    ) {
        let settings = self.state.settings();
        let connection = Arc::new(HttpConnection { peer, is_encrypted, stop: stop.clone(), slot: Mutex::new(slot) });
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(|request| {
            let mut request: Request<hyper::body::Incoming> = request;
            request.extensions_mut().insert(connection.clone());
            let connection = connection.clone();
            let answer = router.call(request);
            async move {
                connection.slot().mark_busy();
                let answer = answer.await;
                connection.slot().touch();
                answer
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD);
        let stream = WriteDeadline::new(stream, settings.write_timeout);
        let mut conversation = pin!(http.serve_connection(TokioIo::new(stream), service));
        let over = tokio::select! {
            over = conversation.as_mut() => over,
            () = stop.cancelled() => {
                conversation.as_mut().graceful_shutdown();
                match timeout(settings.linger, conversation).await {
                    Ok(over) => over,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = over {
            debug!(address = %peer, %error, "connection lost");
        }
    }
}

/// Says to a peer that does not speak TLS that the port does.
pub(crate) async fn ask_for_tls<S: Stream>(stream: &mut S) {
    let body = "This port speaks TLS: the address begins with https://\n";
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n";
    let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let _ = timeout(HEAD_TIME, async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    })
    .await;
}
