//! The examples that `docs/PROTOCOL.md` shows are what a server says, and the clients in `examples/` work with one.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::door::Door;
use crate::support::{Client, Folder, Server, Talker, texts};

const PAGE: &str = include_str!("../../docs/PROTOCOL.md");

fn server() -> (Folder, Server) {
    let folder = Folder::new("[server]\ntext_listen = \"127.0.0.1:0\"");
    folder.add_three();
    let server = Server::start(&folder);
    (folder, server)
}

/// A connection of an example.
enum Peer {
    Json(Client),
    Text(Talker),
}

/// The page's examples under way.
struct Replay<'a> {
    server: &'a Server,
    peers: HashMap<String, Peer>,
    /// What the names of tokens stand for, as far as it is known.
    tokens: HashMap<String, String>,
}

impl Replay<'_> {
    fn peer(&mut self, name: &str, port: &str) -> &mut Peer {
        let server = self.server;
        self.peers.entry(name.to_owned()).or_insert_with(|| match port {
            "json-port" => Peer::Json(server.connect()),
            _ => Peer::Text(Talker::connect(server)),
        })
    }

    fn send(&mut self, port: &str, name: &str, line: &str) {
        let mut line = line.replace('␠', " ");
        for (name, token) in &self.tokens {
            line = line.replace(name, token);
        }
        match self.peer(name, port) {
            Peer::Json(client) => client.send(format!("{line}\r\n")),
            Peer::Text(talker) => talker.type_in(&format!("{line}\n")),
        }
    }

    fn receive(&mut self, port: &str, name: &str, shown: &str) {
        let reply = match self.peer(name, port) {
            Peer::Json(client) => client.receive(),
            Peer::Text(talker) => talker.read(),
        };
        let mut rest = reply.as_str();
        for piece in pieces(shown) {
            let length = match piece {
                "TIME" => "2026-11-23T15:27:02.123Z".len(),
                _ if piece.starts_with("TOKEN-") => 36,
                "READS" => rest.bytes().take_while(u8::is_ascii_digit).count(),
                _ => piece.len(),
            };
            let (found, after) = rest.split_at_checked(length).unwrap_or_else(|| panic!("{shown}\n{reply}"));
            let same = match piece {
                "TIME" => found.starts_with("20") && found.ends_with('Z') && found.as_bytes()[10] == b'T',
                _ if piece.starts_with("TOKEN-") => {
                    self.tokens.entry(piece.to_owned()).or_insert_with(|| found.to_owned()) == found
                }
                "READS" => {
                    self.tokens.insert(piece.to_owned(), found.to_owned());
                    !found.is_empty()
                }
                _ => found == piece,
            };
            assert!(same, "the page shows\n{shown}\nand the server says\n{reply}");
            rest = after;
        }
        assert!(rest.is_empty(), "the page shows\n{shown}\nand the server says\n{reply}");
    }
}

/// What is shown, cut at the words that stand for something else.
fn pieces(shown: &str) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), shown);
    while let Some((place, length)) = [("TOKEN-", 7), ("TIME", 4), ("READS", 5)]
        .iter()
        .filter_map(|(word, length)| Some((rest.find(word)?, *length)))
        .min()
    {
        pieces.extend([&rest[..place], &rest[place..place + length]]);
        rest = &rest[place + length..];
    }
    pieces.push(rest);
    pieces
}

#[test]
fn every_example_of_the_page_is_what_a_server_says() {
    let (_folder, server) = server();
    let mut replay = Replay { server: &server, peers: HashMap::new(), tokens: HashMap::new() };
    let (mut port, mut replies, mut commands) = (None, 0, BTreeSet::new());
    for line in PAGE.lines() {
        match (line.strip_prefix("```"), port) {
            (Some(""), _) => port = None,
            // A server with other settings says that, in `web::invites`.
            (Some(fence), _) => port = (fence != "json-port-invite").then_some(fence),
            (None, None) => {}
            (None, Some(port)) => {
                if let Some((name, request)) = line.split_once("> ") {
                    commands.insert((port, request.split(['␠', ' ']).next().unwrap_or_default()));
                    replay.send(port, name, request);
                } else {
                    let (name, reply) = line.split_once("< ").expect("an example has requests and replies");
                    replay.receive(port, name, reply);
                    replies += 1;
                }
            }
        }
    }
    assert!(replies > 50, "only {replies} replies were found");
    for command in [
        "auth",
        "send",
        "inbox",
        "show",
        "logout",
        "wait",
        "fetch",
        "ack",
        "history",
        "status",
        "follow",
        "read",
        "conversations",
        "sendkey",
        "passwd",
        "sessions",
        "endsession",
        "profile",
        "people",
    ] {
        for port in ["json-port", "text-port"] {
            assert!(commands.contains(&(port, command)), "no example of {command} on the {port}");
        }
    }
}

/// Runs an example with `input`.
fn run(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it was piped");
    // One that has failed has closed it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// An example as messi starts it.
fn example(interpreter: &str, name: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR")));
    command.env("CHATD_USER", "messi").env("CHATD_PASSWORD", "surabaya");
    command
}

fn printed(output: &Output) -> Vec<String> {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn the_python_client_works() {
    let (_folder, server) = server();
    let (mut henderson, token) = server.login("henderson");
    henderson.ask(&format!("send {token} messi  halo \u{1b}[31m "));
    let python = || {
        let mut command = example("python3", "chat.py");
        command.arg(server.address.to_string());
        command
    };
    let typed = "inbox\nsend henderson apa kabar\nsend nobody x\nshow\nwait 0\nhistory henderson\nhello\nlogout\n";
    let shown = printed(&run(&mut python(), typed));
    assert_eq!(shown[0], "Jordan Henderson: halo \\x1b[31m");
    assert_eq!(shown[1], "sent");
    assert_eq!(shown[2], "error: User Tidak Ditemukan");
    assert_eq!(shown[3], "henderson, messi");
    assert!(shown[4].ends_with("Jordan Henderson: halo \\x1b[31m"), "{shown:?}");
    assert!(shown[5].ends_with("Lionel Messi: apa kabar"), "{shown:?}");
    assert_eq!(shown[6], "error: **Protocol Tidak Benar");
    assert_eq!(shown.len(), 7, "{shown:?}");
    assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), ["apa kabar"]);
    let refused = run(python().env("CHATD_PASSWORD", "x"), "");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&refused.stderr), "error: Password Salah\n");
}

#[test]
fn the_shell_client_works() {
    let (_folder, server) = server();
    let address = server.text_address.expect("the settings have one");
    let shell = || {
        let mut command = example("bash", "chat.sh");
        command.args([address.ip().to_string(), address.port().to_string()]);
        command
    };
    assert_eq!(printed(&run(shell().args(["send", "henderson", "feeling good"]), "")), ["message sent to henderson"]);
    let shown = printed(&run(&mut shell(), "send messi halo\ninbox\ninbox\n"));
    let inbox = r#"{"messi": [{"msg_from": "Lionel Messi", "msg_to": "Lionel Messi", "msg": " halo \r\n"}]}"#;
    assert_eq!(shown, ["message sent to messi", inbox, "{}"]);
    for (change, argument, error) in [
        ("CHATD_PASSWORD", "show", "Error, Password Salah\n"),
        ("OTHER", "send nobody x", "Error, User Tidak Ditemukan\n"),
    ] {
        let refused = run(shell().args(argument.split(' ')).env(change, "x"), "");
        assert_eq!((refused.status.code(), String::from_utf8_lossy(&refused.stderr).as_ref()), (Some(1), error));
    }
    let (mut henderson, token) = server.login("henderson");
    assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), ["feeling good"]);
}

#[test]
fn the_clients_in_examples_have_groups() {
    let (_folder, server) = server();
    let (mut henderson, token) = server.login("henderson");
    let done = "{\"status\": \"OK\", \"message\": \"Done\"}";
    assert_eq!(henderson.ask(&format!("group {token} create tim")), done);
    let mut python = example("python3", "chat.py");
    python.arg(server.address.to_string());
    // Who is not in a group is told so, and who is hears what was sent to it.
    let typed = "send tim x\ngroup join tim\ngroup list\ngroup members tim\nsend tim halo semua\n\
                 group create lain\ngroup invite lain henderson\ngroup leave lain\ngroup list\ngroup join nowhere\n\
                 history tim\n";
    let shown = printed(&run(&mut python, typed));
    assert_eq!(shown[..5], ["error: Bukan member group", "done", "tim", "messi, henderson", "sent"]);
    assert_eq!(shown[5..10], ["done", "done", "done", "tim", "error: Group belum ada"]);
    assert!(shown[10].ends_with(" Lionel Messi to tim: halo semua"), "{shown:?}");
    assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), ["halo semua"]);
    assert!(henderson.ask(&format!("send {token} tim  balas ")).contains("Message Sent"));
    assert!(henderson.ask(&format!("sendfile {token} messi foto.txt aGFsbwo=")).contains("File Sent"));
    let mut python = example("python3", "chat.py");
    python.arg(server.address.to_string());
    let shown = printed(&run(&mut python, "inbox\n"));
    assert_eq!(shown, ["Jordan Henderson to tim: balas", "Jordan Henderson: [file foto.txt]"]);
    let address = server.text_address.expect("the settings have one");
    let mut shell = example("bash", "chat.sh");
    shell.args([address.ip().to_string(), address.port().to_string()]);
    let typed = "group list\ngroup create shell\ngroup invite shell henderson\nsend shell halo\ngroup leave shell\n\
                 group join shell\ngroup list\n";
    let shown = printed(&run(&mut shell, typed));
    assert_eq!(shown, ["['tim']", "Done", "Done", "message sent to shell", "Done", "Done", "['tim', 'shell']"]);
    assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), ["halo"]);
}

/// What an example says that must fail: one line, and no traceback.
fn failed(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(!error.contains("unbound") && !error.contains("Traceback"), "{error}");
    error
}

#[test]
fn the_python_client_sends_no_empty_message_and_acknowledges_what_it_has_shown() {
    let (_folder, server) = server();
    let door = Door::of_2020(server.address);
    let (mut henderson, token) = server.login("henderson");
    henderson.ask(&format!("send {token} messi  halo "));
    let mut python = example("python3", "chat.py");
    python.arg(door.address.to_string());
    let shown = printed(&run(&mut python, "send henderson\nsend henderson  \nsend\ninbox\ninbox\n"));
    let usage = "error: send NAME TEXT";
    assert_eq!(shown, [usage, usage, usage, "Jordan Henderson: halo"]);
    assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), Vec::<String>::new());
    assert_eq!(door.refused(), ["fetch", "ack"], "each is said once, the second after what was shown");
}

#[test]
fn the_rust_client_answers_each_message_and_ends_its_session() {
    let (folder, server) = server();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_chatd")).with_file_name("examples").join("echo");
    if !program.exists() {
        return println!("SKIPPED: `cargo test` builds the examples, `cargo test --test it` does not");
    }
    let mut command = Command::new(program);
    command.arg(server.address.to_string()).env("CHATD_USER", "messi").env("CHATD_PASSWORD", "surabaya");
    let mut child = command.stdout(Stdio::piped()).spawn().expect("cargo has built it");
    let (mut henderson, token) = server.login("henderson");
    for text in ["one", "two"] {
        henderson.ask(&format!("send {token} messi {text}"));
    }
    let mut output = BufReader::new(child.stdout.take().expect("it was piped")).lines().map_while(Result::ok);
    let answered: Vec<_> = output.by_ref().take(2).collect();
    assert_eq!(answered, ["answered henderson", "answered henderson"]);
    assert_eq!(texts(&henderson.ask(&format!("inbox {token}"))), ["one", "two"]);
    // What is sent to a group is answered there.
    for command in ["create tim", "invite tim messi"] {
        assert!(henderson.ask(&format!("group {token} {command}")).contains("Done"));
    }
    henderson.ask(&format!("send {token} tim three"));
    assert!(henderson.ask(&format!("wait {token} 60")).contains("\"msg_to\": \"tim\", \"msg\": \" three"));
    assert_eq!(output.next().as_deref(), Some("answered tim"));
    henderson.ask(&format!("logout {token}"));
    kill(Pid::from_raw(i32::try_from(child.id()).expect("it is small")), Signal::SIGINT).expect("it runs");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(folder.done(&["session", "list"], ""), "");
}

#[test]
fn the_clients_in_examples_fail_in_one_line() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let nobody = closed.local_addr().expect("it is bound");
    drop(closed);
    let python = |argument: &[&str]| failed(&run(example("python3", "chat.py").args(argument), "show\n"));
    assert_eq!(python(&[]), "usage: chat.py HOST:PORT\n");
    assert_eq!(python(&["127.0.0.1"]), "usage: chat.py HOST:PORT\n");
    assert!(python(&[&nobody.to_string()]).contains("Connection refused"));
    let browser = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = browser.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        for mut stream in browser.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    assert_eq!(python(&[&address]), "error: this is no chat server\n");
    let shell = |argument: &[&str]| failed(&run(example("bash", "chat.sh").args(argument), "show\n"));
    assert_eq!(shell(&[]), "usage: chat.sh HOST PORT [COMMAND…]\n");
    assert_eq!(shell(&["127.0.0.1"]), "usage: chat.sh HOST PORT [COMMAND…]\n");
    let port = nobody.port().to_string();
    assert_eq!(shell(&["127.0.0.1", &port]), format!("{nobody}: no connection\n"));
    let mut anonymous = example("bash", "chat.sh");
    anonymous.args(["127.0.0.1", &port]).env_remove("CHATD_USER");
    assert_eq!(failed(&run(&mut anonymous, "")), "set CHATD_USER and CHATD_PASSWORD\n");
}

/// Starts an example that waits for mail, and gives it when it is logged in.
fn waiting(folder: &Folder, mut command: Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    writeln!(child.stdin.as_mut().expect("it was piped"), "send messi x\nwait 60\nwait 60").expect("it reads");
    // The mail to oneself is shown, so the second `wait` is under way.
    let output = child.stdout.take().expect("it was piped");
    BufReader::new(output).lines().map_while(Result::ok).find(|line| line.contains('x')).expect("it shows it");
    assert!(folder.done(&["session", "list"], "").contains(": messi from "));
    child
}

#[test]
fn the_clients_in_examples_end_their_session_whatever_ends_them() {
    let (folder, server) = server();
    let python = || {
        let mut command = example("python3", "chat.py");
        command.arg(server.address.to_string());
        command
    };
    let shell = || {
        let address = server.text_address.expect("the settings have one");
        let mut command = example("bash", "chat.sh");
        command.args([address.ip().to_string(), address.port().to_string()]);
        command
    };
    assert!(run(&mut python(), "send nobody x\n").status.success());
    assert_eq!(run(&mut shell(), "send nobody x\n").status.code(), Some(1));
    assert_eq!(folder.done(&["session", "list"], ""), "");
    for command in [python(), shell()] {
        let mut child = waiting(&folder, command);
        kill(Pid::from_raw(i32::try_from(child.id()).expect("it is small")), Signal::SIGTERM).expect("it runs");
        assert_eq!(child.wait().expect("it ends").code(), Some(143));
        assert_eq!(folder.done(&["session", "list"], ""), "");
    }
}

#[test]
fn the_clients_in_examples_show_nothing_that_a_terminal_obeys() {
    let text = "\x1b[2J\u{9b}31m\u{85}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}\u{206f}";
    let hostile = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = hostile.local_addr().expect("it is bound");
    // To the one a reply in JSON, to the other a line; to either as an error, and as what was asked for.
    let json = format!("{{\"status\": \"ERROR\", \"message\": {}}}\r\n\r\n", serde_json::json!(text));
    let (line, error) = (format!("josé 你 {text}\r\n"), format!("Error, {text}\r\n"));
    let replies = [json, error, line];
    thread::spawn(move || {
        for (stream, reply) in hostile.incoming().flatten().zip(replies) {
            thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                while stream.read_line(&mut String::new()).is_ok_and(|read| read > 0) {
                    if stream.get_mut().write_all(reply.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mut python = example("python3", "chat.py");
    python.arg(address.to_string());
    let shell = || {
        let mut command = example("bash", "chat.sh");
        command.args([address.ip().to_string(), address.port().to_string(), "show".to_owned()]);
        command
    };
    for (mut command, shown) in [(python, "error: "), (shell(), "Error, "), (shell(), "josé 你 ")] {
        let output = run(&mut command, "");
        let all = String::from_utf8([output.stdout, output.stderr].concat()).expect("it is text");
        assert!(all.contains(shown), "{all:?}");
        let obeyed = |c: char| {
            (c.is_control() && c != '\n') || text.chars().skip(4).any(|foreign| foreign == c && !c.is_ascii())
        };
        assert!(!all.contains(obeyed), "{command:?}: {all:?}");
    }
}
