use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::parse_x509_certificate;

use super::*;
use crate::client::certificate::onlooker;
use crate::transport::tls::{Accepted, Tls, TlsIdentity};

const HTTP: &[u8] = b"http/1.1";
/// The extension of a certificate that answers a challenge (RFC 8737, section 6.1).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

/// What a client sees that asks for `name`: the certificate, the protocol, and whether it was served as an authority.
async fn shown(tls: &Arc<Tls>, name: &'static str, protocols: &[&[u8]]) -> Option<(Vec<u8>, Option<Vec<u8>>, bool)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let mut config = onlooker().expect("the versions are there");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let client = async {
        let tcp = TcpStream::connect(address).await.expect("it listens");
        let name = ServerName::try_from(name).expect("it is a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.ok()?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates()?.first()?.to_vec();
        Some((certificate, session.alpn_protocol().map(<[u8]>::to_vec)))
    };
    let server = async {
        let (tcp, _) = listener.accept().await.expect("somebody came");
        tls.accept(tcp, IpAddr::V4(Ipv4Addr::LOCALHOST)).await
    };
    let (client, server) = tokio::join!(client, server);
    let (certificate, protocol) = client?;
    Some((certificate, protocol, matches!(server, Ok(Accepted::Challenge))))
}

fn identity() -> (TlsIdentity, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["chat.example.org".to_owned()]).expect("one can be made");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::from(made.signing_key);
    (TlsIdentity::new(vec![certificate.clone()], key).expect("it was just made"), certificate)
}

#[tokio::test]
async fn only_who_asks_as_an_authority_sees_the_answer_and_only_while_there_is_one() {
    let (identity, certificate) = identity();
    let tls = Arc::new(Tls::new(Some(identity), Duration::from_secs(60)));
    let name = "chat.example.org";
    assert_eq!(shown(&tls, name, &[PROTOCOL]).await, None, "nothing was asked of an authority");

    let digest = [7; 32];
    let pending = tls.answer_challenge(name, digest).expect("it can be made");
    let (answer, protocol, as_authority) = shown(&tls, name, &[PROTOCOL]).await.expect("it is answered");
    assert_eq!((protocol.as_deref(), as_authority), (Some(PROTOCOL), true));
    let (_, answer) = parse_x509_certificate(&answer).expect("it is a certificate");
    let extension = answer.extensions().iter().find(|it| it.oid.to_id_string() == ACME_IDENTIFIER);
    let extension = extension.expect("it has the extension");
    assert!(extension.critical);
    assert_eq!(extension.value, [&[4, 32][..], &digest].concat());
    assert!(shown(&tls, "CHAT.example.org", &[PROTOCOL]).await.is_some(), "names have no case");

    assert_eq!(shown(&tls, "other.example.org", &[PROTOCOL]).await, None, "another name has no answer");
    for ordinary in [&[][..], &[HTTP], &[PROTOCOL, HTTP], &[HTTP, PROTOCOL]] {
        let (seen, protocol, as_authority) = shown(&tls, name, ordinary).await.expect("it is served");
        assert_eq!((seen.as_slice(), protocol, as_authority), (&certificate[..], None, false), "{ordinary:?}");
    }
    drop(pending);
    assert_eq!(shown(&tls, name, &[PROTOCOL]).await, None, "the challenge is over");
}

#[tokio::test]
async fn without_a_certificate_only_challenges_are_answered() {
    let tls = Arc::new(Tls::new(None, Duration::from_secs(60)));
    let _pending = tls.answer_challenge("chat.example.org", [7; 32]).expect("it can be made");
    assert!(shown(&tls, "chat.example.org", &[PROTOCOL]).await.is_some());
    for ordinary in [&[][..], &[HTTP]] {
        assert_eq!(shown(&tls, "chat.example.org", ordinary).await, None);
    }
    let (identity, certificate) = identity();
    tls.set_identity(identity);
    let (seen, ..) = shown(&tls, "chat.example.org", &[HTTP]).await.expect("it is served");
    assert_eq!(seen, certificate.to_vec());
}
