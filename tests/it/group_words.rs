//! `group`, and `send`, `inbox`, `history` and `status` with groups, on both ports.

use serde_json::{Value, json};

use crate::support::{EMPTY, Folder, SENT, Server, Talker};

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

/// What stands under `key` of a reply that says OK.
fn told(reply: &str, key: &str) -> Value {
    let reply: Value = serde_json::from_str(reply).expect("replies are JSON");
    assert_eq!(reply["status"], "OK", "{reply}");
    reply[key].clone()
}

/// A follower sees what was sent to his groups while he was in them; what he reads by number leaves the queue.
#[test]
fn a_follower_sees_his_groups_and_reads_them() {
    let folder = Folder::new("[server]\ntext_listen = \"127.0.0.1:0\"");
    folder.add_three();
    let server = Server::start(&folder);
    let [(mut messi, m), (mut henderson, h), (mut lineker, l)] =
        ["messi", "henderson", "lineker"].map(|name| server.login(name));
    assert_eq!(messi.ask(&format!("group {m} create team")), DONE);
    assert_eq!(messi.ask(&format!("group {m} invite team henderson")), DONE);
    assert_eq!(messi.ask(&format!("send {m} team  one ")), SENT);
    let nothing = told(&lineker.ask(&format!("follow {l} now")), "follow");
    assert_eq!(lineker.ask(&format!("group {l} join team")), DONE);
    lineker.send(format!("follow {l} {} 300\r\n", nothing["next"]));
    assert_eq!(henderson.ask(&format!("send {h} team  two ")), SENT);
    let followed = told(&lineker.receive(), "follow");
    let two = json!({
        "id": 2, "time": followed["messages"][0]["time"], "from": "henderson", "to": "team", "kind": "group",
        "msg_from": "Jordan Henderson", "msg_to": "team", "msg": "  two \r\n", "read": null,
    });
    assert_eq!(followed["messages"], json!([two]));
    // From the beginning: nothing from before he was in it, and everything for those who were.
    let seen = |reply: &str| {
        let messages = told(reply, "follow")["messages"].clone();
        messages.as_array().expect("a list").iter().map(|message| message["id"].as_i64()).collect::<Vec<_>>()
    };
    assert_eq!(seen(&lineker.ask(&format!("follow {l} 0"))), [Some(2)]);
    assert_eq!(seen(&messi.ask(&format!("follow {m} 0"))), [Some(1), Some(2)]);

    let conversation = |reply: &str| told(reply, "conversations")["list"][0].clone();
    let theirs = conversation(&lineker.ask(&format!("conversations {l}")));
    assert_eq!(
        theirs,
        json!({
            "with": "team", "name": "team", "kind": "group", "unread": 1, "read_to": 1, "other_read_to": 0,
            "newest": two,
        })
    );
    let mut person = Talker::connect(&server);
    assert_eq!(person.ask(&format!("read {l} team 1")), "0");
    assert_eq!(person.ask(&format!("read {l} team 2")), "1");
    assert!(person.ask(&format!("conversations {l}")).contains("\"kind\": \"group\", \"unread\": 0, \"read_to\": 2"));
    assert_eq!(lineker.ask(&format!("inbox {l}")), EMPTY);
    assert_eq!(lineker.ask(&format!("read {l} nothing 2")), error("User Tidak Ditemukan"));
    let history = told(&messi.ask(&format!("history {m} team")), "history");
    assert_eq!((&history[1]["read_by"], &history[1]["of"]), (&json!(1), &json!(2)));

    // Who leaves keeps it, also when the group is gone.
    assert_eq!(henderson.ask(&format!("group {h} leave team")), DONE);
    assert_eq!(messi.ask(&format!("send {m} team  three ")), SENT);
    assert_eq!(messi.ask(&format!("group {m} delete team")), DONE);
    assert_eq!(seen(&henderson.ask(&format!("follow {h} 0"))), [Some(1), Some(2)]);
    assert_eq!(conversation(&henderson.ask(&format!("conversations {h}")))["newest"]["id"], 2);
    assert_eq!(told(&henderson.ask(&format!("read {h} team 2")), "read"), 1);
    assert_eq!(told(&lineker.ask(&format!("read {l} team 3")), "read"), 1);
}
