//! The page that Prometheus reads, on a port of its own that only this machine reaches: what an operator would be woken for.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::metrics::Page;
use crate::repository::Repository;
use crate::server::Server;
use crate::service::Service;
use crate::tls::Tls;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long its head may be, in bytes.
const HEAD: usize = 8 << 10;
/// How many may be asked at once.
const AT_ONCE: usize = 8;

/// All that is shown.
#[derive(Clone)]
pub struct Shown {
    pub repository: Arc<dyn Repository>,
    pub service: Arc<Service>,
    pub server: Server,
    pub tls: Option<Arc<Tls>>,
}

impl Shown {
    /// Answers until it is aborted.
    pub async fn serve(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let place = places.clone().acquire_owned().await;
            let Ok((stream, _)) = listener.accept().await else {
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            let shown = self.clone();
            tokio::spawn(async move {
                // Whoever is too slow, or goes away, asks again.
                let _ = timeout(LIMIT, shown.answer(stream)).await;
                drop(place);
            });
        }
    }

    /// One request and one reply of HTTP/1.1.
    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::with_capacity(1024);
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let (status, body) = match head.starts_with(b"GET /metrics ") {
            true => ("200 OK", self.page().text()),
            false => ("404 Not Found", "The numbers are at /metrics.\n".to_owned()),
        };
        let (kind, length) = (Page::CONTENT_TYPE, body.len());
        let reply = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(reply.as_bytes()).await?;
        stream.shutdown().await
    }

    fn page(&self) -> Page {
        let Shown { repository, service, server, tls } = self;
        let status = repository.status();
        let mut page = Page::default();
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
        if let Some(tls) = tls {
            let left = tls.identity().validity().seconds_left(SystemTime::now());
            page.gauge(
                "chatd_tls_certificate_expires_seconds",
                "Until the certificate expires; negative after it.",
                left,
            );
        }
        page
    }
}
