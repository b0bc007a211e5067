//! The JSON is what Python's `json.dumps` gives, asked of Python itself: every character there is, and any string.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use chatd::model::{Message, MessageId, Timestamp, Username};
use chatd::protocol::{Reply, SenderMessages, json};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// One text a line, in hexadecimal, so that line ends and NUL pass.
const PROGRAM: &str = "import sys, json
for line in sys.stdin: print(json.dumps(bytes.fromhex(line).decode()))";

fn python(texts: &[String]) -> Vec<String> {
    let mut child = Command::new("python3")
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there: .ci/run installs it");
    let mut stdin = child.stdin.take().expect("it was piped");
    let lines: String =
        texts.iter().map(|text| text.bytes().map(|b| format!("{b:02x}")).collect::<String>() + "\n").collect();
    let writer = thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it does not panic").expect("python reads to the end");
    String::from_utf8(output.stdout).expect("json.dumps gives ASCII").lines().map(str::to_owned).collect()
}

/// The text as it stands in the reply to `inbox`.
fn ours(text: &str) -> String {
    let message = Message { id: MessageId(1), sent_at: Timestamp(0), text: text.into() };
    let name = Username::stored("messi");
    let from = SenderMessages {
        username: name,
        sender: "L".into(),
        recipient: "J".into(),
        messages: vec![message],
        to_groups: Vec::new(),
    };
    let mut out = Vec::new();
    json::render(&Reply::Inbox(vec![from]), &mut out);
    let reply = String::from_utf8(out).expect("replies are ASCII");
    let before = "{\"status\": \"OK\", \"messages\": {\"messi\": [{\"msg_from\": \"L\", \"msg_to\": \"J\", \"msg\": ";
    let rest = reply.strip_prefix(before).and_then(|rest| rest.strip_suffix("}]}}\r\n\r\n"));
    rest.unwrap_or_else(|| panic!("{reply:.300}")).to_owned()
}

#[test]
fn json_is_what_python_gives() {
    let every_character: Vec<char> = ('\0'..=char::MAX).collect();
    let mut texts: Vec<String> = every_character.chunks(4096).map(|chunk| chunk.iter().collect()).collect();
    assert_eq!(every_character.len(), 0x11_0000 - 0x800);
    let mut runner = TestRunner::default();
    let strings = prop_oneof![any::<String>(), "[\0-\u{9f}\"\\\\/<']{0,40}"];
    texts.extend((0..2000).map(|_| strings.new_tree(&mut runner).expect("nothing is rejected").current()));
    let theirs = python(&texts);
    assert_eq!(theirs.len(), texts.len());
    for (text, theirs) in texts.iter().zip(theirs) {
        assert_eq!(ours(text), theirs);
    }
}
