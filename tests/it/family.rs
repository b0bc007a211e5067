//! The words of the family: every form that `docs/PROTOCOL.md` lists, byte for byte (`tests/family`, in the format of
//! `tests/transcripts`), and what keeps strangers from making accounts.

use std::net::IpAddr;
use std::sync::Arc;

use chatd::internals::repository::Repository;
use chatd::internals::service::{Peer, RegisterRule, Rules};
use chatd::model::{LookupName, Password};
use chatd::protocol::family::Registration;
use chatd::protocol::{Command, FamilyCommand, Refusal, Reply};

use crate::repository::{OPTIONS, add_users, open, quick_folder};
use crate::security::turns::{rules, service};
use crate::support::{Folder, SENT, Server};
use crate::transcripts::{cases, replay_all};

/// How the page spells a list of words: each as code, with commas between.
const PAGE: &str = include_str!("../../docs/PROTOCOL.md");

#[test]
fn every_form_is_answered_byte_for_byte() {
    let cases = cases("family");
    let settings = |case: &serde_json::Value| {
        let more = case.get("settings").map(|more| more.as_str().expect("a text").to_owned());
        format!("[protocol]\n{}", more.unwrap_or_default())
    };
    let failed = replay_all(&cases, settings);
    assert!(failed.is_empty(), "{} of {} differ:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
fn every_word_that_the_page_lists_has_a_case_and_the_reverse() {
    let chapter = PAGE.split_once("## The family's words").expect("it has that chapter").1;
    let chapter = chapter.split("\n## ").next().unwrap_or_default();
    let cases = cases("family");
    let mut words: Vec<&str> = Vec::new();
    for row in chapter.lines().filter(|line| line.starts_with("| `")) {
        let listed = row.trim_start_matches("| ").split(" | ").next().unwrap_or_default();
        words.extend(listed.split(", ").map(|word| word.trim_matches('`')));
    }
    assert!(words.len() > 50, "{words:?}");
    for word in &words {
        let is_sent = |case: &serde_json::Value| {
            let steps = case["steps"].as_array().expect("a list").iter();
            let mut sent = steps.filter_map(|step| step["send"].as_str());
            sent.any(|line| line.split([' ', '\r']).next() == Some(word))
        };
        assert!(cases.iter().any(|(_, case)| is_sent(case)), "no case sends {word}");
    }
    for (_, case) in &cases {
        let name = case["case"].as_str().expect("a name");
        assert!(name.contains(' ') || words.contains(&name), "{name} is not on the page");
    }
}

#[test]
fn an_address_makes_few_accounts_and_each_attempt_counts_as_a_wrong_login() {
    let folder = Folder::new(
        "[protocol]\nregister = \"loopback\"\n[throttle]\nregistrations_per_hour = 2\naddress_per_minute = 0\naddress_per_hour = 10",
    );
    let server = Server::start(&folder);
    let mut stranger = server.connect();
    let is_made = |reply: &str| reply.ends_with("\"message\": \"User Berhasil Didaftarkan\"}");
    for name in ["one", "two"] {
        let reply = stranger.ask(&format!("register {name} rahasia"));
        assert!(is_made(&reply), "{reply}");
    }
    let reply = stranger.ask("register three rahasia");
    assert!(reply.contains("too many attempts, try again in"), "{reply}");
    assert!(!folder.done(&["user", "list"], "").contains("three"));
    // Ten wrong logins an hour pass, and three attempts were made.
    for name in 0..7 {
        let reply = stranger.ask(&format!("register {name}-is-refused-for-its-password \u{7f}"));
        assert!(reply.contains("a password has no spaces"), "{reply}");
    }
    let reply = stranger.ask("auth somebody wrong");
    assert!(reply.contains("too many attempts, try again in"), "{reply}");
}

#[tokio::test]
async fn strangers_from_elsewhere_register_only_where_the_rule_says_so_and_never_in_the_clear() {
    let folder = quick_folder();
    let repository = Arc::new(open(folder.path(), &OPTIONS).await);
    let service = service(repository.clone());
    let [here, elsewhere] = ["127.0.0.1", "192.0.2.1"].map(|address| address.parse::<IpAddr>().expect("it is one"));
    let mut number = 0;
    for (register, address, is_encrypted, wanted) in [
        (RegisterRule::Closed, here, true, Some(Refusal::UnknownCommand)),
        (RegisterRule::Loopback, here, false, None),
        (RegisterRule::Loopback, elsewhere, true, Some(Refusal::UnknownCommand)),
        (RegisterRule::Invite, here, false, Some(Refusal::BadInvite)),
        (RegisterRule::Invite, elsewhere, true, Some(Refusal::BadInvite)),
        (RegisterRule::Invite, elsewhere, false, Some(Refusal::NotPrivate)),
        (RegisterRule::Open, here, false, None),
        (RegisterRule::Open, elsewhere, true, None),
        (RegisterRule::Open, elsewhere, false, Some(Refusal::NotPrivate)),
    ] {
        service.set_rules(Rules { register, ..rules() });
        number += 1;
        let registration = Registration {
            username: LookupName::of(&format!("name{number}")),
            password: Password::attempt("rahasia"),
            display_name: None,
            country: String::new(),
            code: None,
        };
        let peer = Peer { address, is_here: address.is_loopback(), reply_bytes: 1, is_encrypted };
        let command = Command::Family(FamilyCommand::Register(registration));
        let reply = service.handle(&peer, service.authenticate(None).await, command).await.reply;
        match wanted {
            None => assert!(matches!(reply, Reply::LoggedIn { .. }), "{register:?} {address}: {reply:?}"),
            Some(refusal) => assert_eq!(reply, Reply::Refused(refusal), "{register:?} {address}"),
        }
        let is_there = repository.user_named(&format!("name{number}")).await.expect("the store works").is_some();
        assert_eq!(is_there, wanted.is_none(), "{register:?} {address}");
    }
    let users = add_users(&repository, 1).await;
    assert_eq!(users.len(), 1, "the store goes on");
}

#[test]
fn who_guesses_the_password_of_a_group_waits() {
    let folder = Folder::new("[throttle]\naccount_per_minute = 0\naccount_per_hour = 5");
    folder.add_three();
    let server = Server::start(&folder);
    let [(mut messi, m), (mut henderson, h)] = ["messi", "henderson"].map(|name| server.login(name));
    messi.ask(&format!("addgroup {m} team kunci"));
    for guess in 0..5 {
        let reply = henderson.ask(&format!("joingroup {h} team guess{guess}"));
        assert!(reply.contains("Password Salah"), "{reply}");
    }
    let reply = henderson.ask(&format!("joingroup {h} team kunci"));
    assert!(reply.contains("too many attempts, try again in"), "{reply}");
    // The words of ours do not go around it.
    assert!(henderson.ask(&format!("group {h} join team")).contains("Password Salah"));
}

#[test]
fn a_list_in_which_somebody_has_no_room_is_sent_to_the_others_and_the_sender_hears_it() {
    let folder = Folder::new("[limits]\ninbox_messages = 2");
    folder.add_three();
    let server = Server::start(&folder);
    let [(mut messi, m), (mut henderson, h)] = ["messi", "henderson"].map(|name| server.login(name));
    assert_eq!(messi.ask(&format!("send {m} lineker  full ")), SENT);
    let reply = messi.ask(&format!("sendgroup {m} lineker,henderson  both "));
    assert_eq!(reply, "{\"status\": \"OK\", \"message\": \"Message Sent, but 1 member has no room for it\"}");
    assert!(henderson.ask(&format!("inbox {h}")).contains("both"));
    let reply = messi.ask(&format!("sendgroup {m} lineker  again "));
    assert!(reply.contains("the recipient's inbox is full"), "{reply}");
}

#[test]
fn a_list_of_members_puts_nobody_into_more_than_half_of_his_groups_and_makes_all_of_the_group_or_none() {
    let folder = Folder::new("[limits]\ngroups_per_user = 4");
    folder.add_three();
    let server = Server::start(&folder);
    let [(mut messi, m), (mut henderson, h)] = ["messi", "henderson"].map(|name| server.login(name));
    for group in ["one", "two"] {
        assert!(messi.ask(&format!("addgroup {m} {group} henderson,lineker")).contains("\"OK\""));
    }
    let reply = messi.ask(&format!("addgroup {m} three lineker,henderson"));
    assert!(reply.contains("ERROR"), "{reply}");
    // Nothing is left of it, and he has room for his own.
    for group in ["three", "four"] {
        let reply = henderson.ask(&format!("group {h} create {group}"));
        assert!(reply.contains("\"OK\""), "{reply}");
    }
}
