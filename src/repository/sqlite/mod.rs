//! The store in SQLite. Memory answers frequent questions. All changes go through one writer. A few read-only
//! connections read what is older than the tail of the message log.

mod account_changes;
mod accounts;
mod acknowledged;
pub(crate) mod backup;
mod change;
mod checkpoint;
mod checkpointer;
mod checksum;
pub(crate) mod compaction;
mod companion;
mod contents;
mod conversations;
mod copied_source;
mod copied_tables;
mod copied_target;
pub(crate) mod copy_sum;
mod creation;
mod direct;
mod disk;
mod failure;
mod file_changes;
mod files;
mod following;
mod full_inboxes;
mod group_changes;
mod group_mail;
mod groups;
mod growth;
mod history;
mod identity;
mod index;
mod invites;
mod jumps;
mod keyed_send;
mod loading;
mod lock;
mod long_sends;
mod membership;
mod methods;
mod opening;
mod own_account;
mod packed;
mod page_copy;
pub(crate) mod paths;
mod pieces;
mod push;
mod push_changes;
mod read_marks;
mod reader;
mod readers;
pub(crate) mod restore;
mod restore_note;
mod schema;
mod send_keys;
mod sent_files;
mod shared;
pub(crate) mod snapshot;
mod stored;
mod tail;
mod unfinished;
pub(crate) mod verify;
mod wal;
mod writer;

pub(crate) use self::copied_source::SqliteSource;
pub(crate) use self::copied_target::SqliteTarget;
pub(crate) use self::schema::known_version as known_schema;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::SqlitePool;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use self::change::{Change, Changed};
use self::keyed_send::KeysInHand;
use self::lock::Lock;
use self::long_sends::LongSends;
use self::readers::Readers;
use self::shared::Shared;
use self::writer::Job;
use super::{Error, Hold, OpenError, StoreOptions};
use crate::model::UserId;
use crate::repository::group_commit::JobQueue;
use crate::repository::memory::mailboxes::UnreadMessage;

/// What this process wants with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To serve it: alone, with mailboxes.
    Server,
    /// To change accounts and sessions, whether it is being served or not.
    Admin,
    /// To add an account, which may be the first: then the database is made.
    Founder,
}

/// A store in SQLite.
pub struct SqliteRepository {
    shared: Arc<Shared>,
    jobs: JobQueue<Job>,
    long_sends: LongSends,
    keys_in_hand: KeysInHand,
    readers: Readers,
    /// For what a login reads: that does not wait for anybody's history.
    logins: SqlitePool,
    writer: TaskTracker,
    checkpointer: TaskTracker,
    stop_checkpoints: CancellationToken,
    role: Role,
    is_new: bool,
    /// Messages that were acknowledged and that this start did not find.
    lost: u64,
    /// Held while the store is open. It is the last field, because SQLite must close its files first.
    lock: Mutex<Option<Lock>>,
}

/// Opens the database at `url` for `role`.
pub async fn open(url: &str, options: &StoreOptions, role: Role) -> Result<SqliteRepository, OpenError> {
    let opened = opening::open(url, options, role).await.map_err(disk::explain)?;
    loading::load(opened, options, role).await.map_err(disk::explain)
}

fn stopped() -> Error {
    Error::new("the store is closed")
}

/// What a lease holds of the store.
struct HeldMail {
    shared: Arc<Shared>,
    jobs: JobQueue<Job>,
    recipient: UserId,
    messages: Vec<UnreadMessage>,
}

impl Hold for HeldMail {
    fn confirm(self: Box<Self>) {
        self.shared.mailboxes.confirm(self.recipient, self.messages);
        // Where the queue is full the writer is awake, and looks before each commit.
        let _ = self.jobs.try_push(Job::Confirm);
    }

    fn release(self: Box<Self>) {
        self.shared.mailboxes.release(self.recipient, self.messages);
    }
}

impl SqliteRepository {
    /// Whether the database was made when it was opened.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    async fn change(&self, change: Change) -> Result<Changed, Error> {
        let (answer, changed) = oneshot::channel();
        self.jobs.push(Job::Change(change, answer)).await.map_err(|_| stopped())?;
        changed.await.map_err(|_| stopped())?
    }

    async fn rows(&self, change: Change) -> Result<u64, Error> {
        match self.change(change).await? {
            Changed::Rows(rows) => Ok(rows),
            Changed::User(_) | Changed::Group(_) => Ok(1),
        }
    }

    fn hold(&self, recipient: UserId, messages: Vec<UnreadMessage>) -> Box<dyn Hold> {
        Box::new(HeldMail { shared: self.shared.clone(), jobs: self.jobs.clone(), recipient, messages })
    }
}

impl Drop for SqliteRepository {
    fn drop(&mut self) {
        self.stop_checkpoints.cancel();
        if let Some(lock) = self.lock().as_mut().filter(|_| self.shared.has_failed()) {
            lock.keep_note();
        }
    }
}

impl SqliteRepository {
    fn lock(&self) -> MutexGuard<'_, Option<Lock>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets others have the database, when nothing of this process has it open any more.
    fn let_go(&self) {
        if let Some(mut lock) = self.lock().take().filter(|_| self.shared.has_failed()) {
            lock.keep_note();
        }
    }
}

fn unread_accounts(error: sqlx::Error) -> Error {
    error!(%error, "accounts or sessions could not be read");
    Error::new(error)
}

fn unread_log(error: sqlx::Error) -> Error {
    error!(%error, "the message log could not be read");
    Error::new(error)
}

/// Where the database of a URL is, for those who look at its files.
pub(crate) fn database_path(url: &str) -> Result<PathBuf, OpenError> {
    paths::path_of(url)
}

/// The schema of a database; `None` when there is none yet. Fails where opening would for good, and makes no file:
/// where no WAL is, nobody has the database open, and SQLite is told so.
pub(crate) async fn schema_of(database: &Path, options: &StoreOptions) -> Result<Option<i64>, OpenError> {
    let alone = !paths::companion_path(database, "-wal").exists();
    let connect = schema::connect_options(database, options).read_only(true).immutable(alone);
    schema::version_with(database, connect).await
}
