//! A PostgreSQL with a synchronous standby, for the tests in which a server is lost. Each has a folder and a socket of
//! its own, and the folders stay when a server is made anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::{command, given_to_server, programs, psql, until_the_end};
use crate::repository::quick_folder;
use crate::support::PATIENCE;

/// One server of the two.
struct PgServer {
    folder: PathBuf,
    /// As long as it is open, the server runs.
    shell: Option<Child>,
}

impl PgServer {
    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user=chat", self.folder.display())
    }

    fn start(&mut self, programs: &Path) {
        let log = fs::File::create(self.folder.join("log")).expect("it can be made");
        let mut shell = until_the_end(&self.folder);
        shell.arg(programs.join("postgres")).arg("-D").arg(self.data());
        let sockets = format!("unix_socket_directories={}", self.folder.display());
        for setting in [sockets.as_str(), "listen_addresses=", "fsync=off", "shared_buffers=32MB"] {
            shell.args(["-c", setting]);
        }
        let shell = shell.stdin(Stdio::piped()).stdout(log.try_clone().expect("a handle can be copied")).stderr(log);
        self.shell = Some(shell.spawn().expect("a shell starts"));
        self.until("SELECT 1", "1");
    }

    /// Asks until the answer is this one.
    fn until(&self, sql: &str, wanted: &str) {
        let begun = Instant::now();
        loop {
            let (_, said) = psql(&self.url("postgres"), sql);
            if said == wanted {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{sql}: {said} is not {wanted}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn sql(&self, sql: &str) {
        let (is_done, said) = psql(&self.url("postgres"), sql);
        assert!(is_done, "{sql}: {said}");
    }

    /// The processes of the server, its first one first; none where it is gone.
    fn processes(&self) -> Vec<Pid> {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let Some(first) = file.lines().next().and_then(|line| line.parse::<i32>().ok()) else { return Vec::new() };
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|word| word.parse().ok());
        let all = [first].into_iter().chain(children);
        // The number may be another process's by now.
        let is_ours =
            |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("postgres"));
        all.filter(is_ours).map(Pid::from_raw).collect()
    }

    fn signal(&self, signal: Signal) {
        // Some may have ended meanwhile.
        self.processes().into_iter().for_each(|process| _ = kill(process, signal));
    }

    fn end(&mut self) {
        self.signal(Signal::SIGCONT);
        self.signal(Signal::SIGKILL);
        if let Some(mut shell) = self.shell.take() {
            let _ = (shell.kill(), shell.wait());
        }
        // A process that nobody waits for counts as one that holds these.
        for name in [".s.PGSQL.5432", ".s.PGSQL.5432.lock"] {
            let _ = fs::remove_file(self.folder.join(name));
        }
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        if self.shell.is_some() {
            self.end();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// How a primary is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is killed.
    Killed,
    /// It stands still, and goes on later.
    Frozen,
    /// It goes on as before, and knows nothing of the new primary.
    LivesOn,
}

/// A primary and its synchronous standby.
pub struct Replicas {
    programs: PathBuf,
    primary: PgServer,
    standby: PgServer,
    url: String,
}

impl Replicas {
    /// `None` where there is no PostgreSQL.
    pub fn start() -> Option<Replicas> {
        let Some(programs) = programs() else {
            println!("SKIPPED: no PostgreSQL is installed (apt-get install postgresql), so no standby was tried");
            return None;
        };
        let server = || PgServer { folder: given_to_server(quick_folder().keep()), shell: None };
        let (mut primary, standby) = (server(), server());
        let mut initdb = command(&programs.join("initdb"), &primary.folder);
        initdb.args(["--no-sync", "--auth=trust", "--username=chat", "--encoding=UTF8", "--locale=C", "-D"]);
        let made = initdb.arg(primary.data()).output().expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        primary.start(&programs);
        primary.sql("CREATE DATABASE chat");
        let host = |server: &PgServer| format!("{}:5432", server.folder.display().to_string().replace('/', "%2F"));
        let url = format!("postgres://chat@{},{}/chat", host(&primary), host(&standby));
        let mut replicas = Replicas { programs, primary, standby, url };
        replicas.add_standby();
        Some(replicas)
    }

    /// The URL of the database, which names both servers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Copies the primary and waits until each commit is on both.
    fn add_standby(&mut self) {
        let _ = fs::remove_dir_all(self.standby.data());
        let mut copy = command(&self.programs.join("pg_basebackup"), &self.standby.folder);
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--username=chat", "--host"]);
        let copied = copy.arg(&self.primary.folder).arg("-D").arg(self.standby.data()).output().expect("it runs");
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        self.standby.start(&self.programs);
        self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'");
        self.primary.sql("SELECT pg_reload_conf()");
        self.primary.until("SELECT string_agg(sync_state, ' ') FROM pg_stat_replication", "quorum");
    }

    /// The primary is lost, and the standby is promoted.
    pub fn fail_over(&mut self, loss: Loss) {
        match loss {
            Loss::Killed => self.primary.signal(Signal::SIGKILL),
            Loss::Frozen => self.primary.signal(Signal::SIGSTOP),
            Loss::LivesOn => {}
        }
        self.standby.sql("SELECT pg_promote()");
        std::mem::swap(&mut self.primary, &mut self.standby);
    }

    /// The former primary goes on, if it stood still.
    pub fn go_on(&self) {
        self.standby.signal(Signal::SIGCONT);
    }

    /// Makes the former primary a standby of the present one.
    pub fn make_whole(&mut self) {
        self.standby.end();
        self.add_standby();
    }

    /// The standby stands still.
    pub fn freeze_standby(&self) {
        self.standby.signal(Signal::SIGSTOP);
    }
}
