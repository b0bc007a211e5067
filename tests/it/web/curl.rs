//! The examples of `docs/HTTP.md`, run by a shell with curl.

use std::process::Command;

use super::Page;

const PAGE: &str = include_str!("../../../docs/HTTP.md");

/// The commands, each with the lines that it prints.
fn examples() -> Vec<(String, Vec<String>)> {
    let (mut examples, mut inside): (Vec<(String, Vec<String>)>, bool) = (Vec::new(), false);
    for line in PAGE.lines() {
        match line.strip_prefix("```") {
            Some(fence) => inside = fence == "curl",
            None if inside => match (line.strip_prefix("$ "), examples.last_mut()) {
                (Some(command), _) => examples.push((command.to_owned(), Vec::new())),
                (None, Some((_, printed))) => printed.push(line.to_owned()),
                (None, None) => panic!("{line:?} is printed by no command"),
            },
            None => {}
        }
    }
    examples
}

/// Whether a line is what is shown, where words stand for what is another each time.
fn is_shown(shown: &str, line: &str) -> bool {
    let mut rest = line;
    for (place, piece) in shown.replace("TOKEN", "TIME").split("TIME").enumerate() {
        if place > 0 {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == '-');
        }
        match rest.strip_prefix(piece) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

#[test]
fn every_curl_of_the_document_prints_what_is_shown() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no curl");
        return;
    }
    let page = Page::new("");
    let examples = examples();
    assert!(examples.len() > 12, "only {} examples were found", examples.len());
    // One shell for all, because they set variables; a line that none prints tells them apart.
    let script: String = examples.iter().map(|(command, _)| format!("{command}\necho ---\n")).collect();
    let script = script.replace("127.0.0.1:8080", &page.address.to_string());
    let output = Command::new("bash").args(["-c", &script]).current_dir(page.folder.path()).output();
    let output = output.expect("bash runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut parts = printed.split("---\n");
    for (command, shown) in examples {
        let part = parts.next().unwrap_or_default();
        // curl ends no line by itself.
        let lines: Vec<&str> = part.lines().collect();
        let same = lines.len() == shown.len() && shown.iter().zip(&lines).all(|(shown, line)| is_shown(shown, line));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(same, "$ {command}\n{part}\nand the document shows\n{}\n{errors}", shown.join("\n"));
    }
}
