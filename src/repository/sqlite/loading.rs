//! From an open database to a store: fills the image in memory, and starts the threads.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use sqlx::SqliteConnection;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::acknowledged::{Acknowledged, AcknowledgedNote};
use super::checksum::Damage;
use super::direct::{Failure, WalConnection};
use super::full_inboxes::FullInboxes;
use super::identity::DatabaseIdentity;
use super::index::{Tail, TailMessage, copies};
use super::keyed_send::KeysInHand;
use super::lock::Lock;
use super::long_sends::LongSends;
use super::membership::{self, LoadedGroups};
use super::opening::Opened;
use super::readers::{self, Readers};
use super::schema::Progress;
use super::shared::Shared;
use super::writer::Writer;
use super::{Role, SqliteRepository, accounts, checkpointer, failure, jumps, paths, schema, stored, tail};
use crate::clock::Steady;
use crate::model::{Address, MessageId};
use crate::ops::vital;
use crate::repository::group_commit::JobQueue;
use crate::repository::memory::directory::Directory;
use crate::repository::memory::mailboxes::{InboxLimits, Mailboxes, UnreadMessage};
use crate::repository::memory::stored::StoredTotals;
use crate::repository::{OpenError, StoreOptions, UnreadTotals};

/// How many jobs may wait for the writer before connections are held back.
const QUEUE: usize = 8192;

/// The image of a store in memory, as the disk had it at one moment, and the connection that read it. The store of a
/// command has no image: it reads only what it changes.
struct Loaded {
    shared: Arc<Shared>,
    db: WalConnection,
    progress: Progress,
    /// Messages that were acknowledged and are not there.
    lost: u64,
    tail: Vec<TailMessage>,
    /// Who has no room for a group's mail, and whether somebody has read a message before an older one.
    of_groups: (FullInboxes, bool),
    /// The last change of accounts and sessions that is in memory.
    seen: Option<i64>,
}

/// Reads what the store has in memory.
async fn read(
    database: &Path,
    mut db: SqliteConnection,
    former: Option<(Acknowledged, bool)>,
    options: &StoreOptions,
    role: Role,
) -> Result<Loaded, OpenError> {
    let failed = |e: sqlx::Error| paths::failed(database, e);
    let mut progress = schema::progress(&mut db).await.map_err(failed)?;
    let lost = former.map_or(0, |(former, is_cut_short)| former.tell_loss(&mut progress.next_id, is_cut_short));
    let damage = Damage::new(progress.unchecked, database.to_owned());
    let (mut totals, mut rows) = (UnreadTotals::default(), Vec::new());
    if role == Role::Server {
        // One view, so that another process removes nothing meanwhile that is then counted twice or not at all.
        sqlx::query("BEGIN IMMEDIATE").execute(&mut db).await.map_err(failed)?;
        schema::undo_unfinished_run(&mut db, progress.watermark).await.map_err(failed)?;
        totals = schema::totals(&mut db).await.map_err(failed)?;
        rows = tail::read(&mut db, progress, &damage).await.map_err(failed)?;
    }
    let mut db = WalConnection::new(db).await.map_err(|e| paths::failed(database, e))?;
    let failed = |failure: Failure| paths::failed(database, failure);
    let time = Steady::new(options.clock.clone());
    let (mut directory, mut groups, mut seen) = (Directory::default(), LoadedGroups::default(), None);
    if role == Role::Server {
        jumps::begin(&mut db, time.now()).await.map_err(failed)?;
        let (accounts, last_change) = accounts::load(&mut db).await.map_err(failed)?;
        (directory, seen) = (accounts, Some(last_change));
        groups = membership::load(&mut db, progress.watermark).await.map_err(failed)?;
    }
    let caps = InboxLimits { messages: options.inbox_messages, bytes: options.inbox_bytes };
    let mailboxes = Mailboxes::new(caps, &totals, progress.watermark);
    let tail = fill(&mailboxes, rows, &directory, &groups, &damage);
    let LoadedGroups { groups, full, exceptions, .. } = groups;
    let of_groups = (full, exceptions.any_ahead());
    let stored = StoredTotals::new(options.stored_bytes);
    if role == Role::Server {
        stored::load(&mut db, &stored, &tail).await.map_err(failed)?;
        db.execute("COMMIT", ()).await.map_err(failed)?;
    }
    let memory = (directory, groups);
    let database = database.to_owned();
    let shared = Shared::new(database, memory, mailboxes, stored, damage, options.min_free_bytes, time);
    Ok(Loaded { shared: Arc::new(shared), db, progress, lost, tail, of_groups, seen })
}

/// Makes a store of what was opened.
pub(super) async fn load(opened: Opened, options: &StoreOptions, role: Role) -> Result<SqliteRepository, OpenError> {
    let Opened { database, mut lock, db, is_new, former } = opened;
    let Loaded { shared, mut db, progress, lost, tail, of_groups, seen } =
        read(&database, db, former, options, role).await?;
    let readers = Readers::open(&database, options, role).await?;
    let logins = readers::pool(1, &database, options, role).await?;
    let note = match &mut lock {
        Some(lock) => write_pid(lock, &shared, &database, progress).map_err(|e| paths::failed(&database, e))?,
        None => None,
    };
    if role == Role::Server {
        shared.look_for_room(&mut db).await;
    }
    let (queue, jobs) = JobQueue::new(QUEUE);
    let failed = |failure: Failure| paths::failed(&database, failure);
    let tail = (tail, Tail::new(options.tail_messages));
    let writer =
        Writer::new(shared.clone(), db, jobs, progress, tail, of_groups, (seen, note)).await.map_err(failed)?;
    let (writing, checkpointer) = (TaskTracker::new(), TaskTracker::new());
    let stop_checkpoints = CancellationToken::new();
    let runtime = Handle::current();
    writing.spawn_blocking(move || runtime.block_on(vital::task("writer", writer.work())));
    if role == Role::Server {
        let db = WalConnection::new(schema::writer(&database, options).await?).await.map_err(failed)?;
        let (shared, stop, runtime) = (shared.clone(), stop_checkpoints.clone(), Handle::current());
        checkpointer.spawn_blocking(move || {
            runtime.block_on(vital::task("checkpointer", checkpointer::run(db, &shared, stop)))
        });
    }
    Ok(SqliteRepository {
        shared,
        jobs: queue,
        long_sends: LongSends::new(),
        keys_in_hand: KeysInHand::default(),
        readers,
        logins,
        writer: writing,
        checkpointer,
        stop_checkpoints,
        role,
        is_new,
        lost,
        lock: Mutex::new(lock),
    })
}

/// Puts the tail into the mailboxes, and gives it without its texts.
fn fill(
    mailboxes: &Mailboxes,
    rows: Vec<tail::TailRow>,
    directory: &Directory,
    of_groups: &LoadedGroups,
    damage: &Damage,
) -> Vec<TailMessage> {
    let mut tail = Vec::with_capacity(rows.len());
    let mut unread = Vec::new();
    for row in rows {
        let (waiting, read) = row.waiting(directory, &of_groups.groups, damage);
        let before = unread.len();
        match waiting.to {
            Address::User(recipient) if read => mailboxes.note_sender(recipient, waiting.sender, waiting.id),
            Address::User(recipient) => unread.push((recipient, waiting.clone())),
            Address::Group(group) => {
                unread.extend(of_groups.unread_by(group, &waiting).map(|member| (member, waiting.clone())));
            }
        }
        let UnreadMessage { id, sender, to, bytes, .. } = waiting;
        tail.push(TailMessage { id, sender, to, bytes, copies: copies(unread.len() - before) });
    }
    mailboxes.restore(unread.into_iter());
    tail
}

/// The files are a server's now. Gives where it is noted what is acknowledged.
fn write_pid(
    lock: &mut Lock,
    shared: &Shared,
    database: &Path,
    progress: Progress,
) -> io::Result<Option<AcknowledgedNote>> {
    let files = DatabaseIdentity::of(database)?;
    shared.watch(files);
    let note = lock
        .sign_with(files, database, MessageId(progress.next_id.0 - 1))
        .inspect_err(|error| warn!(%error, "it could not be noted which process serves the database"));
    failure::forget_failure(database)?;
    Ok(note.ok())
}
