//! The recorded dialogues of the 2020 program (`tests/transcripts`, whose README.md has the format), replayed on a real
//! socket, each on a fresh server. Those marked `ref_quirk`, `timing` or `differs` are where we differ on purpose.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, on};
use crate::support::{Folder, NO_SESSION, PATIENCE, Server};

/// As the original server was: it did not know the words of the family.
const SETTINGS: &str = "[protocol]\ndrained_senders = true\nfamily = false";
/// As a server is that knows them.
const WITH_FAMILY: &str = "[protocol]\ndrained_senders = true";
/// How long nothing must come where nothing is expected.
const SILENCE: Duration = Duration::from_millis(250);

/// The cases in a folder of `tests`, each with the file that it is in.
pub fn cases(folder: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).expect("it is part of the project").flatten().collect();
    files.retain(|file| file.path().extension().is_some_and(|extension| extension == "jsonl"));
    files.sort_by_key(fs::DirEntry::path);
    let mut cases = Vec::new();
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        for line in fs::read_to_string(file.path()).expect("it can be read").lines() {
            cases.push((name.clone(), serde_json::from_str(line).expect("a transcript is JSON")));
        }
    }
    cases
}

fn differs(case: &Value) -> bool {
    ["ref_quirk", "timing", "differs"].iter().any(|mark| case.get(mark).is_some())
}

/// A string of the transcript, or its pieces repeated.
fn bytes(step: &Value, key: &str) -> Option<Vec<u8>> {
    if let Some(text) = step.get(key) {
        return Some(text.as_str().expect("a string").as_bytes().to_vec());
    }
    let pieces = step.get(format!("{key}_rep"))?.as_array().expect("a list");
    let repeat = |piece: &Value| {
        let times = usize::try_from(piece[1].as_u64().expect("a number")).expect("it is small");
        piece[0].as_str().expect("a string").repeat(times).into_bytes()
    };
    Some(pieces.iter().flat_map(repeat).collect())
}

fn from_hex(text: &str) -> Vec<u8> {
    let pair = |i| u8::from_str_radix(&text[i..i + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(pair).collect()
}

/// Replaces the names of known tokens by the tokens.
fn with_tokens(data: Vec<u8>, tokens: &HashMap<String, String>) -> Vec<u8> {
    if !data.windows(7).any(|window| window == b"<token:") {
        return data;
    }
    // Bytes stand for themselves, so that what is not UTF-8 passes unharmed.
    let mut text: String = data.iter().map(|byte| char::from(*byte)).collect();
    for (name, token) in tokens {
        text = text.replace(name.as_str(), token);
    }
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("it was a byte")).collect()
}

/// Compares a reply with what is expected, learning the tokens that are new. Gives what differs.
fn compare(want: &str, got: &[u8], tokens: &mut HashMap<String, String>) -> Result<(), String> {
    let got = String::from_utf8_lossy(got).into_owned();
    let mut rest = got.as_str();
    let mut wanted = want;
    let differ = || Err(format!("want {want:.300?}, got {got:.300?}"));
    while let Some(place) = wanted.find("<token:") {
        let (before, after) = wanted.split_at(place);
        let (name, after) = after.split_at(after.find('>').expect("it is closed") + 1);
        let Some(tail) = rest.strip_prefix(before) else { return differ() };
        let Some(token) = tail.get(..36) else { return differ() };
        if tokens.entry(name.to_owned()).or_insert_with(|| token.to_owned()) != token {
            return differ();
        }
        rest = &tail[36..];
        wanted = after;
    }
    if rest == wanted { Ok(()) } else { differ() }
}

fn receive(stream: &mut TcpStream, length: usize) -> (Vec<u8>, &'static str) {
    let mut got = Vec::new();
    loop {
        let wait = if got.len() < length {
            PATIENCE
        } else if length == 0 {
            SILENCE
        } else {
            Duration::from_millis(20)
        };
        stream.set_read_timeout(Some(wait)).expect("it is not zero");
        let mut piece = vec![0; 1 << 16];
        match stream.read(&mut piece) {
            Ok(0) => return (got, "eof"),
            Ok(read) => got.extend_from_slice(&piece[..read]),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return (got, "reset"),
            Err(_) => return (got, "open"),
        }
    }
}

/// Plays a case against a server, and says what differs.
pub fn replay(case: &Value, address: SocketAddr) -> Result<(), String> {
    let mut tokens = HashMap::new();
    let mut peers: HashMap<String, TcpStream> = HashMap::new();
    for (number, step) in case["steps"].as_array().expect("a list").iter().enumerate() {
        let name = step["conn"].as_str().expect("a name").to_owned();
        let stream = peers.entry(name.clone()).or_insert_with(|| {
            let stream = TcpStream::connect(address).expect("the server listens");
            stream.set_nodelay(true).expect("the option is there");
            stream
        });
        let data =
            bytes(step, "send").or_else(|| step.get("send_hex").map(|hex| from_hex(hex.as_str().expect("a string"))));
        match (data, step.get("do").and_then(Value::as_str)) {
            (Some(data), _) => {
                stream.write_all(&with_tokens(data, &tokens)).map_err(|e| format!("step {number}: {e}"))?
            }
            (None, Some("shutdown_wr")) => {
                stream.shutdown(Shutdown::Write).map_err(|e| format!("step {number}: {e}"))?
            }
            (None, Some("sleep")) => thread::sleep(Duration::from_millis(step["ms"].as_u64().unwrap_or(0))),
            (None, Some("close")) => drop(peers.remove(&name)),
            (None, Some("open" | "read") | None) => {}
            (None, Some(other)) => return Err(format!("step {number}: no such thing to do: {other}")),
        }
        let Some(want) = bytes(step, "recv") else { continue };
        let want = String::from_utf8(want).expect("replies are ASCII");
        let length = want.len() + want.matches("<token:").map(|_| 36).sum::<usize>()
            - want
                .split("<token:")
                .skip(1)
                .map(|rest| "<token:".len() + rest.find('>').expect("closed") + 1)
                .sum::<usize>();
        let Some(stream) = peers.get_mut(&name) else { continue };
        let (got, end) = receive(stream, length);
        compare(&want, &got, &mut tokens).map_err(|e| format!("step {number}: {e}"))?;
        let wanted_end = step.get("end").and_then(Value::as_str).unwrap_or("open");
        if end != wanted_end {
            return Err(format!("step {number}: the connection is {end}, not {wanted_end}"));
        }
    }
    Ok(())
}

/// Plays all cases, each against a server of its own with these settings, and says what differs.
pub fn replay_all(cases: &[(String, Value)], settings: impl Fn(&Value) -> String + Sync) -> Vec<String> {
    let template = Folder::new("");
    template.add_three();
    let folder = |_, case: &Value| {
        let folder = Folder::new(&settings(case));
        fs::copy(template.database(), folder.database()).expect("no server holds it");
        folder
    };
    replay_each(cases, folder)
}

/// The same, each against a server in a folder that is made for it.
fn replay_each(cases: &[(String, Value)], make: impl Fn(usize, &Value) -> Folder + Sync) -> Vec<String> {
    let (next, failed) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    // Much of a replay is waiting for nothing to come, so more run at once than there are cores.
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some((file, case)) = cases.get(place) else { break };
                    let folder = make(place, case);
                    let server = Server::start(&folder);
                    if let Err(why) = replay(case, server.address) {
                        failed.lock().expect("no test panics with it").push(format!("{file}: {}: {why}", case["case"]));
                    }
                }
            });
        }
    });
    failed.into_inner().expect("no test panics with it")
}

/// Those that hold.
fn held() -> Vec<(String, Value)> {
    let mut cases = cases("transcripts");
    assert_eq!(cases.len(), 216);
    cases.retain(|(_, case)| !differs(case));
    assert_eq!(cases.len(), 201);
    cases
}

#[test]
fn every_recorded_dialogue_holds_byte_for_byte() {
    let failed = replay_all(&held(), |_| SETTINGS.to_owned());
    assert!(failed.is_empty(), "{} differ:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_recorded_dialogue_holds_byte_for_byte_on_postgres() {
    let Some(cluster) = Cluster::get() else { return };
    let template = cluster.database();
    Folder::new(&on(&template)).add_three();
    let make = |place, _: &Value| {
        let settings = format!("{SETTINGS}\n{}", on(&cluster.copy(&template, &format!("dialogue{place}"))));
        Folder::new(&settings)
    };
    let failed = replay_each(&held(), make);
    assert!(failed.is_empty(), "{} differ:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn with_the_words_of_the_family_two_dialogues_hear_that_a_session_is_missing_and_all_others_hold() {
    let mut cases = held();
    let (mut changed, mut as_before) = (0, 0);
    for (_, case) in &mut cases {
        for step in case["steps"].as_array_mut().expect("a list") {
            match step["send"].as_str() {
                Some("list\r\n" | "sendgroup x y z\r\n") => {
                    step["recv"] = format!("{NO_SESSION}\r\n\r\n").into();
                    changed += 1;
                }
                Some("register a b c d\r\n") => as_before += 1,
                _ => {}
            }
        }
    }
    assert_eq!((changed, as_before), (2, 1));
    let failed = replay_all(&cases, |_| WITH_FAMILY.to_owned());
    assert!(failed.is_empty(), "{} differ:\n{}", failed.len(), failed.join("\n"));
}
