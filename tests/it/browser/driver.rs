//! A browser that a test drives: Chromium by chromedriver, from Debian's packages of these names.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fantoccini::error::CmdError;
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

/// Nothing that works takes longer, on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// chromedriver; it ends with the test.
pub struct Driver {
    process: Child,
    _output: BufReader<ChildStdout>,
    address: String,
    _alone: MutexGuard<'static, ()>,
}

/// Chromium takes much of the machine: several at once are too slow for the deadlines of the page itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Held by who has browsers.
pub fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a program is installed.
pub fn is_there(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).exists()))
}

impl Driver {
    /// None, and a word about it, where there is no Chromium.
    pub fn start() -> Option<Driver> {
        if !is_there("chromedriver") || !is_there("chromium") {
            println!("SKIPPED: there is no chromium or chromedriver (apt install chromium chromium-driver)");
            return None;
        }
        let alone = alone();
        // It takes a free port of IPv4, and ends where a program of another test has that of IPv6.
        let (process, output, port) = (0..10).find_map(|_| Driver::process()).expect("chromedriver ends ten times");
        Some(Driver { process, _output: output, _alone: alone, address: format!("http://127.0.0.1:{port}") })
    }

    /// A process of it, what it says, and its port; `None` where it ends at once.
    fn process() -> Option<(Child, BufReader<ChildStdout>, String)> {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("chromedriver starts");
        let mut output = BufReader::new(process.stdout.take().expect("it was piped"));
        let mut line = String::new();
        let port = loop {
            line.clear();
            if output.read_line(&mut line).expect("it is text") == 0 {
                break None;
            }
            if let Some((_, port)) = line.trim_end().trim_end_matches('.').split_once("successfully on port ") {
                break Some(port.to_owned());
            }
        };
        match port {
            Some(port) => Some((process, output, port)),
            None => process.wait().map(|_| None).expect("it is ours"),
        }
    }

    /// A browser with a window of this size; under 720 it is a phone.
    pub fn browser(&self, width: u32, height: u32) -> Browser {
        self.browser_with_text(width, height, 16)
    }

    /// The same where the person has set the size of text.
    pub fn browser_with_text(&self, width: u32, height: u32, text: u32) -> Browser {
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--lang=id",
            format!("--window-size={width},{height}"),
        ]);
        let mut options = json!({ "args": arguments, "prefs": {
            "intl.accept_languages": "id", "webkit.webprefs.default_font_size": text } });
        // A window of Chromium is no narrower than 500, so a phone is pretended.
        options["mobileEmulation"] = match width < 720 {
            true => json!({ "deviceMetrics": { "width": width, "height": height, "pixelRatio": 1, "touch": true } }),
            false => json!({ "deviceMetrics": { "width": width, "height": height, "pixelRatio": 1, "touch": false,
                "mobile": false } }),
        };
        let patience = PATIENCE.as_millis() as u64;
        let timeouts = json!({ "script": patience, "pageLoad": 2 * patience });
        let capabilities = json!({ "goog:chromeOptions": options, "timeouts": timeouts });
        let capabilities = capabilities.as_object().expect("it is one").clone();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        // chromedriver gives up on a Chromium that starts slowly.
        let until = Instant::now() + 3 * PATIENCE;
        loop {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            match runtime.block_on(builder.capabilities(capabilities.clone()).connect(&self.address)) {
                Ok(client) => return Browser { runtime, client, driver: self.address.clone() },
                Err(error) if Instant::now() > until => panic!("Chromium does not start: {error}"),
                Err(_) => {}
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One browser with its own cookies and storage.
pub struct Browser {
    runtime: Runtime,
    pub client: Client,
    driver: String,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.client.clone().close());
    }
}

impl Browser {
    pub fn run<T, E: std::fmt::Debug>(&self, work: impl Future<Output = Result<T, E>>) -> T {
        self.runtime.block_on(work).expect("the browser does it")
    }

    /// The same once more where the page was just drawn anew: what was looked up is gone, not there yet or covered.
    fn act<T>(&self, work: impl AsyncFn() -> Result<T, CmdError>) -> T {
        let until = Instant::now() + PATIENCE;
        let passes = |error: &CmdError| {
            let error = error.to_string();
            ["stale element", "no such element", "click intercepted", "not interactable"]
                .iter()
                .any(|e| error.contains(e))
        };
        loop {
            match self.runtime.block_on(work()) {
                Err(error) if passes(&error) && Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
                other => return other.expect("the browser does it"),
            }
        }
    }

    pub fn open(&self, url: &str) {
        self.run(self.client.goto(url));
    }

    /// What a script returns.
    pub fn script(&self, script: &str) -> Value {
        self.run(self.client.execute(script, Vec::new()))
    }

    /// What a script returns, or why it could not be run now.
    pub fn try_script(&self, script: &str, arguments: Vec<Value>) -> Result<Value, String> {
        self.runtime.block_on(self.client.execute(script, arguments)).map_err(|error| error.to_string())
    }

    pub fn try_script_later(&self, script: &str) -> Result<Value, String> {
        self.runtime.block_on(self.client.execute_async(script, Vec::new())).map_err(|error| error.to_string())
    }

    pub fn script_later(&self, script: &str) -> Value {
        self.run(self.client.execute_async(script, Vec::new()))
    }

    /// Waits until an expression of JavaScript is true. What cannot be looked at yet, because the page is being loaded
    /// or has not drawn it, is not true yet.
    pub fn wait(&self, expression: &str) {
        let until = Instant::now() + PATIENCE;
        let script = format!("return Boolean({expression})");
        loop {
            match self.runtime.block_on(self.client.execute(&script, Vec::new())) {
                Ok(Value::Bool(true)) => return,
                found if Instant::now() > until => {
                    let seen = self.runtime.block_on(self.client.execute("return document.body.innerText", Vec::new()));
                    panic!("never true: {expression} ({found:?}); the page says:\n{seen:?}");
                }
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Waits until the page shows the text.
    pub fn see(&self, text: &str) {
        self.wait(&format!("document.body.innerText.includes({})", json!(text)));
    }

    pub fn wait_for(&self, selector: &str) {
        self.wait(&format!("document.querySelector({})", json!(selector)));
    }

    pub fn count(&self, selector: &str) -> u64 {
        let script = format!("return document.querySelectorAll({}).length", json!(selector));
        self.script(&script).as_u64().expect("a number")
    }

    pub fn click(&self, selector: &str) {
        self.wait_for(selector);
        self.act(async || self.client.find(Locator::Css(selector)).await?.click().await);
    }

    pub fn text(&self, selector: &str) -> String {
        self.wait_for(selector);
        self.act(async || self.client.find(Locator::Css(selector)).await?.text().await)
    }

    pub fn write(&self, selector: &str, text: &str) {
        self.wait_for(selector);
        self.act(async || self.client.find(Locator::Css(selector)).await?.send_keys(text).await);
    }

    /// Keys go to what has the focus; with `held` down.
    pub fn press(&self, held: Option<Key>, key: &str) {
        let mut keys = held.map(|held| String::from(char::from(held))).unwrap_or_default();
        keys.push_str(key);
        self.act(async || self.client.active_element().await?.send_keys(&keys).await);
    }

    /// A command of Chromium's own protocol.
    pub fn cdp(&self, command: &str, parameters: &Value) -> Value {
        let session = self.run(self.client.session_id()).expect("a session is open");
        let body = json!({ "cmd": command, "params": parameters }).to_string();
        let host = self.driver.trim_start_matches("http://");
        let request = format!(
            "POST /session/{session}/goog/cdp/execute HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(host).expect("chromedriver listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        stream.write_all(request.as_bytes()).expect("chromedriver reads");
        // chromedriver keeps the connection open.
        let mut reader = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let from = head.len();
            assert!(reader.read_line(&mut head).expect("chromedriver answers") > 0, "{head}");
            if let Some(("content-length", value)) = head[from..].to_lowercase().split_once(':') {
                length = value.trim().parse().expect("it is a number");
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer).expect("chromedriver answers");
        let answer: Value = serde_json::from_slice(&answer).expect("it is JSON");
        assert!(head.contains(" 200 "), "{command}: {answer}");
        answer["value"].clone()
    }

    pub fn log_in(&self, server: &str, name: &str) {
        self.open(server);
        self.log_in_again(name);
    }

    /// The same where the login is open.
    pub fn log_in_again(&self, name: &str) {
        self.write("#name", name);
        self.write("#password", "surabaya");
        self.press(None, "\u{e007}");
        self.wait_for(".side .convs");
    }

    pub fn picture(&self, path: &Path) {
        let png = self.run(self.client.screenshot());
        std::fs::write(path, png).expect("it can be written");
    }
}
