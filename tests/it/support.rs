//! A server process in a directory of its own, and a client that speaks lines. A failed test keeps its directory.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

/// Nothing that works takes longer, however loaded the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A command that takes longer does not end by itself, however loaded the machine is.
const NEVER_ENDS: Duration = Duration::from_secs(180);

/// The example accounts; the password of each is `surabaya`.
pub const THREE: [(&str, &str, &str); 3] = [
    ("messi", "Lionel Messi", "Argentina"),
    ("henderson", "Jordan Henderson", "Inggris"),
    ("lineker", "Gary Lineker", "Inggris"),
];

/// A directory with settings and a database.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// With cheap passwords, a free port, and `settings` (TOML) after that.
    pub fn new(settings: &str) -> Folder {
        let path = tempfile::Builder::new().prefix("chatd-test-").tempdir().expect("a directory can be made").keep();
        let folder = Folder { path };
        folder.configure(settings);
        folder
    }

    /// Replaces the settings.
    pub fn configure(&self, settings: &str) {
        let url = format!("sqlite://{}", self.database().display());
        let mut table: toml::Table = toml::toml! {
            [server]
            listen = "127.0.0.1:0"
            [database]
            min_free_bytes = 0
            [password]
            memory_kib = 8
            iterations = 1
            parallelism = 1
        };
        table["database"].as_table_mut().expect("it is one").insert("url".to_owned(), url.into());
        for (section, keys) in settings.parse::<toml::Table>().expect("the test's settings are TOML") {
            let merged = table.entry(section).or_insert_with(|| toml::Table::new().into());
            merged.as_table_mut().expect("a section").extend(keys.as_table().expect("a section").clone());
        }
        fs::write(self.path.join("chat.toml"), table.to_string()).expect("it can be written");
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn settings(&self) -> PathBuf {
        self.path.join("chat.toml")
    }

    pub fn database(&self) -> PathBuf {
        self.path.join("chat.db")
    }

    /// `chatd ARGUMENTS` in this directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatd"));
        command.current_dir(&self.path).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs `chatd ARGUMENTS` with `input` and gives what it printed.
    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        output_of(self.command(arguments), input)
    }

    /// Runs a command that must succeed, and gives its standard output.
    pub fn done(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "chatd {arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("chatd prints UTF-8")
    }

    /// What a command said on standard error, without the line that says which database and which settings it uses.
    pub fn complaint(&self, output: &Output) -> String {
        let used = format!("chatd: database {}, settings {}\n", self.database().display(), self.settings().display());
        String::from_utf8(output.stderr.clone()).expect("chatd prints UTF-8").replacen(&used, "", 1)
    }

    /// Adds an account with the password `surabaya`.
    pub fn add_user(&self, name: &str, display_name: &str, country: &str) {
        let arguments = ["user", "add", name, "--name", display_name, "--country", country, "--password-stdin"];
        self.done(&arguments, "surabaya\n");
    }

    /// Adds the example accounts.
    pub fn add_three(&self) {
        for (name, display_name, country) in THREE {
            self.add_user(name, display_name, country);
        }
    }
}

/// Gives a command its input and takes what it prints. One that does not end, as a server that should not have started,
/// is killed.
pub fn output_of(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("chatd starts");
    let mut stdin = child.stdin.take().expect("it was piped");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("process numbers are small"));
    let (ended, end) = channel::<()>();
    thread::spawn(move || {
        if end.recv_timeout(NEVER_ENDS) == Err(RecvTimeoutError::Timeout) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    // A command that does not read its input may have closed it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    drop(ended);
    output
}

impl Drop for Folder {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the test's directory was kept: {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Where people connect, if the settings say so.
    pub text_address: Option<SocketAddr>,
    log: PathBuf,
}

impl Server {
    /// Starts `chatd serve` in the folder and waits until it listens.
    pub fn start(folder: &Folder) -> Server {
        Server::start_with(folder, folder.command(&["serve"]))
    }

    /// The same with a command of the caller's.
    pub fn start_with(folder: &Folder, mut command: Command) -> Server {
        let log = folder.path().join(format!("log-{}", fs::read_dir(folder.path()).expect("it is there").count()));
        let file = fs::File::create(&log).expect("it can be made");
        command.stdout(file.try_clone().expect("a handle can be copied")).stderr(file);
        let mut child = command.spawn().expect("chatd starts");
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if let Some(address) = address_in(&text, "listening") {
                let text_address = address_in(&text, "listening for people");
                return Server { child, address, text_address, log };
            }
            let ended = child.try_wait().expect("it can be asked");
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "the server did not start ({ended:?}):\n{text}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// All that the server has logged. The thread that writes the log sleeps once it has written all.
    pub fn log(&self) -> String {
        let begun = Instant::now();
        while self.is_writing_log() {
            assert!(begun.elapsed() < PATIENCE, "the log is not written");
            thread::yield_now();
        }
        fs::read_to_string(&self.log).expect("it was made at start")
    }

    fn is_writing_log(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.child.id())) else { return false };
        let states = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
        // Number, name in brackets, state: running, or waiting for the disk.
        states.filter_map(|stat| stat.split_once("(log) ").map(|(_, rest)| rest.starts_with(['R', 'D']))).any(|is| is)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process numbers are small"))
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A connection on which `name` has just logged in, and the token.
    pub fn login(&self, name: &str) -> (Client, String) {
        let mut client = self.connect();
        let token = client.login(name);
        (client, token)
    }

    /// Stops the process, as `kill -STOP`, and waits until none of its threads runs.
    pub fn freeze(&self) {
        kill(self.pid(), Signal::SIGSTOP).expect("it runs");
        let begun = Instant::now();
        let threads = || fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it is there").flatten();
        let is_stopped = |stat: String| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'));
        while !threads().all(|thread| fs::read_to_string(thread.path().join("stat")).is_ok_and(is_stopped)) {
            assert!(begun.elapsed() < PATIENCE, "the server does not stop");
            thread::yield_now();
        }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM; gives the exit status.
    pub fn stop(mut self) -> Option<i32> {
        kill(self.pid(), Signal::SIGTERM).expect("it runs");
        self.wait()
    }

    /// Waits for the end; gives the exit status.
    pub fn wait(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not end:\n{}", self.log());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address of the listener of which the log tells with these words.
pub fn address_in(log: &str, words: &str) -> Option<SocketAddr> {
    let as_text = log.split_once(&format!("{words} address=")).and_then(|(_, rest)| rest.split_once('\n'));
    let as_json = log.split_once(&format!("\"{words}\",\"address\":\"")).and_then(|(_, rest)| rest.split_once('"'));
    let (address, _) = as_text.or(as_json)?;
    address.trim().parse().ok()
}

/// A client of the JSON port.
pub struct Client {
    pub stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        stream.set_nodelay(true).expect("the option is there");
        Client { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("the server reads");
    }

    /// One reply without its CRLF CRLF.
    pub fn receive(&mut self) -> String {
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n\r\n") {
            let read = self.stream.read_until(b'\n', &mut reply).expect("a reply comes");
            assert_ne!(read, 0, "the server closed after {:?}", String::from_utf8_lossy(&reply));
        }
        reply.truncate(reply.len() - 4);
        String::from_utf8(reply).expect("replies are ASCII")
    }

    /// A request, its CRLF put to it, and its reply.
    pub fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\r\n"));
        self.receive()
    }

    /// The same where the server may be killed meanwhile; `None`: it was, or the reply did not come.
    pub fn try_ask(&mut self, request: &str) -> Option<String> {
        self.stream.get_mut().write_all(format!("{request}\r\n").as_bytes()).ok()?;
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n\r\n") {
            self.stream.read_until(b'\n', &mut reply).ok().filter(|read| *read > 0)?;
        }
        reply.truncate(reply.len() - 4);
        String::from_utf8(reply).ok()
    }

    /// Logs in; gives the token.
    pub fn login(&mut self, name: &str) -> String {
        let reply = self.ask(&format!("auth {name} surabaya"));
        let token =
            reply.strip_prefix("{\"status\": \"OK\", \"tokenid\": \"").and_then(|rest| rest.strip_suffix("\"}"));
        token.unwrap_or_else(|| panic!("{name}: {reply}")).to_owned()
    }

    /// The server has ended the connection and said nothing more.
    pub fn is_over(&mut self) -> bool {
        let mut rest = Vec::new();
        matches!(self.stream.read_to_end(&mut rest), Ok(0))
    }
}

pub const SENT: &str = "{\"status\": \"OK\", \"message\": \"Message Sent\"}";
pub const NO_SESSION: &str = "{\"status\": \"ERROR\", \"message\": \"Informasi tidak ditemukan\"}";
pub const UNKNOWN: &str = "{\"status\": \"ERROR\", \"message\": \"**Protocol Tidak Benar\"}";
pub const MALFORMED: &str = "{\"status\": \"ERROR\", \"message\": \"--Protocol Tidak Benar\"}";
pub const EMPTY: &str = "{\"status\": \"OK\", \"messages\": {}}";

/// The texts in an inbox reply, in its order.
pub fn texts(reply: &str) -> Vec<String> {
    let reply: serde_json::Value = serde_json::from_str(reply).expect("replies are JSON");
    let senders = reply["messages"].as_object().unwrap_or_else(|| panic!("no inbox: {reply}")).values();
    let messages = senders.flat_map(|messages| messages.as_array().expect("a list").iter());
    messages.map(|message| message["msg"].as_str().expect("a text").trim().to_owned()).collect()
}

/// A person with `nc` on the text port.
pub struct Talker {
    pub stream: BufReader<TcpStream>,
}

impl Talker {
    pub fn connect(server: &Server) -> Talker {
        let address = server.text_address.expect("the test's settings have server.text_listen");
        Talker { stream: Client::connect(address).stream }
    }

    pub fn type_in(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("the server reads");
    }

    /// The next line, without its CRLF.
    pub fn read(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line comes");
        line.strip_suffix("\r\n").unwrap_or_else(|| panic!("the line ends in {line:?}")).to_owned()
    }

    /// Types a line and reads the one that answers it.
    pub fn ask(&mut self, line: &str) -> String {
        self.type_in(&format!("{line}\n"));
        self.read()
    }

    /// The server has ended the connection and said nothing more.
    pub fn is_over(&mut self) -> bool {
        let mut rest = Vec::new();
        matches!(self.stream.read_to_end(&mut rest), Ok(0))
    }
}

/// How many messages there are of which the disk does not know that they were read.
pub fn unread_on_disk(database: &Path) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(database).read_only(true);
        let mut database = options.connect().await.expect("it is there");
        let unread = "SELECT count(*) FROM message WHERE id NOT IN (SELECT id FROM receipt)";
        sqlx::query_scalar(unread).fetch_one(&mut database).await.expect("it can be read")
    })
}
