//! A PostgreSQL of the tests' own: one server for the process, one database for each test. Where PostgreSQL is not
//! installed, what needs it says SKIPPED.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::chown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{User, geteuid};

use crate::repository::quick_folder;
use crate::support::PATIENCE;

/// Ends the server when the tests' process is gone, whatever ended that: then nobody holds the other end of its input.
const UNTIL_THE_END: &str =
    "\"$@\" </dev/null & server=$!; read -r line; kill -QUIT $server; wait $server; rm -rf \"$0\"";

/// What PostgreSQL calls its socket.
const SOCKET: &str = ".s.PGSQL.5432";

/// A way to the server that loses an answer when it is told to: the server has done what it was asked, and who asked
/// hears nothing but the end of the connection.
pub struct LossyWay {
    folder: tempfile::TempDir,
    losses: Arc<AtomicUsize>,
}

impl LossyWay {
    fn to(server: PathBuf) -> LossyWay {
        let way = LossyWay { folder: quick_folder(), losses: Arc::default() };
        let listener = UnixListener::bind(way.folder.path().join(SOCKET)).expect("the path is free");
        let losses = way.losses.clone();
        // It ends with the process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = UnixStream::connect(&server) else { continue };
                let both = || (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
                let (there, back) = (both(), both());
                thread::spawn(move || pump(there.0, there.1, || false));
                let (losses, seen) = (losses.clone(), losses.load(Ordering::Relaxed));
                thread::spawn(move || pump(back.1, back.0, || losses.load(Ordering::Relaxed) > seen));
            }
        });
        way
    }

    /// The URL of a database on this way.
    pub fn url(&self, url: &str) -> String {
        format!("postgres:///{}?host={}&user=chat", name_in(url), self.folder.path().display())
    }

    /// The next answer on each connection is lost, and the connection with it.
    pub fn lose(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
    }
}

fn pump(mut from: UnixStream, mut to: UnixStream, is_lost: impl Fn() -> bool) {
    let mut piece = vec![0; 1 << 16];
    while let Ok(read) = from.read(&mut piece) {
        if read == 0 || is_lost() || to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// A PostgreSQL server.
pub struct Cluster {
    /// The server listens in it, and nowhere else: a port that is free may be taken before it is.
    folder: PathBuf,
    /// As long as it is open, the server runs.
    _server: Child,
}

/// Who the server runs as: root may not.
fn server_user() -> Option<User> {
    let is_root = geteuid().is_root();
    is_root.then(|| User::from_name("postgres").ok().flatten()).flatten()
}

/// The newest server that is installed.
pub fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.retain(|bin| bin.join("initdb").exists());
    found.sort();
    found.pop()
}

/// A command of the server's, as its user.
pub fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = server_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command.current_dir(folder).env("LC_ALL", "C");
    command
}

/// A folder that the server may use.
pub fn given_to_server(folder: PathBuf) -> PathBuf {
    if let Some(user) = server_user() {
        chown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("root may do that");
    }
    folder
}

/// A command that runs the one that is added to it, until its input ends, and then removes the folder.
pub fn until_the_end(folder: &Path) -> Command {
    let mut shell = command(Path::new("/bin/sh"), folder);
    shell.args(["-c", UNTIL_THE_END]).arg(folder);
    shell
}

/// Settings of a server on the database at a URL.
pub fn on(url: &str) -> String {
    format!("[database]\nurl = \"{url}\"\n")
}

/// The name of the database at a URL.
fn name_in(url: &str) -> &str {
    let path = url.split('?').next().and_then(|path| path.rsplit('/').next());
    path.expect("it names a database")
}

impl Cluster {
    fn start() -> Option<Cluster> {
        let programs = programs()?;
        if geteuid().is_root() && server_user().is_none() {
            return None;
        }
        let folder = given_to_server(quick_folder().keep());
        let data = folder.join("data");
        let made = command(&programs.join("initdb"), &folder)
            .args(["--no-sync", "--auth=trust", "--username=chat", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let log = fs::File::create(folder.join("log")).expect("it can be made");
        let mut shell = until_the_end(&folder);
        shell.arg(programs.join("postgres")).arg("-D").arg(&data);
        let sockets = format!("unix_socket_directories={}", folder.display());
        // What is proven with these is no fsync.
        for setting in
            [sockets.as_str(), "listen_addresses=", "fsync=off", "max_connections=900", "shared_buffers=64MB"]
        {
            shell.args(["-c", setting]);
        }
        let shell = shell.stdin(Stdio::piped()).stdout(log.try_clone().expect("a handle can be copied")).stderr(log);
        let server = shell.spawn().expect("a shell starts");
        let cluster = Cluster { folder, _server: server };
        let begun = Instant::now();
        while !cluster.psql("postgres", "SELECT 1").0 {
            let log = || fs::read_to_string(cluster.folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "PostgreSQL did not start: {}", log());
            thread::sleep(Duration::from_millis(20));
        }
        Some(cluster)
    }

    /// The server of this process; `None` where there is no PostgreSQL.
    pub fn get() -> Option<&'static Cluster> {
        static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
        let cluster = CLUSTER.get_or_init(Cluster::start).as_ref();
        if cluster.is_none() {
            println!("SKIPPED: no PostgreSQL is installed (apt-get install postgresql), so nothing was tried on it");
        }
        cluster
    }

    /// A database of its own; gives its URL.
    pub fn database(&self) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        self.create(&format!("chat{}", NEXT.fetch_add(1, Ordering::Relaxed)), "template1")
    }

    /// A database whose tables are in a directory of their own, which is made there; gives its URL.
    pub fn database_in(&self, place: &Path) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("space{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let place = place.join("space");
        fs::create_dir(&place).expect("it can be made");
        let place = given_to_server(place);
        self.sql("postgres", &format!("CREATE TABLESPACE {name} LOCATION '{}'", place.display()));
        self.sql("postgres", &format!("CREATE DATABASE {name} TABLESPACE {name}"));
        self.url(&name)
    }

    /// Removes a database, and the place of its tables.
    pub fn remove(&self, url: &str) {
        let name = name_in(url);
        self.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
        self.sql("postgres", &format!("DROP TABLESPACE {name}"));
    }

    /// A copy of a database to which nobody is connected; gives its URL.
    pub fn copy(&self, url: &str, name: &str) -> String {
        self.create(name, name_in(url))
    }

    fn create(&self, name: &str, template: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        self.url(name)
    }

    fn url(&self, name: &str) -> String {
        format!("postgres:///{name}?host={}&user=chat", self.folder.display())
    }

    /// A way to the server on which answers can be lost.
    pub fn lossy_way(&self) -> LossyWay {
        LossyWay::to(self.folder.join(SOCKET))
    }

    /// What SQL says in the database of this name.
    pub fn sql(&self, name: &str, sql: &str) -> String {
        let (is_done, said) = self.psql(name, sql);
        assert!(is_done, "{sql}: {said}");
        said
    }

    /// The same in the database at a URL.
    pub fn sql_at(&self, url: &str, sql: &str) -> String {
        self.sql(name_in(url), sql)
    }

    /// Sets a parameter for those who connect to the database at a URL from now on.
    pub fn set(&self, url: &str, parameter: &str, value: &str) {
        self.sql("postgres", &format!("ALTER DATABASE {} SET {parameter} = '{value}'", name_in(url)));
    }

    /// Makes a file in the server's data that is named after the database at a URL, for a function that waits for it.
    pub fn go(&self, url: &str) {
        fs::write(self.folder.join("data").join(format!("go-{}", name_in(url))), "").expect("it can be made");
    }

    /// Removes it.
    pub fn stop_going(&self, url: &str) {
        fs::remove_file(self.folder.join("data").join(format!("go-{}", name_in(url)))).expect("it was made");
    }

    /// All that the server has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).expect("it was made at start")).into_owned()
    }

    fn psql(&self, name: &str, sql: &str) -> (bool, String) {
        psql(&self.url(name), sql)
    }
}

/// Whether SQL was done in the database at a URL, and what was said.
pub fn psql(url: &str, sql: &str) -> (bool, String) {
    let mut psql = Command::new("psql");
    psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-", url]);
    let mut child = psql
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql is there where PostgreSQL is");
    // Where nobody listens it ends before it reads.
    let _ = child.stdin.take().expect("it was piped").write_all(sql.as_bytes());
    let output = child.wait_with_output().expect("psql ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).trim_end().to_owned())
}
