//! Files that people send: whole, charged for, kept apart from the server's disk, and gone when nobody can read them.

use base64ct::{Base64, Encoding};

use crate::database::tamper;
use crate::support::{EMPTY, Folder, SENT, Server};

const FILE_SENT: &str = "{\"status\": \"OK\", \"message\": \"File Sent\"}";

/// A photo of the largest size, as Python prints it.
fn photo(bytes: usize) -> String {
    let photo: Vec<u8> = (0..bytes).map(|place| (place * 31 % 251) as u8).collect();
    format!("b'{}'", Base64::encode_string(&photo))
}

fn content(reply: &str) -> String {
    let reply: serde_json::Value = serde_json::from_str(reply).expect("replies are JSON");
    reply["messages"]["messi"][0]["file_content"].as_str().expect("a file came").to_owned()
}

#[test]
fn a_photo_of_ten_mebibytes_comes_as_it_was_sent_also_after_kill_9_and_from_a_backup() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, m) = server.login("messi");
    let photo = photo(10 << 20);
    assert_eq!(messi.ask(&format!("sendfile {m} henderson foto.jpg {photo}")), FILE_SENT);
    server.kill();
    folder.done(&["db", "backup", "copy.db"], "");
    folder.done(&["db", "verify", "copy.db"], "");
    let server = Server::start(&folder);
    let (mut henderson, h) = server.login("henderson");
    assert!(content(&henderson.ask(&format!("inbox {h}"))) == photo, "another file came");
    assert_eq!(henderson.ask(&format!("inbox {h}")), EMPTY);
    let (mut messi, m) = server.login("messi");
    assert_eq!(messi.ask(&format!("send {m} henderson  halo ")), SENT);
    assert_eq!(server.stop(), Some(0));
    folder.done(&["db", "verify"], "");
    // One bit of it flips.
    tamper(&folder.database(), "UPDATE file_piece SET data = zeroblob(length(data)) WHERE place = 7");
    let output = folder.run(&["db", "verify"], "");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && complaint.contains("1 files are damaged: 1"), "{complaint}");
}

#[test]
fn a_file_over_its_limit_is_refused_and_a_text_is_no_longer_than_before() {
    let folder = Folder::new("[limits]\nfile_bytes = 100000\nline_bytes = 20000");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, m) = server.login("messi");
    let refused = "{\"status\": \"ERROR\", \"message\": \"a file may have 100000 bytes at the most\"}";
    assert_eq!(messi.ask(&format!("sendfile {m} henderson a {}", photo(100_000))), FILE_SENT);
    assert_eq!(messi.ask(&format!("sendfile {m} henderson a {}", photo(100_001))), refused);
    let too_long = "{\"status\": \"ERROR\", \"message\": \"the line is too long\"}";
    assert_eq!(messi.ask(&format!("sendfile {m} henderson a {}", photo(110_000))), too_long);
    assert_eq!(messi.ask(&format!("send {m} henderson {}", "x".repeat(30_000))), too_long);
    // A stranger's line is as short as any.
    let mut stranger = server.connect();
    let reply = stranger.ask(&format!("sendfile henderson a {}", photo(50_000)));
    assert!(reply.contains("Informasi tidak ditemukan"), "{reply}");
}

#[test]
fn files_count_for_the_inbox_and_for_what_the_sender_has_stored() {
    let folder = Folder::new("[limits]\ninbox_bytes = 100000\nstored_bytes = 120000");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, m) = server.login("messi");
    let full = "{\"status\": \"ERROR\", \"message\": \"the recipient's inbox is full\"}";
    assert_eq!(messi.ask(&format!("sendfile {m} henderson a {}", photo(40_000))), FILE_SENT);
    assert_eq!(messi.ask(&format!("sendfile {m} henderson b {}", photo(40_000))), full);
    assert_eq!(messi.ask(&format!("sendgroupfile {m} lineker,messi c {}", photo(30_000))), FILE_SENT);
    let reply = messi.ask(&format!("sendfile {m} lineker d {}", photo(40_000)));
    assert!(reply.contains("you have stored as much as you may"), "{reply}");
    let listed: serde_json::Value =
        serde_json::from_str(&folder.done(&["user", "list", "--json"], "")).expect("it is JSON");
    let stored = listed.as_array().expect("a list").iter().find(|user| user["username"] == "messi");
    assert_eq!(stored.expect("it is there")["stored_bytes"], 100_300);
    let (mut henderson, h) = server.login("henderson");
    assert_eq!(content(&henderson.ask(&format!("inbox {h}"))), photo(40_000));
    assert!(henderson.ask(&format!("ack {h}")).contains("Acknowledged"));
    drop((messi, henderson));
    assert_eq!(server.stop(), Some(0));
    folder.done(&["db", "verify"], "");
    // A start counts the same.
    let server = Server::start(&folder);
    let listed = folder.done(&["user", "list", "--json"], "");
    assert!(listed.contains("\"stored_bytes\": 100300"), "{listed}");
    drop(server);
}
