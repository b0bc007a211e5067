//! Many who try to log in at once: each costs a hash, and there is one thread for them.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use chatd::internals::repository::Repository;
use chatd::protocol::dialect::Dialect;
use nix::sys::signal::{Signal, kill};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server;
use super::turns::{connected, service};
use crate::metrics::numbers;
use crate::repository::{OPTIONS, add_users, open, quick_folder};
use crate::support::{Client, PATIENCE, Server, address_in};

/// So dear that a crowd waits for its hashes while the test goes on.
const DEAR: &str = "[password]\nmemory_kib = 1024\niterations = 10\nqueue = 64\nthreads = 1\nparallelism = 1\n[metrics]\nlisten = \"127.0.0.1:0\"";

/// From an address in a network of its own.
fn connect_from(number: u8, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    let from = SocketAddr::from((Ipv4Addr::new(127, 1, number, 1), 0));
    socket.bind(&SockAddr::from(from)).expect("all of 127.0.0.0/8 is this machine's");
    socket.connect(&SockAddr::from(to)).expect("the server listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    socket.into()
}

/// Attempts whose password was looked at.
fn looked_at(server: &Server) -> f64 {
    let address = address_in(&server.log(), "listening for Prometheus").expect("it is logged");
    numbers(address)["chatd_auth_failures_total{reason=\"unknown_user\"}"]
}

/// How long a login takes.
fn time_login(client: &mut Client) -> Duration {
    let begun = Instant::now();
    client.login("messi");
    begun.elapsed()
}

/// 250 addresses, each in a network of its own, with five wrong logins each.
#[test]
fn a_crowd_of_strangers_does_not_keep_a_known_user_from_logging_in() {
    let (_folder, server) = server(DEAR);
    let mut messi = server.connect();
    let quiet = time_login(&mut messi);
    let crowd: Vec<TcpStream> = (0..250).map(|number| connect_from(number, server.address)).collect();
    for mut stranger in &crowd {
        (0..5).for_each(|i| stranger.write_all(format!("auth nobody{i} x\r\n").as_bytes()).expect("it is read"));
    }
    // Until the queue of unknown users is full, so that one of them is told so.
    let is_busy = |stranger: &TcpStream| {
        stranger.set_nonblocking(true).expect("it can be set");
        let mut answer = [0; 512];
        let read = stranger.peek(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..read]).contains("busy")
    };
    let begun = Instant::now();
    while !crowd.iter().any(is_busy) {
        assert!(begun.elapsed() < PATIENCE, "the crowd fills the queue");
        thread::sleep(Duration::from_millis(5));
    }
    let before = looked_at(&server);
    let crowded = time_login(&mut messi);
    let between = looked_at(&server) - before;
    println!("a known user's login: {quiet:?} alone, {crowded:?} with 250 strangers, {between} of whom came first");
    assert!(between < 20.0, "{between} strangers came first");
    drop(crowd);
}

#[test]
fn a_login_of_a_peer_that_is_gone_is_not_looked_at() {
    let (_folder, server) = server(&format!("{DEAR}\n[throttle]\naddress_per_minute = 0\naddress_per_hour = 0"));
    let crowd: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(server.address).expect("the server listens")).collect();
    for (number, mut stranger) in crowd.iter().enumerate() {
        stranger.write_all(format!("auth nobody{number} x\r\n").as_bytes()).expect("it is read");
    }
    // By the time that one more has its answer, the others' requests were read.
    let mut other = server.connect();
    other.ask("show 00000000-0000-0000-0000-000000000000");
    let before = looked_at(&server);
    // However slow this test is, none is looked at while the peers go.
    server.freeze();
    for stranger in crowd {
        SockRef::from(&stranger).set_linger(Some(Duration::ZERO)).expect("it can be set");
    }
    kill(server.pid(), Signal::SIGCONT).expect("it is stopped");
    other.login("messi");
    println!("{before} logins were looked at, then 40 peers reset their connections, then {} were", looked_at(&server));
    assert!(looked_at(&server) < 40.0, "all were looked at, though nobody waited");
}

/// What is asked of the store takes time, and who measures that must not find out which accounts there are. It is seen
/// here by a store that does not answer.
#[tokio::test]
async fn a_login_asks_the_store_as_much_of_an_account_that_is_there_as_of_one_that_is_not() {
    let folder = quick_folder();
    let repository = Arc::new(open(folder.path(), &OPTIONS).await);
    let users = add_users(&repository, 2).await;
    repository.set_disabled(users[1], true).await.expect("the store works");
    let mut peer = connected(Dialect::json(), service(repository.clone()));
    repository.close().await.expect("it closes");
    let mut said = Vec::new();
    for name in ["user0", "user1", "nobody"] {
        peer.write_all(format!("auth {name} wrong\r\n").as_bytes()).await.expect("there is room");
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n\r\n") {
            reply.push(peer.read_u8().await.expect("a reply comes"));
        }
        said.push(String::from_utf8(reply).expect("it is text"));
    }
    assert!(said[0].contains("unavailable"), "{}", said[0]);
    assert_eq!(said, [said[0].clone(), said[0].clone(), said[0].clone()]);
}
