//! `group`, and `send`, `inbox`, `history` and `status` with groups, on both ports.

use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::database::dump_sql;
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
fn what_others_put_somebody_into_leaves_places_for_his_own_groups() {
    let folder = Folder::new("[limits]\ngroups_per_user = 5");
    folder.add_three();
    let server = Server::start(&folder);
    let [(mut messi, m), (mut henderson, h)] = ["messi", "henderson"].map(|name| server.login(name));
    for number in 1..=4 {
        assert_eq!(messi.ask(&format!("group {m} create team{number}")), DONE);
        let put_in = messi.ask(&format!("group {m} invite team{number} henderson"));
        assert_eq!(put_in == DONE, number <= 3, "{number}: {put_in}");
    }
    for number in 1..=2 {
        assert_eq!(henderson.ask(&format!("group {h} create own{number}")), DONE);
    }
    assert_ne!(henderson.ask(&format!("group {h} create own3")), DONE);
}

/// `sendkey` and files say of how many members it is true that they do not get it.
#[test]
fn who_sends_under_a_key_or_a_file_hears_how_many_have_no_room() {
    let folder = Folder::new("[limits]\ninbox_messages = 1\n[server]\ntext_listen = \"127.0.0.1:0\"");
    folder.add_three();
    let server = Server::start(&folder);
    let [(mut messi, m), (mut henderson, h), (_, l)] = ["messi", "henderson", "lineker"].map(|name| server.login(name));
    assert_eq!(messi.ask(&format!("group {m} create Team")), DONE);
    for token in [&h, &l] {
        assert_eq!(henderson.ask(&format!("group {token} join Team")), DONE);
    }
    assert_eq!(messi.ask(&format!("send {m} lineker  full ")), SENT);
    let mut is_read = |text: &str| {
        let inbox = henderson.ask(&format!("inbox {h}"));
        assert!(inbox.matches("msg_from").count() == 1 && inbox.contains(text), "{inbox}");
        assert!(henderson.ask(&format!("ack {h}")).contains("Acknowledged"));
    };
    let some = "{\"status\": \"OK\", \"id\": 2, \"not_delivered\": 1}";
    assert_eq!(messi.ask(&format!("sendkey {m} a Team  one ")), some);
    assert_eq!(messi.ask(&format!("sendkey {m} a Team  one ")), "{\"status\": \"OK\", \"id\": 2}");
    is_read("one");
    let said = Talker::connect(&server).ask(&format!("sendkey {m} b Team two"));
    assert_eq!(said, "message 3 sent to Team, but 1 member has no room for it");
    is_read("two");
    let sent_to_some = "{\"status\": \"OK\", \"message\": \"Message Sent, but 1 member has no room for it\"}";
    assert_eq!(messi.ask(&format!("sendgroupfile {m} Team a.txt aGFsbwo=")), sent_to_some);
    is_read("a.txt");
}

#[test]
fn what_is_fetched_says_to_which_group_it_was_sent_and_brings_files() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let [(mut messi, m), (mut henderson, h)] = ["messi", "henderson"].map(|name| server.login(name));
    assert_eq!(messi.ask(&format!("group {m} create Team")), DONE);
    assert_eq!(henderson.ask(&format!("group {h} join Team")), DONE);
    assert_eq!(messi.ask(&format!("group {m} name Team The team")), DONE);
    assert_eq!(messi.ask(&format!("send {m} Team  hello ")), SENT);
    messi.ask(&format!("sendgroupfile {m} Team a/foto.txt b'aGFsbwo='"));
    messi.ask(&format!("sendfile {m} henderson b.txt aGFsbwo="));
    let fetched: Value = serde_json::from_str(&henderson.ask(&format!("fetch {h}"))).expect("it is JSON");
    let mut fetched = fetched["fetch"].as_array().expect("a list").clone();
    fetched.iter_mut().for_each(|message| message["time"] = Value::Null);
    let entry = |id: i64, to: &str, msg_to: &str, msg: &str| {
        json!({ "id": id, "time": null, "from": "messi", "to": to, "msg_from": "Lionel Messi", "msg_to": msg_to,
            "msg": msg })
    };
    let mut wanted = [
        entry(1, "Team", "The team", "  hello \r\n"),
        entry(2, "Team", "The team", ""),
        entry(3, "henderson", "Jordan Henderson", ""),
    ];
    for to_group in &mut wanted[..2] {
        to_group["kind"] = "group".into();
    }
    for (place, (id, name, data)) in [(1, ("1", "foto.txt", "b'aGFsbwo='")), (2, ("2", "b.txt", "aGFsbwo="))] {
        wanted[place]["fileid"] = id.into();
        wanted[place]["file_name"] = name.into();
        wanted[place]["file_content"] = data.into();
    }
    assert_eq!(fetched, wanted);
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
    let told = "{\"status\": \"OK\", \"message\": \"Message Sent, but 1 member has no room for it\"}";
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

/// A password keeps out who does not have it; attempts are counted, and an invitation needs none.
#[test]
fn a_group_with_a_password_is_joined_with_it_alone() {
    let folder = Folder::new("[throttle]\naccount_per_minute = 3\n[log]\nlevel = \"trace\"");
    folder.add_three();
    let mut server = Server::start(&folder);
    let [(mut messi, m), (mut henderson, h), (mut lineker, l)] =
        ["messi", "henderson", "lineker"].map(|name| server.login(name));
    assert_eq!(messi.ask(&format!("group {m} create team kenari-5e1c")), DONE);
    let wrong = error("Password Salah");
    assert_eq!(henderson.ask(&format!("group {h} join team")), wrong);
    assert_eq!(henderson.ask(&format!("group {h} join team murai-77aa")), wrong);
    assert_eq!(henderson.ask(&format!("group {h} join team kenari-5e1c")), DONE);
    assert_eq!(henderson.ask(&format!("group {h} join team")), error("User sudah join"));
    assert_eq!(messi.ask(&format!("group {m} invite team lineker")), DONE);
    assert_eq!(lineker.ask(&format!("group {l} leave team")), DONE);
    let held_up = (0..9).map(|_| lineker.ask(&format!("group {l} join team murai-77aa"))).find(|said| *said != wrong);
    assert!(held_up.is_some_and(|said| said.contains("too many attempts, try again in")));
    let hash = dump_sql(&folder.database(), "SELECT password_hash FROM user WHERE name = 'team'".to_owned());
    assert!(hash[0].starts_with("$argon2id$"), "{hash:?}");
    drop((messi, henderson, lineker));
    nix::sys::signal::kill(server.pid(), nix::sys::signal::Signal::SIGTERM).expect("it runs");
    assert_eq!(server.wait(), Some(0));
    let log = server.log();
    assert!(log.contains("a group was not joined"), "{log}");
    assert!(!log.contains("kenari-5e1c") && !log.contains("murai-77aa"), "{log}");
    // It holds after a restart, too.
    let server = Server::start(&folder);
    let (mut lineker, l) = server.login("lineker");
    assert_eq!(lineker.ask(&format!("group {l} join team other")), error("Password Salah"));
    assert_eq!(lineker.ask(&format!("group {l} join team kenari-5e1c")), DONE);
}

#[test]
fn the_owner_gives_a_group_another_name_in_messages() {
    let folder = Folder::new("[server]\ntext_listen = \"127.0.0.1:0\"");
    folder.add_three();
    let mut server = Server::start(&folder);
    for restarted in [false, true] {
        let [(mut messi, m), (mut henderson, h)] = ["messi", "henderson"].map(|name| server.login(name));
        if !restarted {
            assert_eq!(messi.ask(&format!("group {m} create team")), DONE);
            assert_eq!(henderson.ask(&format!("group {h} join team")), DONE);
            let refused = error("only the owner of the group may do that");
            assert_eq!(henderson.ask(&format!("group {h} name team Ours")), refused);
            assert_eq!(messi.ask(&format!("group {m} name team")), error("--Protocol Tidak Benar"));
            assert_eq!(Talker::connect(&server).ask(&format!("group {m} name team The Old Team")), "Done");
        }
        assert_eq!(messi.ask(&format!("send {m} team hello")), SENT);
        let inbox = henderson.ask(&format!("inbox {h}"));
        assert!(inbox.contains("\"msg_to\": \"The Old Team\""), "{inbox}");
        assert!(henderson.ask(&format!("ack {h}")).contains("OK"));
        drop((messi, henderson));
        if !restarted {
            assert_eq!(server.stop(), Some(0));
            server = Server::start(&folder);
        }
    }
}

/// `chatd group`, without a server and through its socket.
#[test]
fn an_administrator_makes_and_changes_groups_with_and_without_a_server() {
    let folder = Folder::new("[limits]\ngroup_members = 2");
    folder.add_three();
    assert_eq!(folder.done(&["group", "list", "--json"], ""), "[]\n");
    assert!(
        folder.done(&["group", "add", "team", "--owner", "messi", "--name", "The Team"], "").contains("team added")
    );
    let refused = |arguments: &[&str], why: &str| {
        let output = folder.run(arguments, "x\n");
        let said = folder.complaint(&output);
        assert!(output.status.code() == Some(1) && said.contains(why) && said.lines().count() == 1, "{said}");
    };
    let mut server = None;
    for with_server in [false, true] {
        if with_server {
            server = Some(Server::start(&folder));
        }
        refused(&["group", "add", "TEAM", "--owner", "messi"], "an account or a group has this name");
        refused(&["group", "add", "other", "--owner", "nobody"], "there is no such account");
        refused(&["group", "add", "a,b", "--owner", "messi"], "no comma");
        refused(&["group", "members", "other"], "there is no such group");
        refused(&["group", "remove", "team", "lineker"], "the account is not in the group");
        folder.done(&["group", "invite", "team", "henderson"], "");
        refused(&["group", "invite", "team", "henderson"], "the account is in the group already");
        // No limit holds for an administrator.
        folder.done(&["group", "invite", "team", "lineker"], "");
        assert_eq!(folder.done(&["group", "members", "team"], ""), "messi (owner)\nhenderson\nlineker\n");
        let listed: Value = serde_json::from_str(&folder.done(&["group", "list", "--json"], "")).expect("it is JSON");
        let team = json!({
            "name": "team", "display_name": "The Team", "owner": "messi", "members": 3,
            "created_at": listed[0]["created_at"],
        });
        assert_eq!(listed, json!([team]));
        assert_eq!(folder.done(&["group", "list"], ""), "team: The Team, 3 members, owner messi\n");
        for user in ["henderson", "lineker"] {
            folder.done(&["group", "remove", "team", user], "");
        }
        let members: Value =
            serde_json::from_str(&folder.done(&["group", "members", "team", "--json"], "")).expect("it is JSON");
        assert_eq!(members, json!([{ "username": "messi", "owner": true }]));
    }
    // What a command has done is in force in the server when it ends.
    let server = server.expect("it was started");
    let (mut messi, m) = server.login("messi");
    folder.done(&["group", "add", "door", "--owner", "messi", "--password-stdin"], "rahasia\n");
    folder.done(&["group", "set", "door", "--name", "The Door"], "");
    folder.done(&["group", "invite", "door", "henderson"], "");
    assert_eq!(messi.ask(&format!("group {m} list")), "{\"status\": \"OK\", \"groups\": [\"team\", \"door\"]}");
    assert_eq!(messi.ask(&format!("send {m} door hello")), SENT);
    let (mut henderson, h) = server.login("henderson");
    assert!(henderson.ask(&format!("inbox {h}")).contains("\"msg_to\": \"The Door\""));
    folder.done(&["group", "remove", "door", "henderson"], "");
    let (mut lineker, l) = server.login("lineker");
    assert_eq!(lineker.ask(&format!("group {l} join door")), error("Password Salah"));
    assert_eq!(lineker.ask(&format!("group {l} join door rahasia")), DONE);
    folder.done(&["group", "delete", "door"], "");
    assert_eq!(lineker.ask(&format!("group {l} list")), "{\"status\": \"OK\", \"groups\": []}");
}

/// While nobody can write, one account has asked for twenty changes on as many connections, and then another account
/// asks for one.
#[test]
fn changes_of_groups_are_made_by_account_in_turn() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (_, many) = server.login("messi");
    let (mut one, single) = server.login("henderson");
    let held = Connection::open(folder.database()).expect("it is a database");
    held.execute_batch("BEGIN IMMEDIATE").expect("nobody writes for long");
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("group {many} create many{number}\r\n"));
    }
    thread::sleep(Duration::from_secs(1));
    one.send(format!("group {single} create single\r\n"));
    thread::sleep(Duration::from_secs(1));
    held.execute_batch("COMMIT").expect("nothing was written");
    assert_eq!(one.receive(), DONE);
    clients.iter_mut().for_each(|client| assert_eq!(client.receive(), DONE));
    let made = dump_sql(&folder.database(), "SELECT name FROM user WHERE owner NOTNULL ORDER BY id".to_owned());
    let before = made.iter().position(|name| name == "single").expect("it was made");
    assert!(before <= 2, "{made:?}");
}
