//! Many at once, and those who do nothing right: what others notice of them. Each test prints its figures. The crowds
//! are small unless `CHATD_SLOW` is set: then there are 10,000 idle connections and 1,000 logins at the default cost,
//! to be run with an optimised build and nothing beside:
//! `CHATD_SLOW=1 cargo test --release --test it security::crowds -- --nocapture --test-threads=1`

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{resident_kib, server};
use crate::support::{Client, Folder, PATIENCE, SENT, Server};

fn is_slow() -> bool {
    std::env::var_os("CHATD_SLOW").is_some()
}

/// How long a `send` takes, sorted, while `until` is false and ten times at least.
fn send_times(client: &mut Client, token: &str, until: impl Fn() -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while times.len() < 10 || !until() {
        let begun = Instant::now();
        assert_eq!(client.ask(&format!("send {token} lineker  hal ")), SENT);
        times.push(begun.elapsed());
        // As people do, and so that the inbox does not fill up.
        thread::sleep(Duration::from_millis(2));
    }
    times.sort();
    times
}

fn figures(times: &[Duration]) -> String {
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    format!("{} sends, median {:.1?}, p99 {:.1?}, most {:.1?}", times.len(), at(50), at(99), at(100))
}

fn p99(times: &[Duration]) -> Duration {
    times[times.len() * 99 / 100]
}

/// Processor time that a process has used.
fn cpu(pid: Pid) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    let ticks = |place: usize| fields.split(' ').nth(place).and_then(|f| f.parse::<u64>().ok()).expect("a number");
    // Ticks are hundredths of a second on Linux.
    Duration::from_millis((ticks(12) + ticks(13)) * 10)
}

/// A connection from one of many addresses of this machine.
fn connect_from(number: usize, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    let low = u8::try_from(number % 250 + 1).expect("it is at most 250");
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 7, low), 0));
    socket.bind(&SockAddr::from(from)).expect("all of 127.0.0.0/8 is this machine's");
    socket.connect(&SockAddr::from(to)).expect("the server listens");
    socket.set_read_timeout(Some(if is_slow() { 10 * PATIENCE } else { PATIENCE })).expect("it is not zero");
    socket.into()
}

#[test]
fn idle_connections_cost_little_memory_and_no_time() {
    let (crowd, per_connection) = if is_slow() { (10_000, 6) } else { (1_000, 12) };
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be asked");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("what is allowed is allowed");
    let (_folder, server) =
        server("[limits]\nconnections = 11000\nunauthenticated_connections = 11000\nconnections_per_address = 11000");
    let (mut client, token) = server.login("messi");
    let quiet = send_times(&mut client, &token, || true);
    let before = resident_kib(server.pid());
    let idle: Vec<TcpStream> = (0..crowd).map(|number| connect_from(number, server.address)).collect();
    // All are let in when the last is answered.
    let mut last = server.connect();
    last.ask("halo");
    let grown = resident_kib(server.pid()) - before;
    let (busy, seconds) = (cpu(server.pid()), if is_slow() { 10 } else { 1 });
    thread::sleep(Duration::from_secs(seconds));
    let busy = cpu(server.pid()) - busy;
    let times = send_times(&mut client, &token, || true);
    let each = grown * 1024 / crowd as u64;
    println!("{crowd} idle connections: {each} bytes each, {busy:?} of processor in {seconds} s");
    println!("  others without them: {}", figures(&quiet));
    println!("  others with them:    {}", figures(&times));
    assert!(grown < crowd as u64 * per_connection, "{grown} KiB");
    assert!(busy < Duration::from_millis(200) * u32::try_from(seconds).expect("it is small"), "{busy:?}");
    drop(idle);
}

#[test]
fn a_storm_of_logins_is_hardly_noticed_by_others() {
    let (crowd, settings) = match is_slow() {
        true => (1_000, "[password]\nmemory_kib = 19456\niterations = 2\nparallelism = 1"),
        false => (100, ""),
    };
    let settings = format!("{settings}\n[session]\nper_user = 100\n[limits]\ninbox_messages = 1000000");
    let (_folder, server) = server(&settings);
    let (mut client, token) = server.login("messi");
    let begun = Instant::now();
    let quiet =
        send_times(&mut client, &token, || begun.elapsed() > Duration::from_secs(if is_slow() { 10 } else { 1 }));
    let mut logins: Vec<TcpStream> = (0..crowd).map(|number| connect_from(number, server.address)).collect();
    let is_over = AtomicBool::new(false);
    let (begun, mut right) = (Instant::now(), 0);
    let storm = thread::scope(|scope| {
        scope.spawn(|| {
            for login in &mut logins {
                login.write_all(b"auth henderson surabaya\r\n").expect("the server reads");
            }
            for login in &mut logins {
                let mut reply = [0; 200];
                let read = login.read(&mut reply).expect("a reply comes");
                right += usize::from(String::from_utf8_lossy(&reply[..read]).contains("tokenid"));
            }
            is_over.store(true, Ordering::Relaxed);
        });
        send_times(&mut client, &token, || is_over.load(Ordering::Relaxed))
    });
    let ratio = p99(&storm).as_secs_f64() / p99(&quiet).as_secs_f64();
    println!(
        "{crowd} logins at once, {right} of them right, in {:.1?}: p99 of send is {ratio:.2} times",
        begun.elapsed()
    );
    println!("  quiet: {}", figures(&quiet));
    println!("  storm: {}", figures(&storm));
    assert_eq!(right, crowd);
}

#[test]
fn with_no_file_descriptor_left_those_inside_are_served() {
    let folder = Folder::new("");
    folder.add_three();
    let mut command = Command::new("sh");
    command.current_dir(folder.path());
    command.args(["-c", "ulimit -n 64; exec \"$0\" serve", env!("CARGO_BIN_EXE_chatd")]);
    let server = Server::start_with(&folder, command);
    let (mut client, token) = server.login("messi");
    let quiet = send_times(&mut client, &token, || true);
    let crowd: Vec<TcpStream> = (0..100).map(|number| connect_from(number, server.address)).collect();
    let begun = Instant::now();
    while !server.log().contains("no connection can be accepted for the moment") {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
    }
    let busy = cpu(server.pid());
    let times = send_times(&mut client, &token, || begun.elapsed() > Duration::from_secs(1));
    let busy = cpu(server.pid()) - busy;
    println!("no descriptor left: {busy:?} of processor in a second");
    println!("  others before: {}", figures(&quiet));
    println!("  others now:    {}", figures(&times));
    assert!(server.log().lines().filter(|line| line.contains("no connection")).count() <= 30, "it is logged seldom");
    drop(crowd);
    // Whoever waited for a descriptor gets one.
    assert!(server.connect().ask(&format!("show {token}")).contains("messi"));
}

/// What is older than the tail is read from files, which have their descriptors from the start on, and spare ones.
#[test]
fn with_no_file_descriptor_left_old_messages_can_be_read() {
    let folder = Folder::new("[database]\ntail_messages = 16");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut client, token) = server.login("messi");
    for number in 0..100 {
        assert_eq!(client.ask(&format!("send {token} messi  number {number} ")), SENT);
    }
    assert_eq!(server.stop(), Some(0));
    let mut command = Command::new("sh");
    command.current_dir(folder.path());
    command.args(["-c", "ulimit -n 64; exec \"$0\" serve", env!("CARGO_BIN_EXE_chatd")]);
    let server = Server::start_with(&folder, command);
    let mut client = server.connect();
    let crowd: Vec<TcpStream> = (0..100).map(|number| connect_from(number, server.address)).collect();
    let begun = Instant::now();
    while !server.log().contains("no connection can be accepted for the moment") {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
    }
    let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("it runs").filter_map(Result::ok);
    let (mut taken, mut in_reserve) = (0, 0);
    for descriptor in open {
        let number: u32 = descriptor.file_name().to_str().and_then(|name| name.parse().ok()).expect("a number");
        let is_socket =
            fs::read_link(descriptor.path()).is_ok_and(|link| link.to_string_lossy().starts_with("socket:"));
        taken += usize::from(number < 48);
        in_reserve += usize::from(number >= 48 && is_socket);
    }
    assert!(taken >= 40 && in_reserve <= 2, "{taken} of 48 taken, {in_reserve} sockets among the last sixteen of 64");
    let history = client.ask(&format!("history {token} messi"));
    assert!(history.contains("number 99"), "{history}");
    assert!(client.ask(&format!("status {token} messi")).contains("OK"));
    assert!(client.ask(&format!("inbox {token}")).contains("number 0"));
    drop(crowd);
}

/// Stops the server; gives what it logged.
fn log_of_stop(mut server: Server) -> String {
    let begun = Instant::now();
    kill(server.pid(), Signal::SIGTERM).expect("it runs");
    assert_eq!(server.wait(), Some(0));
    println!("the stop takes {:.1?}", begun.elapsed());
    server.log()
}

const CUT: &str = "some connections did not end in time";

/// A stop waits for its connections as long as each may linger, and no longer, whatever they do: a reply may be written
/// for an hour here. The server says that it did not wait for all.
#[test]
fn a_stop_under_attack_waits_for_nobody_who_reads_nothing() {
    let (_folder, server) = server("[limits]\ninbox_bytes = 1000000000\nwrite_timeout = \"1h\"");
    let (mut client, token) = server.login("messi");
    for _ in 0..6 {
        assert_eq!(client.ask(&format!("send {token} messi {}", "x".repeat(1 << 20))), SENT);
    }
    let mut crowd = Vec::new();
    for number in 0..100 {
        let mut peer = connect_from(number, server.address);
        // A reply of megabytes that nobody reads, and requests behind it that nobody answers.
        peer.write_all(format!("inbox {token}\r\nhistory {token} messi\r\n").as_bytes()).expect("the server reads");
        peer.write_all(format!("auth messi surabaya\r\nshow {token}\r\n").repeat(200).as_bytes()).expect("it is short");
        crowd.push(peer);
    }
    client.ask(&format!("show {token}"));
    let log = log_of_stop(server);
    let (_, end) = log.split_once("stopping").expect("it is logged");
    assert!(end.contains(CUT), "the stop was not ended by its own bound: {log}");
    drop(crowd);
}

#[test]
fn a_stop_breaks_off_nobody_who_reads() {
    let (_folder, server) = server("[limits]\nwrite_timeout = \"1h\"");
    let (_, token) = server.login("messi");
    let mut crowd: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for peer in &mut crowd {
        assert!(peer.ask(&format!("show {token}")).contains("messi"));
    }
    let log = log_of_stop(server);
    assert!(!log.contains(CUT), "{log}");
    assert!(crowd.iter_mut().all(Client::is_over));
}

/// Garbage, a browser, a handshake of TLS.
fn speaks_another_language(address: SocketAddr, _: &str) -> io::Result<()> {
    let mut peer = connect_from(1, address);
    peer.write_all(&[0xff; 3000])?;
    peer.write_all(b"\x00\r\n\xfe\r\n")?;
    peer.write_all(&[22, 3, 1, 2, 0])?;
    connect_from(1, address).write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// With a token and without.
fn never_ends_a_line(address: SocketAddr, token: &str) -> io::Result<()> {
    let mut peer = connect_from(2, address);
    peer.write_all(format!("send {token} henderson ").as_bytes())?;
    peer.write_all(&vec![b'x'; 1 << 20])?;
    connect_from(2, address).write_all(&vec![b'x'; 1 << 20])
}

fn writes_slowly(address: SocketAddr, _: &str) -> io::Result<()> {
    let mut peer = connect_from(3, address);
    for byte in b"auth messi surabay" {
        peer.write_all(&[*byte])?;
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn never_reads(address: SocketAddr, token: &str) -> io::Result<()> {
    let mut peer = connect_from(4, address);
    peer.set_write_timeout(Some(Duration::from_millis(200)))?;
    loop {
        peer.write_all(format!("show {token}\r\n").repeat(10).as_bytes())?;
    }
}

#[test]
fn those_who_do_nothing_right_are_not_noticed() {
    // What endless lines may hold is a setting; with the default they may hold more than is asserted below.
    let (_folder, server) = server("[limits]\nwrite_timeout = \"2s\"\nbuffered_bytes = 8388608");
    let (mut client, token) = server.login("messi");
    // How long a reply takes is printed; on a machine that has much else to do it is long.
    client.stream.get_ref().set_read_timeout(Some(10 * PATIENCE)).expect("it is not zero");
    let quiet = send_times(&mut client, &token, || true);
    let before = resident_kib(server.pid());
    let is_over = AtomicBool::new(false);
    let times = thread::scope(|scope| {
        let (address, is_over, token) = (server.address, &is_over, token.as_str());
        for peer in [speaks_another_language, never_ends_a_line, writes_slowly, never_reads] {
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    // Whatever comes of it. One core may be all that there is, for the server, too.
                    let _ = peer(address, token);
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let begun = Instant::now();
        let times = send_times(&mut client, token, || begun.elapsed() > Duration::from_secs(3));
        is_over.store(true, Ordering::Relaxed);
        times
    });
    let grown = resident_kib(server.pid()).saturating_sub(before);
    println!("garbage, endless lines, slow writers and those who never read: {grown} KiB more");
    println!("  others before: {}", figures(&quiet));
    println!("  others now:    {}", figures(&times));
    assert!(grown < 64 * 1024, "{grown} KiB");
    assert!(client.ask(&format!("show {token}")).contains("messi"));
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn slow_writers_keep_nobody_out() {
    let (_folder, server) = server("[limits]\nunauthenticated_connections = 50");
    let mut slow: Vec<TcpStream> = (0..200).map(|number| connect_from(number, server.address)).collect();
    for peer in &mut slow {
        // Most were shown out already.
        let _ = peer.write_all(b"auth mes");
    }
    let mut times = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        server.connect().login("messi");
        times.push(begun.elapsed());
    }
    times.sort();
    println!("200 slow writers where 50 strangers are allowed: a login takes {:?} at the median", times[10]);
}
