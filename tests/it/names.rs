//! Every spelling of a name is that name, and every spelling of a password that password, wherever they come from; and
//! what others wrote is shown with nothing in it that a terminal obeys.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Output, Stdio};
use std::thread;

use chatd::internals::auth::password;
use chatd::internals::auth::password::Cost;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::client::chatd;
use crate::support::{Client, Folder, SENT, Server, Talker};

const COMPOSED: &str = "jos\u{e9}";
const DECOMPOSED: &str = "jose\u{301}";

#[test]
fn a_name_is_found_by_the_very_bytes_it_was_added_with_and_by_every_other_spelling() {
    let folder = Folder::new("[server]\ntext_listen = \"127.0.0.1:0\"");
    folder.add_user(DECOMPOSED, "José", "");
    folder.add_user("messi", "Lionel Messi", "");
    let server = Server::start(&folder);
    let mut talker = Talker::connect(&server);
    for name in [DECOMPOSED, COMPOSED] {
        let (mut client, token) = server.login(name);
        assert_eq!(client.ask(&format!("send {token} {name}  halo ")), SENT);
        assert!(client.ask(&format!("history {token} {name}")).contains("halo"));
        assert!(client.ask(&format!("status {token} {name}")).contains("\"sent\""));
        assert!(talker.ask(&format!("auth {name} surabaya")).contains("logged in"));
        assert_eq!(talker.ask(&format!("send {name} halo")), format!("message sent to {name}"));
        let mut command = chatd(&folder, server.address, &["send", name, "halo"]);
        command.env("CHATD_USER", name).env("CHATD_PASSWORD", "surabaya");
        assert!(command.status().expect("chatd starts").success(), "{name:?}");
        for arguments in [["session", "revoke", name], ["user", "disable", name], ["user", "enable", name]] {
            folder.done(&arguments, "");
        }
        folder.done(&["user", "passwd", name, "--password-stdin"], "surabaya\n");
        let same = folder.run(&["user", "add", name, "--password-stdin"], "surabaya\n");
        assert_eq!(same.status.code(), Some(1), "it is there");
    }
    let (mut client, token) = server.login("ｍｅｓｓｉ");
    assert!(client.ask(&format!("show {token}")).contains("[\"messi\"]"));
    folder.done(&["user", "remove", DECOMPOSED], "");
    assert!(!folder.done(&["user", "list"], "").contains(COMPOSED));
}

#[test]
fn a_password_is_the_same_composed_and_decomposed_and_an_old_one_is_still_right() {
    let folder = Folder::new("");
    for (name, typed) in [("one", COMPOSED), ("other", DECOMPOSED), ("old", "x")] {
        folder.done(&["user", "add", name, "--password-stdin"], &format!("{typed}\n"));
    }
    // As a version before this one stored it.
    let cheap = Cost { memory_kib: 8, iterations: 1, parallelism: 1 };
    let hash = password::hash(DECOMPOSED, cheap).expect("the cost is valid");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(folder.database());
        let mut database = options.connect().await.expect("it is there");
        let update = sqlx::query("UPDATE user SET password_hash = ?1 WHERE name = 'old'").bind(hash);
        assert_eq!(update.execute(&mut database).await.expect("it can be written").rows_affected(), 1);
    });
    let server = Server::start(&folder);
    let mut client = server.connect();
    // The old one has to be typed as it was, once; from then on it is stored as all others are.
    let tries = [("one", DECOMPOSED), ("one", COMPOSED), ("other", DECOMPOSED), ("other", COMPOSED)];
    for (name, typed) in tries.into_iter().chain([("old", DECOMPOSED), ("old", COMPOSED), ("old", DECOMPOSED)]) {
        let reply = client.ask(&format!("auth {name} {typed}"));
        assert!(reply.contains("tokenid"), "{name} {typed:?}: {reply}");
    }
    assert!(client.ask("auth one jose").contains("Password Salah"));
    assert!(client.ask(&format!("auth nobody {DECOMPOSED}")).contains("User Tidak Ada"));
}

/// The first of them stores another hash, and what the others were checked against is then no longer on file.
#[test]
fn several_logins_at_once_to_an_account_with_a_hash_of_another_cost_all_succeed() {
    let folder = Folder::new("");
    folder.done(&["--set", "password.iterations=2", "user", "add", "messi", "--password-stdin"], "surabaya\n");
    let server = Server::start(&folder);
    let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("auth messi surabaya\r\n"));
    for client in &mut clients {
        let reply = client.receive();
        assert!(reply.contains("tokenid"), "{reply}");
    }
}

#[test]
fn a_byte_order_mark_before_a_password_is_told() {
    let folder = Folder::new("");
    folder.add_user("messi", "Lionel Messi", "");
    let file = folder.path().join("password");
    let path = file.to_str().expect("it is UTF-8");
    let utf_16: Vec<u8> = [0xfeff].into_iter().chain("surabaya\n".encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for bytes in ["\u{feff}surabaya\n".as_bytes(), &utf_16] {
        fs::write(&file, bytes).expect("it can be written");
        let told = |output: Output, status| {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(status), "{error}");
            assert!(error.contains("it begins with a byte order mark"), "{error}");
        };
        let mut piped = folder.command(&["user", "add", "new", "--password-stdin"]);
        piped.stdin(fs::File::open(&file).expect("it is there"));
        told(piped.output().expect("chatd starts"), 1);
        told(folder.run(&["user", "passwd", "messi", "--password-file", path], ""), 1);
        let mut send = chatd(&folder, "127.0.0.1:1", &["send", "messi", "x"]);
        send.env("CHATD_USER", "messi").env("CHATD_PASSWORD_FILE", path);
        told(send.output().expect("chatd starts"), 78);
    }
    assert!(!folder.done(&["user", "list"], "").contains("new"));
}

#[test]
fn a_display_name_and_a_country_disturb_nobody() {
    let folder = Folder::new("");
    let long = "é".repeat(129);
    for bad in ["", " ", "a\nb", "a\u{2028}b", "\x1b[2J", "\u{202e}gnp.exe", "a\u{2066}b", &long] {
        for setting in ["--name", "--country"] {
            if (setting, bad) == ("--country", "") {
                continue;
            }
            let output = folder.run(&["user", "add", "messi", setting, bad, "--password-stdin"], "surabaya\n");
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{setting} {bad:?}");
            assert!(error.contains(&format!("chatd: {setting}: it has ")), "{error}");
        }
    }
    assert!(!folder.database().exists(), "nothing was made for an account that was refused");
    folder.add_user("messi", &"é".repeat(128), "");
    folder.add_user("moshe", "משה", "ישראל");
    assert!(folder.done(&["user", "list"], "").contains("moshe: משה, ישראל"));
}

/// A server that says the same to every request.
fn hostile(reply: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                while stream.read_until(b'\n', &mut Vec::new()).is_ok_and(|read| read > 0) {
                    if stream.get_mut().write_all(format!("{reply}\r\n\r\n").as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn nothing_that_a_hostile_server_says_reaches_the_terminal_raw() {
    let folder = Folder::new("");
    let words = hostile(r#"{"status": "ERROR", "message": "\u001b]0;x\u0007\nchatd: all is well\u202e\u009b"}"#);
    let token = r#"{"status": "OK", "tokenid": "503d38c0-2691-4ff1-81ad-fc11f9f5ad03"}"#;
    let names = hostile(
        r#"{"status": "OK", "messages": {"\u001b[2J\n": [{"msg_from": "\u001b", "msg_to": "\u001b", "msg": "\u001b[31m\u009b"}]}}"#,
    );
    for address in [words, names, hostile(token)] {
        for arguments in [&["send", "messi", "x"][..], &["inbox"], &["login"], &["logout"], &["client"]] {
            let mut command = chatd(&folder, address, arguments);
            command.env("CHATD_USER", "messi").env("CHATD_PASSWORD", "surabaya");
            // A session that was kept, so that each command has its say.
            let sessions = folder.path().join("state/chatd/sessions");
            let spelled = address.to_string().replace('.', "%2e").replace(':', "%3a");
            fs::create_dir_all(sessions.join(&spelled)).expect("it can be made");
            fs::write(sessions.join(spelled).join("token-messi"), "503d38c0-2691-4ff1-81ad-fc11f9f5ad03\n")
                .expect("it can be written");
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("chatd starts");
            let mut read = BufReader::new(child.stdout.take().expect("it was piped"));
            child.stdin.take().expect("it was piped").write_all(b"auth messi x\n").ok();
            // An inbox that never ends is read for a while.
            let (mut said, mut lines) = (Vec::new(), 0);
            while lines < 20 && read.read_until(b'\n', &mut said).expect("it can be read") > 0 {
                lines += 1;
            }
            drop(read);
            let output = child.wait_with_output().expect("it ends");
            let said = String::from_utf8([said, output.stderr].concat()).expect("it is text");
            let raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!said.contains(raw), "{arguments:?}: {said:?}");
            assert!(!said.contains("\nchatd: all is well"), "{arguments:?}: {said:?}");
        }
    }
}
