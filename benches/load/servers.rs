//! The servers under load: started in a temporary directory of their own, given accounts, and gone when their value is
//! dropped. Knows nothing of how they are measured.

use crate::wire::recipient_name;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Accounts that send. A token is good on any connection, so a few serve them all.
const SENDERS: usize = 8;

/// The password of every account the generator adds or logs in to.
const PASSWORD: &str = "load-generator-password";

/// How long a server may take until it accepts connections, and chatd to answer a login.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// Open files beside the connections: listeners, databases, logs, standard streams.
const SPARE_FILES: usize = 256;

/// Set by SIGINT, SIGTERM and SIGHUP. What runs long looks at it and returns an error, so that every server is stopped
/// and every temporary directory removed by its destructor.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes the signals over.
    pub fn install() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("cannot handle signals")?;
        }
        Ok(Self(flag))
    }

    /// Fails once a signal has come.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.0.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }
}

/// A server under load: one started here, which is killed on drop, or one that was running already.
pub struct Server {
    pub address: SocketAddr,
    process: Option<Child>,
}

impl Server {
    /// A server somebody else started and will stop.
    pub fn running(address: SocketAddr) -> Self {
        Self { address, process: None }
    }

    /// Starts `redis-server` with its data in `directory`: each write on the disk before its reply.
    ///
    /// Snapshots and rewrites of the log in the background are off, so that the yardstick is Redis at its best.
    pub fn redis(directory: &Path, connections: usize, interrupt: &Interrupt) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
            .args(["--auto-aof-rewrite-percentage", "0", "--daemonize", "no"])
            .args(["--tcp-backlog", "4096", "--maxclients", &(connections + SPARE_FILES).to_string()])
            .current_dir(directory);
        Self::start(command, address, &directory.join("redis.log"), interrupt)
    }

    /// Starts `chatd serve` on the configuration that [`Chatd::prepare`] wrote.
    pub fn chatd(chatd: &Chatd, interrupt: &Interrupt) -> Result<Self> {
        let mut command = chatd.command();
        command.arg("serve");
        Self::start(command, chatd.address, &chatd.directory.join("chatd.log"), interrupt)
    }

    /// Starts `command` and waits until it accepts connections at `address`; quotes what it wrote if it does not.
    fn start(mut command: Command, address: SocketAddr, log: &Path, interrupt: &Interrupt) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|error| missing(&program, error))?;
        let mut server = Self { address, process: Some(child) };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            interrupt.check()?;
            if let Some(status) = server.process.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("{program} ended at once ({status}):\n{}", tail(log));
            }
            ensure!(
                begun.elapsed() < START_PATIENCE,
                "{program} does not accept connections at {address} after {START_PATIENCE:?}:\n{}",
                tail(log)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            // Either fails only for a child that is gone already; its data is thrown away, so it need not end in order.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A chatd of our own, ready to be started: its program, its configuration, its accounts.
pub struct Chatd {
    program: PathBuf,
    directory: PathBuf,
    config: PathBuf,
    address: SocketAddr,
}

impl Chatd {
    /// Writes a configuration into `directory` and adds the senders and `recipients` recipients.
    pub fn prepare(program: &Path, directory: &Path, recipients: usize, interrupt: &Interrupt) -> Result<Self> {
        let address = free_address()?;
        let url = format!("sqlite://{}/chat.db", directory.display());
        // Cheap passwords make the accounts quick to add; the limits are out of the way of one address with it all.
        let settings = format!(
            "[server]\nlisten = \"{address}\"\n\n[database]\nurl = {url:?}\n\n\
             [password]\nmemory_kib = 8\niterations = 1\nparallelism = 1\n\n\
             [limits]\nconnections_per_address = 20000\ninbox_messages = 100000000\ninbox_bytes = 1000000000000\n"
        );
        let config = directory.join("chat.toml");
        fs::write(&config, settings).with_context(|| format!("cannot write {}", config.display()))?;
        let chatd = Self { program: program.to_owned(), directory: directory.to_owned(), config, address };
        for name in (0..SENDERS).map(sender_name).chain((0..recipients).map(recipient_name)) {
            interrupt.check()?;
            chatd.add_user(&name).with_context(|| format!("cannot add the account {name}"))?;
        }
        Ok(chatd)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).current_dir(&self.directory);
        command
    }

    fn add_user(&self, name: &str) -> Result<()> {
        let mut child = self
            .command()
            .args(["user", "add", name, "--password-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| missing(&self.program.to_string_lossy(), error))?;
        let written = child.stdin.take().map(|mut input| writeln!(input, "{PASSWORD}"));
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "`chatd user add` failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        written.transpose().context("`chatd user add` did not read the password")?;
        Ok(())
    }
}

/// Logs the senders in at a chatd: their tokens.
pub fn log_in(address: SocketAddr) -> Result<Vec<String>> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("no chatd at {address}"))?;
    stream.set_read_timeout(Some(START_PATIENCE))?;
    (0..SENDERS)
        .map(|number| {
            let name = sender_name(number);
            stream.write_all(format!("auth {name} {PASSWORD}\r\n").as_bytes())?;
            let mut reply = Vec::new();
            while !reply.ends_with(b"\r\n\r\n") {
                let mut buffer = [0; 256];
                let length = stream.read(&mut buffer).context("chatd did not answer a login")?;
                ensure!(length > 0, "chatd closed the connection at a login");
                reply.extend_from_slice(&buffer[..length]);
            }
            let reply = String::from_utf8_lossy(&reply);
            let token = reply
                .strip_prefix("{\"status\": \"OK\", \"tokenid\": \"")
                .and_then(|rest| rest.strip_suffix("\"}\r\n\r\n"));
            token.map(str::to_owned).with_context(|| {
                format!(
                    "chatd did not let {name} in: {}\n(a chatd given by --addr must have the accounts {} to {} with the \
                     password {PASSWORD:?}, and {} and so on, one for each recipient)",
                    reply.trim_end(),
                    sender_name(0),
                    sender_name(SENDERS - 1),
                    recipient_name(0),
                )
            })
        })
        .collect()
}

/// Raises the limit on open files, for this process and the servers it starts, to what `connections` need.
pub fn allow_connections(connections: usize) -> Result<()> {
    let wanted = u64::try_from(connections + SPARE_FILES)?;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted))
            .with_context(|| format!("cannot raise the limit on open files from {soft} to {wanted} (`ulimit -n`)"))?;
    }
    Ok(())
}

/// The first line that `program --version` prints; fails with advice if there is no such program.
pub fn version(program: &str) -> Result<String> {
    let output = Command::new(program).arg("--version").output().map_err(|error| missing(program, error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn missing(program: &str, error: std::io::Error) -> anyhow::Error {
    let advice = match (error.kind(), program) {
        (ErrorKind::NotFound, "redis-server") => {
            ": install it (`apt-get install redis-server`, no service needed) or measure with `--target chatd`"
        }
        (ErrorKind::NotFound, _) => ": build it (`cargo build --release`) or name it with `--chatd FILE`",
        _ => "",
    };
    anyhow::Error::new(error).context(format!("cannot run {program}{advice}"))
}

fn sender_name(number: usize) -> String {
    format!("sender{number}")
}

/// An address on the loopback interface that nobody listened on a moment ago.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

/// The last lines of a log, or why there are none.
fn tail(log: &Path) -> String {
    match fs::read_to_string(log) {
        Ok(text) => {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(10)..].join("\n")
        }
        Err(error) => format!("(no log: {error})"),
    }
}
