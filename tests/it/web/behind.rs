//! The page behind nginx and HAProxy, with the settings that the document has: what arrives is not held back, and a
//! reload of the proxy ends no login and no stream.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::Page;
use super::events::Stream;
use crate::support::PATIENCE;

const DOCUMENT: &str = include_str!("../../../docs/INSTALL.md");

/// The settings of the document that begin with this line, as lines without their indentation.
fn settings(first: &str) -> String {
    let lines = DOCUMENT.lines().skip_while(|line| line.trim() != first);
    let lines = lines.map_while(|line| line.strip_prefix("    ").or(line.is_empty().then_some("")));
    lines.map(|line| format!("{line}\n")).collect()
}

/// A program in front of the page; ended when dropped.
struct Proxy {
    program: Child,
    log: std::path::PathBuf,
}

impl Proxy {
    /// Starts it, at a free port, with what `settings` makes of the port. `None`: it is not installed.
    fn start(page: &mut Page, command: fn(&Path) -> Command, settings: &dyn Fn(SocketAddr) -> String) -> Option<Proxy> {
        let folder = page.folder.path().to_owned();
        let log = folder.join("proxy.log");
        let begun = Instant::now();
        loop {
            // Whoever takes the port before the proxy does is somebody else: another port, then.
            let free = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
            let address = free.local_addr().expect("it is bound");
            drop(free);
            fs::write(folder.join("proxy.conf"), settings(address)).expect("it is written");
            let file = fs::File::create(&log).expect("it is made");
            let mut command = command(&folder);
            command.stdout(Stdio::null()).stderr(file);
            let mut proxy = match command.spawn() {
                Ok(program) => Proxy { program, log: log.clone() },
                Err(_) => return None,
            };
            while proxy.program.try_wait().expect("it can be asked").is_none() {
                if std::net::TcpStream::connect(address).is_ok() {
                    page.address = address;
                    return Some(proxy);
                }
                assert!(begun.elapsed() < PATIENCE, "{}", proxy.said());
                thread::sleep(Duration::from_millis(5));
            }
            assert!(begun.elapsed() < PATIENCE && proxy.said().contains("in use"), "{}", proxy.said());
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.program.id()).expect("it is small")), signal).expect("it runs");
    }

    /// Has it read its settings again, and waits until its log says so often enough.
    fn reload(&self, signal: Signal, word: &str, often: usize) {
        self.signal(signal);
        let begun = Instant::now();
        while self.said().matches(word).count() < often {
            assert!(begun.elapsed() < PATIENCE, "{}", self.said());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The processes that work for it end with it, the streams too.
        let _ = kill(Pid::from_raw(i32::try_from(self.program.id()).unwrap_or(i32::MAX)), Signal::SIGTERM);
        let _ = self.program.wait();
    }
}

/// A message of messi's to henderson.
fn say(page: &Page, token: &str, text: &str) {
    let sent = page.browse("POST /api/v1/conversations/henderson/messages", token, &json!({ "text": text }));
    assert_eq!(sent.status, 201, "{}", sent.text());
}

/// What has to hold behind every proxy, before its reload and after.
fn arrives(page: &Page, reload: &dyn Fn()) {
    let (messi, henderson) = (page.login("messi"), page.login("henderson"));
    assert_eq!(page.raw("GET /", "", "").status, 200);
    let mut stream = Stream::through(page.address, &henderson);
    stream.expect("hello");
    say(page, &messi, "satu");
    assert_eq!(stream.expect("message").data["text"], "satu");
    reload();
    say(page, &messi, "dua");
    assert_eq!(stream.expect("message").data["text"], "dua");
    let who = page.browse("GET /api/v1/me", &henderson, &Value::Null);
    assert_eq!(who.status, 200, "{}", who.text());
    let mut again = Stream::through(page.address, &henderson);
    assert_eq!(again.expect("hello").data["conversations"][0]["unread"], 2);
    say(page, &messi, "tiga");
    assert_eq!(again.expect("message").data["text"], "tiga");
}

fn nginx(folder: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("proxy.conf")).args(["-e", "stderr"]);
    command
}

/// nginx as it comes, and a server of these settings.
fn with_nginx(server: &str) {
    let mut page = Page::new("[web]\ntrusted_proxies = ['127.0.0.1']");
    let (chatd, folder) = (page.address.to_string(), page.folder.path().display().to_string());
    let settings = |address: SocketAddr| {
        let server = server.replace("listen 443 ssl;", &format!("listen {address};"));
        let server = server.replace("127.0.0.1:8080", &chatd);
        let lines = server.lines().filter(|line| !line.contains("ssl_certificate"));
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let places: String = kinds.map(|kind| format!("{kind}_temp_path {folder}/{kind};\n")).concat();
        format!(
            "daemon off;\npid {folder}/nginx.pid;\nerror_log stderr notice;\nevents {{}}\nhttp {{\naccess_log off;\n\
             {places}{}\n}}\n",
            lines.collect::<Vec<_>>().join("\n")
        )
    };
    match Proxy::start(&mut page, nginx, &settings) {
        Some(proxy) => arrives(&page, &|| proxy.reload(Signal::SIGHUP, "gracefully shutting down", 1)),
        None => println!("SKIPPED: there is no nginx (apt install nginx)"),
    }
}

#[test]
fn nginx_with_the_settings_of_the_document_holds_nothing_back() {
    with_nginx(&settings("server {"));
}

#[test]
fn nginx_with_nothing_but_a_proxy_pass_holds_nothing_back() {
    with_nginx("server { listen 443 ssl; location / { proxy_pass http://127.0.0.1:8080; } }");
}

fn haproxy(folder: &Path) -> Command {
    let mut command = Command::new("haproxy");
    command.arg("-W").arg("-f").arg(folder.join("proxy.conf"));
    command
}

#[test]
fn haproxy_with_the_settings_of_the_document_holds_nothing_back() {
    let mut page = Page::new("[web]\ntrusted_proxies = ['127.0.0.1']");
    let chatd = page.address.to_string();
    let settings = |address: SocketAddr| {
        let ours = settings("frontend chat").replace("127.0.0.1:8080", &chatd);
        let ours = ours.replace(":443 ssl crt /etc/haproxy/chat.pem", &address.to_string());
        // The times are those of Debian's own settings.
        format!("defaults\n mode http\n timeout connect 5000\n timeout client 50000\n timeout server 50000\n{ours}\n")
    };
    match Proxy::start(&mut page, haproxy, &settings) {
        Some(proxy) => arrives(&page, &|| proxy.reload(Signal::SIGUSR2, "Loading success", 2)),
        None => println!("SKIPPED: there is no haproxy (apt install haproxy)"),
    }
}
