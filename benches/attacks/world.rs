//! A chatd of its own with a few accounts that are logged in: what an attack and the innocent user have before them.

use super::interrupt::Interrupt;
use super::servers::{self, Server};
use super::{Attack, Plan};
use anyhow::{Context, Result, ensure};
use memchr::memmem;
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Where the innocent user connects from, unless the row has a network of its own.
pub const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Where most attackers connect from.
pub const ABROAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// The accounts that every row has. `old` is somebody with whom a conversation lies far back.
const ACCOUNTS: [&str; 4] = ["innocent", "friend", "old", "attacker"];

pub const PASSWORD: &str = "surabaya";

/// The end of a reply; no reply has it in its middle.
const END: &[u8] = b"\r\n\r\n";

/// Sends in one packet: so few that the replies to all of them fit into the socket.
const PACKET: usize = 250;

/// How long a connection and one reply may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A chatd that runs, and what the attack and the innocent user tell each other.
pub struct World {
    pub attack: &'static Attack,
    pub address: SocketAddr,
    /// Where the innocent user connects from.
    pub home: IpAddr,
    pub is_brief: bool,
    pub seconds: f64,
    /// The attack is in place.
    pub in_place: AtomicBool,
    /// The attack has to end.
    pub is_over: AtomicBool,
    /// How much the attackers have asked: requests, connections or rounds.
    pub asked: AtomicU64,
    tokens: HashMap<&'static str, String>,
    program: PathBuf,
    directory: PathBuf,
    /// It is `None` only while it starts again.
    server: Option<Server>,
}

impl World {
    /// A new database in `directory`, its accounts, a server, and a session of each account.
    pub fn make(attack: &'static Attack, plan: &Plan, directory: &Path, interrupt: &Interrupt) -> Result<Self> {
        let (home, address) = match attack.has_own_network {
            // Nobody else is there.
            true => (Ipv6Addr::LOCALHOST.into(), (Ipv6Addr::LOCALHOST, 8889).into()),
            false => (HOME.into(), servers::free_address()?),
        };
        let cheap = "password.memory_kib = 8\npassword.iterations = 1\n";
        let settings = format!(
            "server.listen = \"{address}\"\ndatabase.url = \"sqlite://{}/chat.db\"\n{}{}{}",
            directory.display(),
            if attack.has_dear_passwords && !plan.is_brief { "" } else { cheap },
            attack.settings,
            if plan.is_brief { attack.brief_settings } else { "" },
        );
        fs::write(directory.join("chat.toml"), settings)?;
        let mut world = Self {
            attack,
            address,
            home,
            is_brief: plan.is_brief,
            seconds: plan.seconds,
            in_place: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            tokens: HashMap::new(),
            program: fs::canonicalize(&plan.program)?,
            directory: directory.to_owned(),
            server: None,
        };
        let names: Vec<&'static str> = ACCOUNTS.iter().chain(attack.accounts).copied().collect();
        for name in &names {
            interrupt.check()?;
            world.run(&["user", "add", name, "--password-stdin"], &format!("{PASSWORD}\n"))?;
        }
        world.start(interrupt)?;
        let mut talk = Talk::from(home, address)?;
        for name in names {
            let reply = talk.ask_ok(&format!("auth {name} {PASSWORD}"))?;
            let token = token_in(reply).context("a login without a token")?;
            world.tokens.insert(name, token);
        }
        Ok(world)
    }

    fn start(&mut self, interrupt: &Interrupt) -> Result<()> {
        let mut command = self.command(&["serve"]);
        command.stdin(Stdio::null());
        let server = Server::start(command, self.address, &self.directory.join("chatd.log"), interrupt)?;
        self.address = server.address;
        self.server = Some(server);
        Ok(())
    }

    /// Stops the server in good order and starts it again.
    pub fn restart(&mut self, interrupt: &Interrupt) -> Result<()> {
        self.stop(interrupt)?;
        self.start(interrupt)
    }

    /// Stops the server in good order.
    pub fn stop(&mut self, interrupt: &Interrupt) -> Result<()> {
        self.server.take().map_or(Ok(()), |server| server.stop(interrupt))
    }

    /// The most memory that the server had, in bytes, without the kernel's share.
    pub fn peak_bytes(&self) -> Result<u64> {
        let server = self.server.as_ref().context("no server runs")?;
        let status = fs::read_to_string(format!("/proc/{}/status", server.id())).context("the server has died")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
        let kib: u64 = line.context("the system does not tell the most memory of a process")?.trim().parse()?;
        Ok(kib * 1024)
    }

    /// The server's database.
    pub fn database(&self) -> PathBuf {
        self.directory.join("chat.db")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.directory.join("chat.toml")).args(arguments).current_dir(&self.directory);
        command
    }

    /// Runs a command that must succeed.
    pub fn run(&self, arguments: &[&str], input: &str) -> Result<()> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| servers::missing(&self.program.to_string_lossy(), error))?;
        // A command that does not read its input may have closed it.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`chatd {}` failed: {}", arguments.join(" "), error.trim());
        Ok(())
    }

    /// The token of an account of this row.
    pub fn token(&self, name: &str) -> &str {
        self.tokens.get(name).map_or("", String::as_str)
    }

    /// So many, or a part of it where little is wanted.
    pub fn of(&self, count: usize, brief: usize) -> usize {
        if self.is_brief { brief } else { count }
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Sleeps, but not beyond the end.
    pub fn sleep(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() && !self.is_over() {
            let piece = left.min(Duration::from_millis(20));
            thread::sleep(piece);
            left -= piece;
        }
    }

    /// Counts what the attackers ask.
    pub fn count(&self, asked: usize) {
        self.asked.fetch_add(asked as u64, Ordering::Relaxed);
    }
}

/// One connection that asks and waits for the reply.
pub struct Talk {
    stream: TcpStream,
    reply: Vec<u8>,
}

impl Talk {
    /// Connects from this address of this machine.
    pub fn from(address: impl Into<IpAddr>, to: SocketAddr) -> Result<Self> {
        let stream = connect(address, to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, reply: Vec::new() })
    }

    /// A request, its line end put to it, and its reply.
    pub fn ask(&mut self, request: &str) -> std::io::Result<&str> {
        self.stream.write_all(format!("{request}\r\n").as_bytes())?;
        self.reply.clear();
        self.read_replies(1)?;
        Ok(std::str::from_utf8(&self.reply).unwrap_or("no UTF-8").trim_end())
    }

    /// The same where any other reply than OK is a failure.
    pub fn ask_ok(&mut self, request: &str) -> Result<&str> {
        let what = request.split(' ').next().unwrap_or_default().to_owned();
        let reply = self.ask(request)?;
        ensure!(reply.starts_with("{\"status\": \"OK\""), "chatd refused `{what}`: {reply:.200}");
        Ok(reply)
    }

    /// Sends the same request so many times, in packets.
    pub fn repeat(&mut self, request: &str, times: usize) -> Result<()> {
        let packet = format!("{request}\r\n").repeat(PACKET.min(times.max(1)));
        let length = request.len() + 2;
        let mut left = times;
        while left > 0 {
            let now = left.min(PACKET);
            self.stream.write_all(&packet.as_bytes()[..now * length])?;
            self.reply.clear();
            self.read_replies(now)?;
            ensure!(
                !memmem::find_iter(&self.reply, b"\"ERROR\"").any(|_| true),
                "chatd refused a request of many: {}",
                String::from_utf8_lossy(&self.reply[..self.reply.len().min(200)])
            );
            left -= now;
        }
        Ok(())
    }

    /// Reads and confirms all mail of this token.
    pub fn drain(&mut self, token: &str) -> Result<()> {
        while self.ask_ok(&format!("inbox {token}"))?.len() > 40 {}
        self.ask_ok(&format!("ack {token}")).map(drop)
    }

    fn read_replies(&mut self, mut awaited: usize) -> std::io::Result<()> {
        let mut room = [0; 65536];
        while awaited > 0 {
            let read = self.stream.read(&mut room)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let before = self.reply.len().saturating_sub(END.len() - 1);
            self.reply.extend_from_slice(&room[..read]);
            awaited = awaited.saturating_sub(memmem::find_iter(&self.reply[before..], END).count());
        }
        Ok(())
    }
}

/// The token in the reply to a login that was right.
pub fn token_in(reply: &str) -> Option<String> {
    let rest = reply.strip_prefix("{\"status\": \"OK\", \"tokenid\": \"")?;
    rest.strip_suffix("\"}").map(str::to_owned)
}

/// A connection from this address of this machine.
pub fn connect(from: impl Into<IpAddr>, to: SocketAddr) -> Result<TcpStream> {
    let from = from.into();
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if from.is_ipv6() {
        // All of a network is this machine's, though no address of it was given to an interface.
        socket.set_freebind_v6(true)?;
    }
    socket.bind(&SockAddr::from(SocketAddr::from((from, 0))))?;
    socket.connect_timeout(&SockAddr::from(to), PATIENCE)?;
    Ok(socket.into())
}
