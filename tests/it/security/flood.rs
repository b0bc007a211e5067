//! How many lines of the log a client can cause: few, whatever it asks for and whatever the disk is like. The words
//! that it can ask with are read from the source, so that none is left out.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rusqlite::Connection;
use syn::visit::Visit;

use crate::proof::power::Disk;
use crate::support::{Folder, NO_SESSION, PATIENCE, SENT, Server};

/// How often each request is made: far more often than there may be lines.
const TIMES: usize = 200;
/// Lines of one kind: 15 at once and five in each second. A request may cause several kinds.
const AT_ONCE: usize = 15;
const A_SECOND: usize = 5;
const KINDS: usize = 2;

/// The words of each command, and parameters for it: right ones, and wrong ones. TOKEN stands for messi's, and # for
/// another number each time. Wrong passwords come last, because after them right ones are held up.
const REQUESTS: &[(&str, &str)] = &[
    ("inbox", "TOKEN\r\nack TOKEN"),
    ("auth login", "henderson surabaya"),
    ("send sendprivate chat", "TOKEN henderson x"),
    ("send sendprivate chat", "TOKEN nobody x"),
    ("send", "TOKEN henderson LONG"),
    ("sendkey", "TOKEN k# henderson x"),
    ("sendkey", "TOKEN k henderson x"),
    ("sendkey", "TOKEN k# nobody x"),
    ("sendkey", "TOKEN \u{e9} henderson x"),
    ("inbox getinbox kotakmasuk", "TOKEN"),
    ("show status info sessioncheck online active user_aktif activeuser listuseraktif users active_user", "TOKEN"),
    ("aktif showuser show_actives get_online_users online_user user_on list show_user listuser", "TOKEN"),
    ("list_user activeusers showUser showuseractive", "TOKEN"),
    ("activelist actives", "TOKEN"),
    ("get_all_users getallusers getusers list_users", "TOKEN"),
    ("wait", "TOKEN 0"),
    ("wait", "TOKEN soon"),
    ("fetch", "TOKEN"),
    ("fetch", "TOKEN soon"),
    ("ack", "TOKEN"),
    ("history", "TOKEN henderson"),
    ("history", "TOKEN nobody"),
    ("status", "TOKEN henderson"),
    ("status", "TOKEN nobody"),
    ("follow", "TOKEN 0 0 1"),
    ("follow", "TOKEN soon"),
    ("conversations", "TOKEN"),
    ("conversations", "TOKEN soon"),
    ("read", "TOKEN messi #"),
    ("read", "TOKEN nobody #"),
    ("sessions", "TOKEN"),
    ("endsession", "TOKEN #"),
    ("endsession", "TOKEN soon"),
    ("profile", "TOKEN Leo Messi"),
    ("profile", "TOKEN"),
    ("people", "TOKEN hen"),
    ("send", "TOKEN tim x"),
    ("group", "TOKEN members tim"),
    ("group", "TOKEN name tim Tim"),
    ("group", "TOKEN invite tim henderson"),
    ("group", "TOKEN remove tim lineker"),
    ("group", "TOKEN leave tim"),
    ("group", "TOKEN join tim"),
    ("group", "TOKEN delete tim"),
    ("group", "TOKEN create g#"),
    ("group", "TOKEN name g# Tim"),
    ("group", "TOKEN invite g# henderson"),
    ("group", "TOKEN invite g# nobody"),
    ("group", "TOKEN join g#"),
    ("group", "TOKEN list"),
    ("group", "TOKEN remove g# henderson"),
    ("group", "TOKEN delete g#"),
    ("group", "TOKEN leave g#"),
    ("group", "TOKEN nonsense g#"),
    ("addgroup create_group creategroup add_group", "TOKEN f#"),
    ("invitegroup", "TOKEN f# henderson"),
    ("sendgroup send_group sendto_group group_send", "TOKEN f# x"),
    ("inboxgroup inbox_group group_inbox get_inbox_group", "TOKEN f#"),
    ("getgroups list_group listgroup getallgroups get_all_groups list_mygroup list_my_groups getgroup", "TOKEN"),
    ("leave_group leavegroup exitgroup", "TOKEN f#"),
    ("joingroup join_group", "TOKEN f#"),
    ("sendfile send_file", "TOKEN messi foto.txt aGFsbwo="),
    ("sendgroupfile sendfilegroup send_group_file send_file_group", "TOKEN f# foto.txt aGFsbwo="),
    ("downloadfile", "TOKEN # foto.txt"),
    ("download_file", "TOKEN foto.txt"),
    ("my_file", "TOKEN"),
    ("nonsense \u{7f}", ""),
    ("logout", "00000000-0000-0000-0000-000000000000"),
    ("passwd", "TOKEN surabaya surabaya"),
    ("passwd", "TOKEN wrong surabaya"),
    ("register auth_register", "new# rahasia"),
    ("group", "TOKEN join vault wrong"),
    ("auth login", "messi wrong"),
    ("auth login", "nobody wrong"),
    ("logout", "TOKEN"),
];

/// Makes each request again and again, and counts the lines.
fn drive(server: &Server, token: &str, state: &str) {
    let long = "x".repeat(5_000);
    for (words, parameters) in REQUESTS {
        let parameters = parameters.replace("TOKEN", token).replace("LONG", &long);
        let request = |number: usize| {
            let word = words.split(' ').cycle().nth(number).expect("there is a word");
            // The first number is that of the session that has the token.
            format!("{word} {}\r\n", parameters.replace('#', &(number + 2).to_string()))
        };
        let has_session = *words != "logout";
        causes_few_lines(server, &format!("{words}, disk {state}"), || {
            let (mut client, numbers) = (server.connect(), Vec::from_iter(0..TIMES));
            for hundred in numbers.chunks(100) {
                let sent: String = hundred.iter().map(|number| request(*number)).collect();
                client.send(&sent);
                for _ in sent.matches("\r\n") {
                    let reply = client.receive();
                    assert!(reply != NO_SESSION || !has_session, "{words}, disk {state}: the token is of no use");
                }
            }
        });
    }
    // Connections that say what they are not, and go away.
    causes_few_lines(server, &format!("TLS, disk {state}"), || {
        for _ in 0..TIMES {
            let mut client = server.connect();
            client.send([22, 3, 1, 2, 0]);
            let _ = client.stream.read_to_end(&mut Vec::new());
        }
    });
}

fn causes_few_lines(server: &Server, what: &str, make: impl FnOnce()) {
    let (before, begun) = (lines(server), Instant::now());
    make();
    let (caused, took) = (lines(server) - before, begun.elapsed().as_secs() as usize + 1);
    let most = KINDS * (AT_ONCE + A_SECOND * took);
    assert!(caused <= most, "{what}: {caused} lines, {most} are allowed:\n{}", server.log());
}

fn lines(server: &Server) -> usize {
    server.log().lines().count()
}

/// Strangers may register, and groups may be many.
const SETTINGS: &str = "[protocol]\nregister = \"loopback\"\n[limits]\ngroups_per_user = 10000\n[database]\n";

fn chatters(database: &str) -> Folder {
    let folder = Folder::new(&format!("{SETTINGS}{database}"));
    folder.add_three();
    folder
}

/// Messi's token. Messi has further sessions, mail unless the disk is nearly full, and a group with lineker; henderson
/// has a group, too.
fn messi(server: &Server) -> String {
    let (mut client, token) = server.login("messi");
    (0..20).for_each(|_| drop(client.login("messi")));
    let henderson = client.login("henderson");
    for request in [
        format!("send {token} messi x"),
        format!("group {token} create tim"),
        format!("group {token} invite tim lineker"),
        format!("group {henderson} create vault secret"),
    ] {
        client.ask(&request);
    }
    token
}

/// The texts between quotes in a part of the source.
#[derive(Default)]
struct Texts(BTreeSet<String>);

impl<'ast> Visit<'ast> for Texts {
    /// Comments are texts, too.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.0.insert(text.value());
    }

    /// Of the rows of a macro the texts that stand in no brackets.
    fn visit_item_macro(&mut self, rows: &'ast syn::ItemMacro) {
        let tokens = rows.mac.tokens.clone().into_iter().map(|token| token.to_string());
        self.0.extend(tokens.filter_map(|token| Some(token.strip_prefix('"')?.strip_suffix('"')?.to_owned())));
    }
}

#[test]
fn every_word_that_the_server_reads_is_driven() {
    let (mut words, mut verbs) = (Texts::default(), Texts::default());
    let grammar = syn::parse_file(include_str!("../../../src/protocol/grammar.rs")).expect("it is built");
    for item in &grammar.items {
        match item {
            // The rows; what makes arms of them has a name.
            syn::Item::Macro(rows) if rows.ident.is_none() => words.visit_item_macro(rows),
            syn::Item::Impl(of) if matches!(&*of.self_ty, syn::Type::Path(to) if to.path.is_ident("GroupWords")) => {
                verbs.visit_item_impl(of);
            }
            _ => {}
        }
    }
    assert!(words.0.len() >= 20 && verbs.0.len() >= 9, "{:?} {:?}", words.0, verbs.0);
    let family = syn::parse_file(include_str!("../../../src/protocol/family/words.rs")).expect("it is built");
    let functions = family.items.iter().filter(|item| matches!(item, syn::Item::Fn(_)));
    functions.for_each(|function| words.visit_item(function));
    assert!(words.0.len() >= 80, "{:?}", words.0);
    let driven: BTreeSet<&str> = REQUESTS.iter().flat_map(|(words, _)| words.split(' ')).collect();
    let of_groups = REQUESTS.iter().filter(|(words, _)| *words == "group");
    let driven_verbs: BTreeSet<&str> = of_groups.filter_map(|(_, last)| last.split(' ').nth(1)).collect();
    let missing: Vec<&String> = words.0.iter().filter(|word| !driven.contains(word.as_str())).collect();
    let missing_verbs: Vec<&String> = verbs.0.iter().filter(|verb| !driven_verbs.contains(verb.as_str())).collect();
    assert!(missing.is_empty() && missing_verbs.is_empty(), "no request has {missing:?}, no group {missing_verbs:?}");
}

#[test]
fn no_request_floods_the_log_while_the_disk_is_well() {
    let folder = chatters("");
    let server = Server::start(&folder);
    drive(&server, &messi(&server), "well");
}

#[test]
fn no_request_floods_the_log_while_the_disk_is_nearly_full() {
    let folder = chatters("min_free_bytes = 1125899906842624");
    let server = Server::start(&folder);
    drive(&server, &messi(&server), "nearly full");
}

#[test]
fn no_request_floods_the_log_while_another_process_holds_the_database() {
    let folder = chatters("busy_timeout = \"1ms\"");
    let server = Server::start(&folder);
    let token = messi(&server);
    let held = Connection::open(folder.database()).expect("it is a database");
    held.execute_batch("BEGIN IMMEDIATE").expect("nobody writes for long");
    drive(&server, &token, "held by another process");
}

#[test]
fn no_request_floods_the_log_while_files_may_not_grow() {
    let folder = chatters("");
    let mut command = Command::new("sh");
    command.current_dir(folder.path());
    // Blocks of 512 bytes.
    command.args(["-c", "ulimit -f 2048; exec \"$0\" serve", env!("CARGO_BIN_EXE_chatd")]);
    let server = Server::start_with(&folder, command);
    let token = messi(&server);
    let (mut client, text, begun) = (server.connect(), "x".repeat(50_000), Instant::now());
    while client.ask(&format!("send {token} messi {text}")) == SENT {
        assert!(begun.elapsed() < PATIENCE);
    }
    drive(&server, &token, "with a limit for files");
}

#[test]
fn no_request_floods_the_log_while_the_disk_is_full() {
    let folder = Folder::new("");
    let Some(disk) = Disk::tmpfs(&folder, 32) else {
        println!("SKIPPED: a small disk needs root");
        return;
    };
    folder.configure(&format!("{SETTINGS}{}", disk.url()));
    folder.add_three();
    let server = Server::start(&folder);
    let token = messi(&server);
    fill(&disk.path);
    drive(&server, &token, "full");
}

fn fill(disk: &Path) {
    let mut file = File::create(disk.join("filler")).expect("it can be made");
    loop {
        match file.write_all(&[0; 4096]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return,
            Err(error) => panic!("{error}"),
        }
    }
}
