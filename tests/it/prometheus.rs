//! The rules and the dashboard in `docs/`: they name what chatd prints, and a real Prometheus takes them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::metrics::numbers;
use crate::security::tls::certificate_for;
use crate::support::{Folder, PATIENCE, Server, address_in};

const RULES: &str = "docs/prometheus-rules.yaml";
const DASHBOARD: &str = "docs/GRAFANA.json";
const FAULTS: &str = "tests/prometheus/faults.yaml";

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(path(file)).expect("it is part of the project")
}

/// A server that prints all numbers that there are, and a certificate that ends in five days.
fn watched() -> (Folder, Server, SocketAddr) {
    let folder = Folder::new("");
    certificate_for(&folder, -1..5);
    let place = folder.path().display();
    folder.configure(&format!(
        "[server]\ntls_listen = \"127.0.0.1:0\"\ntls_certificate = \"{place}/chat.crt\"\ntls_key = \"{place}/chat.key\"\n\
         [metrics]\nlisten = \"127.0.0.1:0\"\n[limits]\nconnections_per_address = 2\n\
         [throttle]\naddress_per_minute = 0\naddress_per_hour = 0\naccount_per_minute = 0\naccount_per_hour = 0"
    ));
    folder.add_three();
    let server = Server::start(&folder);
    let address = address_in(&server.log(), "listening for Prometheus").expect("it is logged");
    (folder, server, address)
}

/// The names of chatd's numbers in a text, without what a histogram adds to its name.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let plain = |name: &str| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        histogram.unwrap_or(name).to_owned()
    };
    words.filter(|word| word.starts_with("chatd_")).map(plain).collect()
}

/// The values of the label `reason` in a text, also those that are given as alternatives.
fn reasons(text: &str) -> BTreeSet<String> {
    let after = text.split("reason=").skip(1).map(|rest| rest.trim_start_matches(['~', '\\', '"']));
    let values = after.filter_map(|rest| rest.split(['"', '\\']).next());
    values.flat_map(|value| value.split('|')).map(str::to_owned).collect()
}

fn alerts(text: &str, key: &str) -> BTreeSet<String> {
    let lines =
        text.lines().filter_map(|line| line.trim().strip_prefix("- ")?.trim_start_matches("{ ").strip_prefix(key));
    lines.filter_map(|rest| rest.split([',', ' ']).next()).map(str::to_owned).collect()
}

#[test]
fn rules_dashboard_and_faults_name_what_chatd_prints() {
    let (_folder, _server, address) = watched();
    let printed: String = numbers(address).keys().map(|name| format!("{name}\n")).collect();
    let (printed, printed_reasons) = (names(&printed), reasons(&printed));
    for file in [RULES, DASHBOARD, FAULTS] {
        let (names_there, reasons_there) = (names(&text(file)), reasons(&text(file)));
        assert!(names_there.len() >= 9, "{file}: {names_there:?}");
        let unknown: Vec<_> = names_there.difference(&printed).collect();
        assert!(unknown.is_empty(), "{file} names what chatd does not print: {unknown:?}");
        let unknown: Vec<_> = reasons_there.difference(&printed_reasons).collect();
        assert!(unknown.is_empty(), "{file} names reasons that there are not: {unknown:?}");
    }
    // The dashboard shows all of it.
    assert_eq!(names(&text(DASHBOARD)), printed);
}

#[test]
fn every_rule_fires_when_its_fault_is_planted() {
    let rules = alerts(&text(RULES), "alert: ");
    assert!(rules.len() >= 12, "{rules:?}");
    let planted: BTreeSet<String> =
        text(FAULTS).lines().filter_map(|line| line.trim().strip_prefix("- name: ")).map(str::to_owned).collect();
    assert!(rules.is_subset(&planted), "{FAULTS} plants no fault for {:?}", rules.difference(&planted));
    assert_eq!(alerts(&text(FAULTS), "alertname: "), rules);
    let Ok(tested) = Command::new("promtool").args(["test", "rules"]).arg(path(FAULTS)).output() else {
        return println!("SKIPPED: there is no promtool (apt install prometheus)");
    };
    let said = String::from_utf8_lossy(&tested.stdout).into_owned() + &String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success(), "{said}");
}

/// A real Prometheus that reads one chatd every second.
struct Prometheus {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(of: SocketAddr) -> Option<Prometheus> {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let rules = text(RULES);
        fs::write(folder.path().join("rules.yaml"), rules).expect("it can be written");
        let settings = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [rules.yaml]\n\
             scrape_configs:\n  - job_name: chatd\n    static_configs: [{{ targets: [\"{of}\"] }}]\n"
        );
        fs::write(folder.path().join("prometheus.yml"), settings).expect("it can be written");
        // It takes no port 0 and says which it got, so one that was free a moment ago.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = free.expect("a port is free");
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).expect("it can be made"))
            .spawn()
            .ok()?;
        Some(Prometheus { process, address, _folder: folder })
    }

    /// Its answer to a question of its API, once it gives one.
    fn ask(&self, question: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET /api/v1/{question} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        let (_, body) = reply.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// The rules: name and state of the alert, and whether its expression could be computed.
    fn rules(&self) -> Vec<(String, String, String)> {
        let answer = self.ask("rules").unwrap_or_default();
        let rules = answer["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        let word = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        rules.iter().map(|rule| (word(rule, "name"), word(rule, "state"), word(rule, "health"))).collect()
    }

    /// Waits until these alerts, and no others, are pending or fire.
    fn expect(&self, wanted: &[&str], mut meanwhile: impl FnMut()) {
        let (wanted, begun) = (wanted.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), Instant::now());
        loop {
            meanwhile();
            let rules = self.rules();
            let active = rules.iter().filter(|(_, state, _)| state != "inactive");
            let active: BTreeSet<String> = active.map(|(name, ..)| name.clone()).collect();
            if active == wanted && rules.iter().all(|(_, _, health)| health == "ok") {
                return;
            }
            assert!(begun.elapsed() < 3 * PATIENCE, "wanted {wanted:?}: {rules:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_real_prometheus_takes_the_rules_and_answers_the_dashboard() {
    let (_folder, server, address) = watched();
    let Some(prometheus) = Prometheus::start(address) else {
        return println!("SKIPPED: there is no prometheus (apt install prometheus)");
    };
    // The disk of whoever runs this may be nearly full.
    let disk: &[&str] = if numbers(address)["chatd_disk_free_bytes"] < 1e9 { &["ChatdDiskFillsUp"] } else { &[] };
    let with_disk = |alerts: &[&'static str]| [disk, alerts].concat();
    prometheus.expect(&with_disk(&["ChatdCertificateEnds"]), || ());

    // Passwords that are wrong, more than one a second, and a third connection where two may be.
    let (mut messi, _) = server.login("messi");
    let (_second, _) = server.login("henderson");
    let guessed = with_disk(&["ChatdCertificateEnds", "ChatdPasswordsAreGuessed", "ChatdConnectionsAreRefused"]);
    prometheus.expect(&guessed, || {
        for _ in 0..20 {
            messi.ask("auth messi wrong");
        }
        assert!(server.connect().is_over());
    });

    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let mut queries = 0;
    for query in targets.map(|target| target["expr"].as_str().expect("an expression")) {
        let asked = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
        let encoded: String = asked.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = prometheus.ask(&format!("query?query={encoded}")).expect("it answers");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        assert_ne!(answer["data"]["result"], Value::Array(Vec::new()), "{query} shows nothing");
        queries += 1;
    }
    assert!(queries >= 15, "only {queries} expressions");

    server.kill();
    let begun = Instant::now();
    while !prometheus.rules().iter().any(|(name, state, _)| name == "ChatdDown" && state != "inactive") {
        assert!(begun.elapsed() < PATIENCE, "{:?}", prometheus.rules());
        thread::sleep(Duration::from_millis(100));
    }
}
