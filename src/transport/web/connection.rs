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
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Web;
use super::deadline::WriteDeadline;
use super::reply_charge::ReplyCharge;
use crate::charge::{Charge, HTTP_HEAD, Holder};
use crate::transport::admission::{LoginWatch, Slot, TooMany};
use crate::transport::stream::Stream;

/// How long a head may take to come, and how long a connection may be silent between two requests.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// What a request knows of its connection.
pub(super) struct HttpConnection {
    /// The other end.
    pub peer: IpAddr,
    /// Whether nobody can read along.
    pub is_encrypted: bool,
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
    /// What its answers take.
    pub replies: Arc<ReplyCharge>,
    /// What the body of the request in hand takes.
    body: Mutex<Option<Charge>>,
    slot: Mutex<Slot>,
}

impl HttpConnection {
    /// Whom the connection is charged to, once it has shown a living token.
    pub(super) fn holder(&self) -> Option<Holder> {
        self.slot().holder()
    }

    /// The peer is waited for: it is a silent one until it says more.
    pub(super) fn touch(&self) {
        self.slot().touch();
    }

    /// The peer waits for an answer.
    pub(super) fn mark_busy(&self) {
        self.slot().mark_busy();
    }

    /// Keeps the charge for a body until the request is answered.
    pub(super) fn keep(&self, charge: Charge) {
        *self.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(charge);
    }

    /// The request is answered, but for the writing.
    fn is_answered(&self) {
        self.touch();
        self.replies.is_made();
        *self.body.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

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
        let replies = Arc::new(ReplyCharge::of(self.state.memory.clone()));
        let connection = Arc::new(HttpConnection {
            peer,
            is_encrypted,
            stop: stop.clone(),
            replies: replies.clone(),
            body: Mutex::default(),
            slot: Mutex::new(slot),
        });
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(|request| {
            let mut request: Request<hyper::body::Incoming> = request;
            request.extensions_mut().insert(connection.clone());
            let connection = connection.clone();
            let answer = router.call(request);
            async move {
                connection.mark_busy();
                let answer = answer.await;
                connection.is_answered();
                answer
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HTTP_HEAD);
        let stream = WriteDeadline::new(stream, settings.write_patience, replies.clone());
        let mut conversation = pin!(http.serve_connection(TokioIo::new(stream), service));
        let login = connection.watch_login();
        let revoked = async {
            loop {
                login.revoked().await;
                // Time for a stream to say that it ends, and for who logs in anew.
                sleep(settings.linger).await;
                if connection.holder().is_none() {
                    return;
                }
            }
        };
        let over = tokio::select! {
            over = conversation.as_mut() => over,
            // What is in the middle of an answer cannot be told why.
            () = revoked => return debug!(address = %peer, "the session has ended"),
            () = replies.cut() => return debug!(address = %peer, "others needed the memory of an answer"),
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
