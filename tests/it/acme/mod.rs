//! A certificate that comes by itself, from pebble; and what happens while none comes.

mod authority;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Uid;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use self::authority::{BusyDirectory, Pebble, Place, directory_at};
use crate::operate::with_sockets;
use crate::security::tls::Secure;
use crate::security::{connect_tls, new_certificate};
use crate::support::{Folder, PATIENCE, SENT, Server, address_in, texts};
use crate::web::Answer;

const NAME: &str = "chat.example.org";
const IN_FORCE: &str = "a new certificate is in force";
const HTTP: &[u8] = b"http/1.1";

const SKIPPED: &str = "SKIPPED: there is no pebble (apt install pebble)";

/// A server with lines and the page in TLS; the page is where the authority asks.
fn settings(directory: &str, ca: &Path, page: SocketAddr, hosts: &str) -> String {
    format!(
        "[server]\ntls_listen = \"127.0.0.1:0\"\n\
         [web]\ntls_listen = \"{page}\"\nhosts = [\"{NAME}\"]\n\
         [metrics]\nlisten = \"127.0.0.1:0\"\n\
         [acme]\nhosts = [{hosts}]\ncontact = [\"admin@example.org\"]\ndirectory = \"{directory}\"\nca = \"{}\"",
        ca.display()
    )
}

fn wait_for(server: &Server, words: &str, times: usize) {
    let begun = Instant::now();
    while server.log().matches(words).count() < times {
        assert!(begun.elapsed() < PATIENCE, "no {words:?} in:\n{}", server.log());
        thread::sleep(Duration::from_millis(10));
    }
}

/// A client that trusts this authority, offers these protocols and asks for this name.
fn connect(address: SocketAddr, root: &CertificateDer<'_>, protocols: &[&[u8]]) -> std::io::Result<BufReader<Secure>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone().into_owned()).expect("it is a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from(NAME).expect("it is a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("the settings are complete");
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(client, tcp);
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(BufReader::new(stream))
}

fn shown(client: &BufReader<Secure>) -> CertificateDer<'static> {
    client.get_ref().conn.peer_certificates().expect("it shows one")[0].clone().into_owned()
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

fn lines_in_tls(server: &Server) -> SocketAddr {
    address_in(&server.log(), "listening for TLS").expect("it is logged")
}

fn expiry(server: &Server) -> i64 {
    let address = address_in(&server.log(), "listening for Prometheus").expect("it is logged");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it is read");
    let page = Answer::read(&mut stream).text();
    let number = page.lines().find_map(|line| line.strip_prefix("chatd_tls_certificate_expires_seconds "));
    number.unwrap_or_else(|| panic!("{page}")).parse().expect("it is a number")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

#[test]
fn the_first_certificate_serves_all_and_a_restart_asks_for_none() {
    let folder = Folder::new("");
    folder.add_three();
    let place = Place::new();
    let Some(pebble) = Pebble::start(folder.path(), place, 90 * 24 * 60 * 60) else {
        return println!("{SKIPPED}");
    };
    folder.configure(&settings(&pebble.directory(), &pebble.ca, place.challenged(), &format!("\"{NAME}\"")));
    let server = Server::start(&folder);
    wait_for(&server, IN_FORCE, 1);
    assert!(server.log().contains("a certificate authority has asked"), "{}", server.log());
    assert!(!server.log().contains("no certificate by ACME"), "{}", server.log());
    let left = expiry(&server);
    assert!((89 * 24 * 60 * 60..=90 * 24 * 60 * 60).contains(&left), "{left}");

    let root = pebble.root().clone();
    let page = place.challenged();
    let mut client = connect(lines_in_tls(&server), &root, &[]).expect("its authority is trusted");
    let reply = ask(&mut client, "auth messi surabaya");
    let token = reply.split('"').nth(7).unwrap_or_else(|| panic!("{reply}"));
    assert_eq!(ask(&mut client, &format!("send {token} messi  hal ")), SENT);
    assert_eq!(texts(&ask(&mut client, &format!("inbox {token}"))), ["hal"]);
    let mut browser = connect(page, &root, &[HTTP]).expect("its authority is trusted");
    let request = format!("GET /health HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    browser.get_mut().write_all(request.as_bytes()).expect("it is taken");
    assert_eq!(Answer::read(&mut browser).status, 200);
    let certificate = shown(&client);
    assert_eq!(shown(&browser), certificate);
    // The challenge is over: who asks as an authority gets nothing.
    assert!(connect(page, &root, &[b"acme-tls/1"]).is_err());

    let state = folder.path().join("chat.db.acme");
    assert_eq!(mode(&state), 0o700);
    for file in ["account.pem", "certificate.pem"] {
        assert_eq!(mode(&state.join(file)), 0o600, "{file}");
    }
    assert_eq!(fs::read_dir(&state).expect("it is there").count(), 2, "nothing else is left");

    drop(pebble);
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&folder);
    let client = connect(lines_in_tls(&server), &root, &[]).expect("it has the certificate at once");
    assert_eq!(shown(&client), certificate);
    assert!(!server.log().contains("ACME"), "{}", server.log());
}

#[test]
fn a_certificate_is_renewed_while_others_talk() {
    let folder = Folder::new("");
    folder.add_three();
    let place = Place::new();
    let Some(pebble) = Pebble::start(folder.path(), place, 20) else {
        return println!("{SKIPPED}");
    };
    folder.configure(&settings(&pebble.directory(), &pebble.ca, place.challenged(), &format!("\"{NAME}\"")));
    let server = Server::start(&folder);
    wait_for(&server, IN_FORCE, 1);
    let mut before = connect(lines_in_tls(&server), pebble.root(), &[]).expect("its authority is trusted");
    assert!(ask(&mut before, "auth messi surabaya").contains("OK"));
    let first = shown(&before);
    wait_for(&server, IN_FORCE, 2);
    assert!(ask(&mut before, "auth messi surabaya").contains("OK"), "who was there stays");
    let after = connect(lines_in_tls(&server), pebble.root(), &[]).expect("the new one is good");
    assert_ne!(shown(&after), first);
    assert!(expiry(&server) > 0);
    assert!(!server.log().contains("WARN the certificate"), "{}", server.log());
}

#[test]
fn other_names_or_another_authority_ask_for_a_new_certificate_and_the_old_one_serves_meanwhile() {
    let folder = Folder::new("");
    let place = Place::new();
    let Some(pebble) = Pebble::start(folder.path(), place, 90 * 24 * 60 * 60) else {
        return println!("{SKIPPED}");
    };
    let directory = pebble.directory();
    folder.configure(&settings(&directory, &pebble.ca, place.challenged(), &format!("\"{NAME}\"")));
    let server = Server::start(&folder);
    wait_for(&server, IN_FORCE, 1);
    let first = shown(&connect(lines_in_tls(&server), pebble.root(), &[]).expect("it is trusted"));
    drop(server);
    // Nobody answers under the other address.
    let away = directory_at(place.nobody());
    folder.configure(&settings(&away, &pebble.ca, place.challenged(), &format!("\"{NAME}\"")));
    let server = Server::start(&folder);
    wait_for(&server, "no certificate by ACME", 1);
    assert_eq!(shown(&connect(lines_in_tls(&server), pebble.root(), &[]).expect("it is trusted")), first);
    drop(server);
    let both = format!("\"{NAME}\", \"other.example.org\"");
    folder.configure(&settings(&directory, &pebble.ca, place.challenged(), &both));
    let server = Server::start(&folder);
    wait_for(&server, IN_FORCE, 1);
    assert_ne!(shown(&connect(lines_in_tls(&server), pebble.root(), &[]).expect("it is trusted")), first);
}

#[test]
fn a_socket_of_systemds_is_enough_and_without_tls_no_certificate_is_asked_for() {
    let folder = Folder::new("");
    let place = Place::new();
    let address = place.challenged();
    let listener = TcpListener::bind(address).expect("it is free");
    let Some(pebble) = Pebble::start(folder.path(), place, 90 * 24 * 60 * 60) else {
        return println!("{SKIPPED}");
    };
    let (directory, ca) = (pebble.directory(), pebble.ca.display());
    folder.configure(&format!("[acme]\nhosts = [\"{NAME}\"]\ndirectory = \"{directory}\"\nca = \"{ca}\""));
    let server = Server::start_with(&folder, with_sockets(&folder, &[("chat-web-tls", &listener)]));
    wait_for(&server, IN_FORCE, 1);
    connect(address, pebble.root(), &[HTTP]).expect("its authority is trusted");
    drop(server);
    let server = Server::start(&folder);
    let log = server.log();
    assert!(log.contains("WARN acme.hosts: no listener speaks TLS") && !log.contains("(ACME)"), "{log}");
}

/// As `docs/INSTALL.md` has it: the service's user may not take the port, and systemd holds it.
#[test]
fn config_check_takes_port_443_for_the_services_where_systemd_holds_it() {
    let first_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if !Uid::effective().is_root() || first_free.trim().parse::<u16>().is_ok_and(|port| port <= 443) {
        return println!("SKIPPED: only root can start a server as another user, who may not take port 443");
    }
    let folder = Folder::new("");
    let place = Place::new();
    let directory = BusyDirectory::start(folder.path(), place);
    folder.configure(&settings(&directory.directory(), &directory.ca, place.https(), &format!("\"{NAME}\"")));
    let nobody = 65534;
    std::os::unix::fs::chown(folder.path(), Some(nobody), Some(nobody)).expect("root may");
    let named = folder.settings().display().to_string();
    let check = || {
        let output = folder.run(&["config", "check", "--config", &named], "");
        (output.status.success(), folder.complaint(&output))
    };
    let (is_good, said) = check();
    assert!(!is_good && said.contains("chatd-hardened-web-tls.socket"), "{said}");
    let listener = TcpListener::bind(place.https()).expect("root may");
    let mut serve = with_sockets(&folder, &[("chat-web-tls", &listener)]);
    serve.uid(nobody).gid(nobody);
    let server = Server::start_with(&folder, serve);
    wait_for(&server, "no certificate by ACME", 1);
    let (is_good, said) = check();
    assert!(is_good && !said.contains("no TLS listener is at port 443"), "{said}");
}

#[test]
fn what_an_authority_refuses_is_one_line_with_a_remedy() {
    let folder = Folder::new("");
    let place = Place::new();
    let Some(pebble) = Pebble::start(folder.path(), place, 90 * 24 * 60 * 60) else {
        return println!("{SKIPPED}");
    };
    // The authority asks at another port.
    let of = |hosts: &str| settings(&pebble.directory(), &pebble.ca, place.nobody(), hosts);
    for (hosts, wanted) in [
        ("\"refused.example.org\"", ["rejectedIdentifier", "change them"]),
        ("\"chat.example.org\"", ["Failed to connect to 127.", "port 443 of this name"]),
    ] {
        folder.configure(&of(hosts));
        let server = Server::start(&folder);
        wait_for(&server, "no certificate by ACME", 1);
        let log = server.log();
        let line = log.lines().find(|line| line.contains("no certificate by ACME")).expect("it is there");
        assert!(line.contains("ERROR") && wanted.iter().all(|words| line.contains(words)), "{line}");
        assert!(line.contains("next_try_seconds=60"), "{line}");
    }
}

#[test]
fn a_directory_that_is_away_is_told_of_once_and_asked_again_while_the_server_serves() {
    let folder = Folder::new("");
    folder.add_three();
    let place = Place::new();
    let directory = BusyDirectory::start(folder.path(), place);
    folder.configure(&settings(&directory.directory(), &directory.ca, place.challenged(), &format!("\"{NAME}\"")));
    let server = Server::start(&folder);
    let begun = Instant::now();
    while directory.asked() < 2 {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
        thread::sleep(Duration::from_millis(10));
    }
    assert!(begun.elapsed() >= Duration::from_secs(7), "it was to be left alone for so long");
    server.login("messi");
    for _ in 0..3 {
        let address = lines_in_tls(&server);
        let refused = connect_tls(address, &own_root(&directory)).expect_err("there is none");
        assert!(refused.to_string().contains("alert"), "{refused}");
    }
    let log = server.log();
    assert_eq!(log.matches("TLS handshakes are refused: there is no certificate yet").count(), 1, "{log}");
    assert_eq!(log.matches(": it answered 503 Service Unavailable: this server tries again").count(), 1, "{log}");
    assert_eq!(expiry(&server), 0);
    assert_eq!(server.stop(), Some(0));
}

fn own_root(directory: &BusyDirectory) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&directory.ca).expect("it is there")
}

#[test]
fn a_state_directory_that_others_can_read_is_shut_and_one_that_is_none_ends_the_start() {
    let folder = Folder::new("");
    let place = Place::new();
    let directory = BusyDirectory::start(folder.path(), place);
    let text = settings(&directory.directory(), &directory.ca, place.challenged(), &format!("\"{NAME}\""));
    folder.configure(&text);
    let state = folder.path().join("chat.db.acme");
    fs::create_dir(&state).expect("it is free");
    fs::set_permissions(&state, Permissions::from_mode(0o755)).expect("it is ours");
    let server = Server::start(&folder);
    assert_eq!(mode(&state), 0o700);
    assert!(server.log().contains("WARN acme.state: "), "{}", server.log());
    assert!(server.log().contains("others could read it (mode 755)"), "{}", server.log());
    drop(server);
    for (setting, wanted) in [("state", "acme.state: "), ("ca", "acme.ca: ")] {
        let file = folder.settings().display().to_string();
        let output = folder.run(&["serve", "--set", &format!("acme.{setting}={file}")], "");
        let error = folder.complaint(&output);
        assert_eq!((output.status.code(), error.contains(wanted)), (Some(78), true), "{error}");
    }
}

#[test]
fn a_changed_setting_waits_for_the_next_start() {
    let folder = Folder::new("");
    let place = Place::new();
    let directory = BusyDirectory::start(folder.path(), place);
    let of = |hosts: &str| settings(&directory.directory(), &directory.ca, place.challenged(), hosts);
    folder.configure(&of(&format!("\"{NAME}\"")));
    let server = Server::start(&folder);
    folder.configure(&of("\"other.example.org\""));
    kill(server.pid(), Signal::SIGHUP).expect("it runs");
    wait_for(&server, "settings reloaded", 1);
    assert!(server.log().contains("takes effect at the next start key=\"acme.hosts\""), "{}", server.log());
    // Files in its place wait, too.
    let certificate = new_certificate(&folder);
    folder.configure("[server]\ntls_listen = \"127.0.0.1:0\"\ntls_certificate = \"chat.crt\"\ntls_key = \"chat.key\"");
    kill(server.pid(), Signal::SIGHUP).expect("it runs");
    wait_for(&server, "settings reloaded", 2);
    assert!(connect_tls(lines_in_tls(&server), &certificate).is_err());
}

#[test]
fn the_demonstration_asks_no_authority() {
    let folder = Folder::new("");
    let place = Place::new();
    let directory = BusyDirectory::start(folder.path(), place);
    let text = settings(&directory.directory(), &directory.ca, place.challenged(), &format!("\"{NAME}\""));
    let text = text.replace("[server]", "[server]\ntext_listen = \"127.0.0.1:0\"");
    folder.configure(&text.replace("[web]", "[web]\nlisten = \"127.0.0.1:0\""));
    let server = Server::start_with(&folder, folder.command(&["serve", "--demo"]));
    let log = server.log();
    for overridden in ["acme.hosts", "server.tls_listen", "web.tls_listen"] {
        assert!(log.contains(&format!("--demo does not use {overridden} of the settings, but none")), "{log}");
    }
    assert!(!log.contains("ACME") && !log.contains("in TLS"), "{log}");
    assert_eq!(directory.asked(), 0);
}

/// What `chatd config check` says, and whether the settings are good.
fn check(folder: &Folder) -> (bool, String) {
    let output = folder.run(&["config", "check"], "");
    (output.status.success(), folder.complaint(&output))
}

#[test]
fn config_check_says_what_acme_wants() {
    let folder = Folder::new("");
    let place = Place::new();
    let directory = BusyDirectory::start(folder.path(), place);
    let of = |more: &str| {
        let text = settings(&directory.directory(), &directory.ca, place.challenged(), &format!("\"{NAME}\""));
        folder.configure(&format!("{text}\n{more}"));
        check(&folder)
    };
    let (is_good, said) = of("");
    assert!(is_good && !said.contains("web.hosts"), "{said}");
    let away = directory_at(place.nobody());
    for wanted in [
        "warning: acme.hosts: the authority connects to port 443 of each name",
        &format!("warning: acme.directory: the server connects to {}", directory.directory()),
        "chatd-hardened.conf, which gives the service no network",
        ": it answered 503",
        "the server starts all the same",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(!folder.path().join("chat.db.acme").exists(), "nothing is made");
    let (is_good, said) = of(&format!("state = \"{}\"", folder.settings().display()));
    assert!(!is_good && said.contains("acme.state: ") && said.contains("it is no directory"), "{said}");

    folder.configure(&format!(
        "[server]\ntls_listen = \"127.0.0.1:0\"\ntls_certificate = \"chat.crt\"\ntls_key = \"chat.key\"\n\
         [acme]\nhosts = [\"{NAME}\"]\ndirectory = \"{away}\""
    ));
    let (is_good, said) = check(&folder);
    assert!(!is_good && said.contains("acme.hosts: server.tls_certificate is set, too"), "{said}");
    assert!(said.contains("take away server.tls_certificate and server.tls_key, or acme.hosts"), "{said}");
    let output = folder.run(&["serve"], "");
    assert_eq!(output.status.code(), Some(78), "{output:?}");

    folder.configure("[server]\ntls_listen = \"127.0.0.1:0\"\n[acme]\nhosts = [\"a.example.org\"]\nca = \"none.pem\"");
    let (is_good, said) = check(&folder);
    assert!(!is_good && said.contains("acme.ca: none.pem: "), "{said}");
    let two = format!("\"{NAME}\", \"b.example.org\"");
    folder.configure(&settings(&directory.directory(), &directory.ca, place.challenged(), &two));
    let (_, said) = check(&folder);
    assert!(said.contains("warning: web.hosts: b.example.org of acme.hosts is not in it"), "{said}");
    folder.configure("[acme]\nhosts = [\"https://A.example.org\"]");
    let (is_good, said) = check(&folder);
    assert!(!is_good && said.contains("write \"a.example.org\""), "{said}");
}
