//! `group`, and `send`, `inbox`, `history` and `status` with groups, on both ports.

use crate::support::{Folder, SENT, Server};

const DONE: &str = "{\"status\": \"OK\", \"message\": \"Done\"}";

fn error(words: &str) -> String {
    format!("{{\"status\": \"ERROR\", \"message\": \"{words}\"}}")
}

#[test]
fn a_group_is_made_joined_written_to_and_left() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let [(mut messi, m), (mut henderson, h), (mut lineker, l)] =
        ["messi", "henderson", "lineker"].map(|name| server.login(name));
    assert_eq!(messi.ask(&format!("group {m} create Team")), DONE);
    for (name, words) in [
        ("team", "Group sudah ada"),
        ("Messi", "Group sudah ada"),
        ("a,b", "a group's name follows the rules for user names and has no comma"),
        (&*m, "a group's name follows the rules for user names and has no comma"),
    ] {
        assert_eq!(messi.ask(&format!("group {m} create {name}")), error(words), "{name}");
    }
    assert_eq!(henderson.ask(&format!("group {h} join team")), error("Group belum ada"));
    assert_eq!(henderson.ask(&format!("group {h} join Team")), DONE);
    assert_eq!(henderson.ask(&format!("group {h} join Team")), error("User sudah join"));
    assert_eq!(henderson.ask(&format!("group {h} dance Team")), error("--Protocol Tidak Benar"));
    assert_eq!(henderson.ask(&format!("group {h} list")), "{\"status\": \"OK\", \"groups\": [\"Team\"]}");
    assert_eq!(lineker.ask(&format!("group {l} members Team")), error("Bukan member group"));
    assert_eq!(lineker.ask(&format!("send {l} Team hello")), error("Bukan member group"));
    assert_eq!(messi.ask(&format!("group {m} invite Team lineker")), DONE);
    assert_eq!(messi.ask(&format!("group {m} invite Team nobody")), error("User Tidak Ditemukan"));
    let members = "{\"status\": \"OK\", \"members\": [\"messi\", \"henderson\", \"lineker\"]}";
    assert_eq!(lineker.ask(&format!("group {l} members Team")), members);

    // One text for all, once for each; who writes does not get it.
    assert_eq!(messi.ask(&format!("send {m} Team  hello ")), SENT);
    assert_eq!(messi.ask(&format!("send {m} henderson  alone ")), SENT);
    let entry = |to: &str, text: &str| {
        format!("{{\"msg_from\": \"Lionel Messi\", \"msg_to\": \"{to}\", \"msg\": \"  {text} \\r\\n\"}}")
    };
    let inbox =
        |entries: &[String]| format!("{{\"status\": \"OK\", \"messages\": {{\"messi\": [{}]}}}}", entries.join(", "));
    let own = entry("Jordan Henderson", "alone");
    assert_eq!(henderson.ask(&format!("inbox {h}")), inbox(&[entry("Team", "hello"), own]));
    assert_eq!(lineker.ask(&format!("inbox {l}")), inbox(&[entry("Team", "hello")]));
    assert!(!messi.ask(&format!("inbox {m}")).contains("hello"));
    assert_eq!(henderson.ask(&format!("ack {h}")), "{\"status\": \"OK\", \"message\": \"Acknowledged\"}");
    let status = messi.ask(&format!("status {m} Team"));
    assert!(status.contains("\"read_by\": 1, \"of\": 2}]"), "{status}");
    let history = lineker.ask(&format!("history {l} Team"));
    assert!(history.contains("\"from\": \"messi\", \"to\": \"Team\"") && history.contains("hello"), "{history}");

    // Only the owner takes others out; when he leaves, the next has the group.
    assert_eq!(
        lineker.ask(&format!("group {l} remove Team henderson")),
        error("only the owner of the group may do that")
    );
    assert_eq!(messi.ask(&format!("group {m} leave Team")), DONE);
    assert_eq!(messi.ask(&format!("group {m} leave Team")), error("Bukan member group"));
    assert_eq!(lineker.ask(&format!("group {l} delete Team")), error("only the owner of the group may do that"));
    assert_eq!(henderson.ask(&format!("group {h} remove Team lineker")), DONE);
    assert_eq!(henderson.ask(&format!("group {h} delete Team")), DONE);
    assert_eq!(henderson.ask(&format!("send {h} Team x")), error("User Tidak Ditemukan"));
    drop((messi, henderson, lineker));
    assert_eq!(server.stop(), Some(0));
    folder.done(&["db", "verify"], "");
}

#[test]
fn the_sender_hears_how_many_members_have_no_room_and_limits_hold() {
    let folder = Folder::new("[limits]\ninbox_messages = 1\ngroups_per_user = 1\ngroup_members = 2");
    folder.add_three();
    let server = Server::start(&folder);
    let [(mut messi, m), (mut henderson, h), (mut lineker, l)] =
        ["messi", "henderson", "lineker"].map(|name| server.login(name));
    assert_eq!(messi.ask(&format!("group {m} create team")), DONE);
    let too_many = error("the account is in as many groups as it may be");
    assert_eq!(messi.ask(&format!("group {m} create other")), too_many);
    assert_eq!(henderson.ask(&format!("group {h} join team")), DONE);
    assert_eq!(lineker.ask(&format!("group {l} join team")), error("the group has as many members as it may have"));
    assert_eq!(messi.ask(&format!("send {m} team one")), SENT);
    assert_eq!(messi.ask(&format!("send {m} team two")), error("the recipient's inbox is full"));
    drop((messi, henderson, lineker));
    assert_eq!(server.stop(), Some(0));

    folder.configure("[limits]\ninbox_messages = 1");
    let server = Server::start(&folder);
    let [(mut messi, m), (mut lineker, l)] = ["messi", "lineker"].map(|name| server.login(name));
    assert_eq!(lineker.ask(&format!("group {l} join team")), DONE);
    let told = "{\"status\": \"OK\", \"message\": \"Message Sent, but 1 members have no room for it\"}";
    assert_eq!(messi.ask(&format!("send {m} team two")), told);
    assert!(lineker.ask(&format!("inbox {l}")).contains("two"));
}
