//! TLS on its own port: the wire in it, a certificate that is changed while the server runs, and peers that do not
//! speak it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use rcgen::{CertificateParams, CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{EMPTY, Folder, PATIENCE, SENT, Server, address_in, texts};

pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// Makes a certificate and puts it into the folder.
pub fn new_certificate(folder: &Folder) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate can be made");
    fs::write(folder.path().join("chat.crt"), cert.pem()).expect("it can be written");
    fs::write(folder.path().join("chat.key"), signing_key.serialize_pem()).expect("it can be written");
    cert.into()
}

const SETTINGS: &str = "[server]\ntls_listen = \"127.0.0.1:0\"\ntls_certificate = \"chat.crt\"\ntls_key = \"chat.key\"\n\
                        [limits]\nhandshake_timeout = \"1s\"\n[log]\nlevel = \"debug\"";

const SPEAK_TLS: &str = "{\"status\": \"ERROR\", \"message\": \"this port speaks TLS: connect with TLS\"}\r\n\r\n";

fn server() -> (Folder, Server, SocketAddr, CertificateDer<'static>) {
    let folder = Folder::new(SETTINGS);
    let certificate = new_certificate(&folder);
    folder.add_three();
    let server = Server::start(&folder);
    let log = server.log();
    let (_, rest) = log.split_once("listening for TLS address=").expect("it listens before the plain port");
    let address = rest.lines().next().expect("it is there").trim().parse().expect("an address");
    (folder, server, address, certificate)
}

/// Connects, trusting this certificate alone; an error where the server shows another.
pub fn connect(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<BufReader<Secure>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("it is a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("it is a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("the settings are complete");
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(client, tcp);
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(BufReader::new(stream))
}

fn ask(client: &mut BufReader<Secure>, request: &str) -> String {
    client.get_mut().write_all(format!("{request}\r\n").as_bytes()).expect("the server reads");
    client.get_mut().flush().expect("the server reads");
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\n") {
        assert_ne!(client.read_until(b'\n', &mut reply).expect("a reply comes"), 0);
    }
    String::from_utf8_lossy(&reply).trim_end().to_owned()
}

fn login(client: &mut BufReader<Secure>, name: &str) -> String {
    let reply = ask(client, &format!("auth {name} surabaya"));
    reply.split('"').nth(7).unwrap_or_else(|| panic!("{reply}")).to_owned()
}

#[test]
fn the_wire_is_the_same_in_tls() {
    let (_folder, server, address, certificate) = server();
    let mut client = connect(address, &certificate).expect("it is the server's");
    let token = login(&mut client, "messi");
    let text = "x".repeat(1 << 20);
    assert_eq!(ask(&mut client, &format!("send {token} messi {text}")), SENT);
    assert_eq!(ask(&mut client, &format!("send {token} messi  hal ")), SENT);
    assert_eq!(texts(&ask(&mut client, &format!("inbox {token}"))), [text.as_str(), "hal"]);
    // The next request shows that the inbox was read, as without TLS.
    assert!(ask(&mut client, &format!("show {token}")).contains("messi"));
    client.get_ref().sock.shutdown(Shutdown::Both).expect("it is open");
    assert_eq!(server.connect().ask(&format!("inbox {token}")), EMPTY);
}

#[test]
fn an_end_without_a_word_of_tls_is_an_end() {
    let (_folder, server, address, certificate) = server();
    let mut client = connect(address, &certificate).expect("it is the server's");
    let token = login(&mut client, "messi");
    assert_eq!(ask(&mut client, &format!("send {token} messi  hal ")), SENT);
    assert_eq!(texts(&ask(&mut client, &format!("inbox {token}"))), ["hal"]);
    client.get_ref().sock.shutdown(Shutdown::Write).expect("it is open");
    let _ = client.read_to_end(&mut Vec::new());
    assert_eq!(server.connect().ask(&format!("inbox {token}")), EMPTY);
    assert!(!server.log().contains("connection lost"), "{}", server.log());
}

#[test]
fn a_reload_takes_a_new_certificate_and_keeps_the_old_one_for_a_bad_one() {
    let (folder, server, address, first) = server();
    let mut before = connect(address, &first).expect("it is the server's");
    let token = login(&mut before, "messi");
    let reload = |wanted: &str, times: usize| {
        kill(server.pid(), Signal::SIGHUP).expect("it runs");
        let begun = Instant::now();
        while server.log().matches(wanted).count() < times {
            assert!(begun.elapsed() < PATIENCE, "{}", server.log());
            thread::sleep(Duration::from_millis(2));
        }
    };
    let second = new_certificate(&folder);
    reload("settings reloaded", 1);
    assert!(connect(address, &first).is_err());
    connect(address, &second).expect("it is the new one");
    assert!(ask(&mut before, &format!("show {token}")).contains("messi"), "who was there stays");

    let good = fs::read(folder.path().join("chat.key")).expect("it is there");
    new_certificate(&folder);
    fs::write(folder.path().join("chat.key"), &good).expect("it can be written");
    reload("settings not reloaded", 1);
    for bad in ["", "no PEM at all", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(folder.path().join("chat.crt"), bad).expect("it can be written");
        let so_far = server.log().matches("settings not reloaded").count();
        reload("settings not reloaded", so_far + 1);
    }
    fs::remove_file(folder.path().join("chat.crt")).expect("it is there");
    reload("settings not reloaded", 5);
    assert!(server.log().contains("server.tls_certificate: chat.crt: "), "{}", server.log());
    connect(address, &second).expect("the old one stays");
}

#[test]
fn a_bad_certificate_at_the_start_is_a_bad_setting() {
    let folder = Folder::new(SETTINGS);
    let output = folder.run(&["serve"], "");
    assert_eq!(output.status.code(), Some(78));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("server.tls_certificate: chat.crt: "), "{error}");
}

#[test]
fn who_speaks_no_tls_is_sent_away_and_nobody_notices() {
    let (_folder, server, address, certificate) = server();
    let mut client = connect(address, &certificate).expect("it is the server's");
    let token = login(&mut client, "messi");
    let sent_away = |garbage: &[u8]| {
        let mut peer = TcpStream::connect(address).expect("the server listens");
        peer.write_all(garbage).expect("it is taken");
        peer.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        let mut reply = Vec::new();
        // An alert of TLS or nothing; the end may be a reset, since not all was read.
        let _ = peer.read_to_end(&mut reply);
        String::from_utf8_lossy(&reply).into_owned()
    };
    for garbage in [&[0; 5000][..], &[22, 3, 1, 255, 255, 1, 2, 3]] {
        assert!(!sent_away(garbage).contains("status"));
    }
    for text in ["auth messi surabaya\r\n", "GET / HTTP/1.1\r\n\r\n"] {
        assert_eq!(sent_away(text.as_bytes()), SPEAK_TLS);
    }
    // And silence ends with the time for a handshake.
    let mut silent = TcpStream::connect(address).expect("the server listens");
    silent.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    let begun = Instant::now();
    assert_eq!(silent.read(&mut [0; 10]).expect("it ends"), 0);
    println!("a peer that says nothing at the TLS port is sent away after {} ms", begun.elapsed().as_millis());
    // A line at the plain port that only looks like TLS further on is a line like others.
    let mut plain = server.connect();
    plain.send([b'x', 22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);
    plain.send([b'\r', b'\n']);
    assert!(plain.receive().contains("Protocol Tidak Benar"));
    assert!(ask(&mut client, &format!("show {token}")).contains("messi"));
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// The hint comes at once, not when the time for a handshake is over, and however many need it, the log stays short.
#[test]
fn who_comes_to_the_wrong_port_is_told_at_once_and_the_log_says_it_seldom() {
    let (_folder, server, address, certificate) = server();
    for _ in 0..50 {
        let tls_on_the_plain_port = connect(server.address, &certificate).expect_err("that port speaks no TLS");
        assert!(tls_on_the_plain_port.to_string().contains("InvalidContentType"), "{tls_on_the_plain_port}");
        let mut plain = TcpStream::connect(address).expect("the server listens");
        plain.write_all(b"show x").expect("it is taken");
        let mut reply = String::new();
        BufReader::new(plain).read_to_string(&mut reply).expect("the end comes in good order");
        assert_eq!(reply, SPEAK_TLS);
    }
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("it was told so")).count();
    assert!((1..50).contains(&lines), "{lines} lines for 100 connections:\n{log}");
    // In pieces, too, and on the text port.
    let mut plain = server.connect();
    plain.send([22]);
    plain.send([3]);
    assert_eq!(
        plain.receive(),
        "{\"status\": \"ERROR\", \"message\": \"this port does not speak TLS: connect without TLS, or to the TLS port\"}"
    );
    assert!(plain.is_over());
}

/// Makes a certificate that is good from and until so many days from now, and puts it into the folder.
pub fn certificate_for(folder: &Folder, days: std::ops::Range<i64>) -> CertificateDer<'static> {
    let mut parameters = CertificateParams::new(["localhost".to_owned()]).expect("it is a name");
    let now = SystemTime::now();
    let at = |days: i64| {
        let span = Duration::from_secs(days.unsigned_abs() * 24 * 60 * 60);
        if days < 0 { (now - span).into() } else { (now + span).into() }
    };
    (parameters.not_before, parameters.not_after) = (at(days.start), at(days.end));
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = parameters.self_signed(&key).expect("a certificate can be made");
    fs::write(folder.path().join("chat.crt"), certificate.pem()).expect("it can be written");
    fs::write(folder.path().join("chat.key"), key.serialize_pem()).expect("it can be written");
    certificate.into()
}

fn hang_up(server: &Server, wanted: &str) {
    let before = server.log().matches(wanted).count();
    kill(server.pid(), Signal::SIGHUP).expect("it runs");
    let begun = Instant::now();
    while server.log().matches(wanted).count() == before {
        assert!(begun.elapsed() < PATIENCE, "no {wanted:?} in {}", server.log());
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_end_of_a_certificate_is_told_at_start_and_reload_in_the_metrics_and_by_health() {
    let settings = SETTINGS.replace("[limits]", "[metrics]\nlisten = \"127.0.0.1:0\"\n[limits]");
    let folder = Folder::new(&settings);
    let soon = certificate_for(&folder, -80..11);
    let server = Server::start(&folder);
    assert!(server.log().contains("WARN the certificate expires in 10 days, on 20"), "{}", server.log());
    let address = address_in(&server.log(), "listening for TLS").expect("it listens");
    let health = |tls: SocketAddr| {
        let listen = format!("server.listen={}", server.address);
        folder.done(&["health", "--set", &listen, "--set", &format!("server.tls_listen={tls}")], "")
    };
    assert!(health(address).contains(&format!("{address}: the certificate expires in 10 days, on 20")));
    let left: i64 = metric(&server, "chatd_tls_certificate_expires_seconds");
    assert!((10 * 24 * 60 * 60..=11 * 24 * 60 * 60).contains(&left), "{left}");

    // An expired one does not take the place of one that is good.
    certificate_for(&folder, -90..-1);
    hang_up(&server, "settings not reloaded");
    assert!(server.log().contains("server.tls_certificate: the certificate expired on 20"), "{}", server.log());
    connect(address, &soon).expect("the good one stays");

    let good = certificate_for(&folder, -1..90);
    hang_up(&server, "settings reloaded");
    connect(address, &good).expect("it is in force");
    assert!(health(address).contains("the certificate is good until 20"));
    assert_eq!(server.log().matches("the certificate expires").count(), 1, "{}", server.log());

    // Where there is no better one, the server starts with it all the same, and says what is wrong.
    drop(server);
    certificate_for(&folder, -90..-1);
    let server = Server::start(&folder);
    assert!(server.log().contains("ERROR the certificate expired on 20"), "{}", server.log());
    certificate_for(&folder, -90..-2);
    hang_up(&server, "settings reloaded");
    assert_eq!(server.log().matches("ERROR the certificate expired on 20").count(), 2, "{}", server.log());
    certificate_for(&folder, 5..90);
    hang_up(&server, "settings reloaded");
    assert!(server.log().contains("ERROR the certificate is good only from 20"), "{}", server.log());
    // Settings that name none any more are taken over all the same; TLS ends with the next start.
    folder.configure("[log]\nlevel = \"debug\"");
    hang_up(&server, "settings reloaded");
    assert!(server.log().contains("takes effect at the next start key=\"server.tls_listen\""), "{}", server.log());
}

fn metric(server: &Server, name: &str) -> i64 {
    let mut stream = TcpStream::connect(address_in(&server.log(), "listening for Prometheus").expect("it listens"))
        .expect("it is there");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it is read");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("it is answered");
    let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {page}"));
    line.trim().parse().expect("a number")
}

#[test]
fn a_certificate_or_key_that_cannot_be_used_is_called_by_its_name() {
    let folder = Folder::new(SETTINGS);
    let key = || fs::read_to_string(folder.path().join("chat.key")).expect("it is there");
    new_certificate(&folder);
    let others = key();
    new_certificate(&folder);
    let certificate = fs::read_to_string(folder.path().join("chat.crt")).expect("it is there");
    let p521 = include_str!("p521.pem");
    let (p521_key, p521_certificate) = p521.split_at(p521.find("-----BEGIN CERTIFICATE").expect("it is there"));
    let with_bom = |text: &str| format!("\u{feff}{text}");
    let cases = [
        (
            certificate.clone(),
            others,
            "server.tls_key: chat.key: it is not the key of the first certificate in chat.crt",
        ),
        (
            certificate.clone(),
            key().replace("PRIVATE", "ENCRYPTED PRIVATE"),
            "server.tls_key: chat.key: the key is encrypted",
        ),
        (certificate.clone(), p521_key.to_owned(), "server.tls_key: chat.key: a key on the curve P-521"),
        (
            p521_certificate.to_owned(),
            p521_key.to_owned(),
            "server.tls_certificate: chat.crt: a key on the curve P-521",
        ),
        (with_bom(&certificate), key(), "server.tls_certificate: chat.crt: the file begins with a byte order mark"),
        (certificate.clone(), with_bom(&key()), "server.tls_key: chat.key: the file begins with a byte order mark"),
        (certificate.clone(), certificate.clone(), "server.tls_key: chat.key: there is no private key in it"),
        (key(), key(), "server.tls_certificate: chat.crt: there is no certificate in it"),
    ];
    for (certificate, key, wanted) in cases {
        fs::write(folder.path().join("chat.crt"), &certificate).expect("it can be written");
        fs::write(folder.path().join("chat.key"), &key).expect("it can be written");
        for arguments in [
            &["config", "check"][..],
            &["serve", "--set", "server.listen=192.0.2.1:1", "--set", "server.allow_plaintext=true"],
        ] {
            let output = folder.run(arguments, "");
            let error = folder.complaint(&output);
            assert_eq!(output.status.code(), Some(78), "{arguments:?} {wanted}: {error}");
            assert!(error.contains(wanted), "{wanted} is not in {error}");
        }
    }
}
