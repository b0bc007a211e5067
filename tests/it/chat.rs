//! `chatd chat`: the whole screen, on a pseudo terminal. Two of it talk while the server is killed; longer:
//! `CHATD_TALK=1000 CHATD_TALK_KILLS=10 cargo test --release --test it chat::two -- --nocapture`

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{chatd, server};
use crate::support::{Client, Folder, PATIENCE, Server, texts};
use crate::terminal::Window;

/// Somebody who has logged in with `chatd login`, a folder of state for each.
fn command(folder: &Folder, server: &Server, name: &str) -> Command {
    command_at(folder, server.address, name)
}

fn command_at(folder: &Folder, address: SocketAddr, name: &str) -> Command {
    let state = folder.path().join(name);
    let mut login = chatd(folder, address, &["login", name]);
    login.env("XDG_STATE_HOME", &state).env("CHATD_PASSWORD", "surabaya");
    assert!(login.status().expect("chatd starts").success());
    let mut command = chatd(folder, address, &["chat"]);
    command.env("XDG_STATE_HOME", &state).env("NO_COLOR", "1");
    command
}

fn again(folder: &Folder, address: impl std::fmt::Display) -> Server {
    Server::start_with(folder, folder.command(&["serve", "--set", &format!("server.listen={address}")]))
}

/// The texts of messi's messages to henderson that the server has, in order.
fn sent(server: &Server) -> Vec<String> {
    let (mut henderson, token) = server.login("henderson");
    let inbox = henderson.ask(&format!("inbox {token}"));
    texts(&inbox)
}

/// Sends `satu`, and types `dua` and `tiga` when the server is away.
fn type_while_away(messi: &mut Window, server: Server) {
    messi.see("messi at ");
    messi.terminal.type_in("/to henderson\rsatu\r");
    messi.see("✓");
    server.kill();
    messi.see("not connected");
    messi.terminal.type_in("dua\rtiga\r");
    messi.see("2 messages wait");
}

fn say((client, token): &mut (Client, String), to: &str, text: &str) {
    client.ask(&format!("send {token} {to}  {text} "));
}

#[test]
fn lines_typed_at_once_are_sent_once_each_and_in_order() {
    let (folder, server) = server();
    for columns in [40, 80, 200] {
        let mut messi = Window::start(&command(&folder, &server, "messi"), columns, false);
        messi.see("messi at ");
        messi.terminal.type_in("/to henderson\rsatu\rdua\r\x1b[200~tiga\rempat\x1b[201~\r");
        messi.see("empat");
        let rows = messi.see("✓");
        assert!(rows.iter().any(|row| row.contains("satu")), "{columns}: {rows:#?}");
        messi.terminal.type_in("X");
        messi.see("> X");
        messi.see_no_more(" message");
        messi.terminal.type_in("\x15\x03");
        assert_eq!(messi.terminal.end(), Some(0));
        assert_eq!(sent(&server), ["satu", "dua", "tiga\nempat"], "{columns}");
    }
}

#[test]
fn what_is_typed_while_the_server_is_away_is_sent_once() {
    let (folder, server) = server();
    let address = server.address;
    let mut messi = Window::start(&command(&folder, &server, "messi"), 80, false);
    type_while_away(&mut messi, server);
    let server = again(&folder, address);
    let rows = messi.see("messi at ");
    assert!(rows.iter().any(|row| row.contains("tiga")), "{rows:#?}");
    let begun = Instant::now();
    let mut all = Vec::new();
    while all.len() < 3 {
        all.extend(sent(&server));
        assert!(begun.elapsed() < PATIENCE, "{all:?}");
    }
    assert_eq!(all, ["satu", "dua", "tiga"]);
}

#[test]
fn what_came_while_the_server_could_not_be_reached_is_shown() {
    let (folder, server) = server();
    let address = server.address;
    let mut lineker = server.login("lineker");
    say(&mut lineker, "messi", "satu");
    let mut messi = Window::start(&command(&folder, &server, "messi"), 80, false);
    messi.terminal.type_in("/to lineker\r");
    messi.see("satu");
    server.kill();
    messi.see("not connected");
    // At another address.
    let elsewhere = Server::start(&folder);
    say(&mut elsewhere.login("lineker"), "messi", "dua");
    elsewhere.kill();
    let _server = again(&folder, address);
    messi.see("dua");
}

#[test]
fn messages_come_by_themselves_with_other_peoples_controls_spelled_out() {
    let (folder, server) = server();
    let mut lineker = server.login("lineker");
    say(&mut lineker, "messi", "pagi");
    let mut messi = Window::start(&command(&folder, &server, "messi"), 80, false);
    messi.see("(1)");
    messi.terminal.type_in("/to li\t\r");
    messi.see(" new ");
    messi.see("lineker  pagi");
    say(&mut lineker, "messi", "\x1b[2J\u{202e}你好 😀");
    messi.see("\\x1b[2J\\u202e你好 😀");
    messi.terminal.type_in("?");
    messi.see("Alt-Enter");
    messi.terminal.type_in("\x15/nowhere\r");
    messi.see("there is /drop");
    messi.terminal.type_in("\x15\x06pagi\r");
    messi.see("find: pagi");
}

/// What was typed is on the disk before it is sent.
#[test]
fn what_is_typed_is_sent_once_although_the_program_is_killed() {
    let (folder, server) = server();
    let address = server.address;
    let command = command(&folder, &server, "messi");
    let mut messi = Window::start(&command, 80, false);
    type_while_away(&mut messi, server);
    messi.terminal.kill();
    // Killed again, before and after the server is back: each message has its key.
    let mut messi = Window::start(&command, 80, false);
    messi.see("2 messages wait");
    messi.terminal.kill();
    let server = again(&folder, address);
    for _ in 0..2 {
        let mut messi = Window::start(&command, 80, false);
        messi.terminal.type_in("/to henderson\r");
        messi.see("tiga");
        messi.see_no_more("2 messages wait");
        messi.terminal.kill();
    }
    let mut messi = Window::start(&command, 80, false);
    messi.see("messi at ");
    messi.terminal.type_in("\x03");
    assert_eq!(messi.terminal.end(), Some(0));
    let begun = Instant::now();
    let mut all = Vec::new();
    while all.len() < 3 {
        all.extend(sent(&server));
        assert!(begun.elapsed() < PATIENCE, "{all:?}");
    }
    assert_eq!(
        (all.as_slice(), sent(&server).as_slice()),
        (["satu", "dua", "tiga"].map(String::from).as_slice(), &[][..])
    );
}

/// What was typed and not sent is on the disk before it is on the screen.
#[test]
fn what_was_being_typed_is_there_again_although_the_program_is_killed() {
    let (folder, server) = server();
    let command = command(&folder, &server, "messi");
    let start = |seen: &str| {
        let mut messi = Window::start(&command, 80, false);
        messi.see("messi at ");
        messi.see(seen);
        messi
    };
    let mut messi = start("");
    messi.terminal.type_in("/to henderson\r//setengah\x1b\rkalimat 😀");
    messi.see("  kalimat 😀");
    messi.terminal.kill();
    let drafts = drafts(&folder);
    assert_eq!(drafts.len(), 1, "{drafts:?}");
    let mode = fs::metadata(&drafts[0]).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut messi = start("draft");
    messi.terminal.type_in("/to henderson\r");
    messi.see("> //setengah");
    messi.see("  kalimat 😀");
    messi.terminal.type_in("!\r");
    messi.see("✓");
    messi.terminal.kill();
    let mut messi = start("henderson");
    messi.see_no_more("draft");
    messi.terminal.type_in("/to henderson\r");
    messi.see("kalimat 😀!");
    messi.see_no_more("> //setengah");
    // Who leaves in order finds it again, too.
    messi.terminal.type_in("besok");
    messi.see("> besok");
    messi.terminal.type_in("\x03");
    assert_eq!(messi.terminal.end(), Some(0));
    let mut messi = start("draft");
    messi.terminal.type_in("/to henderson\r");
    messi.see("> besok");
    messi.terminal.type_in("\x15");
    messi.see_no_more("> besok");
    assert_eq!(self::drafts(&folder), Vec::<PathBuf>::new());
    assert_eq!(sent(&server), ["/setengah\nkalimat 😀!"]);
}

/// The files of drafts that messi's programs have.
fn drafts(folder: &Folder) -> Vec<PathBuf> {
    let sessions = folder.path().join("messi/chatd/sessions");
    let servers = fs::read_dir(sessions).expect("it is there").map(|entry| entry.expect("it is listed").path());
    let files = servers.flat_map(|server| fs::read_dir(server).expect("it is there"));
    let files = files.map(|entry| entry.expect("it is listed").path());
    files.filter(|path| path.to_string_lossy().contains("drafts")).collect()
}

/// This terminal draws a family of emoji wider than others do.
#[test]
fn nothing_is_left_of_an_emoji_that_the_terminal_draws_wider_than_expected() {
    let (folder, server) = server();
    let mut lineker = server.login("lineker");
    let mut messi = Window::start(&command(&folder, &server, "messi"), 80, false);
    messi.see("messi at ");
    say(&mut lineker, "messi", "keluarga 👩‍👩‍👧");
    messi.terminal.type_in("/to lineker\r");
    messi.see("keluarga 👩");
    for number in 0..60 {
        say(&mut lineker, "messi", &format!("{number}."));
    }
    messi.see("59.");
    messi.see_no_more("keluarga");
    let rows = messi.rows();
    assert!(!rows.iter().any(|row| row.contains('👩') || row.contains('👧')), "{rows:#?}");
}

/// A way to a server on which replies to `sendkey` are lost, and the connection with each.
fn lossy(server: SocketAddr, losses: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let left = Arc::new(AtomicUsize::new(losses));
    let shared = left.clone();
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(server).expect("the server listens");
            let copy = |stream: &TcpStream| stream.try_clone().expect("a handle can be copied");
            let (mut from_near, mut to_far) = (copy(&near), copy(&far));
            thread::spawn(move || {
                let _ = io::copy(&mut from_near, &mut to_far);
                let _ = to_far.shutdown(Shutdown::Write);
            });
            let left = shared.clone();
            thread::spawn(move || pass_on(far, near, &left));
        }
    });
    (address, left)
}

fn pass_on(mut far: TcpStream, mut near: TcpStream, left: &AtomicUsize) {
    let mut piece = [0; 1 << 16];
    while let Ok(read @ 1..) = far.read(&mut piece) {
        let stored = piece[..read].starts_with(b"{\"status\": \"OK\", \"id\": ");
        if stored && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            let _ = near.shutdown(Shutdown::Both);
            let _ = far.shutdown(Shutdown::Both);
            return;
        }
        if near.write_all(&piece[..read]).is_err() {
            return;
        }
    }
    let _ = near.shutdown(Shutdown::Write);
}

#[test]
fn a_message_whose_reply_is_lost_again_and_again_is_stored_once() {
    let (folder, server) = server();
    let (address, left) = lossy(server.address, 5);
    let mut messi = Window::start(&command_at(&folder, address, "messi"), 80, false);
    messi.see("messi at ");
    messi.terminal.type_in("/to henderson\rsatu\rdua\rtiga\r");
    let begun = Instant::now();
    while messi.rows().iter().filter(|row| row.contains("✓")).count() < 3 {
        assert!(begun.elapsed() < PATIENCE, "{:#?}", messi.rows());
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(left.load(Ordering::SeqCst), 0, "the replies were lost");
    assert_eq!(sent(&server), ["satu", "dua", "tiga"]);
}

/// How many messages each of the two types, and how often the server is killed meanwhile.
fn talk() -> (usize, usize) {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    (number("CHATD_TALK", 40), number("CHATD_TALK_KILLS", 3))
}

/// The texts of a conversation on a screen, from above.
fn shown(rows: &[String]) -> Vec<String> {
    let words = rows.iter().flat_map(|row| row.split_whitespace());
    let is_text = |word: &&str| {
        word.split_once('-').is_some_and(|(by, number)| ["m", "h"].contains(&by) && number.parse::<u32>().is_ok())
    };
    words.filter(is_text).map(str::to_owned).collect()
}

/// All texts of the open conversation, from its beginning, a screen after the other.
fn read_through(window: &mut Window) -> Vec<String> {
    const PAST: &str = "not at the end";
    let (mut rows, begun) = (window.drawn_rows(), Instant::now());
    // What fits on one screen stays where it is, so this is typed again when more has come. It may also wait behind
    // much else that was typed.
    while shown(&rows).len() > 40 && !rows.iter().any(|row| row.contains(PAST)) {
        if begun.elapsed() > Duration::from_secs(10) {
            return shown(&rows);
        }
        window.terminal.type_in("\x1b[1;5H");
        thread::sleep(Duration::from_millis(50));
        rows = window.drawn_rows();
    }
    let mut all = shown(&rows);
    while rows.iter().any(|row| row.contains(PAST)) {
        let before = shown(&rows);
        window.terminal.type_in("\x1b[6~");
        let begun = Instant::now();
        while shown(&rows) == before {
            assert!(begun.elapsed() < PATIENCE, "the screen stays as it is: {rows:#?}");
            thread::sleep(Duration::from_millis(1));
            rows = window.drawn_rows();
        }
        // The last row of a screen is the first of the next; at the end there are more.
        let next = shown(&rows);
        let again = (1..=next.len()).find(|place| all.ends_with(&next[..*place])).unwrap_or(0);
        all.extend_from_slice(&next[again..]);
    }
    all
}

#[test]
fn two_who_talk_while_the_server_is_killed_have_every_message_once_and_in_order() {
    let (count, kills) = talk();
    let (folder, first) = server();
    let address = first.address;
    let start = |name: &str, other: &str, server: &Server| {
        let mut window = Window::start(&command(&folder, server, name), 60, false);
        window.see(&format!("{name} at "));
        window.terminal.type_in(&format!("/to {other}\r"));
        window
    };
    let (mut messi, mut henderson) = (start("messi", "henderson", &first), start("henderson", "messi", &first));
    let mut server = first;
    for number in 0..count {
        messi.terminal.type_in(&format!("m-{number}\r"));
        henderson.terminal.type_in(&format!("h-{number}\r"));
        thread::sleep(Duration::from_millis(fastrand::u64(..20)));
        // Spread over all of the talk, wherever the two are by then.
        if (number + 1) * (kills + 1) / count > number * (kills + 1) / count && number + 1 < count {
            server.kill();
            server = again(&folder, address);
        }
    }
    let begun = Instant::now();
    let all = loop {
        let [of_messi, of_henderson] = [&mut messi, &mut henderson].map(read_through);
        if of_messi.len() >= 2 * count && of_messi == of_henderson {
            break of_messi;
        }
        let end = PATIENCE + Duration::from_millis(500 * count as u64);
        assert!(begun.elapsed() < end, "messi: {of_messi:?}\nhenderson: {of_henderson:?}");
        thread::sleep(Duration::from_millis(200));
    };
    for by in ["m", "h"] {
        let by_one: Vec<&String> = all.iter().filter(|text| text.starts_with(by)).collect();
        let wanted: Vec<String> = (0..count).map(|number| format!("{by}-{number}")).collect();
        assert_eq!(by_one, wanted.iter().collect::<Vec<_>>());
    }
    println!("{} messages of two, {kills} kills: each is on both screens, once and in order", all.len());
}
