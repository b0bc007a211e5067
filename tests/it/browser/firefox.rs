//! Firefox, from Debian's package firefox-esr, spoken with as geckodriver does: Marionette, JSON after its length.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::driver::{PATIENCE, alone, is_there};

/// It calls nobody by itself.
const QUIET: [(&str, &str); 8] = [
    ("marionette.port", "0"),
    ("app.update.enabled", "false"),
    ("browser.shell.checkDefaultBrowser", "false"),
    ("datareporting.policy.dataSubmissionEnabled", "false"),
    ("intl.accept_languages", "\"id\""),
    ("network.captive-portal-service.enabled", "false"),
    ("network.connectivity-service.enabled", "false"),
    ("app.normandy.enabled", "false"),
];

/// A browser with a profile of its own; it ends with the test.
pub struct Firefox {
    process: Child,
    stream: BufReader<TcpStream>,
    asked: u64,
    _profile: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Firefox {
    /// None, and a word about it, where there is no Firefox. The settings are those of `about:config`, as JSON.
    pub fn start(settings: &[(&str, &str)]) -> Option<Firefox> {
        if !is_there("firefox-esr") {
            println!("SKIPPED: there is no firefox-esr (apt install firefox-esr)");
            return None;
        }
        let alone = alone();
        let profile = tempfile::tempdir().expect("a folder can be made");
        let lines = QUIET.iter().chain(settings).map(|(name, value)| format!("user_pref(\"{name}\", {value});\n"));
        fs::write(profile.path().join("user.js"), lines.collect::<String>()).expect("it can be written");
        let mut command = Command::new("firefox-esr");
        command.args(["--headless", "--no-remote", "--marionette", "--profile"]).arg(profile.path()).arg("about:blank");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().expect("Firefox starts");
        let port = profile.path().join("MarionetteActivePort");
        let until = Instant::now() + 3 * PATIENCE;
        let stream = loop {
            let port = fs::read_to_string(&port).ok().and_then(|port| port.trim().parse::<u16>().ok());
            if let Some(Ok(stream)) = port.map(|port| TcpStream::connect(("127.0.0.1", port))) {
                break stream;
            }
            if Instant::now() > until {
                let _ = process.kill();
                panic!("Firefox does not listen");
            }
            thread::sleep(Duration::from_millis(50));
        };
        stream.set_read_timeout(Some(3 * PATIENCE)).expect("it is not zero");
        let mut firefox =
            Firefox { process, stream: BufReader::new(stream), asked: 0, _profile: profile, _alone: alone };
        firefox.read();
        firefox.ask("WebDriver:NewSession", &json!({})).expect("a session begins");
        firefox.ask("WebDriver:SetTimeouts", &json!({ "script": 60_000, "pageLoad": 120_000 })).expect("it is set");
        Some(firefox)
    }

    fn read(&mut self) -> Value {
        let mut length = Vec::new();
        self.stream.read_until(b':', &mut length).expect("Firefox answers");
        let length = std::str::from_utf8(&length).ok().and_then(|text| text.trim_end_matches(':').parse().ok());
        let mut body = vec![0; length.expect("the length comes first")];
        self.stream.read_exact(&mut body).expect("Firefox answers");
        serde_json::from_slice(&body).expect("it is JSON")
    }

    fn ask(&mut self, name: &str, parameters: &Value) -> Result<Value, Value> {
        self.asked += 1;
        let text = json!([0, self.asked, name, parameters]).to_string();
        write!(self.stream.get_mut(), "{}:{text}", text.len()).expect("Firefox reads");
        let answer = self.read();
        assert_eq!(answer[1], self.asked, "an answer to something else");
        if answer[2].is_null() { Ok(answer[3].clone()) } else { Err(answer[2].clone()) }
    }

    pub fn open(&mut self, url: &str) {
        self.ask("WebDriver:Navigate", &json!({ "url": url })).expect("it opens");
    }

    /// Waits until an expression is true, which may be a promise.
    pub fn wait(&mut self, expression: &str) {
        let until = Instant::now() + PATIENCE;
        let script = format!(
            "const done = arguments[0]; (async () => {expression})().then((v) => done(Boolean(v)), () => done(false));"
        );
        loop {
            let found = self.ask("WebDriver:ExecuteAsyncScript", &json!({ "script": script, "args": [] }));
            if found.as_ref().is_ok_and(|found| found["value"] == true) {
                return;
            }
            if Instant::now() > until {
                let script = json!({ "script": "return document.body.innerText", "args": [] });
                let seen = self.ask("WebDriver:ExecuteScript", &script);
                panic!("never true: {expression} ({found:?}); the page says: {seen:?}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Does something with the element, as soon as it is there and can be used.
    fn act(&mut self, selector: &str, name: &str, more: &Value) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.ask("WebDriver:FindElement", &json!({ "using": "css selector", "value": selector }));
            let done = found.and_then(|found| {
                let mut parameters = more.clone();
                parameters["id"] = found["value"].as_object().and_then(|ids| ids.values().next()).cloned().into();
                self.ask(name, &parameters)
            });
            match done {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < until, "{selector}: {error}"),
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn click(&mut self, selector: &str) {
        self.act(selector, "WebDriver:ElementClick", &json!({}));
    }

    pub fn write(&mut self, selector: &str, text: &str) {
        self.act(selector, "WebDriver:ElementSendKeys", &json!({ "text": text }));
    }

    pub fn log_in(&mut self, server: &str, name: &str) {
        self.open(server);
        self.write("#name", name);
        self.write("#password", "surabaya");
        self.click("form .wide");
        self.wait("document.querySelector('.side .convs')");
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
