//! How the client comes to a server, and what it says when it does not.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::client::chatd;
use crate::door::Door;
use crate::support::{Folder, Server, address_in};

/// A command of messi's.
fn messi(folder: &Folder, address: impl ToString, arguments: &[&str]) -> Command {
    let mut command = chatd(folder, address, arguments);
    command.env("CHATD_USER", "messi").env("CHATD_PASSWORD", "surabaya");
    command
}

/// What a command says that must fail, in one line.
fn error(mut command: Command, status: i32) -> String {
    let output = command.stdin(Stdio::null()).output().expect("chatd starts");
    let error = String::from_utf8(output.stderr).expect("it is text");
    // Which settings an administrator's command uses stands before what went wrong.
    let error: String = error.split_inclusive('\n').filter(|line| !line.starts_with("chatd: settings ")).collect();
    assert_eq!(output.status.code(), Some(status), "{error}");
    assert!(output.stdout.is_empty(), "{:?}", output.stdout);
    assert_eq!(error.lines().count(), 1, "{error}");
    error.trim_end().to_owned()
}

#[test]
fn a_refused_connection_names_its_cause_once() {
    let folder = Folder::new("");
    let said = error(messi(&folder, "127.0.0.1:1", &["send", "messi", "x"]), 1);
    assert_eq!(said, "chatd: 127.0.0.1:1: Connection refused (os error 111)");
    let said = error(messi(&folder, "host.invalid:1", &["send", "messi", "x"]), 1);
    assert!(said.starts_with("chatd: host.invalid:1: the name cannot be resolved: "), "{said}");
}

/// An error whose text has its cause in it, and that gives the cause as its source as well, is printed with the cause
/// twice.
#[test]
fn no_error_of_ours_tells_its_cause_twice() {
    let (mut folders, mut seen) = (vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is part of the project").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("our files are text");
            for variant in text.split("#[error(\"").skip(1) {
                seen += 1;
                // Up to the next variant, or the end of the type.
                let variant = variant.split("///").next().unwrap_or_default();
                let tells = variant
                    .split_once("\")]")
                    .is_some_and(|(words, _)| words.contains("{0}") || words.contains("{source}"));
                let gives = variant.contains("#[from]") || variant.contains("#[source]") || variant.contains("source:");
                assert!(!(tells && gives), "{}: {variant}", path.display());
            }
        }
    }
    assert!(seen > 20, "only {seen} errors were found");
}

#[test]
fn a_health_that_times_out_says_so() {
    let folder = Folder::new("");
    let silent = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let listen = format!("server.listen={}", silent.local_addr().expect("it is bound"));
    let settings = folder.settings();
    let settings = settings.to_str().expect("it is UTF-8");
    let said = error(folder.command(&["health", "--timeout", "1", "--set", &listen, "--config", settings]), 1);
    assert!(said.ends_with(": the server does not answer: timed out after 1 s"), "{said}");
}

/// `--tls-ca` alone, or CHATD_TLS_CA alone, never lets a password go in the clear.
#[test]
fn to_name_an_authority_is_to_want_tls() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let authority = folder.path().join("authority.pem");
    let door = Door::encrypted(server.address, &authority);
    let authority = authority.to_str().expect("it is UTF-8");
    let send = ["send", "messi", "x"];
    let by_flag = |file: &str| messi(&folder, server.address, &["send", "--tls-ca", file, "messi", "x"]);
    let by_environment = |file: &str| {
        let mut command = messi(&folder, server.address, &send);
        command.env("CHATD_TLS_CA", file);
        command
    };
    for command in [by_flag(authority), by_environment(authority)] {
        let said = error(command, 1);
        let hint = "the server does not speak TLS on this port: connect without --tls and --tls-ca";
        assert!(said.contains(hint), "{said}");
    }
    for command in [by_flag("/nonexistent"), by_environment("/nonexistent")] {
        assert!(error(command, 78).contains("/nonexistent"));
    }
    let mut contrary = by_environment(authority);
    contrary.env("CHATD_TLS", "no");
    assert!(error(contrary, 78).contains("CHATD_TLS=no and CHATD_TLS_CA are both set"));
    let mut good = messi(&folder, format!("localhost:{}", door.address.port()), &send);
    good.env("CHATD_TLS_CA", authority);
    assert!(good.status().expect("chatd starts").success());
    assert_eq!(server.log().matches(" login ").count(), 1, "{}", server.log());
    assert!(server.log().contains("a client speaks TLS on a port that does not"), "{}", server.log());
}

#[test]
fn a_plain_client_at_a_tls_port_hears_what_to_do() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    // A server of another kind: what comes from it is an alert of TLS.
    let door = Door::encrypted(server.address, &folder.path().join("authority.pem"));
    let said = error(messi(&folder, door.address, &["send", "messi", "x"]), 1);
    let hint = "the server speaks TLS on this port: connect with --tls (CHATD_TLS=yes)";
    assert_eq!(said, format!("chatd: {}: {hint}", door.address));
}

/// The text port ends its replies otherwise, and the client waited for an end that never came; and the session that was
/// opened there stayed.
#[test]
fn a_port_that_is_not_for_programs_is_told_at_once_and_keeps_no_session() {
    let folder = Folder::new("[server]\ntext_listen = \"127.0.0.1:0\"");
    folder.add_three();
    let server = Server::start(&folder);
    let people = server.text_address.expect("the settings have one");
    for arguments in [&["send", "messi", "x"][..], &["inbox"], &["login"]] {
        let said = error(messi(&folder, people, arguments), 1);
        assert!(said.ends_with("is that the JSON port of a chat server?"), "{said}");
    }
    assert_eq!(server.log().matches(" login ").count(), 3, "nothing was asked twice: {}", server.log());
    // The text port has logged messi in each time, and gave the session to a connection that is gone.
    assert_eq!(folder.done(&["session", "list"], ""), "");
    assert_eq!(server.log().matches(" logout ").count(), 3, "{}", server.log());
}

#[test]
fn an_unknown_authority_is_told_with_what_to_do() {
    let folder = Folder::new("");
    let closed = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let [mine, same_name, other] = ["mine.pem", "same_name.pem", "other.pem"].map(|name| folder.path().join(name));
    let door = Door::encrypted(closed.local_addr().expect("it is bound"), &mine);
    Door::encrypted(closed.local_addr().expect("it is bound"), &same_name);
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("the name is one");
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "another authority");
    let key = rcgen::KeyPair::generate().expect("a key can be made");
    fs::write(&other, parameters.self_signed(&key).expect("it can be signed").pem()).expect("it can be written");
    for authority in [other, same_name] {
        let authority = authority.to_str().expect("it is UTF-8");
        let address = format!("localhost:{}", door.address.port());
        let said = error(messi(&folder, address, &["send", "--tls-ca", authority, "messi", "x"]), 1);
        assert!(said.contains("of an authority that is not trusted here") && said.contains("--tls-ca"), "{said}");
    }
}

/// What `openssl req -x509` makes is the certificate of an authority; shown by a server it was refused in words of the
/// TLS library.
#[test]
fn an_authority_that_is_shown_as_the_servers_own_certificate_is_told_with_what_to_do() {
    let folder = Folder::new("");
    let (certificate, key) = (folder.path().join("chat.crt"), folder.path().join("chat.key"));
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("the name is one");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pair = rcgen::KeyPair::generate().expect("a key can be made");
    fs::write(&certificate, parameters.self_signed(&pair).expect("it can be signed").pem()).expect("it can be written");
    fs::write(&key, pair.serialize_pem()).expect("it can be written");
    folder.configure("[server]\ntls_listen = \"127.0.0.1:0\"\ntls_certificate = \"chat.crt\"\ntls_key = \"chat.key\"");
    let server = Server::start(&folder);
    let address = address_in(&server.log(), "listening for TLS").expect("it listens");
    let authority = certificate.to_str().expect("it is UTF-8");
    let address = format!("localhost:{}", address.port());
    let said = error(messi(&folder, address, &["send", "--tls-ca", authority, "messi", "x"]), 1);
    assert!(said.contains("the certificate of an authority") && said.contains("CA:FALSE"), "{said}");
}
