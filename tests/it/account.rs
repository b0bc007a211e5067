//! One's own account over the wire, and the list of people.

use crate::support::{Client, EMPTY, Folder, Server, Talker};

const CHANGED: &str = "{\"status\": \"OK\", \"message\": \"Password changed\"}";
const ENDED: &str = "{\"status\": \"OK\", \"message\": \"Session ended\"}";
const RENAMED: &str = "{\"status\": \"OK\", \"message\": \"Profile changed\"}";

fn error(words: &str) -> String {
    format!("{{\"status\": \"ERROR\", \"message\": \"{words}\"}}")
}

fn dead() -> String {
    error("Informasi tidak ditemukan")
}

fn server(settings: &str) -> (Folder, Server) {
    let folder = Folder::new(settings);
    folder.add_three();
    let server = Server::start(&folder);
    (folder, server)
}

fn auth(server: &Server, password: &str) -> String {
    server.connect().ask(&format!("auth messi {password}"))
}

/// What a list says under its key.
fn list(client: &mut Client, request: &str, key: &str) -> Vec<serde_json::Value> {
    let reply = client.ask(request);
    let mut reply: serde_json::Value = serde_json::from_str(&reply).expect("a reply is JSON");
    serde_json::from_value(reply[key].take()).unwrap_or_else(|_| panic!("{request}: {reply}"))
}

#[test]
fn a_new_password_ends_all_sessions_but_the_one_that_asks_and_survives_a_kill() {
    let (folder, server) = server("");
    let ((mut here, token), (mut there, other)) = (server.login("messi"), server.login("messi"));
    let (mut henderson, henderson_token) = server.login("henderson");
    assert_eq!(here.ask(&format!("passwd {token} wrong baru")), error("Password Salah"));
    assert_eq!(there.ask(&format!("inbox {other}")), EMPTY, "nothing was changed");
    for bad in ["", &"x".repeat(1025)] {
        let reply = here.ask(&format!("passwd {token} surabaya {bad}"));
        assert_eq!(reply, error("NEW: a password has 1 to 1024 bytes"), "{bad}");
    }
    let control = here.ask(&format!("passwd {token} surabaya a\u{1}b"));
    assert!(control.contains("NEW: a password has no spaces and no control characters"), "{control}");
    assert_eq!(here.ask(&format!("passwd {token} surabaya")), error("--Protocol Tidak Benar"));
    assert!(auth(&server, "surabaya").contains("OK"), "nothing was changed");

    assert_eq!(here.ask(&format!("passwd {token} surabaya baru")), CHANGED);
    assert_eq!(here.ask(&format!("inbox {token}")), EMPTY);
    assert_eq!(there.ask(&format!("inbox {other}")), dead());
    assert_eq!(henderson.ask(&format!("inbox {henderson_token}")), EMPTY, "it is another account's");
    server.kill();
    let server = Server::start(&folder);
    assert_eq!(auth(&server, "surabaya"), error("Password Salah"));
    assert!(auth(&server, "baru").contains("OK"));
    assert_eq!(server.connect().ask(&format!("inbox {other}")), dead());
    assert_eq!(server.connect().ask(&format!("inbox {token}")), EMPTY);
}

/// Who has found a token is not to find out the password with it.
#[test]
fn the_old_password_is_guessed_no_faster_than_at_a_login() {
    let (_folder, server) = server("");
    let (mut messi, token) = server.login("messi");
    let mut guesses = 0;
    let refused = loop {
        let reply = messi.ask(&format!("passwd {token} guess{guesses} baru"));
        if reply != error("Password Salah") {
            break reply;
        }
        guesses += 1;
        assert!(guesses < 100, "a hundred guesses were answered");
    };
    assert!(refused.contains("too many attempts, try again in"), "{refused}");
    assert_eq!(guesses, 5);
    assert!(auth(&server, "surabaya").contains("too many attempts"), "they are the same attempts");
    assert!(messi.ask(&format!("passwd {token} surabaya baru")).contains("too many attempts"));
    assert!(server.log().contains("password not changed: wrong password"), "{}", server.log());
}

#[test]
fn own_sessions_are_listed_and_ended_and_those_of_others_are_not() {
    let (_folder, server) = server("");
    let ((mut here, token), (mut there, other)) = (server.login("messi"), server.login("messi"));
    let (mut henderson, foreign) = server.login("henderson");
    let sessions = list(&mut here, &format!("sessions {token}"), "sessions");
    let current = |sessions: &[serde_json::Value]| -> Vec<bool> {
        sessions.iter().map(|session| session["current"] == true).collect()
    };
    assert_eq!(current(&sessions), [true, false], "{sessions:?}");
    assert_eq!(sessions[0]["address"], "127.0.0.1");
    assert!(!format!("{sessions:?}").contains(&token), "no token is told");
    let theirs = list(&mut henderson, &format!("sessions {foreign}"), "sessions")[0]["id"].clone();
    assert_eq!(here.ask(&format!("endsession {token} {theirs}")), error("you have no such session"));
    assert_eq!(here.ask(&format!("endsession {token} x")), error("ID must be a whole number"));
    assert_eq!(here.ask(&format!("endsession {token}")), error("--Protocol Tidak Benar"));
    assert_eq!(henderson.ask(&format!("inbox {foreign}")), EMPTY, "it lives");

    there.send(format!("wait {other} 60\r\n"));
    assert_eq!(here.ask(&format!("endsession {token} {}", sessions[1]["id"])), ENDED);
    assert_eq!(there.receive(), dead(), "who waits is told at once");
    assert_eq!(here.ask(&format!("endsession {token} {}", sessions[1]["id"])), error("you have no such session"));
    assert_eq!(here.ask(&format!("endsession {token} {}", sessions[0]["id"])), ENDED, "one's own, too");
    assert_eq!(here.ask(&format!("inbox {token}")), dead());
    assert_eq!(here.ask(&format!("sessions {token}")), dead());
}

#[test]
fn a_display_name_follows_its_rules_and_is_shown_from_the_next_message_on() {
    let (folder, server) = server("[server]\ntext_listen = \"127.0.0.1:0\"");
    let ((mut messi, token), (mut henderson, reader)) = (server.login("messi"), server.login("henderson"));
    assert_eq!(messi.ask(&format!("profile {token}   Leo Messi  10 ")), RENAMED);
    assert!(messi.ask(&format!("send {token} henderson  halo ")).contains("OK"));
    assert!(henderson.ask(&format!("inbox {reader}")).contains("\"msg_from\": \"Leo Messi  10\""));
    for (bad, why) in [
        (" ", "NAME: it has 1 to 128 characters, not all of them blanks"),
        (&*"x".repeat(129), "NAME: it has 1 to 128 characters, not all of them blanks"),
        (
            "a\u{202e}b",
            "NAME: it has no line ends, no control characters, and nothing that turns the direction of writing",
        ),
    ] {
        assert_eq!(messi.ask(&format!("profile {token} {bad}")), error(why), "{bad}");
    }
    assert_eq!(messi.ask(&format!("profile {token}")), error("--Protocol Tidak Benar"));
    let mut talker = Talker::connect(&server);
    assert!(talker.ask("auth messi surabaya").contains("logged in"));
    assert_eq!(talker.ask("profile"), "-Maaf, command tidak benar");
    assert_eq!(talker.ask("profile Lionel Andrés Messi"), "Profile changed");
    let shown = list(&mut henderson, &format!("people {reader} mes"), "people");
    assert_eq!(shown[0]["name"], "Lionel Andrés Messi");
    drop((messi, henderson, talker));
    assert_eq!(server.stop(), Some(0));
    let listed = folder.done(&["user", "list"], "");
    assert!(listed.contains("messi: Lionel Andrés Messi, Argentina"), "{listed}");
}

#[test]
fn people_are_found_by_the_beginning_of_their_names_with_who_is_connected() {
    let (folder, server) = server("");
    folder.add_user("Messina", "M", "");
    let (mut messi, token) = server.login("messi");
    let henderson = server.login("henderson");
    // A stranger's connection is nobody's.
    let _stranger = server.connect();
    let found = |client: &mut Client, prefix: &str| -> Vec<(String, bool)> {
        let people = list(client, &format!("people {token}{prefix}"), "people");
        people
            .iter()
            .map(|person| (person["user"].as_str().expect("a name").to_owned(), person["online"] == true))
            .collect()
    };
    let one = |name: &str, online| (name.to_owned(), online);
    let all = [one("henderson", true), one("lineker", false), one("messi", true), one("Messina", false)];
    assert_eq!(found(&mut messi, ""), all);
    assert_eq!(found(&mut messi, " MESS"), all[2..]);
    assert_eq!(found(&mut messi, " essi"), []);
    assert_eq!(found(&mut messi, " %"), []);
    folder.done(&["user", "disable", "lineker"], "");
    assert_eq!(found(&mut messi, " line"), [], "who cannot be written to by anybody is not shown");
    drop(henderson);
    while found(&mut messi, " hend") != [one("henderson", false)] {
        std::thread::yield_now();
    }
    assert!(messi.ask(&format!("show {token}")).contains("henderson"), "the session lives still");
    assert_eq!(server.connect().ask("people"), error("--Protocol Tidak Benar"));
    assert_eq!(server.connect().ask("people 00000000-0000-4000-8000-000000000000"), dead());
}

#[test]
fn the_list_of_people_can_be_off_and_is_found_then_by_no_way() {
    let (folder, server) = server("[protocol]\ndirectory = false");
    let (mut messi, token) = server.login("messi");
    let off = error("the list of people is off on this server");
    for prefix in ["", " h", " henderson"] {
        assert_eq!(messi.ask(&format!("people {token}{prefix}")), off);
    }
    assert_eq!(server.connect().ask("people 00000000-0000-4000-8000-000000000000"), dead());
    drop((folder, server));
}

#[test]
fn an_administrator_changes_what_others_are_shown_of_an_account_beside_a_server_and_without_one() {
    let (folder, server) = server("");
    let (mut messi, token) = server.login("messi");
    folder.done(&["user", "set", "messi", "--name", "El Diez", "--country", ""], "");
    let people = list(&mut messi, &format!("people {token} messi"), "people");
    assert_eq!(people[0]["name"], "El Diez");
    assert_eq!(messi.ask(&format!("inbox {token}")), EMPTY, "the session goes on");
    for (arguments, why) in [
        (&["user", "set", "messi"][..], "--name"),
        (&["user", "set", "messi", "--name", " "], "--name"),
        (&["user", "set", "messi", "--country", "a\nb"], "--country"),
        (&["user", "set", "nobody", "--name", "x"], "there is no such account"),
    ] {
        let output = folder.run(arguments, "");
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(why), "{arguments:?}: {error}");
    }
    drop(messi);
    assert_eq!(server.stop(), Some(0));
    assert!(folder.done(&["user", "list"], "").contains("messi: El Diez\n"));
    folder.done(&["user", "set", "messi", "--country", "Argentina"], "");
    assert!(folder.done(&["user", "list"], "").contains("messi: El Diez, Argentina\n"));
}
