//! Authorities for the tests: pebble, which signs, and one that refuses all.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::security::connect_tls;
use crate::support::PATIENCE;

/// An address of this machine that no other test and no other process has. So its ports are free, and can be named
/// before anybody listens.
#[derive(Clone, Copy)]
pub struct Place(Ipv4Addr);

impl Place {
    pub fn new() -> Place {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        Place(Ipv4Addr::new(127, 64 | high & 63, low, NEXT.fetch_add(1, Ordering::SeqCst)))
    }

    /// Where the authority asks for answers to its challenges.
    pub fn challenged(self) -> SocketAddr {
        (self.0, 5001).into()
    }

    /// Where nobody listens.
    pub fn nobody(self) -> SocketAddr {
        (self.0, 5002).into()
    }

    /// The port of the web, which is root's.
    pub fn https(self) -> SocketAddr {
        (self.0, 443).into()
    }

    fn directory(self) -> SocketAddr {
        (self.0, 14_000).into()
    }

    fn management(self) -> SocketAddr {
        (self.0, 15_000).into()
    }
}

/// The address of a directory.
pub fn directory_at(address: SocketAddr) -> String {
    format!("https://{address}/dir")
}

/// The certificate of the directory itself, in two files; the first vouches for it.
fn own_certificate(folder: &Path, place: Place) -> (PathBuf, PathBuf, CertificateDer<'static>, PrivateKeyDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned(), place.0.to_string()]).expect("one can be made");
    let (certificate, key) = (folder.join("directory.crt"), folder.join("directory.key"));
    fs::write(&certificate, cert.pem()).expect("it can be written");
    fs::write(&key, signing_key.serialize_pem()).expect("it can be written");
    (certificate, key, cert.into(), signing_key.into())
}

/// A name server that knows this place alone. It ends with the process.
fn name_server(place: Place) -> SocketAddr {
    let socket = UdpSocket::bind((place.0, 0)).expect("a port is free");
    let address = socket.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let mut end = 12;
            while question[end] != 0 {
                end += usize::from(question[end]) + 1;
            }
            let of_ipv4 = question[end + 1..end + 3] == [0, 1];
            let question = &question[..length.min(end + 5)];
            let mut answer = [&question[..2], &[0x81, 0x80, 0, 1, 0, u8::from(of_ipv4), 0, 0, 0, 0]].concat();
            answer.extend_from_slice(&question[12..]);
            if of_ipv4 {
                // The name of the question, type A, class IN, one second.
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                answer.extend(place.0.octets());
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

/// Pebble, the test server of Let's Encrypt.
pub struct Pebble {
    program: Child,
    place: Place,
    pub ca: PathBuf,
    root: CertificateDer<'static>,
}

impl Pebble {
    /// One that signs for so many seconds. `None`: it is not installed.
    pub fn start(folder: &Path, place: Place, seconds: u64) -> Option<Pebble> {
        let (ca, key, certificate, _) = own_certificate(folder, place);
        let settings = json!({ "pebble": {
            "listenAddress": place.directory(), "managementListenAddress": place.management(),
            "certificate": ca, "privateKey": key, "httpPort": place.nobody().port(), "tlsPort": place.challenged().port(),
            "ocspResponderURL": "", "externalAccountBindingRequired": false, "certificateValidityPeriod": seconds,
            "domainBlocklist": ["refused.example.org"],
        }});
        let file = folder.join("pebble.json");
        fs::write(&file, settings.to_string()).expect("it can be written");
        let log = fs::File::create(folder.join("pebble.log")).expect("it can be made");
        let mut command = Command::new("pebble");
        command.arg("-config").arg(file).args(["-strict", "-dnsserver", &name_server(place).to_string()]);
        // Otherwise it waits up to 15 s before it looks, and refuses every twentieth request.
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0").env("PEBBLE_AUTHZREUSE", "0");
        let program = command.stdout(log.try_clone().expect("it can be")).stderr(log).spawn().ok()?;
        let mut pebble = Pebble { program, place, ca, root: certificate.clone() };
        pebble.root = pebble.wait_for_root(&certificate);
        Some(pebble)
    }

    fn wait_for_root(&mut self, certificate: &CertificateDer<'static>) -> CertificateDer<'static> {
        let begun = Instant::now();
        loop {
            let ended = self.program.try_wait().expect("it can be asked");
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "pebble does not start ({ended:?})");
            if let Ok(mut client) = connect_tls(self.place.management(), certificate) {
                let request = "GET /roots/0 HTTP/1.0\r\nHost: localhost\r\n\r\n";
                client.get_mut().write_all(request.as_bytes()).expect("it is taken");
                let mut answer = Vec::new();
                let _ = client.read_to_end(&mut answer);
                return CertificateDer::from_pem_slice(&answer).expect("it has a root");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn directory(&self) -> String {
        directory_at(self.place.directory())
    }

    /// Who signs its certificates.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// A directory that answers each request with 503 and wants to be left alone for seven seconds. It ends with the
/// process.
pub struct BusyDirectory {
    address: SocketAddr,
    pub ca: PathBuf,
    asked: Arc<AtomicUsize>,
}

impl BusyDirectory {
    pub fn start(folder: &Path, place: Place) -> BusyDirectory {
        let (ca, _, certificate, key) = own_certificate(folder, place);
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the versions are there")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("it is its key");
        let address = place.directory();
        let listener = TcpListener::bind(address).expect("it is free");
        let (asked, config) = (Arc::new(AtomicUsize::new(0)), Arc::new(config));
        let counted = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if refuse(stream, config.clone()).is_ok() {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        BusyDirectory { address, ca, asked }
    }

    pub fn directory(&self) -> String {
        directory_at(self.address)
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn refuse(stream: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let session = ServerConnection::new(config).expect("the settings are complete");
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    let mut line = String::from(".");
    while !line.trim().is_empty() {
        line.clear();
        stream.read_line(&mut line)?;
    }
    let answer = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy";
    stream.get_mut().write_all(answer.as_bytes())?;
    stream.get_mut().flush()
}
