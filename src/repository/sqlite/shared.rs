//! What the writer, the checkpointer and the readers share: the image in memory of what is committed, whether the disk
//! has room, and whether it has failed. Writes nothing to the database.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{Notify, broadcast};
use tracing::{error, info, warn};

use super::checkpoint::CheckpointState;
use super::checksum::Damage;
use super::direct::{Failure, WalConnection};
use super::disk::{self, DiskReserve, Room};
use super::failure;
use super::identity::DatabaseIdentity;
use crate::clock::Steady;
use crate::model::{Address, UserId};
use crate::ops::metrics::{Counter, Histogram};
use crate::repository::lease::Leases;
use crate::repository::memory::directory::Directory;
use crate::repository::memory::event::{Ended, Event};
use crate::repository::memory::followers::Followers;
use crate::repository::memory::groups::Groups;
use crate::repository::memory::mailboxes::Mailboxes;
use crate::repository::memory::stored::StoredTotals;
use crate::repository::{EndedSession, Error};

/// How many ended sessions a slow listener may have waiting. With more, it learns that it missed some.
const ENDED_SESSIONS: usize = 1024;

pub(super) struct Shared {
    database: PathBuf,
    directory: RwLock<Directory>,
    groups: RwLock<Groups>,
    /// Who has what waiting.
    pub mailboxes: Mailboxes,
    pub time: Steady,
    /// How much the wall clock has jumped, as far as the stored times have followed. The stored times of the use of
    /// sessions are larger than those in memory by this much.
    pub ahead: AtomicI64,
    pub followers: Followers,
    pub damage: Damage,
    pub stored: StoredTotals,
    /// The leases of each session.
    pub leases: Arc<Leases>,
    /// Tells of sessions that end.
    pub ended_sessions: broadcast::Sender<EndedSession>,
    /// Space set aside for when the disk is full.
    pub reserve: DiskReserve,
    min_free_bytes: u64,
    /// Room on the disk at the last look.
    pub free_bytes: AtomicU64,
    /// What was free inside the database then.
    pub free_inside: AtomicU64,
    /// Whether that is enough to take messages.
    pub has_room: AtomicBool,
    /// The files that are open; a server's only.
    files: OnceLock<DatabaseIdentity>,
    failure: OnceLock<Error>,
    has_failed: Notify,
    /// Messages taken in since the start.
    pub accepted: Counter,
    /// Messages read since the start.
    pub delivered: Counter,
    pub commits: Histogram,
    /// SQLite's log, for its checkpoints.
    pub log: CheckpointState,
}

impl Shared {
    pub(super) fn new(
        database: PathBuf,
        (directory, groups): (Directory, Groups),
        mailboxes: Mailboxes,
        stored: StoredTotals,
        damage: Damage,
        min_free_bytes: u64,
        time: Steady,
    ) -> Shared {
        Shared {
            reserve: DiskReserve::beside(&database),
            database,
            directory: RwLock::new(directory),
            groups: RwLock::new(groups),
            mailboxes,
            stored,
            damage,
            time,
            ahead: AtomicI64::new(0),
            followers: Followers::default(),
            leases: Arc::default(),
            ended_sessions: broadcast::Sender::new(ENDED_SESSIONS),
            min_free_bytes,
            free_bytes: AtomicU64::new(0),
            free_inside: AtomicU64::new(0),
            has_room: AtomicBool::new(true),
            files: OnceLock::new(),
            failure: OnceLock::new(),
            has_failed: Notify::new(),
            accepted: Counter::default(),
            delivered: Counter::default(),
            commits: Histogram::default(),
            log: CheckpointState::default(),
        }
    }

    /// Where the database is.
    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    /// Accounts and sessions.
    pub(super) fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(|broken| broken.into_inner())
    }

    pub(crate) fn groups(&self) -> RwLockReadGuard<'_, Groups> {
        self.groups.read().unwrap_or_else(|broken| broken.into_inner())
    }

    /// In how many mailboxes a message to this address is, at the most.
    pub(crate) fn copies_of(&self, to: Address) -> usize {
        to.group().map_or(1, |group| self.groups().members(group).len())
    }

    /// For the writer.
    pub(crate) fn groups_mut(&self) -> RwLockWriteGuard<'_, Groups> {
        self.groups.write().unwrap_or_else(|broken| broken.into_inner())
    }

    fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory.write().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Brings the image of accounts and sessions to what was committed. Gives the accounts that went.
    pub(super) fn apply(&self, events: impl IntoIterator<Item = Event>) -> Vec<UserId> {
        let mut ended = Ended::default();
        let mut over = Vec::new();
        let mut directory = self.directory_mut();
        let (mut logged_out, mut of_groups) = (Vec::new(), Vec::new());
        for event in events.into_iter().flat_map(Event::each) {
            if let Event::GroupsChanged(changes) = event {
                of_groups.extend(changes);
                continue;
            }
            if let Event::MessagesRemoved(amounts) = &event {
                amounts.iter().for_each(|(sender, amount)| self.stored.subtract(*sender, *amount));
            }
            if let Event::LoggedOut(session) = &event {
                logged_out.push(*session);
            }
            if let Event::SessionOpened(record, ended_for_it) = &event
                && let Some(user) = directory.user(record.user).filter(|_| !ended_for_it.is_empty())
            {
                over.push((user, ended_for_it.clone()));
            }
            directory.apply(event, &mut ended);
        }
        // Nobody holds the one while he waits for the other.
        drop(directory);
        let mut groups = self.groups_mut();
        of_groups.into_iter().for_each(|change| groups.apply(change));
        drop(groups);
        for (user, sessions) in over {
            let (user, sessions) = (user.username.as_str(), sessions.iter().map(|id| id.0).collect::<Vec<_>>());
            info!(user, ?sessions, "too many sessions of one account: those that were not used for longest have ended");
        }
        // After a logout, leases of other connections of the session stay: on this wire that mail counts as read.
        let without_leases = ended.sessions.iter().map(|(session, _)| *session).filter(|id| !logged_out.contains(id));
        self.leases.end(without_leases);
        for (id, _) in &ended.sessions {
            // Who does not listen need not hear it.
            let _ = self.ended_sessions.send(EndedSession { id: *id, logged_out: logged_out.contains(id) });
        }
        // Wakes those who wait for mail in a session that has ended.
        ended.sessions.iter().for_each(|(_, user)| self.mailboxes.let_all_look(*user));
        self.followers.tell(ended.sessions.iter().map(|(_, user)| *user));
        ended.users.iter().for_each(|user| self.mailboxes.remove(*user));
        ended.users
    }

    /// Whether the store is given up after this failure.
    pub(super) fn gives_up_after(&self, failure: &Failure) -> bool {
        if failure.is_fatal() {
            let what = if failure.is_of_a_thread() { "a thread of the store has died" } else { "the disk failed" };
            self.give_up(format!("{what}: {failure}"));
        }
        failure.is_fatal()
    }

    fn give_up(&self, why: String) {
        error!(%why, "nothing is acknowledged any more");
        if let Err(error) = failure::note_failure(&self.database, &why) {
            warn!(%error, "the failure could not be noted for the next start");
        }
        let _ = self.failure.set(Error::new(why));
        self.has_failed.notify_waiters();
    }

    /// Says which files are open.
    pub(super) fn watch(&self, files: DatabaseIdentity) {
        let _ = self.files.set(files);
    }

    /// Whether what is written is still found by the next start: the disk has not failed, and the open files are those
    /// at their paths. If they are not, the store is given up.
    pub(super) fn is_sound(&self) -> bool {
        if !self.has_failed()
            && let Some(change) = self.files.get().and_then(|files| files.change(&self.database))
        {
            self.give_up(format!("the files of the database were changed under the server: {change}"));
        }
        !self.has_failed()
    }

    /// A checkpoint failed; it is tried again, unless the store is given up.
    pub(super) fn note_checkpoint_failure(&self, failure: &Failure) {
        if !self.gives_up_after(failure) {
            warn!(%failure, "the WAL could not be checkpointed; trying again");
        }
    }

    /// Closes a connection that writes. After a failure of the disk, under this process or the server, the WAL must
    /// stay, because the next start makes up for what did not arrive in the database from it.
    pub(super) async fn close(&self, mut db: WalConnection, whose: &str) {
        if (!self.is_sound() || failure::failure_is_noted(&self.database))
            && let Err(error) = db.keep_log().await
        {
            error!(%error, "the {whose}'s connection is left open, because its end might take the log with it");
            return std::mem::forget(db);
        }
        if let Err(error) = db.close().await {
            warn!(%error, "the {whose}'s connection was not closed cleanly; nothing is lost");
        }
    }

    /// Whether nothing is acknowledged any more.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    pub(super) fn why_failed(&self) -> Option<Error> {
        self.failure.get().cloned()
    }

    /// Waits for that; gives why.
    pub(super) async fn failure(&self) -> Error {
        let notified = self.has_failed.notified();
        if let Some(error) = self.failure.get() {
            return error.clone();
        }
        notified.await;
        self.failure.get().cloned().unwrap_or_else(|| Error::new("the store has failed"))
    }

    /// Asks the file system and the database how much room is left, and keeps the reserve while there is plenty.
    pub(super) async fn look_for_room(&self, db: &mut WalConnection) {
        match disk::free_inside(db).await {
            Ok(inside) => self.free_inside.store(inside, Ordering::Relaxed),
            Err(failure) => warn!(%failure, "the database does not say how much room it has inside"),
        }
        let inside = self.free_inside.load(Ordering::Relaxed);
        let room = match Room::of(&self.database, inside) {
            Ok(room) => room,
            Err(error) => return warn!(%error, "the file system does not say how much room it has"),
        };
        let free = room.on_disk;
        self.free_bytes.store(free, Ordering::Relaxed);
        let suffices = room.suffices(self.min_free_bytes);
        if suffices != self.has_room.swap(suffices, Ordering::Relaxed) {
            match suffices {
                true => info!(free, inside, "there is room again: messages are taken"),
                false => error!(free, inside, "the disk is nearly full: no message is taken until there is room"),
            }
        }
        if self.min_free_bytes > 0
            && free >= 2 * self.min_free_bytes
            && let Err(error) = self.reserve.fill()
        {
            warn!(%error, "no space could be set aside");
        }
    }
}
