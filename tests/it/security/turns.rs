//! Requests of many connections, and one thread that answers them: turns go round.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use chatd::internals::auth::password::{Cost, Passwords};
use chatd::internals::auth::throttle::{Rate, Rates, Throttle};
use chatd::internals::charge::Memory;
use chatd::internals::repository::sqlite::SqliteRepository;
use chatd::internals::service::{Peer, Rules, Service};
use chatd::internals::transport::admission::{ConnectionLimits, Connections};
use chatd::internals::transport::line::connection::{self, ConnectionSettings};
use chatd::internals::transport::line::framer::LineLimits;
use chatd::internals::transport::stream::{PeerState, Stream};
use chatd::protocol::dialect::Dialect;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

use crate::leases::log_in;
use crate::repository::{OPTIONS, add_users, open, quick_folder, send};
use crate::support::PATIENCE;

const MANY: usize = 4_000;
/// The least number of turns that others have meanwhile.
const TURNS: usize = MANY / 8;
const MEBIBYTE: usize = 1 << 20;
const NEVER: Duration = Duration::from_secs(3_600);

/// A stream in memory, all of whose bytes arrive at once.
struct Pipe(DuplexStream, Arc<Passed>);

/// Bytes that went through pipes.
#[derive(Default)]
struct Passed {
    read: AtomicUsize,
    written: AtomicUsize,
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.0).poll_read(context, into);
        self.1.read.fetch_add(into.filled().len() - before, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.1.written.fetch_add(count, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl Stream for Pipe {
    fn unread(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn unacknowledged(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn peer_state(&self) -> io::Result<PeerState> {
        Ok(PeerState::Open)
    }
}

/// A service in this process.
pub fn service(repository: Arc<SqliteRepository>) -> Arc<Service> {
    let cost = Cost { memory_kib: 8, iterations: 1, parallelism: 1 };
    let passwords = Passwords::start(cost, 1, 1).expect("the cost is valid");
    let rate = Rate { per_minute: 0, per_hour: 0 };
    let throttle = Throttle::new(Rates { address: rate, account: rate }, 1);
    Arc::new(Service::new(repository, passwords, throttle, rules()))
}

/// What it goes by.
pub fn rules() -> Rules {
    Rules {
        idle_expiry: NEVER,
        sessions_per_user: 1,
        drained_senders: false,
        directory: true,
        inbox_reply_bytes: 1,
        inbox_reply_messages: 1,
        wait_at_most: NEVER,
        history_messages: 1,
        groups: chatd::internals::repository::GroupLimits { groups: 1, members: 1 },
        register: chatd::internals::service::RegisterRule::Closed,
        registrations_per_hour: 0,
        file_bytes: 0,
    }
}

fn settings() -> Arc<ConnectionSettings> {
    with_room_for_replies(MEBIBYTE)
}

fn with_room_for_replies(bytes: usize) -> Arc<ConnectionSettings> {
    Arc::new(ConnectionSettings {
        line: LineLimits { short: 4_096, long: MEBIBYTE },
        file_line: MEBIBYTE,
        memory: Arc::new(Memory::new(MEBIBYTE, bytes)),
        write_timeout: NEVER,
        min_bytes_per_second: 1,
        peer_timeout: NEVER,
        confirm_after: NEVER,
        linger: NEVER,
        family: None,
    })
}

/// A stranger's connection to this service.
pub fn connected(dialect: Dialect, service: Arc<Service>) -> DuplexStream {
    connected_from(1, dialect, service, &settings(), &Arc::default())
}

/// The same from one of several addresses; what passes is counted.
fn connected_from(
    host: u8,
    dialect: Dialect,
    service: Arc<Service>,
    settings: &Arc<ConnectionSettings>,
    passed: &Arc<Passed>,
) -> DuplexStream {
    let (peer, server) = duplex(2 * MEBIBYTE);
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
    let limits = ConnectionLimits { total: 9, per_address: 9, per_account: 9, unauthenticated: 9 };
    let slot = Connections::new(limits).enter(address).expect("there is room");
    let (asker, stop) =
        (Peer { address, is_here: true, reply_bytes: 1, is_encrypted: false }, CancellationToken::new());
    let pipe = Pipe(server, passed.clone());
    tokio::spawn(connection::run(pipe, dialect, asker, slot, service, settings.clone(), stop));
    peer
}

/// How many turns others have until what a stranger says all at once is answered with so many line ends.
async fn turns_of_others(dialect: Dialect, said: &[u8], line_ends: usize) -> usize {
    let folder = quick_folder();
    let service = service(Arc::new(open(folder.path(), &OPTIONS).await));
    let (mut replies, mut requests) = tokio::io::split(connected(dialect, service));
    requests.write_all(said).await.expect("there is room for all");
    let all = tokio::spawn(async move {
        let mut read = vec![0; MEBIBYTE];
        let mut ends = 0;
        while ends < line_ends {
            let count = replies.read(&mut read).await.expect("a reply comes");
            assert!(count > 0, "the connection was closed");
            ends += read[..count].iter().filter(|byte| **byte == b'\n').count();
        }
    });
    let mut turns = 0;
    while !all.is_finished() {
        turns += 1;
        yield_now().await;
    }
    all.await.expect("all replies came");
    turns
}

/// A thousand connections of one account may each have as many requests in hand.
#[tokio::test]
async fn who_asks_thousands_of_things_at_once_leaves_a_turn_to_others_after_a_few() {
    let turns = turns_of_others(Dialect::json(), "x\r\n".repeat(MANY).as_bytes(), 2 * MANY).await;
    assert!(turns >= TURNS, "{MANY} requests were answered in {turns} turns");
}

/// A thousand strangers may each send bytes that are no request, as fast as they are read.
#[tokio::test]
async fn who_sends_bytes_that_are_no_request_leaves_a_turn_to_others_after_a_few_reads() {
    // A stranger is read 4 KiB at a time.
    let least = MEBIBYTE / 4_096 / 8;
    let cases = [
        ("an endless line", Dialect::json(), "x".repeat(MEBIBYTE) + "\r\nx\r\n", 4),
        ("empty lines", Dialect::json(), "\r\n".repeat(MEBIBYTE / 2) + "x\r\n", 2),
        ("an endless line at the text port", Dialect::text(), "x".repeat(MEBIBYTE) + "\nx\n", 2),
    ];
    for (what, dialect, said, line_ends) in cases {
        let turns = turns_of_others(dialect, said.as_bytes(), line_ends).await;
        assert!(turns >= least, "{what}: a mebibyte was read in {turns} turns of others");
    }
    let options = [b"\xff\xfd\x03".repeat(MEBIBYTE / 3), b"x\n".to_vec()].concat();
    let turns = turns_of_others(Dialect::text(), &options, 1).await;
    assert!(turns >= least, "options of telnet: a mebibyte was read in {turns} turns of others");
}

/// Connects many who each say this at once, and then one from another address who asks for so many things one after the
/// other; gives what passed of the many by then.
async fn passed_meanwhile(crowd: usize, said: &[u8], requests: usize) -> Arc<Passed> {
    let folder = quick_folder();
    let service = service(Arc::new(open(folder.path(), &OPTIONS).await));
    let (settings, passed) = (settings(), Arc::default());
    let mut peers = Vec::new();
    for _ in 0..crowd {
        let mut peer = connected_from(2, Dialect::json(), service.clone(), &settings, &passed);
        peer.write_all(said).await.expect("there is room for all");
        peers.push(peer);
    }
    let mut innocent = connected_from(1, Dialect::json(), service, &settings, &Arc::default());
    for _ in 0..requests {
        innocent.write_all(b"x\r\n").await.expect("there is room");
        let mut reply = [0; 4];
        while &reply != b"\r\n\r\n" {
            reply.rotate_left(1);
            reply[3] = innocent.read_u8().await.expect("a reply comes");
        }
    }
    passed
}

/// A thousand connections have a turn each before those who have a single request, unless all of theirs are one.
#[tokio::test]
async fn many_who_send_bytes_that_are_no_request_take_no_more_time_than_one() {
    const CROWD: usize = 40;
    const REQUESTS: usize = 50;
    let passed = passed_meanwhile(CROWD, &[b'x'; MEBIBYTE], REQUESTS).await;
    let reads = passed.read.load(Ordering::Relaxed) / 4_096;
    assert!(reads < CROWD + 8 * REQUESTS, "{reads} reads of {CROWD} others came before {REQUESTS} replies");
}

/// Replies of megabytes come a piece at a time, and others have a turn between.
#[tokio::test]
async fn long_replies_are_made_while_others_are_served() {
    const CROWD: usize = 10;
    // Each byte of it becomes six.
    const TEXT: usize = MEBIBYTE / 2;
    let folder = quick_folder();
    let repository = Arc::new(open(folder.path(), &OPTIONS).await);
    let users = add_users(&repository, 1).await;
    send(&repository, users[0], users[0], &"\u{1}".repeat(TEXT)).await;
    let token = log_in(&repository, users[0], 1).await.0.reveal();
    let (service, settings) = (service(repository), with_room_for_replies(4 * CROWD * MEBIBYTE));
    let came = Arc::new(AtomicUsize::new(0));
    for _ in 0..CROWD {
        let mut peer = connected_from(1, Dialect::json(), service.clone(), &settings, &Arc::default());
        peer.write_all(format!("history {token} user0\r\n").as_bytes()).await.expect("there is room");
        let came = came.clone();
        tokio::spawn(async move {
            let mut read = vec![0; MEBIBYTE];
            while let Ok(count @ 1..) = peer.read(&mut read).await {
                came.fetch_add(count, Ordering::Relaxed);
            }
        });
    }
    let (all, begun) = (CROWD * 6 * TEXT, Instant::now());
    let (mut before, mut most) = (0, 0);
    while before < all {
        assert!(begun.elapsed() < PATIENCE, "only {before} bytes came");
        yield_now().await;
        let now = came.load(Ordering::Relaxed);
        most = most.max(now - before);
        before = now;
    }
    println!("of {CROWD} replies of {} bytes at most {most} came between two turns of others", 6 * TEXT);
    assert!(most < MEBIBYTE, "{most} bytes came between two turns of others");
}

/// The same of requests, of which each has many.
#[tokio::test]
async fn many_who_ask_thousands_of_things_at_once_take_no_more_time_than_one() {
    const CROWD: usize = 40;
    const REQUESTS: usize = 50;
    const REPLY: usize = "{\"status\": \"ERROR\", \"message\": \"**Protocol Tidak Benar\"}\r\n\r\n".len();
    let passed = passed_meanwhile(CROWD, "x\r\n".repeat(MANY).as_bytes(), REQUESTS).await;
    let replies = passed.written.load(Ordering::Relaxed) / REPLY;
    assert!(replies < 4 * 8 * REQUESTS, "{replies} replies to {CROWD} others came before {REQUESTS}");
}

/// What is committed together is waited for together.
#[tokio::test]
async fn a_short_message_is_not_stored_behind_all_the_long_ones_of_another_account() {
    const LONG_ONES: usize = 20;
    let folder = quick_folder();
    let repository = Arc::new(open(folder.path(), &OPTIONS).await);
    let users = add_users(&repository, 2).await;
    let mut sends = Vec::new();
    for i in 0..=LONG_ONES {
        let (repository, users) = (repository.clone(), users.clone());
        sends.push(tokio::spawn(async move {
            let text = if i < LONG_ONES { "x".repeat(MEBIBYTE) } else { "short".to_owned() };
            let sender = if i < LONG_ONES { users[0] } else { users[1] };
            send(&repository, sender, users[0], &text).await
        }));
    }
    let mut ids = Vec::new();
    for sent in sends {
        ids.push(sent.await.expect("no task panics").0);
    }
    let short = ids.pop().expect("it was sent");
    let before = ids.iter().filter(|long| **long < short).count();
    // One is in hand, and one may have had its turn meanwhile.
    assert!(before <= 5, "{before} of {LONG_ONES} were stored first");
}
