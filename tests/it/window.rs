//! The window of `chatd client` gets wider or narrower: what stands above the prompt stays.

use crate::client::{chatd, server};
use crate::support::{Client, Folder, Server};
use crate::terminal::Window;

/// Messi, logged in, with three messages above the prompt, of which one is longer than a narrow window is wide.
fn with_messages(
    folder: &Folder,
    server: &Server,
    lineker: &mut (Client, String),
    columns: u16,
    joins: bool,
) -> Window {
    let mut window = Window::start(&chatd(folder, server.address, &["client"]), columns, joins);
    window.see("Command :");
    window.terminal.enter("auth messi surabaya");
    window.see("logged in");
    for text in MESSAGES {
        say(lineker, text);
        window.see(beginning(text));
    }
    window
}

const MESSAGES: [&str; 3] = ["satu", "dua dua dua dua dua dua dua dua dua dua dua dua", "tiga"];

fn say((client, token): &mut (Client, String), text: &str) {
    client.ask(&format!("send {token} messi  {text} "));
}

/// What of a message stands in one row in every window.
fn beginning(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

fn all_stand(window: &mut Window, sign: &str, texts: &[&str], what: &str) {
    let rows = window.see(sign);
    for text in texts {
        let row = format!("lineker: {}", beginning(text));
        assert!(rows.iter().any(|shown| shown.starts_with(&row)), "{what}: {row:?} in {rows:#?}");
    }
}

#[test]
fn widening_or_narrowing_the_window_wipes_no_message() {
    let (folder, server) = server();
    let mut lineker = server.login("lineker");
    for joins in [true, false] {
        for (from, to) in [(40, 100), (30, 120), (100, 40), (120, 30), (45, 90), (44, 46)] {
            let what = format!("from {from} to {to} columns, joins {joins}");
            let mut window = with_messages(&folder, &server, &mut lineker, from, joins);
            window.resize(to);
            // What is typed stands there when the client has seen the new width.
            window.terminal.type_in("X");
            all_stand(&mut window, "X", &MESSAGES, &what);
            say(&mut lineker, "empat");
            window.see("empat");
            all_stand(&mut window, "X", &[MESSAGES.as_slice(), &["empat"]].concat(), &what);
            // A line of several rows, and back.
            window.terminal.type_in(&format!("{}Y", "x".repeat(130)));
            window.see("Y");
            window.resize(from);
            window.terminal.type_in("Z");
            all_stand(&mut window, "Z", &[MESSAGES.as_slice(), &["empat"]].concat(), &what);
            // It ends with its session, so that the next one has all messages.
            window.terminal.type_in("\x15\x04\r");
            window.see("It has ended.");
        }
    }
}
