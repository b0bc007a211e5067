//! The computing for handshakes: with a few bytes a stranger makes the server compute a signature. It runs on a thread
//! that serves no connections, one step at a time. Addresses take turns.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use crate::charge::Payer;
use crate::fair::Turns;

/// How many steps are computed at once. One, so that most processors are left to those who serve.
const AT_ONCE: usize = 1;

/// Whose step is next.
pub(super) fn turns() -> Arc<Turns<Payer>> {
    Turns::new(AT_ONCE)
}

/// Polls `work` in turns of `payer`, each time that something has come for it. It is not waited for in a turn.
pub(super) async fn in_turns<F>(mut work: F, turns: &Arc<Turns<Payer>>, payer: Payer) -> io::Result<F::Output>
where
    F: Future<Output: Send> + Send + Unpin + 'static,
{
    let called = Arc::new(Called(Notify::new()));
    let waker = Waker::from(called.clone());
    loop {
        let (turn, waker) = (turns.take(payer).await, waker.clone());
        let step = spawn_blocking(move || {
            let _turn = turn;
            let step = Pin::new(&mut work).poll(&mut Context::from_waker(&waker));
            (step, work)
        });
        match step.await.map_err(io::Error::other)? {
            (Poll::Ready(done), _) => return Ok(done),
            (Poll::Pending, rest) => work = rest,
        }
        called.0.notified().await;
    }
}

/// Something has come.
struct Called(Notify);

impl Wake for Called {
    fn wake(self: Arc<Called>) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;
    use crate::transport::tls::{Accepted, Tls, TlsIdentity};

    /// A server's TLS, and a client that trusts it.
    fn both_ends() -> (Arc<Tls>, TlsConnector) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate can be made");
        let folder = tempfile::tempdir().expect("a directory can be made");
        let (certificate, key) = (folder.path().join("certificate"), folder.path().join("key"));
        std::fs::write(&certificate, made.cert.pem()).expect("it can be written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("it can be written");
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("it is ours");
        let identity = TlsIdentity::load(&certificate, &key).expect("it was just made");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("it is a certificate");
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the versions are there")
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(Tls::new(Some(identity), Duration::from_secs(60))), TlsConnector::from(Arc::new(config)))
    }

    const MANY: usize = 40;

    /// Work of two steps; it says when it is done.
    fn two_steps(number: usize, order: Arc<Mutex<Vec<usize>>>) -> impl Future<Output = ()> + Send + Unpin + 'static {
        let mut steps = 0;
        std::future::poll_fn(move |context| {
            steps += 1;
            if steps < 2 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            order.lock().expect("nobody panics").push(number);
            Poll::Ready(())
        })
    }

    #[tokio::test]
    async fn many_steps_of_one_address_go_round_with_those_of_another() {
        let turns = turns();
        let order: Arc<Mutex<Vec<usize>>> = Arc::default();
        let payer = |number: usize| Payer::at(Ipv4Addr::new(192, 0, 2, u8::from(number == MANY)).into());
        // Nothing begins before all of them wait.
        let mut held = Some(turns.take(payer(MANY)).await);
        let mut work: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
        for number in 0..=MANY {
            let steps = in_turns(two_steps(number, order.clone()), &turns, payer(number));
            work.push(Box::pin(async { steps.await.expect("no thread panics") }));
        }
        work.push(Box::pin(async { drop(held.take()) }));
        futures_all(work).await;
        let order = order.lock().expect("nobody panics");
        let before = order.iter().take_while(|number| **number < MANY).count();
        assert!(before <= 4, "{before} of {MANY} came first: {order:?}");
    }

    /// The clients run on the thread of the servers, so now and then the one from elsewhere is late by itself. Without
    /// turns it comes last each time.
    #[tokio::test]
    async fn one_address_with_many_handshakes_keeps_no_other_waiting() {
        let mut before = MANY;
        for _ in 0..20 {
            before = before.min(handshakes_before_the_one_from_elsewhere().await);
            if before <= 4 {
                return;
            }
        }
        panic!("{before} of {MANY} came first");
    }

    async fn handshakes_before_the_one_from_elsewhere() -> usize {
        let (tls, connector) = both_ends();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let order = Mutex::new(Vec::new());
        let mut peers = Vec::new();
        let handshake = |number: usize, tcp: TcpStream| {
            let (tls, order) = (&tls, &order);
            let from = Ipv4Addr::new(192, 0, 2, if number < MANY { 1 } else { 2 });
            async move {
                let accepted = tls.accept(tcp, IpAddr::V4(from)).await.expect("the client speaks TLS");
                assert!(matches!(accepted, Accepted::Tls(_)));
                order.lock().expect("nobody panics").push(number);
            }
        };
        let mut handshakes = Vec::new();
        for number in 0..=MANY {
            let tcp = TcpStream::connect(address).await.expect("it listens");
            let (theirs, _) = listener.accept().await.expect("somebody came");
            let (connector, name) = (connector.clone(), ServerName::try_from("localhost").expect("a name"));
            peers.push(tokio::spawn(async move { connector.connect(name, tcp).await }));
            // All have said hello before the first handshake begins.
            theirs.peek(&mut [0]).await.expect("the hello comes");
            handshakes.push(handshake(number, theirs));
        }
        futures_all(handshakes).await;
        let order = order.into_inner().expect("nobody panics");
        let before = order.iter().take_while(|number| **number < MANY).count();
        for peer in peers {
            peer.await.expect("no task panics").expect("the handshake succeeds");
        }
        before
    }

    /// Waits for all of them, in the order in which each is ready to go on.
    async fn futures_all(work: Vec<impl Future<Output = ()>>) {
        let mut work: Vec<_> = work.into_iter().map(|one| Some(Box::pin(one))).collect();
        std::future::poll_fn(|context| {
            for one in &mut work {
                if one.as_mut().is_some_and(|one| one.as_mut().poll(context).is_ready()) {
                    *one = None;
                }
            }
            match work.iter().all(Option::is_none) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
    }
}
