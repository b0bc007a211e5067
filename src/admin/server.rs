//! The server's end of the administrator's socket.

use std::collections::VecDeque;
use std::fs::{self, File, Permissions};
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::execute;
use super::path::{SocketPath, socket_of};
use super::protocol::{AdminCommand, AdminResponse, QUESTION_BYTES, Question, VERSION};
use crate::ops::log_limit::NOT_LIMITED;
use crate::release::Release;
use crate::repository::Repository;

/// How many questions are answered at once.
const AT_ONCE: usize = 16;
/// How many connections may wait: to ask, or to be answered.
const UNANSWERED: usize = 64;
/// How long the other end may take to ask, and to take each piece of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait when no connection can be accepted.
const BACK_OFF: Duration = Duration::from_millis(50);

/// The socket, open; removed when dropped.
pub(crate) struct AdminSocket {
    path: PathBuf,
    listener: UnixListener,
    spares: Arc<Spares>,
}

impl AdminSocket {
    /// Opens the socket of a database. The caller holds the lock of the database, so a socket that is there was left
    /// behind.
    pub(crate) fn open(database: &Path) -> io::Result<AdminSocket> {
        let path = socket_of(database);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let address = SocketPath::of(&path)?;
        // The process's umask keeps others out from the first moment on; this takes the right to execute away, too.
        let listener = UnixListener::bind(address.path())?;
        let socket = AdminSocket { path, listener, spares: Arc::default() };
        socket.spares.fill();
        fs::set_permissions(&socket.path, Permissions::from_mode(0o600))?;
        Ok(socket)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Answers until it is aborted.
    pub(crate) async fn serve(self, repository: Arc<dyn Repository>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut unanswered = Unanswered::default();
        loop {
            let stream = match self.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    warn!(%error, "no administrator can be heard for the moment");
                    sleep(BACK_OFF).await;
                    continue;
                }
            };
            let (repository, spares, places) = (repository.clone(), self.spares.clone(), places.clone());
            let newcomer = unanswered.add();
            tokio::spawn(async move {
                if is_allowed(&stream) {
                    // Whoever is too slow, or goes away, asks again.
                    let _ = answer(stream, newcomer, &places, &*repository).await;
                } else {
                    warn!("somebody else than the owner and root has asked at the administrator's socket");
                }
                spares.fill();
            });
        }
    }

    async fn accept(&self) -> io::Result<UnixStream> {
        if let Ok((stream, _)) = self.listener.accept().await {
            return Ok(stream);
        }
        // Closing the spare ones frees a descriptor, and nothing else on this thread takes it meanwhile.
        self.spares.give_up();
        let again = poll_fn(|context| Poll::Ready(self.listener.poll_accept(context))).await;
        self.spares.fill();
        match again {
            Poll::Ready(accepted) => accepted.map(|(stream, _)| stream),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// The connections that wait, oldest first. Where there are too many, the oldest is closed, so that connections that
/// stay silent keep nobody out.
#[derive(Default)]
struct Unanswered(VecDeque<Weak<Notify>>);

impl Unanswered {
    /// Counts a connection in until what this returns is dropped, or notified: then it is to be closed.
    fn add(&mut self) -> Arc<Notify> {
        self.0.retain(|connection| connection.strong_count() > 0);
        if self.0.len() == UNANSWERED
            && let Some(oldest) = self.0.pop_front().and_then(|oldest| oldest.upgrade())
        {
            oldest.notify_one();
        }
        let newcomer = Arc::new(Notify::new());
        self.0.push_back(Arc::downgrade(&newcomer));
        newcomer
    }
}

/// Descriptors kept for when the process has no other left, because connections of clients have taken them all.
/// Several, because other threads open files, too.
#[derive(Debug, Default)]
struct Spares(Mutex<Vec<File>>);

const SPARES: usize = 4;

impl Spares {
    /// Opens them until there are enough, or no more can be had.
    fn fill(&self) {
        let mut spares = self.files();
        while spares.len() < SPARES
            && let Ok(file) = File::open("/dev/null")
        {
            spares.push(file);
        }
    }

    fn give_up(&self) {
        self.files().clear();
    }

    fn files(&self) -> MutexGuard<'_, Vec<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // A socket that stays does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// The owner of the process, and root. The mode of the socket says this, too, but some systems ignore it.
fn is_allowed(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == geteuid().as_raw())
}

async fn answer(
    mut stream: UnixStream,
    is_to_close: Arc<Notify>,
    places: &Semaphore,
    repository: &dyn Repository,
) -> io::Result<()> {
    let mut line = Vec::new();
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read.take(QUESTION_BYTES as u64));
    let asked = async {
        timeout(PATIENCE, read.read_until(b'\n', &mut line)).await??;
        places.acquire().await.map_err(io::Error::other)
    };
    let _place = tokio::select! {
        place = asked => place?,
        () = is_to_close.notified() => return Ok(()),
    };
    drop(is_to_close);
    let result = match parse(&line) {
        Ok(command) => {
            info!(target: NOT_LIMITED, ?command, "an administrator asks");
            tokio::select! {
                result = execute(repository, command) => result,
                // Work for somebody who has gone is not done to its end.
                () = gone(&mut read) => return Ok(()),
            }
        }
        Err(why) => Err(why),
    };
    let mut answer = serde_json::to_vec(&AdminResponse { version: VERSION, server: Some(Release::this()), result })?;
    answer.push(b'\n');
    for piece in answer.chunks(64 << 10) {
        timeout(PATIENCE, write.write_all(piece)).await??;
    }
    write.shutdown().await
}

/// Waits until the other end has closed the connection.
async fn gone(read: &mut (impl AsyncRead + Unpin)) {
    let mut more = [0; 64];
    while read.read(&mut more).await.is_ok_and(|read| read > 0) {}
}

fn parse(line: &[u8]) -> Result<AdminCommand, String> {
    if line.len() >= QUESTION_BYTES || line.last() != Some(&b'\n') {
        return Err(format!("a question is one line of at most {QUESTION_BYTES} bytes"));
    }
    // The version first: what else a question of another version holds is not for this server to judge.
    let question: serde_json::Value = serde_json::from_slice(line).map_err(|error| format!("no question: {error}"))?;
    match question.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        version => {
            let asked = version.map_or("none".to_owned(), |version| version.to_string());
            return Err(format!(
                "the server speaks version {VERSION} of the administrator's protocol, not {asked}: use the chatd that the \
                 server was started with, or restart the server"
            ));
        }
    }
    let question: Question = serde_json::from_value(question).map_err(|error| format!("no question: {error}"))?;
    Ok(question.command)
}
