//! The page for Prometheus, on its own port that only this machine can reach. It has the numbers for alerts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::{Request, StatusCode, header};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::ops::log_queue::LogQueue;
use crate::ops::metrics::MetricsPage;
use crate::repository::{Error, Repository};
use crate::server::Server;
use crate::service::Service;
use crate::transport::tls::Tls;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long its head may be, in bytes.
const HEAD: usize = 8 << 10;
/// How many connections there may be; with one more, the oldest that has not asked is closed, else the oldest.
const AT_ONCE: usize = 64;
/// How long to wait when no connection can be accepted.
const BACK_OFF: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(super) struct MetricsSources {
    pub repository: Arc<dyn Repository>,
    pub service: Arc<Service>,
    pub server: Server,
    pub tls: Option<Arc<Tls>>,
    pub log: Arc<LogQueue>,
}

impl MetricsSources {
    /// Answers until it is aborted. A silent connection is closed for a new one, so that nobody keeps Prometheus out.
    pub(super) async fn serve(self, listener: TcpListener) {
        let router = self.router();
        let mut connections: VecDeque<(AbortHandle, Arc<AtomicBool>)> = VecDeque::new();
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "Prometheus cannot be answered for the moment");
                    sleep(BACK_OFF).await;
                    continue;
                }
            };
            // Older connections are served first, even when many come at once.
            yield_now().await;
            connections.retain(|(connection, _)| !connection.is_finished());
            if connections.len() >= AT_ONCE {
                let silent = connections.iter().position(|(_, has_asked)| !has_asked.load(Ordering::Relaxed));
                if let Some((oldest, _)) = connections.remove(silent.unwrap_or(0)) {
                    oldest.abort();
                }
            }
            let has_asked = Arc::new(AtomicBool::new(false));
            let task = tokio::spawn(answer(stream, router.clone(), has_asked.clone()));
            connections.push_back((task.abort_handle(), has_asked));
        }
    }

    fn router(&self) -> Router {
        let shown = self.clone();
        let page = move || {
            let shown = shown.clone();
            async move {
                let page = shown.page().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
                Ok::<_, StatusCode>(([(header::CONTENT_TYPE, MetricsPage::CONTENT_TYPE)], page.text()))
            }
        };
        Router::new().route("/metrics", get(page)).fallback((StatusCode::NOT_FOUND, "The numbers are at /metrics.\n"))
    }

    async fn page(&self) -> Result<MetricsPage, Error> {
        let MetricsSources { repository, service, server, tls, log } = self;
        let status = repository.status().await?;
        let mut page = MetricsPage::default();
        page.gauge("chatd_connections", "Connections of clients.", server.connections());
        page.counter("chatd_connections_refused_total", "Connections over a limit.", server.refused());
        page.gauge("chatd_sessions", "Living logins.", status.sessions);
        page.gauge("chatd_users", "Accounts.", status.users);
        page.counter("chatd_messages_accepted_total", "Messages that were acknowledged.", status.accepted);
        page.counter("chatd_messages_delivered_total", "Messages that were read for certain.", status.delivered);
        page.gauge("chatd_queue_messages", "Messages that wait to be read.", status.unread_messages);
        page.gauge("chatd_queue_bytes", "Their texts, in bytes.", status.unread_bytes);
        let help = "Logins that were refused; unknown_user: no such account, or a disabled one.";
        page.tally("chatd_auth_failures_total", help, "reason", service.refused_logins());
        page.tally("chatd_sends_refused_total", "Messages that were refused.", "reason", service.refused_sends());
        page.histogram("chatd_commit_seconds", "What the commits of the database took.", &status.commits);
        page.gauge("chatd_disk_free_bytes", "Room on the database's file system.", status.free_bytes);
        let help = "Messages that were acknowledged and that the last start did not find.";
        page.gauge("chatd_messages_lost", help, status.lost);
        let help = "Messages that were found damaged on the disk; the log names them.";
        page.counter("chatd_messages_damaged_total", help, status.damaged);
        let help = "Lines of the log that nobody took in time, or that could not be written.";
        page.counter("chatd_log_lines_dropped_total", help, log.dropped());
        if let Some(tls) = tls {
            let left = tls.identity().map_or(0, |identity| identity.validity().seconds_left(SystemTime::now()));
            let help = "Until the certificate expires; negative after it, and 0 while ACME has brought none.";
            page.gauge("chatd_tls_certificate_expires_seconds", help, left);
        }
        Ok(page)
    }
}

/// One request and one reply of HTTP/1.1.
async fn answer(stream: TcpStream, router: Router, has_asked: Arc<AtomicBool>) {
    let router = TowerToHyperService::new(router);
    let asked = service_fn(|request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        router.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(LIMIT).max_buf_size(HEAD);
    http.keep_alive(false).title_case_headers(true);
    // Whoever is too slow, or goes away, asks again.
    let _ = timeout(LIMIT, http.serve_connection(TokioIo::new(stream), asked)).await;
}
