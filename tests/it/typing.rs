//! `chatd client` on a terminal: whatever is typed is done, or said not to be. In each of these the keys come faster
//! than the client asks for them.

use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::client::{chatd, on_terminal, server};
use crate::support::texts;
use crate::terminal::Terminal;

/// How keys come to the terminal: a write for all of them, for each line, for each character.
#[derive(Clone, Copy, Debug)]
enum Pace {
    AtOnce,
    ByLine { pause_ms: u64 },
    ByCharacter,
}

const PACES: [Pace; 6] = [
    Pace::AtOnce,
    Pace::ByLine { pause_ms: 0 },
    Pace::ByLine { pause_ms: 1 },
    Pace::ByLine { pause_ms: 2 },
    Pace::ByLine { pause_ms: 3 },
    Pace::ByCharacter,
];

impl Pace {
    fn type_in(self, terminal: &mut Terminal, lines: &[&str]) {
        let keys = lines.iter().map(|line| format!("{line}\r"));
        match self {
            Pace::AtOnce => terminal.type_in(&keys.collect::<String>()),
            Pace::ByLine { pause_ms } => {
                for line in keys {
                    terminal.type_in(&line);
                    // It is the fault's own pace, and nothing is waited for.
                    thread::sleep(Duration::from_millis(pause_ms));
                }
            }
            Pace::ByCharacter => {
                for key in keys.collect::<String>().chars() {
                    terminal.type_in(&key.to_string());
                }
            }
        }
    }
}

#[test]
fn lines_that_arrive_together_are_all_carried_out() {
    let (folder, server) = server();
    let (mut henderson, token) = server.login("henderson");
    let mut messi = on_terminal(&folder, server.address, "messi");
    for pace in PACES {
        for _ in 0..3 {
            pace.type_in(&mut messi, &["send henderson satu", "send henderson dua", "send henderson tiga"]);
            for _ in 0..3 {
                messi.see("message sent to henderson");
            }
            messi.see("Command ");
            assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), ["satu", "dua", "tiga"], "{pace:?}");
        }
    }
}

#[test]
fn a_password_typed_ahead_is_neither_run_nor_shown() {
    let (folder, server) = server();
    let (mut henderson, token) = server.login("henderson");
    for pace in PACES {
        let mut messi = Terminal::start(&chatd(&folder, server.address, &["client"]));
        messi.see("Command :");
        pace.type_in(&mut messi, &["auth messi", "surabaya", "send henderson halo"]);
        messi.see("username messi logged in, token ");
        messi.see("message sent to henderson");
        let all = messi.all();
        assert!(!all.contains("surabaya") && !all.contains("*Maaf"), "{pace:?}: {all:?}");
        assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), ["halo"], "{pace:?}");
    }
}

#[test]
fn what_is_typed_while_there_is_no_answer_yet_is_carried_out_afterwards() {
    let (folder, server) = server();
    let (mut henderson, token) = server.login("henderson");
    for pace in PACES {
        let mut messi = Terminal::start(&chatd(&folder, server.address, &["client"]));
        messi.see("Command :");
        server.freeze();
        messi.enter("show messi");
        messi.enter("auth lineker surabaya");
        messi.see("(no answer yet)");
        pace.type_in(&mut messi, &["auth messi", "surabaya", "send henderson halo"]);
        kill(server.pid(), Signal::SIGCONT).expect("it is there");
        messi.see("username lineker logged in, token ");
        messi.see("username messi logged in, token ");
        messi.see("message sent to henderson");
        let all = messi.all();
        assert_eq!(all.matches("surabaya").count(), 1, "{pace:?}: {all:?}");
        assert!(!all.contains("*Maaf"), "{pace:?}: {all:?}");
        assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), ["halo"], "{pace:?}");
    }
}

#[test]
fn a_paste_in_brackets_is_carried_out_line_by_line() {
    let (folder, server) = server();
    let (mut henderson, token) = server.login("henderson");
    let mut messi = Terminal::start(&chatd(&folder, server.address, &["client"]));
    messi.see("Command :");
    messi.type_in("\x1b[200~auth messi\rsurabaya\rsend henderson satu\rsend henderson dua\r\x1b[201~");
    messi.see("send henderson dua");
    messi.enter("");
    messi.see("username messi logged in, token ");
    messi.see("message sent to henderson");
    messi.see("message sent to henderson");
    messi.type_in("\x1b[200~auth messi\r\x1b[201~\r");
    messi.see("Password: ");
    messi.enter("surabaya");
    messi.see("username messi logged in, token ");
    assert!(!messi.all().contains("*Maaf"), "{:?}", messi.all());
    assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), ["satu", "dua"]);
}

#[test]
fn what_is_typed_behind_ctrl_c_and_ctrl_d_is_not_lost() {
    let (folder, server) = server();
    let (mut henderson, token) = server.login("henderson");
    let mut messi = on_terminal(&folder, server.address, "messi");
    messi.type_in("send henderson satu\x03send henderson dua\r");
    messi.see("message sent to henderson");
    messi.see("Command ");
    assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), ["dua"]);
    messi.type_in("auth messi\r\x03send henderson tiga\r");
    messi.see("message sent to henderson");
    assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), ["tiga"]);
    messi.type_in("\x04send henderson empat\rn\r");
    messi.see("Not carried out, because this is the end: send henderson empat");
    messi.see("It stays open, for whoever has its token.");
    assert_eq!(messi.end(), Some(0));
    assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), Vec::<String>::new());
}

#[test]
fn what_is_typed_behind_the_end_is_said_not_to_be_carried_out() {
    let (folder, server) = server();
    let not_done = "What was typed behind the end was not carried out.";
    for (keys, is_said) in [
        ("exit\ry\rsend messi halo\r", true),
        ("exit\ry\rsend messi ha", true),
        ("\x04y\r\rsurabaya\r\x04", true),
        ("exit\ry\r", false),
    ] {
        let mut messi = on_terminal(&folder, server.address, "messi");
        messi.type_in(keys);
        messi.see("It has ended.");
        if is_said {
            messi.see(not_done);
        }
        let all = messi.all_to_its_end();
        assert_eq!(all.contains(not_done), is_said, "{keys:?}: {all:?}");
        assert!(!all.contains("surabaya"), "{all:?}");
    }
}

#[test]
fn a_password_is_not_shown_by_the_search_in_what_was_typed_before() {
    let (folder, server) = server();
    let mut messi = Terminal::start(&chatd(&folder, server.address, &["client"]));
    messi.see("Command :");
    messi.type_in("auth messi\r\x12surabaya\x07");
    messi.see("Password: ");
    messi.enter("surabaya");
    messi.see("logged in, token ");
    assert!(!messi.all().contains("su"), "{:?}", messi.all());
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_shows_no_password() {
    let (folder, server) = server();
    let mut command = chatd(&folder, server.address, &["client"]);
    command.env("TERM", "dumb");
    let mut messi = Terminal::start(&command);
    messi.see("Command :");
    messi.enter("auth messi");
    messi.see("Password: ");
    messi.is_mute();
    messi.enter("surabaya");
    messi.see("username messi logged in, token ");
    assert!(!messi.all().contains("surabaya"), "{:?}", messi.all());
    messi.see("Command ");
    // It shows by itself what is typed ahead.
    messi.type_in("auth messi\rsurabaya\rsend messi halo\r");
    messi.see("username messi logged in, token ");
    messi.see("message sent to messi");
    assert!(!messi.all().contains("*Maaf"), "{:?}", messi.all());
}

#[test]
fn at_its_end_the_client_offers_to_keep_or_end_its_sessions() {
    let (folder, server) = server();
    let open = || folder.done(&["session", "list"], "").lines().count();
    for (leave, answer, said, left) in [
        ("exit\r", "\r", "It has ended.", 0),
        ("quit\r", "yes\r", "It has ended.", 0),
        ("\x04", "n\r", "It stays open", 1),
        ("\x04", "\x04", "It stays open", 2),
        ("exit\r", "\x03", "It stays open", 3),
    ] {
        let mut messi = on_terminal(&folder, server.address, "messi");
        messi.type_in(leave);
        messi.see("End the session of messi? [Y/n] ");
        messi.type_in(answer);
        messi.see(said);
        assert_eq!(messi.end(), Some(0));
        assert_eq!(open(), left, "{leave:?} {answer:?}");
    }
    let mut both = on_terminal(&folder, server.address, "messi");
    both.enter("auth henderson surabaya");
    both.see("username henderson logged in");
    both.enter("exit");
    both.see("End the sessions of messi, henderson? [Y/n] ");
    both.enter("y");
    assert_eq!(both.end(), Some(0));
    assert_eq!(open(), 3);
    let mut out = on_terminal(&folder, server.address, "messi");
    out.enter("logout");
    out.see("Logout berhasil dilakukan");
    out.enter("exit");
    assert!(!out.all().contains("session"), "{:?}", out.all());
    assert_eq!(out.end(), Some(0));
}

#[test]
fn the_terminal_gets_its_modes_back_whatever_ends_or_stops_the_client() {
    let (folder, server) = server();
    let client = || on_terminal(&folder, server.address, "messi");
    let mut left = client();
    assert!(!left.is_own());
    left.type_in("\x04\r");
    left.see("It has ended.");
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        let killed = client();
        killed.signal(signal);
        assert!(killed.ends_with_its_own_modes(), "{signal}");
    }
    let mut stopped = client();
    stopped.type_in("send messi ha\x1a");
    stopped.is_stopped();
    assert!(stopped.is_own());
    stopped.see("\x1b[?2004l");
    stopped.signal(Signal::SIGCONT);
    stopped.see("\x1b[?2004h");
    stopped.enter("lo");
    stopped.see("messi: halo\r\n");
    assert!(!stopped.is_own());
    // Ctrl-C while the client waits for an answer ends it.
    server.freeze();
    stopped.enter("show");
    stopped.see("(no answer yet)");
    stopped.type_in("\x03");
    assert!(stopped.ends_with_its_own_modes());
    kill(server.pid(), Signal::SIGCONT).expect("it is there");
}
