//! The processes under load: started in a directory of their own, looked at from outside, stopped, and gone when their
//! value is dropped. Knows nothing of how they are measured, nor of chatd more than of any other.

use super::interrupt::Interrupt;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may take until it accepts connections: chatd reads a part of what is stored first.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How often a server that starts is asked: often enough for its start, some milliseconds, to be timed.
const ASK_EVERY: Duration = Duration::from_micros(250);

/// How long a server may take to end after it was told to: chatd brings its database into order first.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// Open files beside the connections: listeners, databases, logs, standard streams.
pub const SPARE_FILES: usize = 256;

/// A server under load; killed on drop.
pub struct Server {
    pub address: SocketAddr,
    process: Child,
}

impl Server {
    /// Starts `command` and waits until it accepts connections at `address`; quotes what it wrote if it does not.
    pub fn start(mut command: Command, address: SocketAddr, log: &Path, interrupt: &Interrupt) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let process = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|error| missing(&program, error))?;
        let mut server = Self { address, process };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            interrupt.check()?;
            if let Some(status) = server.process.try_wait()? {
                bail!("{program} ended at once ({status}):\n{}", tail(log));
            }
            ensure!(
                begun.elapsed() < START_PATIENCE,
                "{program} does not accept connections at {address} after {START_PATIENCE:?}:\n{}",
                tail(log)
            );
            sleep(ASK_EVERY);
        }
        Ok(server)
    }

    /// Tells the server to end, and waits until it has done so in good order.
    pub fn stop(mut self, interrupt: &Interrupt) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.process.id())?), Signal::SIGTERM).context("cannot stop a server")?;
        let told = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "a server did not stop in good order ({status})");
                return Ok(());
            }
            interrupt.check()?;
            ensure!(told.elapsed() < STOP_PATIENCE, "a server still runs {STOP_PATIENCE:?} after it was told to stop");
            sleep(ASK_EVERY);
        }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either fails only for a child that is gone already; its data is thrown away, so it need not end in order.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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

/// What to tell of a program that cannot be run.
pub fn missing(program: &str, error: std::io::Error) -> anyhow::Error {
    let advice = match (error.kind(), program) {
        (ErrorKind::NotFound, "redis-server") => {
            ": install it (`apt-get install redis-server`, no service needed) or measure with `--target chatd`"
        }
        (ErrorKind::NotFound, _) => ": build it (`cargo build --release`) or name it with `--chatd FILE`",
        _ => "",
    };
    anyhow::Error::new(error).context(format!("cannot run {program}{advice}"))
}

/// An address on the loopback interface that nobody listened on a moment ago.
pub fn free_address() -> Result<SocketAddr> {
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
