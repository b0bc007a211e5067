//! What an operator and systemd see: ready and alive, listeners that outlive the process, a reload that bites.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use sqlx::{ConnectOptions, Connection};

use chatd::internals::config::range::RANGES;

use crate::support::{Folder, PATIENCE, SENT, Server, output_of, texts};

/// systemd's end of `NOTIFY_SOCKET`.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(folder: &Folder, command: &mut Command) -> Manager {
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("the path is free");
        socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        command.env("NOTIFY_SOCKET", path);
        Manager(socket)
    }

    fn hear(&self) -> Option<String> {
        let mut said = [0; 1024];
        match self.0.recv(&mut said) {
            Ok(length) => Some(String::from_utf8(said[..length].to_vec()).expect("it is text")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn wait_for(&self, what: &str) -> String {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(said) = self.hear().filter(|said| said.contains(what)) {
                return said;
            }
        }
        panic!("{what} was not said");
    }
}

fn reload(server: &Server, folder: &Folder, settings: &str, answer: &str) {
    let before = server.log().matches(answer).count();
    folder.configure(settings);
    kill(server.pid(), Signal::SIGHUP).expect("it runs");
    let begun = Instant::now();
    while server.log().matches(answer).count() == before {
        assert!(begun.elapsed() < PATIENCE, "no {answer:?} in:\n{}", server.log());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn systemd_hears_when_it_is_ready_and_when_it_stops() {
    let folder = Folder::new("");
    let mut command = folder.command(&["serve"]);
    let manager = Manager::listen(&folder, &mut command);
    let server = Server::start_with(&folder, command);
    let address = server.address;
    let said = manager.wait_for("READY=1");
    assert!(said.contains(&format!("STATUS=listening on {address}")), "{said}");
    assert_eq!(server.stop(), Some(0));
    manager.wait_for("STOPPING=1");
}

#[test]
fn the_watchdog_hears_nothing_while_the_store_hangs() {
    let folder = Folder::new("[database]\nbusy_timeout = \"1h\"");
    let mut command = folder.command(&["serve"]);
    command.env("WATCHDOG_USEC", "50000");
    let manager = Manager::listen(&folder, &mut command);
    let _server = Server::start_with(&folder, command);
    manager.wait_for("WATCHDOG=1");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it can be built");
    let other = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.database());
    let mut other = runtime.block_on(other.connect()).expect("it is a database");
    let mut run = |sql: &'static str| runtime.block_on(sqlx::query(sql).execute(&mut other)).expect("it is free");
    run("BEGIN IMMEDIATE");
    // One may have been on its way, one more in the socket.
    manager.0.set_read_timeout(Some(Duration::from_secs(1))).expect("it is not zero");
    let begun = Instant::now();
    while manager.hear().is_some() {
        assert!(begun.elapsed() < PATIENCE, "it goes on");
    }
    run("ROLLBACK");
    manager.wait_for("WATCHDOG=1");
    runtime.block_on(other.close()).expect("it closes");
}

#[test]
fn a_listener_of_systemds_outlives_the_server() {
    let folder = Folder::new("");
    folder.add_three();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let start = || {
        // The process number that systemd would give is known only to the process itself.
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=chat exec {} serve 3<&0",
            env!("CARGO_BIN_EXE_chatd")
        ));
        command.current_dir(folder.path());
        command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().expect("a handle can be copied"))));
        Server::start_with(&folder, command)
    };
    let server = start();
    assert_eq!(server.address, address);
    let (mut messi, token) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {token} messi  before ")), SENT);
    assert_eq!(server.stop(), Some(0));

    // Nobody serves, and nobody is refused.
    let mut waiting = crate::support::Client::connect(address);
    waiting.send(format!("inbox {token}\r\n"));
    let _server = start();
    assert_eq!(texts(&waiting.receive()), ["before"]);
}

#[test]
fn a_start_that_fails_with_the_database_open_says_only_why() {
    let folder = Folder::new("");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it has one").to_string();
    let mut command = folder.command(&["serve"]);
    command.env("CHATD_SERVER__LISTEN", &address);
    let output = output_of(command, "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().expect("it says why");
    assert!(last.starts_with(&format!("chatd: server.listen: {address}: ")), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn an_inherited_listener_is_held_to_the_same_rule() {
    let folder = Folder::new("");
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port is free");
    let mut command = Command::new("sh");
    let serve =
        format!("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=chat exec {} serve 3<&0", env!("CARGO_BIN_EXE_chatd"));
    command.arg("-c").arg(serve).current_dir(folder.path()).stdin(Stdio::from(OwnedFd::from(listener)));
    let output = command.output().expect("it ends by itself");
    assert_eq!(output.status.code(), Some(78));
    let error = String::from_utf8(output.stderr).expect("chatd prints UTF-8");
    assert!(error.contains("allow_plaintext"), "{error}");
}

#[test]
fn a_reload_takes_over_rules_limits_and_the_logs_level() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    messi.ask(&format!("send {token} messi  not logged at info "));
    assert!(!server.log().contains("DEBUG"), "{}", server.log());

    let settings = "[log]\nlevel = \"debug\"\n[limits]\nconnections = 1\n[protocol]\ndrained_senders = true";
    reload(&server, &folder, settings, "settings reloaded");
    messi.ask(&format!("send {token} messi  logged at debug "));
    assert_eq!(server.log().matches("DEBUG send").count(), 1, "{}", server.log());
    assert!(server.connect().is_over(), "one connection is all there may be");
    assert_eq!(texts(&messi.ask(&format!("inbox {token}"))).len(), 2);
    assert_eq!(messi.ask(&format!("inbox {token}")), "{\"status\": \"OK\", \"messages\": {\"messi\": []}}");
}

#[test]
fn a_bad_file_changes_nothing_and_the_log_says_so() {
    let folder = Folder::new("[limits]\nconnections = 1");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    reload(&server, &folder, "[limits]\nconnections = 9\nconections = 9", "settings not reloaded");
    assert!(server.log().contains("conections"), "{}", server.log());
    assert!(server.connect().is_over(), "one connection is all there may be");
    assert!(messi.ask(&format!("show {token}")).contains("OK"));
    // What is put right is taken over by the next one.
    reload(&server, &folder, "[limits]\nconnections = 9", "settings reloaded");
    server.login("lineker");
}

#[test]
fn a_setting_that_waits_for_the_next_start_is_named() {
    let folder = Folder::new("");
    let server = Server::start(&folder);
    for _ in 0..2 {
        let waits = "takes effect at the next start key=\"password.threads\"";
        reload(&server, &folder, "[password]\nthreads = 2\n[session]\nper_user = 5", waits);
    }
    assert!(!server.log().contains("session.per_user"), "{}", server.log());
}

/// A server whose accounts were made at the least cost starts with these settings, and answers.
fn starts_and_answers(numbers: &[(&str, toml::Value)]) {
    let folder = Folder::new("");
    folder.add_three();
    let mut settings = toml::Table::new();
    for (key, value) in numbers {
        let (section, name) = key.split_once('.').expect("each is of a section");
        let section = settings.entry(section).or_insert_with(|| toml::Table::new().into());
        section.as_table_mut().expect("a section").insert(name.to_owned(), value.clone());
    }
    folder.configure(&settings.to_string());
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    assert!(messi.ask(&format!("inbox {token}")).contains("OK"));
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
}

/// What one hash costs.
const COSTS: [&str; 3] = ["password.memory_kib", "password.iterations", "password.parallelism"];

#[test]
fn a_server_starts_and_answers_with_every_number_at_either_end_of_its_range() {
    for end in 0..2 {
        // A login with all three costs at the upper end would take hours.
        let ranges = RANGES.iter().filter(|range| end == 0 || !COSTS.contains(&range.key));
        let numbers: Vec<_> = ranges.map(|range| (range.key, range.ends()[end].clone())).collect();
        starts_and_answers(&numbers);
    }
}

#[test]
fn a_server_starts_and_answers_with_each_cost_of_a_hash_at_its_upper_end() {
    for key in COSTS {
        if key == "password.memory_kib" && std::env::var_os("CHATD_SLOW").is_none() {
            println!("SKIPPED: {key} at its upper end takes a minute where the build is not optimised; set CHATD_SLOW");
            continue;
        }
        let range = RANGES.iter().find(|range| range.key == key).expect("it has one");
        let most = range.ends()[1].clone();
        let mut numbers = vec![(key, most.clone())];
        if key == "password.parallelism" {
            // The least memory for so many lanes.
            numbers.push(("password.memory_kib", (8 * most.as_integer().expect("a number")).into()));
        }
        starts_and_answers(&numbers);
    }
}

#[test]
fn a_reload_that_raises_line_bytes_and_buffered_bytes_takes_both() {
    let folder = Folder::new("[limits]\nline_bytes = 4096\nbuffered_bytes = 8192");
    folder.add_three();
    let server = Server::start(&folder);
    reload(&server, &folder, "[limits]\nline_bytes = 1000000\nbuffered_bytes = 2000000", "settings reloaded");
    assert!(!server.log().contains("at the next start"), "{}", server.log());
    let (mut messi, token) = server.login("messi");
    let long = "x".repeat(500_000);
    for _ in 0..3 {
        assert_eq!(messi.ask(&format!("send {token} messi {long}")), SENT);
    }
    // And back: what is not in use goes at once.
    reload(&server, &folder, "[limits]\nline_bytes = 4096\nbuffered_bytes = 8192", "settings reloaded");
    let (mut lineker, token) = server.login("lineker");
    assert!(lineker.ask(&format!("send {token} messi {long}")).contains("ERROR"));
    assert_eq!(lineker.ask(&format!("send {token} messi short")), SENT);
}

/// `chatd serve` with these listeners of systemd's, under these names.
pub fn with_sockets(folder: &Folder, sockets: &[(&str, &TcpListener)]) -> Command {
    let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
    let mut script = format!("LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={}", sockets.len(), names.join(":"));
    script = format!("export {script}; exec \"$0\" serve");
    // Not every sh takes numbers of two digits.
    let mut command = Command::new("bash");
    for (number, (_, listener)) in sockets.iter().enumerate() {
        // The shell gives the copy the number that systemd would.
        let copy = OwnedFd::from(listener.try_clone().expect("a handle can be copied"));
        script.push_str(&format!(" {}<&{}", number + 3, copy.as_raw_fd()));
        // Inherited by this child alone: a server of another test would keep the sockets open.
        // SAFETY: the call is safe between fork and exec, and the closure owns the descriptor.
        unsafe { command.pre_exec(move || Ok(fcntl(&copy, FcntlArg::F_SETFD(FdFlag::empty())).map(drop)?)) };
    }
    command.args(["-c", &script, env!("CARGO_BIN_EXE_chatd")]).current_dir(folder.path()).stdin(Stdio::null());
    command
}

#[test]
fn every_inherited_socket_is_served_also_several_of_a_name_and_the_rest_sends_clients_away_said_once() {
    let folder = Folder::new("");
    folder.add_three();
    let [one, two, text, gone, other] = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    let names = [("chat", &one), ("gone", &gone), ("chat", &two), ("chat-text", &text), ("other", &other)];
    let server = Server::start_with(&folder, with_sockets(&folder, &names));
    for listener in [&one, &two] {
        let address = listener.local_addr().expect("it is bound");
        assert!(crate::support::Client::connect(address).ask("auth messi surabaya").contains("tokenid"), "{address}");
    }
    let mut person = crate::support::Client::connect(text.local_addr().expect("it is bound"));
    person.send("auth messi surabaya\n");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut person.stream, &mut line).expect("a line comes");
    assert!(line.contains("logged in"), "{line}");
    for listener in [&gone, &other] {
        let address = listener.local_addr().expect("it is bound");
        assert!(crate::support::Client::connect(address).is_over(), "nobody waits for ever");
    }
    let log = server.log();
    let said: Vec<_> = log.lines().filter(|line| line.contains("not served")).collect();
    assert_eq!(said.len(), 1, "{log}");
    assert!(said[0].contains("sockets=\"gone, other\""), "{log}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_journal_that_is_not_behind_stderr_gets_nothing() {
    let folder = Folder::new("");
    let mut command = folder.command(&["serve"]);
    // As a service's child has it whose standard error was redirected.
    let other = fs::metadata(folder.path()).expect("it is there");
    command.env("JOURNAL_STREAM", format!("{}:1", std::os::unix::fs::MetadataExt::dev(&other)));
    let server = Server::start_with(&folder, command);
    assert!(server.log().contains("listening"));
}
