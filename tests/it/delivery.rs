//! Each row of the table of what confirms an inbox, with real sockets and real processes that read or do not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Client, Folder, PATIENCE, SENT, Server, texts, unread_on_disk};

/// A server without the rule of quiet time, and a user of it with `count` messages waiting.
fn waiting(count: usize, settings: &str) -> (Folder, Server, String) {
    let folder = Folder::new(&format!("[delivery]\nconfirm_after = \"0s\"\n{settings}"));
    folder.add_three();
    let server = Server::start(&folder);
    let (mut client, token) = server.login("messi");
    for i in 0..count {
        assert_eq!(client.ask(&format!("send {token} messi {i}")), SENT);
    }
    (folder, server, token)
}

/// A text so long that a reply does not fit into the buffers between server and client.
fn long() -> String {
    "x".repeat(1 << 20)
}

fn inbox(server: &Server, token: &str) -> Vec<String> {
    texts(&server.connect().ask(&format!("inbox {token}")))
}

/// Asks until the inbox is no longer empty: for what comes back once a broken connection was noticed.
fn comes_back(server: &Server, token: &str) -> Vec<String> {
    let begun = Instant::now();
    let mut client = server.connect();
    loop {
        let texts = texts(&client.ask(&format!("inbox {token}")));
        if !texts.is_empty() {
            return texts;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not come back");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What is read stays read: nothing comes back from this connection, not even by a restart.
fn stays_read(folder: &Folder, server: Server, token: &str) {
    let begun = Instant::now();
    while unread_on_disk(&folder.database()) > 0 {
        assert!(begun.elapsed() < PATIENCE, "it was never confirmed");
        thread::sleep(Duration::from_millis(5));
    }
    server.kill();
    let server = Server::start(folder);
    assert_eq!(inbox(&server, token), Vec::<String>::new());
}

fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).expect("the option is there");
}

#[test]
fn the_next_request_confirms() {
    let (folder, server, token) = waiting(3, "");
    let mut client = server.connect();
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))), ["0", "1", "2"]);
    assert!(unread_on_disk(&folder.database()) > 0, "nothing came after the reply");
    assert_eq!(client.ask("anything"), crate::support::UNKNOWN);
    stays_read(&folder, server, &token);
}

#[test]
fn all_read_and_closed_confirms() {
    let (folder, server, token) = waiting(3, "");
    assert_eq!(inbox(&server, &token), ["0", "1", "2"]);
    stays_read(&folder, server, &token);
}

#[test]
fn all_read_and_reset_gives_it_back() {
    let (_folder, server, token) = waiting(3, "");
    let mut client = server.connect();
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))), ["0", "1", "2"]);
    reset(client.stream.into_inner());
    assert_eq!(comes_back(&server, &token), ["0", "1", "2"]);
}

#[test]
fn half_read_and_closed_gives_it_back() {
    let (_folder, server, token) = waiting(3, "");
    let mut stream = server.connect().stream.into_inner();
    stream.write_all(format!("inbox {token}\r\n").as_bytes()).expect("the server reads");
    stream.read_exact(&mut [0; 20]).expect("there is more");
    // The rest has come, too, and lies unread when the socket is closed.
    let mut peeked = [0; 4096];
    let mut come = 0;
    while !peeked[..come].ends_with(b"\r\n\r\n") {
        come = stream.peek(&mut peeked).expect("there is more");
    }
    drop(stream);
    assert_eq!(comes_back(&server, &token), ["0", "1", "2"]);
}

#[test]
fn never_read_and_closed_gives_it_back() {
    let (_folder, server, token) = waiting(1, "");
    let (mut client, _) = server.login("messi");
    assert_eq!(client.ask(&format!("send {token} messi {}", long())), SENT);
    // Small enough for the buffers, and too large for them.
    for _ in 0..2 {
        let mut stream = server.connect().stream.into_inner();
        stream.write_all(format!("inbox {token}\r\n").as_bytes()).expect("the server reads");
        stream.peek(&mut [0]).expect("the reply begins");
        drop(stream);
        assert_eq!(comes_back_unconfirmed(&server, &token), 2);
    }
    assert_eq!(comes_back(&server, &token).len(), 2);
}

/// As `comes_back`, and breaks that connection as well; gives how many messages came.
fn comes_back_unconfirmed(server: &Server, token: &str) -> usize {
    let begun = Instant::now();
    loop {
        let mut client = server.connect();
        let texts = texts(&client.ask(&format!("inbox {token}")));
        reset(client.stream.into_inner());
        if !texts.is_empty() {
            return texts.len();
        }
        assert!(begun.elapsed() < PATIENCE, "it does not come back");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_reader_that_takes_no_byte_gives_it_back_when_the_write_times_out() {
    let (_folder, server, token) = waiting(0, "[limits]\nwrite_timeout = \"300ms\"");
    let (mut client, _) = server.login("messi");
    for _ in 0..7 {
        assert_eq!(client.ask(&format!("send {token} messi {}", long())), SENT);
    }
    let mut mute = server.connect();
    mute.send(format!("inbox {token}\r\n"));
    mute.stream.get_ref().peek(&mut [0]).expect("the reply begins");
    assert_eq!(comes_back(&server, &token).len(), 7);
}

#[test]
fn an_end_before_the_reply_confirms_when_no_reset_follows() {
    let (folder, server, token) = waiting(3, "");
    // As `printf 'inbox …' | nc -N` does.
    let mut stream = server.connect().stream.into_inner();
    stream.write_all(format!("inbox {token}\r\n").as_bytes()).expect("the server reads");
    stream.shutdown(Shutdown::Write).expect("it is open");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("the server answers, waits, and ends");
    assert_eq!(texts(&reply), ["0", "1", "2"]);
    drop(stream);
    stays_read(&folder, server, &token);
}

#[test]
fn pipelined_inboxes_prove_nothing_of_each_other() {
    let (_folder, server, token) = waiting(3, "reply_bytes = 1");
    let mut stream = server.connect().stream.into_inner();
    stream.write_all(format!("inbox {token}\r\n").repeat(3).as_bytes()).expect("the server reads");
    let mut seen = Vec::new();
    while seen.windows(4).filter(|end| end == b"\r\n\r\n").count() < 3 {
        let mut more = [0; 512];
        let count = stream.read(&mut more).expect("replies come");
        seen.extend_from_slice(&more[..count]);
    }
    reset(stream);
    let mut back = comes_back(&server, &token);
    let mut client = server.connect();
    while back.len() < 3 {
        back.extend(texts(&client.ask(&format!("inbox {token}"))));
    }
    back.sort();
    assert_eq!(back, ["0", "1", "2"]);
}

#[test]
fn one_connection_for_each_command_loses_and_doubles_nothing() {
    let (folder, server, token) = waiting(0, "");
    let mut read = Vec::new();
    for i in 0..40 {
        assert_eq!(server.connect().ask(&format!("send {token} messi {i}")), SENT);
        read.extend(inbox(&server, &token));
    }
    read.extend(inbox(&server, &token));
    assert_eq!(read, (0..40).map(|i| i.to_string()).collect::<Vec<_>>());
    stays_read(&folder, server, &token);
}

/// A process that asks for an inbox and then does as `then` says, in the words of bash.
fn client_process(server: &Server, token: &str, then: &str) -> std::process::Child {
    let script = format!(
        "exec 3<>/dev/tcp/{}/{}; printf 'inbox {token}\\r\\n' >&3; {then}",
        server.address.ip(),
        server.address.port()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().expect("bash starts")
}

#[test]
fn a_client_killed_before_it_reads_gets_it_again() {
    let (_folder, server, token) = waiting(3, "");
    // It asks the kernel whether there is something to read, and does not read it.
    let mut client = client_process(&server, &token, "until read -t 0 -u 3; do :; done; echo came; read -r forever");
    client.stdout.as_mut().expect("it was piped").read_exact(&mut [0; 5]).expect("the reply comes");
    assert_eq!(inbox(&server, &token), Vec::<String>::new(), "nobody else is offered it");
    client.kill().expect("it runs");
    client.wait().expect("it ends");
    assert_eq!(comes_back(&server, &token), ["0", "1", "2"]);
}

#[test]
fn a_client_killed_after_it_has_read_everything_counts_as_one_that_has_it() {
    let (folder, server, token) = waiting(3, "");
    let mut client = client_process(&server, &token, "head -n 2 <&3; read -r forever");
    let mut reply = Vec::new();
    let out = client.stdout.as_mut().expect("it was piped");
    while !reply.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        out.read_exact(&mut byte).expect("the reply is passed on");
        reply.push(byte[0]);
    }
    client.kill().expect("it runs");
    client.wait().expect("it ends");
    stays_read(&folder, server, &token);
}

#[test]
fn sessions_that_poll_at_once_get_everything_once() {
    for readers in [2, 8] {
        let (_folder, server, token) = waiting(0, "");
        let total = 200;
        let (mut sender, senders) = server.login("henderson");
        let count = AtomicUsize::new(0);
        let begun = Instant::now();
        let read = thread::scope(|scope| {
            let poll = |(mut client, token): (Client, String)| {
                let count = &count;
                scope.spawn(move || {
                    let mut read = Vec::new();
                    while count.load(Ordering::Relaxed) < total && begun.elapsed() < PATIENCE {
                        let more = texts(&client.ask(&format!("inbox {token}")));
                        count.fetch_add(more.len(), Ordering::Relaxed);
                        read.extend(more);
                    }
                    read
                })
            };
            let readers: Vec<_> = (0..readers).map(|_| poll(server.login("messi"))).collect();
            for i in 0..total {
                assert_eq!(sender.ask(&format!("send {senders} messi {i:04}")), SENT);
            }
            readers.into_iter().map(|reader| reader.join().expect("it reads")).collect::<Vec<_>>()
        });
        assert!(read.iter().all(|texts| texts.is_sorted()), "each reader sees the order");
        let mut all = read.concat();
        all.sort();
        assert_eq!(all, (0..total).map(|i| format!("{i:04}")).collect::<Vec<_>>(), "{readers} readers");
        assert_eq!(inbox(&server, &token), Vec::<String>::new());
    }
}

#[test]
fn quiet_time_confirms_and_zero_means_never() {
    let (folder, server, token) = waiting(3, "");
    let mut client = server.connect();
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))).len(), 3);
    thread::sleep(Duration::from_millis(300));
    assert!(unread_on_disk(&folder.database()) > 0, "that rule is off");
    drop((client, server));
    folder.configure("[delivery]\nconfirm_after = \"200ms\"");
    let server = Server::start(&folder);
    let mut client = server.connect();
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))).len(), 3);
    stays_read(&folder, server, &token);
    drop(client);
}

#[test]
fn a_stop_with_unread_bytes_gives_it_back() {
    let (folder, server, token) = waiting(0, "");
    let (mut client, _) = server.login("messi");
    for _ in 0..7 {
        assert_eq!(client.ask(&format!("send {token} messi {}", long())), SENT);
    }
    client.send(format!("inbox {token}\r\n"));
    client.stream.get_ref().peek(&mut [0]).expect("the reply begins");
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&folder);
    assert_eq!(inbox(&server, &token).len(), 7);
}

#[test]
fn a_stop_confirms_what_a_living_client_has() {
    let (folder, server, token) = waiting(3, "");
    drop(server);
    folder.configure("");
    let server = Server::start(&folder);
    let mut client = server.connect();
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))).len(), 3);
    // It sits at its prompt and does not notice.
    assert_eq!(server.stop(), Some(0));
    assert!(client.is_over());
    let server = Server::start(&folder);
    assert_eq!(inbox(&server, &token), Vec::<String>::new());
}

#[test]
fn a_stop_waits_for_a_client_that_ends_as_well() {
    let (folder, server, token) = waiting(3, "");
    let mut client = server.connect();
    assert_eq!(texts(&client.ask(&format!("inbox {token}"))).len(), 3);
    let closing = thread::spawn(move || assert!(client.is_over()));
    assert_eq!(server.stop(), Some(0));
    closing.join().expect("it saw the end");
    let server = Server::start(&folder);
    assert_eq!(inbox(&server, &token), Vec::<String>::new());
}

#[test]
fn a_stop_ends_peers_that_never_pause() {
    let (folder, server, token) = waiting(0, "");
    let address = server.address;
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let many = format!("send {token} messi x\r\n").repeat(200);
            thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut reader = client.stream.get_ref().try_clone().expect("a handle can be copied");
                let reading = thread::spawn(move || {
                    let mut all = Vec::new();
                    // A reset is an end, too.
                    let _ = reader.read_to_end(&mut all);
                    String::from_utf8_lossy(&all).matches(SENT).count()
                });
                while client.stream.get_mut().write_all(many.as_bytes()).is_ok() {}
                reading.join().expect("it reads")
            })
        })
        .collect();
    let begun = Instant::now();
    while inbox(&server, &token).is_empty() {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(server.stop(), Some(0));
    let acknowledged: usize = busy.into_iter().map(|busy| busy.join().expect("it wrote")).sum();
    assert!(acknowledged > 0);
    drop(folder);
}
